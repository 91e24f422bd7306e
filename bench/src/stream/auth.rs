//! What it costs to prove who one is: puts with a token beside puts where nobody needs one, and puts while others show
//! their passwords.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::meter::{BESIDE, Meter, Puts};
use super::{Figure, Target, Wanted};
use crate::call::Caller;
use crate::load::{self, CONNECTIONS, Plan, Report, Until};
use crate::wire::protobuf as pb;
use crate::workload::{Kind, Shape};

const USER_ADD: &str = "/etcdserverpb.Auth/UserAdd";
const USER_GRANT_ROLE: &str = "/etcdserverpb.Auth/UserGrantRole";
const ROLE_ADD: &str = "/etcdserverpb.Auth/RoleAdd";
const ROLE_GRANT_PERMISSION: &str = "/etcdserverpb.Auth/RoleGrantPermission";
const ENABLE: &str = "/etcdserverpb.Auth/AuthEnable";
const AUTHENTICATE: &str = "/etcdserverpb.Auth/Authenticate";
const ROOT: &[u8] = b"root";
const USER: &[u8] = b"bench";
const PASSWORD: &[u8] = b"a password of some length";
const CLIENTS: usize = 64;
const WARM_UP: Duration = Duration::from_secs(1);
/// Open and with a token take turns, so that a machine that slows down slows both.
const TURNS: u32 = 3;
const TURN: Duration = Duration::from_secs(3);
/// Authentications in a second.
const STORM: u32 = 200;
/// Who authenticates has so many connections.
const STRANGERS: u32 = 50;
const QUIET: Duration = Duration::from_secs(5);

pub(super) fn put_title() -> String {
    format!("puts by {CLIENTS} clients with a token, and without users")
}

pub(super) fn storm_title() -> String {
    format!("{STORM} authentications/s beside {} puts/s", BESIDE.per_second)
}

pub(super) async fn measure_put(target: &Target) -> Result<Vec<Figure>> {
    let (mut open_us, mut proved_us, mut open_rate, mut proved_rate) = (0.0, 0.0, 0.0, 0.0);
    found(target).await?;
    for _ in 0..TURNS {
        let open = puts(target, None).await?;
        call(target, None, ENABLE, |_| {}).await?;
        let token = authenticate(target, USER).await?;
        let proved = puts(target, Some(token)).await?;
        let root = authenticate(target, ROOT).await?;
        call(target, Some(&root), "/etcdserverpb.Auth/AuthDisable", |_| {}).await?;
        let turns = f64::from(TURNS);
        open_us += open.server_cpu_us.context("processor time")? / turns;
        proved_us += proved.server_cpu_us.context("processor time")? / turns;
        open_rate += open.throughput / turns;
        proved_rate += proved.throughput / turns;
    }
    Ok(vec![
        Figure::new("server CPU us of a put with a token", proved_us, Wanted::Less),
        Figure::new("server CPU us of a put without users", open_us, Wanted::Less),
        Figure::new("with / without", proved_us / open_us.max(1e-9), Wanted::AtMost(1.1)),
        Figure::new("puts/s with a token", proved_rate, Wanted::More),
        Figure::new("puts/s without users", open_rate, Wanted::More),
    ])
}

pub(super) async fn measure_storm(target: &Target) -> Result<Vec<Figure>> {
    found(target).await?;
    call(target, None, ENABLE, |_| {}).await?;
    let token = authenticate(target, USER).await?;
    let warm = Puts::start_as(target, &BESIDE, Some(&token));
    sleep(WARM_UP).await;
    warm.stop().await?;
    let quiet = Puts::start_as(target, &BESIDE, Some(&token));
    sleep(QUIET).await;
    let quiet = quiet.stop().await?;

    let done = Rc::new(Cell::new(0_u64));
    let mut storm = JoinSet::new();
    for number in 0..STRANGERS {
        let caller = Caller::connect_for(&target.authority, AUTHENTICATE).await?;
        storm.spawn_local(strike(caller, number, Rc::clone(&done)));
    }
    sleep(WARM_UP).await;
    let (before, meter) = (done.get(), Meter::start(target)?);
    let beside = Puts::start_as(target, &BESIDE, Some(&token));
    sleep(QUIET).await;
    let rough = beside.stop().await?;
    let (used, count) = (meter.used()?, done.get() - before);
    while let Some(ended) = storm.try_join_next() {
        ended?.context("an authentication failed")?;
    }
    storm.shutdown().await;
    let (calm, rough_ms) = (quiet.latency_us.p99 / 1000.0, rough.latency_us.p99 / 1000.0);
    let mut figures = vec![
        Figure::new("put p99 ms before", calm, Wanted::Less),
        Figure::new("put p99 ms meanwhile", rough_ms, Wanted::Less),
        Figure::new("put p99 meanwhile / before", rough_ms / calm.max(1e-9), Wanted::AtMost(1.2)),
        Figure::new("authentications/s", count as f64 / used.seconds.max(1e-9), Wanted::More),
    ];
    figures.extend(used.figures());
    Ok(figures)
}

