//! `--config-file` and `kvorum config`, as tables: texts of files in, settings, answers or a refusal out.

use kvorum::command_line::{Wish, parse};
use kvorum::config::Config;
use kvorum::config_command::{Answer, run};
use kvorum::settings::{Origin, Settings};

/// etcd's own sample, of 3.4, with the values of a member.
const SAMPLE: &str = include_str!("etcd.conf.yml");

fn settings(line: &str, path: &str, text: &str) -> Result<Settings, String> {
    let words = line.split_whitespace().map(str::to_owned);
    let Ok(Wish::Run(mut settings)) = parse(words, []) else { panic!("{line} is no member") };
    settings.take_file(path, text).map_err(|error| error.to_string()).map(|()| settings)
}

fn refusal(text: &str) -> String {
    settings("", "a.yml", text).expect_err("it is wrong")
}

#[test]
fn etcds_sample_makes_a_member() {
    let read = settings("", "etcd.conf.yml", SAMPLE).expect("it is right");
    let config = Config::read(&read).expect("it can be run");
    assert_eq!((config.name.as_str(), config.data_dir.to_str()), ("infra0", Some("/var/lib/etcd")));
    assert_eq!(config.listen_client_urls.len(), 2);
    assert_eq!((config.heartbeat.as_millis(), config.election.as_millis()), (100, 1000));
    assert_eq!(read.value("auto-compaction-retention"), "1");
    assert_eq!(
        read.value("cipher-suites"),
        "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384"
    );
    assert_eq!(read.value("peer-cert-allowed-cn"), "members");
    let origin =
        Origin::File { path: "etcd.conf.yml".into(), key: "peer-transport-security.allowed-cn".into() };
    assert_eq!(*read.origin("peer-cert-allowed-cn"), origin);
    assert_eq!(*read.origin("wal-dir"), Origin::Default, "a key without a value says nothing");
}

#[test]
fn numbers_for_times_are_nanoseconds_and_words_have_units() {
    for (value, expect_s) in [("7200000000000", 7200), ("2h", 7200), ("'1d'", 86_400)] {
        let read = settings("", "a.yml", &format!("grpc-keepalive-interval: {value}")).expect("right");
        assert_eq!(Config::read(&read).expect("right").doors.ping_after.as_secs(), expect_s, "{value}");
    }
}

#[test]
fn toml_says_the_same() {
    let text = "name = \"a\"\nheartbeat-interval = 50\nlisten-client-urls = [\"http://127.0.0.1:1\", \"http://127.0.0.1:2\"]\n\
                max-request-bytes = \"2MiB\"\n[client-transport-security]\nclient-cert-auth = true\n";
    // By its name, and by its look.
    for path in ["a.toml", "kvorum.conf"] {
        let read = settings("", path, text).expect("right");
        let config = Config::read(&read).expect("right");
        assert_eq!((config.name.as_str(), config.heartbeat.as_millis()), ("a", 50), "{path}");
        assert_eq!((config.listen_client_urls.len(), read.value("client-cert-auth")), (2, "true"), "{path}");
    }
}

#[test]
fn flags_and_variables_count_before_the_file() {
    let words = ["--name=flag".to_owned()];
    let variables = [("ETCD_DATA_DIR".to_owned(), "/variable".to_owned())];
    let Ok(Wish::Run(mut read)) = parse(words, variables) else { panic!("it is a member") };
    read.take_file("a.yml", "name: file\ndata-dir: /file\ninitial-cluster-token: file\n").expect("right");
    let values = ["name", "data-dir", "initial-cluster-token", "log-level"].map(|name| read.value(name));
    assert_eq!(values, ["flag", "/variable", "file", "info"]);
    // What etcd wants beside --listen-client-urls it does not want in a file.
    let read = settings("", "a.yml", "listen-client-urls: http://127.0.0.1:1").expect("right");
    assert!(Config::read(&read).is_ok());
}

