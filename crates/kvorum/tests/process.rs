//! The program as a process: exit codes, what it prints, what it does with a folder, a port and a signal.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Output, Stdio};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_mins(1);

fn kvorum() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kvorum"));
    command.env_clear().stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs to the end, for starts that are refused.
fn refused(flags: &[&str]) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = kvorum().args(flags).output().expect("it starts");
    (status.code(), String::from_utf8_lossy(&stdout).into(), String::from_utf8_lossy(&stderr).into())
}

/// A loopback address that was free a moment ago.
fn free() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    listener.local_addr().expect("it is bound")
}

/// Flags for a member of its own.
fn flags(folder: &Path, client: SocketAddr, peer: SocketAddr) -> Vec<String> {
    vec![
        format!("--data-dir={}", folder.display()),
        format!("--listen-client-urls=http://{client}"),
        format!("--advertise-client-urls=http://{client}"),
        format!("--listen-peer-urls=http://{peer}"),
        format!("--initial-advertise-peer-urls=http://{peer}"),
    ]
}

/// A process that is killed when the test goes, whatever the reason.
struct Running {
    child: Child,
    log: BufReader<ChildStderr>,
}

impl Running {
    fn start(command: &mut Command) -> Self {
        let mut child = command.spawn().expect("it starts");
        let log = BufReader::new(child.stderr.take().expect("it is piped"));
        Self { child, log }
    }

