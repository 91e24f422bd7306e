//! The command line as data: the flags that every verb knows, and the verbs in groups.

use std::fmt::Write as _;
use std::time::Duration;

use clap::{Arg, ArgAction, Args, Command, CommandFactory as _, Parser};

use crate::verbs::{Verb, del, get, put};

/// The hand tool of Kvorum and etcd.
#[derive(Debug, Parser)]
#[command(
    name = "kvorumctl",
    about = "The hand tool of Kvorum and etcd: etcdctl's verbs, flags and outputs.",
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
    /// The largest request, in bytes.
    #[arg(long, global = true, default_value_t = 2 * 1024 * 1024, value_name = "BYTES")]
    pub(crate) max_request_bytes: usize,
    /// The largest answer, in bytes.
    #[arg(long, global = true, default_value_t = i32::MAX as usize, value_name = "BYTES")]
    pub(crate) max_recv_bytes: usize,
    /// A token that was signed elsewhere, instead of a user.
    #[arg(long, global = true, value_name = "TOKEN")]
    pub(crate) auth_jwt_token: Option<String>,
    /// Which of the contexts is meant; without a value none of them.
    #[arg(long, global = true, value_name = "NAME")]
    pub(crate) context: Option<String>,
    /// Says on stderr which endpoints are tried.
    #[arg(long, global = true)]
    pub(crate) debug: bool,
}

/// The whole table, with flags that take `=true` and `=false` as Go's do.
pub(crate) fn command(name: &str) -> Command {
    let table = CommandLine::command().name(name.to_owned()).bin_name(name.to_owned());
    let help = help(&table, name);
    with_go_flags(table).help_template(help)
}

/// The same for who types: the help of a verb leaves away the flags that every one knows.
pub(crate) fn typed(name: &str) -> Command {
    let more = format!("`{name} options` lists the flags that every verb knows.");
    let table = command(name).mut_args(|arg| if arg.is_global_set() { arg.hide(true) } else { arg });
    table.mut_subcommands(move |verb| with_help(verb, &more))
}

fn with_help(verb: Command, more: &str) -> Command {
    let more_below = more.to_owned();
    verb.help_template(format!(
        "{{about}}\n\n{{usage-heading}} {{usage}}\n\n{{all-args}}{{after-help}}\n\n{more}\n"
    ))
    .mut_subcommands(move |verb| with_help(verb, &more_below))
}

/// The flags that every verb knows, alone.
pub(crate) fn globals(name: &str) -> Command {
    let table = Globals::augment_args(Command::new("options").disable_help_flag(true));
    with_go_flags(table)
        .help_template(format!("Every verb of {name} knows these flags. {VARIABLES}\n\n{{options}}"))
}

const VARIABLES: &str = "Each is a variable too: --endpoints is\nETCDCTL_ENDPOINTS or KVORUMCTL_ENDPOINTS.";

/// Verbs that belong together.
const GROUPS: [(&str, &[&str]); 6] = [
    ("Keys", &["put", "get", "del", "txn", "watch", "compaction", "keys", "export", "import"]),
    ("Leases, locks, elections", &["lease", "lock", "elect"]),
    (
        "The cluster",
        &["member", "endpoint", "top", "doctor", "check", "alarm", "defrag", "move-leader", "downgrade"],
    ),
    ("Copies", &["snapshot", "make-mirror", "migrate"]),
    ("Who may do what", &["auth", "user", "role", "tls"]),
    ("This tool", &["context", "options", "completion", "man", "version"]),
];

const EXAMPLES: &str = "  {name} put greeting hello
  {name} get --prefix users/ -w json
  {name} watch --prefix users/ --rev=42
  {name} endpoint status --cluster -w table
  {name} snapshot save backup.db
  {name} context add prod --endpoints=https://a:2379,https://b:2379";

/// Help on one page: the verbs in groups, and examples.
fn help(table: &Command, name: &str) -> String {
    let about = |verb: &str| {
        let verb = table.get_subcommands().find(|command| command.get_name() == verb);
        verb.and_then(Command::get_about).map(ToString::to_string).unwrap_or_default()
    };
    let mut text = "{about}\n\n{usage-heading} {usage}\n".to_owned();
    let mut rest: Vec<&str> = table.get_subcommands().map(Command::get_name).collect();
    let mut group = |title: &str, verbs: &[&str]| {
        let _ = writeln!(text, "\n{title}:");
        for verb in verbs {
            let _ = writeln!(text, "  {verb:<12} {}", about(verb));
        }
    };
    for (title, verbs) in GROUPS {
        rest.retain(|verb| !verbs.contains(verb));
        group(title, verbs);
    }
    if !rest.is_empty() {
        group("More", &rest);
    }
    let examples = EXAMPLES.replace("{name}", name);
    let _ = writeln!(
        text,
        "\nExamples:\n{examples}\n\n`{name} VERB --help` says more of a verb, `{name} options` lists\nthe flags that every one \
         knows. ETCDCTL_API=2 makes this the tool of v2."
    );
    text
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
