//! The command line through its public surface, as tables: words and variables in, settings or a text out.

use bootstrap::Source;
use kvorum::command_line::{CommandLineError, Wish, parse};
use kvorum::config::{Config, InitialState};
use kvorum::flags::{Effect, Flag};
use kvorum::settings::{Notice, Origin, Settings};

fn read(line: &str, environment: &[(&str, &str)]) -> Result<Wish, CommandLineError> {
    let variables = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    parse(line.split_whitespace().map(str::to_owned), variables)
}

fn settings(line: &str, environment: &[(&str, &str)]) -> Settings {
    match read(line, environment) {
        Ok(Wish::Run(settings)) => settings,
        other => panic!("{line}: {other:?}"),
    }
}

fn config(line: &str) -> Result<Config, String> {
    Config::read(&settings(line, &[])).map_err(|error| error.to_string())
}

#[test]
fn one_dash_or_two_attached_or_not() {
    for line in ["-name x", "--name x", "-name=x", "--name=x", "--name a --name x", "--name x --"] {
        assert_eq!(settings(line, &[]).value("name"), "x", "{line}");
    }
    assert_eq!(settings("--name=a=b", &[]).value("name"), "a=b");
    assert_eq!(settings("--name --version", &[]).value("name"), "--version", "a value may look like a flag");
}

#[test]
fn bools_never_take_the_next_word() {
    for (word, expect) in
        [("1", true), ("t", true), ("TRUE", true), ("0", false), ("f", false), ("False", false)]
    {
        assert_eq!(config(&format!("--enable-v2={word}")).expect(word).enable_v2, expect, "{word}");
    }
    assert!(config("--enable-v2").expect("a bool alone is true").enable_v2);
    let bridged = |line| config(line).map(|config| config.v2_bridge_prefix).map_err(|error| error.clone());
    assert_eq!(bridged(""), Ok(None));
    assert_eq!(bridged("--v2-bridge-prefix /v2/"), Ok(Some("/v2/".to_owned())));
    let refused = bridged("--v2-bridge-prefix /v2/ --enable-v2=false");
    assert!(refused.is_err_and(|error| error.contains("--v2-bridge-prefix requires --enable-v2")));
    assert!(config("").expect("the default").enable_v2);
    check_verify("--enable-v2 false", &[], "\"false\" is not a valid flag");
}

#[test]
fn numbers_are_gos() {
    for (word, expect) in [("7", 7), ("0x10", 16), ("0b11", 3), ("0o17", 15), ("017", 15), ("0", 0)] {
        assert_eq!(
            config(&format!("--max-txn-ops={word}")).expect(word).limits.txn_ops_max,
            expect,
            "{word}"
        );
    }
    for word in ["x", "-1", "+1", "1.5", "", "0x", "99999999999999999999"] {
        let text = format!("invalid value {word:?} for flag -max-txn-ops: parse error");
        check_usage(&format!("--max-txn-ops={word}"), &text);
    }
    assert_eq!(settings("--quota-backend-bytes=-1", &[]).value("quota-backend-bytes"), "-1");
}

#[test]
fn wishes() {
    assert_eq!(read("--version", &[]), Ok(Wish::Version));
    assert_eq!(read("-version=true --name x", &[("ETCD_NAME", "conflict")]), Ok(Wish::Version));
    assert!(matches!(read("--version=false", &[]), Ok(Wish::Run(_))));
    for line in ["--help", "-h", "-help", "--name x -h --nosuch"] {
        assert_eq!(read(line, &[]), Ok(Wish::Help), "{line}");
    }
    check_verify("--version foo", &[], "\"foo\" is not a valid flag");
}

#[test]
fn wrong_words_are_refused_in_gos_text() {
    check_usage("--nosuch", "flag provided but not defined: -nosuch");
    check_usage("--nosuch=1 --version", "flag provided but not defined: -nosuch");
    check_usage("--name", "flag needs an argument: -name");
    check_usage("---x", "bad flag syntax: ---x");
    check_usage("--=x", "bad flag syntax: --=x");
    check_usage("--enable-v2=maybe", "invalid boolean value \"maybe\" for -enable-v2: parse error");
    check_usage(
        "--initial-cluster-state=x",
        "invalid value \"x\" for flag -initial-cluster-state: invalid value",
    );
    check_usage("--log-level=trace", "invalid value \"trace\" for flag -log-level: invalid value");
    check_usage(
        "--listen-client-urls=ftp://1.1.1.1:1",
        "invalid value \"ftp://1.1.1.1:1\" for flag -listen-client-urls: \
         URL scheme must be http, https, unix, or unixs: ftp://1.1.1.1:1",
    );
    for word in ["foo", "-", "-- --name"] {
        let last = word.rsplit(' ').next().unwrap_or_default();
        check_verify(word, &[], &format!("{last:?} is not a valid flag"));
    }
}

