//! Stories: requests as curl would send them, with the answers that etcd 3.4.23 gave (`tests/golden/record.py`),
//! and a few of our own where etcd has nothing to say. Time is a story's own: `sleep` moves it, and the expiry
//! comes twice a second as etcd's does.

use std::collections::BTreeMap;

use percent_encoding::percent_decode_str;
use serde_json::{Map, Value, json};
use types::v2::{Action, Condition, Event, Expiry, Get, Node, Path, Refusal, Timestamp, Write};

use super::{Bench, EPOCH, after_ms};

const STORIES: [(&str, &str); 7] = [
    ("directories", include_str!("../../tests/golden/directories.story")),
    ("conditions", include_str!("../../tests/golden/conditions.story")),
    ("in_order", include_str!("../../tests/golden/in_order.story")),
    ("hidden", include_str!("../../tests/golden/hidden.story")),
    ("expiry", include_str!("../../tests/golden/expiry.story")),
    ("refresh", include_str!("../../tests/golden/refresh.story")),
    ("own", include_str!("../../tests/golden/own.txt")),
];

/// What a line asks for.
enum Ask {
    Get(Get),
    /// The first event at this index or after it that watchers are told of, of those that are past.
    Wait(u64),
    Write(Write),
}

/// A story while it is told.
struct Teller {
    bench: Bench,
    events: Vec<Event>,
    clock_ms: i64,
}

#[test]
fn stories_go_as_they_went_with_etcd() {
    let mut asked = 0;
    for (name, text) in STORIES {
        let mut teller = Teller { bench: Bench::new(), events: Vec::new(), clock_ms: 0 };
        let mut told = Vec::new();
        let mut expected = Vec::new();
        let mut lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).peekable();
        while let Some(line) = lines.next() {
            let mut answer = Vec::new();
            let is_request =
                |line: &&str| ["curl ", "sleep ", "restart"].iter().any(|verb| line.starts_with(verb));
            while lines.peek().is_some_and(|next| !is_request(next)) {
                answer.extend(lines.next().filter(|line| *line != "----").map(str::to_owned));
            }
            asked += usize::from(!answer.is_empty());
            told.push((line, teller.tell(line)));
            expected.push((line, answer));
        }
        for (told, expected) in told.iter().zip(&expected) {
            assert_eq!(told, expected, "story {name}");
        }
    }
    assert!(asked >= 150, "the stories ask {asked} times");
}

impl Teller {
    fn tell(&mut self, line: &str) -> Vec<String> {
        match line.split_once(' ').unwrap_or((line, "")) {
            ("sleep", seconds) => {
                let end_ms = self.clock_ms + seconds.parse::<i64>().expect("seconds") * 1000;
                while self.clock_ms < end_ms {
                    self.clock_ms += 500;
                    let write = Write::Expire { now: self.now(), nodes_max: u64::MAX };
                    self.events
                        .extend(self.bench.apply(&write, self.now()).expect("expiry is never refused"));
                }
                Vec::new()
            }
            ("restart", _) => {
                self.bench.restart();
                Vec::new()
            }
            (_, words) => self.answer(parse(words, self.now())),
        }
    }

    fn answer(&mut self, ask: Ask) -> Vec<String> {
        let writes = matches!(ask, Ask::Write(_));
        let outcome = match ask {
            Ask::Get(get) => self.bench.v2.get(&get, self.now()),
            Ask::Wait(index) => {
                let heard = self.events.iter().find(|event| event.index >= index && !event.refresh);
                Ok(heard.expect("stories wait for the past").clone())
            }
            Ask::Write(write) => self.bench.apply(&write, self.now()).map(|mut events| {
                assert_eq!(events.len(), 1, "one event");
                self.events.extend(events.first().cloned());
                events.remove(0)
            }),
        };
        let (status, body) = match &outcome {
            Ok(event) => (if writes { status(event) } else { 200 }, event_json(event)),
            Err(refusal) => refusal_json(refusal),
        };
        vec![format!("{status} index={}", self.bench.v2.index()), body.to_string()]
    }

    fn now(&self) -> Timestamp {
        after_ms(self.clock_ms)
    }
}

