//! `move-leader`: hands the lead to another member.

use clap::Args;
use proto::etcdserverpb::{MoveLeaderRequest, StatusRequest};

use crate::failure::{Done, Failure};
use crate::go;
use crate::output::print_line;
use crate::session::Session;

#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  kvorumctl move-leader c89feb932daef420   (--endpoints must name the leader)"
)]
pub(crate) struct MoveLeader {
    /// Who shall lead.
    #[arg(value_name = "ID")]
    args: Vec<String>,
}

impl MoveLeader {
    pub(crate) async fn run(self, session: &Session) -> Done {
        let [target] = self.args.as_slice() else {
            return Err(Failure::arguments("move-leader command needs 1 argument"));
        };
        let target_id = go::parse_hex_unsigned(target).map_err(Failure::arguments)?;
        let mut places = Vec::new();
        for endpoint in session.client.endpoints() {
            let client = session.client.only(endpoint);
            let status = client.call(StatusRequest {}, session.patience()).await?;
            let member = status.header.map_or(0, |header| header.member_id);
            if status.leader == member {
                client.call(MoveLeaderRequest { target_id }, session.patience()).await?;
                return print_line(&format!("Leadership transferred from {member:x} to {target_id:x}"));
            }
            places.push(endpoint.to_string());
        }
        Err(Failure::arguments(format!("no leader endpoint given at [{}]", places.join(" "))))
    }
}