#[test]
fn variables_set_what_flags_do_not() {
    let read =
        settings("--name x", &[("ETCD_DATA_DIR", "/d"), ("ETCD_ENABLE_V2", "false"), ("ETCD_LOG_LEVEL", "")]);
    assert_eq!(
        (read.value("data-dir"), read.value("enable-v2"), read.value("log-level")),
        ("/d", "false", "info")
    );
    let used = |name: &str, value: &str| Notice::VariableUsed { name: name.into(), value: value.into() };
    assert_eq!(read.notices, [used("ETCD_DATA_DIR", "/d"), used("ETCD_ENABLE_V2", "false")]);
}

#[test]
fn every_flag_has_a_variable_and_a_default_that_it_accepts() {
    for flag in Flag::all() {
        let variable = flag.variable();
        assert!(variable.starts_with("ETCD_") && !variable.contains(['-', ' ']), "{variable}");
        let given = [(variable.as_str(), flag.default)];
        let read = settings("", &given);
        assert_eq!(read.value(flag.name), flag.default);
        assert_eq!(read.is_given(flag.name), !flag.default.is_empty(), "{variable}");
    }
    assert!(
        Flag::named("initial-cluster-state")
            .is_some_and(|flag| flag.variable() == "ETCD_INITIAL_CLUSTER_STATE")
    );
}

#[test]
fn a_flag_counts_before_its_variable_and_says_so_where_they_differ() {
    for (value, notices) in [("x", 0), ("", 0), ("y", 1)] {
        let read = settings("--name x", &[("ETCD_NAME", value)]);
        assert_eq!((read.value("name"), read.notices.len()), ("x", notices), "{value}");
    }
    let loser = Origin::Variable("ETCD_NAME".to_owned());
    let overruled = Notice::Overruled { name: "name", loser, winner: Origin::Flag };
    assert_eq!(settings("--name x", &[("ETCD_NAME", "y")]).notices, [overruled]);
    check_verify(
        "",
        &[("ETCD_HEARTBEAT_INTERVAL", "x")],
        "invalid value \"x\" for ETCD_HEARTBEAT_INTERVAL: parse error",
    );
}

#[test]
fn older_names_are_the_newer_ones() {
    let read = settings("--experimental-corrupt-check-time 1m", &[]);
    assert_eq!(read.value("corrupt-check-time"), "1m");
    let (name, newer) = ("experimental-corrupt-check-time", "corrupt-check-time");
    assert_eq!(read.notices, [Notice::OlderName { name, newer }]);
    // Who counts more is heard, by whichever name.
    let read = settings("--corrupt-check-time 2m", &[("ETCD_EXPERIMENTAL_CORRUPT_CHECK_TIME", "1m")]);
    assert_eq!(read.value("corrupt-check-time"), "2m");
    let read = settings("--experimental-corrupt-check-time 2m", &[("ETCD_CORRUPT_CHECK_TIME", "1m")]);
    assert_eq!(read.value("corrupt-check-time"), "2m");
    for flag in Flag::all() {
        let Effect::Older(newer) = flag.effect else { continue };
        let newer = Flag::named(newer).expect("the newer one is there");
        assert_eq!((flag.kind, flag.default), (newer.kind, newer.default), "{}", flag.name);
    }
    let read = settings("--debug", &[]);
    assert_eq!(Config::read(&read).expect("right").log.level, telemetry::LogLevel::Debug);
}

#[test]
fn what_could_do_harm_in_silence_is_refused() {
    for (line, words) in [
        ("--discovery-endpoints=http://h:1", "--discovery-endpoints is not offered: members do not find"),
        ("--experimental-enable-v2v3=/v2", "--experimental-enable-v2v3 is not offered: v2 on v3's keys is"),
    ] {
        let refused = config(line).expect_err(line);
        assert!(refused.starts_with(words), "{refused}");
    }
}

