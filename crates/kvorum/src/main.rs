//! `kvorum`: a drop-in replacement for etcd. What it does is in the library; this hands it the world.

use std::ffi::OsString;
use std::process::ExitCode;

use kvorum::program::{World, run};

/// Requests are born on one thread and often freed on another, which is what this one is made for.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let text = |word: OsString| word.to_string_lossy().into_owned();
    run(World {
        arguments: std::env::args_os().skip(1).map(text).collect(),
        environment: std::env::vars_os().map(|(name, value)| (text(name), text(value))).collect(),
    })
}
