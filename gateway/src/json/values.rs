//! The requests of a stream over JSON: objects one after another, in pieces that begin and end anywhere.
//!
//! INVARIANT: no more is held than one object of the largest size and the piece that came last.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use api::Code;
use bytes::{Buf as _, Bytes, BytesMut};
use hyper::body::{Body as _, Incoming};
use prost::Message;
use prost_reflect::DynamicMessage;

use super::form::Form;
use crate::budget::Share;
use crate::gateway::Shared;
use crate::refusal::Refusal;
use crate::rpc::Rpc;

/// Messages out of a request's body.
pub(crate) struct Values {
    shared: Arc<Shared>,
    rpc: Rpc,
    body: Incoming,
    form: &'static Form,
    objects: Objects,
    first: Option<DynamicMessage>,
    /// Of an object that is not here to its end.
    share: Share,
    ended: bool,
}

impl Values {
    pub(super) fn new(shared: Arc<Shared>, rpc: Rpc, body: Incoming, bytes_max: usize) -> Self {
        let form = Form::of(rpc);
        let share = shared.arriving.share();
        Self { shared, rpc, body, form, objects: Objects::new(bytes_max), first: None, share, ended: false }
    }

    /// Waits for the first value, which refuses the whole request if it is none.
    pub(super) async fn begin(&mut self) -> Result<(), Refusal> {
        self.first = std::future::poll_fn(|cx| self.poll_value(cx)).await?;
        Ok(())
    }

    /// The rest of the body.
    pub(super) fn into_body(self) -> Incoming {
        self.body
    }

    /// The next message, `None` after the last. What is no value ends the requests, as in etcd.
    pub(crate) fn poll_next<Q: Message + Default>(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Q>, Refusal>> {
        let mut value = self.first.take();
        if value.is_none() {
            let next = ready!(self.poll_value(cx));
            if let Err(refusal) = &next {
                if refusal.code == Code::Canceled {
                    return Poll::Ready(Err(refusal.clone()));
                }
                self.ended = true;
            }
            value = next.unwrap_or_default();
        }
        Poll::Ready(value.map(|value| self.receive(&value)).transpose())
    }

    fn receive<Q: Message + Default>(&self, value: &DynamicMessage) -> Result<Q, Refusal> {
        let (bytes, bytes_max) = (value.encoded_len(), self.shared.message_bytes_max);
        if bytes > bytes_max {
            return Err(Refusal::message_too_large(bytes, bytes_max));
        }
        self.shared.meters.received_message(self.shared.meters.call(self.rpc), bytes);
        value.transcode_to().map_err(|error| Refusal::new(Code::InvalidArgument, error.to_string()))
    }

    fn poll_value(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<DynamicMessage>, Refusal>> {
        loop {
            if self.ended {
                return Poll::Ready(Ok(None));
            }
            match self.objects.next()? {
                Some(object) if object.as_ref() == b"null" => {
                    return Poll::Ready(Ok(Some(self.form.empty())));
                }
                Some(object) => {
                    let parsed = self.form.parse(&object);
                    return Poll::Ready(parsed.map(Some).map_err(|refusal| no_value(&refusal.text)));
                }
                None => {}
            }
            self.share.resize(self.objects.have.len()).map_err(|why| self.shared.no_room(why))?;
            if let Poll::Ready(why) = self.share.poll_lost(cx) {
                return Poll::Ready(Err(self.shared.no_room(why)));
            }
            match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.objects.push(&data);
                    }
                }
                Some(Err(_)) => return Poll::Ready(Err(Refusal::canceled())),
                None if self.objects.is_torn() => return Poll::Ready(Err(no_value("unexpected EOF"))),
                None => self.ended = true,
            }
        }
    }
}

/// etcd has no closer code for it.
fn no_value(text: &str) -> Refusal {
    Refusal::new(Code::Unknown, text.to_owned())
}

