//! How many handshakes are under way, and who gives way when there are too many: the oldest.
//!
//! A handshake that is meant takes milliseconds. One that is not would hold its place to the end of its time; with room
//! for many, whoever means it gets through between thousands that do not.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

/// The places of one listener.
#[derive(Debug)]
pub(crate) struct Crowd {
    places_max: usize,
    places: Mutex<Places>,
}

#[derive(Debug, Default)]
struct Places {
    next: u64,
    taken: BTreeMap<u64, Arc<Notify>>,
}

/// A place, until it is dropped.
#[derive(Debug)]
pub(crate) struct Place<'a> {
    crowd: &'a Crowd,
    number: u64,
    pushed_out: Arc<Notify>,
}

impl Crowd {
    pub(crate) fn new(places_max: usize) -> Self {
        Self { places_max: places_max.max(1), places: Mutex::default() }
    }

    /// Takes a place; the oldest loses its own if there is none left.
    pub(crate) fn enter(&self) -> Place<'_> {
        let mut places = self.places.lock();
        if places.taken.len() >= self.places_max
            && let Some((_, oldest)) = places.taken.pop_first()
        {
            oldest.notify_one();
        }
        let number = places.next;
        places.next += 1;
        let pushed_out = Arc::new(Notify::new());
        places.taken.insert(number, Arc::clone(&pushed_out));
        drop(places);
        Place { crowd: self, number, pushed_out }
    }
}

impl Place<'_> {
    /// Returns when the place is lost.
    pub(crate) async fn lost(&self) {
        self.pushed_out.notified().await;
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.crowd.places.lock().taken.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Waker};

    use super::*;

    #[test]
    fn the_oldest_gives_way() {
        let crowd = Crowd::new(2);
        let is_lost = |place: &Place<'_>| {
            let lost = pin!(place.lost());
            lost.poll(&mut Context::from_waker(Waker::noop())).is_ready()
        };
        let (first, second) = (crowd.enter(), crowd.enter());
        assert!(!is_lost(&first) && !is_lost(&second));
        let third = crowd.enter();
        assert!(is_lost(&first) && !is_lost(&second) && !is_lost(&third));
        drop(second);
        let fourth = crowd.enter();
        assert!(!is_lost(&third) && !is_lost(&fourth));
        drop(first);
        assert_eq!(crowd.places.lock().taken.len(), 2);
    }
}
