//! Go's JSON of a message, as etcdctl prints it: not the JSON of the gateway.
//!
//! Fields in the order of the message, under the names of the .proto text; numbers are numbers, bytes are base64,
//! enums are numbers; what is zero is left out. A choice is an object of its own, under its Go name.

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage, ReflectMessage as _, Value as Field};
use serde_json::{Map, Value};

static POOL: LazyLock<DescriptorPool> =
    LazyLock::new(|| DescriptorPool::decode(proto::DESCRIPTORS).expect("the build wrote the descriptors"));

/// The JSON of a message; the name is that of the .proto text, such as `etcdserverpb.PutResponse`.
pub(crate) fn message(name: &str, message: &impl Message) -> Value {
    let descriptor = POOL.get_message_by_name(name);
    let decoded = descriptor
        .and_then(|descriptor| DynamicMessage::decode(descriptor, message.encode_to_vec().as_slice()).ok());
    decoded.map_or(Value::Null, |message| object(&message))
}

/// A value as one line. Go escapes what could be taken for HTML.
pub(crate) fn line(value: &Value) -> String {
    let mut line = String::new();
    for char in value.to_string().chars() {
        match char {
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                line.extend(format!("\\u{:04x}", u32::from(char)).chars());
            }
            char => line.push(char),
        }
    }
    line.push('\n');
    line
}

fn object(message: &DynamicMessage) -> Value {
    let mut object = Map::new();
    for field in message.descriptor().fields() {
        if !message.has_field(&field) {
            continue;
        }
        let value = value(&message.get_field(&field));
        match field.containing_oneof() {
            Some(choice) => {
                let inner = Map::from_iter([(field.name().to_owned(), value)]);
                object.insert(go_name(choice.name()), Value::Object(inner));
            }
            None => drop(object.insert(field.name().to_owned(), value)),
        }
    }
    Value::Object(object)
}

fn value(value: &Field) -> Value {
    match value {
        Field::Bool(value) => Value::from(*value),
        Field::I32(number) | Field::EnumNumber(number) => Value::from(*number),
        Field::I64(number) => Value::from(*number),
        Field::U32(number) => Value::from(*number),
        Field::U64(number) => Value::from(*number),
        Field::F32(number) => Value::from(*number),
        Field::F64(number) => Value::from(*number),
        Field::String(text) => Value::from(text.as_str()),
        Field::Bytes(bytes) => Value::from(base64(bytes)),
        Field::Message(message) => object(message),
        Field::List(list) => list.iter().map(self::value).collect(),
        // No message of the interface has one.
        Field::Map(_) => Value::Null,
    }
}

/// Bytes as Go writes them.
pub(crate) fn base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// `response` is the field `Response` of a Go struct.
fn go_name(name: &str) -> String {
    name.split('_').map(|word| word[..1].to_ascii_uppercase() + &word[1..]).collect()
}
