//! What was found, and made by hand, is borne as it should be: every input below `corpus/`, its beginnings, and what
//! one changed byte makes of it. A finding is kept there under a name that says what it was.

use std::fs;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use fuzz::{TARGETS, Target};

/// The repository keeps it, so it stays small.
const CORPUS_BYTES_MAX: u64 = 500_000;
/// Beginnings of an input that are tried, and bytes of it that are changed.
const VARIANTS: usize = 8;

/// Tasks of a runtime catch their panics, and the hook sees them.
static PANICS: AtomicUsize = AtomicUsize::new(0);

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus")
}

fn inputs(target: &Target) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = corpus().join(target.name);
    let listed = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut inputs: Vec<_> = listed
        .map(|entry| entry.expect("it is listed").path())
        .map(|path| (path.clone(), fs::read(path).expect("it is a file")))
        .collect();
    inputs.sort();
    inputs
}

/// The input, some of its beginnings, and some inputs that differ from it in one byte.
fn variants(input: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    let step = input.len().div_ceil(VARIANTS).max(1);
    let places = (0..input.len()).step_by(step);
    let beginnings = places.clone().map(|end| input[..end].to_vec());
    let changed = places.map(|at| {
        let mut changed = input.to_vec();
        changed[at] ^= 1 << (at % 8);
        changed
    });
    std::iter::once(input.to_vec()).chain(beginnings).chain(changed)
}

#[test]
fn everything_in_the_corpus_is_borne() {
    what_is_not_borne_is_seen();
    let before = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        PANICS.fetch_add(1, Ordering::Relaxed);
        before(panic);
    }));
    let mut failed = Vec::new();
    for target in TARGETS {
        target.warm();
        for (path, input) in inputs(target) {
            for variant in variants(&input) {
                let panics = PANICS.load(Ordering::Relaxed);
                let borne = panic::catch_unwind(AssertUnwindSafe(|| target.run(&variant))).is_ok();
                if !borne || PANICS.load(Ordering::Relaxed) != panics {
                    failed.push(format!("{}: {}", path.display(), variant.escape_ascii()));
                    break;
                }
            }
        }
    }
    assert!(failed.is_empty(), "{} inputs are not borne:\n{}", failed.len(), failed.join("\n"));
}

#[test]
fn the_corpus_is_small_and_has_a_folder_for_each_target() {
    let mut bytes = 0;
    for target in TARGETS {
        let inputs = inputs(target);
        assert!(inputs.len() >= 5, "{} has {} inputs", target.name, inputs.len());
        bytes += inputs.iter().map(|(_, input)| input.len() as u64).sum::<u64>();
    }
    assert!(bytes <= CORPUS_BYTES_MAX, "the corpus has {bytes} bytes");
    let folders = fs::read_dir(corpus()).expect("it is there").count();
    assert_eq!(folders, TARGETS.len(), "a folder of no target");
}

/// No test of its own, since memory and panics are counted for the whole process.
fn what_is_not_borne_is_seen() {
    let target = |act| Target::new("test", 1 << 20, act);
    target(|_| drop(std::hint::black_box(vec![1_u8; 2_000_000]))).run(b"");
    let greedy = target(|_| drop(std::hint::black_box(vec![1_u8; 2_100_000])));
    assert!(panic::catch_unwind(|| greedy.run(b"")).is_err(), "memory is counted");
    let wrong = target(|_| panic!("on purpose"));
    assert!(panic::catch_unwind(|| wrong.run(b"")).is_err(), "a panic ends the run");
    target(|_| ()).run(b"");
    assert!(Target::named("frames").is_some() && Target::named("nothing").is_none());
}
