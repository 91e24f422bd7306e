//! `kvorumctl`: the hand tool. What it does is in the library; this hands it the world.

use std::ffi::OsString;
use std::process::ExitCode;

use kvorumctl::program::{World, run};

fn main() -> ExitCode {
    let text = |word: OsString| word.to_string_lossy().into_owned();
    run(World {
        arguments: std::env::args_os().map(text).collect(),
        environment: std::env::vars_os().map(|(name, value)| (text(name), text(value))).collect(),
    })
}
