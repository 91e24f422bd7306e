//! The program of `make fuzz`: libFuzzer and the target that `KVORUM_FUZZ` names.
#![no_main]

use std::sync::LazyLock;

use fuzz::{TARGETS, Target};

static CHOSEN: LazyLock<&'static Target> = LazyLock::new(|| {
    let name = std::env::var("KVORUM_FUZZ").unwrap_or_default();
    let target = Target::named(&name).unwrap_or_else(|| {
        let names: Vec<_> = TARGETS.iter().map(|target| target.name).collect();
        panic!("KVORUM_FUZZ={name:?} names none of the targets {}", names.join(", "))
    });
    target.warm();
    target
});

libfuzzer_sys::fuzz_target!(|input: &[u8]| CHOSEN.run(input));
