//! Clients: each asks one thing after the other, of any member, and gives up when no answer comes.
//!
//! INVARIANT: no two writes have the same bytes, so that each can be found again in the log.

use std::collections::BTreeMap;

use bytes::Bytes;
use command::{Command, Outcome};
use consensus::{Kind, Proposal, Role};
use types::v2::{self, Expiry, Path, Timestamp};
use types::{
    Compare, CompareResult, CompareTarget, DeleteRange, Key, KeyRange, LeaseId, Put, RangeEnd, RangeQuery,
    Txn, TxnOp,
};

use crate::history::{Answer, Ask};
use crate::invariants::Verdict;
use crate::member::Seat;
use crate::plan::TICK;
use crate::planted::Planted;
use crate::world::{Event, World};

/// Keys that one transaction writes, at most.
const KEYS_MAX: u64 = 5;

/// What a client knows.
#[derive(Default)]
pub(crate) struct Client {
    current: Option<u64>,
    home: usize,
    // The newest revision of each key that it was told.
    seen: BTreeMap<Vec<u8>, u64>,
}

impl World {
    /// A client asks for something.
    pub(crate) fn act(&mut self, client: usize) -> Verdict {
        if self.quiet || self.clients[client].current.is_some() {
            return Ok(());
        }
        let Some(place) = self.reachable(client) else {
            let delay = self.chance.between(1, 5 * TICK);
            self.after(delay, Event::Act(client));
            return Ok(());
        };
        let ask = self.draw(client, place);
        let operation = self.ask(place, ask)?;
        if self.history.is_answered(operation) {
            let delay = self.chance.between(1, self.plan.think);
            self.after(delay, Event::Act(client));
            return Ok(());
        }
        self.clients[client].current = Some(operation);
        let patience = self.chance.between(5, 60) * TICK;
        self.after(patience, Event::GiveUp { client, operation });
        self.turn(place)
    }

    /// A member that answers calls: mostly the client's own.
    fn reachable(&mut self, client: usize) -> Option<usize> {
        let is_up = |place: &usize| {
            self.members[*place].life.is_some() && matches!(self.members[*place].seat, Seat::Taken { .. })
        };
        let up: Vec<usize> = (0..self.members.len()).filter(is_up).collect();
        if up.is_empty() {
            return None;
        }
        if self.chance.happens(200) || !up.contains(&self.clients[client].home) {
            self.clients[client].home = *self.chance.pick(&up);
        }
        Some(self.clients[client].home)
    }

    /// Hands a question to a member, and returns its number.
    pub(crate) fn ask(&mut self, place: usize, ask: Ask) -> Result<u64, crate::invariants::Violation> {
        let life = self.members[place].life.as_ref().map_or(0, |life| life.number);
        let operation = self.history.begin(place, life, ask.clone());
        self.trace.say(self.now, || format!("{place}    operation {operation} asked: {}", words(&ask)));
        let planted = self.planted;
        let Some(life) = &mut self.members[place].life else { return Ok(operation) };
        match ask {
            Ask::Write { data } => {
                let proposal = |ticket| Proposal { data: data.clone(), ticket, kind: Kind::Normal };
                let mut proposals = vec![proposal(operation)];
                if planted == Some(Planted::ProposeTwice) && operation.is_multiple_of(16) {
                    proposals.push(proposal(u64::MAX));
                }
                life.replica.propose(&mut proposals);
                if planted == Some(Planted::AnswerBeforeCommit) {
                    let revision = life.machine.mvcc().revision().next();
                    let result = Ok(command::Effect::Put(types::PutReply::default()));
                    self.answer(operation, Answer::Done(Box::new(Outcome { revision, result })));
                }
            }
            Ask::Linear(_) => {
                let leads = life.replica.standing().role == Role::Leader;
                let at_once = planted == Some(Planted::ReadWithoutIndex)
                    || (planted == Some(Planted::ReadAsLeader) && leads);
                if at_once {
                    self.answer_read(place, operation)?;
                } else {
                    life.replica.read(&mut vec![operation]);
                }
            }
            Ask::Serial(_) => self.answer_read(place, operation)?,
        }
        Ok(operation)
    }

    /// An operation is answered; its client, if it still waits, thinks of the next one.
    pub(crate) fn answer(&mut self, operation: u64, answer: Answer) {
        let pairs = match &answer {
            Answer::Read { pairs, .. } => pairs.clone(),
            Answer::Done(_) | Answer::Refused => Vec::new(),
        };
        if !self.history.end(operation, answer) {
            return;
        }
        self.counts.answered += 1;
        let Some(client) = self.clients.iter().position(|client| client.current == Some(operation)) else {
            return;
        };
        let known = &mut self.clients[client];
        known.current = None;
        for pair in pairs {
            known.seen.insert(pair.key.to_vec(), pair.mod_revision.0);
        }
        let delay = self.chance.between(1, self.plan.think);
        self.after(delay, Event::Act(client));
    }

    /// A client waits no longer.
    pub(crate) fn give_up(&mut self, client: usize, operation: u64) {
        if self.history.give_up(operation) {
            self.counts.unknown += 1;
        }
        if self.clients[client].current == Some(operation) {
            self.clients[client].current = None;
            let delay = self.chance.between(1, self.plan.think);
            self.after(delay, Event::Act(client));
        }
    }

