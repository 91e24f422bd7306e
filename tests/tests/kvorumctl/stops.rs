//! Long commands that are stopped: by Ctrl-C, by an endpoint that is dead, by a disk that is full. Each says what was done
//! and what was not, and leaves no half file under its final name.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use ::tests::etcdctl::own as kvorumctl;
use ::tests::until;
use anyhow::{Context, ensure};
use rustix::process::{Pid, Signal, kill_process};

use crate::{House, NOBODY, PATIENCE, run_with, stderr};

/// Kvorumctl as it is begun from a terminal: Ctrl-C ends it.
fn begin(words: &[&str]) -> anyhow::Result<Child> {
    let child = Command::new("/usr/bin/env")
        .arg("--default-signal=INT")
        .arg(kvorumctl()?)
        .env_clear()
        .args(words)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    child.context("start kvorumctl")
}

fn interrupt(child: Child) -> anyhow::Result<Output> {
    kill_process(Pid::from_child(&child), Signal::INT)?;
    Ok(child.wait_with_output()?)
}

/// What there is in a folder.
fn names(folder: &Path) -> anyhow::Result<Vec<String>> {
    let entries = fs::read_dir(folder)?;
    entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
}

#[test]
fn ctrl_c_says_what_was_done() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let file = |name: &str| folder.path().join(name).display().to_string();
    let (house, frozen) = (House::start()?, House::start()?);
    let client = frozen.client()?;
    let revision = client.put("stop/a", "1")?;
    let endpoints = format!("--endpoints={}", frozen.url());
    let export = format!("--endpoints={}", house.url());
    house.client()?.put("stop/b", "2")?;
    let lines = file("in.jsonl");
    ensure!(
        run_with(&[&export, "export", "--prefix=stop/", &lines], &[])?.status.success(),
        "something to import"
    );

    // One that is at work: an event was shown.
    let mut watch = begin(&[&endpoints, "watch", "stop/", "--prefix", "--rev=1"])?;
    let mut out = BufReader::new(watch.stdout.take().context("it was piped")?).lines();
    ensure!(out.any(|line| line.is_ok_and(|line| line == "stop/a")), "the event is shown");
    let said = interrupt(watch)?;
    let sentence = format!(
        "watch stopped: 1 events were shown, the last of revision {revision}; --rev={} goes on\n",
        revision + 1
    );
    ensure!(said.status.code() == Some(130) && stderr(&said) == sentence, "{said:?}");
    let mut check = begin(&[&endpoints, "check", "perf"])?;
    let wrote = || client.list("/etcdctl-check-perf/").ok().filter(|list| list.kvs.len() > 10).map(drop);
    until(PATIENCE, wrote).context("it writes")?;
    ensure!(check.try_wait()?.is_none(), "it takes a minute");
    let said = interrupt(check)?;
    let text = stderr(&said);
    ensure!(
        said.status.code() == Some(130)
            && text.contains("check was stopped after ")
            && text.contains("deleted again"),
        "{said:?}"
    );
    ensure!(client.list("/etcdctl-check-perf/")?.kvs.is_empty(), "and they are");

    // The others wait for a member that does not answer any more.
    frozen.member().pause()?;
    let (saved, exported) = (file("save.db"), file("out.jsonl"));
    let cases: [(&[&str], &str, i32); 7] = [
        (&["snapshot", "save", &saved], "nothing was saved", 5),
        (&["export", &exported], "was not written", 130),
        (&["import", &lines], "import was stopped: 0 keys were created", 130),
        (&["keys", "stat"], "nothing is shown", 130),
        (&["defrag"], "defrag stopped: finished: none; ", 130),
        (&["migrate", "--prefix=v2/"], "migrate stopped: 0 keys are written", 130),
        (&["make-mirror", &house.url()], "make-mirror stopped: 0 keys written", 130),
    ];
    for (words, sentence, status) in cases {
        let all: Vec<&str> =
            [endpoints.as_str(), "--command-timeout=300s"].into_iter().chain(words.iter().copied()).collect();
        let child = begin(&all)?;
        // It hears signals when it has a connection, which the frozen one's kernel gives it.
        until(PATIENCE, || connected(child.id()).then_some(()))
            .with_context(|| format!("{words:?} connects"))?;
        let said = interrupt(child)?;
        ensure!(
            said.status.code() == Some(status) && stderr(&said).contains(sentence),
            "{words:?}: {said:?}"
        );
        ensure!(names(folder.path())? == ["in.jsonl"], "{words:?} leaves {:?}", names(folder.path())?);
    }
    frozen.member().resume()?;
    house.done()?;
    frozen.done()
}

