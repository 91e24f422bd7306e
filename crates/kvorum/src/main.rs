//! `kvorum`: a drop-in replacement for etcd. What it does is in the library; this hands it the world.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use kvorum::program::{World, run};

/// Requests are born on one thread and often freed on another, which is what this one is made for.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let text = |word: OsString| word.to_string_lossy().into_owned();
    let mut words = std::env::args_os();
    let path = words.next().map(PathBuf::from).unwrap_or_default();
    run(World {
        name: path.file_name().map(|name| text(name.to_owned())).unwrap_or_default(),
        arguments: words.map(text).collect(),
        environment: std::env::vars_os().map(|(name, value)| (text(name), text(value))).collect(),
    })
}
