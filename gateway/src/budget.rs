//! Bytes that are held for clients beyond what every one of them may have: of requests that have not arrived to their ends,
//! and of answers that nobody has taken yet.
//!
//! Whoever is quick never comes here: a request that came in one piece and an answer of common size are not counted.
//!
//! Where a budget has patience, who is slow gives way when somebody else needs room: of those who have not got on by
//! [`STEP_BYTES`] for that long, the one who has waited longest, and then the next. He is woken, refused, and drops what he has.
//!
//! INVARIANT: what is held together never exceeds the budget, those who gave way and are not gone yet included; who finds no
//! room is refused, and nobody waits.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Who gets on by so many bytes has his patience anew.
const STEP_BYTES: usize = 64 * 1024;
/// This part of a budget with patience is there for who comes while another one that gave way is not gone.
const RESERVE: usize = 8;

/// Why there is no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoRoom {
    /// Others have it.
    Full,
    /// Others needed it more.
    GaveWay,
}

/// How many bytes may be held.
#[derive(Debug)]
pub(crate) struct Budget {
    state: Mutex<State>,
    bytes_max: usize,
    patience: Option<Duration>,
}

#[derive(Debug, Default)]
struct State {
    used: usize,
    /// Of these, what those have who gave way and are not gone yet.
    going: usize,
    /// Who could give way, in the order in which they got on last.
    seats: BTreeMap<Key, Seat>,
    next: u64,
}

/// When somebody got on last, and his number.
type Key = (Instant, u64);

#[derive(Debug)]
struct Seat {
    bytes: usize,
    waker: Option<Waker>,
}

/// What one request or answer holds, until it is dropped.
#[derive(Debug)]
pub(crate) struct Share {
    budget: Arc<Budget>,
    bytes: usize,
    /// Where it sits, while it could give way.
    key: Option<Key>,
    /// Bytes that it had at that time.
    stepped: usize,
    /// It is all there, so that nothing is to be won by waiting less for it.
    has_arrived: bool,
}

impl Budget {
    /// Who has bytes keeps them for as long as he likes.
    pub(crate) fn new(bytes_max: usize) -> Arc<Self> {
        Arc::new(Self { state: Mutex::default(), bytes_max, patience: None })
    }

    /// Who does not get on for so long gives way when others need room.
    pub(crate) fn with_patience(bytes_max: usize, patience: Duration) -> Arc<Self> {
        Arc::new(Self { state: Mutex::default(), bytes_max, patience: Some(patience) })
    }

    /// A share of nothing yet.
    pub(crate) fn share(self: &Arc<Self>) -> Share {
        Share { budget: Arc::clone(self), bytes: 0, key: None, stepped: 0, has_arrived: false }
    }

    /// Makes room for `more`, if that can be.
    fn make_room(
        &self,
        state: &mut State,
        more: usize,
        own: Option<Key>,
        now: Instant,
    ) -> Result<(), NoRoom> {
        let bytes_max = self.bytes_max;
        let Some(patience) = self.patience else {
            return if state.used.saturating_add(more) > bytes_max { Err(NoRoom::Full) } else { Ok(()) };
        };
        let staying_max = bytes_max - bytes_max / RESERVE;
        while (state.used - state.going).saturating_add(more) > staying_max {
            let slowest = state.seats.first_entry().filter(|slowest| {
                let (stepped_at, _) = *slowest.key();
                Some(*slowest.key()) != own && now.saturating_duration_since(stepped_at) >= patience
            });
            let Some(slowest) = slowest else { return Err(NoRoom::Full) };
            let Seat { bytes, waker } = slowest.remove();
            state.going += bytes;
            waker.into_iter().for_each(Waker::wake);
        }
        if state.used.saturating_add(more) > bytes_max { Err(NoRoom::Full) } else { Ok(()) }
    }
}

impl Share {
    /// Makes it so many bytes. When there is no room for them it stays as it was.
    pub(crate) fn resize(&mut self, bytes: usize) -> Result<(), NoRoom> {
        if bytes == self.bytes {
            // All clients share the budget; those with nothing to say do not come near it.
            return Ok(());
        }
        self.resize_at(bytes, Instant::now())
    }

    fn resize_at(&mut self, bytes: usize, now: Instant) -> Result<(), NoRoom> {
        let budget = Arc::clone(&self.budget);
        let mut state = budget.state.lock();
        let state = &mut *state;
        if self.key.is_some_and(|key| !state.seats.contains_key(&key)) {
            return Err(NoRoom::GaveWay);
        }
        if let Some(more) = bytes.checked_sub(self.bytes) {
            budget.make_room(state, more, self.key, now)?;
        }
        state.used = state.used - self.bytes + bytes;
        self.bytes = bytes;
        if budget.patience.is_none() || self.has_arrived {
            return Ok(());
        }
        let seat = self.key.and_then(|key| state.seats.get_mut(&key));
        if let Some(seat) = seat
            && (self.stepped..self.stepped.saturating_add(STEP_BYTES)).contains(&bytes)
        {
            seat.bytes = bytes;
            return Ok(());
        }
        self.stand_up(state);
        if bytes > 0 {
            let key = (now, state.next);
            state.next += 1;
            state.seats.insert(key, Seat { bytes, waker: None });
            (self.key, self.stepped) = (Some(key), bytes);
        }
        Ok(())
    }

