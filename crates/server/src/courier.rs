//! Questions about leases on their way to the leader: those of a member's clients together, and those of other
//! members at the leader.
//!
//! INVARIANT: what a leader answers was true after the question came: it was confirmed as the leader in between.

use std::sync::{Arc, Weak};
use std::time::Duration;

use api::Fault;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use consensus::Kind;
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use transport::Transport;
use types::{LeaseId, MemberId};

use crate::lessor::{Question, taking_back};
use crate::member::House;
use crate::shared::Shared;
use crate::ticket::WriteTicket;

/// Leases in one question to another member.
pub(crate) const QUESTION_IDS_MAX: usize = 16_384;
/// Leases that wait to be asked about; more are told that there is too much.
const WAITING_IDS_MAX: usize = 1 << 20;
/// Questions under way at once; what comes meanwhile goes with the next one.
const FLIGHTS_MAX: usize = 2;
/// Questions of other members that wait at the leader; more are turned away and come again.
const INQUIRIES_MAX: usize = 256;
/// A leader that is not confirmed within this time says that it is none.
const CONFIRM_TIME_MAX: Duration = Duration::from_secs(1);

/// Carries renewals of this member's clients to the leader.
pub(crate) struct Courier {
    transport: Arc<Transport>,
    shared: Arc<Shared>,
    handle: Handle,
    waiting: Mutex<Waiting>,
}

/// How many leases somebody asked about, and where the answers go.
type Parcel = (usize, oneshot::Sender<Vec<i64>>);

#[derive(Default)]
struct Waiting {
    ids: Vec<LeaseId>,
    /// Whose they are, in order.
    parcels: Vec<Parcel>,
    flights: usize,
}

impl Courier {
    pub(crate) fn new(transport: Arc<Transport>, shared: Arc<Shared>, handle: Handle) -> Self {
        Self { transport, shared, handle, waiting: Mutex::default() }
    }

    /// Asks the leader to renew up to [`QUESTION_IDS_MAX`] leases, together with what others ask. `None` if it did
    /// not answer: it may have renewed them.
    pub(crate) async fn keep_alive(self: &Arc<Self>, ids: &[LeaseId]) -> Result<Option<Vec<i64>>, Fault> {
        debug_assert!(ids.len() <= QUESTION_IDS_MAX, "a question too long");
        let (reply, answers) = oneshot::channel();
        let starts = {
            let mut waiting = self.waiting.lock();
            if waiting.ids.len() + ids.len() > WAITING_IDS_MAX {
                return Err(Fault::TooManyRequests);
            }
            waiting.ids.extend_from_slice(ids);
            waiting.parcels.push((ids.len(), reply));
            let starts = waiting.flights < FLIGHTS_MAX;
            waiting.flights += usize::from(starts);
            starts
        };
        if starts {
            self.handle.spawn(Arc::clone(self).fly());
        }
        Ok(answers.await.ok())
    }

    /// Asks the leader about one lease or a few, without waiting for others.
    pub(crate) async fn ask(&self, question: Question, ids: &[LeaseId]) -> Option<Vec<i64>> {
        let leader = self.shared.leader();
        if leader == MemberId(0) {
            return None;
        }
        let asked = self.transport.inquire(leader, encode(question, ids));
        let answer = tokio::select! {
            answer = asked => answer,
            () = self.shared.deposed(leader) => return None,
            _ = self.shared.ended() => return None,
        };
        match answer {
            Ok(answer) => decode_answers(&answer).filter(|answers| answers.len() == ids.len()),
            Err(error) => {
                tracing::debug!(%leader, %error, "the leader does not answer about leases");
                None
            }
        }
    }

    /// Asks until nothing waits any more.
    async fn fly(self: Arc<Self>) {
        loop {
            let (ids, parcels) = {
                let mut waiting = self.waiting.lock();
                let (ids, parcels) = waiting.load();
                if parcels.is_empty() {
                    waiting.flights -= 1;
                    return;
                }
                (ids, parcels)
            };
            // Those who wait hear of a failure by their channels' end.
            let Some(answers) = self.ask(Question::KeepAlive, &ids).await else { continue };
            let mut rest = answers.as_slice();
            for (count, reply) in parcels {
                let (own, others) = rest.split_at(count.min(rest.len()));
                // A client that left does not want to know.
                let _ = reply.send(own.to_vec());
                rest = others;
            }
        }
    }
}

impl Waiting {
    /// Takes what fits into a question.
    fn load(&mut self) -> (Vec<LeaseId>, Vec<Parcel>) {
        let mut count = 0;
        let fits = |(own, _): &&(usize, _)| {
            count += own;
            count <= QUESTION_IDS_MAX
        };
        let parcels = self.parcels.iter().take_while(fits).count();
        let parcels: Vec<_> = self.parcels.drain(..parcels).collect();
        let ids: usize = parcels.iter().map(|(own, _)| own).sum();
        (self.ids.drain(..ids).collect(), parcels)
    }
}