/// Understands a request as etcd's door does, as far as the stories need it.
fn parse(words: &str, now: Timestamp) -> Ask {
    let mut words = words.split(' ');
    let (mut method, mut url, mut form) = ("GET", "", BTreeMap::new());
    while let Some(word) = words.next() {
        match word {
            "-X" => method = words.next().expect("a method"),
            "-d" => form.extend([words.next().and_then(|pair| pair.split_once('=')).expect("name=value")]),
            word => url = word.strip_prefix("$KEYS").expect("the URL of the keys"),
        }
    }
    let (path, query) = url.split_once('?').unwrap_or((url, ""));
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').expect("name=value");
        form.entry(name).or_insert(value);
    }
    let path = Path::clean(&percent_decode_str(path).decode_utf8().expect("text"));
    let flag = |name: &str| form.get(name) == Some(&"true");
    let number = |name: &str| form.get(name).and_then(|text| text.parse::<u64>().ok());
    let value = form.get("value").map(|value| (*value).to_owned()).unwrap_or_default().into();
    let condition = Condition {
        prev_value: form.get("prevValue").map(|value| (*value).to_owned().into()),
        prev_index: number("prevIndex").filter(|index| *index > 0),
    };
    let expiry = number("ttl").map_or(Expiry::Never, |ttl_s| Expiry::after(now, ttl_s));
    let (dir, refresh) = (flag("dir"), flag("refresh"));
    Ask::Write(match (method, form.get("prevExist").copied()) {
        ("GET", _) => {
            return match number("waitIndex") {
                Some(index) => Ask::Wait(index),
                None => Ask::Get(Get { path, recursive: flag("recursive"), sorted: flag("sorted") }),
            };
        }
        ("POST", _) => Write::Create { path, value, dir, expiry, in_order: true },
        ("PUT", Some("false")) => Write::Create { path, value, dir, expiry, in_order: false },
        ("PUT", _) if !condition.is_empty() => {
            Write::CompareAndSwap { path, condition, value, expiry, refresh }
        }
        ("PUT", Some(_)) => Write::Update { path, value, expiry, refresh },
        ("PUT", None) => Write::Set { path, value, dir, expiry, refresh },
        ("DELETE", _) if !condition.is_empty() => Write::CompareAndDelete { path, condition },
        ("DELETE", _) => Write::Delete { path, dir, recursive: flag("recursive") },
        (method, _) => panic!("no story uses {method}"),
    })
}

fn status(event: &Event) -> u16 {
    match event.action {
        Action::Create => 201,
        Action::Set if event.prev_node.is_none() => 201,
        _ => 200,
    }
}

fn event_json(event: &Event) -> Value {
    let mut body = Map::new();
    body.insert("action".to_owned(), event.action.as_str().into());
    body.insert("node".to_owned(), node_json(&event.node));
    body.extend(event.prev_node.as_ref().map(|node| ("prevNode".to_owned(), node_json(node))));
    Value::Object(body)
}

fn node_json(node: &Node) -> Value {
    let mut body = Map::new();
    let mut field =
        |name: &str, value: Option<Value>| body.extend(value.map(|value| (name.to_owned(), value)));
    field("key", Some(node.key.as_str()).filter(|key| !key.is_empty()).map(Into::into));
    field("value", node.value.as_ref().map(|value| String::from_utf8_lossy(value).into()));
    field("dir", node.dir.then_some(true.into()));
    field(
        "expiration",
        node.expiration.map(|at| {
            let seconds = i128::from(at.0) - i128::from(EPOCH.0);
            format!("T+{}", (seconds as f64 / 1e9).round()).into()
        }),
    );
    field("ttl", Some(node.ttl).filter(|ttl| *ttl != 0).map(Into::into));
    field("nodes", Some(&node.nodes).filter(|n| !n.is_empty()).map(|n| n.iter().map(node_json).collect()));
    field("modifiedIndex", Some(node.modified_index).filter(|index| *index != 0).map(Into::into));
    field("createdIndex", Some(node.created_index).filter(|index| *index != 0).map(Into::into));
    Value::Object(body)
}

fn refusal_json(refusal: &Refusal) -> (u16, Value) {
    let (status, message) = match refusal.code {
        100 => (404, "Key not found"),
        101 => (412, "Compare failed"),
        102 => (403, "Not a file"),
        104 => (400, "Not a directory"),
        105 => (412, "Key already exists"),
        107 => (400, "Root is read only"),
        108 => (403, "Directory not empty"),
        209 => (400, "Invalid field"),
        code => panic!("no story is refused with {code}"),
    };
    let mut body = json!({"errorCode": refusal.code, "message": message, "cause": refusal.cause, "index": refusal.index});
    if refusal.cause.is_empty() {
        body.as_object_mut().and_then(|body| body.shift_remove("cause"));
    }
    (status, body)
}
