//! The client half of HTTP/1.1 with keep-alive, one request at a time.
//!
//! A request arrives here as its complete text. Answers end by `Content-Length` or by chunks; anything else ends
//! the connection.

use bytes::{Buf as _, BytesMut};

use super::{Broken, Finished, Slot, Wire};

const HEAD_BYTES_MAX: usize = 64 << 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expect {
    Head,
    /// So many bytes, after which the answer is complete.
    Body(usize),
    ChunkSize,
    /// So many bytes of a chunk, without the line end behind it.
    Chunk(usize),
    ChunkEnd,
    Trailers,
}

/// One HTTP/1.1 connection.
pub(crate) struct Http1 {
    output: BytesMut,
    expect: Expect,
    status: u16,
    body: Vec<u8>,
    body_bytes: usize,
    body_kept_max: usize,
}

impl Http1 {
    /// An idle connection that keeps `body_kept_max` bytes of each answer.
    pub(crate) fn new(body_kept_max: usize) -> Self {
        Self {
            output: BytesMut::with_capacity(8 << 10),
            expect: Expect::Head,
            status: 0,
            body: Vec::new(),
            body_bytes: 0,
            body_kept_max,
        }
    }

    fn on_head(&mut self, head: &[u8]) -> Result<(), Broken> {
        let head = str::from_utf8(head).map_err(|_| broken("a response head is not text"))?;
        let mut lines = head.split("\r\n");
        let status =
            lines.next().and_then(|line| line.strip_prefix("HTTP/1.1 ")).and_then(|line| line.get(..3));
        self.status =
            status.and_then(|code| code.parse().ok()).ok_or_else(|| broken("not an HTTP/1.1 answer"))?;
        let mut body = None;
        for (name, value) in lines.filter_map(|line| line.split_once(':')) {
            let value = value.trim();
            if name.eq_ignore_ascii_case("content-length") {
                let len = value.parse().map_err(|_| broken("a Content-Length that is no number"))?;
                body = Some(Expect::Body(len));
            } else if name.eq_ignore_ascii_case("transfer-encoding") && value.eq_ignore_ascii_case("chunked")
            {
                body = Some(Expect::ChunkSize);
            } else if name.eq_ignore_ascii_case("connection") && value.eq_ignore_ascii_case("close") {
                return Err(Broken(format!("the server closes the connection after status {}", self.status)));
            }
        }
        let empty = (self.status == 204).then_some(Expect::Body(0));
        self.expect = body.or(empty).ok_or_else(|| broken("an answer without a length"))?;
        Ok(())
    }

    fn keep(&mut self, input: &mut BytesMut, want: usize) -> usize {
        let taken = want.min(input.len());
        let room = self.body_kept_max.saturating_sub(self.body.len());
        self.body.extend(input.iter().take(taken.min(room)));
        self.body_bytes += taken;
        input.advance(taken);
        want - taken
    }

    /// One step; `Ok(false)` when more bytes are needed.
    fn step(&mut self, input: &mut BytesMut, finished: &mut Vec<Finished>) -> Result<bool, Broken> {
        match self.expect {
            Expect::Head => {
                let Some(len) = find(input, b"\r\n\r\n") else {
                    if input.len() > HEAD_BYTES_MAX {
                        return Err(broken("a response head without end"));
                    }
                    return Ok(false);
                };
                let head = input.split_to(len + 4);
                self.on_head(&head)?;
                if self.expect == Expect::Body(0) {
                    self.finish(finished);
                }
            }
            Expect::Body(want) => match self.keep(input, want) {
                0 => self.finish(finished),
                left => {
                    self.expect = Expect::Body(left);
                    return Ok(false);
                }
            },
            Expect::ChunkSize => {
                let Some(line) = line(input) else { return Ok(false) };
                let digits = str::from_utf8(&line).unwrap_or_default().split(';').next().unwrap_or_default();
                self.expect = match usize::from_str_radix(digits.trim(), 16) {
                    Ok(0) => Expect::Trailers,
                    Ok(len) => Expect::Chunk(len),
                    Err(_) => return Err(broken("a chunk size that is no number")),
                };
            }
            Expect::Chunk(want) => match self.keep(input, want) {
                0 => self.expect = Expect::ChunkEnd,
                left => {
                    self.expect = Expect::Chunk(left);
                    return Ok(false);
                }
            },
            Expect::ChunkEnd => {
                let Some(line) = line(input) else { return Ok(false) };
                if !line.is_empty() {
                    return Err(broken("a chunk is longer than it says"));
                }
                self.expect = Expect::ChunkSize;
            }
            Expect::Trailers => {
                let Some(line) = line(input) else { return Ok(false) };
                if line.is_empty() {
                    self.finish(finished);
                }
            }
        }
        Ok(true)
    }

