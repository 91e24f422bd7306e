//! `get`: a key or a range of keys, now or as it was.

use clap::Args;
use prost::Message as _;
use proto::etcdserverpb::range_request::{SortOrder, SortTarget};
use proto::etcdserverpb::{RangeRequest, RangeResponse};
use serde_json::Value;

use super::shown;
use crate::command_line::number;
use crate::failure::{Done, Failure, exit};
use crate::output::{Fields, Form, Output, Shown, message};
use crate::session::Session;

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  kvorumctl get greeting\n  kvorumctl get users/ --prefix --keys-only\n  \
                  kvorumctl get a b --rev=42 -w json"
)]
#[allow(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub(crate) struct Get {
    /// The key, or where a range begins and ends.
    #[arg(value_name = "KEY [RANGE_END]")]
    args: Vec<String>,
    /// Reads through the leader (l) or from the member that answers (s).
    #[arg(long, default_value = "l", value_name = "l|s")]
    consistency: String,
    /// ASCEND or DESCEND.
    #[arg(long, default_value = "", value_name = "ORDER", hide_default_value = true)]
    order: String,
    /// CREATE, KEY, MODIFY, VALUE or VERSION.
    #[arg(long, default_value = "", value_name = "TARGET", hide_default_value = true)]
    sort_by: String,
    /// How many at most; 0 is all.
    #[arg(long, default_value = "0", value_parser = number, allow_negative_numbers = true, value_name = "COUNT")]
    limit: i64,
    /// Every key that begins so.
    #[arg(long)]
    prefix: bool,
    /// Every key from this one on.
    #[arg(long)]
    from_key: bool,
    /// As it was at this revision.
    #[arg(long, default_value = "0", value_parser = number, allow_negative_numbers = true, value_name = "REVISION")]
    rev: i64,
    /// The keys without their values.
    #[arg(long)]
    keys_only: bool,
    /// How many there are; with `-w fields`.
    #[arg(long)]
    count_only: bool,
    /// The values without their keys; with `-w simple`.
    #[arg(long)]
    print_value_only: bool,
    /// Only what was created at this revision or later.
    #[arg(long, default_value = "0", value_parser = number, value_name = "REVISION", hide_default_value = true)]
    min_create_rev: i64,
    /// Only what was created at this revision or earlier.
    #[arg(long, default_value = "0", value_parser = number, value_name = "REVISION", hide_default_value = true)]
    max_create_rev: i64,
    /// Only what was changed at this revision or later.
    #[arg(long, default_value = "0", value_parser = number, value_name = "REVISION", hide_default_value = true)]
    min_mod_rev: i64,
    /// Only what was changed at this revision or earlier.
    #[arg(long, default_value = "0", value_parser = number, value_name = "REVISION", hide_default_value = true)]
    max_mod_rev: i64,
    /// Reads in pieces of one revision and shows each as it comes; with `-w simple` and `-w jsonl`.
    #[arg(long)]
    stream: bool,
}

/// Keys of a piece.
const PIECE_KEYS: i64 = 1000;

/// An answer without its keys.
struct Values(RangeResponse);

impl Get {
    pub(crate) async fn run(self, session: &Session) -> Done {
        let request = self.request()?;
        if self.count_only && matches!(session.output.form, Form::Simple | Form::Table) {
            return Err(Failure::arguments("--count-only is only for `--write-out=fields`"));
        }
        if self.print_value_only && session.output.form != Form::Simple {
            return Err(Failure::arguments("print-value-only is only for `--write-out=simple`"));
        }
        let is_in_order = self.order.is_empty() && self.sort_by.is_empty();
        let is_by_line = matches!(session.output.form, Form::Simple | Form::JsonLines);
        if self.stream && is_in_order && is_by_line && !request.range_end.is_empty() {
            return self.stream(session, request).await;
        }
        let answer = session.call(request).await?;
        if self.print_value_only { session.show(&Values(answer)) } else { session.show(&answer) }
    }
}