    /// All of it is here, and it is held until it was looked at: nobody has to wait less for it. `Err` if it gave way before.
    pub(crate) fn arrive(&mut self) -> Result<(), NoRoom> {
        let budget = Arc::clone(&self.budget);
        let mut state = budget.state.lock();
        if self.key.is_some_and(|key| !state.seats.contains_key(&key)) {
            return Err(NoRoom::GaveWay);
        }
        self.stand_up(&mut state);
        self.has_arrived = true;
        Ok(())
    }

    /// Ready when it has given way. What it holds is to be dropped then.
    pub(crate) fn poll_lost(&mut self, cx: &mut Context<'_>) -> Poll<NoRoom> {
        let Some(key) = self.key else { return Poll::Pending };
        let mut state = self.budget.state.lock();
        let Some(seat) = state.seats.get_mut(&key) else { return Poll::Ready(NoRoom::GaveWay) };
        if !seat.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            seat.waker = Some(cx.waker().clone());
        }
        Poll::Pending
    }

    /// Waits until it has given way.
    pub(crate) async fn lost(&mut self) -> NoRoom {
        poll_fn(|cx| self.poll_lost(cx)).await
    }

    fn stand_up(&mut self, state: &mut State) {
        if let Some(key) = self.key.take()
            && state.seats.remove(&key).is_none()
        {
            // It was to go, and is not any more.
            state.going -= self.bytes;
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        if self.bytes == 0 {
            return;
        }
        let budget = Arc::clone(&self.budget);
        let mut state = budget.state.lock();
        self.stand_up(&mut state);
        state.used -= self.bytes;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(1);

    async fn is_lost(share: &mut Share) -> bool {
        let lost = poll_fn(|cx| Poll::Ready(share.poll_lost(cx).is_ready()));
        lost.await
    }

    #[test]
    fn no_more_is_held_than_there_is() {
        let budget = Budget::new(10);
        let (mut first, mut second) = (budget.share(), budget.share());
        assert_eq!(first.resize(6), Ok(()));
        assert_eq!(second.resize(5), Err(NoRoom::Full));
        assert_eq!(second.resize(4), Ok(()));
        assert_eq!(first.resize(7), Err(NoRoom::Full));
        assert_eq!(first.resize(2), Ok(()));
        assert_eq!(second.resize(8), Ok(()));
        drop(first);
        assert_eq!(second.resize(10), Ok(()));
        drop(second);
        assert_eq!(budget.state.lock().used, 0);
    }

    #[tokio::test]
    async fn the_slowest_gives_way_to_who_needs_room() {
        let (budget, begin) = (Budget::with_patience(1600, PATIENCE), Instant::now());
        let (mut slow, mut slower, mut quick) = (budget.share(), budget.share(), budget.share());
        slower.resize_at(500, begin).expect("there is room");
        slow.resize_at(500, begin + PATIENCE / 4).expect("there is room");
        assert_eq!(quick.resize_at(500, begin + PATIENCE / 4), Err(NoRoom::Full), "nobody was slow yet");
        // Who trickles sits where he sat.
        slower.resize_at(501, begin + PATIENCE).expect("there is room");
        quick.resize_at(500, begin + PATIENCE).expect("one gives way");
        assert!(is_lost(&mut slower).await && !is_lost(&mut slow).await && !is_lost(&mut quick).await);
        assert_eq!(slower.resize(502), Err(NoRoom::GaveWay));
        assert_eq!(slower.arrive(), Err(NoRoom::GaveWay));
        assert_eq!(budget.state.lock().used, 1501, "it is not gone yet");
    }

    #[tokio::test]
    async fn who_gave_way_counts_until_he_is_gone() {
        let (budget, begin) = (Budget::with_patience(800, PATIENCE), Instant::now());
        let (mut slow, mut quick) = (budget.share(), budget.share());
        slow.resize_at(700, begin).expect("there is room");
        let later = begin + PATIENCE;
        assert_eq!(
            quick.resize_at(200, later),
            Err(NoRoom::Full),
            "the reserve is less, but the slow one has to go"
        );
        assert!(is_lost(&mut slow).await);
        quick.resize_at(100, later).expect("the reserve");
        drop(slow);
        quick.resize_at(700, later).expect("all of the room");
        drop(quick);
        let state = budget.state.lock();
        assert_eq!((state.used, state.going, state.seats.len()), (0, 0, 0));
    }

    #[tokio::test]
    async fn what_gets_on_and_what_is_here_stays() {
        let (budget, begin) = (Budget::with_patience(8 * STEP_BYTES, PATIENCE), Instant::now());
        let (mut whole, mut moving, mut quick) = (budget.share(), budget.share(), budget.share());
        whole.resize_at(3 * STEP_BYTES, begin).expect("there is room");
        whole.arrive().expect("it did not give way");
        moving.resize_at(3 * STEP_BYTES, begin).expect("there is room");
        moving.resize_at(4 * STEP_BYTES, begin + PATIENCE).expect("there is room");
        assert_eq!(quick.resize_at(2 * STEP_BYTES, begin + PATIENCE), Err(NoRoom::Full));
        assert!(!is_lost(&mut whole).await && !is_lost(&mut moving).await);
        // Nor does anybody give way to himself.
        assert_eq!(moving.resize_at(5 * STEP_BYTES, begin + 3 * PATIENCE), Err(NoRoom::Full));
        drop((whole, moving));
        assert_eq!(budget.state.lock().used, 0);
    }
}
