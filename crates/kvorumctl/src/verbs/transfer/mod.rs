//! `export` and `import`: keys and values as lines of JSON, for other programs, for version control, and back again.
//!
//! The first line says where the lines come from, the last one how many there are and their SHA-256, so that a file that
//! ends too early is known by it. In between is one key to a line: `key` and `value` where they are text, `keyBase64` and
//! `valueBase64` where they are not. docs/FORMATS.md has the lines.

pub(super) mod export;
pub(super) mod import;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

/// The form of the lines.
const VERSION: u64 = 1;

/// A key in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    key: Vec<u8>,
    value: Vec<u8>,
}

/// What a line can be.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Line {
    Head { prefix: Vec<u8> },
    Key(Entry),
    End { keys: u64, sha256: String },
}

/// Text stands as it is, and the rest under another name.
fn put(object: &mut Map<String, Value>, name: &str, bytes: &[u8]) {
    match std::str::from_utf8(bytes) {
        Ok(text) => object.insert(name.to_owned(), text.into()),
        Err(_) => object.insert(format!("{name}Base64"), STANDARD.encode(bytes).into()),
    };
}

fn take(object: &Value, name: &str) -> Option<Vec<u8>> {
    if let Some(text) = object[name].as_str() {
        return Some(text.as_bytes().to_vec());
    }
    STANDARD.decode(object[format!("{name}Base64")].as_str()?).ok()
}

/// The first line.
fn head(cluster: u64, revision: i64, prefix: &[u8]) -> Value {
    let mut object = Map::new();
    object.insert("kvorumExport".to_owned(), VERSION.into());
    object.insert("cluster".to_owned(), format!("{cluster:x}").into());
    object.insert("revision".to_owned(), revision.into());
    put(&mut object, "prefix", prefix);
    Value::Object(object)
}

/// The last line.
fn end(keys: u64, sha256: &str) -> Value {
    json!({"end": true, "keys": keys, "sha256": sha256})
}

/// Reads a line; what is wrong with it in words.
fn read(text: &str) -> Result<Line, String> {
    let value: Value = serde_json::from_str(text).map_err(|error| format!("it is no JSON: {error}"))?;
    if let Some(version) = value.get("kvorumExport") {
        if version.as_u64() != Some(VERSION) {
            return Err(format!("it is of form {version}, and this program reads {VERSION}"));
        }
        return Ok(Line::Head { prefix: take(&value, "prefix").unwrap_or_default() });
    }
    if value["end"].as_bool() == Some(true) {
        let sha256 = value["sha256"].as_str().unwrap_or_default().to_owned();
        return Ok(Line::End { keys: value["keys"].as_u64().unwrap_or_default(), sha256 });
    }
    let key = take(&value, "key").filter(|key| !key.is_empty()).ok_or("it has no key")?;
    let value = take(&value, "value").ok_or("it has no value")?;
    Ok(Line::Key(Entry { key, value }))
}

/// A SHA-256 as people write it.
fn hex(sum: &[u8]) -> String {
    sum.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_back_as_they_went() {
        let mut object = Map::new();
        put(&mut object, "key", b"a\n\"");
        put(&mut object, "value", b"\xff\x00");
        let line = Value::Object(object).to_string();
        assert_eq!(line, r#"{"key":"a\n\"","valueBase64":"/wA="}"#);
        let entry = Entry { key: b"a\n\"".to_vec(), value: b"\xff\x00".to_vec() };
        assert_eq!(read(&line), Ok(Line::Key(entry)));
        assert_eq!(read(&head(7, 3, b"p/").to_string()), Ok(Line::Head { prefix: b"p/".to_vec() }));
        let last = Line::End { keys: 2, sha256: "ab".to_owned() };
        assert_eq!(read(&end(2, "ab").to_string()), Ok(last));
        for wrong in ["{", "{}", "[]", r#"{"key":"","value":""}"#, r#"{"key":"a"}"#, r#"{"kvorumExport":2}"#]
        {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
