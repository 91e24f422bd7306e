//! `put`: one key, its value from the arguments or from stdin.

use std::io::Read as _;

use clap::Args;
use prost::Message as _;
use proto::etcdserverpb::{PutRequest, PutResponse};
use serde_json::Value;

use super::shown;
use crate::failure::{Done, Failure, exit};
use crate::go;
use crate::output::{Fields, Output, Shown, message};
use crate::session::Session;

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  kvorumctl put greeting hello\n  kvorumctl put config < config.json\n  \
                  kvorumctl put session x --lease=6eb4a1f910977023")]
#[allow(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub(crate) struct Put {
    /// The key and its value; without a value it is read from stdin.
    #[arg(value_name = "KEY [VALUE]")]
    args: Vec<String>,
    /// The lease that ends the key, in hex.
    #[arg(long, value_name = "ID")]
    lease: Option<String>,
    /// Shows what was there before.
    #[arg(long)]
    prev_kv: bool,
    /// Leaves the value as it is.
    #[arg(long)]
    ignore_value: bool,
    /// Leaves the lease as it is.
    #[arg(long)]
    ignore_lease: bool,
}

impl Put {
    pub(crate) async fn run(self, session: &Session) -> Done {
        let request = self.request()?;
        session.show(&session.call(request).await?)
    }

    /// What the words ask for.
    pub(crate) fn request(&self) -> Result<PutRequest, Failure> {
        let mut args = self.args.clone().into_iter();
        let key = args.next().ok_or_else(|| {
            Failure::arguments("put command needs 1 argument and input from stdin or 2 arguments")
        })?;
        let given = args.next();
        if self.ignore_value && given.is_some() {
            return Err(Failure::arguments("put command needs only 1 argument when 'ignore-value' is set"));
        }
        let lease =
            self.lease.as_deref().map_or(Ok(0), go::parse_hex).map_err(|reason| {
                Failure::arguments(format!("bad lease ID ({reason}), expecting ID in Hex"))
            })?;
        let value = match given {
            Some(value) => value.into_bytes(),
            None if self.ignore_value => Vec::new(),
            None => stdin()?,
        };
        Ok(PutRequest {
            key: key.into_bytes().into(),
            value: value.into(),
            lease,
            prev_kv: self.prev_kv,
            ignore_value: self.ignore_value,
            ignore_lease: self.ignore_lease,
        })
    }
}

fn stdin() -> Result<Vec<u8>, Failure> {
    let mut value = Vec::new();
    std::io::stdin()
        .read_to_end(&mut value)
        .map_err(|error| Failure::new(exit::IO, format!("cannot read the value from stdin: {error}")))?;
    Ok(value)
}

impl Shown for PutResponse {
    fn simple(&self, output: Output) -> Vec<u8> {
        let mut text = b"OK\n".to_vec();
        text.extend(self.prev_kv.iter().flat_map(|pair| shown::pair(output, pair)));
        text
    }

    fn json(&self, _output: Output) -> Value {
        message("etcdserverpb.PutResponse", self)
    }

    fn fields(&self, _output: Output) -> Fields {
        let mut fields = Fields::of(self.header.as_ref());
        if let Some(pair) = &self.prev_kv {
            fields.key_value("Prev", pair);
        }
        fields
    }

    fn protobuf(&self) -> Option<Vec<u8>> {
        Some(self.encode_to_vec())
    }
}
