//! Who is to be woken after a delivery to many, by the threads on which they are: see [`Bell`].
//!
//! INVARIANT: whoever was handed in is woken, at the end of this at the latest.

use std::sync::Arc;
use std::task::Waker;

use crate::Bell;

/// So many are woken together: with more of them the first would wait for the delivery to the last.
const TOGETHER_MAX: usize = 64;

/// See the module.
#[derive(Debug, Default)]
pub struct Ringing {
    // One for each thread with a bell that has readers, so a handful.
    bells: Vec<(Arc<Bell>, Vec<Waker>)>,
}

impl Ringing {
    /// Has a reader woken, at [`Ringing::done`] at the latest.
    pub fn wake(&mut self, waker: Waker, bell: Option<&Arc<Bell>>) {
        let Some(bell) = bell else { return waker.wake() };
        let known = self.bells.iter().position(|(known, _)| Arc::ptr_eq(known, bell));
        let at = known.unwrap_or_else(|| {
            self.bells.push((Arc::clone(bell), Vec::new()));
            self.bells.len() - 1
        });
        if let Some((bell, wakers)) = self.bells.get_mut(at) {
            wakers.push(waker);
            if wakers.len() >= TOGETHER_MAX {
                bell.wake_all(wakers);
            }
        }
    }

    /// Has those woken who were not yet.
    pub fn done(&mut self) {
        for (bell, wakers) in &mut self.bells {
            if wakers.len() > 1 {
                bell.wake_all(wakers);
            }
            // One alone gets there sooner without.
            wakers.drain(..).for_each(Waker::wake);
        }
        // Threads may come and go; the memory is kept while they stay.
        self.bells.retain(|(bell, _)| Arc::strong_count(bell) > 1);
    }
}

impl Drop for Ringing {
    fn drop(&mut self) {
        self.done();
    }
}
