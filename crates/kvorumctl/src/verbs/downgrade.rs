//! `downgrade`: asks whether, and says that, an older version shall follow.

use clap::{Args, Subcommand};
use prost::Message as _;
use proto::etcdserverpb::downgrade_request::DowngradeAction;
use proto::etcdserverpb::{DowngradeRequest, DowngradeResponse};
use serde_json::Value;

use crate::failure::{Done, Failure};
use crate::output::{Fields, Output, Shown, message};
use crate::session::Session;

#[derive(Debug, Subcommand)]
pub(crate) enum Downgrade {
    /// Asks whether it could be.
    Validate(TargetVersion),
    /// Makes the cluster ready for it.
    Enable(TargetVersion),
    /// Ends it.
    Cancel(TargetVersion),
}

#[derive(Debug, Args)]
pub(crate) struct TargetVersion {
    #[arg(value_name = "VERSION")]
    args: Vec<String>,
}

struct Answered(&'static str, DowngradeResponse);

impl Downgrade {
    pub(crate) async fn run(self, session: &Session) -> Done {
        let (action, verb, args) = match self {
            Self::Validate(target) => (DowngradeAction::Validate, "validate", target.args),
            Self::Enable(target) => (DowngradeAction::Enable, "enable", target.args),
            Self::Cancel(_) => (DowngradeAction::Cancel, "cancel", vec![String::new()]),
        };
        let version = match args.as_slice() {
            [] => return Err(Failure::arguments("no target version inputs")),
            [version] => version.clone(),
            _ => return Err(Failure::arguments("too many arguments")),
        };
        let request = DowngradeRequest { action: action.into(), version };
        session.show(&Answered(verb, session.call(request).await?))
    }
}

impl Shown for Answered {
    fn simple(&self, _output: Output) -> Vec<u8> {
        format!("Downgrade {} success, cluster version {}\n", self.0, self.1.version).into_bytes()
    }

    fn json(&self, _output: Output) -> Value {
        message("etcdserverpb.DowngradeResponse", &self.1)
    }

    fn fields(&self, _output: Output) -> Fields {
        let mut fields = Fields::of(self.1.header.as_ref());
        fields.quoted("Version", self.1.version.as_bytes());
        fields
    }

    fn protobuf(&self) -> Option<Vec<u8>> {
        Some(self.1.encode_to_vec())
    }
}
