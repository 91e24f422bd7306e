//! A refusal on its way out: a gRPC code and a text, whatever protocol will carry it.

use std::borrow::Cow;

use api::{Code, Fault};

/// Code and text, as gRPC and JSON tell them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) code: Code,
    pub(crate) text: Cow<'static, str>,
}

impl Refusal {
    /// A refusal by the gateway itself.
    pub(crate) fn new(code: Code, text: impl Into<Cow<'static, str>>) -> Self {
        Self { code, text: text.into() }
    }

    /// The member does not offer this method.
    pub(crate) fn unimplemented(method: &str) -> Self {
        Self::new(Code::Unimplemented, format!("method {method} not implemented"))
    }

    /// A message above the limit, in grpc-go's words.
    pub(crate) fn message_too_large(bytes: usize, bytes_max: usize) -> Self {
        let text = format!("grpc: received message larger than max ({bytes} vs. {bytes_max})");
        Self::new(Code::ResourceExhausted, text)
    }

    /// Others hold all the room that there is at the door.
    pub(crate) fn too_many() -> Self {
        Self::new(Code::ResourceExhausted, Fault::TooManyRequests.text())
    }

    /// The caller gave no more time, or a message did not arrive in time.
    pub(crate) fn out_of_time() -> Self {
        Self::new(Code::DeadlineExceeded, "context deadline exceeded")
    }

    /// The caller is gone.
    pub(crate) fn canceled() -> Self {
        Self::new(Code::Canceled, "context canceled")
    }
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Self {
        let code = fault.code();
        let text = fault.text().to_owned();
        Self::new(code, text)
    }
}
