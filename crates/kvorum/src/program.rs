//! The life of the process: words, log, member, signals, end.
//!
//! INVARIANT: whoever asked by a signal sees a process that died by that signal, after a graceful stop.

use std::error::Error;
use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::sync::Arc;

use server::End;
use telemetry::{FATAL, LogSettings, init_log};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{error, info, warn};

use crate::command_line::{CommandLineError, Wish, parse};
use crate::config::Config;
use crate::member::Running;
use crate::notify::Manager;
use crate::settings::{Notice, Settings};
use crate::{config_command, health, help, reload};

/// What the world told the process at its start.
#[derive(Clone, Debug)]
pub struct World {
    /// The name by which the program was called, without its folder.
    pub name: String,
    /// Words after the program's name.
    pub arguments: Vec<String>,
    /// Variables.
    pub environment: Vec<(String, String)>,
}

/// Runs the program to its end.
pub fn run(world: World) -> ExitCode {
    // Like etcd's own sub-commands: the first word, exactly.
    if world.arguments.first().is_some_and(|word| word == "health") {
        return health::run(&world.arguments[1..]);
    }
    match world.arguments.first().map(String::as_str) {
        Some("config") => return config(&world),
        Some("man") => return tell(&help::manual()),
        Some("completion") => return tell(&help::completion()),
        Some(word @ ("gateway" | "grpc-proxy")) => {
            // etcd has these as programs in the program.
            let text =
                format!("kvorum: there is no `{word}`: clients can be given the URLs of all members\n");
            write(&mut std::io::stderr(), &text);
            return ExitCode::FAILURE;
        }
        _ => {}
    }
    match parse(world.arguments.iter().cloned(), world.environment.iter().cloned()) {
        Ok(Wish::Help) => {
            write(&mut std::io::stderr(), &help::usage());
            write(&mut std::io::stdout(), &help::flags());
            ExitCode::SUCCESS
        }
        Ok(Wish::Version) => {
            write(&mut std::io::stdout(), &help::version(&world.name));
            ExitCode::SUCCESS
        }
        Ok(Wish::Run(mut settings)) => match settings.read_file() {
            Ok(()) => run_member(settings, world),
            Err(refused) => {
                log_to_stderr();
                give_up("failed to verify flags", &refused)
            }
        },
        Err(CommandLineError::Usage(text)) => {
            write(&mut std::io::stderr(), &format!("{text}\n{}", help::usage()));
            ExitCode::from(2)
        }
        Err(refused @ CommandLineError::Verify(_)) => {
            log_to_stderr();
            give_up("failed to verify flags", &refused)
        }
    }
}

fn tell(text: &str) -> ExitCode {
    write(&mut std::io::stdout(), text);
    ExitCode::SUCCESS
}

fn config(world: &World) -> ExitCode {
    let answer = config_command::run(&world.arguments[1..], &world.environment);
    write(&mut std::io::stdout(), &answer.text);
    write(&mut std::io::stderr(), &answer.complaint);
    ExitCode::from(answer.status)
}

fn run_member(settings: Settings, world: World) -> ExitCode {
    let config = match Config::read(&settings) {
        Ok(config) => config,
        Err(error) => {
            log_to_stderr();
            return give_up("failed to verify flags", &error);
        }
    };
    let log = match init_log(&config.log) {
        Ok(log) => log,
        Err(error) => {
            log_to_stderr();
            return give_up("failed to verify flags", &error);
        }
    };
    for notice in &settings.notices {
        mention(notice);
    }
    if !settings.is_given("data-dir") {
        warn!({ "data-dir" } = %config.data_dir.display(), "'data-dir' was empty; using default");
    }
    // It accepts and waits for signals; clients are served on lanes.
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return give_up("failed to start", &error),
    };
    let manager = Manager::named(&world.environment);
    runtime.spawn(reload::serve(world, settings, log));
    let ending = runtime.block_on(live(&config, &manager));
    // What still runs has no bearing on the data: the member was stopped before.
    runtime.shutdown_background();
    match ending {
        Ok(Some(signal)) => die_by(signal),
        Ok(None) => ExitCode::SUCCESS,
        Err(error) => give_up("failed to serve", error.as_ref()),
    }
}

