//! One etcdctl at work: what it is told, what it prints while it runs, and how it ends.
//!
//! INVARIANT: a process started here is ended here, by its process id, however the test ends.

use std::io::{Read, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use ::tests::until;
use anyhow::{Context, ensure};
use rustix::process::{Pid, Signal, kill_process};

/// Output that did not change for so many looks is taken for whole, and waited for no longer than this.
const SETTLED_LOOKS: usize = 15;
const SETTLED_WITHIN: Duration = Duration::from_secs(5);

/// An etcdctl, and which interface it is to speak.
#[derive(Clone, Debug)]
pub(crate) struct Etcdctl {
    pub(crate) path: PathBuf,
    pub(crate) api: &'static str,
}

/// What a process printed and how it ended.
#[derive(Clone, Debug, Default)]
pub(crate) struct Output {
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
    /// The exit code, or the signal that ended it.
    pub(crate) ended: String,
}

/// A process that runs.
pub(crate) struct Process {
    child: Child,
    input: Option<ChildStdin>,
    stdout: Reader,
    stderr: Reader,
    /// How far the output was waited for.
    seen: usize,
}

/// Something that a thread reads to its end.
struct Reader {
    bytes: Arc<Mutex<Vec<u8>>>,
    thread: Option<JoinHandle<()>>,
}

impl Process {
    /// Starts etcdctl with these words, in this folder.
    pub(crate) fn start(program: &Etcdctl, words: &[String], folder: &Path) -> anyhow::Result<Self> {
        // A stream is ended by SIGINT, which is ignored where the tests were started in the background.
        let mut child = Command::new("/usr/bin/env")
            .arg("--default-signal=INT")
            .arg(&program.path)
            .env_clear()
            .env("ETCDCTL_API", program.api)
            .env("PATH", "/usr/bin:/bin")
            .args(words)
            .current_dir(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("start {}", program.path.display()))?;
        let stdout = Reader::start(child.stdout.take().context("it was piped")?);
        let stderr = Reader::start(child.stderr.take().context("it was piped")?);
        Ok(Self { input: child.stdin.take(), child, stdout, stderr, seen: 0 })
    }

    /// Writes to its input. One that ended and does not read is no failure: its output says why.
    pub(crate) fn write(&mut self, text: &str) -> anyhow::Result<()> {
        let input = self.input.as_mut().context("its input is closed")?;
        let _gone = input.write_all(text.as_bytes()).and_then(|()| input.flush());
        Ok(())
    }

    /// Waits until it has printed this, after what was waited for before.
    pub(crate) fn expect(&mut self, text: &str, patience: Duration) -> anyhow::Result<()> {
        let found = until(patience, || {
            let printed = self.stdout.text();
            let at = printed.get(self.seen..)?.find(text)?;
            Some(self.seen + at + text.len())
        });
        self.seen = found.with_context(|| {
            format!(
                "it did not print {text:?} within {patience:?}, but:\n{}{}",
                self.stdout.text(),
                self.stderr.text()
            )
        })?;
        Ok(())
    }

    /// Sends SIGINT once it has printed to its end what it prints: an event comes in several writes.
    pub(crate) fn interrupt(&self) -> anyhow::Result<()> {
        let (mut length, mut looks) = (self.stdout.text().len(), 0);
        until(SETTLED_WITHIN, || {
            let now = self.stdout.text().len();
            looks = if now == length { looks + 1 } else { 0 };
            length = now;
            (looks >= SETTLED_LOOKS).then_some(())
        });
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).context("a process id")?;
        kill_process(pid, Signal::INT).context("send a signal")
    }

    /// Closes its input and waits for its end.
    pub(crate) fn close(mut self, patience: Duration) -> anyhow::Result<Output> {
        drop(self.input.take());
        self.finish(patience)
    }

    /// Waits for its end; its input stays open.
    pub(crate) fn finish(mut self, patience: Duration) -> anyhow::Result<Output> {
        let status = until(patience, || self.child.try_wait().ok().flatten());
        if status.is_none() {
            self.child.kill().context("end what did not end by itself")?;
        }
        let (stdout, stderr) = (self.stdout.finish(), self.stderr.finish());
        let show = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let status = status.with_context(|| {
            format!("it did not end within {patience:?}: {}{}", show(&stdout), show(&stderr))
        })?;
        Ok(Output { stdout, stderr, ended: status.to_string() })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let ended = self.child.kill().and_then(|()| self.child.wait());
            if let Err(error) = ended {
                eprintln!("an etcdctl could not be ended: {error}");
            }
        }
    }
}

impl Reader {
    fn start(mut from: impl Read + Send + 'static) -> Self {
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let thread = thread::spawn({
            let bytes = Arc::clone(&bytes);
            move || {
                let mut piece = [0; 4096];
                while let Ok(read @ 1..) = from.read(&mut piece) {
                    let read = piece.get(..read).unwrap_or_default();
                    bytes.lock().expect("no reader panics").extend_from_slice(read);
                }
            }
        });
        Self { bytes, thread: Some(thread) }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes.lock().expect("no reader panics")).into_owned()
    }

    fn finish(&mut self) -> Vec<u8> {
        if let Some(thread) = self.thread.take() {
            thread.join().expect("no reader panics");
        }
        std::mem::take(&mut *self.bytes.lock().expect("no reader panics"))
    }
}

/// Runs etcdctl to its end.
pub(crate) fn run(
    program: &Etcdctl,
    words: &[String],
    folder: &Path,
    input: &str,
    patience: Duration,
) -> anyhow::Result<Output> {
    ensure!(!words.is_empty(), "a command without words");
    let mut process = Process::start(program, words, folder)?;
    process.write(input)?;
    process.close(patience)
}
