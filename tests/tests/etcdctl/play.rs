//! Every script, played once by everybody whom somebody asks about.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::sync::{Mutex, OnceLock};
use std::{env, fs, thread};

use ::tests::{Program, Release, etcdctl};
use anyhow::Context;

use crate::script::{self, Script};
use crate::stage::{self, Done, Stage};

/// Scripts that run at the same time, each with a cluster.
const WORKERS: usize = 6;

/// Who plays, and with whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Cast {
    /// etcdctl and etcd of this version.
    Etcd(Release),
    /// etcdctl of this version and Kvorum.
    Ours(Release),
    /// kvorumctl and Kvorum.
    Kvorumctl,
}

/// What everybody did.
pub(crate) struct Played {
    pub(crate) scripts: Vec<Script>,
    plays: BTreeMap<(String, Cast), Result<Vec<Done>, String>>,
}

impl Played {
    /// What was done in a script, or why it ended early.
    pub(crate) fn of(&self, script: &Script, cast: Cast) -> Result<&[Done], &str> {
        match self.plays.get(&(script.name.clone(), cast)) {
            Some(Ok(done)) => Ok(done),
            Some(Err(error)) => Err(error),
            None => Err("nobody played this"),
        }
    }
}

/// All plays. Whoever asks first waits for them.
pub(crate) fn played() -> &'static Played {
    static PLAYED: OnceLock<Played> = OnceLock::new();
    PLAYED.get_or_init(|| play_all().expect("the scripts can be read"))
}

/// The versions of etcdctl that play a script: the older interface has only one.
pub(crate) fn releases(script: &Script) -> Vec<Release> {
    Release::ALL.into_iter().filter(|release| !script.is_v2() || *release == Release::Debian).collect()
}

fn play_all() -> anyhow::Result<Played> {
    let only = env::var("ETCDCTL_ONLY").ok();
    let mut scripts = script::all(&::tests::root().join("tests/etcdctl"))?;
    scripts.retain(|script| only.as_ref().is_none_or(|only| *only == script.name));
    let mut waiting = VecDeque::new();
    for script in &scripts {
        waiting.push_back((script, Cast::Kvorumctl));
        for release in releases(script) {
            waiting.extend([(script, Cast::Etcd(release)), (script, Cast::Ours(release))]);
        }
    }
    let (waiting, plays) = (Mutex::new(waiting), Mutex::new(BTreeMap::new()));
    thread::scope(|scope| {
        let work = || {
            let next = || waiting.lock().expect("no worker panics while it holds this").pop_front();
            while let Some((script, cast)) = next() {
                let played = play(script, cast).map_err(|error| format!("{cast:?}: {error:#}"));
                let mut plays = plays.lock().expect("no worker panics while it holds this");
                plays.insert((script.name.clone(), cast), played);
            }
        };
        for _ in 0..WORKERS {
            scope.spawn(work);
        }
    });
    let plays = plays.into_inner().expect("no worker panics while it holds this");
    Ok(Played { scripts, plays })
}

fn play(script: &Script, cast: Cast) -> anyhow::Result<Vec<Done>> {
    let ours = || match env::var("CLUSTER_OF").as_deref() {
        Ok("etcd") => Program::release(Release::Pypi),
        _ => Program::kvorum(),
    };
    let (server, tool, release, name) = match cast {
        Cast::Etcd(release) => (Program::release(release)?, release.program("etcdctl")?, release, "etcd"),
        Cast::Ours(release) => (ours()?, release.program("etcdctl")?, release, "kvorum"),
        Cast::Kvorumctl => (ours()?, etcdctl::own()?, Release::Pypi, "kvorumctl"),
    };
    let done = Stage::open(script, &server, tool, release.version())?.play(script)?;
    keep(&format!("{}-{}.{name}.txt", script.name, release.version()), &done)?;
    Ok(done)
}

fn keep(file: &str, side: &[Done]) -> anyhow::Result<()> {
    let folder = stage::transcripts();
    fs::create_dir_all(&folder).context("make the folder of transcripts")?;
    let mut text = String::new();
    for done in side {
        writeln!(text, "{}: {}", done.line, done.command)?;
        for (part, value) in done.answer.parts() {
            writeln!(text, "  {part}: {value:?}")?;
        }
    }
    fs::write(folder.join(file), text).with_context(|| format!("write {file}"))
}