    fn finish(&mut self, finished: &mut Vec<Finished>) {
        let failure = (!(200..300).contains(&self.status)).then(|| {
            let body = String::from_utf8_lossy(&self.body);
            format!("HTTP {}: {}", self.status, body.chars().take(120).collect::<String>().trim())
        });
        finished.push(Finished { slot: 0, failure, body_bytes: self.body_bytes });
        self.expect = Expect::Head;
    }
}

impl Wire for Http1 {
    fn start(&mut self, _slot: Slot, message: &[u8]) -> Result<(), Broken> {
        self.body.clear();
        self.body_bytes = 0;
        self.output.extend_from_slice(message);
        Ok(())
    }

    fn receive(&mut self, input: &mut BytesMut, finished: &mut Vec<Finished>) -> Result<(), Broken> {
        while !input.is_empty() && self.step(input, finished)? {}
        Ok(())
    }

    fn body(&self, _slot: Slot) -> &[u8] {
        &self.body
    }

    fn output(&mut self) -> &mut BytesMut {
        &mut self.output
    }
}

fn broken(text: &str) -> Broken {
    Broken(text.into())
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

/// Takes one line off the input, without its end.
fn line(input: &mut BytesMut) -> Option<BytesMut> {
    let len = find(input, b"\r\n")?;
    let line = input.split_to(len);
    input.advance(2);
    Some(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, body: &str, failure: Option<&str>) {
        for cut in 0..text.len() {
            let mut http1 = Http1::new(1024);
            http1.start(0, b"GET / HTTP/1.1\r\n\r\n").expect("always");
            let (mut input, mut finished) = (BytesMut::from(&text.as_bytes()[..cut]), Vec::new());
            http1.receive(&mut input, &mut finished).expect("well formed");
            assert!(finished.is_empty(), "{text:?} cut at {cut}");
            input.extend_from_slice(&text.as_bytes()[cut..]);
            http1.receive(&mut input, &mut finished).expect("well formed");
            assert_eq!(finished.len(), 1, "{text:?} cut at {cut}");
            assert_eq!(http1.body(0), body.as_bytes());
            assert_eq!(finished[0].failure.as_deref(), failure);
            assert!(input.is_empty());
        }
    }

    #[test]
    fn answers_end_where_they_say() {
        check("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", "abc", None);
        check("HTTP/1.1 201 Created\r\ncontent-length: 0\r\n\r\n", "", None);
        check("HTTP/1.1 204 No Content\r\n\r\n", "", None);
        check(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=1\r\nde\r\n0\r\n\r\n",
            "abcde",
            None,
        );
        check("HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\nnone", "none", Some("HTTP 404: none"));
    }

    #[test]
    fn what_has_no_end_is_refused() {
        for text in [
            "HTTP/1.1 200 OK\r\n\r\n",
            "HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
            "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        ] {
            let mut input = BytesMut::from(text);
            assert!(Http1::new(16).receive(&mut input, &mut Vec::new()).is_err(), "{text:?}");
        }
    }
}
