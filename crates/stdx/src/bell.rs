//! A bell on a thread that runs many tasks: wakes a lot of them from another thread at the price of one.
//!
//! A runtime of one thread takes each waking from outside through a queue with a lock, and writes to a file
//! descriptor for each, so as to be sure that it looks. Here the wakers are handed over together, one of them is
//! called from outside, and the rest on the thread itself, where that costs next to nothing.
//!
//! INVARIANT: a waker that was handed over is called, at the latest when the bell is taken down.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

thread_local! {
    static HERE: RefCell<Option<Arc<Bell>>> = const { RefCell::new(None) };
}

/// See the module.
#[derive(Debug, Default)]
pub struct Bell(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// Bounded by the tasks of the thread: a task hands out a waker only when it has been woken.
    wakers: Vec<Waker>,
    ringer: Option<Waker>,
    is_down: bool,
}

impl Bell {
    /// The bell of the thread that calls, if it has one.
    pub fn here() -> Option<Arc<Self>> {
        HERE.with_borrow(Clone::clone)
    }

    /// Puts up a bell on the thread that calls, which must be the one that runs what this returns. It never ends; the
    /// bell is taken down when it is dropped.
    pub fn put_up() -> impl Future<Output = ()> + use<> {
        let bell = Arc::new(Self::default());
        HERE.set(Some(Arc::clone(&bell)));
        let up = Up(bell);
        let mut due = Vec::new();
        poll_fn(move |context| {
            let mut state = up.0.lock();
            std::mem::swap(&mut state.wakers, &mut due);
            match &mut state.ringer {
                Some(ringer) => ringer.clone_from(context.waker()),
                none => *none = Some(context.waker().clone()),
            }
            drop(state);
            due.drain(..).for_each(Waker::wake);
            Poll::Pending
        })
    }

    /// Has all of them called on the bell's thread, and leaves none. From any thread.
    pub fn wake_all(&self, wakers: &mut Vec<Waker>) {
        let mut state = self.lock();
        if state.is_down {
            drop(state);
            return wakers.drain(..).for_each(Waker::wake);
        }
        let is_ringing = !state.wakers.is_empty();
        state.wakers.append(wakers);
        let ringer = if is_ringing { None } else { state.ringer.clone() };
        drop(state);
        if let Some(ringer) = ringer {
            ringer.wake();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing that is done under the lock can leave it half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A bell that is up.
struct Up(Arc<Bell>);

impl Drop for Up {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.is_down = true;
        let wakers = std::mem::take(&mut state.wakers);
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
        // The thread may have another one by now, or be on its way out.
        let _ = HERE.try_with(|here| {
            let mut here = here.borrow_mut();
            if here.as_ref().is_some_and(|here| Arc::ptr_eq(here, &self.0)) {
                *here = None;
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Context, Wake};

    use super::*;

    #[derive(Default)]
    struct Calls(AtomicUsize);

    impl Wake for Calls {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn calls(of: &Arc<Calls>) -> usize {
        of.0.load(Ordering::Relaxed)
    }

    #[test]
    fn many_are_woken_on_the_thread_of_the_bell_by_one_call() {
        assert!(Bell::here().is_none());
        let (ringer, task) = (Arc::new(Calls::default()), Arc::new(Calls::default()));
        let waker = Waker::from(Arc::clone(&ringer));
        let mut context = Context::from_waker(&waker);
        {
            let mut up = pin!(Bell::put_up());
            let bell = Bell::here().expect("it is up");
            assert!(up.as_mut().poll(&mut context).is_pending());
            let mut wakers = vec![Waker::from(Arc::clone(&task)); 3];
            bell.wake_all(&mut wakers);
            bell.wake_all(&mut vec![Waker::from(Arc::clone(&task))]);
            assert!(wakers.is_empty());
            assert_eq!((calls(&ringer), calls(&task)), (1, 0));
            assert!(up.as_mut().poll(&mut context).is_pending());
            assert_eq!((calls(&ringer), calls(&task)), (1, 4));
            // The next ones ring again.
            bell.wake_all(&mut vec![Waker::from(Arc::clone(&task))]);
            assert_eq!((calls(&ringer), calls(&task)), (2, 4));
        }
        // Those that were not called yet are when the bell goes.
        assert_eq!(calls(&task), 5);
        assert!(Bell::here().is_none());
    }

    #[test]
    fn a_bell_that_is_down_calls_at_once() {
        let task = Arc::new(Calls::default());
        let up = Bell::put_up();
        let bell = Bell::here().expect("it is up");
        drop(up);
        bell.wake_all(&mut vec![Waker::from(Arc::clone(&task)); 2]);
        assert_eq!(calls(&task), 2);
    }

    #[test]
    fn what_was_handed_over_before_the_bell_ran_is_called_when_it_does() {
        let task = Arc::new(Calls::default());
        let mut up = pin!(Bell::put_up());
        let bell = Bell::here().expect("it is up");
        bell.wake_all(&mut vec![Waker::from(Arc::clone(&task))]);
        assert!(up.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        assert_eq!(calls(&task), 1);
    }
}
