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
        command.args(flags(&folder.path().join("data"), client, peer)).env("NOTIFY_SOCKET", &notify);
        let mut running = Running::start(&mut command);
        running.says("ready to serve client requests");
        running.says("serving client traffic insecurely; this is strongly discouraged!");
        let mut heard = [0; 16];
        let length = manager.recv(&mut heard).expect("the manager is told");
        assert_eq!(&heard[..length], b"READY=1", "{round}");
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
    }
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

/// SIGTERM, by the shell's own `kill`: the standard library knows only the one that cannot be caught.
fn terminate(pid: u32) {
    let status =
        Command::new("sh").arg("-c").arg(format!("kill -TERM {pid}")).status().expect("there is a shell");
    assert!(status.success());
}
