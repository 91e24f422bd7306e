//! A disk that is full stops the member that has it, and nobody else.
//!
//! The disk is a small tmpfs of its own, which takes root. Where it cannot be mounted the test says so.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use ::tests::Cluster;
use ::tests::cluster::{Settings, Writer, program};
use anyhow::ensure;

/// Room for the first log segments of either program, and little more.
const DISK_BYTES: u64 = 220 << 20;

/// A client that waits out an election.
const LONG: Duration = Duration::from_secs(15);

/// A file system of its own on a folder.
struct Disk {
    folder: PathBuf,
}

impl Disk {
    /// `None` where mounting is not allowed.
    fn mount(folder: &Path) -> anyhow::Result<Option<Self>> {
        fs::create_dir_all(folder)?;
        let size = format!("size={DISK_BYTES}");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(folder);
        let mounted = mount.output().is_ok_and(|output| output.status.success());
        Ok(mounted.then(|| Self { folder: folder.to_owned() }))
    }

    /// Leaves no byte free.
    fn fill(&self) -> anyhow::Result<()> {
        let mut ballast = fs::File::create(self.ballast())?;
        for chunk in [1 << 20, 4096, 1] {
            let bytes = vec![1; chunk];
            while ballast.write_all(&bytes).is_ok() {}
        }
        Ok(())
    }

    fn make_room(&self) -> anyhow::Result<()> {
        Ok(fs::remove_file(self.ballast())?)
    }

    fn ballast(&self) -> PathBuf {
        self.folder.join("ballast")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let mut umount = Command::new("umount");
        // The process may still hold it while the test fails: then it goes when the process does.
        if !umount.arg("-l").arg(&self.folder).status().is_ok_and(|status| status.success()) {
            eprintln!("{} could not be unmounted", self.folder.display());
        }
    }
}

#[test]
fn a_full_disk_stops_one_member_and_nobody_else() -> anyhow::Result<()> {
    let mut cluster = Cluster::prepare(&Settings::new(&program()?, 3))?;
    let Some(disk) = Disk::mount(&cluster.member(2).folder().join("disk"))? else {
        eprintln!("NOT CHECKED: a disk cannot be mounted here, so none can be full; run this test as root");
        return cluster.done();
    };
    // The last `--data-dir` counts.
    cluster.member_mut(2).setup.flags.push("--data-dir=disk/data".to_owned());
    cluster.start_all()?;
    if cluster.wait_leader()? == 2 {
        let id = format!("{:x}", cluster.member(0).client()?.id()?);
        cluster.etcdctl(&[2], &["move-leader", &id])?;
    }
    let writer = Writer::start(cluster.member(0).address(), "k", LONG)?;
    disk.fill()?;
    // Larger than what the member has set aside in its log.
    let large = "x".repeat(1 << 20);
    let mut ended = false;
    for number in 0..200 {
        cluster.member(0).client()?.put("large", &format!("{number}{large}"))?;
        ended = !cluster.member_mut(2).is_running();
        if ended {
            break;
        }
    }
    ensure!(ended, "its disk is full, and it goes on:\n{}", cluster.member(2).log_tail());
    let status = cluster.member_mut(2).wait_ended()?;
    ensure!(!status.success(), "it ended with {status}");
    cluster.member(2).wait_logged(&["no space left on device", "No space left on device"])?;
    writer.wait_more(50)?;
    disk.make_room()?;
    cluster.restart(2)?;
    writer.wait_more(50)?;
    let report = writer.finish()?;
    report.all_acknowledged()?;
    report.check(&cluster.member(2).client()?)?;
    cluster.wait_equal(&[0, 1, 2])?;
    cluster.member_mut(2).kill()?;
    drop(disk);
    cluster.done()
}
