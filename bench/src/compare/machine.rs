//! The facts of the machine that a result depends on. Never its name.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use serde::{Deserialize, Serialize};

/// Where a result was measured.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Machine {
    /// Cores that this program may use.
    pub(super) cores: usize,
    /// The processor's own name.
    pub(super) processor: String,
    /// Memory in MiB.
    pub(super) memory_mib: u64,
    /// The kernel's release.
    pub(super) kernel: String,
    /// File system and kind of the device below the folder on disk.
    pub(super) disk: String,
}

/// Looks at this machine; `disk` is the folder on the real disk.
pub(super) fn look(disk: &Path) -> Machine {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let field = |text: &str, name: &str| {
        let line = text.lines().find(|line| line.starts_with(name))?;
        line.split_once(':').map(|(_, value)| value.trim().to_owned())
    };
    let memory = field(&read("/proc/meminfo"), "MemTotal").unwrap_or_default();
    Machine {
        cores: std::thread::available_parallelism().map_or(0, usize::from),
        processor: field(&read("/proc/cpuinfo"), "model name").unwrap_or_else(|| "unknown".into()),
        memory_mib: memory.split(' ').next().and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) / 1024,
        kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
        disk: disk_kind(disk).unwrap_or_else(|| "unknown".into()),
    }
}

fn disk_kind(folder: &Path) -> Option<String> {
    let device = fs::metadata(folder).ok()?.dev();
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    let kind = file_system(&mounts, &format!("{major}:{minor}"))?;
    let block = format!("/sys/dev/block/{major}:{minor}");
    let said = |file: &str| fs::read_to_string(format!("{block}/queue/{file}")).ok();
    let rotational = match said("rotational").as_deref().map(str::trim) {
        Some("0") => ", not rotational",
        Some("1") => ", says rotational",
        _ => "",
    };
    let cache = said("write_cache").map_or(String::new(), |cache| format!(", {} cache", cache.trim()));
    Some(format!("{kind}{rotational}{cache}"))
}

/// The type of the file system on device `number`, from the kernel's list of mounts.
fn file_system(mounts: &str, number: &str) -> Option<String> {
    let line = mounts.lines().find(|line| line.split(' ').nth(2) == Some(number))?;
    let (_, tail) = line.split_once(" - ")?;
    tail.split(' ').next().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_system_of_a_device() {
        let mounts = "22 27 0:21 / /proc rw - proc proc rw\n27 1 254:0 / / rw,discard - ext4 /dev/vda rw\n";
        assert_eq!(file_system(mounts, "254:0").as_deref(), Some("ext4"));
        assert_eq!(file_system(mounts, "1:1"), None);
    }
}
