//! Random histories: the keyspace and a simple model must give the same answers, through compactions, sweeps of any
//! size, restarts, and crashes that lose what was not flushed and apply the log again.
//!
//! Every failure names its seed; `one_history(seed)` replays it.

mod chance;
mod model;

use std::path::PathBuf;
use std::sync::Arc;

use chance::Chance;
use model::{Model, Reply, Request};
use mvcc::{Mvcc, ReadError, Refusal, WriteError, Writer};
use store::{Family, Options, Store};
use types::{RangeQuery, Revision};

/// The test's own position, in every batch, as the applied index will be.
const APPLIED: &[u8] = b"test/applied";

/// One member: its files, what is open of it, and the log that can bring it back.
struct Member {
    options: Options,
    path: PathBuf,
    mvcc: Option<(Mvcc, Arc<Store>)>,
    log: Vec<(Request, Result<Reply, Refusal>)>,
}

impl Member {
    fn new(options: &Options, path: String) -> Self {
        let mut member = Self { options: options.clone(), path: path.into(), mvcc: None, log: Vec::new() };
        member.open();
        member
    }

    fn mvcc(&self) -> &Mvcc {
        &self.mvcc.as_ref().expect("a member is open between two steps").0
    }

    fn store(&self) -> &Arc<Store> {
        &self.mvcc.as_ref().expect("a member is open between two steps").1
    }

    fn open(&mut self) {
        let store = Arc::new(Store::open(&self.path, &self.options).expect("open the store"));
        self.mvcc = Some((Mvcc::open(Arc::clone(&store)).expect("open the keyspace"), store));
    }

    /// Only the keyspace comes anew; the store stays.
    fn reopen(&mut self) {
        let store = Arc::clone(self.store());
        self.mvcc = Some((Mvcc::open(Arc::clone(&store)).expect("open the keyspace"), store));
    }

    /// What was not flushed is lost; the log is applied again from there, in other batches, with the same answers.
    fn crash(&mut self, chance: &mut Chance) {
        self.mvcc = None;
        self.open();
        let applied = self
            .store()
            .get(Family::Meta, APPLIED)
            .expect("get")
            .map_or(0, |row| u64::from_be_bytes(row.as_ref().try_into().expect("eight bytes")) as usize);
        let lost: Vec<_> = self.log.drain(applied..).collect();
        let mut lost = lost.into_iter().peekable();
        while lost.peek().is_some() {
            let run: Vec<_> = lost.by_ref().take(1 + chance.below(4) as usize).collect();
            let requests: Vec<Request> = run.iter().map(|(request, _)| request.clone()).collect();
            let replies = self.write(&requests, |_| {});
            for ((request, before), again) in run.into_iter().zip(replies) {
                assert_eq!(again, before, "applied again: {request:?}");
            }
        }
    }

