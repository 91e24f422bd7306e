//! Where threads leave things for one another: many put in, one takes out everything at once.
//!
//! It is bounded: [`Mailbox::offer`] refuses at the limit, and the caller tells its client. Taking everything
//! at once is what makes batches without timers: whatever came while the last batch was under way is the next.

use std::time::Instant;

use parking_lot::{Condvar, Mutex};

/// A bounded box. See the module.
pub struct Mailbox<T> {
    state: Mutex<State<T>>,
    filled: Condvar,
    capacity: usize,
}

struct State<T> {
    items: Vec<T>,
    closed: bool,
    // Waking costs a system call, so it is done only for somebody who sleeps.
    asleep: bool,
}

/// Why an item was not taken in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotTaken {
    /// The box is at its limit.
    Full,
    /// Nobody will take anything out any more.
    Closed,
}

impl<T> Mailbox<T> {
    /// A box for at most `capacity` items of [`Mailbox::offer`].
    pub fn new(capacity: usize) -> Self {
        Self {
            state: Mutex::new(State { items: Vec::new(), closed: false, asleep: false }),
            filled: Condvar::new(),
            capacity,
        }
    }

    /// Puts an item in, unless the box is full or closed.
    pub fn offer(&self, item: T) -> Result<(), (T, NotTaken)> {
        self.put(item, self.capacity)
    }

    /// Puts an item in without regard to the limit. For items that are bounded by something else: one answer
    /// for each piece of work handed out.
    pub fn deliver(&self, item: T) -> Result<(), (T, NotTaken)> {
        self.put(item, usize::MAX)
    }

    fn put(&self, item: T, capacity: usize) -> Result<(), (T, NotTaken)> {
        let mut state = self.state.lock();
        if state.closed {
            return Err((item, NotTaken::Closed));
        }
        if state.items.len() >= capacity {
            return Err((item, NotTaken::Full));
        }
        state.items.push(item);
        let wake = std::mem::take(&mut state.asleep);
        drop(state);
        if wake {
            self.filled.notify_one();
        }
        Ok(())
    }

    /// Takes everything out into `items`, which must be empty; waits until there is something, the box is
    /// closed, or the time has come. Returns `false` once the box is closed and empty.
    pub fn take(&self, items: &mut Vec<T>, deadline: Option<Instant>) -> bool {
        let mut state = self.state.lock();
        while state.items.is_empty() && !state.closed {
            state.asleep = true;
            match deadline {
                None => self.filled.wait(&mut state),
                Some(deadline) => {
                    if self.filled.wait_until(&mut state, deadline).timed_out() {
                        state.asleep = false;
                        break;
                    }
                }
            }
        }
        std::mem::swap(&mut state.items, items);
        !(state.closed && items.is_empty())
    }

    /// Takes nothing more in; what is inside can still be taken out.
    pub fn close(&self) {
        self.state.lock().closed = true;
        self.filled.notify_all();
    }

    /// How many items wait.
    pub fn len(&self) -> usize {
        self.state.lock().items.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::thread;

    use super::*;

    #[test]
    fn everything_that_waits_comes_at_once_and_in_order() {
        let mailbox = Mailbox::new(2);
        mailbox.offer(1).expect("room");
        mailbox.offer(2).expect("room");
        assert_eq!(mailbox.offer(3), Err((3, NotTaken::Full)));
        mailbox.deliver(4).expect("answers always fit");
        let mut items = Vec::new();
        assert!(mailbox.take(&mut items, None));
        assert_eq!(items, [1, 2, 4]);
    }

    #[test]
    fn a_closed_box_gives_out_what_it_holds_and_then_ends() {
        let mailbox = Mailbox::new(8);
        mailbox.offer(1).expect("room");
        mailbox.close();
        assert_eq!(mailbox.offer(2), Err((2, NotTaken::Closed)));
        let mut items = Vec::new();
        assert!(mailbox.take(&mut items, None));
        items.clear();
        assert!(!mailbox.take(&mut items, None));
    }

    #[test]
    fn a_sleeper_is_woken() {
        let mailbox = Arc::new(Mailbox::new(8));
        let sleeper = thread::spawn({
            let mailbox = Arc::clone(&mailbox);
            move || {
                let mut all = Vec::new();
                let mut items = Vec::new();
                while mailbox.take(&mut items, None) {
                    all.append(&mut items);
                }
                all
            }
        });
        for number in 0..1000 {
            while mailbox.offer(number).is_err() {
                thread::yield_now();
            }
        }
        mailbox.close();
        assert_eq!(sleeper.join().expect("no panic"), (0..1000).collect::<Vec<_>>());
    }
}