/// Runs the member until a signal comes, whose number it returns, until the cluster wants to do without it, or
/// until it fails.
async fn live(config: &Config, manager: &Manager) -> Result<Option<i32>, Box<dyn Error>> {
    let mut signals = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    info!(
        { "server-version" } = api::level::SERVER, { "kvorum-version" } = help::VERSION, name = config.name,
        { "data-dir" } = %config.data_dir.display(), { "max-request-bytes" } = config.limits.request_bytes_max,
        { "max-txn-ops" } = config.limits.txn_ops_max, { "enable-v2" } = config.enable_v2,
        "starting an etcd server"
    );
    manager.status("opening the data, and waiting for other members where there is none");
    let mut running = tokio::select! {
        running = Running::launch(config) => running?,
        // It may wait for other founders for as long as these need.
        signal = asked(&mut signals) => return Ok(Some(signal)),
    };
    let member = running.member().clone();
    present(config, &member);
    manager.status("waiting for a leader, and for what this member has missed");
    let ended = tokio::select! {
        () = member.ready() => None,
        ended = end(&member, &mut signals) => Some(ended),
    };
    let ended = if let Some(ended) = ended {
        ended
    } else {
        running.serve_clients();
        announce(config, &member, manager);
        let pulse = tokio::spawn(beat(manager.clone(), Arc::clone(&member)));
        let ended = end(&member, &mut signals).await;
        pulse.abort();
        ended
    };
    manager.stopping("handing over the lead, and ending what is under way");
    let stopping = async {
        if matches!(ended, Ok(Some(_))) {
            // Clients are still served, so that none of them sees the lead change hands.
            member.retire().await;
        }
        running.stop().await;
    };
    tokio::select! {
        () = stopping => {}
        signal = asked(&mut signals) => {
            // What was acknowledged is in the log; the next start replays it.
            warn!("a second signal; ending at once");
            // As the first process of a container it comes back from here.
            let _: ExitCode = die_by(signal);
            std::process::exit(0);
        }
    }
    if ended.is_ok() {
        info!(name = config.name, { "data-dir" } = %config.data_dir.display(), "closed etcd server");
    }
    ended.map_err(Into::into)
}

/// What ends a member: a signal's number, nothing if it was removed, or the sentence with which it failed.
async fn end(member: &server::Member, signals: &mut (Signal, Signal)) -> Result<Option<i32>, String> {
    tokio::select! {
        signal = asked(signals) => Ok(Some(signal)),
        end = member.ended() => match end {
            End::Failed(reason) => Err(reason),
            End::Removed => {
                warn!("data-dir used by this member must be removed");
                Ok(None)
            }
        },
    }
}

/// The number of the signal that asks for the end.
async fn asked((interrupt, terminate): &mut (Signal, Signal)) -> i32 {
    let (kind, name) = tokio::select! {
        _ = interrupt.recv() => (SignalKind::interrupt(), "interrupt"),
        _ = terminate.recv() => (SignalKind::terminate(), "terminated"),
    };
    info!(signal = name, "received signal; shutting down");
    kind.as_raw_value()
}

/// Says where the member is heard, in etcd's words.
fn present(config: &Config, member: &server::Member) {
    let list =
        |urls: &[members::MemberUrl]| urls.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    info!(
        { "local-member-id" } = %member.id(),
        { "initial-advertise-peer-urls" } = list(&config.advertise_peer_urls),
        { "listen-peer-urls" } = list(&config.listen_peer_urls),
        { "advertise-client-urls" } = list(&config.advertise_client_urls),
        { "listen-client-urls" } = list(&config.listen_client_urls),
        { "listen-metrics-urls" } = list(&config.listen_metrics_urls),
        "now serving peer/client/metrics"
    );
    for url in &config.listen_peer_urls {
        info!(address = url.address(), "serving peer traffic");
    }
}