    /// Applies requests in one batch.
    fn write(
        &mut self,
        requests: &[Request],
        mut unpublished: impl FnMut(&mut Writer<'_>),
    ) -> Vec<Result<Reply, Refusal>> {
        let (mvcc, store) = self.mvcc.as_ref().expect("a member is open between two steps");
        let mut writer = mvcc.begin();
        let mut replies = Vec::new();
        for request in requests {
            replies.push(apply(&mut writer, request));
            unpublished(&mut writer);
        }
        let mut batch = store.batch();
        writer.stage(&mut batch);
        let applied = (self.log.len() + requests.len()) as u64;
        batch.put(Family::Meta, APPLIED, &applied.to_be_bytes());
        store.write(batch).expect("write");
        writer.publish();
        self.log.extend(requests.iter().cloned().zip(replies.iter().cloned()));
        replies
    }
}

fn apply(writer: &mut Writer<'_>, request: &Request) -> Result<Reply, Refusal> {
    let reply = match request {
        Request::Put(put) => writer.put(put).map(Reply::Put),
        Request::Delete(delete) => writer.delete_range(delete).map(Reply::Delete),
        Request::Txn(txn) => writer.txn(txn).map(Reply::Txn),
        Request::Compact(revision) => writer.compact(*revision).map(|()| Reply::Compact),
    };
    reply.map_err(|error| match error {
        WriteError::Refused(refusal) => refusal,
        error => panic!("{error}"),
    })
}

fn refusal(error: ReadError) -> Refusal {
    match error {
        ReadError::Compacted => Refusal::Compacted,
        ReadError::FutureRevision => Refusal::FutureRevision,
        error => panic!("{error}"),
    }
}

fn check_read(member: &Member, model: &Model, query: &RangeQuery) {
    let expect = model.range(query).map(|reply| (Revision(model.revision), reply));
    assert_eq!(member.mvcc().range(query).map_err(refusal), expect, "{query:?}");
}

/// A few requests in one batch, or in none.
fn step_write(member: &mut Member, model: &mut Model, chance: &mut Chance) {
    let requests: Vec<Request> = (0..=chance.below(4)).map(|_| chance.request(model.revision)).collect();
    let published = model.clone();
    if chance.one_in(8) {
        let mut writer = member.mvcc().begin();
        for request in &requests {
            let _ = apply(&mut writer, request);
        }
        return;
    }
    let mut expect = Vec::new();
    let mut states = Vec::new();
    for request in &requests {
        expect.push(model.apply(request));
        states.push(model.clone());
    }
    let mut states = states.iter();
    let queries = [chance.query(model.revision), chance.query(model.revision)];
    let replies = member.write(&requests, |writer| {
        let state = states.next().expect("one for each request");
        assert_eq!(writer.revision().0, state.revision);
        for query in &queries {
            let reply = writer.range(query).map_err(|error| match error {
                WriteError::Refused(refusal) => refusal,
                error => panic!("{error}"),
            });
            assert_eq!(reply, state.range(query), "in the writer: {query:?}");
        }
    });
    for ((request, reply), expect) in requests.iter().zip(replies).zip(expect) {
        assert_eq!(reply, expect, "{request:?}");
    }
    assert!(published.revision <= model.revision);
}

fn step(member: &mut Member, model: &mut Model, chance: &mut Chance) {
    match chance.below(20) {
        0..8 => step_write(member, model, chance),
        8..14 => check_read(member, model, &chance.query(model.revision)),
        14 => {
            let txn = chance.read_txn(model.revision);
            let expect = model.read_txn(&txn).map(|reply| (Revision(model.revision), reply));
            assert_eq!(member.mvcc().read_txn(&txn).map_err(refusal), expect, "{txn:?}");
        }
        15..18 => {
            member.mvcc().sweep(1 + chance.below(6) as usize).expect("sweep");
        }
        18 => member.reopen(),
        _ => member.store().flush().expect("flush"),
    }
}

/// At the end: everything at every revision that is left, then the same once all is swept, and the same hashes as a
/// member that never swept.
fn check_all(member: &Member, model: &Model, mut twin: Option<&mut Member>) {
    let mvcc = member.mvcc();
    assert_eq!(mvcc.revision().0, model.revision);
    assert_eq!(mvcc.compacted().0, model.compacted());
    if let Some(twin) = &mut twin {
        for (request, reply) in &member.log {
            assert_eq!(twin.write(std::slice::from_ref(request), |_| {}), std::slice::from_ref(reply));
        }
    }
    for swept in [false, true] {
        if swept {
            while !mvcc.sweep(3).expect("sweep").done {}
        }
        for at in model.compacted().max(1)..=model.revision {
            let mut query = RangeQuery::of(types::KeyRange::all());
            query.at = Some(Revision(at));
            check_read(member, model, &query);
            if let Some(twin) = &twin {
                assert_eq!(
                    mvcc.hash_kv(Some(Revision(at))).map_err(refusal),
                    twin.mvcc().hash_kv(Some(Revision(at))).map_err(refusal),
                    "hash at {at}, swept {swept}"
                );
            }
        }
    }
    assert_eq!(mvcc.key_count(), model.range(&RangeQuery::of(types::KeyRange::all())).expect("now").count);
}

fn one_history(options: &Options, seed: u64) {
    let mut chance = Chance(seed);
    let mut model = Model::new();
    let mut member = Member::new(options, format!("/member/{seed}"));
    let steps = 5 + chance.below(40);
    // Opening a store costs more than everything else: one history in four crashes.
    let crash_at = chance.one_in(4).then(|| chance.below(steps));
    for number in 0..steps {
        step(&mut member, &mut model, &mut chance);
        if crash_at == Some(number) {
            member.crash(&mut chance);
        }
    }
    // One in three has a twin that never sweeps, to compare hashes with.
    let mut twin = chance.one_in(3).then(|| Member::new(options, format!("/twin/{seed}")));
    check_all(&member, &model, twin.as_mut());
}

/// So many histories in one environment before it is thrown away with all its files.
const HISTORIES_PER_ENVIRONMENT: u64 = 100;

fn histories(seeds: std::ops::Range<u64>) {
    let mut options = Options::in_memory();
    for seed in seeds {
        if seed % HISTORIES_PER_ENVIRONMENT == 0 {
            options = Options::in_memory();
        }
        let outcome = std::panic::catch_unwind(|| one_history(&options, seed));
        assert!(outcome.is_ok(), "history {seed} failed, see above");
    }
}

#[test]
fn histories_agree_with_the_model_first_half() {
    histories(0..5_000);
}

#[test]
fn histories_agree_with_the_model_second_half() {
    histories(5_000..10_000);
}
