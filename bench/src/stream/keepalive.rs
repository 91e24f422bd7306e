//! Leases kept alive over a few streams, as fast as the answers come: many on their way at once, as clientv3 sends
//! them when it wakes up every half second, or one at a time.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use anyhow::Result;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::link::{Link, Progress, Talk};
use super::meter::Meter;
use super::{Figure, Target, Wanted, many};
use crate::wire::duplex::{Duplex, StreamNumber};
use crate::wire::{Broken, protobuf as pb};

pub(super) const GRANT: &str = "/etcdserverpb.Lease/LeaseGrant";
const KEEP_ALIVE: &str = "/etcdserverpb.Lease/LeaseKeepAlive";
const LEASES: u64 = 10_000;
const STREAMS: u64 = 10;
/// Keepalives of one stream that are on their way, unless it is one.
pub(super) const TOGETHER: u64 = 32;
/// Long enough that nothing expires, in seconds.
const TTL_S: u64 = 3600;
const WARM_UP: Duration = Duration::from_secs(1);
const MEASURED: Duration = Duration::from_secs(4);
const DRAIN_MAX: Duration = Duration::from_secs(10);

pub(super) fn title(in_flight: u64, scale: u64) -> String {
    format!(
        "{} leases kept alive over {STREAMS} streams, {in_flight} on their way on each",
        leases(scale) * STREAMS
    )
}

/// Leases of each stream.
fn leases(scale: u64) -> u64 {
    (LEASES / STREAMS / scale).max(TOGETHER)
}

/// A LeaseGrantRequest.
pub(super) fn grant(id: u64, ttl_s: u64, out: &mut Vec<u8>) {
    pb::put_number(out, 1, ttl_s);
    pb::put_number(out, 2, id);
}

/// The client of one stream.
struct Keeper {
    progress: Rc<Progress>,
    stopped: Rc<Cell<bool>>,
    stream: StreamNumber,
    leases: std::ops::Range<u64>,
    next: u64,
    in_flight: u64,
    in_flight_max: u64,
    request: Vec<u8>,
}

impl Talk for Keeper {
    fn hear(&mut self, _stream: StreamNumber, message: &[u8]) -> Result<(), Broken> {
        let (id, ttl) = (pb::number(message, 2), pb::number(message, 3));
        if !self.leases.contains(&id) || ttl != TTL_S {
            return Err(Broken(format!("lease {id} was answered with a TTL of {ttl} s")));
        }
        self.in_flight -= 1;
        self.progress.hear(1);
        Ok(())
    }

    fn speak(&mut self, wire: &mut Duplex) {
        while self.in_flight < self.in_flight_max && !self.stopped.get() {
            self.request.clear();
            pb::put_number(&mut self.request, 1, self.next);
            wire.send(self.stream, &self.request);
            self.next = if self.next + 1 == self.leases.end { self.leases.start } else { self.next + 1 };
            self.in_flight += 1;
        }
    }
}

pub(super) async fn measure(target: &Target, in_flight_max: u64, scale: u64) -> Result<Vec<Figure>> {
    let (progress, mut tasks) = (Progress::new(), JoinSet::new());
    let each = leases(scale);
    many::call(&target.authority, GRANT, each * STREAMS, |at, out| grant(at + 1, TTL_S, out)).await?;
    let stopped = Rc::new(Cell::new(false));
    for at in 0..STREAMS {
        let mut link = Link::connect(&target.authority, 1).await?;
        let stream = link.wire.open(KEEP_ALIVE);
        let leases = at * each + 1..(at + 1) * each + 1;
        let keeper = Keeper {
            progress: Rc::clone(&progress),
            stopped: Rc::clone(&stopped),
            stream,
            next: leases.start,
            leases,
            in_flight: 0,
            in_flight_max,
            request: Vec::new(),
        };
        link.spawn(keeper, &progress, &mut tasks);
    }
    sleep(WARM_UP).await;
    let before = progress.heard.get();
    let meter = Meter::start(target)?;
    sleep(MEASURED).await;
    let used = meter.used()?;
    let answers = progress.heard.get() - before;
    progress.check()?;
    stopped.set(true);
    // Every keepalive is answered: what was on its way comes, and then nothing more.
    let begin = std::time::Instant::now();
    let calm = |progress: &Progress| progress.last.get().max(begin).elapsed() > Duration::from_millis(200);
    progress.wait("the last answers", DRAIN_MAX, calm).await?;
    let mut figures = vec![
        Figure::new("keepalives per server CPU s", used.per_server_second(answers), Wanted::Times(4.0)),
        Figure::new("keepalives/s", answers as f64 / used.seconds, Wanted::More),
    ];
    figures.extend(used.figures());
    Ok(figures)
}
