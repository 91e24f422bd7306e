//! What the answers of several verbs have in common.

use bytes::Bytes;
use client::prefix_end;
use prost::Message;
use proto::etcdserverpb::ResponseHeader;
use proto::mvccpb::KeyValue;
use serde_json::Value;

use crate::failure::Failure;
use crate::output::{Fields, Output, Shown, message};

/// The key and the value, each on its line.
pub(crate) fn pair(output: Output, pair: &KeyValue) -> Vec<u8> {
    let mut text = output.bytes(&pair.key);
    text.push(b'\n');
    text.extend(value(output, pair));
    text
}

/// The value on its line.
pub(crate) fn value(output: Output, pair: &KeyValue) -> Vec<u8> {
    let mut text = output.bytes(&pair.value);
    text.push(b'\n');
    text
}

/// The key and the end of what `get` and `del` are about.
pub(crate) fn range(
    verb: &str,
    args: Vec<String>,
    prefix: bool,
    from_key: bool,
) -> Result<(Bytes, Bytes), Failure> {
    if prefix && from_key {
        return Err(Failure::arguments(
            "`--prefix` and `--from-key` cannot be set at the same time, choose one",
        ));
    }
    let mut args = args.into_iter().map(|word| Bytes::from(word.into_bytes()));
    let words = (args.next(), args.next(), args.next());
    // etcdctl overlooks further words behind `get`.
    let (Some(key), end) = (match words {
        (key, end, None) => (key, end),
        (key, end, Some(_)) if verb == "get" => (key, end),
        _ => (None, None),
    }) else {
        return Err(Failure::arguments(format!(
            "{verb} command needs one argument as key and an optional argument as range_end"
        )));
    };
    Ok(match end {
        Some(_) if prefix || from_key => {
            return Err(Failure::arguments(
                "too many arguments, only accept one argument when `--prefix` or `--from-key` is set",
            ));
        }
        Some(end) => (key, end),
        None => open_range(key, prefix, from_key),
    })
}

/// A key, all that begin with it, or all from it on. Nothing at all stands for the first key there can be.
pub(crate) fn open_range(key: Bytes, prefix: bool, from_key: bool) -> (Bytes, Bytes) {
    let everything = Bytes::from_static(b"\0");
    match (prefix || from_key, key.is_empty()) {
        (true, true) => (everything.clone(), everything),
        (true, false) if prefix => {
            let end = prefix_end(&key);
            (key, end)
        }
        (true, false) => (key, everything),
        (false, _) => (key, Bytes::new()),
    }
}

/// An answer of which people need a sentence only.
pub(crate) struct Told {
    sentence: String,
    json: Value,
    bytes: Vec<u8>,
    header: Option<ResponseHeader>,
    fields: Vec<(&'static str, Vec<u8>)>,
}

impl Told {
    /// The sentence, and the message with its name.
    pub(crate) fn new(
        sentence: impl Into<String>,
        name: &str,
        header: Option<ResponseHeader>,
        answer: &impl Message,
    ) -> Self {
        let (json, bytes) = (message(name, answer), answer.encode_to_vec());
        Self { sentence: sentence.into(), json, bytes, header, fields: Vec::new() }
    }

    /// The same with more fields.
    pub(crate) fn with(mut self, name: &'static str, values: impl IntoIterator<Item = Vec<u8>>) -> Self {
        self.fields.extend(values.into_iter().map(|value| (name, value)));
        self
    }
}

impl Shown for Told {
    fn simple(&self, _output: Output) -> Vec<u8> {
        if self.sentence.is_empty() { Vec::new() } else { format!("{}\n", self.sentence).into_bytes() }
    }

    fn json(&self, _output: Output) -> Value {
        self.json.clone()
    }

    fn fields(&self, _output: Output) -> Fields {
        let mut fields = Fields::of(self.header.as_ref());
        self.fields.iter().for_each(|(name, value)| fields.quoted(name, value));
        fields
    }

    fn protobuf(&self) -> Option<Vec<u8>> {
        Some(self.bytes.clone())
    }
}