#[test]
fn an_unknown_key_is_refused_with_the_nearest_one() {
    for (text, expect) in [
        (
            "listen-clients-urls: x",
            "unknown key \"listen-clients-urls\" in a.yml: did you mean \"listen-client-urls\"?",
        ),
        ("data_dir: x", "unknown key \"data_dir\" in a.yml: did you mean \"data-dir\"?"),
        ("zzz: x", "unknown key \"zzz\" in a.yml"),
        (
            "peer-transport-security: {certfile: x}",
            "unknown key \"peer-transport-security.certfile\" in a.yml: did you mean \"cert-file\"?",
        ),
        ("election-timeout: soon", "invalid value \"soon\" for election-timeout in a.yml: parse error"),
        (
            "name: {a: 1}",
            "invalid value \"Mapping {\\\"a\\\": Number(1)}\" for name in a.yml: not a single value",
        ),
        ("- a\n- b", "cannot read a.yml as YAML: it is not a list of keys with values"),
    ] {
        assert_eq!(refusal(text), expect);
    }
    assert!(refusal("a: [").starts_with("cannot read a.yml as YAML: "));
    assert!(
        settings("", "a.toml", "a = ").is_err_and(|error| error.starts_with("cannot read a.toml as TOML: "))
    );
    for nothing in ["", "# nothing\n", "name:\n"] {
        settings("", "a.yml", nothing).expect("nothing is right");
    }
    let Ok(Wish::Run(mut read)) = parse(["--config-file=/nope.yml".to_owned()], []) else {
        panic!("a member")
    };
    let refused = read.read_file().expect_err("it is not there").to_string();
    assert_eq!(refused, "open /nope.yml: no such file or directory");
}

fn config_command(line: &str, variables: &[(&str, &str)]) -> Answer {
    let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
    let variables: Vec<(String, String)> =
        variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    run(&words, &variables)
}

#[test]
fn config_show_says_where_each_value_comes_from() {
    let folder = tempfile::tempdir().expect("a folder for the test");
    let path = folder.path().join("a.yml");
    std::fs::write(&path, "initial-cluster-token: t\nheartbeat-interval: 50\n").expect("written");
    let line = format!("show --origin --name=a --config-file={}", path.display());
    let Answer { text, complaint, status } = config_command(&line, &[("ETCD_DATA_DIR", "/d")]);
    assert_eq!((complaint.as_str(), status), ("", 0));
    let origin = |name: &str| {
        let line = text.lines().find(|line| line.starts_with(&format!("{name}: "))).expect(name);
        line.split_once(" # ").map_or_else(String::new, |(_, origin)| origin.to_owned())
    };
    assert_eq!(["name", "data-dir", "log-level"].map(origin), ["flag", "variable ETCD_DATA_DIR", "default"]);
    assert_eq!(origin("heartbeat-interval"), format!("file {}, heartbeat-interval", path.display()));
    assert!(text.contains("\ninitial-cluster-token: \"t\" "));
    // What it shows is a file that says the same.
    let again =
        settings("", "again.yml", &config_command(&line.replace("--origin ", ""), &[]).text).expect("right");
    assert_eq!((again.value("name"), again.value("heartbeat-interval")), ("a", "50"));
}

#[test]
fn config_check_says_what_is_wrong_and_what_has_no_effect() {
    let Answer { text, complaint, status } =
        config_command("check --snapshot-count=5", &[("ETCD_NOSUCH", "1")]);
    assert_eq!((complaint.as_str(), status), ("", 0));
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].starts_with("warning: --snapshot-count has no effect: "), "{text}");
    assert_eq!(lines[1], "warning: the variable ETCD_NOSUCH is no setting");
    assert_eq!(lines[2], "the configuration of default is right: 1 settings, the data in default.etcd");
    let refused = config_command("check --heartbeat-interval=500", &[]);
    assert!(
        refused.status == 1 && refused.complaint.starts_with("--election-timeout[1000ms] should be"),
        "{refused:?}"
    );
    assert_eq!(config_command("check --nosuch", &[]).status, 2);
    assert_eq!(config_command("", &[]).status, 2);
}
