//! An answer taken apart for comparing, with what must differ between two servers blanked out.
//!
//! Blanked are: ids, raft's index and term, dates, the ports that the server was given. Nothing else:
//! revisions, v2 indexes, texts, order and spacing must agree.

use std::collections::BTreeMap;

/// An answer in named parts.
///
/// The names are `status`, `body`, `header NAME` and `trailer NAME`, with NAME in lower case. Of a header
/// that came twice the values are joined by `, `.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    parts: BTreeMap<String, String>,
}

/// Shown where one answer has a part and the other has not.
pub const ABSENT: &str = "-";

/// Numbers in quotes that follow these names are ids of this cluster or positions in its log.
const JSON_NUMBERS: [(&str, &str); 8] = [
    ("\"cluster_id\":\"", "<cluster>"),
    ("\"member_id\":\"", "<member>"),
    ("\"raft_term\":\"", "<term>"),
    ("\"raftTerm\":\"", "<term>"),
    ("\"raftIndex\":\"", "<index>"),
    ("\"raftAppliedIndex\":\"", "<index>"),
    ("\"leader\":\"", "<member>"),
    ("\"ID\":\"", "<member>"),
];

impl Answer {
    /// Adds a part; headers that come twice are joined.
    pub fn add(&mut self, part: &str, value: &str) {
        self.parts
            .entry(part.to_owned())
            .and_modify(|before| {
                before.push_str(", ");
                before.push_str(value);
            })
            .or_insert_with(|| value.to_owned());
    }

    /// The value of a part, or what stands for none.
    pub fn part(&self, part: &str) -> &str {
        self.parts.get(part).map_or(ABSENT, String::as_str)
    }

    /// Every part with its value.
    pub fn parts(&self) -> impl Iterator<Item = (&str, &str)> {
        self.parts.iter().map(|(part, value)| (part.as_str(), value.as_str()))
    }

    /// Blanks out a text of one part, wherever it stands there.
    pub fn blank(&mut self, part: &str, text: &str, blank: &str) {
        if let Some(value) = self.parts.get_mut(part).filter(|_| !text.is_empty()) {
            *value = value.replace(text, blank);
        }
    }

    /// Rewrites a part, if it is there.
    pub fn rewrite(&mut self, part: &str, rewrite: impl FnOnce(&str) -> String) {
        if let Some(value) = self.parts.get_mut(part) {
            *value = rewrite(value);
        }
    }

    /// Blanks out what must differ. `ports` are the server's for clients and for peers.
    pub fn normalise(&mut self, ports: (u16, u16)) {
        for (part, value) in &mut self.parts {
            match part.as_str() {
                "header date" => blank_if(value, !value.is_empty(), "<date>"),
                "header x-raft-index" => blank_if(value, is_number(value), "<index>"),
                "header x-raft-term" => blank_if(value, is_number(value), "<term>"),
                "header x-etcd-cluster-id" => blank_if(value, is_hex(value), "<cluster>"),
                "body" => *value = normalise_body(value, ports),
                _ => {}
            }
        }
        let length = self.parts.get("header content-length").cloned();
        if let Some(length) = length
            && self.parts.get("body length") == Some(&length)
        {
            // It is right, and it follows from a body in which numbers of different lengths were blanked.
            self.parts.insert("header content-length".to_owned(), "<length>".to_owned());
        }
        self.parts.remove("body length");
    }
}

/// The differences between two normalised answers: part, left value, right value.
pub fn differences<'a>(left: &'a Answer, right: &'a Answer) -> Vec<(&'a str, &'a str, &'a str)> {
    let mut names: Vec<&str> = left.parts().chain(right.parts()).map(|(name, _)| name).collect();
    names.sort_unstable();
    names.dedup();
    names
        .into_iter()
        .map(|name| (name, left.part(name), right.part(name)))
        .filter(|(name, left, right)| left != right && !(*name == "body" && same_lifetimes(left, right)))
        .collect()
}

fn normalise_body(body: &str, (client, peer): (u16, u16)) -> String {
    let mut body = body
        .replace(&format!("127.0.0.1:{client}"), "127.0.0.1:<client port>")
        .replace(&format!("127.0.0.1:{peer}"), "127.0.0.1:<peer port>");
    for (prefix, blank) in JSON_NUMBERS {
        body = blank_after(&body, prefix, |char| char.is_ascii_digit(), "\"", blank);
    }
    body = blank_after(&body, "\"id\":\"", |char| char.is_ascii_hexdigit(), "\"", "<member>");
    body = sort_members(body);
    blank_after(
        &body,
        "\"expiration\":\"",
        |char| char.is_ascii_digit() || "-:.TZ".contains(char),
        "\"",
        "<time>",
    )
}

/// Members are listed by id, and ids differ from server to server: puts them in order of what is left of them.
fn sort_members(body: String) -> String {
    const BEGIN: &str = "\"members\":[{";
    const BETWEEN: &str = "},{";
    let Some((before, rest)) = body.split_once(BEGIN) else { return body };
    let Some((members, after)) = rest.rsplit_once("}]") else { return body };
    let mut members: Vec<&str> = members.split(BETWEEN).collect();
    members.sort_unstable();
    format!("{before}{BEGIN}{}}}]{after}", members.join(BETWEEN))
}