/// One of those who authenticate, each in its turn; who is answered late does not make up for it.
async fn strike(mut caller: Caller, number: u32, done: Rc<Cell<u64>>) -> Result<()> {
    let period = Duration::from_secs(1) * STRANGERS / STORM;
    sleep(period * number / STRANGERS).await;
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut request = Vec::new();
    pb::put_bytes(&mut request, 1, USER);
    pb::put_bytes(&mut request, 2, PASSWORD);
    loop {
        ticks.tick().await;
        caller.call(&request).await?;
        done.set(done.get() + 1);
    }
}

/// Root, and a user who may write the keys of the load.
async fn found(target: &Target) -> Result<()> {
    const READ_AND_WRITE: u64 = 2;
    for name in [ROOT, USER] {
        let user = |out: &mut Vec<u8>| {
            pb::put_bytes(out, 1, name);
            pb::put_bytes(out, 2, PASSWORD);
        };
        call(target, None, USER_ADD, user).await?;
        call(target, None, ROLE_ADD, |out| pb::put_bytes(out, 1, name)).await?;
        let grant = |out: &mut Vec<u8>| {
            pb::put_bytes(out, 1, name);
            pb::put_bytes(out, 2, name);
        };
        call(target, None, USER_GRANT_ROLE, grant).await?;
    }
    let permission = |out: &mut Vec<u8>| {
        let mut keys = Vec::new();
        pb::put_number(&mut keys, 1, READ_AND_WRITE);
        pb::put_bytes(&mut keys, 2, b"a");
        pb::put_bytes(&mut keys, 3, b"z");
        pb::put_bytes(out, 1, USER);
        pb::put_bytes(out, 2, &keys);
    };
    call(target, None, ROLE_GRANT_PERMISSION, permission).await.map(drop)
}

async fn authenticate(target: &Target, name: &[u8]) -> Result<String> {
    let answer = call(target, None, AUTHENTICATE, |out| {
        pb::put_bytes(out, 1, name);
        pb::put_bytes(out, 2, PASSWORD);
    });
    let answer = answer.await?;
    let token = pb::messages(&answer, 2).next().context("a token")?;
    Ok(String::from_utf8(token.to_vec())?)
}

async fn call(
    target: &Target,
    token: Option<&str>,
    method: &'static str,
    request: impl FnOnce(&mut Vec<u8>),
) -> Result<Vec<u8>> {
    let mut message = Vec::new();
    request(&mut message);
    let mut caller = Caller::connect_for(&target.authority, method).await?.with_token(token);
    caller.call(&message).await.with_context(|| method)
}

async fn puts(target: &Target, token: Option<String>) -> Result<Report> {
    let shape = Shape {
        kind: Kind::Put,
        keys: 10_000,
        key_bytes: 12,
        value_bytes: 256,
        clients: CLIENTS,
        seed: 1,
        endpoints: vec![target.authority.clone()],
    };
    let until = Until::Elapsed { warm_up: WARM_UP, measured: TURN };
    let server_pids = vec![target.pid];
    let plan = Plan { shape, connections: CONNECTIONS, rate: None, until, live: false, token, server_pids };
    let report = load::run(&plan).await?;
    ensure!(report.failures == 0, "puts failed: {:?}", report.failure_texts);
    Ok(report)
}
