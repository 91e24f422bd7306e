//! stub
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
pub(crate) struct Settings {
    pub(crate) profile: String,
    pub(crate) systems: Vec<String>,
    pub(crate) media: Vec<String>,
    pub(crate) groups: Vec<String>,
    pub(crate) kvorum: Option<PathBuf>,
    pub(crate) disk: PathBuf,
    pub(crate) rounds: u64,
    pub(crate) measured: Duration,
    pub(crate) million: u64,
    pub(crate) results: PathBuf,
}
pub(crate) async fn run(_: &Settings) -> anyhow::Result<ExitCode> {
    anyhow::bail!("x")
}
