//! `version`: of this program, and of the interface.

use clap::Args;

use crate::failure::Done;
use crate::output::print_line;
use crate::session::Session;

/// The version of etcd whose interface and verbs this is.
const LEVEL: &str = "3.7.1";
const API: &str = "3.7";

#[derive(Debug, Args)]
pub(crate) struct Version {}

impl Version {
    pub(crate) fn run(session: &Session) -> Done {
        let version = if session.name == "etcdctl" { LEVEL } else { env!("CARGO_PKG_VERSION") };
        print_line(&format!("{} version: {version}", session.name))?;
        print_line(&format!("API version: {API}"))
    }
}
