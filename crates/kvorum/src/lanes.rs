//! Threads that speak to clients, and the one that speaks to other members: each with a runtime of its own, on which a connection stays for its life.
//!
//! A runtime of several threads would share the work more evenly, but it wakes threads for one another and
//! runs a connection's writer as soon as the first of its answers is there. A lane runs everything that is
//! ready first, so that the answers of one batch leave in one write. Measured in docs/decisions/0002-lanes.md.

use std::io;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use stdx::Bell;
use tokio::runtime::{Builder, Handle};
use tokio::sync::watch;

/// The threads. Dropping them ends them, and every connection on them.
pub struct Lanes {
    handles: Vec<Handle>,
    stop: watch::Sender<bool>,
    threads: Vec<JoinHandle<()>>,
}

impl Lanes {
    /// Starts a thread for each name.
    pub fn start(names: impl IntoIterator<Item = String>) -> io::Result<Self> {
        let mut lanes = Self { handles: Vec::new(), stop: watch::channel(false).0, threads: Vec::new() };
        for name in names {
            // Outcomes that came from other threads first: the connections that write them wait behind.
            let runtime = Builder::new_current_thread().enable_all().global_queue_interval(1).build()?;
            let mut stop = lanes.stop.subscribe();
            lanes.handles.push(runtime.handle().clone());
            lanes.threads.push(thread::Builder::new().name(name).spawn(move || {
                // It fails when the sender is gone, and then it is time to stop too.
                runtime.block_on(async {
                    tokio::select! {
                        // Many who watch are woken at once.
                        () = Bell::put_up() => {}
                        () = tick() => {}
                        _ = stop.wait_for(|stop| *stop) => {}
                    }
                });
            })?);
        }
        Ok(lanes)
    }

    /// The runtimes.
    pub fn handles(&self) -> &[Handle] {
        &self.handles
    }
}

/// Keeps an early timer in the runtime. One that is set for later than the runtime means to wake costs nothing then; one
/// for sooner has it write to itself and look again, which each request with a deadline would do, were there nothing else
/// to wake for. Never ends.
async fn tick() {
    // Sooner than the deadlines of requests; twice a second costs an idle lane nothing that could be measured.
    const PERIOD: Duration = Duration::from_millis(500);
    loop {
        tokio::time::sleep(PERIOD).await;
    }
}

impl Drop for Lanes {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        for thread in self.threads.drain(..) {
            // A panic was reported by its thread.
            let _ = thread.join();
        }
    }
}
