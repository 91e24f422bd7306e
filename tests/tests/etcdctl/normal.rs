//! What etcdctl printed, with what must differ from server to server blanked out.
//!
//! Blanked are: ids, ports, times and durations, versions, raft's index and term, sizes on disk, hashes, seconds
//! that are left of a lease, and the widths of tables that follow from them. Nothing else.

/// Fields in JSON and in the `fields` format whose numbers are a server's own.
const FIELDS: [&str; 22] = [
    "\"raft_term\":",
    "\"raftTerm\":",
    "\"raftIndex\":",
    "\"raftAppliedIndex\":",
    "\"dbSize\":",
    "\"dbSizeInUse\":",
    "\"hash\":",
    "\"total_size\":",
    "\"totalSize\":",
    "\"RaftTerm\" : ",
    "\"RaftIndex\" : ",
    "\"RaftAppliedIndex\" : ",
    "\"DBSize\" : ",
    "\"DBSizeInUse\" : ",
    "\"Hash\" : ",
    "\"Size\" : ",
    "\"ttl\":",
    "\"TTL\" : ",
    "remaining(",
    "\"attempt\":",
    "\"raft_term\":\"",
    "\"took\":",
];

/// Fields in which `ttl` is what was asked for, and stays.
const LIFETIME: [&str; 3] = ["\"ttl\":", "\"TTL\" : ", "remaining("];

/// Commands whose numbers between commas and in tables are a server's own.
const NUMBERS: [&str; 3] = ["endpoint status", "endpoint hashkv", "snapshot status"];

/// Commands that list members in the order of their ids, endpoints in the order of a map, and what several watches
/// show at once.
const UNORDERED: [&str; 5] = ["member ", "endpoint ", "alarm list", "watch -i", "timetolive"];

/// The ports of the servers, to be blanked: for clients and for peers.
pub(crate) type Ports = Vec<(u16, &'static str)>;

/// The output of a command with what must differ blanked.
pub(crate) fn normal(command: &str, ports: &Ports, output: &str) -> String {
    let numbers = NUMBERS.iter().any(|known| command.contains(known));
    // etcdctl 3.4 panics when an answer has no header; where it did that differs from run to run.
    let mut text = output.split("goroutine 1 [running]").next().unwrap_or_default().to_owned();
    for (port, blank) in ports {
        text = text.replace(&format!(":{port}"), &format!(":<{blank} port>"));
    }
    for field in FIELDS {
        // What v2 says of time to live is what is left of it.
        if !LIFETIME.contains(&field) || command.contains("timetolive") || command.starts_with("-o json") {
            text = blank_number(&text, field);
        }
    }
    for (begin, between, end) in [("attached keys([", " ", "]"), ("\"keys\":[", ",", "]")] {
        if command.contains("timetolive") {
            text = sort_between(&text, begin, between, end);
        }
    }
    let mut lines: Vec<String> = text.lines().map(|text| line(text, numbers)).collect();
    if UNORDERED.iter().any(|known| command.contains(known))
        && (!command.contains("fields") || command.contains("timetolive"))
    {
        lines.sort_unstable();
    }
    // Who leads is chance, that one does is not.
    let leaders = lines.iter().filter(|line| line.ends_with("isLeader=true")).count();
    if leaders > 0 {
        for line in &mut lines {
            *line = line.replace("isLeader=true", "isLeader=false");
        }
        lines.push(format!("<leaders> {leaders}"));
        lines.sort_unstable();
    }
    let mut text = lines.join("\n");
    for begin in ["\"members\":[{", "[{"] {
        if UNORDERED.iter().any(|known| command.contains(known)) {
            text = sort_objects(text, begin);
        }
    }
    if output.ends_with('\n') {
        text.push('\n');
    }
    text
}

/// The same without numbers, verdicts, and lines that were written over the last state.
pub(crate) fn loose(output: &str) -> String {
    // Of a check these lines depend on the machine even in what words they use.
    const MEASURED: [&str; 5] = ["Throughput", "Slowest", "Stddev", "PASS", "FAIL"];
    let lines = output.lines().map(|line| line.rsplit('\r').next().unwrap_or(line));
    let own = lines.filter(|line| !line.contains('%') && !MEASURED.iter().any(|word| line.contains(word)));
    let blank = |word: &str| {
        let measured = word.chars().any(|char| char.is_ascii_digit());
        if measured { "<measured>" } else { word }.to_owned()
    };
    let lines = own.map(|line| line.split(' ').map(blank).collect::<Vec<_>>().join(" "));
    lines.collect::<Vec<_>>().join("\n")
}

fn line(text: &str, numbers: bool) -> String {
    if text.starts_with('+') && text.chars().all(|char| "+-".contains(char)) {
        return "+".to_owned();
    }
    if let Some((_, said)) = text.split_once(" I | ").filter(|(date, _)| date.starts_with("20")) {
        return format!("<date> I | {}", tokens(said));
    }
    if let Some(cluster) = text.strip_prefix("ETCD_INITIAL_CLUSTER=") {
        let mut members: Vec<&str> = cluster.trim_matches('"').split(',').collect();
        members.sort_unstable();
        return format!("ETCD_INITIAL_CLUSTER=<in order>{}", members.join(","));
    }
    if text.starts_with('|') {
        let cells = text.split('|').map(|cell| cell_of(cell.trim(), numbers));
        return cells.collect::<Vec<_>>().join("|");
    }
    if numbers && text.contains(", ") && !text.starts_with(['{', '[']) {
        return text.split(", ").map(|cell| cell_of(cell, true)).collect::<Vec<_>>().join(", ");
    }
    tokens(text)
}

fn cell_of(cell: &str, numbers: bool) -> String {
    match cell {
        cell if numbers && (cell.parse::<u64>().is_ok() || is_hash(cell)) => "<number>".to_owned(),
        cell if cell.ends_with(" kB") || cell.ends_with(" MB") => "<size>".to_owned(),
        cell => tokens(cell),
    }
}

/// What stands for all of a snapshot.
fn is_hash(cell: &str) -> bool {
    (5..=8).contains(&cell.len()) && cell.chars().all(|char| char.is_ascii_hexdigit())
}

/// Ids, versions and times blanked, in whatever stands around them.
fn tokens(text: &str) -> String {
    let mut result = String::new();
    let mut word = String::new();
    for char in text.chars() {
        if char.is_ascii_alphanumeric() || char == '.' || char == 'µ' {
            word.push(char);
            continue;
        }
        result.push_str(&token(&word));
        word.clear();
        result.push(char);
    }
    result.push_str(&token(&word));
    // Ids of less than 16 digits are filled up with spaces.
    while result.contains("  <id>") {
        result = result.replace("  <id>", " <id>");
    }
    dates(&result)
}

fn token(word: &str) -> String {
    const ID_DIGITS_MIN: usize = 9;
    // The end of a sentence belongs to no word.
    if let Some(word) = word.strip_suffix('.') {
        return token(word) + ".";
    }
    let hex = word.strip_prefix("0x").unwrap_or(word);
    let digits = hex.chars().filter(char::is_ascii_digit).count();
    let is_id = hex.len() >= ID_DIGITS_MIN && digits >= 2 && hex.chars().all(|char| char.is_ascii_hexdigit());
    let mut parts = word.split('.');
    let is_version = word.starts_with("3.")
        && word.matches('.').count() == 2
        && parts.all(|part| part.parse::<u16>().is_ok());
    let is_duration = ["ns", "µs", "ms", "s"].iter().any(|unit| {
        word.strip_suffix(unit).is_some_and(|number| number.contains('.') && number.parse::<f64>().is_ok())
    });
    if is_id {
        "<id>".to_owned()
    } else if is_version {
        "<version>".to_owned()
    } else if is_duration {
        "<time>".to_owned()
    } else {
        word.to_owned()
    }
}

/// Blanks `"ts":"…"` and ids of clients in what etcdctl logs.
fn dates(text: &str) -> String {
    let mut text = text.to_owned();
    for (begin, end) in [
        ("\"size\":\"", "\""),
        ("\"expiration\":\"", "\""),
        ("\"ts\":", ","),
        ("endpoint://client-", "/"),
        ("etcd-endpoints://", "/"),
    ] {
        let Some((before, after)) = text.split_once(begin) else { continue };
        let Some((_, after)) = after.split_once(end) else { continue };
        text = format!("{before}{begin}<own>{end}{after}");
    }
    text
}

fn blank_number(text: &str, field: &str) -> String {
    let mut pieces = text.split(field);
    let mut result = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        result.push_str(field);
        let rest = piece.trim_start_matches(|char: char| char.is_ascii_digit() || char == '.');
        result.push_str(if rest.len() < piece.len() { "<number>" } else { "" });
        result.push_str(rest);
    }
    result
}

