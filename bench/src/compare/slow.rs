//! A member that gets a fifth of the time: the others must not wait for it.
//!
//! The process is stopped and continued by signals, in cycles shorter than an election timeout, so that it stays a
//! follower: everything about it is slow, its disk, its network and its answers to heartbeats.
//!
//! INVARIANT: the process runs on when its `Slowed` is gone.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustix::process::{Pid, Signal, kill_process};

/// How long it stands still in each cycle.
const STOPPED: Duration = Duration::from_millis(80);
/// How long it runs in each cycle.
const RUNNING: Duration = Duration::from_millis(20);

/// A process that is being slowed down.
pub(super) struct Slowed {
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Slowed {
    /// Slows `pid` down from now on. A thread of its own keeps the time: the generator's is busy.
    pub(super) fn start(pid: Pid) -> Result<Self> {
        let over = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&over);
        let cycle = move || {
            while !seen.load(Ordering::Relaxed) && kill_process(pid, Signal::STOP).is_ok() {
                thread::sleep(STOPPED);
                // A process that is gone ends the loop above.
                let _ = kill_process(pid, Signal::CONT);
                thread::sleep(RUNNING);
            }
        };
        let thread = thread::Builder::new().name("slow".into()).spawn(cycle).context("no thread")?;
        Ok(Self { over, thread: Some(thread) })
    }
}

impl Drop for Slowed {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // It does not panic, and if it did there would be nothing left to do.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_process_runs_on_when_it_is_no_longer_slowed() {
        let mut child = Command::new("sleep").arg("60").spawn().expect("a process");
        let state = |pid: u32| {
            let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("it is there");
            text.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next())
        };
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).expect("a process id");
        let slowed = Slowed::start(pid).expect("a thread");
        while state(child.id()) != Some('T') {
            thread::yield_now();
        }
        drop(slowed);
        assert_eq!(state(child.id()), Some('S'));
        child.kill().expect("it runs");
        child.wait().expect("it has ended");
    }
}
