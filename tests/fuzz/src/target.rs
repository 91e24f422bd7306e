//! The targets, and what is watched while one runs.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use peak_alloc::PeakAlloc;

use crate::{door, files, peers, tokens};

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// An input that is not done after this long hangs. Nothing here takes a thousandth of that, so that a busy machine
/// makes no difference.
const TIME_MAX: Duration = Duration::from_mins(1);

/// Bytes of a request message at the door of clients, etcd's default and its 512 KiB.
const MESSAGE_BYTES_MAX: usize = 2 << 20;
/// Bytes of a piece of a snapshot, which is held at once.
const CHUNK_BYTES_MAX: usize = snap::CHUNK_BYTES;
/// A log is read with a copy of each of its segments at hand.
const SEGMENT_BYTES_MAX: usize = 1 << 20;
/// Room that the transport makes at once for a frame that has not come yet.
const FRAME_BYTES_AHEAD: usize = 4 << 20;

/// A decoder that strangers reach.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// What `make fuzz` calls it, and the folder of its corpus.
    pub name: &'static str,
    /// Bytes that the decoder takes in at once, by its own limit. An input may take twice that in memory.
    pub limit_bytes: usize,
    act: fn(&[u8]),
}

/// All of them.
pub const TARGETS: &[Target] = &[
    Target { name: "http", limit_bytes: MESSAGE_BYTES_MAX, act: door::http },
    Target { name: "v2", limit_bytes: MESSAGE_BYTES_MAX, act: door::v2 },
    Target { name: "json", limit_bytes: MESSAGE_BYTES_MAX, act: door::json },
    Target { name: "grpc", limit_bytes: MESSAGE_BYTES_MAX, act: door::grpc },
    Target { name: "token", limit_bytes: 128 << 10, act: tokens::token },
    Target { name: "frames", limit_bytes: FRAME_BYTES_AHEAD, act: peers::frames },
    Target { name: "envelope", limit_bytes: MESSAGE_BYTES_MAX, act: peers::envelope },
    Target { name: "command", limit_bytes: MESSAGE_BYTES_MAX, act: peers::command },
    Target { name: "archive", limit_bytes: CHUNK_BYTES_MAX, act: files::archive },
    Target { name: "manifest", limit_bytes: CHUNK_BYTES_MAX, act: files::manifest },
    Target { name: "log", limit_bytes: SEGMENT_BYTES_MAX, act: files::log },
];

/// Memory is counted for the whole process, so that inputs run one after the other.
static TURN: Mutex<()> = Mutex::new(());

impl Target {
    /// A decoder that is none of [`TARGETS`].
    pub const fn new(name: &'static str, limit_bytes: usize, act: fn(&[u8])) -> Self {
        Self { name, limit_bytes, act }
    }

    /// The target of that name.
    pub fn named(name: &str) -> Option<&'static Self> {
        TARGETS.iter().find(|target| target.name == name)
    }

    /// Runs it once for nothing, so that what is made only once is not counted to an input.
    pub fn warm(&self) {
        (self.act)(&[]);
        (self.act)(b"/etcdserverpb.KV/Range\n\0\0\0\0\0");
    }

    /// Runs `input` through the decoder.
    ///
    /// # Panics
    /// If that is not borne as it should be; which is what it is for.
    pub fn run(&self, input: &[u8]) {
        // A panic is what is looked for here, and leaves nothing behind that counts.
        let turn = TURN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        MEMORY.reset_peak_usage();
        let (before, began) = (MEMORY.current_usage(), Instant::now());
        (self.act)(input);
        let (taken, time) = (MEMORY.peak_usage().saturating_sub(before), began.elapsed());
        drop(turn);
        assert!(time < TIME_MAX, "{}: {} bytes took {time:?}", self.name, input.len());
        let bytes_max = 2 * self.limit_bytes.max(input.len());
        assert!(taken <= bytes_max, "{}: {} bytes took {taken} bytes of memory", self.name, input.len());
    }
}
