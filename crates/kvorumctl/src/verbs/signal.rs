//! SIGINT and SIGTERM, for verbs that have something to give back.

use tokio::signal::unix::{SignalKind, signal};

use crate::failure::{Done, Failure};

/// What shells say of who was ended by SIGINT, and by SIGTERM.
const INTERRUPTED: u8 = 130;
const TERMINATED: u8 = 143;

/// Hears the signals from now on.
pub(crate) struct Stop {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

impl Stop {
    pub(crate) fn listen() -> Result<Self, Failure> {
        let failed = |error: std::io::Error| Failure::io(format!("signals cannot be heard: {error}"));
        let interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
        let terminate = signal(SignalKind::terminate()).map_err(failed)?;
        Ok(Self { interrupt, terminate })
    }

    /// Waits for one of them.
    pub(crate) async fn heard(&mut self) {
        self.status().await;
    }

    /// Waits for one of them; answers the exit status that a shell gives for it.
    pub(crate) async fn status(&mut self) -> u8 {
        tokio::select! {
            _ = self.interrupt.recv() => INTERRUPTED,
            _ = self.terminate.recv() => TERMINATED,
        }
    }
}

/// Does it to its end, or until a signal comes; then says what was done and what was not.
pub(crate) async fn unless_stopped(work: impl Future<Output = Done>, told: impl FnOnce() -> String) -> Done {
    let mut stop = Stop::listen()?;
    tokio::select! {
        done = work => done,
        status = stop.status() => Err(Failure { status, text: None, details: vec![told()] }),
    }
}