#[test]
fn sizes_and_times_may_have_units() {
    let read =
        config("--max-request-bytes=2MiB --heartbeat-interval=50ms --election-timeout=1s").expect("right");
    assert_eq!(read.limits.request_bytes_max, 2 << 20);
    assert_eq!((read.heartbeat.as_millis(), read.election.as_millis()), (50, 1000));
    let read = config("--auth-token-ttl=5m --experimental-corrupt-check-time=1d").expect("right");
    assert_eq!(
        (read.auth_token_ttl.as_secs(), read.corrupt_check_every.map(|every| every.as_secs())),
        (300, Some(86_400))
    );
}

#[test]
fn the_log_is_what_the_flags_say() {
    let read = config("--log-format=console --log-outputs=stdout,systemd/journal").expect("right").log;
    assert_eq!(read.format, telemetry::LogFormat::Console);
    assert_eq!(read.outputs, [telemetry::LogOutput::Stdout, telemetry::LogOutput::Journal]);
    let read = config("--enable-log-rotation --log-outputs=/a.log").expect("right").log;
    assert_eq!(read.rotation.map(|rotation| rotation.file_bytes_max), Some(100 << 20));
    let refused = config("--enable-log-rotation").expect_err("it goes to no file");
    assert!(refused.starts_with("--log-outputs requires a single file path"), "{refused}");
    let line = "--enable-log-rotation --log-outputs=/a.log --log-rotation-config-json={\"x\":1}";
    assert!(config(line).is_err_and(|error| error.contains("unknown key \"x\"")));
}

#[test]
fn what_has_no_effect_is_told() {
    let read = settings(
        "--snapshot-count 5 --snapshot-count 6 --v=2 -force",
        &[("ETCD_NOSUCH", "1"), ("OTHER", "2")],
    );
    assert_eq!(read.notices.len(), 4);
    assert!(matches!(read.notices[0], Notice::FlagIgnored { name: "snapshot-count", .. }));
    let forgotten = |name| Notice::FlagForgotten { name };
    assert_eq!(read.notices[1..3], [forgotten("v"), forgotten("force")]);
    assert_eq!(read.notices[3], Notice::VariableUnknown { name: "ETCD_NOSUCH".into() });
}

#[test]
fn defaults_make_etcds_single_member() {
    let config = config("").expect("the defaults are good");
    assert_eq!((config.name.as_str(), config.data_dir.to_str()), ("default", Some("default.etcd")));
    assert_eq!((config.limits.request_bytes_max, config.limits.txn_ops_max), (1_572_864, 128));
    assert_eq!((config.heartbeat.as_millis(), config.election.as_millis()), (100, 1000));
    assert_eq!((config.token.as_str(), config.initial_state), ("etcd-cluster", InitialState::New));
    assert_eq!(config.listen_client_urls[0].to_string(), "http://localhost:2379");
    assert_eq!(config.initial, Source::Alone);
    assert!(config.pre_vote && config.strict_reconfiguration && !config.force_new_cluster);
}

#[test]
fn settings_that_do_not_go_together_are_refused_in_etcds_text() {
    let table = [
        (
            "--listen-client-urls=http://127.0.0.1:1",
            "--advertise-client-urls is required when --listen-client-urls is set explicitly",
        ),
        ("--listen-peer-urls=http://example.com:1", "expected IP in URL for binding (http://example.com:1)"),
        (
            "--initial-advertise-peer-urls=http://:9999",
            "--initial-advertise-peer-urls \"http://:9999\" must be \"host:port\" (unexpected empty host (http://:9999))",
        ),
        ("--heartbeat-interval=0", "--heartbeat-interval must be >0 (set to 0ms)"),
        (
            "--election-timeout=100",
            "--election-timeout[100ms] should be at least as 5 times as --heartbeat-interval[100ms]",
        ),
        (
            "--election-timeout=50001",
            "--election-timeout[50001ms] is too long, and should be set less than 50000ms",
        ),
        ("--log-outputs=default,stderr", "multi logoutput for \"default\" is not supported yet"),
        (
            "--listen-peer-urls=unixs:///x",
            "--listen-peer-urls has unixs:///x: this version of Kvorum speaks over TCP only; give an http or https URL",
        ),
        ("--tls-min-version=TLS1.1", "unexpected TLS version \"TLS1.1\""),
        (
            "--tls-min-version=TLS1.3 --tls-max-version=TLS1.2",
            "min version (TLS1.3) is greater than max version (TLS1.2)",
        ),
        (
            "--tls-min-version=TLS1.3 --cipher-suites TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
            "cipher suites cannot be configured when only TLS1.3 is enabled",
        ),
        (
            "--peer-cert-allowed-cn a --peer-cert-allowed-hostname b",
            "AllowedCN and AllowedHostname are mutually exclusive (cn=\"a\", hostname=\"b\")",
        ),
    ];
    for (line, text) in table {
        assert_eq!(config(line).map(|_| ()), Err(text.to_owned()), "{line}");
    }
}

