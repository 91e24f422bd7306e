//! Where threads leave things for one another: many put in, one takes out everything at once.
//!
//! It is bounded: [`Mailbox::offer`] refuses at the limit, and the caller tells its client. Taking everything
//! at once is what makes batches without timers: whatever came while the last batch was under way is the next.
//!
//! Waking a sleeper costs more than most items do. So whoever offers does not wake: the first gets a [`Nudge`]
//! and kicks when the others that are about to offer have had their turn.

use std::sync::Arc;
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
    taker: Taker,
    // Somebody holds a nudge for whoever sleeps.
    nudged: bool,
}

/// What whoever takes out is doing.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Taker {
    Awake,
    Asleep,
    // A delivery will wake it before long, and an item that can wait need not.
    AsleepPatiently,
}

/// Why an item was not taken in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotTaken {
    /// The box is at its limit.
    Full,
    /// Nobody will take anything out any more.
    Closed,
}

/// When an offered item has to be seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Urgency {
    /// As soon as its nudge is kicked.
    Soon,
    /// With the next delivery, if one is certain to come.
    WithNext,
}

/// The duty to wake whoever takes out. It is done when this is dropped.
#[must_use = "the sleeper is woken when the nudge is dropped"]
pub struct Nudge(Option<Arc<dyn Sleeper>>);

trait Sleeper: Send + Sync {
    fn wake(&self);
}

impl Drop for Nudge {
    fn drop(&mut self) {
        if let Some(sleeper) = self.0.take() {
            sleeper.wake();
        }
    }
}

impl<T: Send + 'static> Mailbox<T> {
    /// Puts an item in, unless the box is full or closed. The nudge, if there is one, is this caller's to drop.
    pub fn offer(self: &Arc<Self>, item: T, urgency: Urgency) -> Result<Option<Nudge>, (T, NotTaken)> {
        let mut state = self.state.lock();
        if state.closed {
            return Err((item, NotTaken::Closed));
        }
        if state.items.len() >= self.capacity {
            return Err((item, NotTaken::Full));
        }
        state.items.push(item);
        let must_wake = match state.taker {
            Taker::Awake => false,
            Taker::Asleep => true,
            Taker::AsleepPatiently => urgency == Urgency::Soon,
        };
        if state.nudged || !must_wake {
            return Ok(None);
        }
        state.nudged = true;
        drop(state);
        Ok(Some(Nudge(Some(self.clone()))))
    }
}

impl<T: Send> Sleeper for Mailbox<T> {
    fn wake(&self) {
        let mut state = self.state.lock();
        if state.taker != Taker::Awake && !state.items.is_empty() {
            state.taker = Taker::Awake;
            drop(state);
            self.filled.notify_one();
        }
    }
}

impl<T> Mailbox<T> {
    /// A box for at most `capacity` items of [`Mailbox::offer`].
    pub fn new(capacity: usize) -> Self {
        let state = State { items: Vec::new(), closed: false, taker: Taker::Awake, nudged: false };
        Self { state: Mutex::new(state), filled: Condvar::new(), capacity }
    }

    /// Puts an item in without regard to the limit, and wakes. For items that are bounded by something else:
    /// one answer for each piece of work handed out.
    pub fn deliver(&self, item: T) -> Result<(), (T, NotTaken)> {
        let mut state = self.state.lock();
        if state.closed {
            return Err((item, NotTaken::Closed));
        }
        state.items.push(item);
        let wake = std::mem::replace(&mut state.taker, Taker::Awake) != Taker::Awake;
        drop(state);
        if wake {
            self.filled.notify_one();
        }
        Ok(())
    }