/// Finds where objects end. It looks at each byte once, however the pieces are cut.
struct Objects {
    have: BytesMut,
    /// Bytes of `have` that were looked at.
    seen: usize,
    depth: usize,
    in_text: bool,
    escaped: bool,
    bytes_max: usize,
}

impl Objects {
    fn new(bytes_max: usize) -> Self {
        Self { have: BytesMut::new(), seen: 0, depth: 0, in_text: false, escaped: false, bytes_max }
    }

    fn push(&mut self, piece: &[u8]) {
        self.have.extend_from_slice(piece);
    }

    /// Whether a value has begun and not ended.
    fn is_torn(&self) -> bool {
        !self.have.trim_ascii_start().is_empty()
    }

    /// The next object or `null`, if all of it is there.
    fn next(&mut self) -> Result<Option<Bytes>, Refusal> {
        const NULL: &[u8] = b"null";
        if self.seen == 0 {
            let space = self.have.len() - self.have.trim_ascii_start().len();
            self.have.advance(space);
            match self.have.first() {
                None => return Ok(None),
                Some(b'{') => {}
                Some(_) if self.have.starts_with(NULL) => {
                    return Ok(Some(self.have.split_to(NULL.len()).freeze()));
                }
                Some(_) if NULL.starts_with(&self.have) => return Ok(None),
                Some(other) => {
                    let text =
                        format!("invalid character {:?} looking for beginning of value", char::from(*other));
                    return Err(no_value(&text));
                }
            }
        }
        while let Some(byte) = self.have.get(self.seen).copied() {
            self.seen += 1;
            if self.closes(byte) {
                let end = std::mem::take(&mut self.seen);
                return Ok(Some(self.have.split_to(end).freeze()));
            }
        }
        if self.have.len() > self.bytes_max {
            let text = format!("http: body larger than max ({})", self.bytes_max);
            return Err(Refusal::new(Code::ResourceExhausted, text));
        }
        Ok(None)
    }
    /// Whether this byte ends the object.
    fn closes(&mut self, byte: u8) -> bool {
        if std::mem::take(&mut self.escaped) {
            return false;
        }
        match byte {
            b'\\' if self.in_text => self.escaped = true,
            b'"' => self.in_text = !self.in_text,
            b'{' | b'[' if !self.in_text => self.depth += 1,
            b'}' | b']' if !self.in_text => {
                self.depth = self.depth.saturating_sub(1);
                return self.depth == 0;
            }
            _ => {}
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &[u8], size: usize) -> (Vec<String>, bool) {
        let mut objects = Objects::new(100);
        let mut found = Vec::new();
        for piece in text.chunks(size) {
            objects.push(piece);
            loop {
                match objects.next() {
                    Ok(Some(object)) => found.push(String::from_utf8_lossy(&object).into_owned()),
                    Ok(None) => break,
                    Err(_) => return (found, true),
                }
            }
        }
        (found, objects.is_torn())
    }

    #[test]
    fn objects_end_where_their_braces_close() {
        for (text, expect, torn) in [
            ("", &[][..], false),
            (" \n ", &[], false),
            ("{}", &["{}"], false),
            ("{} {\"a\":[{}]}\n{}", &["{}", "{\"a\":[{}]}", "{}"], false),
            (r#"{"a":"}\"}{"}{"b":"\\"}"#, &[r#"{"a":"}\"}{"}"#, r#"{"b":"\\"}"#], false),
            ("null{}", &["null", "{}"], false),
            ("{}nul", &["{}"], true),
            ("{}{", &["{}"], true),
            ("{}nonsense{}", &["{}"], true),
            ("{}]", &["{}"], true),
        ] {
            for size in 1..=text.len().max(1) {
                assert_eq!(
                    read(text.as_bytes(), size),
                    (expect.iter().map(ToString::to_string).collect(), torn)
                );
            }
        }
        let endless = format!("{{\"a\":\"{}", "a".repeat(200));
        assert_eq!(read(endless.as_bytes(), 7), (Vec::new(), true));
    }
}
