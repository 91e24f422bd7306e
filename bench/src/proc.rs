//! What the kernel knows of a process: processor time and memory, from /proc.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

/// Clock ticks per second in /proc: Linux shows 100 to programs on every machine that we know.
const TICKS_PER_SECOND: u64 = 100;

/// Memory of a process.
#[expect(clippy::struct_field_names, reason = "the last word is the unit")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Memory {
    /// Resident now, mapped files included.
    pub(crate) rss_kib: u64,
    /// The most that was ever resident.
    pub(crate) peak_kib: u64,
    /// The part that belongs to no file: heap, stacks, runtime.
    pub(crate) anon_kib: u64,
    /// The part that maps files, such as etcd's database.
    pub(crate) file_kib: u64,
}

impl std::iter::Sum for Memory {
    fn sum<I: Iterator<Item = Self>>(parts: I) -> Self {
        parts.fold(Self::default(), |sum, part| Self {
            rss_kib: sum.rss_kib + part.rss_kib,
            peak_kib: sum.peak_kib + part.peak_kib,
            anon_kib: sum.anon_kib + part.anon_kib,
            file_kib: sum.file_kib + part.file_kib,
        })
    }
}

/// Processor time that all threads of `pid`, living and ended, have used. Exact to ten milliseconds.
pub(crate) fn cpu_time(pid: u32) -> Result<Duration> {
    let text =
        fs::read_to_string(format!("/proc/{pid}/stat")).context("cannot read the server's /proc/stat")?;
    parse_stat(&text).context("the server's /proc stat line is not understood")
}

/// Memory of `pid` now.
pub(crate) fn memory(pid: u32) -> Result<Memory> {
    let text =
        fs::read_to_string(format!("/proc/{pid}/status")).context("cannot read the server's status")?;
    Ok(parse_status(&text))
}

/// Lets the peak of `pid`'s memory begin anew at what is resident now.
pub(crate) fn reset_peak(pid: u32) -> Result<()> {
    fs::write(format!("/proc/{pid}/clear_refs"), "5").context("cannot reset the server's peak of memory")
}

/// Processor time that the whole machine has spent working: neither idle nor waiting for a disk.
pub(crate) fn machine_busy() -> Result<Duration> {
    let text = fs::read_to_string("/proc/stat").context("cannot read /proc/stat")?;
    parse_busy(&text).context("/proc/stat is not understood")
}

fn ticks(count: u64) -> Duration {
    Duration::from_millis(count * (1000 / TICKS_PER_SECOND))
}

fn parse_stat(text: &str) -> Option<Duration> {
    // The second field is the program's name in parentheses, and may hold spaces and parentheses itself.
    let (_, rest) = text.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(ticks(user + system))
}

fn parse_status(text: &str) -> Memory {
    let kib = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.and_then(|rest| rest.trim().strip_suffix(" kB")?.trim().parse().ok()).unwrap_or(0)
    };
    Memory {
        rss_kib: kib("VmRSS"),
        peak_kib: kib("VmHWM"),
        anon_kib: kib("RssAnon"),
        file_kib: kib("RssFile") + kib("RssShmem"),
    }
}

fn parse_busy(text: &str) -> Option<Duration> {
    // user nice system idle iowait irq softirq steal; guest time is already part of user time.
    let line = text.lines().next()?.strip_prefix("cpu ")?;
    let fields: Vec<u64> = line.split_ascii_whitespace().map_while(|field| field.parse().ok()).collect();
    let [user, nice, system, _idle, _wait, irq, softirq, ..] = fields[..] else { return None };
    Some(ticks(user + nice + system + irq + softirq))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_with_an_ugly_name() {
        let text = "4242 (a) b (c)) S 1 4242 4242 0 -1 4194560 1 2 3 4 150 50 9 9 20 0 8 0 100 1 2";
        assert_eq!(parse_stat(text), Some(Duration::from_secs(2)));
        assert_eq!(parse_stat("4242 (x) S 1"), None);
        assert_eq!(parse_stat(""), None);
    }

    #[test]
    fn memory_of_a_process() {
        let text = "Name:\tetcd\nVmHWM:\t  3000 kB\nVmRSS:\t  2000 kB\nRssAnon:\t 500 kB\nRssFile:\t 1400 kB\n\
                    RssShmem:\t 100 kB\nThreads:\t9\n";
        let expect = Memory { rss_kib: 2000, peak_kib: 3000, anon_kib: 500, file_kib: 1500 };
        assert_eq!(parse_status(text), expect);
        assert_eq!(parse_status("Name:\tzombie\n"), Memory::default());
    }

    #[test]
    fn the_machine() {
        let text = "cpu  100 0 50 9999 777 5 45 3 0 0\ncpu0 1 2 3\n";
        assert_eq!(parse_busy(text), Some(Duration::from_secs(2)));
        assert_eq!(parse_busy("intr 1 2"), None);
    }

    #[test]
    fn this_process_is_there() {
        let pid = std::process::id();
        assert!(cpu_time(pid).is_ok());
        assert!(memory(pid).expect("it is running").rss_kib > 0);
        assert!(machine_busy().is_ok());
    }
}
