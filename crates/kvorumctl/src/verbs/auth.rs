//! `auth`: whether the cluster asks who speaks.

use clap::{Args, Subcommand};
use prost::Message as _;
use proto::etcdserverpb::{
    AuthDisableRequest, AuthEnableRequest, AuthRoleAddRequest, AuthStatusRequest, AuthStatusResponse,
    AuthUserGrantRoleRequest,
};
use serde_json::Value;

use super::shown::Told;
use crate::failure::{Done, Failure};
use crate::output::{Fields, Output, Shown, message};
use crate::session::Session;

/// The user and the role that may do everything.
const ROOT: &str = "root";

/// What a member answers when the user is there and the role is not its.
const NO_ROOT_ROLE: &str = "etcdserver: root user does not have root role";

#[derive(Debug, Subcommand)]
pub(crate) enum Auth {
    /// Asks everybody from now on.
    Enable(NoArguments),
    /// Asks nobody any more.
    Disable(NoArguments),
    /// Says whether it asks.
    Status(NoArguments),
}

#[derive(Debug, Args)]
pub(crate) struct NoArguments {
    #[arg(hide = true)]
    args: Vec<String>,
}

impl Auth {
    pub(crate) async fn run(self, session: &Session) -> Done {
        let (verb, args) = match &self {
            Self::Enable(NoArguments { args }) => ("enable", args),
            Self::Disable(NoArguments { args }) => ("disable", args),
            Self::Status(NoArguments { args }) => ("status", args),
        };
        if !args.is_empty() {
            return Err(Failure::arguments(format!("auth {verb} command does not accept any arguments")));
        }
        match self {
            Self::Enable(_) => enable(session).await,
            Self::Disable(_) => {
                let answer = session.call(AuthDisableRequest {}).await?;
                let name = "etcdserverpb.AuthDisableResponse";
                session.show(&Told::new("Authentication Disabled", name, answer.header, &answer))
            }
            Self::Status(_) => session.show(&session.call(AuthStatusRequest {}).await?),
        }
    }
}

/// Gives root its role where that is all that lacks.
async fn enable(session: &Session) -> Done {
    let enabled = match session.call(AuthEnableRequest {}).await {
        Err(failure) if failure.text.as_deref() == Some(NO_ROOT_ROLE) => {
            session.call(AuthRoleAddRequest { name: ROOT.to_owned() }).await?;
            let grant = AuthUserGrantRoleRequest { user: ROOT.to_owned(), role: ROOT.to_owned() };
            session.call(grant).await?;
            session.call(AuthEnableRequest {}).await
        }
        enabled => enabled,
    };
    let answer = enabled?;
    let name = "etcdserverpb.AuthEnableResponse";
    session.show(&Told::new("Authentication Enabled", name, answer.header, &answer))
}

impl Shown for AuthStatusResponse {
    fn simple(&self, _output: Output) -> Vec<u8> {
        let Self { enabled, auth_revision, .. } = self;
        format!("Authentication Status: {enabled}\nAuthRevision: {auth_revision}\n").into_bytes()
    }

    fn json(&self, _output: Output) -> Value {
        message("etcdserverpb.AuthStatusResponse", self)
    }

    fn fields(&self, _output: Output) -> Fields {
        let mut fields = Fields::of(self.header.as_ref());
        fields.value("Enabled", self.enabled);
        fields.value("AuthRevision", self.auth_revision);
        fields
    }

    fn protobuf(&self) -> Option<Vec<u8>> {
        Some(self.encode_to_vec())
    }
}
