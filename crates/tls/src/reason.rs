//! From a verifier to whoever waits for the handshake: why a certificate was refused, in a sentence.
//!
//! rustls takes from a verifier no more than a kind of error, which becomes the alert that the other end sees. The
//! sentence, with names and files in it, goes past rustls to the task whose handshake it is.

use std::cell::RefCell;
use std::future::Future;

tokio::task_local! {
    static REASON: RefCell<Option<String>>;
}

/// Runs a handshake; the sentence is the last one that a verifier said meanwhile.
pub(crate) async fn listen<T>(handshake: impl Future<Output = T>) -> (T, Option<String>) {
    let told = async {
        let outcome = handshake.await;
        (outcome, REASON.with(RefCell::take))
    };
    REASON.scope(RefCell::new(None), told).await
}

/// Says why, to whoever listens.
pub(crate) fn tell(reason: String) {
    // Outside of a handshake nobody listens.
    let _ = REASON.try_with(|told| told.replace(Some(reason)));
}
