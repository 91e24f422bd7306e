//! A slow disk, for processes that call the system's C library: a small library that is loaded before it and waits in
//! each `fsync` and `fdatasync`. It needs a C compiler and no rights.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::Context;

use super::Setup;

const SOURCE: &str = r#"
#define _GNU_SOURCE
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static void lag(void) {
    const char *text = getenv("TESTS_SYNC_LAG_MS");
    long ms = text ? atol(text) : 0;
    struct timespec time = { ms / 1000, ms % 1000 * 1000000 };
    // Reason to sleep: taking its time is what a slow disk does.
    nanosleep(&time, NULL);
}

int fsync(int file) { lag(); return (int) syscall(SYS_fsync, file); }
int fdatasync(int file) { lag(); return (int) syscall(SYS_fdatasync, file); }
"#;

/// The library.
#[derive(Debug)]
pub struct Lag(PathBuf);

impl Lag {
    /// Builds it in `folder`; `None` where there is no C compiler.
    pub fn build(folder: &Path) -> anyhow::Result<Option<Self>> {
        let (source, library) = (folder.join("lag.c"), folder.join("lag.so"));
        fs::write(&source, SOURCE).context("write the source of the slow disk")?;
        let mut compiler = Command::new("cc");
        let output = compiler.args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(&source).output();
        Ok(output.is_ok_and(|output| output.status.success()).then_some(Self(library)))
    }

    /// From its next start on, each sync of this member takes that much longer.
    pub fn slow_down(&self, setup: &mut Setup, by: Duration) {
        let text = self.0.to_string_lossy().into_owned();
        setup.environment.push(("LD_PRELOAD".to_owned(), text));
        setup.environment.push(("TESTS_SYNC_LAG_MS".to_owned(), by.as_millis().to_string()));
    }
}