    /// Reads the log up to a line that contains `words`.
    fn says(&mut self, words: &str) {
        let mut before = String::new();
        loop {
            let mut line = String::new();
            let length = self.log.read_line(&mut line).expect("the log is text");
            assert!(length > 0, "it ended without saying {words:?}:\n{before}");
            if line.contains(words) {
                return;
            }
            before.push_str(&line);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn get(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a time-out above zero");
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers text");
    answer
}

#[test]
fn help_and_version_are_told_on_standard_output() {
    let (code, stdout, stderr) = refused(&["--version"]);
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    let lines: Vec<&str> = stdout.lines().collect();
    assert_eq!((lines.len(), lines[0]), (4, "etcd Version: 3.7.1"));
    assert_eq!(lines[1], concat!("Kvorum Version: ", env!("CARGO_PKG_VERSION")));

    let (code, stdout, stderr) = refused(&["-h"]);
    assert_eq!(code, Some(0));
    assert!(stderr.starts_with("Usage:\n") && stdout.contains("\nMember:\n  --name 'default'\n"));
}

#[test]
fn a_wrong_word_ends_with_2_and_the_short_help() {
    let (code, stdout, stderr) = refused(&["--nosuch"]);
    assert_eq!((code, stdout.as_str()), (Some(2), ""));
    assert!(stderr.starts_with("flag provided but not defined: -nosuch\nUsage:\n"), "{stderr}");
}

#[test]
fn settings_that_do_not_go_together_end_with_1_and_one_line() {
    for (flags, text) in [
        (vec!["word"], r#""msg":"failed to verify flags","error":"\"word\" is not a valid flag"}"#),
        (
            vec!["--listen-client-urls=http://127.0.0.1:1"],
            r#""error":"--advertise-client-urls is required when --listen-client-urls is set explicitly"}"#,
        ),
        (vec!["--log-outputs=/nowhere/at/all"], r#""error":"cannot write the log to /nowhere/at/all: "#),
    ] {
        let (code, _, stderr) = refused(&flags);
        assert_eq!((code, stderr.lines().count()), (Some(1), 1), "{stderr}");
        assert!(stderr.starts_with(r#"{"level":"fatal","ts":""#) && stderr.contains(text), "{stderr}");
    }
}

#[test]
fn a_member_serves_and_dies_by_the_signal_that_it_got() {
    let folder = tempfile::tempdir().expect("a folder for the test");
    let (client, peer) = (free(), free());
    let notify = folder.path().join("notify");
    let manager = UnixDatagram::bind(&notify).expect("bound");
    manager.set_read_timeout(Some(PATIENCE)).expect("a time-out above zero");
    for round in ["first", "again"] {
        let mut command = kvorum();
        command
            .args(flags(&folder.path().join("data"), client, peer))
            .env("NOTIFY_SOCKET", &notify)
            .env("WATCHDOG_USEC", "3600000000");
        let mut running = Running::start(&mut command);
        for words in [
            "now serving peer/client/metrics",
            "serving peer traffic",
            "enabled capabilities for version",
            "published local member to cluster through raft",
            "ready to serve client requests",
        ] {
            running.says(&format!("\"msg\":\"{words}\""));
        }
        running.says("serving client traffic insecurely; this is strongly discouraged!");
        let hears = || {
            let mut heard = [0; 256];
            let length = manager.recv(&mut heard).expect("the manager is told");
            String::from_utf8_lossy(&heard[..length]).into_owned()
        };
        // Only when it serves, and until then what it waits for.
        assert!(hears().starts_with("STATUS=opening the data"), "{round}");
        assert!(hears().starts_with("STATUS=waiting for a leader"), "{round}");
        assert_eq!(hears(), format!("READY=1\nSTATUS=serving clients at http://{client}"), "{round}");
        assert_eq!(hears(), "WATCHDOG=1", "{round}");
        assert!(get(client, "/health").starts_with("HTTP/1.1 200 OK\r\n"), "{round}");
        assert!(get(peer, "/version").contains("\"etcdserver\":\"3.7.1\""), "{round}");
        assert!(!get(peer, "/v2/keys").starts_with("HTTP/1.1 200 "), "{round}");

        let endpoint = format!("http://{client}");
        let (code, stdout, stderr) = refused(&["health", "--endpoint", &endpoint]);
        assert_eq!(
            (code, stdout, stderr),
            (Some(0), format!("{endpoint} is healthy\n"), String::new()),
            "{round}"
        );

        // A second start with the same folder finds it taken, and leaves the first alone.
        let others = flags(&folder.path().join("data"), free(), free());
        let (code, _, stderr) = refused(&others.iter().map(String::as_str).collect::<Vec<_>>());
        let sentence = format!(" is in use by another Kvorum process (pid {}): ", running.child.id());
        assert_eq!(code, Some(1));
        assert!(stderr.contains(&sentence), "{stderr}");

        terminate(running.child.id());
        running.says("received signal; shutting down");
        running.says("closed etcd server");
        assert_eq!(running.child.wait().expect("it ends").signal(), Some(15), "{round}");
        assert!(hears().starts_with("STOPPING=1\nSTATUS=handing over the lead"), "{round}");
    }
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let folder = tempfile::tempdir().expect("a folder for the test");
    let client = free();
    let mut command = kvorum();
    let mut running = Running::start(command.args(flags(&folder.path().join("data"), client, free())));
    running.says("ready to serve client requests");
    // A request whose end does not come holds the end up for five seconds.
    let mut stream = TcpStream::connect(client).expect("it listens");
    let head = "POST /v3/kv/put HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\nExpect: 100-continue\r\n\r\n";
    stream.write_all(head.as_bytes()).expect("it reads");
    let mut begun = [0; 12];
    stream.set_read_timeout(Some(PATIENCE)).expect("a time-out above zero");
    stream.read_exact(&mut begun).expect("it wants the body");
    assert_eq!(&begun, b"HTTP/1.1 100");
    terminate(running.child.id());
    running.says("received signal; shutting down");
    terminate(running.child.id());
    running.says("a second signal; ending at once");
    assert_eq!(running.child.wait().expect("it ends").signal(), Some(15));
}

#[test]
fn sighup_reads_what_can_be_read_again_and_names_what_cannot() {
    let folder = tempfile::tempdir().expect("a folder for the test");
    let file = folder.path().join("kvorum.yml");
    let write = |text: &str| fs::write(&file, text).expect("written");
    write("log-level: info\nmax-txn-ops: 128\n");
    let mut command = kvorum();
    command.args(flags(&folder.path().join("data"), free(), free()));
    let mut running = Running::start(command.arg(format!("--config-file={}", file.display())));
    running.says("ready to serve client requests");
    write("log-level: warn\nmax-txn-ops: 256\n");
    hang_up(running.child.id());
    running.says("\"flag-name\":\"max-txn-ops\",\"old\":\"128\",\"new\":\"256\"");
    write("log-levels: debug\n");
    hang_up(running.child.id());
    running.says("did you mean \\\"log-level\\\"?");
    write("log-level: info\nmax-txn-ops: 256\n");
    hang_up(running.child.id());
    running.says("\"flag-name\":\"log-level\",\"old\":\"warn\",\"new\":\"info\"");
}

#[test]
fn called_by_the_name_of_etcd_it_answers_as_etcd() {
    let folder = tempfile::tempdir().expect("a folder for the test");
    let etcd = folder.path().join("etcd");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_kvorum"), &etcd).expect("a link");
    let told = Command::new(etcd).arg("--version").output().expect("it starts");
    let text = String::from_utf8_lossy(&told.stdout).into_owned();
    let names: Vec<&str> =
        text.lines().filter_map(|line| line.split_once(": ")).map(|(name, _)| name).collect();
    assert_eq!(names, ["etcd Version", "Git SHA", "Go Version", "Go OS/Arch"]);
    assert!(text.starts_with("etcd Version: 3.7.1\n"), "{text}");
}

#[test]
fn a_slow_request_is_told_with_what_took_how_long() {
    let folder = tempfile::tempdir().expect("a folder for the test");
    let client = free();
    let mut command = kvorum();
    command.args(flags(&folder.path().join("data"), client, free()));
    // Everything is slow then.
    let mut running = Running::start(command.arg("--warning-unary-request-duration=1ns"));
    running.says("ready to serve client requests");
    let body = r#"{"key":"YQ==","value":"YQ=="}"#;
    let mut stream = TcpStream::connect(client).expect("it listens");
    let head = format!("POST /v3/kv/put HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    stream.write_all(head.as_bytes()).expect("it reads");
    running.says("\"msg\":\"slow request: Put ");
}

#[test]
fn health_of_nobody_ends_with_1_and_a_line() {
    let endpoint = format!("http://{}", free());
    let (code, stdout, stderr) = refused(&["health", &format!("--endpoint={endpoint}")]);
    assert_eq!((code, stdout.as_str(), stderr.lines().count()), (Some(1), "", 1), "{stderr}");
    assert!(stderr.starts_with(&format!("{endpoint} is unhealthy: cannot reach {endpoint}: ")), "{stderr}");
    let (code, _, stderr) = refused(&["health", "nonsense"]);
    assert_eq!(code, Some(2));
    assert!(stderr.starts_with("usage: kvorum health [--endpoint "), "{stderr}");
}

#[test]
fn a_founder_that_waits_for_others_ends_when_it_is_asked_to() {
    let folder = tempfile::tempdir().expect("a folder for the test");
    let mut command = kvorum();
    command.args(flags(&folder.path().join("data"), free(), free()));
    let mut running = Running::start(command.arg(format!("--discovery=http://{}/x", free())));
    running.says("failed to get from discovery server");
    terminate(running.child.id());
    running.says("received signal; shutting down");
    assert_eq!(running.child.wait().expect("it ends").signal(), Some(15));
}

#[test]
fn a_taken_port_is_told_before_the_folder_is_touched() {
    let parent = tempfile::tempdir().expect("a folder for the test");
    let folder = parent.path().join("data");
    let holder = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let taken = holder.local_addr().expect("it is bound");
    for (client, peer, flag) in
        [(taken, free(), "--listen-client-urls"), (free(), taken, "--listen-peer-urls")]
    {
        let flags = flags(&folder, client, peer);
        let (code, _, stderr) = refused(&flags.iter().map(String::as_str).collect::<Vec<_>>());
        let sentence = format!("cannot listen on http://{taken} ({flag}): Address already in use");
        assert_eq!(code, Some(1));
        assert!(stderr.contains(&sentence), "{stderr}");
        assert!(!folder.exists());
    }
    drop(holder);
}

#[test]
fn a_folder_of_etcd_is_left_alone() {
    let parent = tempfile::tempdir().expect("a folder for the test");
    let database = parent.path().join("member/snap/db");
    fs::create_dir_all(database.parent().expect("it has one")).expect("made");
    fs::write(&database, "bbolt").expect("written");
    let flags = flags(parent.path(), free(), free());
    let (code, _, stderr) = refused(&flags.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(code, Some(1));
    assert!(stderr.contains("kvorumctl snapshot restore --from-data-dir "), "{stderr}");
    let entries = fs::read_dir(parent.path().join("member")).expect("there").count();
    assert_eq!(entries, 1, "nothing was added");
}

fn hang_up(pid: u32) {
    let status =
        Command::new("sh").arg("-c").arg(format!("kill -HUP {pid}")).status().expect("there is a shell");
    assert!(status.success());
}

/// SIGTERM, by the shell's own `kill`: the standard library knows only the one that cannot be caught.
fn terminate(pid: u32) {
    let status =
        Command::new("sh").arg("-c").arg(format!("kill -TERM {pid}")).status().expect("there is a shell");
    assert!(status.success());
}
