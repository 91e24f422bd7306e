//! From the arguments to the exit status.

use std::collections::BTreeMap;
use std::error::Error as _;
use std::ffi::OsString;
use std::io::{self, IsTerminal as _, Write as _};
use std::path::Path;
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{ArgMatches, FromArgMatches as _};

use crate::command_line::{CommandLine, typed};
use crate::environment;
use crate::failure::{Done, Failure, exit};
use crate::session::Session;
use crate::v2;

/// What the program is given.
#[derive(Debug)]
pub struct World {
    /// The words, the program's name first.
    pub arguments: Vec<String>,
    /// The variables.
    pub environment: BTreeMap<String, String>,
}

/// The flags that were given, by their names.
type Given = BTreeMap<String, String>;

/// The names under which it may be called; under etcdctl's it answers as that.
const NAMES: [&str; 2] = ["kvorumctl", "etcdctl"];

/// Runs one verb.
pub fn run(world: World) -> ExitCode {
    match act(world) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // Nobody is left to be told when stderr is gone.
            let _gone = io::stderr().write_all(colored(&failure.lines()).as_bytes());
            ExitCode::from(failure.status)
        }
    }
}

fn act(world: World) -> Done {
    let called = world.arguments.first().map_or("", String::as_str);
    let called = Path::new(called).file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let name = NAMES.into_iter().find(|name| *name == called).unwrap_or(NAMES[0]);
    if world.environment.get("ETCDCTL_API").is_some_and(|version| version == "2") {
        return v2::act(name, &world);
    }
    let Some((parsed, given)) = parse(name, &world)? else { return Ok(()) };
    run_to_end(async {
        let session = Session::open(name, &parsed.globals, world.environment, given).await?;
        Box::pin(parsed.verb.run(&session)).await
    })
}

/// Runs it on threads of its own.
pub(crate) fn run_to_end(work: impl Future<Output = Done>) -> Done {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::io(format!("no threads: {error}")))?;
    let done = runtime.block_on(work);
    // A thread may still wait for a line on stdin.
    runtime.shutdown_background();
    done
}

/// The command line and the variables as one; nothing when all that was asked for was help.
fn parse(name: &'static str, world: &World) -> Result<Option<(CommandLine, Given)>, Failure> {
    let mut table = typed(name);
    let words: Vec<OsString> = world.arguments.iter().skip(1).map(OsString::from).collect();
    let call = |more: &[String]| -> Vec<OsString> {
        let more = more.iter().map(OsString::from);
        std::iter::once(OsString::from(name)).chain(more).chain(words.iter().cloned()).collect()
    };
    let matches = match table.try_get_matches_from_mut(call(&[])) {
        Ok(matches) => matches,
        Err(error) => return refused(name, &error),
    };
    let mut more = environment::words(&table, &matches, &world.environment)?;
    let given = environment::given(&table, &matches);
    if name == NAMES[0] && !matches!(matches.subcommand_name(), Some("context" | "completion" | "man")) {
        more.extend(environment::of_context(&table, &given, &more, &world.environment)?);
    }
    let matches: ArgMatches = match table.try_get_matches_from_mut(call(&more)) {
        Ok(matches) => matches,
        Err(error) => return refused(name, &error),
    };
    match CommandLine::from_arg_matches(&matches) {
        Ok(parsed) => Ok(Some((parsed, given))),
        Err(error) => refused(name, &error),
    }
}

/// Help goes to stdout; everything else is refused.
fn refused<T>(name: &str, error: &clap::Error) -> Result<Option<T>, Failure> {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            error.print().map_err(|error| Failure::io(error.to_string()))?;
            Ok(None)
        }
        _ => Err(refusal(name, error)),
    }
}

/// A word that cannot be understood gets etcdctl's sentence.
pub(crate) fn refusal(name: &str, error: &clap::Error) -> Failure {
    let context = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => text.clone(),
        Some(ContextValue::Strings(texts)) => texts.join(" "),
        _ => String::new(),
    };
    let argument = context(ContextKind::InvalidArg);
    let text = match error.kind() {
        ErrorKind::UnknownArgument => match argument.strip_prefix('-') {
            Some(rest) if rest.starts_with('-') => format!("unknown flag: {argument}"),
            Some(rest) => {
                format!("unknown shorthand flag: '{}' in -{rest}", rest.chars().next().unwrap_or('-'))
            }
            None => format!("unexpected argument {argument:?}"),
        },
        ErrorKind::InvalidSubcommand => {
            format!("unknown command {:?} for {name:?}", context(ContextKind::InvalidSubcommand))
        }
        ErrorKind::ValueValidation | ErrorKind::InvalidValue => {
            let flag = argument.split([' ', '=', '[']).next().unwrap_or_default();
            let reason = error.source().map(|reason| format!(": {reason}")).unwrap_or_default();
            format!("invalid argument {:?} for {flag:?} flag{reason}", context(ContextKind::InvalidValue))
        }
        _ => error.to_string().lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned(),
    };
    let hint = match context(ContextKind::SuggestedArg) + &context(ContextKind::SuggestedSubcommand) {
        known if known.is_empty() => format!("hint: {name} --help lists the verbs and flags"),
        known => format!("hint: did you mean {known}?"),
    };
    Failure { status: exit::ERROR, text: Some(text), details: vec![hint] }
}

/// Errors in red and hints in blue, where somebody looks who wants that.
fn colored(lines: &str) -> String {
    let wanted = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    if !wanted {
        return lines.to_owned();
    }
    let paint = |line: &str| match line.split_once(": ") {
        Some(("Error", rest)) => format!("\x1b[1;31mError:\x1b[0m {rest}\n"),
        Some(("hint", rest)) => format!("\x1b[36mhint:\x1b[0m {rest}\n"),
        _ => format!("{line}\n"),
    };
    lines.lines().map(paint).collect()
}
