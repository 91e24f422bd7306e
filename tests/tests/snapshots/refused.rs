//! What is no whole snapshot of ours, and what would write over something: refused by name, with what to do, and
//! nothing is left behind.

use std::fs;
use std::path::Path;

use ::tests::cluster::Settings;
use ::tests::etcdctl::kvorumctl;
use ::tests::{Cluster, Program};
use anyhow::{Context, ensure};

use crate::state::ctl;

/// The sentence of a refusal.
fn refusal(words: &[&str]) -> anyhow::Result<String> {
    Ok(kvorumctl(words).err().with_context(|| format!("{words:?} is not refused"))?.to_string())
}

/// What is in a folder, sorted.
fn names(folder: &Path) -> anyhow::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder)? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

#[test]
fn what_is_not_whole_is_refused_and_nothing_is_left() -> anyhow::Result<()> {
    let cluster = Cluster::start(&Settings::new(&Program::kvorum()?, 1))?;
    ctl(&cluster, &[0], &["put", "foo", "bar"])?;
    let folder = tempfile::tempdir()?;
    let at = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    ctl(&cluster, &[0], &["snapshot", "save", &at("whole")])?;
    let whole = fs::read(at("whole"))?;
    let write = |name: &str, bytes: &[u8]| fs::write(at(name), bytes);
    let flipped = |place: usize| {
        let mut bytes = whole.clone();
        if let Some(byte) = bytes.get_mut(place) {
            *byte ^= 1;
        }
        bytes
    };
    write("flipped", &flipped(whole.len() / 2))?;
    write("newer", &[&b"KVORUMAR\x02\0\0\0"[..], &[0; 100]].concat())?;
    write("old-cut", b"KVORUMAR\x01\0\0\0")?;
    write("sum", &flipped(whole.len() - 1))?;
    write("cut", &whole[..whole.len() / 2])?;
    write("longer", &[whole.as_slice(), b"x"].concat())?;
    write("short", b"KVO")?;
    write("empty", b"")?;
    write("foreign", &vec![7; 100_000])?;

    let before = names(folder.path())?;
    for (name, what) in [
        ("flipped", "is not whole: its SHA-256 does not match; take another copy"),
        ("sum", "is not whole: its SHA-256 does not match; take another copy"),
        ("newer", "was written by a newer Kvorum"),
        ("cut", "is not whole: it is cut off: it should have "),
        ("old-cut", "is not whole: the snapshot is cut off; take another copy"),
        ("longer", "is not whole: there is something behind its end"),
        ("short", "is not a snapshot of Kvorum, nor one of etcd: give a file that `snapshot save` made"),
        ("empty", "is not a snapshot of Kvorum"),
        ("foreign", "is not a snapshot of Kvorum"),
        ("missing", "cannot read "),
    ] {
        for verb in ["status", "restore"] {
            let data = format!("--data-dir={}", at("data"));
            let words = ["snapshot", verb, &at(name), &data];
            let refused = refusal(&words[..if verb == "status" { 3 } else { 4 }])?;
            ensure!(refused.contains(what) && refused.contains(&at(name)), "{verb} {name}: {refused}");
            ensure!(refused.contains("exit status: 1"), "{verb} {name}: {refused}");
        }
        ensure!(names(folder.path())? == before, "{name} leaves something behind");
    }
    cluster.done()
}

#[test]
fn nothing_is_written_over() -> anyhow::Result<()> {
    let cluster = Cluster::start(&Settings::new(&Program::kvorum()?, 1))?;
    let folder = tempfile::tempdir()?;
    let at = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    ctl(&cluster, &[0], &["snapshot", "save", &at("file")])?;
    let file = at("file");
    let restore = |more: &[&str]| refusal(&[&["snapshot", "restore", &file], more].concat());
    let data = format!("--data-dir={}", at("data"));

    fs::create_dir(at("data"))?;
    fs::write(at("data/anything"), "mine")?;
    let taken = restore(&[&data])?;
    ensure!(
        taken.contains(&format!("Error: data-dir {:?} not empty or could not be read", at("data"))),
        "{taken}"
    );
    ensure!(names(Path::new(&at("data")))? == ["anything"]);
    fs::remove_file(at("data/anything"))?;

    for (words, sentence) in [
        (&["--name=x"][..], "couldn't find local name \"x\" in the initial cluster configuration"),
        (
            &["--initial-cluster=default=http://a:1"],
            "--initial-cluster has default=http://a:1 but missing from",
        ),
        (&["--initial-cluster=default=ftp://a:1"], "URL scheme must be http, https, unix, or unixs"),
        (&["--wal-dir=/elsewhere"], "leave --wal-dir out"),
        (&["--bump-revision=5"], "are set they must all be set; missing [mark-compacted]"),
        (&["--mark-compacted"], "are set they must all be set; missing [bump-revision]"),
        (&["--bump-revision=0", "--mark-compacted"], "--bump-revision has to be greater than 0"),
        (&["--bump-revision=9223372036854775807", "--mark-compacted"], "cannot be raised by"),
        (&["more"], "snapshot restore requires exactly one argument"),
    ] {
        let refused = restore(&[&[data.as_str()], words].concat())?;
        ensure!(refused.contains(sentence), "{words:?}: {refused}");
        ensure!(names(Path::new(&at("data")))?.is_empty(), "{words:?} leaves something behind");
    }

    // An empty folder may be there already, as where a disk is mounted; the second time it is full.
    kvorumctl(&["snapshot", "restore", &file, &data, "--skip-hash-check"])?;
    ensure!(names(Path::new(&at("data")))? == ["member"]);
    ensure!(restore(&[&data])?.contains("not empty"));
    cluster.done()
}
