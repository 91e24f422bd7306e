//! The folder as a database: what its database holds, what its snapshot holds, and then the log.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

use apply::{Entry as OurEntry, Machine, Position};
use bolt::{BoltError, Reader, Seek};
use bytes::Bytes;
use command::Command;
use etcdfile::{IntakeError, Taken};
use prost::Message;
use store::{Store, StoreError};
use types::{Author, Identity, Index, Term};
use v2auth::V2Auth;
use v2store::V2Store;

use crate::folder::EtcdFolder;
use crate::log::{Log, LogError};
use crate::messages::{ConfChange, Entry, Internal, V2Request};
use crate::request::{self, V2};
use crate::snapshot;
use crate::tree::{self, TreeError};
use crate::users::Users;

/// Why there is no database. What was written of it is of no use.
#[derive(Debug, thiserror::Error)]
pub enum TakeError {
    /// A file.
    #[error("cannot read {path}")]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Its database.
    #[error("cannot read its database")]
    File(#[from] BoltError),
    /// What is in that.
    #[error("cannot take its database")]
    Intake(#[from] IntakeError),
    /// A snapshot came over the network, and its database is not there.
    #[error(
        "its database goes up to entry {database}, before its snapshot of entry {snapshot}, and {missing} is not there"
    )]
    Older {
        /// The last entry in the database.
        database: u64,
        /// That in the snapshot.
        snapshot: u64,
        /// The database of the snapshot.
        missing: PathBuf,
    },
    /// The end of the log is gone.
    #[error("its log ends with entry {log}, before its database, which goes up to entry {database}")]
    Short {
        /// The last entry in the log.
        log: u64,
        /// That in the database.
        database: u64,
    },
    /// Its log.
    #[error(transparent)]
    Log(#[from] LogError),
    /// An entry that this version does not know.
    #[error("the entry {0} of its log cannot be understood")]
    Entry(u64),
    /// The v2 tree.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// Users and roles of v2.
    #[error("the v2 user or role {0} cannot be kept")]
    User(String),
    /// Our database.
    #[error("cannot write the database")]
    Store(#[from] StoreError),
    /// The v2 keyspace.
    #[error("cannot write the v2 keyspace")]
    V2(#[from] v2store::OpenError),
    /// The users of v2.
    #[error("cannot write the users of v2")]
    V2Auth(#[from] v2auth::OpenError),
    /// The state.
    #[error("cannot open the state")]
    State(#[from] apply::OpenError),
    /// An entry was not applied.
    #[error("cannot apply its log")]
    Apply(#[from] apply::ApplyError),
}

/// The database, which is open for reading.
struct Database<'a>(&'a File, u64);

impl<'a> Database<'a> {
    fn open(path: &std::path::Path, file: &'a File) -> Result<Reader<Self>, TakeError> {
        let about = file.metadata().map_err(|source| TakeError::Io { path: path.to_owned(), source })?;
        Ok(Reader::open(Self(file, about.len()))?)
    }
}

impl Seek for Database<'_> {
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        self.0.read_exact_at(into, offset)
    }

    fn bytes(&self) -> u64 {
        self.1
    }
}

/// Puts all that is in `folder` into an empty store, durably, and tells how far that goes.
pub fn take(folder: &EtcdFolder, store: &Arc<Store>) -> Result<Position, TakeError> {
    let failed = |(path, source)| TakeError::Io { path, source };
    let found = snapshot::newest(&folder.snapshots).map_err(failed)?;
    let log = Log::open(&folder.segments, found.index)?;
    let Taken { index, term, .. } = take_database(folder, found.index, store)?;
    let last = found.index + log.len() as u64;
    if last < index.0 {
        return Err(TakeError::Short { log: last, database: index.0 });
    }

    let mut users = Users::default();
    let mut batch = store.batch();
    tree::stage(&found.json, &mut users, &mut batch)?;
    store.write(batch)?;
    // What v3 has of the log already, v2 has not: its tree is as old as the snapshot.
    let done = index.0.max(found.index);
    let ahead = usize::try_from(done - found.index).unwrap_or(usize::MAX).min(log.len());
    let v2 = V2Store::open(store)?;
    let mut last_term = found.term;
    for at in 0..ahead {
        let Some(entry) = log.entry(at)? else { break };
        last_term = entry.term;
        let mut batch = store.batch();
        match what(&entry)? {
            What::V2(V2::Keys(write, now)) => drop(v2.apply(&write, now, &mut batch)),
            other => v2.pass(own_indexes(&other, &mut users)),
        }
        v2.stage(&mut batch);
        store.write(batch)?;
    }
    drop(v2);

    let mut machine = Machine::open(Arc::clone(store))?;
    let term = term.0.max(last_term).max(1);
    machine.bootstrap(Position { index: Index(done), term: Term(term) }, &[])?;
    for at in ahead..log.len() {
        let Some(entry) = log.entry(at)? else { break };
        go_on(&mut machine, &entry, &mut users)?;
    }
    let auth = V2Auth::open(store)?;
    let mut batch = store.batch();
    users.stage(&auth, &mut batch).map_err(TakeError::User)?;
    machine.v2().stage(&mut batch);
    store.write(batch)?;
    store.flush()?;
    Ok(machine.position())
}

/// Takes the database that belongs to the snapshot up to entry `snapshot`, or is newer.
fn take_database(folder: &EtcdFolder, snapshot: u64, store: &Store) -> Result<Taken, TakeError> {
    let (path, file) = &folder.database;
    let reader = Database::open(path, file)?;
    let database = etcdfile::index_in(&reader)?.0;
    if database >= snapshot {
        return Ok(etcdfile::take_etcd(&reader, store)?);
    }
    // It came from another member, and etcd ended before it had put it in place.
    let path = folder.snap.join(format!("{snapshot:016x}.snap.db"));
    let file = File::open(&path).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => TakeError::Older { database, snapshot, missing: path.clone() },
        _ => TakeError::Io { path: path.clone(), source },
    })?;
    Ok(etcdfile::take_etcd(&Database::open(&path, &file)?, store)?)
}

/// Applies an entry to all there is.
fn go_on(machine: &mut Machine, entry: &Entry, users: &mut Users) -> Result<(), TakeError> {
    let data = match what(entry)? {
        What::V2(V2::Keys(write, now)) => Command::V2 { write, now }.encode(),
        What::V3(request) => {
            let leases = Arc::clone(machine.leases());
            let author = request.header.as_ref().filter(|header| !header.user.is_empty());
            let author = author.map_or(Author::Nobody, |header| {
                Author::User(Identity { user: header.user.clone(), revision: header.auth_revision })
            });
            // What etcd itself asks for has no header.
            let author = if request.header.is_none() { Author::Member } else { author };
            let command = request::v3(*request, |id| leases.get(id).map(|terms| terms.born));
            command.map(|command| command.encode_by(&author)).unwrap_or_default()
        }
        other => {
            machine.v2().pass(own_indexes(&other, users));
            Bytes::new()
        }
    };
    let entry = OurEntry { index: Index(entry.index), term: Term(entry.term), data };
    machine.apply(std::iter::once(&entry))?;
    Ok(())
}

/// What an entry is about.
enum What {
    V2(V2),
    V3(Box<Internal>),
    /// etcd's own affairs, and how many indexes of v2 they take.
    Own(u64),
}

fn what(entry: &Entry) -> Result<What, TakeError> {
    let bad = |_| TakeError::Entry(entry.index);
    match entry.kind {
        0 if entry.data.is_empty() => Ok(What::Own(0)),
        0 => match Internal::decode(entry.data.clone()) {
            Ok(Internal { v2: Some(request), .. }) => Ok(What::V2(request::v2(&request))),
            Ok(request) if request.cluster_version.is_some() || request.member_attributes.is_some() => {
                Ok(What::Own(1))
            }
            Ok(request) => Ok(What::V3(Box::new(request))),
            Err(_) => {
                let request = V2Request::decode(entry.data.clone()).map_err(bad)?;
                Ok(What::V2(request::v2(&request)))
            }
        },
        // Who was removed is remembered, too.
        1 => match ConfChange::decode(entry.data.clone()).map_err(bad)?.kind {
            1 => Ok(What::Own(2)),
            _ => Ok(What::Own(1)),
        },
        _ => Err(TakeError::Entry(entry.index)),
    }
}

/// How many indexes of v2 are taken by what is not about clients' keys.
fn own_indexes(what: &What, users: &mut Users) -> u64 {
    match what {
        What::V2(V2::Own) => 1,
        What::V2(V2::Users(path, request)) => u64::from(users.apply(path, request)),
        What::Own(indexes) => *indexes,
        What::V2(V2::Keys(..) | V2::Nothing) | What::V3(_) => 0,
    }
}
