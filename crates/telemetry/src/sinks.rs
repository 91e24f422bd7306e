//! Where lines of the log go.
//!
//! INVARIANT: a line is written to each output with one call, so lines never mix.
//! INVARIANT: an output that fails stops neither the others nor the member.

use std::io::{self, Write};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::sync::Arc;

use tracing_subscriber::fmt::MakeWriter;

use crate::log::{LogError, LogOutput};
use crate::rotation::{LogFile, Rotation};

/// Where systemd's journal hears.
const JOURNAL: &str = "/run/systemd/journal/socket";
/// The words that begin a line, and syslog's number for them, by which the journal sorts.
const PRIORITIES: [(&str, u8); 4] = [("debug", 7), ("warn", 4), ("error", 3), ("fatal", 2)];
/// That of the rest.
const PRIORITY_INFO: u8 = 6;

enum Sink {
    Stderr,
    Stdout,
    Journal(UnixDatagram),
    File(LogFile),
}

impl Sink {
    fn open(output: &LogOutput, rotation: Option<&Rotation>) -> Result<Self, LogError> {
        Ok(match output {
            LogOutput::Stderr => Self::Stderr,
            LogOutput::Stdout => Self::Stdout,
            // Where there is no journal, its place is taken by what systemd collects anyway.
            LogOutput::Journal => journal(Path::new(JOURNAL)).map_or(Self::Stderr, Self::Journal),
            LogOutput::File(path) => {
                let file = LogFile::open(path, rotation.copied());
                Self::File(file.map_err(|source| LogError::Open { path: path.clone(), source })?)
            }
        })
    }

    fn write_line(&self, line: &[u8]) -> io::Result<()> {
        match self {
            Self::Stderr => io::stderr().lock().write_all(line),
            Self::Stdout => {
                let mut stdout = io::stdout().lock();
                stdout.write_all(line)?;
                stdout.flush()
            }
            Self::Journal(socket) => socket.send(&journal_entry(line)).map(drop),
            Self::File(file) => file.write_line(line),
        }
    }
}

fn journal(at: &Path) -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    socket.connect(at)?;
    Ok(socket)
}

/// The journal's own form: a variable on a line each. A line of the log has no line feed but its last.
fn journal_entry(line: &[u8]) -> Vec<u8> {
    let text = line.strip_suffix(b"\n").unwrap_or(line);
    let start = String::from_utf8_lossy(text.get(..64).unwrap_or(text));
    let is = |word: &str| {
        start.contains(&format!("\"level\":\"{word}\"")) || start.contains(&format!("\t{word}\t"))
    };
    let known = PRIORITIES.iter().find(|(word, _)| is(word));
    let priority = known.map_or(PRIORITY_INFO, |(_, priority)| *priority);
    let head = format!("PRIORITY={priority}\nSYSLOG_IDENTIFIER=kvorum\nMESSAGE=");
    [head.as_bytes(), text, b"\n"].concat()
}

/// Every output at once.
#[derive(Clone)]
pub(crate) struct Tee(Arc<[Sink]>);

impl Tee {
    pub(crate) fn open(outputs: &[LogOutput], rotation: Option<&Rotation>) -> Result<Self, LogError> {
        let sinks =
            outputs.iter().map(|output| Sink::open(output, rotation)).collect::<Result<Vec<_>, _>>()?;
        Ok(Self(sinks.into()))
    }

    /// Opens files again under their names, which somebody has moved away.
    pub(crate) fn reopen(&self) -> io::Result<()> {
        self.0.iter().try_for_each(|sink| match sink {
            Sink::File(file) => file.reopen(),
            _ => Ok(()),
        })
    }
}

impl<'a> MakeWriter<'a> for Tee {
    type Writer = &'a Self;

    fn make_writer(&'a self) -> Self::Writer {
        self
    }
}

impl Write for &Tee {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        for sink in self.0.iter() {
            // A full disk or a closed pipe takes the log away, and the member goes on: there is nowhere left
            // to say so.
            drop(sink.write_line(line));
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_journal_gets_a_line_with_its_priority() {
        for (line, priority) in
            [("{\"level\":\"warn\",\"msg\":\"x\"}", 4), ("2026\tinfo\tx", 6), ("2026\terror\tx", 3)]
        {
            let entry = String::from_utf8(journal_entry(format!("{line}\n").as_bytes())).expect("text");
            assert_eq!(entry, format!("PRIORITY={priority}\nSYSLOG_IDENTIFIER=kvorum\nMESSAGE={line}\n"));
        }
        assert!(journal(Path::new("/nowhere")).is_err());
    }
}
