//! Several members in one process: real threads, folders and sockets on loopback.

mod catching_up;
mod changing;
mod differing;
mod leases;
mod serving;
mod watching;

use std::net::TcpListener;
use std::sync::Arc;
use std::time::{Duration, Instant};

use folder::Folder;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use types::{ClusterId, MemberId, MemberRecord, MemberUrl, parse_urls};

use super::config;
use crate::{Beginning, Config, Member};

/// No step of these tests takes longer, however busy the machine is.
const PATIENCE: Duration = Duration::from_mins(1);

/// A place for a member: what stays when the member itself ends.
struct Seat {
    parent: TempDir,
    record: MemberRecord,
    runtime: Option<Runtime>,
}

/// A member that runs.
struct Running {
    member: Arc<Member>,
    _folder: Folder,
}

impl Seat {
    fn new(id: u64) -> (Self, TcpListener) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let record = MemberRecord {
            id: MemberId(id),
            name: format!("m{id}"),
            peer_urls: vec![url],
            client_urls: Vec::new(),
            learner: false,
        };
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a thread");
        let runtime = Some(runtime);
        (Self { parent: tempfile::tempdir().expect("a folder"), record, runtime }, listener)
    }

    fn config(&self, beginning: Beginning, founders: &[MemberRecord]) -> Config {
        Config {
            name: self.record.name.clone(),
            member: self.record.id,
            cluster: ClusterId(0xcafe),
            beginning,
            founders: founders.to_vec(),
            peers: self.runtime.as_ref().expect("until the end").handle().clone(),
            client_urls: vec![format!("http://127.0.0.1:{}", self.record.id.0)],
            heartbeat: Duration::from_millis(20),
            election: Duration::from_millis(300),
            // It wants to have seen everybody for five seconds.
            strict_reconfiguration: false,
            ..config()
        }
    }

    fn start(&self, config: &Config, listener: TcpListener) -> Running {
        let folder = folder::open(self.parent.path()).expect("free");
        let member = Member::start(config, &folder).expect("starts");
        member.serve_peers(listener, None).expect("serves");
        Running { member, _folder: folder }
    }

    fn listen_again(&self) -> TcpListener {
        let address = self.record.peer_urls[0].trim_start_matches("http://").to_owned();
        let began = Instant::now();
        loop {
            match TcpListener::bind(&address) {
                Ok(listener) => return listener,
                Err(error) => assert!(began.elapsed() < PATIENCE, "{error}"),
            }
            // Reason to sleep: nothing tells when a port is free again.
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        // A test is no place to wait in.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// A cluster whose members have the ids from 1 on.
struct Cluster {
    seats: Vec<Seat>,
    founders: Vec<MemberRecord>,
    members: Vec<Option<Running>>,
    settings: fn(Config) -> Config,
}

impl Cluster {
    async fn of(size: u64) -> Self {
        Self::with(size, |config| config).await
    }

    async fn with(size: u64, settings: fn(Config) -> Config) -> Self {
        let (seats, listeners): (Vec<_>, Vec<_>) = (1..=size).map(Seat::new).unzip();
        let founders: Vec<MemberRecord> = seats.iter().map(|seat| seat.record.clone()).collect();
        let start = |(seat, listener): (&Seat, TcpListener)| {
            Some(seat.start(&settings(seat.config(Beginning::Found, &founders)), listener))
        };
        let members = seats.iter().zip(listeners).map(start).collect();
        let cluster = Self { seats, founders, members, settings };
        for number in 0..cluster.members.len() {
            cluster.ready(number).await;
        }
        cluster
    }

    fn member(&self, number: usize) -> &Arc<Member> {
        &self.members[number].as_ref().expect("it runs").member
    }

    async fn ready(&self, number: usize) {
        let ready = tokio::time::timeout(PATIENCE, self.member(number).ready()).await;
        assert!(
            ready.is_ok(),
            "member {number} is not ready: {:?}",
            self.member(number).house.driver.survey()
        );
    }

    async fn leader(&self) -> usize {
        let mut found = None;
        until("there is a leader", || {
            found = (0..self.members.len()).find(|number| {
                self.members[*number].as_ref().is_some_and(|running| running.member.house.shared.confirmed())
            });
            found.is_some()
        })
        .await;
        found.expect("found")
    }

    async fn follower(&self) -> usize {
        let leader = self.leader().await;
        (0..self.members.len())
            .find(|number| *number != leader && self.members[*number].is_some())
            .expect("there are others")
    }

    fn stop(&mut self, number: usize) {
        let running = self.members[number].take().expect("it runs");
        running.member.stop();
        // In a process of its own it would end with it. Here its last connections have yet to let go of the database.
        let store = Arc::downgrade(&running.member.house.wing.enter().store);
        drop(running);
        let began = Instant::now();
        while store.strong_count() > 0 {
            assert!(began.elapsed() < PATIENCE, "somebody keeps the database");
            // Reason to sleep: nothing tells when the last reader has gone.
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn restart(&mut self, number: usize) {
        let seat = &self.seats[number];
        let config = (self.settings)(seat.config(Beginning::Found, &self.founders));
        self.members[number] = Some(seat.start(&config, seat.listen_again()));
    }

    /// Starts a member that was added with the URLs of `seat`.
    fn join(
        &mut self,
        mut seat: Seat,
        listener: TcpListener,
        id: MemberId,
        members: &[MemberRecord],
    ) -> usize {
        seat.record.id = id;
        let running = seat.start(&(self.settings)(seat.config(Beginning::Join, members)), listener);
        self.seats.push(seat);
        self.members.push(Some(running));
        self.members.len() - 1
    }

    /// Until everybody who runs has applied the same and has the same fingerprint.
    async fn agree(&self) {
        let newest = || -> Vec<_> {
            let running = self.members.iter().flatten();
            running.map(|running| running.member.house.wing.look().fingerprints.newest()).collect()
        };
        until("the members agree", || newest().windows(2).all(|pair| pair[0] == pair[1])).await;
    }
}

pub(super) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < PATIENCE, "waited in vain until {what}");
        // Reason to sleep: the pause between two looks at a condition.
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn urls(seat: &Seat) -> Vec<MemberUrl> {
    parse_urls(seat.record.peer_urls.iter().map(String::as_str)).expect("well-formed")
}