#[test]
fn the_first_members_are_written_down_in_one_place() {
    let table = [
        ("", Ok(Source::Alone)),
        ("--initial-cluster a=http://h:1", Ok(Source::List("a=http://h:1".to_owned()))),
        ("--discovery http://h:1/x", Ok(Source::Discovery("http://h:1/x".to_owned()))),
        (
            "--discovery-srv example.com --discovery-srv-name blue",
            Ok(Source::Srv { domain: "example.com".to_owned(), suffix: "blue".to_owned() }),
        ),
        (
            "--discovery-srv example.com --initial-cluster a=http://h:1",
            Err(
                "multiple discovery or bootstrap flags are set. Choose one of \"initial-cluster\", \"discovery\" or \
                 \"discovery-srv\"",
            ),
        ),
        (
            "--discovery http://h:1/x --discovery-proxy http://h:2",
            Err(
                "--discovery-proxy is not offered by Kvorum: give a --discovery URL that this member can reach itself",
            ),
        ),
        (
            "--proxy on",
            Err(
                "--proxy=on is not offered: the v2 proxy is gone, as in etcd since 3.6; clients can use the members' own \
                 URLs",
            ),
        ),
    ];
    for (line, expect) in table {
        let initial = config(line).map(|config| config.initial);
        assert_eq!(initial, expect.map_err(str::to_owned), "{line}");
    }
}

#[test]
fn times_are_gos() {
    for (word, expect_ms) in [
        ("0", None),
        ("0s", None),
        ("90s", Some(90_000)),
        ("1h30m", Some(5_400_000)),
        ("1.5s", Some(1500)),
        ("2ms", Some(2)),
    ] {
        let config = config(&format!("--experimental-corrupt-check-time={word}")).expect(word);
        assert_eq!(config.corrupt_check_every.map(|every| every.as_millis()), expect_ms, "{word}");
    }
    for word in ["x", "5", "-1s", "", "s"] {
        let text = format!("invalid value {word:?} for flag -corrupt-check-time: parse error");
        check_usage(&format!("--corrupt-check-time={word}"), &text);
    }
    let both = config("--corrupt-check-time 1s --experimental-corrupt-check-time 1s").expect_err("two names");
    assert!(
        both.starts_with("cannot set --experimental-corrupt-check-time and --corrupt-check-time"),
        "{both}"
    );
}

fn check_usage(line: &str, text: &str) {
    assert_eq!(read(line, &[]), Err(CommandLineError::Usage(text.to_owned())), "{line}");
}

fn check_verify(line: &str, environment: &[(&str, &str)], text: &str) {
    assert_eq!(read(line, environment), Err(CommandLineError::Verify(text.to_owned())), "{line}");
}

#[test]
fn feature_gates_are_the_newer_names_of_flags() {
    let gated = |gates: &str| config(&format!("--feature-gates={gates}"));
    assert!(gated("LeaseCheckpoint=true,LeaseCheckpointPersist=true").expect("both").lease_checkpoints);
    assert!(!gated("LeaseCheckpoint=false").expect("shut").lease_checkpoints);
    assert!(gated("InitialCorruptCheck=true").expect("one").corrupt_check_at_start);
    assert_eq!(
        gated("LeaseCheckpointPersist=true").expect_err("half"),
        "enabling feature gate LeaseCheckpointPersist requires enabling feature gate LeaseCheckpoint"
    );
    let both = "--feature-gates=LeaseCheckpoint=true --experimental-enable-lease-checkpoint=false";
    assert_eq!(
        config(both).expect_err("two names"),
        "cannot specify both flags: --experimental-enable-lease-checkpoint=false and \
         --feature-gates=LeaseCheckpoint=true at the same time, please just use --feature-gates=LeaseCheckpoint=true"
    );
    let text = "invalid value \"Nope=true\" for flag -feature-gates: unrecognized feature gate: Nope";
    check_usage("--feature-gates=Nope=true", text);
    let given = settings("", &[("ETCD_FEATURE_GATES", "LeaseCheckpoint=true")]);
    assert!(Config::read(&given).expect("a variable").lease_checkpoints);
}
