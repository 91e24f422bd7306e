//! Benchmarks of the whole server, from the outside: a load generator, and a comparison with real etcd.
//!
//! It never links the server. What is measured here is what a client sees on the socket and what the kernel
//! says about the server's process.

mod call;
mod command_line;
mod compare;
mod load;
mod output;
mod proc;
mod stream;
mod wire;
mod workload;

use std::process::ExitCode;

use anyhow::{Context as _, Result};
use tokio::signal::unix::{SignalKind, signal};

use self::command_line::Verb;

fn main() -> ExitCode {
    match command_line::parse().and_then(start) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn start(verb: Verb) -> Result<ExitCode> {
    // One thread: a second one would take the core that the server needs.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for signals")?;
        let mut terminate = signal(SignalKind::terminate()).context("cannot listen for signals")?;
        // Dropping the future ends every server that it started and removes its folders.
        tokio::select! {
            done = act(verb) => done,
            _ = interrupt.recv() => anyhow::bail!("interrupted"),
            _ = terminate.recv() => anyhow::bail!("terminated"),
        }
    })
}

async fn act(verb: Verb) -> Result<ExitCode> {
    match verb {
        Verb::Load { plan, prepare, out } => {
            if prepare {
                load::prepare(&plan.shape, false).await?;
            }
            let report = load::run(&plan).await?;
            publish(&serde_json::to_string_pretty(&report)?, out.as_deref())?;
            if report.failures > 0 {
                eprintln!("bench: {} calls failed: {:?}", report.failures, report.failure_texts);
                return Ok(ExitCode::FAILURE);
            }
            Ok(ExitCode::SUCCESS)
        }
        Verb::Stream { scenario, target, scale, prepare, out } => {
            if prepare {
                scenario.prepare(&target, scale).await?;
            }
            let figures = scenario.measure(&target, scale).await?;
            publish(&serde_json::to_string_pretty(&figures)?, out.as_deref())?;
            Ok(ExitCode::SUCCESS)
        }
        Verb::Compare(settings) => compare::run(&settings).await,
    }
}

/// Prints a result, or writes it into the file `out`.
fn publish(text: &str, out: Option<&str>) -> Result<()> {
    let Some(path) = out else {
        output::line(text);
        return Ok(());
    };
    std::fs::write(path, format!("{text}\n")).with_context(|| format!("cannot write {path}"))
}
