//! What a request leaves behind when it goes into the house, and by which it gets its outcome.

use command::Outcome;
use consensus::NotTaken;
use tokio::sync::oneshot;
use types::{MemberId, Term};

use crate::admission::Permit;

/// Of a write. Its permit goes with it: room is given back when the outcome is there, not when the client left.
pub(crate) struct WriteTicket {
    reply: Option<oneshot::Sender<Result<Outcome, NotTaken>>>,
    permit: Option<Permit>,
}

impl WriteTicket {
    /// For a client that waits.
    pub(crate) fn waited_for(reply: oneshot::Sender<Result<Outcome, NotTaken>>, permit: Permit) -> Self {
        Self { reply: Some(reply), permit: Some(permit) }
    }

    /// For a chore of the member's own that nobody waits for.
    pub(crate) fn silent() -> Self {
        Self { reply: None, permit: None }
    }

    /// For a chore whose end is of interest.
    pub(crate) fn watched(reply: oneshot::Sender<Result<Outcome, NotTaken>>) -> Self {
        Self { reply: Some(reply), permit: None }
    }

    /// Hands the outcome over, if somebody still waits.
    pub(crate) fn answer(self, outcome: Outcome) {
        self.end(Ok(outcome));
    }

    /// Says that it certainly did not happen.
    pub(crate) fn refuse(self, why: NotTaken) {
        self.end(Err(why));
    }

    fn end(self, result: Result<Outcome, NotTaken>) {
        // First the room: whoever has the answer must not be refused for what it answers.
        drop(self.permit);
        if let Some(reply) = self.reply {
            // A client that left does not want to know.
            let _ = reply.send(result);
        }
    }
}

/// Who was confirmed to lead after a read had come in, and in which term.
pub(crate) type Led = (Term, MemberId);

/// Of a read: it may go on.
pub(crate) struct ReadTicket(pub(crate) oneshot::Sender<Led>);

impl ReadTicket {
    /// Lets the read go on.
    pub(crate) fn release(self, leader: Led) {
        // A client that left does not want to know.
        let _ = self.0.send(leader);
    }
}
