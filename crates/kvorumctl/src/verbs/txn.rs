//! `txn`: comparisons and what to do then, line by line.

use std::io;

use bytes::Bytes;
use clap::{Args, FromArgMatches as _};
use prost::Message as _;
use proto::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use proto::etcdserverpb::request_op::Request;
use proto::etcdserverpb::response_op::Response;
use proto::etcdserverpb::{Compare, RequestOp, ResponseOp, TxnRequest, TxnResponse};
use serde_json::Value;

use super::{del, get, put};
use crate::failure::{Done, Failure, exit};
use crate::go;
use crate::output::{Fields, Output, Shown, message, print_line};
use crate::session::Session;

#[derive(Debug, Args)]
#[command(
    after_help = "Reads comparisons, then what to do when all are true, then what to do otherwise; an empty line ends \
                  each part.\n\nExample:\n  kvorumctl txn <<END\n  mod(\"key\") = \"0\"\n\n  put key first\n\n  \
                  get key\n\n  END\n\nComparisons: version, create, mod, value or lease of a key, with = != < or >."
)]
pub(crate) struct Txn {
    #[arg(hide = true)]
    args: Vec<String>,
    /// Says what is to be typed.
    #[arg(short, long)]
    interactive: bool,
}

impl Txn {
    pub(crate) async fn run(self, session: &Session) -> Done {
        if !self.args.is_empty() {
            return Err(Failure::arguments("txn command does not accept argument"));
        }
        let prompt = |words: &str| if self.interactive { print_line(words) } else { Ok(()) };
        prompt("compares:")?;
        let compare = part(compare)?;
        prompt("success requests (get, put, del):")?;
        let success = part(operation)?;
        prompt("failure requests (get, put, del):")?;
        let failure = part(operation)?;
        session.show(&session.call(TxnRequest { compare, success, failure }).await?)
    }
}

/// The lines up to an empty one. Stdin is not held meanwhile: a value may be read from it, too.
fn part<T>(read: impl Fn(&str) -> Result<T, String>) -> Result<Vec<T>, Failure> {
    let invalid = |reason: String| Failure::new(exit::INVALID_INPUT, reason);
    let mut items = Vec::new();
    loop {
        let mut line = String::new();
        if io::stdin().read_line(&mut line).map_err(|error| invalid(error.to_string()))? == 0 {
            return Err(invalid("EOF".to_owned()));
        }
        let line = line.trim();
        if line.is_empty() {
            return Ok(items);
        }
        items.push(read(line).map_err(invalid)?);
    }
}

/// `mod("key") = "0"`.
fn compare(line: &str) -> Result<Compare, String> {
    let invalid = || format!("invalid txn compare request: {line}");
    let (target, rest) = line.split_once('(').ok_or_else(invalid)?;
    if !rest.contains(')') {
        return Err(invalid());
    }
    let malformed = |key: &[u8], operator: &str, value: &[u8]| {
        let (key, value) = (go::quoted(key), go::quoted(value));
        format!("malformed comparison: {line}; got {target}({key}) {operator} {value}")
    };
    let (key, rest) = go::unquote(rest).ok_or_else(|| malformed(b"", "", b""))?;
    let rest = rest.strip_prefix(')').ok_or_else(|| malformed(&key, "", b""))?.trim_start();
    let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
    let (operator, rest) = rest.split_at(end);
    let (value, _) = go::unquote(rest.trim_start()).ok_or_else(|| malformed(&key, operator, b""))?;
    let result = match operator {
        "=" => CompareResult::Equal,
        "!=" => CompareResult::NotEqual,
        ">" => CompareResult::Greater,
        "<" => CompareResult::Less,
        _ => return Err(format!("malformed comparison: {line} (unknown operator {operator})")),
    };
    let number = || go::parse_int(&String::from_utf8_lossy(&value)).map_err(|_| invalid());
    let lease = || go::parse_hex(&String::from_utf8_lossy(&value)).map_err(|_| invalid());
    let (kind, union) = match target {
        "ver" | "version" => (CompareTarget::Version, TargetUnion::Version(number()?)),
        "c" | "create" => (CompareTarget::Create, TargetUnion::CreateRevision(number()?)),
        "m" | "mod" => (CompareTarget::Mod, TargetUnion::ModRevision(number()?)),
        "val" | "value" => (CompareTarget::Value, TargetUnion::Value(Bytes::from(value.clone()))),
        "lease" => (CompareTarget::Lease, TargetUnion::Lease(lease()?)),
        _ => return Err(format!("malformed comparison: {line} (unknown target {target})")),
    };
    let target_union = Some(union);
    Ok(Compare {
        result: result.into(),
        target: kind.into(),
        key: key.into(),
        target_union,
        ..Default::default()
    })
}

