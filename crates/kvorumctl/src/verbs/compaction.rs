//! `compaction`: forgets what was before a revision.

use clap::Args;
use proto::etcdserverpb::CompactionRequest;

use crate::failure::{Done, Failure};
use crate::go;
use crate::output::print_line;
use crate::session::Session;

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  kvorumctl compaction 1234 --physical")]
pub(crate) struct Compaction {
    /// The oldest revision that stays.
    #[arg(value_name = "REVISION", allow_negative_numbers = true)]
    args: Vec<String>,
    /// Waits until the room of what was forgotten can be used again.
    #[arg(long)]
    physical: bool,
}

impl Compaction {
    pub(crate) async fn run(self, session: &Session) -> Done {
        let [revision] = self.args.as_slice() else {
            return Err(Failure::arguments("compaction command needs 1 argument"));
        };
        let revision = go::parse_int(revision).map_err(Failure::error)?;
        let request = CompactionRequest { revision, physical: self.physical };
        // Giving back the room of a large history takes longer than other commands.
        let patience = session.patience().filter(|_| !self.physical);
        session.client.call(request, patience).await?;
        print_line(&format!("compacted revision {revision}"))
    }
}
