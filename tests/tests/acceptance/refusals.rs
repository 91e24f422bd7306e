//! Starts that are refused: the exit code, and one sentence that says what is wrong.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::Output;

use ::tests::{Node, Program};
use tempfile::TempDir;

/// Flags of a start that would work, on ports that are free.
struct Start {
    folder: TempDir,
    client: String,
    peer: String,
}

impl Start {
    fn new() -> Self {
        let port = || {
            TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port")
        };
        let folder = tempfile::tempdir().expect("a folder");
        Self { folder, client: format!("http://{}", port()), peer: format!("http://{}", port()) }
    }

    fn data_dir(&self) -> String {
        self.folder.path().join("data").display().to_string()
    }

    /// Starts with these flags after the usual ones; a flag that comes twice counts as it comes last.
    fn run(&self, flags: &[&str]) -> Output {
        let (cluster, data_dir) = (format!("default={}", self.peer), self.data_dir());
        let mut all: Vec<&str> = Vec::new();
        for pair in [
            ["--data-dir", &data_dir],
            ["--listen-client-urls", &self.client],
            ["--advertise-client-urls", &self.client],
            ["--listen-peer-urls", &self.peer],
            ["--initial-advertise-peer-urls", &self.peer],
            ["--initial-cluster", &cluster],
        ] {
            all.extend(pair);
        }
        all.extend(flags);
        Program::kvorum().expect("our binary").run(&all).expect("it ends by itself")
    }
}

/// Fails unless it ended with that code and said these words, in one line, without a panic.
fn refused(output: &Output, code: i32, words: &[&str]) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "it says:\n{said}");
    assert!(!said.contains("panicked"), "{said}");
    let whole = |line: &str| words.iter().all(|word| line.contains(word));
    assert!(said.lines().any(whole), "no line holds all of {words:?}:\n{said}");
}

#[test]
fn an_unknown_flag() {
    refused(&Start::new().run(&["--nosuch"]), 2, &["nosuch"]);
    refused(&Start::new().run(&["--max-request-bytes=many"]), 2, &["max-request-bytes"]);
    refused(&Start::new().run(&["word"]), 1, &["word"]);
}

#[test]
fn a_bad_url() {
    refused(&Start::new().run(&["--listen-client-urls", "nonsense"]), 2, &["listen-client-urls"]);
    refused(&Start::new().run(&["--listen-peer-urls", "ftp://127.0.0.1:1"]), 2, &["listen-peer-urls"]);
    refused(&Start::new().run(&["--listen-client-urls", "http://example.com:1"]), 1, &["example.com"]);
}

#[test]
fn a_taken_port() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("it is bound").to_string();
    let output = Start::new().run(&["--listen-client-urls", &format!("http://{address}")]);
    refused(&output, 1, &[&address]);
}

#[test]
fn a_folder_that_is_in_use() {
    let node = Node::start(&Program::kvorum().expect("our binary"), &[]).expect("it starts");
    let folder = node.data_dir().display().to_string();
    refused(&Start::new().run(&["--data-dir", &folder]), 1, &[&folder, "in use"]);
}

#[test]
fn a_folder_of_real_etcd() {
    let mut etcd = Node::start(&Program::etcd().expect("real etcd"), &[]).expect("it starts");
    etcd.kill().expect("it runs");
    let before = listing(&etcd.data_dir());
    let folder = etcd.data_dir().display().to_string();
    refused(&Start::new().run(&["--data-dir", &folder]), 1, &[&folder, "etcd"]);
    assert_eq!(listing(&etcd.data_dir()), before, "what is not ours was changed");
}

#[test]
fn a_folder_of_somebody_else() {
    let start = Start::new();
    let folder = Path::new(&start.data_dir()).join("member");
    fs::create_dir_all(&folder).expect("a folder");
    fs::write(folder.join("thesis.txt"), "years of work").expect("a file");
    refused(&start.run(&[]), 1, &["thesis.txt"]);
    assert_eq!(listing(&folder), ["thesis.txt"]);
}

#[test]
fn a_folder_of_a_newer_version() {
    let mut node = Node::start(&Program::kvorum().expect("our binary"), &[]).expect("it starts");
    node.kill().expect("it runs");
    let format = node.data_dir().join("member/format");
    fs::write(&format, "kvorum 4711\n").expect("the format file can be written");
    let folder = node.data_dir().display().to_string();
    refused(&Start::new().run(&["--data-dir", &folder]), 1, &[&folder, "4711"]);
}

/// Every path below a folder, sorted.
fn listing(folder: &Path) -> Vec<String> {
    let mut paths = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(&next).expect("it can be listed") {
            let path = entry.expect("it can be read").path();
            paths.push(path.strip_prefix(folder).expect("it is below").display().to_string());
            if path.is_dir() {
                folders.push(path);
            }
        }
    }
    paths.sort();
    paths
}
