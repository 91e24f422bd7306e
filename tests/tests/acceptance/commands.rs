//! curl and etcdctl, as they are in the manual.

use std::io::Write as _;
use std::process::{Command, Stdio};

use ::tests::answer::{Answer, differences};
use ::tests::{Node, Program};
use anyhow::{Context, ensure};

/// What curl is told, after its usual flags; `URL` stands for the server.
const CURL: [&str; 18] = [
    "-L URL/health",
    "-X PUT -L URL/v2/keys/keyname -d value=x",
    "-L URL/v2/keys/keyname",
    "-X DELETE -L URL/v2/keys/keyname",
    "-L URL/v2/keys/keyname",
    "-XPOST URL/v2/keys/queue -d value=Job1",
    "-XPOST URL/v2/keys/queue -d value=Job2",
    "-XPOST URL/v2/keys/queue -d value=Job3",
    "URL/v2/keys/queue?recursive=true&sorted=true",
    "-X PUT URL/v2/keys/message -d ttl=30 -d value=Hello",
    "-X PUT URL/v2/keys/foo?prevExist=false -d value=one",
    "-X PUT URL/v2/keys/foo?prevExist=false -d value=three",
    "-X PUT URL/v2/keys/foo?prevValue=two -d value=three",
    "-X PUT URL/v2/keys/foo?prevValue=one -d value=two",
    "-L URL/v3/kv/put -X POST -d {\"key\":\"V2VpeWlHZWVr\",\"value\":\"ZXRjZGRlbW8=\"}",
    "-L URL/v3/kv/range -X POST -d {\"key\":\"V2VpeWlHZWVr\"}",
    "-L URL/v3/kv/range -X POST -d {\"key\":\"V2VpeWlHZWVr\",\"range_end\":\"V2VpeWlHZWVz\"}",
    "-L URL/v3/kv/txn -X POST -d {\"compare\":[{\"target\":\"CREATE\",\"key\":\"Zm9v\",\"createRevision\":\"0\"}],\
     \"success\":[{\"requestPut\":{\"key\":\"Zm9v\",\"value\":\"YmFy\"}}]}",
];

/// What etcdctl is told, and what it reads.
const ETCDCTL: [(&str, &str); 28] = [
    ("put foo bar", ""),
    ("put foo1 bar1", ""),
    ("put foo2 bar2 --prev-kv", ""),
    ("put foo2 bar3 --prev-kv", ""),
    ("put from-stdin", "a value\nof two lines\n"),
    ("get foo", ""),
    ("get foo --prefix", ""),
    ("get foo --prefix --keys-only", ""),
    ("get foo --prefix --print-value-only", ""),
    ("get foo --prefix --order=DESCEND --sort-by=KEY --limit=2", ""),
    ("get foo foo2", ""),
    ("get foo1 --from-key", ""),
    ("get foo2 --rev=4", ""),
    ("get foo -w json", ""),
    ("get foo -w fields", ""),
    ("get nothing", ""),
    ("get foo --rev=1000", ""),
    ("put --ignore-value absent", ""),
    ("del foo1", ""),
    ("del foo1", ""),
    ("del foo2 --prev-kv", ""),
    ("txn", "mod(\"foo\") > \"0\"\n\nput k v\nget foo\n\nget k\n\n"),
    ("txn", "value(\"foo\") = \"nothing\"\n\nput k v2\n\nget k\ndel k\n\n"),
    ("txn", "bad(\"foo\") = \"0\"\n\n\n\n"),
    ("compaction 5", ""),
    ("compaction 5", ""),
    ("get foo --rev=3", ""),
    ("member list", ""),
];

/// Both servers, each fresh.
fn pair() -> anyhow::Result<[Node; 2]> {
    Ok([Node::start(&Program::etcd()?, &[])?, Node::start(&Program::kvorum()?, &[])?])
}

fn run(command: &mut Command, input: &str) -> anyhow::Result<(String, String, Option<i32>)> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("start {command:?}; `make test` installs it"))?;
    child.stdin.take().context("it was piped")?.write_all(input.as_bytes()).context("write its input")?;
    let output = child.wait_with_output().context("wait for it")?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok((text(&output.stdout), text(&output.stderr), output.status.code()))
}

fn curl(node: &Node, words: &str) -> anyhow::Result<(String, String, Option<i32>)> {
    let words = words.replace("URL", &node.url());
    run(Command::new("curl").args(["-sS", "--max-time", "10"]).args(words.split(' ')), "")
}

fn etcdctl(node: &Node, words: &str, input: &str) -> anyhow::Result<(String, String, Option<i32>)> {
    etcdctl_at(&node.address().to_string(), words, input)
}

fn etcdctl_at(endpoint: &str, words: &str, input: &str) -> anyhow::Result<(String, String, Option<i32>)> {
    let mut command = Command::new("etcdctl");
    command.env_clear().env("ETCDCTL_API", "3").env("PATH", "/usr/bin:/bin");
    command.arg(format!("--endpoints={endpoint}")).args(words.split(' '));
    run(&mut command, input)
}

/// The output with what must differ blanked: what [`Answer`] blanks, ids, versions, sizes, and in tables
/// numbers and the widths that follow from them.
fn normal(node: &Node, output: &str) -> Answer {
    let lines: Vec<String> = output.lines().map(normal_line).collect();
    let mut answer = Answer::default();
    answer.add("body", &lines.join("\n"));
    answer.normalise((node.address().port(), node.peer_port()));
    answer
}

