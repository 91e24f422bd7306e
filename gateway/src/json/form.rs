//! Messages in protobuf's JSON form: names as they are in the .proto text, 64-bit numbers as strings, bytes in base64, and
//! defaults left out.

use std::sync::LazyLock;

use api::Code;
use bytes::{BufMut as _, BytesMut};
use prost::Message;
use prost_reflect::{DeserializeOptions, DynamicMessage, MessageDescriptor, SerializeOptions};

use crate::descriptors::POOL;
use crate::refusal::Refusal;
use crate::rpc::Rpc;

/// Messages of one call.
#[derive(Clone, Debug)]
pub(crate) struct Form {
    request: MessageDescriptor,
    response: MessageDescriptor,
}

/// The JSON forms of all calls, by their numbers.
static FORMS: LazyLock<Vec<Form>> = LazyLock::new(|| Rpc::ALL.iter().map(|rpc| Form::find(*rpc)).collect());

impl Form {
    /// The form of a call. The first who asks waits for some milliseconds.
    pub(crate) fn of(rpc: Rpc) -> &'static Self {
        &FORMS[rpc as usize]
    }

    fn find(rpc: Rpc) -> Self {
        let (service, method) = rpc.names();
        let service = POOL.get_service_by_name(service).expect("the services are built in");
        let method = service.methods().find(|known| known.name() == method).expect("so are their methods");
        Self { request: method.input(), response: method.output() }
    }

    /// The message that a body says. An empty body and `null` are the empty message.
    pub(crate) fn read<Q: Message + Default>(&self, body: &[u8]) -> Result<Q, Refusal> {
        let body = body.trim_ascii();
        if body.is_empty() || body.starts_with(b"null") {
            return Ok(Q::default());
        }
        self.parse(body)?.transcode_to().map_err(|error| wrong(&error))
    }

    /// The message that an object says.
    pub(crate) fn parse(&self, object: &[u8]) -> Result<DynamicMessage, Refusal> {
        let options = DeserializeOptions::new().deny_unknown_fields(false);
        let mut source = serde_json::Deserializer::from_slice(object);
        DynamicMessage::deserialize_with_options(self.request.clone(), &mut source, &options)
            .map_err(|error| wrong(&error))
    }

    /// The message that says nothing.
    pub(crate) fn empty(&self) -> DynamicMessage {
        DynamicMessage::new(self.request.clone())
    }

    /// An answer's text.
    pub(crate) fn write(&self, message: &impl Message) -> Result<Vec<u8>, Refusal> {
        let mut text = Vec::with_capacity(256);
        self.write_to(&mut text, message)?;
        Ok(text)
    }

    fn write_to(&self, out: impl std::io::Write, message: &impl Message) -> Result<(), Refusal> {
        let broken = |error: &dyn std::fmt::Display| Refusal::new(Code::Internal, error.to_string());
        let options = SerializeOptions::new()
            .use_proto_field_name(true)
            .skip_default_fields(true)
            .stringify_64_bit_integers(true);
        let mut dynamic = DynamicMessage::new(self.response.clone());
        dynamic.transcode_from(message).map_err(|error| broken(&error))?;
        let mut text = serde_json::Serializer::new(out);
        dynamic.serialize_with_options(&mut text, &options).map_err(|error| broken(&error))
    }
}

fn wrong(error: &dyn std::fmt::Display) -> Refusal {
    Refusal::new(Code::InvalidArgument, error.to_string())
}

/// Answers of a stream: one line each.
#[derive(Clone, Debug)]
pub(crate) struct Lines(pub(crate) &'static Form);

impl Lines {
    /// Appends an answer.
    pub(crate) fn put(&self, out: &mut BytesMut, answer: &impl Message) -> Result<(), Refusal> {
        out.extend_from_slice(br#"{"result":"#);
        self.0.write_to((&mut *out).writer(), answer)?;
        out.extend_from_slice(b"}\n");
        Ok(())
    }
}