/// `put`, `get` or `del` with the flags that they have as verbs.
fn operation(line: &str) -> Result<RequestOp, String> {
    let words = go::words(line).filter(|words| words.len() > 1);
    let words = words.ok_or_else(|| format!("invalid txn compare request: {line}"))?;
    let invalid = || format!("invalid txn request: {line}");
    let matches = crate::command_line::operations().try_get_matches_from(words).map_err(|_| invalid())?;
    let said = |failure: Failure| failure.text.unwrap_or_default();
    let request = match matches.subcommand() {
        Some(("put", matches)) => {
            let verb = put::Put::from_arg_matches(matches).map_err(|_| invalid())?;
            Request::RequestPut(verb.request().map_err(said)?)
        }
        Some(("get", matches)) => {
            let verb = get::Get::from_arg_matches(matches).map_err(|_| invalid())?;
            Request::RequestRange(verb.request().map_err(said)?)
        }
        Some(("del", matches)) => {
            let verb = del::Del::from_arg_matches(matches).map_err(|_| invalid())?;
            Request::RequestDeleteRange(verb.request().map_err(said)?)
        }
        _ => return Err(invalid()),
    };
    Ok(RequestOp { request: Some(request) })
}

/// The answer to one operation.
fn shown(answer: &ResponseOp) -> Option<&dyn Shown> {
    match answer.response.as_ref()? {
        Response::ResponseRange(answer) => Some(answer),
        Response::ResponsePut(answer) => Some(answer),
        Response::ResponseDeleteRange(answer) => Some(answer),
        Response::ResponseTxn(answer) => Some(answer),
    }
}

impl Shown for TxnResponse {
    fn simple(&self, output: Output) -> Vec<u8> {
        let mut text = if self.succeeded { b"SUCCESS\n".to_vec() } else { b"FAILURE\n".to_vec() };
        for answer in self.responses.iter().filter_map(shown) {
            text.push(b'\n');
            text.extend(answer.simple(output));
        }
        text
    }

    fn json(&self, _output: Output) -> Value {
        message("etcdserverpb.TxnResponse", self)
    }

    fn fields(&self, output: Output) -> Fields {
        let mut fields = Fields::of(self.header.as_ref());
        fields.value("Succeeded", self.succeeded);
        for answer in self.responses.iter().filter_map(shown) {
            fields.append(&answer.fields(output));
        }
        fields
    }

    fn protobuf(&self) -> Option<Vec<u8>> {
        Some(self.encode_to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comparisons_are_read_as_etcdctl_reads_them() {
        let read = compare(r#"mod("a\"b") > "7""#).expect("well-formed");
        assert_eq!((read.key.as_ref(), read.result()), (b"a\"b".as_slice(), CompareResult::Greater));
        assert_eq!(read.target_union, Some(TargetUnion::ModRevision(7)));
        let says = |line: &str| compare(line).expect_err("malformed");
        assert_eq!(says("nonsense"), "invalid txn compare request: nonsense");
        assert_eq!(says("mod(foo) = 0"), "malformed comparison: mod(foo) = 0; got mod(\"\")  \"\"");
        assert_eq!(
            says(r#"bad("foo") = "0""#),
            r#"malformed comparison: bad("foo") = "0" (unknown target bad)"#
        );
    }

    #[test]
    fn operations_have_the_flags_of_their_verbs() {
        let read = operation(r#"get "a b" --rev=2"#).expect("well-formed");
        let Some(Request::RequestRange(range)) = read.request else { panic!("a range") };
        assert_eq!((range.key.as_ref(), range.revision), (b"a b".as_slice(), 2));
        assert_eq!(operation("put").expect_err("too short"), "invalid txn compare request: put");
        assert_eq!(operation("put a b --x").expect_err("no such flag"), "invalid txn request: put a b --x");
    }
}