fn normal_line(line: &str) -> String {
    if line.starts_with('+') && line.chars().all(|char| "+-".contains(char)) {
        return "+".to_owned();
    }
    if !line.starts_with('|') {
        return words(line);
    }
    let cells = line.split('|').map(|cell| match cell.trim() {
        cell if cell.parse::<u64>().is_ok() => "<number>".to_owned(),
        cell if cell.ends_with(" kB") || cell.ends_with(" MB") => "<size>".to_owned(),
        cell => words(cell),
    });
    cells.collect::<Vec<_>>().join("|")
}

/// Ids and versions blanked, in whatever stands around them.
fn words(text: &str) -> String {
    const ID_DIGITS_MIN: usize = 12;
    let blank = |word: &str| {
        let is_id = word.len() >= ID_DIGITS_MIN && word.chars().all(|char| char.is_ascii_hexdigit());
        let is_version = word.starts_with("3.") && word.matches('.').count() == 2;
        // Keys that v2 makes in order are long numbers too, and must agree.
        match word {
            word if is_id && !word.starts_with("000") => "<id>".to_owned(),
            _ if is_version => "<version>".to_owned(),
            word => word.to_owned(),
        }
    };
    let mut result = String::new();
    let mut word = String::new();
    for char in text.chars() {
        if char.is_ascii_alphanumeric() || char == '.' {
            word.push(char);
            continue;
        }
        result.push_str(&blank(&word));
        word.clear();
        result.push(char);
    }
    result.push_str(&blank(&word));
    result
}

/// Fails unless both printed the same.
fn same(nodes: &[Node; 2], command: &str, outputs: [(String, String, Option<i32>); 2]) -> anyhow::Result<()> {
    let [(etcd, _, etcd_code), (ours, ours_error, ours_code)] = outputs;
    let (left, right) = (normal(&nodes[0], &etcd), normal(&nodes[1], &ours));
    let differing = differences(&left, &right);
    ensure!(
        differing.is_empty() && etcd_code == ours_code,
        "`{command}`\n  etcd prints ({etcd_code:?}):\n{etcd}\n  Kvorum prints ({ours_code:?}):\n{ours}\n{ours_error}"
    );
    Ok(())
}

fn finish(results: Vec<anyhow::Result<()>>) {
    let failed: Vec<String> =
        results.into_iter().filter_map(Result::err).map(|error| format!("{error:#}")).collect();
    assert!(failed.is_empty(), "{} commands print something else:\n\n{}", failed.len(), failed.join("\n\n"));
}

#[test]
fn curl_prints_what_it_prints_from_etcd() {
    let nodes = pair().expect("both start");
    let mut results = Vec::new();
    for words in CURL {
        let outputs = [curl(&nodes[0], words), curl(&nodes[1], words)];
        let [Ok(etcd), Ok(mut ours)] = outputs else { panic!("curl {words}: {outputs:?}") };
        // etcd gives a reason since 3.4.29: docs/COMPATIBILITY.md.
        ours.0 = ours.0.replace(",\"reason\":\"\"", "");
        results.push(same(&nodes, &format!("curl {words}"), [etcd, ours]));
    }
    finish(results);
}

#[test]
fn the_version_is_in_etcds_form() {
    for node in pair().expect("both start") {
        let (version, _, _) = curl(&node, "-L URL/version").expect("curl runs");
        assert!(version.starts_with("{\"etcdserver\":\"3."), "{version}");
        assert!(version.contains(",\"etcdcluster\":\"3."), "{version}");
    }
}

#[test]
fn etcdctl_prints_what_it_prints_from_etcd() {
    let nodes = pair().expect("both start");
    let mut results = Vec::new();
    for (words, input) in ETCDCTL {
        let outputs = [etcdctl(&nodes[0], words, input), etcdctl(&nodes[1], words, input)];
        let [Ok(etcd), Ok(ours)] = outputs else { panic!("etcdctl {words}: {outputs:?}") };
        results.push(same(&nodes, &format!("etcdctl {words}"), [etcd, ours]));
    }
    for words in ["endpoint status -w table", "member list -w table", "endpoint status", "endpoint hashkv"] {
        // With a URL: etcdctl asks a single endpoint with all of it as its `:authority`.
        let outputs = [etcdctl_at(&nodes[0].url(), words, ""), etcdctl_at(&nodes[1].url(), words, "")];
        let [Ok(etcd), Ok(ours)] = outputs else { panic!("etcdctl {words}: {outputs:?}") };
        let result = match words {
            // One line of numbers: the count of fields and what is no number has to agree.
            "endpoint status" | "endpoint hashkv" => fields_agree(words, &etcd.0, &ours.0),
            _ => same(&nodes, &format!("etcdctl {words}"), [etcd, ours]),
        };
        results.push(result);
    }
    finish(results);
}

fn fields_agree(words: &str, etcd: &str, ours: &str) -> anyhow::Result<()> {
    let flags = |line: &str| -> Vec<String> {
        line.split(',')
            .map(|field| match field.trim() {
                field @ ("true" | "false" | "") => field.to_owned(),
                _ => "<field>".to_owned(),
            })
            .collect()
    };
    ensure!(
        flags(etcd) == flags(ours),
        "`etcdctl {words}`\n  etcd prints:\n{etcd}\n  Kvorum prints:\n{ours}"
    );
    Ok(())
}
