//! The command line, as data.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use clap::builder::PossibleValuesParser;
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};

use crate::compare::Settings;
use crate::load::{CONNECTIONS, Plan, Until};
use crate::stream::{SCENARIOS, Scenario, Target};
use crate::workload::{Kind, Shape};

/// What the program was asked to do.
pub(crate) enum Verb {
    /// One run of the load generator.
    Load {
        /// The run.
        plan: Plan,
        /// Whether the keys that the workload wants to find are written first.
        prepare: bool,
        /// The file for the result; standard output when there is none.
        out: Option<String>,
    },
    /// One scenario with streams.
    Stream {
        /// What is done.
        scenario: Scenario,
        /// The server.
        target: Target,
        /// Counts are divided by this.
        scale: u64,
        /// Whether what it wants to find is written first.
        prepare: bool,
        /// The file for the result; standard output when there is none.
        out: Option<String>,
    },
    /// Servers side by side.
    Compare(Settings),
}

/// Reads the command line of this process; help and mistakes end it here.
pub(crate) fn parse() -> Result<Verb> {
    let matches = command().get_matches();
    match matches.subcommand() {
        Some(("load", matches)) => load(matches),
        Some(("stream", matches)) => stream(matches),
        Some(("compare", matches)) => compare(matches).map(Verb::Compare),
        _ => bail!("a verb is required, see --help"),
    }
}

fn command() -> Command {
    Command::new("bench")
        .about("Load and comparison benchmarks for etcd's API")
        .subcommand_required(true)
        .subcommand(load_command())
        .subcommand(stream_command())
        .subcommand(compare_command())
}

fn number(name: &'static str, default: &'static str, help: &'static str) -> Arg {
    Arg::new(name)
        .long(name)
        .value_name("N")
        .default_value(default)
        .value_parser(value_parser!(u64))
        .help(help)
}

fn seconds(name: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).value_name("SECONDS").value_parser(value_parser!(f64)).help(help)
}

fn flag(name: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).action(ArgAction::SetTrue).help(help)
}

fn text(name: &'static str, value: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).value_name(value).help(help)
}

fn load_command() -> Command {
    let workloads = PossibleValuesParser::new(Kind::ALL.map(|(name, _)| name));
    Command::new("load")
        .about("Puts load on one server; the result is JSON")
        .arg(Arg::new("workload").required(true).value_parser(workloads))
        .arg(
            text("endpoint", "HOST:PORT", "The servers' client addresses; connections take them in turn")
                .default_value("127.0.0.1:2379"),
        )
        .arg(number("clients", "64", "Concurrent callers"))
        .arg(
            Arg::new("conns")
                .long("conns")
                .value_name("N")
                .value_parser(value_parser!(u64))
                .help("Connections that share them [default: 8 or fewer; HTTP/1.1: one for each client]"),
        )
        .arg(Arg::new("rate").long("rate").value_name("PER_SECOND").value_parser(value_parser!(f64)).help(
            "Open loop: calls start at this rate, and latency counts from the moment they ought to start",
        ))
        .arg(seconds("duration", "Measured time [default: 10]").conflicts_with("total"))
        .arg(seconds("warm-up", "Load before it, which is not counted").default_value("1"))
        .arg(
            Arg::new("total")
                .long("total")
                .value_name("CALLS")
                .value_parser(value_parser!(u64))
                .help("End after so many calls, without warm-up"),
        )
        .arg(number("keys", "10000", "Different keys; of a range or fill: all of them"))
        .arg(number("key-size", "8", "Bytes of a key"))
        .arg(number("value-size", "256", "Bytes of a value"))
        .arg(number("seed", "1", "Start of the random numbers"))
        .arg(
            Arg::new("server-pid")
                .long("server-pid")
                .value_name("PID")
                .value_delimiter(',')
                .value_parser(value_parser!(u32))
                .help("Count the processor time of these processes"),
        )
        .arg(flag("no-prepare", "The keys that the workload reads are there already"))
        .arg(flag("quiet", "No live line"))
        .arg(text("out", "FILE", "Where the result goes instead of standard output"))
}

