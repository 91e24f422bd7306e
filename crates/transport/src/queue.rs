//! What waits to leave on one lane to one peer: bounded in bytes, filled by any thread, emptied by one task.
//!
//! INVARIANT: a frame that was taken in leaves in its order, or everything behind it is dropped too.

use std::collections::VecDeque;
use std::task::{Context, Waker};

use bytes::Bytes;
use parking_lot::Mutex;

use crate::frame::{FRAME_BYTES_MAX, HEADER_BYTES};

/// The queue.
#[derive(Debug)]
pub(crate) struct Queue {
    state: Mutex<State>,
    bytes_max: usize,
}

#[derive(Debug, Default)]
struct State {
    frames: VecDeque<Bytes>,
    bytes: usize,
    /// There is a stream that will carry what comes in.
    open: bool,
    /// The task that empties the queue, while it sleeps.
    sleeper: Option<Waker>,
    /// Frames that were not taken in or not sent, ever.
    dropped: u64,
    /// Some were dropped since somebody asked.
    lossy: bool,
    /// The loss was told, and the queue was not empty since.
    told: bool,
}

impl Queue {
    /// An empty queue that takes nothing in yet. It holds at most `bytes_max` bytes, or one frame that is larger.
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self { state: Mutex::default(), bytes_max }
    }

    /// Takes a frame in, or drops it.
    pub(crate) fn push(&self, frame: Bytes) -> bool {
        let mut state = self.state.lock();
        let bytes = frame.len() + HEADER_BYTES;
        let fits = state.bytes == 0 || state.bytes + bytes <= self.bytes_max;
        let taken = state.open && fits && frame.len() <= FRAME_BYTES_MAX;
        if taken {
            state.bytes += bytes;
            state.frames.push_back(frame);
        } else {
            state.dropped += 1;
            state.lossy = true;
        }
        // A queue that drops has news for the task too: somebody has to be told.
        let sleeper = state.sleeper.take();
        drop(state);
        if let Some(sleeper) = sleeper {
            sleeper.wake();
        }
        taken
    }

    /// Moves frames to `frames`, at least one if there is one, and about `bytes_max` bytes at most. Returns whether
    /// more are left. If none are, the task is woken by the next one.
    pub(crate) fn take(&self, frames: &mut Vec<Bytes>, bytes_max: usize, context: &Context<'_>) -> bool {
        let mut state = self.state.lock();
        let mut bytes = 0;
        while bytes < bytes_max
            && let Some(frame) = state.frames.pop_front()
        {
            bytes += frame.len() + HEADER_BYTES;
            frames.push(frame);
        }
        state.bytes -= bytes;
        if !state.frames.is_empty() {
            return true;
        }
        // The episode is over; what it cost was told.
        state.lossy &= !state.told;
        state.told = false;
        if !state.sleeper.as_ref().is_some_and(|sleeper| sleeper.will_wake(context.waker())) {
            state.sleeper = Some(context.waker().clone());
        }
        false
    }

    /// From now on frames are taken in.
    pub(crate) fn open(&self) {
        let mut state = self.state.lock();
        (state.open, state.lossy, state.told) = (true, false, false);
    }

    /// From now on frames are dropped, and those that wait as well.
    pub(crate) fn close(&self) {
        let mut state = self.state.lock();
        state.open = false;
        state.bytes = 0;
        state.dropped += state.frames.len() as u64;
        state.frames.clear();
        state.sleeper = None;
    }

    /// Whether frames are taken in.
    pub(crate) fn is_open(&self) -> bool {
        self.state.lock().open
    }

    /// Whether somebody should be told that frames were dropped: once while the queue stays full.
    pub(crate) fn take_loss(&self) -> bool {
        let mut state = self.state.lock();
        let tell = state.lossy && !(state.open && state.told);
        state.told |= state.lossy;
        state.lossy = false;
        tell
    }

    /// Frames that were dropped, ever.
    pub(crate) fn dropped(&self) -> u64 {
        self.state.lock().dropped
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(length: usize) -> Bytes {
        vec![1; length].into()
    }

    fn take(queue: &Queue, bytes_max: usize) -> (usize, bool) {
        let mut frames = Vec::new();
        let more = queue.take(&mut frames, bytes_max, &Context::from_waker(Waker::noop()));
        (frames.len(), more)
    }

    #[test]
    fn a_closed_queue_takes_nothing_and_a_full_one_tells_once() {
        let queue = Queue::new(100);
        assert!(!queue.push(frame(1)) && queue.take_loss() && !queue.take_loss());
        queue.open();
        assert!(queue.push(frame(500)), "a large one alone");
        assert!(!queue.push(frame(1)) && queue.take_loss());
        assert!(!queue.push(frame(1)) && !queue.take_loss(), "the same episode");
        assert_eq!(take(&queue, 10), (1, false));
        assert!(queue.push(frame(42)) && queue.push(frame(42)) && !queue.push(frame(0)));
        assert_eq!((take(&queue, 10), take(&queue, 10)), ((1, true), (1, false)));
        assert!(queue.push(frame(1)));
        queue.close();
        assert!(!queue.push(frame(1)));
        assert_eq!((take(&queue, 10), queue.dropped()), ((0, false), 6));
    }
}
