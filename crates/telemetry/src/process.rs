//! What the operating system knows about this process: the `process_*` families, and the two that etcd
//! names for itself.

use std::fs;

use metrics::{Gauge, Key, KeyName, Level, Metadata, Recorder, SharedString};
use metrics_process::Collector;

/// What the operating system says of this process at one moment. Zero where it says nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProcessFacts {
    /// The program and its arguments, as it was started.
    pub command_line: Vec<String>,
    /// How many descriptors it may have open; 0 also where there is no limit.
    pub descriptors_max: u64,
    /// Resident memory that belongs to no file, in bytes.
    pub heap_bytes: u64,
    /// All resident memory, in bytes.
    pub resident_bytes: u64,
}

impl ProcessFacts {
    /// Looks now.
    pub fn look() -> Self {
        let read = |file: &str| fs::read_to_string(format!("/proc/self/{file}")).unwrap_or_default();
        let status = read("status");
        let bytes = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            let kib = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
            kib.unwrap_or_default().saturating_mul(1024)
        };
        let command_line = read("cmdline");
        let limit = open_files_limit(&read("limits")).filter(|limit| limit.is_finite());
        Self {
            command_line: command_line.split_terminator('\0').map(str::to_owned).collect(),
            descriptors_max: limit.map_or(0, |limit| limit as u64),
            heap_bytes: bytes("RssAnon"),
            resident_bytes: bytes("VmRSS"),
        }
    }
}

/// Families that are read when somebody asks.
pub(crate) struct ProcessFamilies {
    collector: Collector,
    fd_used: Gauge,
    fd_limit: Gauge,
}

const METADATA: Metadata<'static> = Metadata::new("process", Level::INFO, None);
const CPU: &str = "process_cpu_seconds_total";

impl ProcessFamilies {
    pub(crate) fn register(recorder: &dyn Recorder) -> Self {
        let collector = Collector::default();
        metrics::with_local_recorder(recorder, || collector.describe());
        let gauge = |name: &'static str, help: &'static str| {
            recorder.describe_gauge(KeyName::from_const_str(name), None, SharedString::const_str(help));
            recorder.register_gauge(&Key::from_static_name(name), &METADATA)
        };
        let fd_used = gauge("os_fd_used", "The number of used file descriptors.");
        let fd_limit = gauge("os_fd_limit", "The file descriptor limit.");
        Self { collector, fd_used, fd_limit }
    }

    pub(crate) fn update(&self, recorder: &dyn Recorder) {
        metrics::with_local_recorder(recorder, || self.collector.collect());
        // Where /proc cannot be read the gauges stay at zero; a scrape has nobody to tell.
        if let Ok(entries) = fs::read_dir("/proc/self/fd") {
            self.fd_used.set(entries.count() as f64);
        }
        if let Some(limit) =
            fs::read_to_string("/proc/self/limits").ok().as_deref().and_then(open_files_limit)
        {
            self.fd_limit.set(limit);
        }
    }

    /// The collector has to call CPU seconds a gauge, since counters of the `metrics` crate are whole numbers.
    /// To whoever reads them they are a counter.
    pub(crate) fn correct(name: &str, heads: &mut [&str]) {
        if name == CPU
            && let Some(last) = heads.last_mut()
        {
            *last = "# TYPE process_cpu_seconds_total counter";
        }
    }
}

/// The soft limit of "Max open files"; `unlimited` is infinite.
fn open_files_limit(limits: &str) -> Option<f64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    match line.split_whitespace().next()? {
        "unlimited" => Some(f64::INFINITY),
        number => number.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::{ProcessFacts, open_files_limit};
    use crate::Registry;

    #[test]
    fn this_process_is_known() {
        let facts = ProcessFacts::look();
        assert!(facts.command_line.first().is_some_and(|program| program.contains("telemetry")), "{facts:?}");
        assert!(facts.descriptors_max > 0 && facts.heap_bytes > 0, "{facts:?}");
        assert!(facts.resident_bytes > facts.heap_bytes, "{facts:?}");
    }

    #[test]
    fn the_limit_is_the_soft_one() {
        let limits = "Limit  Soft Limit  Hard Limit  Units\nMax open files            1024                 524288               files\n";
        assert_eq!(open_files_limit(limits), Some(1024.0));
        assert_eq!(open_files_limit("Max open files unlimited unlimited files"), Some(f64::INFINITY));
        assert_eq!(open_files_limit("nothing"), None);
    }

    #[test]
    fn a_process_has_memory_and_files() {
        let text = Registry::new().render();
        for name in [
            "process_resident_memory_bytes",
            "process_open_fds",
            "process_threads",
            "os_fd_used",
            "os_fd_limit",
        ] {
            let value = text.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
            assert!(
                value.and_then(|value| value.parse().ok()).is_some_and(|value: f64| value > 0.0),
                "{name}: {value:?}"
            );
        }
        assert!(text.contains("# TYPE process_cpu_seconds_total counter\nprocess_cpu_seconds_total "));
    }
}