impl Get {
    /// Piece after piece, so that neither end holds all of it.
    async fn stream(&self, session: &Session, mut request: RangeRequest) -> Done {
        let mut left = if request.limit > 0 { request.limit } else { i64::MAX };
        loop {
            request.limit = left.min(PIECE_KEYS);
            let answer = session.call(request.clone()).await?;
            if request.revision == 0 {
                request.revision = answer.header.map_or(0, |header| header.revision);
            }
            left = left.saturating_sub_unsigned(answer.kvs.len() as u64);
            let next = answer.kvs.last().filter(|_| answer.more && left > 0);
            let next = next.map(|last| [&last.key[..], b"\0"].concat());
            if self.print_value_only {
                session.show(&Values(answer))?;
            } else {
                session.show(&answer)?;
            }
            let Some(next) = next else { return Ok(()) };
            request.key = next.into();
        }
    }

    /// What the words ask for.
    pub(crate) fn request(&self) -> Result<RangeRequest, Failure> {
        let (key, range_end) = shown::range("get", self.args.clone(), self.prefix, self.from_key)?;
        if self.keys_only && self.count_only {
            return Err(Failure::arguments(
                "`--keys-only` and `--count-only` cannot be set at the same time, choose one",
            ));
        }
        let serializable = match self.consistency.as_str() {
            "s" => true,
            "l" => false,
            other => {
                return Err(Failure::new(exit::BAD_FEATURE, format!("unknown consistency flag {other:?}")));
            }
        };
        let (sort_order, sort_target) = sorting(&self.order, &self.sort_by)?;
        Ok(RangeRequest {
            key,
            range_end,
            limit: self.limit,
            revision: self.rev,
            sort_order: sort_order.into(),
            sort_target: sort_target.into(),
            serializable,
            keys_only: self.keys_only,
            count_only: self.count_only,
            min_mod_revision: self.min_mod_rev,
            max_mod_revision: self.max_mod_rev,
            min_create_revision: self.min_create_rev,
            max_create_revision: self.max_create_rev,
        })
    }
}

fn sorting(order: &str, target: &str) -> Result<(SortOrder, SortTarget), Failure> {
    let bad = |what: &str, word: &str| Failure::new(exit::BAD_FEATURE, format!("bad sort {what} {word}"));
    let given = match order.to_ascii_uppercase().as_str() {
        "ASCEND" => SortOrder::Ascend,
        "DESCEND" => SortOrder::Descend,
        "" => SortOrder::None,
        _ => return Err(bad("order", order)),
    };
    let target = match target.to_ascii_uppercase().as_str() {
        "CREATE" => SortTarget::Create,
        "KEY" => SortTarget::Key,
        "MODIFY" => SortTarget::Mod,
        "VALUE" => SortTarget::Value,
        "VERSION" => SortTarget::Version,
        "" => return Ok((given, SortTarget::Key)),
        _ => return Err(bad("target", target)),
    };
    // What is sorted by something else than its key begins with the least.
    let is_plain = given == SortOrder::None && target != SortTarget::Key;
    Ok((if is_plain { SortOrder::Ascend } else { given }, target))
}

impl Shown for RangeResponse {
    fn simple(&self, output: Output) -> Vec<u8> {
        self.kvs.iter().flat_map(|pair| shown::pair(output, pair)).collect()
    }

    fn json(&self, _output: Output) -> Value {
        message("etcdserverpb.RangeResponse", self)
    }

    fn fields(&self, _output: Output) -> Fields {
        let mut fields = Fields::of(self.header.as_ref());
        for pair in &self.kvs {
            fields.key_value("", pair);
        }
        fields.value("More", self.more);
        fields.value("Count", self.count);
        fields
    }

    fn protobuf(&self) -> Option<Vec<u8>> {
        Some(self.encode_to_vec())
    }

    fn lines(&self, _output: Output) -> Vec<Value> {
        self.kvs.iter().map(|pair| message("mvccpb.KeyValue", pair)).collect()
    }
}

impl Shown for Values {
    fn simple(&self, output: Output) -> Vec<u8> {
        self.0.kvs.iter().flat_map(|pair| shown::value(output, pair)).collect()
    }

    fn json(&self, output: Output) -> Value {
        self.0.json(output)
    }

    fn fields(&self, output: Output) -> Fields {
        self.0.fields(output)
    }
}
