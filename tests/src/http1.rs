//! HTTP/1.1 by hand: sends exactly the bytes it is given and shows exactly what came back.
//!
//! It never repairs, follows, retries or decodes anything except the framing of the body.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// An answer may not be larger than this.
const BODY_BYTES_MAX: u64 = 64 << 20;

/// How the end of a body is found.
enum Framing {
    Nothing,
    Length(u64),
    Chunked,
    UntilClosed,
}

/// An answer as it came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reply {
    /// The status code.
    pub status: u16,
    /// The first line.
    pub status_line: String,
    /// Headers in the order and spelling in which they came.
    pub headers: Vec<(String, String)>,
    /// The body without its framing.
    pub body: Vec<u8>,
    /// Headers after a chunked body.
    pub trailers: Vec<(String, String)>,
}

impl Reply {
    /// The first header of that name, in whatever spelling.
    pub fn header(&self, name: &str) -> Option<&str> {
        find(&self.headers, name)
    }

    /// The body as text; what is not UTF-8 shows as the replacement character.
    pub fn body_text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// A request as curl would write it: a host, a length, and for a body the form's content type unless
/// `headers` says something else.
pub fn request(method: &str, target: &str, headers: &[(String, String)], body: Option<&[u8]>) -> Vec<u8> {
    let mut head = format!("{method} {target} HTTP/1.1\r\n");
    let mut add = |name: &str, value: &str| {
        for part in [name, ": ", value, "\r\n"] {
            head.push_str(part);
        }
    };
    if find(headers, "host").is_none() {
        add("Host", "127.0.0.1");
    }
    if let Some(body) = body {
        if find(headers, "content-type").is_none() {
            add("Content-Type", "application/x-www-form-urlencoded");
        }
        if find(headers, "content-length").is_none() {
            add("Content-Length", &body.len().to_string());
        }
    }
    for (name, value) in headers {
        add(name, value);
    }
    head.push_str("\r\n");
    let mut bytes = head.into_bytes();
    bytes.extend_from_slice(body.unwrap_or_default());
    bytes
}

/// Sends `bytes` on a connection of its own and reads one answer.
pub fn exchange(address: SocketAddr, bytes: &[u8], patience: Duration) -> io::Result<Reply> {
    let mut stream = connect(address, patience)?;
    // A server may answer and close before it has read a body that it does not want: that is no failure yet.
    let written = stream.write_all(bytes);
    let mut reader = BufReader::new(stream);
    match read_reply(&mut reader, bytes.starts_with(b"HEAD ")) {
        Err(error) => Err(written.err().unwrap_or(error)),
        Ok(reply) => Ok(reply),
    }
}

/// A connection that is kept from one answer to the next. It never sends a request twice.
#[derive(Debug)]
pub struct Connection {
    address: SocketAddr,
    patience: Duration,
    reader: Option<BufReader<TcpStream>>,
}

impl Connection {
    /// One that connects when it is first asked, and after it was closed.
    pub fn new(address: SocketAddr, patience: Duration) -> Self {
        Self { address, patience, reader: None }
    }

    /// Sends `bytes` and reads one answer.
    pub fn ask(&mut self, bytes: &[u8]) -> io::Result<Reply> {
        let mut reader = match self.reader.take() {
            Some(reader) => reader,
            None => BufReader::new(connect(self.address, self.patience)?),
        };
        reader.get_mut().write_all(bytes)?;
        let reply = read_reply(&mut reader, bytes.starts_with(b"HEAD "))?;
        if !reply.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close")) {
            self.reader = Some(reader);
        }
        Ok(reply)
    }
}

fn connect(address: SocketAddr, patience: Duration) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, patience)?;
    stream.set_read_timeout(Some(patience))?;
    stream.set_write_timeout(Some(patience))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// An answer that goes on: lines of a chunked body, as they come.
#[derive(Debug)]
pub struct Lines {
    reader: BufReader<TcpStream>,
    pending: Vec<u8>,
    ended: bool,
    /// Status and headers, once something was received.
    pub reply: Option<Reply>,
}

impl Lines {
    /// Sends `bytes` on a connection of its own and reads nothing yet.
    pub fn open(address: SocketAddr, bytes: &[u8], patience: Duration) -> io::Result<Self> {
        let mut stream = TcpStream::connect_timeout(&address, patience)?;
        stream.set_read_timeout(Some(patience))?;
        stream.set_nodelay(true)?;
        stream.write_all(bytes)?;
        Ok(Self { reader: BufReader::new(stream), pending: Vec::new(), ended: false, reply: None })
    }

    /// Waits for status and headers.
    pub fn head(&mut self) -> io::Result<()> {
        if self.reply.is_none() {
            let mut reply = Reply { status_line: line(&mut self.reader)?, ..Reply::default() };
            reply.status = status_of(&reply.status_line)?;
            reply.headers = fields(&mut self.reader)?;
            if let Framing::Length(length) = framing(&reply, false)? {
                let reader: &mut BufReader<TcpStream> = &mut self.reader;
                reader.take(length).read_to_end(&mut self.pending)?;
                self.ended = true;
            }
            self.reply = Some(reply);
        }
        Ok(())
    }

