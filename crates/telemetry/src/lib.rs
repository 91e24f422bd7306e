//! What a member tells its operator: metrics under etcd's exact names, and the log.
//!
//! Metrics belong to one [`Registry`] per member, never to the process, so that several members can live in
//! one test. Callers keep the handles they get: nothing is looked up by name on a hot path.
//!
//! INVARIANT: a broken log output never stops a member.

mod histograms;
mod lines;
mod log;
mod process;
mod registry;
mod rotation;
mod sinks;
mod stripes;

pub use lines::LogFormat;
pub use log::{FATAL, Log, LogError, LogLevel, LogOutput, LogSettings, init_log};
pub use metrics::{Counter, Gauge, Histogram};
pub use process::ProcessFacts;
pub use registry::{Buckets, Registry};
pub use rotation::Rotation;
