//! Where threads leave things for one another: many put in, one takes out everything at once.
//!
//! Taking everything at once is what makes batches without timers: whatever came while the last batch was
//! under way is the next. What is put in is bounded by whoever puts it in: one piece of work for each that was
//! admitted.

use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

/// Pauses of the processor between two looks at a box, so that the looks do not hinder who puts in.
const LOOKS_BETWEEN: u32 = 64;

/// See the module.
pub struct Mailbox<T> {
    state: Mutex<State<T>>,
    filled: Condvar,
}

struct State<T> {
    items: Vec<T>,
    closed: bool,
    // Waking costs a system call, so it is done only for somebody who sleeps.
    asleep: bool,
}

/// Nobody will take anything out of the box any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closed;

impl<T> Default for Mailbox<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Mailbox<T> {
    /// An empty box.
    pub fn new() -> Self {
        Self {
            state: Mutex::new(State { items: Vec::new(), closed: false, asleep: false }),
            filled: Condvar::new(),
        }
    }

    /// Puts an item in and wakes whoever waits. A closed box drops it.
    pub fn put(&self, item: T) -> Result<(), Closed> {
        self.leave(item)?;
        self.rouse();
        Ok(())
    }

    /// Puts an item in and wakes nobody: the caller sees to it that it is taken. A closed box drops it.
    pub fn leave(&self, item: T) -> Result<(), Closed> {
        let mut state = self.state.lock();
        if state.closed {
            return Err(Closed);
        }
        state.items.push(item);
        Ok(())
    }

    /// Wakes whoever waits, if there is something.
    pub fn rouse(&self) {
        let mut state = self.state.lock();
        if state.asleep && !state.items.is_empty() {
            state.asleep = false;
            drop(state);
            self.filled.notify_one();
        }
    }

    /// Waits until there is something, the box is closed, or the time has come. Returns `false` once the box is
    /// closed and empty.
    pub fn wait(&self, deadline: Option<Instant>) -> bool {
        self.filled_or(deadline, |state| !state.closed || !state.items.is_empty())
    }

    /// Waits likewise, and takes everything out into `items`, which must be empty.
    pub fn take(&self, items: &mut Vec<T>, deadline: Option<Instant>) -> bool {
        self.filled_or(deadline, |state| {
            std::mem::swap(&mut state.items, items);
            !state.closed || !items.is_empty()
        })
    }

    /// Takes everything out into `items`, which must be empty, without waiting. Returns whether there was something.
    pub fn take_now(&self, items: &mut Vec<T>) -> bool {
        std::mem::swap(&mut self.state.lock().items, items);
        !items.is_empty()
    }

    /// Takes everything out into `items`, which must be empty, if `wants` wants what is there. Does not wait.
    pub fn take_if(&self, items: &mut Vec<T>, wants: impl FnOnce(&[T]) -> bool) -> bool {
        let mut state = self.state.lock();
        let takes = !state.items.is_empty() && wants(&state.items);
        if takes {
            std::mem::swap(&mut state.items, items);
        }
        takes
    }

    /// Looks for something for up to `span` without sleeping, and says whether it came. A sleeper is slow to wake, and
    /// what is likely to come within that time is worth the look.
    pub fn look_out(&self, span: Duration) -> bool {
        let began = Instant::now();
        while self.is_empty() {
            if began.elapsed() >= span {
                return false;
            }
            for _ in 0..LOOKS_BETWEEN {
                std::hint::spin_loop();
            }
        }
        true
    }

    fn filled_or<A>(&self, deadline: Option<Instant>, act: impl FnOnce(&mut State<T>) -> A) -> A {
        let mut state = self.state.lock();
        while state.items.is_empty() && !state.closed {
            state.asleep = true;
            let timed_out = match deadline {
                None => {
                    self.filled.wait(&mut state);
                    false
                }
                Some(deadline) => self.filled.wait_until(&mut state, deadline).timed_out(),
            };
            state.asleep = false;
            if timed_out {
                break;
            }
        }
        act(&mut state)
    }

    /// Takes nothing more in; what is inside can still be taken out.
    pub fn close(&self) {
        self.state.lock().closed = true;
        self.filled.notify_all();
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.state.lock().items.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::thread;

    use super::*;

    #[test]
    fn everything_that_waits_comes_at_once_and_in_order() {
        let mailbox = Mailbox::new();
        for number in [1, 2, 4] {
            mailbox.put(number).expect("open");
        }
        let mut items = Vec::new();
        assert!(mailbox.take(&mut items, None));
        assert_eq!(items, [1, 2, 4]);
    }

    #[test]
    fn a_closed_box_gives_out_what_it_holds_and_then_ends() {
        let mailbox = Mailbox::new();
        mailbox.put(1).expect("open");
        mailbox.close();
        assert_eq!(mailbox.put(2), Err(Closed));
        let mut items = Vec::new();
        assert!(mailbox.take(&mut items, None));
        items.clear();
        assert!(!mailbox.take(&mut items, None));
    }

    #[test]
    fn a_sleeper_is_woken() {
        let mailbox = Arc::new(Mailbox::new());
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
        for number in 0..10_000 {
            mailbox.put(number).expect("open");
        }
        mailbox.close();
        assert_eq!(sleeper.join().expect("no panic"), (0..10_000).collect::<Vec<_>>());
    }
}
