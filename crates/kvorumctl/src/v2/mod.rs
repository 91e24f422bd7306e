//! The tool of v2, as etcdctl is under `ETCDCTL_API=2`: its verbs, flags, outputs and exit statuses, which are others.
//!
//! It is a second command line beside the first; both share the client.

mod failure;
mod health;
mod keys;
mod members;
mod roles;
mod shown;
mod users;
mod watch;
mod wire;

use std::ffi::OsString;

use clap::error::ErrorKind;
use clap::{Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

use crate::command_line::{duration, with_go_flags};
use crate::failure::{Done, Failure, exit};
use crate::output::{print_line, say};
use crate::program::{World, run_to_end};

use wire::Wire;

/// The hand tool under `ETCDCTL_API=2`.
#[derive(Debug, Parser)]
#[command(
    about = "The hand tool for the v2 interface (ETCDCTL_API=2): etcdctl's verbs, flags and outputs.",
    after_help = "Variables: ETCDCTL_ENDPOINTS, ETCDCTL_USERNAME, ETCDCTL_PASSWORD, ETCDCTL_CERT_FILE, ETCDCTL_KEY_FILE, \
                  ETCDCTL_CA_FILE, ETCDCTL_DISCOVERY_SRV; a flag is stronger.\n\nExamples:\n  ETCDCTL_API=2 kvorumctl set \
                  /message hello --ttl 60\n  ETCDCTL_API=2 kvorumctl ls --recursive -p /\n  ETCDCTL_API=2 kvorumctl \
                  watch --forever --recursive /",
    max_term_width = 100,
    disable_version_flag = true
)]
struct CommandLine {
    #[command(flatten)]
    globals: Globals,
    #[command(subcommand)]
    verb: Option<Verb>,
}

/// What every verb knows.
#[derive(Clone, Debug, Args)]
#[allow(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub(crate) struct Globals {
    /// Says on stderr which requests are made.
    #[arg(long)]
    debug: bool,
    /// Asks the given endpoints, not those that the cluster names.
    #[arg(long)]
    no_sync: bool,
    /// The form of the answer: simple, extended or json.
    #[arg(short = 'o', long, default_value = "simple", value_name = "FORM")]
    output: String,
    /// The domain whose SRV records name the endpoints.
    #[arg(short = 'D', long, value_name = "DOMAIN")]
    discovery_srv: Option<String>,
    /// Allows SRV records that promise no TLS.
    #[arg(long)]
    insecure_discovery: bool,
    /// Where members listen.
    #[arg(long, visible_aliases = ["endpoint", "peers"], short_alias = 'C', value_delimiter = ',', value_name = "URLS")]
    endpoints: Vec<String>,
    /// The certificate that is shown to servers.
    #[arg(long, value_name = "FILE")]
    cert_file: Option<String>,
    /// Its key.
    #[arg(long, value_name = "FILE")]
    key_file: Option<String>,
    /// Trusts servers whose certificates these authorities signed.
    #[arg(long, value_name = "FILE")]
    ca_file: Option<String>,
    /// Who speaks; the password is asked for when it is not there.
    #[arg(short = 'u', long, value_name = "NAME[:PASSWORD]")]
    username: Option<String>,
    /// The password, for a user given without one.
    #[arg(long, value_name = "PASSWORD")]
    password: Option<String>,
    /// How long one request may take.
    #[arg(long, default_value = "2s", value_parser = duration, value_name = "TIME")]
    timeout: std::time::Duration,
    /// How long a command may take, but for watches.
    #[arg(long, default_value = "5s", value_parser = duration, value_name = "TIME")]
    total_timeout: std::time::Duration,
    /// Says which version this is.
    #[arg(short = 'v', long)]
    version: bool,
}

