//! `options`: the flags that every verb knows.

use clap::Args;

use crate::command_line::globals;
use crate::failure::Done;
use crate::output::print;
use crate::session::Session;

#[derive(Debug, Args)]
pub(crate) struct Options {}

impl Options {
    pub(crate) fn run(session: &Session) -> Done {
        let mut table = globals(session.name);
        print(table.render_help().to_string().as_bytes())
    }
}