/// Says that clients are served, in the lines that other software waits for.
fn announce(config: &Config, member: &server::Member, manager: &Manager) {
    let urls: Vec<String> = config.advertise_client_urls.iter().map(ToString::to_string).collect();
    let version = api::level::CLUSTER;
    let version = version.rsplit_once('.').map_or(version, |(minor, _)| minor);
    info!({ "cluster-version" } = version, "enabled capabilities for version");
    info!({ "cluster-version" } = version, "cluster version is updated");
    info!(
        { "local-member-id" } = %member.id(), { "cluster-id" } = %member.cluster(),
        { "local-member-attributes" } = format!("{{Name:{} ClientURLs:[{}]}}", config.name, urls.join(" ")),
        "published local member to cluster through raft"
    );
    info!("ready to serve client requests");
    for url in &config.listen_client_urls {
        let address = url.address();
        if url.scheme().is_tls() {
            info!(traffic = "grpc+http", address, "serving client traffic securely");
            continue;
        }
        info!(
            traffic = "grpc+http",
            address, "serving client traffic insecurely; this is strongly discouraged!"
        );
    }
    for url in &config.listen_metrics_urls {
        info!(address = url.to_string(), "serving metrics");
    }
    let urls: Vec<String> = config.listen_client_urls.iter().map(ToString::to_string).collect();
    manager.ready(&format!("serving clients at {}", urls.join(", ")));
}

/// Tells the manager that the process lives, for as long as the member answers: whether it has a leader does not matter, since
/// no restart would bring one.
async fn beat(manager: Manager, member: Arc<server::Member>) {
    let Some(pulse) = manager.pulse() else { return };
    let mut rounds = tokio::time::interval(pulse);
    loop {
        rounds.tick().await;
        drop(api::Member::health(member.as_ref(), api::Consistency::Serializable).await);
        manager.alive();
    }
}

fn mention(notice: &Notice) {
    match notice {
        Notice::VariableUsed { name, value } => {
            info!(
                { "variable-name" } = name,
                { "variable-value" } = value,
                "recognized and used environment variable"
            );
        }
        Notice::VariableUnknown { name } => {
            warn!({ "environment-variable" } = name, "unrecognized environment variable");
        }
        Notice::Overruled { name, loser, winner } => warn!(
            { "flag-name" } = name, %loser, %winner,
            "one setting was given two values: a flag counts before a variable, and that before the file"
        ),
        Notice::FlagIgnored { name, reason } => warn!({ "flag-name" } = name, reason, "flag has no effect"),
        Notice::FlagForgotten { name } => {
            warn!({ "flag-name" } = name, "flag is no longer supported - ignoring");
        }
        Notice::OlderName { name, newer } => {
            info!({ "flag-name" } = name, newer, "flag was given by its older name");
        }
    }
}

/// For a log that was refused, or that nobody has read the settings of.
fn log_to_stderr() {
    // It fails only where there is a log already, which is as good.
    drop(init_log(&LogSettings::default()));
}

/// The last words: in the log, and to a person who sits there also as a plain sentence.
fn give_up(what: &str, error: &dyn Error) -> ExitCode {
    error!(target: FATAL, error = %error, "{what}");
    let mut stderr = std::io::stderr();
    if stderr.is_terminal() {
        write(&mut stderr, &format!("kvorum: {error}\n"));
    }
    ExitCode::FAILURE
}

/// Whoever waits for the process sees the signal as the cause. The first process of a container cannot die by
/// one.
fn die_by(signal: i32) -> ExitCode {
    if std::process::id() != 1 {
        drop(signal_hook::low_level::emulate_default_handler(signal));
    }
    ExitCode::SUCCESS
}

fn write(to: &mut impl Write, text: &str) {
    // A closed pipe has no reader who could be told.
    drop(to.write_all(text.as_bytes()).and_then(|()| to.flush()));
}