/// A list whose order is that of a map, put in order.
fn sort_between(text: &str, begin: &str, between: &str, end: &str) -> String {
    let Some((before, rest)) = text.split_once(begin) else { return text.to_owned() };
    let Some((list, after)) = rest.split_once(end) else { return text.to_owned() };
    let mut list: Vec<&str> = list.split(between).collect();
    list.sort_unstable();
    format!("{before}{begin}{}{end}{after}", list.join(between))
}

/// Objects of a JSON list, put in order of what is left of them.
fn sort_objects(text: String, begin: &str) -> String {
    const BETWEEN: &str = "},{";
    let Some((before, rest)) = text.split_once(begin) else { return text };
    let Some((objects, after)) = rest.rsplit_once("}]") else { return text };
    let mut objects: Vec<&str> = objects.split(BETWEEN).collect();
    objects.sort_unstable();
    format!("{before}{begin}{}}}]{after}", objects.join(BETWEEN))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_must_differ_is_blanked() {
        let check = |command: &str, output: &str, expect: &str| {
            assert_eq!(normal(command, &vec![(2379, "client")], output), expect);
        };
        check(
            "lease grant 5",
            "lease 694d7e3a2b1c0d0f granted with TTL(5s)",
            "lease <id> granted with TTL(5s)",
        );
        check("lease timetolive", "TTL(9s), remaining(8s)", "TTL(9s), remaining(<number>s)");
        check("get a", "a\n12345\n", "a\n12345\n");
        check("get a -w json", r#"{"raft_term":7,"revision":3}"#, r#"{"raft_term":<number>,"revision":3}"#);
        check("endpoint health", "127.0.0.1:2379 took = 1.5ms", "127.0.0.1:<client port> took = <time>");
        check(
            "endpoint status",
            "http://127.0.0.1:2379, 8e9e05c52164694d, 3.4.23, 20 kB, true, 2, 4",
            "http://127.0.0.1:<client port>, <id>, <version>, <size>, true, <number>, <number>",
        );
    }
}