fn stream_command() -> Command {
    let names = PossibleValuesParser::new(SCENARIOS.map(|entry| entry.name));
    Command::new("stream")
        .about("One scenario with watches, leases or a large answer on one fresh server; the result is JSON")
        .arg(Arg::new("scenario").required(true).value_parser(names))
        .arg(text("endpoint", "HOST:PORT", "The server's client address").default_value("127.0.0.1:2379"))
        .arg(
            Arg::new("server-pid")
                .long("server-pid")
                .value_name("PID")
                .required(true)
                .value_parser(value_parser!(u32))
                .help("Its process, whose processor time and memory are counted"),
        )
        .arg(scale())
        .arg(flag("no-prepare", "What the scenario wants to find is there already"))
        .arg(text("out", "FILE", "Where the result goes instead of standard output"))
}

fn scale() -> Arg {
    number("scale", "1", "Divides the counts of the scenarios with streams, for a look")
        .value_parser(value_parser!(u64).range(1..=1000))
}

fn stream(matches: &ArgMatches) -> Result<Verb> {
    let word = |name: &str| matches.get_one::<String>(name).cloned();
    let scenario = word("scenario").and_then(|name| Scenario::named(&name)).context("an unknown scenario")?;
    let target = Target {
        authority: word("endpoint").unwrap_or_default(),
        pid: matches.get_one::<u32>("server-pid").copied().context("--server-pid is required")?,
    };
    let scale = matches.get_one::<u64>("scale").copied().unwrap_or(1);
    Ok(Verb::Stream { scenario, target, scale, prepare: !matches.get_flag("no-prepare"), out: word("out") })
}

