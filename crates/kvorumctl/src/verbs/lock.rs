//! `lock`: holds a named lock, while a command runs or until somebody says stop.

use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use clap::Args;
use client::{Beat, KeepAlive};
use proto::etcdserverpb::{LeaseGrantRequest, LeaseRevokeRequest, RangeRequest};
use proto::v3lockpb::{LockRequest, LockResponse, UnlockRequest};

use super::signal::Stop;
use crate::command_line::number;
use crate::failure::{Done, Failure, exit};
use crate::session::Session;

/// How long giving back may take, when a member does not answer.
const FAREWELL: Duration = Duration::from_secs(5);

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  kvorumctl lock deploy -- ./deploy.sh --fast")]
pub(crate) struct Lock {
    /// The name of the lock, and a command to run while it is held.
    #[arg(value_name = "NAME [COMMAND ...]")]
    args: Vec<String>,
    /// The command after `--`, whose flags are its own.
    #[arg(last = true, hide = true)]
    command: Vec<String>,
    /// How long the lock outlives a program that died, in seconds.
    #[arg(long, default_value = "10", value_parser = number, value_name = "SECONDS")]
    ttl: i64,
}

/// A lease that is kept, and given back at the end.
pub(crate) struct Tenure {
    pub(crate) lease: i64,
    beats: KeepAlive,
}

impl Lock {
    pub(crate) async fn run(self, session: &Session) -> Done {
        let mut words = self.args.into_iter().chain(self.command);
        let Some(name) = words.next() else {
            let text = "lock takes a lock name argument and an optional command to execute";
            return Err(Failure::arguments(text));
        };
        let command: Vec<String> = words.collect();
        let mut stop = Stop::listen()?;
        let mut held = Tenure::begin(session, self.ttl).await?;
        let request = LockRequest { name: name.into_bytes().into(), lease: held.lease };
        let locked = tokio::select! {
            locked = session.client.call(request, None) => locked.map_err(Failure::from),
            () = held.over() => Err(Failure::error("session expired")),
            () = stop.heard() => Err(Failure::error("context canceled")),
        };
        let done = match locked {
            Err(failure) => Err(failure),
            Ok(lock) if command.is_empty() => hold(session, &lock, &mut held, &mut stop).await,
            Ok(lock) => run(&lock, &command).await,
        };
        held.end(session).await;
        done
    }
}

/// Shows the key, and waits.
async fn hold(session: &Session, lock: &LockResponse, held: &mut Tenure, stop: &mut Stop) -> Done {
    let answer = session.call(RangeRequest { key: lock.key.clone(), ..Default::default() }).await?;
    if answer.kvs.is_empty() {
        return Err(Failure::error("lock lost on init"));
    }
    session.show(&answer)?;
    tokio::select! {
        () = stop.heard() => {
            let unlock = UnlockRequest { key: lock.key.clone() };
            session.client.call(unlock, Some(FAREWELL)).await?;
            Ok(())
        }
        () = held.over() => Err(Failure::error("session expired")),
    }
}

/// Runs a command under the lock; its exit status becomes ours.
async fn run(lock: &LockResponse, command: &[String]) -> Done {
    let revision = lock.header.map_or(0, |header| header.revision);
    let variables = [
        ("ETCD_LOCK_KEY", String::from_utf8_lossy(&lock.key).into_owned()),
        ("ETCD_LOCK_REV", revision.to_string()),
    ];
    let status = execute(command, &variables).await.map_err(Failure::error)?;
    match status.code() {
        Some(0) => Ok(()),
        Some(code) => {
            Err(Failure::new(u8::try_from(code).unwrap_or(exit::ERROR), format!("exit status {code}")))
        }
        None => Err(Failure::error(status.to_string())),
    }
}

/// Runs a command with these variables besides our own, and waits for it.
pub(crate) async fn execute(command: &[String], variables: &[(&str, String)]) -> Result<ExitStatus, String> {
    let (program, arguments) = command.split_first().ok_or("no command is given")?;
    let mut child = Command::new(program);
    child.args(arguments).envs(variables.iter().map(|(name, value)| (*name, value)));
    child.stdin(Stdio::null());
    // Waiting for it takes a thread, while leases are kept by others.
    let waited = tokio::task::spawn_blocking(move || child.status()).await;
    waited.map_err(|error| error.to_string())?.map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound if !program.contains('/') => {
            format!("exec: {program:?}: executable file not found in $PATH")
        }
        _ => format!("fork/exec {program}: {error}"),
    })
}

impl Tenure {
    /// Grants a lease of so many seconds and keeps it.
    pub(crate) async fn begin(session: &Session, ttl: i64) -> Result<Self, Failure> {
        let granted = session.client.call(LeaseGrantRequest { ttl, id: 0 }, session.long_patience()).await?;
        Ok(Self { lease: granted.id, beats: KeepAlive::start(&session.client, granted.id) })
    }

    /// Waits until the lease is lost.
    pub(crate) async fn over(&mut self) {
        while let Some(Ok(Beat::Kept(_))) = self.beats.next().await {}
    }

    /// Gives it back, and with it whatever key hangs on it.
    pub(crate) async fn end(self, session: &Session) {
        drop(self.beats);
        // What cannot be given back now ends by itself.
        let _lost = session.client.call(LeaseRevokeRequest { id: self.lease }, Some(FAREWELL)).await;
    }
}
