//! `defrag`: gives room back to the disk, one member after the other.

use clap::Args;
use proto::etcdserverpb::DefragmentRequest;

use super::endpoint::endpoints;
use crate::failure::{Done, Failure, exit};
use crate::output::{print_line, say};
use crate::session::Session;

#[derive(Debug, Args)]
pub(crate) struct Defrag {
    #[arg(hide = true)]
    args: Vec<String>,
    /// Every member of the cluster, not only those of --endpoints.
    #[arg(long)]
    cluster: bool,
}

impl Defrag {
    pub(crate) async fn run(self, session: &Session) -> Done {
        let mut failures = 0;
        for endpoint in endpoints(session, self.cluster).await? {
            let client = session.client.only(&endpoint);
            match client.call(DefragmentRequest {}, session.patience()).await {
                Ok(_) => print_line(&format!("Finished defragmenting etcd member[{endpoint}]"))?,
                Err(fault) => {
                    say(&format!("Failed to defragment etcd member[{endpoint}] ({fault})"));
                    failures += 1;
                }
            }
        }
        if failures == 0 { Ok(()) } else { Err(Failure::silent(exit::ERROR)) }
    }
}
