//! The gateway takes its leave: no more requests, and streams without an end are ended.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};

use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// Whether it has begun to leave. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Leave {
    token: CancellationToken,
    // Says the same, and is cheaper to look at.
    begun: Arc<AtomicBool>,
}

impl Leave {
    /// From now on.
    pub(crate) fn begin(&self) {
        self.begun.store(true, Ordering::Release);
        // Wakes who waits, who then sees what was stored before.
        self.token.cancel();
    }

    /// Is cancelled when it begins.
    pub(crate) fn token(&self) -> &CancellationToken {
        &self.token
    }

    /// For one who is polled often, and mostly for other reasons.
    pub(crate) fn wait(&self) -> Leaving {
        let begins = Box::pin(self.token.clone().cancelled_owned());
        Leaving { begins, begun: Arc::clone(&self.begun), known: None }
    }
}

/// See [`Leave::wait`].
#[derive(Debug)]
pub(crate) struct Leaving {
    begins: Pin<Box<WaitForCancellationFutureOwned>>,
    begun: Arc<AtomicBool>,
    /// Who is woken when it begins.
    known: Option<Waker>,
}

impl Leaving {
    /// Waits until it has begun.
    pub(crate) async fn begun(&mut self) {
        poll_fn(|cx| self.poll(cx)).await;
    }

    /// Ready when it has begun.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.begun.load(Ordering::Acquire) {
            return Poll::Ready(());
        }
        if self.known.as_ref().is_some_and(|known| known.will_wake(cx.waker())) {
            return Poll::Pending;
        }
        self.known = Some(cx.waker().clone());
        self.begins.as_mut().poll(cx)
    }
}