    /// Takes everything out into `items`, which must be empty; waits until there is something, the box is
    /// closed, or the time has come. `patient`: a delivery is certain to come. Returns `false` once the box is
    /// closed and empty.
    pub fn take(&self, items: &mut Vec<T>, deadline: Option<Instant>, patient: bool) -> bool {
        let mut state = self.state.lock();
        // What can wait does not end a patient sleep, but it must not be slept over without one either: an item
        // may have come since the last look, with no nudge because nobody slept.
        while state.items.is_empty() && !state.closed {
            state.taker = if patient { Taker::AsleepPatiently } else { Taker::Asleep };
            let timed_out = match deadline {
                None => {
                    self.filled.wait(&mut state);
                    false
                }
                Some(deadline) => self.filled.wait_until(&mut state, deadline).timed_out(),
            };
            state.taker = Taker::Awake;
            if timed_out {
                break;
            }
        }
        state.nudged = false;
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
    use std::thread;
    use std::time::Duration;

    use super::*;

    fn taken(mailbox: &Mailbox<u32>) -> Vec<u32> {
        let mut items = Vec::new();
        mailbox.take(&mut items, Some(Instant::now()), false);
        items
    }

    #[test]
    fn everything_that_waits_comes_at_once_and_in_order() {
        let mailbox = Arc::new(Mailbox::new(2));
        assert!(mailbox.offer(1, Urgency::Soon).is_ok_and(|nudge| nudge.is_none()), "nobody sleeps");
        assert!(mailbox.offer(2, Urgency::Soon).is_ok());
        assert_eq!(mailbox.offer(3, Urgency::Soon).err(), Some((3, NotTaken::Full)));
        mailbox.deliver(4).expect("answers always fit");
        assert_eq!(taken(&mailbox), [1, 2, 4]);
    }

    #[test]
    fn a_closed_box_gives_out_what_it_holds_and_then_ends() {
        let mailbox = Arc::new(Mailbox::new(8));
        assert!(mailbox.offer(1, Urgency::Soon).is_ok());
        mailbox.close();
        assert_eq!(mailbox.offer(2, Urgency::Soon).err(), Some((2, NotTaken::Closed)));
        let mut items = Vec::new();
        assert!(mailbox.take(&mut items, None, false));
        items.clear();
        assert!(!mailbox.take(&mut items, None, false));
    }

    fn sleeper(mailbox: &Arc<Mailbox<u32>>, patient: bool) -> thread::JoinHandle<Vec<u32>> {
        let mailbox = Arc::clone(mailbox);
        thread::spawn(move || {
            let mut all = Vec::new();
            let mut items = Vec::new();
            while mailbox.take(&mut items, None, patient) {
                all.append(&mut items);
            }
            all
        })
    }

    fn wait_until_asleep(mailbox: &Mailbox<u32>) {
        while mailbox.state.lock().taker == Taker::Awake {
            thread::yield_now();
        }
    }

    #[test]
    fn one_nudge_wakes_a_sleeper_for_all() {
        let mailbox = Arc::new(Mailbox::new(8));
        let sleeper = sleeper(&mailbox, false);
        wait_until_asleep(&mailbox);
        let nudge = mailbox.offer(1, Urgency::Soon).expect("room");
        assert!(nudge.is_some(), "the first has to wake");
        assert!(mailbox.offer(2, Urgency::Soon).is_ok_and(|nudge| nudge.is_none()), "the second has not");
        assert_eq!(mailbox.len(), 2);
        drop(nudge);
        while !mailbox.is_empty() {
            thread::yield_now();
        }
        mailbox.close();
        assert_eq!(sleeper.join().expect("no panic"), [1, 2]);
    }

    #[test]
    fn who_is_patient_is_woken_by_a_delivery_or_by_what_cannot_wait() {
        let mailbox = Arc::new(Mailbox::new(8));
        let sleeper = sleeper(&mailbox, true);
        wait_until_asleep(&mailbox);
        assert!(mailbox.offer(1, Urgency::WithNext).is_ok_and(|nudge| nudge.is_none()));
        assert_eq!(mailbox.len(), 1);
        mailbox.deliver(2).expect("room");
        while !mailbox.is_empty() {
            thread::yield_now();
        }
        wait_until_asleep(&mailbox);
        drop(mailbox.offer(3, Urgency::Soon).expect("room"));
        while !mailbox.is_empty() {
            thread::yield_now();
        }
        mailbox.close();
        assert_eq!(sleeper.join().expect("no panic"), [1, 2, 3]);
    }

    #[test]
    fn nothing_is_slept_over() {
        let mailbox = Arc::new(Mailbox::new(8));
        let sleeper = sleeper(&mailbox, false);
        for number in 0..10_000 {
            loop {
                match mailbox.offer(number, Urgency::Soon) {
                    Ok(nudge) => break drop(nudge),
                    Err(_) => thread::yield_now(),
                }
            }
        }
        let began = Instant::now();
        while !mailbox.is_empty() {
            assert!(began.elapsed() < Duration::from_secs(20), "an item was slept over");
            thread::yield_now();
        }
        mailbox.close();
        assert_eq!(sleeper.join().expect("no panic"), (0..10_000).collect::<Vec<_>>());
    }
}