fn list(matches: &ArgMatches, name: &str) -> Vec<String> {
    let names = matches.get_one::<String>(name).map_or("", String::as_str);
    names.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

fn load(matches: &ArgMatches) -> Result<Verb> {
    let number = |name: &str| matches.get_one::<u64>(name).copied();
    let count = |name: &str| number(name).and_then(|value| usize::try_from(value).ok()).unwrap_or(0);
    let real = |name: &str| matches.get_one::<f64>(name).copied();
    let word = |name: &str| matches.get_one::<String>(name).cloned();
    let kind = word("workload").and_then(|name| Kind::named(&name)).context("an unknown workload")?;
    let shape = Shape {
        kind,
        keys: number("keys").unwrap_or(0),
        key_bytes: count("key-size"),
        value_bytes: count("value-size"),
        clients: count("clients"),
        seed: number("seed").unwrap_or(1),
        endpoints: list(matches, "endpoint"),
    };
    check(&shape)?;
    let rate = real("rate");
    ensure!(
        rate.is_none_or(|rate| rate > 0.0 && rate <= 10e6),
        "--rate must be above zero, at most ten million"
    );
    let span = |name: &str, default: f64| {
        Duration::try_from_secs_f64(real(name).unwrap_or(default)).with_context(|| format!("a bad --{name}"))
    };
    let until = match number("total") {
        Some(calls) => Until::Calls(calls),
        None if kind.is_fill() => {
            ensure!(
                real("duration").is_none(),
                "a fill ends when all its keys are written: --duration means nothing"
            );
            Until::Calls(u64::MAX)
        }
        None => Until::Elapsed { warm_up: span("warm-up", 1.0)?, measured: span("duration", 10.0)? },
    };
    let plan = Plan {
        connections: number("conns").map_or(CONNECTIONS, |conns| conns as usize),
        shape,
        rate,
        until,
        live: !matches.get_flag("quiet"),
        token: None,
        server_pids: matches.get_many("server-pid").map(|pids| pids.copied().collect()).unwrap_or_default(),
    };
    Ok(Verb::Load { plan, prepare: !matches.get_flag("no-prepare"), out: word("out") })
}

fn check(shape: &Shape) -> Result<()> {
    ensure!((2..=4096).contains(&shape.key_bytes), "--key-size must be 2 to 4096: a letter and digits");
    let digits = u32::try_from(shape.key_bytes - 1).unwrap_or(19).min(19);
    ensure!((1..=10u64.pow(digits)).contains(&shape.keys), "--key-size has no room for so many keys");
    ensure!(shape.value_bytes <= 48 << 10, "--value-size may be 48 KiB at most");
    ensure!((1..=20_000).contains(&shape.clients), "--clients must be 1 to 20000");
    ensure!(
        shape.kind != Kind::Fill || (shape.value_bytes + shape.key_bytes + 32) * 128 < 64 << 10,
        "a fill puts 128 keys into one request, which must stay below 64 KiB: use smaller values"
    );
    Ok(())
}

fn compare_command() -> Command {
    Command::new("compare")
        .about("Runs etcd 3.4, etcd 3.5 and kvorum, alone or as clusters, one after the other with the same load")
        .arg(flag("quick", "Two seconds for each point, one round"))
        .arg(
            text("systems", "NAMES", "Which of kvorum, etcd34, etcd35")
                .default_value("kvorum,etcd34,etcd35"),
        )
        .arg(text("media", "NAMES", "Which of tmpfs, disk").default_value("tmpfs,disk"))
        .arg(text("only", "GROUPS", "Which of put, read, txn, json, v2, million, watch, lag, lease, expiry, idle, bulk, v2-wait, v2-expiry, auth; of clusters: put, read, slow, join [default: all]"))
        .arg(
            number("cluster", "1", "Members of each cluster; 1 compares servers alone")
                .value_parser(value_parser!(u64).range(1..=7)),
        )
        .arg(text("at", "PLACES", "Clients of a cluster: all at the leader, or spread over it [default: leader,spread]"))
        .arg(text("kvorum", "PATH", "The kvorum program [default: beside this program]"))
        .arg(text("dir", "FOLDER", "A folder on the real disk").default_value("/var/tmp"))
        .arg(
            Arg::new("rounds")
                .long("rounds")
                .value_name("N")
                .value_parser(value_parser!(u64).range(1..=99))
                .help("How often everything is repeated; the table shows medians [default: 3, quick 1]"),
        )
        .arg(seconds("duration", "Measured time of each point [default: 5, quick 2]"))
        .arg(number("million", "1000000", "Keys of the case with many keys"))
        .arg(scale())
        .arg(text("results", "FOLDER", "Where the result files go").default_value("bench/results"))
        .arg(text("label", "NAME", "The profile's name in the file names [default: full or quick, clusterN-full …]"))
}

fn compare(matches: &ArgMatches) -> Result<Settings> {
    let word = |name: &str| matches.get_one::<String>(name).cloned();
    let quick = matches.get_flag("quick");
    let measured = matches.get_one::<f64>("duration").copied().unwrap_or(if quick { 2.0 } else { 5.0 });
    let million = matches.get_one::<u64>("million").copied().unwrap_or(1_000_000);
    ensure!((1000..=10_000_000).contains(&million), "--million must be 1000 to 10000000");
    let members = matches.get_one::<u64>("cluster").map_or(1, |&members| members as usize);
    let thorough = if quick { "quick" } else { "full" };
    let profile = if members == 1 { thorough.to_owned() } else { format!("cluster{members}-{thorough}") };
    Ok(Settings {
        profile: word("label").unwrap_or(profile),
        systems: list(matches, "systems"),
        media: list(matches, "media"),
        groups: list(matches, "only"),
        members,
        places: list(matches, "at"),
        kvorum: word("kvorum").map(PathBuf::from),
        disk: PathBuf::from(word("dir").unwrap_or_default()),
        rounds: matches.get_one::<u64>("rounds").copied().unwrap_or(if quick { 1 } else { 3 }),
        measured: Duration::try_from_secs_f64(measured).context("a bad --duration")?,
        million,
        scale: matches.get_one::<u64>("scale").copied().unwrap_or(1),
        results: PathBuf::from(word("results").unwrap_or_default()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_flags_is_consistent() {
        command().debug_assert();
    }

    #[test]
    fn a_fill_ends_by_itself_unless_told_otherwise() {
        let until = |args: &[&str]| {
            let matches = load_command().try_get_matches_from(args).expect("good flags");
            match load(&matches).expect("a good plan") {
                Verb::Load { plan, .. } => plan.until,
                Verb::Compare(_) | Verb::Stream { .. } => unreachable!("the verb was load"),
            }
        };
        assert!(matches!(until(&["load", "fill"]), Until::Calls(u64::MAX)));
        assert!(matches!(until(&["load", "put", "--total", "5"]), Until::Calls(5)));
        assert!(matches!(until(&["load", "put"]), Until::Elapsed { .. }));
    }
}