/// Whether a process has a connection by TCP: it got as far as its work.
fn connected(id: u32) -> bool {
    let (Ok(files), Ok(table)) =
        (fs::read_dir(format!("/proc/{id}/fd")), fs::read_to_string("/proc/net/tcp"))
    else {
        return false;
    };
    let targets = files.filter_map(|file| fs::read_link(file.ok()?.path()).ok());
    let sockets: Vec<String> = targets
        .filter_map(|target| Some(target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned()))
        .collect();
    // The state 01 is a connection that is up; the tenth column is the socket.
    let up = table.lines().filter(|line| line.split_whitespace().nth(3) == Some("01"));
    up.filter_map(|line| line.split_whitespace().nth(9)).any(|socket| sockets.iter().any(|own| own == socket))
}

#[test]
fn a_dead_endpoint_is_named() -> anyhow::Result<()> {
    let house = House::start()?;
    let folder = tempfile::tempdir()?;
    let file = |name: &str| folder.path().join(name).display().to_string();
    let lines = file("in.jsonl");
    ensure!(
        run_with(&["--endpoints", &house.url(), "export", "--prefix=nothing/", &lines], &[])?
            .status
            .success(),
        "an empty one"
    );
    fs::write(&lines, fs::read_to_string(&lines)?)?;
    let (saved, exported) = (file("save.db"), file("out.jsonl"));
    let cases: [(&[&str], &str); 6] = [
        (&["snapshot", "save", &saved], "nothing was saved"),
        (&["export", &exported], "was not written"),
        (&["keys", "stat"], "deadline"),
        (&["defrag"], "Failed to defragment"),
        (&["migrate", "--prefix=v2/"], "deadline"),
        (&["check", "perf"], "deadline"),
    ];
    for (words, sentence) in cases {
        let all: Vec<&str> = ["--endpoints", NOBODY, "--command-timeout=1s"]
            .into_iter()
            .chain(words.iter().copied())
            .collect();
        let said = run_with(&all, &[])?;
        let text = stderr(&said);
        ensure!(
            !said.status.success() && text.contains(sentence) && text.contains(NOBODY),
            "{words:?}: {said:?}"
        );
        ensure!(names(folder.path())? == ["in.jsonl"], "{words:?} leaves {:?}", names(folder.path())?);
    }
    // A watch waits, as etcdctl's does, and says so.
    let mut watch = begin(&["--endpoints", NOBODY, "watch", "nothing"])?;
    let mut lines = BufReader::new(watch.stderr.take().context("it was piped")?).lines();
    let told = lines.by_ref().map_while(Result::ok).any(|line| line.starts_with("no member answers"));
    ensure!(told, "it says that it waits");
    kill_process(Pid::from_child(&watch), Signal::INT)?;
    let last = lines.map_while(Result::ok).last().unwrap_or_default();
    ensure!(watch.wait()?.code() == Some(130) && last == "watch stopped: nothing has happened", "{last}");
    house.done()
}

/// A limit for files stands for the end of the disk: it needs no right to mount.
#[test]
fn a_full_disk_leaves_no_half_file() -> anyhow::Result<()> {
    let house = House::start()?;
    let client = house.client()?;
    let large = "x".repeat(100_000);
    for number in 0..5 {
        client.put(&format!("full/{number}"), &large)?;
    }
    let folder = tempfile::tempdir()?;
    for words in ["export --prefix=full/ file", "snapshot save file"] {
        let line = format!("trap '' XFSZ; ulimit -f 64; exec \"$0\" --endpoints={} {words}", house.url());
        let said =
            Command::new("sh").args(["-c", &line]).arg(kvorumctl()?).current_dir(folder.path()).output()?;
        let text = stderr(&said);
        ensure!(!said.status.success() && text.contains("File too large"), "{words}: {said:?}");
        ensure!(
            text.contains("nothing") && names(folder.path())?.is_empty(),
            "{words}: {text} {:?}",
            names(folder.path())?
        );
    }
    let line = format!("exec \"$0\" --endpoints={} export --prefix=full/ > /dev/full", house.url());
    let said = Command::new("sh").args(["-c", &line]).arg(kvorumctl()?).output()?;
    ensure!(said.status.code() == Some(6) && stderr(&said).contains("No space left"), "{said:?}");
    house.done()
}
