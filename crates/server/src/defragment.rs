//! Giving room back to the disk when an operator asks for it: off every request's path, once at a time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{Builder, JoinHandle};
use std::time::Instant;

use api::Fault;
use parking_lot::Mutex;
use stdx::chain;
use store::Family;
use telemetry::Histogram;

use crate::member::{House, Member};

/// Whether it is being done, and by whom.
#[derive(Default)]
pub(crate) struct Defragmenter {
    is_running: Arc<AtomicBool>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Defragmenter {
    /// Whether it is being done.
    pub(crate) fn is_running(&self) -> bool {
        self.is_running.load(Ordering::Relaxed)
    }

    /// Begins, unless it is being done already: then that serves both.
    fn begin(&self, house: &Arc<House>, seconds: Histogram) -> std::io::Result<()> {
        let mut thread = self.thread.lock();
        if house.shared.is_stopping() || self.is_running.swap(true, Ordering::Relaxed) {
            return Ok(());
        }
        let (house, is_running) = (Arc::clone(house), Arc::clone(&self.is_running));
        let begun = Builder::new().name("defragment".to_owned()).spawn(move || {
            let began = Instant::now();
            run(&house);
            seconds.record(began.elapsed());
            is_running.store(false, Ordering::Relaxed);
        });
        if begun.is_err() {
            self.is_running.store(false, Ordering::Relaxed);
        }
        *thread = Some(begun?);
        Ok(())
    }

    /// Waits until it has noticed that the member stops: after the step that it is at.
    pub(crate) fn join(&self) {
        if let Some(thread) = self.thread.lock().take() {
            // A panic was reported by its thread; nothing was to be kept of it.
            let _ = thread.join();
        }
    }
}

fn run(house: &House) {
    let store = Arc::clone(&house.wing.look().store);
    let (began, before) = (Instant::now(), store.size_bytes());
    tracing::info!({ "current-db-size-bytes" } = before, "defragmenting");
    if let Err(error) = store.flush() {
        return house.shared.fail(chain(&error));
    }
    for family in Family::ALL {
        for step in store.compaction_steps(family) {
            if house.shared.is_stopping() || house.shared.has_ended() {
                return;
            }
            store.compact(family, &step);
        }
    }
    tracing::info!(
        { "current-db-size-bytes-before" } = before, { "current-db-size-bytes" } = store.size_bytes(),
        took = ?began.elapsed(), "finished defragmenting"
    );
}

impl Member {
    /// Begins to give room back.
    pub(crate) fn give_room_back(&self) -> Result<(), Fault> {
        if self.house.shared.has_ended() {
            return Err(Fault::Stopped);
        }
        let begun = self.defragmenter.begin(&self.house, self.measures.backend_defragment.clone());
        begun.map_err(|error| Fault::Broken(format!("kvorum: cannot start a thread: {error}")))
    }
}