/// Blanks each run of `allowed` between `prefix` and `end`.
fn blank_after(text: &str, prefix: &str, allowed: impl Fn(char) -> bool, end: &str, blank: &str) -> String {
    let mut blanked = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(prefix) {
        let (before, after) = rest.split_at(at.saturating_add(prefix.len()));
        blanked.push_str(before);
        let value = after.find(|char| !allowed(char)).unwrap_or(after.len());
        let (run, after) = after.split_at(value);
        blanked.push_str(if !run.is_empty() && after.starts_with(end) { blank } else { run });
        rest = after;
    }
    blanked.push_str(rest);
    blanked
}

/// Two servers are asked one after the other, so that seconds left may differ by one; nothing else may.
fn same_lifetimes(left: &str, right: &str) -> bool {
    const FIELD: &str = "\"ttl\":";
    // v3 says it in capitals and in quotes.
    let plain = |text: &str| text.replace("\"TTL\":\"", FIELD);
    let (left, right) = (plain(left), plain(right));
    let mut left = left.split(FIELD);
    let mut right = right.split(FIELD);
    if left.next() != right.next() {
        return false;
    }
    loop {
        match (left.next(), right.next()) {
            (None, None) => return true,
            (Some(left), Some(right)) => {
                let ((left, left_rest), (right, right_rest)) = (leading_number(left), leading_number(right));
                let near = left.zip(right).is_some_and(|(left, right)| left.abs_diff(right) <= 1);
                if !near || left_rest != right_rest {
                    return false;
                }
            }
            _ => return false,
        }
    }
}

fn leading_number(text: &str) -> (Option<u64>, &str) {
    let end = text.find(|char: char| !char.is_ascii_digit()).unwrap_or(text.len());
    let (number, rest) = text.split_at(end);
    (number.parse().ok(), rest)
}

fn blank_if(value: &mut String, condition: bool, blank: &str) {
    if condition {
        blank.clone_into(value);
    }
}

fn is_number(text: &str) -> bool {
    text.parse::<u64>().is_ok()
}

fn is_hex(text: &str) -> bool {
    !text.is_empty()
        && !text.starts_with('0')
        && text.chars().all(|char| matches!(char, '0'..='9' | 'a'..='f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn normal(part: &str, value: &str) -> String {
        let mut answer = Answer::default();
        answer.add(part, value);
        answer.normalise((23790, 23800));
        answer.part(part).to_owned()
    }

    #[test]
    fn only_what_must_differ_is_blanked() {
        assert_eq!(
            normal(
                "body",
                r#"{"header":{"cluster_id":"12","member_id":"3","revision":"4","raft_term":"2"}}"#
            ),
            r#"{"header":{"cluster_id":"<cluster>","member_id":"<member>","revision":"4","raft_term":"<term>"}}"#
        );
        assert_eq!(normal("body", r#"{"cluster_id":"x"}"#), r#"{"cluster_id":"x"}"#);
        assert_eq!(normal("body", "http://127.0.0.1:23790"), "http://127.0.0.1:<client port>");
        assert_eq!(
            normal("body", r#"{"members":[{"id":"b1","name":"z"},{"id":"c2","name":"a"}]}"#),
            r#"{"members":[{"id":"<member>","name":"a"},{"id":"<member>","name":"z"}]}"#
        );
        assert_eq!(normal("header x-etcd-index", "4"), "4");
        assert_eq!(normal("header x-raft-index", "4"), "<index>");
        assert_eq!(normal("header x-etcd-cluster-id", "0a"), "0a");
    }

    #[test]
    fn a_wrong_length_stays_and_a_right_one_is_blanked() {
        let mut answer = Answer::default();
        for (part, value) in [("body", "abc"), ("body length", "3"), ("header content-length", "3")] {
            answer.add(part, value);
        }
        let mut wrong = answer.clone();
        wrong.parts.insert("header content-length".to_owned(), "4".to_owned());
        answer.normalise((1, 2));
        wrong.normalise((1, 2));
        assert_eq!(differences(&answer, &wrong), [("header content-length", "<length>", "4")]);
    }

    #[test]
    fn seconds_left_may_differ_by_one() {
        assert!(same_lifetimes(r#"{"ttl":30,"a":1}"#, r#"{"ttl":29,"a":1}"#));
        assert!(!same_lifetimes(r#"{"ttl":30}"#, r#"{"ttl":28}"#));
        assert!(!same_lifetimes(r#"{"ttl":30,"a":1}"#, r#"{"ttl":29,"a":2}"#));
        assert!(!same_lifetimes(r#"{"ttl":30}"#, "{}"));
        assert!(same_lifetimes(r#"{"TTL":"30","a":1}"#, r#"{"TTL":"29","a":1}"#));
    }
}
