//! `del`: a key or a range of keys.

use clap::Args;
use prost::Message as _;
use proto::etcdserverpb::{DeleteRangeRequest, DeleteRangeResponse};
use serde_json::Value;

use super::shown;
use crate::failure::{Done, Failure};
use crate::output::{Fields, Output, Shown, message};
use crate::session::Session;

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  kvorumctl del greeting\n  kvorumctl del users/ --prefix --prev-kv")]
#[allow(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub(crate) struct Del {
    /// The key, or where a range begins and ends.
    #[arg(value_name = "KEY [RANGE_END]")]
    args: Vec<String>,
    /// Every key that begins so.
    #[arg(long)]
    prefix: bool,
    /// Every key from this one on.
    #[arg(long)]
    from_key: bool,
    /// Shows what was there before.
    #[arg(long)]
    prev_kv: bool,
    /// Two arguments are a range; accepted because newer etcdctl asks for it.
    #[arg(long)]
    range: bool,
}

impl Del {
    pub(crate) async fn run(self, session: &Session) -> Done {
        let request = self.request()?;
        session.show(&session.call(request).await?)
    }

    /// What the words ask for.
    pub(crate) fn request(&self) -> Result<DeleteRangeRequest, Failure> {
        let (key, range_end) = shown::range("del", self.args.clone(), self.prefix, self.from_key)?;
        Ok(DeleteRangeRequest { key, range_end, prev_kv: self.prev_kv })
    }
}

impl Shown for DeleteRangeResponse {
    fn simple(&self, output: Output) -> Vec<u8> {
        let mut text = format!("{}\n", self.deleted).into_bytes();
        text.extend(self.prev_kvs.iter().flat_map(|pair| shown::pair(output, pair)));
        text
    }

    fn json(&self, _output: Output) -> Value {
        message("etcdserverpb.DeleteRangeResponse", self)
    }

    fn fields(&self, _output: Output) -> Fields {
        let mut fields = Fields::of(self.header.as_ref());
        fields.value("Deleted", self.deleted);
        for pair in &self.prev_kvs {
            fields.key_value("Prev", pair);
        }
        fields
    }

    fn protobuf(&self) -> Option<Vec<u8>> {
        Some(self.encode_to_vec())
    }
}