/// A question of another member.
pub(crate) struct Inquiry {
    question: Question,
    ids: Vec<LeaseId>,
    reply: oneshot::Sender<Bytes>,
}

/// Where questions of other members come in.
pub(crate) type Inquiries = mpsc::Sender<Inquiry>;

pub(crate) fn inquiries() -> (Inquiries, mpsc::Receiver<Inquiry>) {
    mpsc::channel(INQUIRIES_MAX)
}

/// Puts a question to where it is answered. `None`: it is none, or there are too many.
pub(crate) async fn inquire(inquiries: Inquiries, question: Bytes) -> Option<Bytes> {
    let (question, ids) = decode(question)?;
    let (reply, answer) = oneshot::channel();
    inquiries.try_send(Inquiry { question, ids, reply }).ok()?;
    answer.await.ok()
}

/// Answers questions of other members while this one leads, all that wait after one confirmation. It keeps nothing
/// of a member that has stopped.
pub(crate) async fn serve(
    house: Weak<House>,
    shared: Arc<Shared>,
    me: MemberId,
    mut inquiries: mpsc::Receiver<Inquiry>,
) {
    let mut waiting = Vec::new();
    loop {
        tokio::select! {
            count = inquiries.recv_many(&mut waiting, INQUIRIES_MAX) => if count == 0 { return },
            () = shared.stopping() => return,
        }
        let Some(house) = house.upgrade() else { return };
        let led = timeout(CONFIRM_TIME_MAX, house.confirm()).await;
        let Ok(Ok(Some((term, leader)))) = led else {
            waiting.clear();
            continue;
        };
        if leader != me {
            waiting.clear();
            continue;
        }
        let mut checkpointed = Vec::new();
        for Inquiry { question, ids, reply } in waiting.drain(..) {
            if let Some(answers) = house.keeper.answer(question, term, &ids, &mut checkpointed) {
                // Who asked may be gone.
                let _ = reply.send(encode_answers(&answers));
            }
        }
        if !checkpointed.is_empty() {
            house.propose_chore(&taking_back(&checkpointed), Kind::Chore(term), WriteTicket::silent());
        }
    }
}

// docs/FORMATS.md draws these.

fn encode(question: Question, ids: &[LeaseId]) -> Bytes {
    let mut bytes = BytesMut::with_capacity(1 + 8 * ids.len());
    bytes.put_u8(match question {
        Question::KeepAlive => 1,
        Question::TimeLeft => 2,
    });
    for id in ids {
        bytes.put_i64(id.0);
    }
    bytes.freeze()
}

fn decode(mut bytes: Bytes) -> Option<(Question, Vec<LeaseId>)> {
    let question = match bytes.try_get_u8().ok()? {
        1 => Question::KeepAlive,
        2 => Question::TimeLeft,
        _ => return None,
    };
    let ids: Vec<LeaseId> = decode_answers(&bytes)?.into_iter().map(LeaseId).collect();
    (ids.len() <= QUESTION_IDS_MAX).then_some((question, ids))
}

fn encode_answers(answers: &[i64]) -> Bytes {
    let mut bytes = BytesMut::with_capacity(8 * answers.len());
    for answer in answers {
        bytes.put_i64(*answer);
    }
    bytes.freeze()
}

fn decode_answers(bytes: &[u8]) -> Option<Vec<i64>> {
    let (words, rest) = bytes.as_chunks::<8>();
    rest.is_empty().then(|| words.iter().map(|word| i64::from_be_bytes(*word)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_and_answers_come_out_as_they_went_in() {
        let ids = [LeaseId(1), LeaseId(i64::MIN), LeaseId(-1)];
        for question in [Question::KeepAlive, Question::TimeLeft] {
            assert_eq!(decode(encode(question, &ids)), Some((question, ids.to_vec())));
        }
        let answers = [3, -1, i64::MAX];
        assert_eq!(decode_answers(&encode_answers(&answers)), Some(answers.to_vec()));
        let good = encode(Question::KeepAlive, &ids);
        for cut in (0..good.len()).filter(|cut| cut % 8 != 1) {
            assert_eq!(decode(good.slice(..cut)), None, "cut to {cut}");
        }
        assert_eq!(decode(Bytes::from_static(&[3])), None);
        let too_many = vec![LeaseId(1); QUESTION_IDS_MAX + 1];
        assert_eq!(decode(encode(Question::KeepAlive, &too_many)), None);
    }

    #[test]
    fn what_waits_goes_in_whole_parcels_that_fit() {
        let mut waiting = Waiting::default();
        for count in [10_000, 6_384, 1] {
            waiting.ids.extend(vec![LeaseId(count as i64); count]);
            waiting.parcels.push((count, oneshot::channel().0));
        }
        let (ids, parcels) = waiting.load();
        assert_eq!((ids.len(), parcels.len()), (QUESTION_IDS_MAX, 2));
        let (ids, parcels) = waiting.load();
        assert_eq!((ids, parcels.len()), (vec![LeaseId(1)], 1));
        assert_eq!(waiting.load().1.len(), 0);
    }
}