/// What can be asked for.
#[derive(Debug, Subcommand)]
enum Verb {
    /// Shows the value of a key.
    Get(keys::Get),
    /// Lists a directory.
    Ls(keys::Ls),
    /// Sets a key.
    Set(keys::Set),
    /// Makes a key that is not there.
    Mk(keys::Mk),
    /// Changes a key that is there.
    Update(keys::Update),
    /// Removes a key or a directory.
    Rm(keys::Rm),
    /// Makes a directory that is not there.
    Mkdir(keys::Folder),
    /// Makes a directory, or changes how long it stays.
    Setdir(keys::Folder),
    /// Changes how long a directory that is there stays.
    Updatedir(keys::Folder),
    /// Removes a directory that is empty, or a key.
    Rmdir(keys::Folder),
    /// Waits for a change of a key and shows it.
    Watch(watch::Watch),
    /// Runs a command for each change of a key.
    ExecWatch(watch::ExecWatch),
    /// How the members do.
    ClusterHealth(health::ClusterHealth),
    /// Who is in the cluster.
    #[command(subcommand)]
    Member(members::Member),
    /// Users and their roles.
    #[command(subcommand)]
    User(users::User),
    /// Roles and what they permit.
    #[command(subcommand)]
    Role(roles::Role),
    /// Whether the cluster asks who speaks.
    #[command(subcommand)]
    Auth(roles::Auth),
    /// Is not offered: `snapshot save` of v3 has v2's tree in it.
    #[command(hide = true)]
    Backup {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        _args: Vec<String>,
    },
}

/// Runs one verb of v2.
pub(crate) fn act(name: &'static str, world: &World) -> Done {
    let words = world.arguments.iter().skip(1).map(OsString::from);
    let words = std::iter::once(OsString::from(name)).chain(words);
    let table = with_go_flags(CommandLine::command().name(name).bin_name(name))
        .infer_subcommands(false)
        .args_override_self(true);
    let parsed =
        table.try_get_matches_from(words).and_then(|matches| CommandLine::from_arg_matches(&matches));
    let parsed = match parsed {
        Ok(parsed) => parsed,
        Err(error) => return refused(name, &error),
    };
    if parsed.globals.version {
        print_line(&format!("{name} version: {}\nAPI version: 2", env!("CARGO_PKG_VERSION")))?;
        return Ok(());
    }
    let Some(verb) = parsed.verb else {
        let mut help = CommandLine::command().name(name).bin_name(name);
        return print_line(&help.render_help().to_string());
    };
    if let Verb::Backup { .. } = verb {
        let text = "backup is not offered: `ETCDCTL_API=3 snapshot save` saves v2's tree too";
        return Err(failure::said(text));
    }
    run_to_end(async {
        let is_health = matches!(verb, Verb::ClusterHealth(_));
        let wire = match Wire::open(&parsed.globals, &world.environment).await {
            Err(_) if is_health => {
                say("cluster may be unhealthy: failed to list members");
                return Err(Failure::silent(failure::SERVER));
            }
            wire => wire?,
        };
        verb.run(&wire).await
    })
}

impl Verb {
    async fn run(self, wire: &Wire) -> Done {
        match self {
            Self::Get(verb) => verb.run(wire).await,
            Self::Ls(verb) => verb.run(wire).await,
            Self::Set(verb) => verb.run(wire).await,
            Self::Mk(verb) => verb.run(wire).await,
            Self::Update(verb) => verb.run(wire).await,
            Self::Rm(verb) => verb.run(wire).await,
            Self::Mkdir(verb) => verb.write(wire, Some(false)).await,
            Self::Setdir(verb) => verb.write(wire, None).await,
            Self::Updatedir(verb) => verb.write(wire, Some(true)).await,
            Self::Rmdir(verb) => verb.remove(wire).await,
            Self::Watch(verb) => verb.run(wire).await,
            Self::ExecWatch(verb) => verb.run(wire).await,
            Self::ClusterHealth(verb) => verb.run(wire).await,
            Self::Member(verb) => verb.run(wire).await,
            Self::User(verb) => verb.run(wire).await,
            Self::Role(verb) => verb.run(wire).await,
            Self::Auth(verb) => verb.run(wire).await,
            // It was refused before anything was asked.
            Self::Backup { .. } => Ok(()),
        }
    }
}

/// Help goes to stdout; everything else gets etcdctl's sentence.
fn refused(name: &str, error: &clap::Error) -> Done {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            error.print().map_err(|error| Failure::io(error.to_string()))
        }
        ErrorKind::InvalidSubcommand => {
            let word = error.get(clap::error::ContextKind::InvalidSubcommand);
            let word = word.map(ToString::to_string).unwrap_or_default();
            Err(Failure {
                status: exit::INVALID_INPUT,
                text: None,
                details: vec![format!("No help topic for '{word}'")],
            })
        }
        _ => {
            let refusal = crate::program::refusal(name, error);
            let text = refusal.text.unwrap_or_default();
            let details = std::iter::once(text).chain(refusal.details).collect();
            Err(Failure { status: exit::ERROR, text: None, details })
        }
    }
}
