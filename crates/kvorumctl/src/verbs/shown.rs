//! What the answers of several verbs have in common.

use bytes::Bytes;
use client::prefix_end;
use proto::mvccpb::KeyValue;

use crate::failure::Failure;
use crate::output::Output;

/// The key and the value, each on its line.
pub(crate) fn pair(output: &Output, pair: &KeyValue) -> Vec<u8> {
    let mut text = output.bytes(&pair.key);
    text.push(b'\n');
    text.extend(value(output, pair));
    text
}

/// The value on its line.
pub(crate) fn value(output: &Output, pair: &KeyValue) -> Vec<u8> {
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
    let (Some(key), end, None) = (args.next(), args.next(), args.next()) else {
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