    /// Something that a client might want.
    fn draw(&mut self, client: usize, place: usize) -> Ask {
        let number = self.history.next();
        let key = self.key();
        match self.chance.weighted(&[30, 6, 10, 12, 22, 10, 12, 4, 3]) {
            0 => Ask::write(&Command::Put(self.leased(put_of(&key, number)))),
            1 => Ask::write(&Command::DeleteRange(delete(&key, number))),
            2 => Ask::write(&Command::Txn(self.several(number))),
            3 => {
                let seen = self.clients[client].seen.get(key.as_bytes()).copied().unwrap_or_default();
                Ask::write(&compare_and_swap(&key, seen, number))
            }
            4 => Ask::Linear(self.range(&key)),
            5 => Ask::Serial(self.range(&key)),
            kind => self.draw_v2(place, number, kind),
        }
    }

    /// Several keys in one transaction, which may not write a key twice: the first is put, so that its bytes are its own.
    fn several(&mut self, number: u64) -> Txn {
        let first = self.chance.below(self.plan.keys);
        let many = self.chance.between(2, KEYS_MAX).min(self.plan.keys);
        let mut ops = Vec::new();
        for at in 0..many {
            let key = format!("k{}", (first + at) % self.plan.keys);
            let op = if at > 0 && self.chance.happens(300) {
                TxnOp::Delete(delete(&key, number))
            } else {
                let mut put = self.leased(put_of(&key, number));
                if at > 0 && self.chance.happens(60) {
                    (put.ignore_value, put.value) = (true, Bytes::new());
                }
                TxnOp::Put(put)
            };
            ops.push(op);
        }
        Txn { success: ops, ..Txn::default() }
    }

    /// A put that attaches its key to a lease, or leaves it where it is, or takes it away.
    fn leased(&mut self, mut put: Put) -> Put {
        if self.chance.happens(60) {
            put.ignore_lease = true;
        } else if self.chance.happens(500) {
            put.lease = self.a_lease();
        }
        put
    }

    fn key(&mut self) -> String {
        format!("k{}", self.chance.below(self.plan.keys))
    }

    fn range(&mut self, key: &str) -> KeyRange {
        if self.chance.happens(500) { KeyRange::all() } else { KeyRange::single(key_of(key)) }
    }

    fn draw_v2(&mut self, place: usize, number: u64, kind: usize) -> Ask {
        let now = self.members[place].clock.wall(self.now);
        // The last digits make a delete the only one of its kind.
        let now = Timestamp(now.0 - now.0 % 1_000_000 + number as i64);
        let path = Path::clean(&format!("/n{}", self.chance.below(self.plan.keys)));
        let value = value_of(number);
        let write = match kind {
            6 => {
                let expiry = if self.chance.happens(600) {
                    Expiry::At(Timestamp(now.0 + self.chance.between(20, 2000) as i64 * 1_000_000))
                } else {
                    Expiry::Never
                };
                v2::Write::Set { path, value, dir: false, expiry, refresh: false }
            }
            7 => v2::Write::Create { path, value, dir: false, expiry: Expiry::Never, in_order: false },
            _ => v2::Write::Delete { path, dir: false, recursive: false },
        };
        Ask::write(&Command::V2 { write, now })
    }
}

/// A write that nobody else makes.
pub(crate) fn put(key: &str, number: u64) -> Command {
    Command::Put(put_of(key, number))
}

fn put_of(key: &str, number: u64) -> Put {
    Put {
        key: key_of(key),
        value: value_of(number),
        lease: LeaseId::NONE,
        prev_kv: false,
        ignore_value: false,
        ignore_lease: false,
    }
}

fn put_op(key: &str, number: u64) -> TxnOp {
    TxnOp::Put(put_of(key, number))
}

fn key_of(key: &str) -> Key {
    Key::new(Bytes::copy_from_slice(key.as_bytes())).expect("no key here is empty")
}

fn value_of(number: u64) -> Bytes {
    Bytes::from(format!("op {number}"))
}

/// The end of the range makes it the only one of its kind; there is no key between `key` and that end but `key`.
fn delete(key: &str, number: u64) -> DeleteRange {
    let end = RangeEnd::Before(Bytes::from(format!("{key}\0{number}")));
    DeleteRange { range: KeyRange { start: Bytes::copy_from_slice(key.as_bytes()), end }, prev_kv: false }
}

fn compare_and_swap(key: &str, seen: u64, number: u64) -> Command {
    let range = KeyRange::single(key_of(key));
    let target = CompareTarget::Mod(seen as i64);
    let compare = vec![Compare { range: range.clone(), result: CompareResult::Equal, target }];
    let failure = vec![TxnOp::Range(RangeQuery::of(range))];
    Command::Txn(Txn { compare, success: vec![put_op(key, number)], failure })
}

fn words(ask: &Ask) -> String {
    match ask {
        Ask::Write { data } => match command::decode_run(data.clone()) {
            Ok(commands) => format!("{commands:?}"),
            Err(error) => error.to_string(),
        },
        Ask::Linear(range) => format!("read {range:?}"),
        Ask::Serial(range) => format!("serializable read {range:?}"),
    }
}