    /// A line that comes within this time, after the head; `None` if there is nothing, not even the end.
    pub fn receive_within(&mut self, time: Duration) -> io::Result<Option<String>> {
        let stream = self.reader.get_ref();
        let patience = stream.read_timeout()?;
        stream.set_read_timeout(Some(time))?;
        let received = self.receive();
        self.reader.get_ref().set_read_timeout(patience)?;
        match received {
            Ok(line) => Ok(Some(line.unwrap_or_else(|| "the end".to_owned()))),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// The next line; `None` after the last one. What is left without a line feed is a line too.
    pub fn receive(&mut self) -> io::Result<Option<String>> {
        self.head()?;
        loop {
            if let Some(at) = self.pending.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.pending.drain(..=at).collect();
                return Ok(Some(String::from_utf8_lossy(&line).trim_end().to_owned()));
            }
            if self.ended {
                let rest = String::from_utf8_lossy(&std::mem::take(&mut self.pending)).into_owned();
                return Ok((!rest.is_empty()).then_some(rest));
            }
            self.ended = !chunk(&mut self.reader, &mut self.pending)?;
        }
    }
}

/// Reads one chunk into `body`; `false` when it was the last one.
fn chunk(reader: &mut impl BufRead, body: &mut Vec<u8>) -> io::Result<bool> {
    let size = line(reader)?;
    let size = size.split(';').next().unwrap_or_default();
    let size = u64::from_str_radix(size, 16).map_err(|_| invalid("a chunk size that is none"))?;
    if size == 0 {
        return Ok(false);
    }
    if size > BODY_BYTES_MAX {
        return Err(invalid("a chunk that is too large"));
    }
    let read = reader.by_ref().take(size).read_to_end(body)?;
    if read as u64 != size || !line(reader)?.is_empty() {
        return Err(invalid("a chunk that ends early"));
    }
    Ok(true)
}

pub(crate) fn read_reply(reader: &mut impl BufRead, head_only: bool) -> io::Result<Reply> {
    let mut reply = Reply::default();
    loop {
        reply.status_line = line(reader)?;
        reply.status = status_of(&reply.status_line)?;
        reply.headers = fields(reader)?;
        // An interim answer ("100 Continue") comes before the real one.
        if reply.status >= 200 {
            break;
        }
    }
    match framing(&reply, head_only)? {
        Framing::Nothing => {}
        Framing::Length(length) => {
            let mut body = Vec::new();
            reader.take(length).read_to_end(&mut body)?;
            if body.len() as u64 != length {
                return Err(invalid("the body ends early"));
            }
            reply.body = body;
        }
        Framing::Chunked => (reply.body, reply.trailers) = chunks(reader)?,
        Framing::UntilClosed => {
            reader.take(BODY_BYTES_MAX).read_to_end(&mut reply.body)?;
        }
    }
    Ok(reply)
}

fn framing(reply: &Reply, head_only: bool) -> io::Result<Framing> {
    if head_only || reply.status == 204 || reply.status == 304 {
        return Ok(Framing::Nothing);
    }
    if reply.header("transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked")) {
        return Ok(Framing::Chunked);
    }
    match reply.header("content-length") {
        None => Ok(Framing::UntilClosed),
        Some(text) => match text.parse() {
            Ok(length) if length <= BODY_BYTES_MAX => Ok(Framing::Length(length)),
            _ => Err(invalid("a content length that is none")),
        },
    }
}

type Fields = Vec<(String, String)>;

fn chunks(reader: &mut impl BufRead) -> io::Result<(Vec<u8>, Fields)> {
    let mut body = Vec::new();
    while chunk(reader, &mut body)? {}
    Ok((body, fields(reader)?))
}

fn fields(reader: &mut impl BufRead) -> io::Result<Fields> {
    let mut fields = Vec::new();
    loop {
        let line = line(reader)?;
        if line.is_empty() {
            return Ok(fields);
        }
        let (name, value) = line.split_once(':').ok_or_else(|| invalid("a header without a colon"))?;
        fields.push((name.to_owned(), value.trim().to_owned()));
    }
}

fn line(reader: &mut impl BufRead) -> io::Result<String> {
    let mut bytes = Vec::new();
    if reader.read_until(b'\n', &mut bytes)? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let text = String::from_utf8_lossy(&bytes);
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

fn status_of(line: &str) -> io::Result<u16> {
    let code = line.split(' ').nth(1).and_then(|code| code.parse().ok());
    code.ok_or_else(|| invalid("a first line without a status"))
}

fn find<'a>(fields: &'a [(String, String)], name: &str) -> Option<&'a str> {
    fields.iter().find(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
}

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> io::Result<Reply> {
        read_reply(&mut text.as_bytes(), false)
    }

    #[test]
    fn every_framing_is_read() {
        let reply = read("HTTP/1.1 200 OK\r\nX-A: b\r\nContent-Length: 2\r\n\r\nhi").expect("well-formed");
        assert_eq!((reply.status, reply.body_text().as_str(), reply.header("x-a")), (200, "hi", Some("b")));
        let reply = read(
            "HTTP/1.1 400 No\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n1\r\n!\r\n0\r\nT: u\r\n\r\n",
        );
        let reply = reply.expect("well-formed");
        assert_eq!((reply.body_text().as_str(), reply.trailers.len()), ("hi!", 1));
        let reply = read("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\nrest").expect("well-formed");
        assert_eq!(reply.body_text(), "rest");
    }

    #[test]
    fn a_short_body_is_not_taken_for_a_whole_one() {
        assert!(read("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nhi").is_err());
        assert!(read("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhi\r\n").is_err());
        assert!(read("").is_err());
    }
}
