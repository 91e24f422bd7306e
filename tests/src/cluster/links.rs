//! The lines between members: what each advertises is a port of ours, and from there bytes go on to where it
//! really listens, unless the line is slow, silent or cut in that direction.
//!
//! Who calls is found by asking the kernel which process owns the other end; so it works for every program
//! and needs nothing from its protocol. A caller that is no member passes freely.

use std::collections::BTreeMap;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Context;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;

/// Bytes that one direction holds while it waits, besides what the kernel does.
const CHUNK_BYTES: usize = 64 << 10;

/// What happens to bytes from one member to another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Link {
    /// They arrive.
    #[default]
    Open,
    /// They arrive this much later.
    Slow(Duration),
    /// They do not arrive while it lasts and nobody is told, as when a cable is pulled.
    Silent,
    /// The connection breaks, and new ones break too, as when a firewall resets them.
    Cut,
}

/// All lines between members.
#[derive(Debug)]
pub struct Links {
    shared: Arc<Shared>,
    runtime: Runtime,
}

#[derive(Debug, Default)]
struct Shared {
    /// By sender and receiver.
    lines: Mutex<BTreeMap<(usize, usize), watch::Sender<Link>>>,
    /// The member that a process is.
    processes: Mutex<BTreeMap<usize, u32>>,
}

impl Links {
    /// No lines yet.
    pub(crate) fn new() -> anyhow::Result<Self> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("links")
            .enable_all()
            .build()
            .context("a runtime for the links")?;
        Ok(Self { shared: Arc::default(), runtime })
    }

    /// Opens the line to `member`, which really listens on `port`; answers the port to advertise.
    pub(crate) fn open(&self, member: usize, port: u16) -> anyhow::Result<u16> {
        let listener = self
            .runtime
            .block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))
            .context("a port for a link")?;
        let advertised = listener.local_addr().context("its address")?.port();
        let shared = Arc::clone(&self.shared);
        self.runtime.spawn(async move {
            while let Ok((stream, caller)) = listener.accept().await {
                tokio::spawn(carry(Arc::clone(&shared), stream, caller, member, port));
            }
        });
        Ok(advertised)
    }

    /// The process `pid` is `member` from now on.
    pub(crate) fn belongs(&self, member: usize, pid: u32) {
        self.shared.processes.lock().expect("nobody panics while holding it").insert(member, pid);
    }

    /// What happens from now on to bytes from `sender` to `receiver`, on old connections too.
    pub fn set(&self, sender: usize, receiver: usize, link: Link) {
        self.shared.line(sender, receiver, |line| line.send_replace(link));
    }

    /// The same in both directions.
    pub fn set_both(&self, one: usize, other: usize, link: Link) {
        self.set(one, other, link);
        self.set(other, one, link);
    }

    /// Parts two groups from one another, in both directions.
    pub fn part(&self, one: &[usize], other: &[usize], link: Link) {
        for left in one {
            for right in other {
                self.set_both(*left, *right, link);
            }
        }
    }

    /// Every line is open again.
    pub fn heal(&self) {
        for line in self.shared.lines.lock().expect("nobody panics while holding it").values() {
            line.send_replace(Link::Open);
        }
    }
}

impl Shared {
    fn line<T>(&self, sender: usize, receiver: usize, use_it: impl Fn(&watch::Sender<Link>) -> T) -> T {
        let mut lines = self.lines.lock().expect("nobody panics while holding it");
        use_it(lines.entry((sender, receiver)).or_insert_with(|| watch::Sender::new(Link::Open)))
    }

    fn watch(&self, sender: usize, receiver: usize) -> watch::Receiver<Link> {
        self.line(sender, receiver, watch::Sender::subscribe)
    }

    /// The member whose process owns the end `local` of a connection to `remote`, both ports on loopback.
    fn owner(&self, local: u16, remote: u16) -> Option<usize> {
        let socket = format!("socket:[{}]", inode(local, remote)?);
        let processes = self.processes.lock().expect("nobody panics while holding it").clone();
        processes.into_iter().find(|(_, pid)| owns(*pid, &socket)).map(|(member, _)| member)
    }
}

async fn carry(shared: Arc<Shared>, stream: TcpStream, caller: SocketAddr, member: usize, port: u16) {
    // A caller that is no member has lines that nobody ever cuts.
    let Ok(own) = stream.local_addr() else { return };
    let sender = shared.owner(caller.port(), own.port()).unwrap_or(usize::MAX);
    let there = shared.watch(sender, member);
    let back = shared.watch(member, sender);
    if *there.borrow() == Link::Cut || *back.borrow() == Link::Cut {
        return;
    }
    let Ok(onward) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await else { return };
    // Small messages must not wait for large ones; a failure to say so costs time only.
    let _ = (stream.set_nodelay(true), onward.set_nodelay(true));
    let (from_caller, to_caller) = stream.into_split();
    let (from_member, to_member) = onward.into_split();
    tokio::select! {
        () = pump(from_caller, to_member, there) => {}
        () = pump(from_member, to_caller, back) => {}
    }
}

/// Carries bytes in one direction until either end closes or the line is cut.
async fn pump(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut line: watch::Receiver<Link>) {
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut news = line.clone();
    loop {
        let read = tokio::select! {
            read = from.read(&mut chunk) => read,
            _ = news.wait_for(|link| *link == Link::Cut) => return,
        };
        let Some(bytes) = read.ok().and_then(|length| chunk.get(..length)) else { return };
        if bytes.is_empty() || !passes(&mut line).await || to.write_all(bytes).await.is_err() {
            return;
        }
    }
}

/// Waits until bytes may go on; no when the line is cut.
async fn passes(line: &mut watch::Receiver<Link>) -> bool {
    loop {
        let link = *line.borrow_and_update();
        match link {
            Link::Open => return true,
            Link::Cut => return false,
            Link::Slow(delay) => {
                // Reason to sleep: being late is what a slow line is for.
                tokio::time::sleep(delay).await;
                return true;
            }
            Link::Silent => {
                if line.changed().await.is_err() {
                    return false;
                }
            }
        }
    }
}

/// The kernel's number of the socket with these two ends on loopback. Others may have the same local end: connections to
/// elsewhere, and such as are over.
fn inode(local: u16, remote: u16) -> Option<String> {
    let table = fs::read_to_string("/proc/net/tcp").ok()?;
    let ends = [local, remote].map(|port| format!("0100007F:{port:04X}"));
    let line = table.lines().find(|line| line.split_whitespace().skip(1).take(2).eq(&ends))?;
    line.split_whitespace().nth(9).map(str::to_owned)
}

fn owns(pid: u32, socket: &str) -> bool {
    let files = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    files.filter_map(|file| fs::read_link(file.path()).ok()).any(|target| target.to_string_lossy() == socket)
}
