//! The command line as data: the flags that every verb knows, and the verbs in groups.

use std::time::Duration;

use clap::{Arg, ArgAction, Args, Command, CommandFactory as _, Parser};

use crate::verbs::{Verb, del, get, put};

/// The hand tool of Kvorum and etcd.
#[derive(Debug, Parser)]
#[command(
    name = "kvorumctl",
    about = "The hand tool of Kvorum and etcd: etcdctl's verbs, flags and outputs.",
    after_help = "Every global flag is a variable too: --endpoints is ETCDCTL_ENDPOINTS or KVORUMCTL_ENDPOINTS.",
    max_term_width = 100,
    disable_version_flag = true,
    propagate_version = false
)]
pub(crate) struct CommandLine {
    #[command(flatten)]
    pub(crate) globals: Globals,
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

/// What every verb knows.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Global options")]
#[allow(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub(crate) struct Globals {
    /// Where members listen: HOST:PORT, or a URL with http, https, unix or unixs.
    #[arg(long, global = true, value_delimiter = ',', default_value = "127.0.0.1:2379", value_name = "URLS")]
    pub(crate) endpoints: Vec<String>,
    /// The form of the answer: simple, json, jsonl, yaml, fields, protobuf, table.
    #[arg(short = 'w', long, global = true, default_value = "simple", value_name = "FORM")]
    pub(crate) write_out: String,
    /// Writes every byte of keys and values as \x61.
    #[arg(long, global = true)]
    pub(crate) hex: bool,
    /// How long a command may take; 5s for those that should be short.
    #[arg(long, global = true, value_parser = duration, value_name = "TIME")]
    pub(crate) command_timeout: Option<Duration>,
    /// How long a connection may take to come up.
    #[arg(long, global = true, default_value = "2s", value_parser = duration, value_name = "TIME")]
    pub(crate) dial_timeout: Duration,
    /// How often a silent connection is asked whether it lives.
    #[arg(long, global = true, default_value = "2s", value_parser = duration, value_name = "TIME")]
    pub(crate) keepalive_time: Duration,
    /// How long it may take to answer that.
    #[arg(long, global = true, default_value = "6s", value_parser = duration, value_name = "TIME")]
    pub(crate) keepalive_timeout: Duration,
    /// Who speaks; the password is asked for when it is not there.
    #[arg(long, global = true, value_name = "NAME[:PASSWORD]")]
    pub(crate) user: Option<String>,
    /// The password, for a user given without one.
    #[arg(long, global = true, value_name = "PASSWORD")]
    pub(crate) password: Option<String>,
    /// Trusts servers whose certificates these authorities signed.
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) cacert: Option<String>,
    /// The certificate that is shown to servers.
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) cert: Option<String>,
    /// Its key.
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) key: Option<String>,
    /// Takes any certificate of a server. For tests only.
    #[arg(long, global = true)]
    pub(crate) insecure_skip_tls_verify: bool,
    /// Allows connections without TLS.
    #[arg(long, global = true, default_value_t = true, action = ArgAction::Set, num_args = 0..=1,
          require_equals = true, default_missing_value = "true", value_parser = yes_or_no)]
    pub(crate) insecure_transport: bool,
    /// The domain whose SRV records name the endpoints.
    #[arg(short = 'd', long, global = true, value_name = "DOMAIN")]
    pub(crate) discovery_srv: Option<String>,
    /// The service name within them.
    #[arg(long, global = true, value_name = "NAME")]
    pub(crate) discovery_srv_name: Option<String>,
    /// Allows SRV records that promise no TLS.
    #[arg(long, global = true, default_value_t = true, action = ArgAction::Set, num_args = 0..=1,
          require_equals = true, default_missing_value = "true", value_parser = yes_or_no)]
    pub(crate) insecure_discovery: bool,
    /// Says on stderr which endpoints are tried.
    #[arg(long, global = true)]
    pub(crate) debug: bool,
}

/// The whole table, with flags that take `=true` and `=false` as Go's do.
pub(crate) fn command(name: &str) -> Command {
    let name = name.to_owned();
    with_go_flags(CommandLine::command().name(name.clone()).bin_name(name))
}

/// What a line of a transaction may say.
pub(crate) fn operations() -> Command {
    let all = Command::new("txn").no_binary_name(true).disable_help_flag(true).subcommand_required(true);
    with_go_flags(all.subcommands([
        put::Put::augment_args(Command::new("put")),
        get::Get::augment_args(Command::new("get")),
        del::Del::augment_args(Command::new("del")),
    ]))
}

/// Flags that take `=true` and `=false` as Go's do.
pub(crate) fn with_go_flags(command: Command) -> Command {
    let command = command.mut_args(|arg: Arg| {
        if !matches!(arg.get_action(), ArgAction::SetTrue) {
            return arg;
        }
        arg.action(ArgAction::Set)
            .num_args(0..=1)
            .require_equals(true)
            .default_value("false")
            .default_missing_value("true")
            .value_parser(yes_or_no)
            .hide_default_value(true)
            .hide_possible_values(true)
            .value_name("BOOL")
    });
    // Of a flag that is given twice the last one counts; lists grow.
    command.infer_subcommands(true).args_override_self(true).mut_subcommands(with_go_flags)
}

/// Yes and no, as Go reads them.
fn yes_or_no(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(format!("strconv.ParseBool: parsing {text:?}: invalid syntax")),
    }
}

/// A time as Go writes it.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    stdx::parse_duration(text).ok_or_else(|| {
        let is_bare = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
        let what = if is_bare && text.bytes().any(|byte| byte.is_ascii_digit()) {
            "missing unit in"
        } else {
            "invalid"
        };
        format!("time: {what} duration {text:?}")
    })
}

/// A number as Go reads it.
pub(crate) fn number(text: &str) -> Result<i64, String> {
    crate::go::parse_int(text)
}
