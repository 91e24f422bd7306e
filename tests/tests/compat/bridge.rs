//! v2's scenarios on v3's keys (`--v2-bridge-prefix`), beside real etcd's own v2.
//!
//! Left out of both answers is what docs/COMPATIBILITY.md says of the bridge: `createdIndex`, the indexes of directories,
//! and the times in what waits are told. All else must agree, but for the rows that hold for v2 anyway.

use std::env;
use std::fmt::Write as _;

use ::tests::answer::Answer;
use ::tests::{Program, Release, allowed};
use serde_json::Value;

use crate::scenario::{self, Send, Step};
use crate::{Against, run_all};

/// There are so many at least.
const REQUESTS_MIN: usize = 500;

#[test]
fn answers_of_the_bridge_are_those_of_v2_where_not_said_otherwise() {
    if let Err(error) = compare() {
        panic!("{error:#}");
    }
}

fn compare() -> anyhow::Result<()> {
    let only = env::var("COMPAT_ONLY").ok();
    let mut scenarios = scenario::all(&tests::root().join("tests/compat"))?;
    scenarios.retain(|scenario| is_about_keys(&scenario.name));
    scenarios.retain(|scenario| only.as_ref().is_none_or(|only| *only == scenario.name));
    let allowed = allowed::rows("## Allowed differences")?;
    let against = Against { release: Release::Debian, bridged: true };
    let findings = run_all(&scenarios, &allowed, &Program::etcd()?, &Program::kvorum()?, against);
    let mut report = findings.refused.join("\n");
    if findings.v2_requests < REQUESTS_MIN && only.is_none() {
        writeln!(report, "{} requests are fewer than {REQUESTS_MIN}", findings.v2_requests)?;
    }
    eprintln!("the bridge: {} requests in {} scenarios", findings.v2_requests, scenarios.len());
    anyhow::ensure!(report.is_empty(), "\n{report}");
    Ok(())
}

/// Of members, of users and of what v2 remembers of its own keyspace the bridge says nothing.
fn is_about_keys(name: &str) -> bool {
    let is_other = ["v2-members", "v2-auth", "v2-history"].iter().any(|begin| name.starts_with(begin));
    name.starts_with("v2-") && !is_other
}

/// Leaves out of an answer what the bridge says otherwise.
pub(crate) fn leave_out(answer: &mut Answer, step: &Step) {
    let is_wait = step.title.contains("wait=") || matches!(step.send, Send::Stream { .. });
    if step.title.starts_with("HEAD ") {
        // Of a body that is not sent, with indexes of other lengths in it.
        answer.rewrite("header content-length", |_| "<length>".to_owned());
    }
    answer.rewrite("body", |body| {
        let lines =
            body.split_inclusive('\n').map(|line| match serde_json::from_str::<Value>(line.trim_end()) {
                Ok(mut told @ Value::Object(_)) => {
                    if is_wait && told["action"] == "set" && told["node"]["dir"] == true {
                        // Of the file that became a directory nothing is told.
                        told.as_object_mut().into_iter().for_each(|told| drop(told.remove("prevNode")));
                    }
                    strip(&mut told, is_wait);
                    let end = if line.ends_with('\n') { "\n" } else { "" };
                    format!("{told}{end}")
                }
                _ => line.to_owned(),
            });
        lines.collect()
    });
}

fn strip(told: &mut Value, is_wait: bool) {
    match told {
        Value::Object(fields) => {
            let is_directory = fields.get("dir").is_some();
            fields.retain(|name, _| match name.as_str() {
                "createdIndex" => false,
                "modifiedIndex" => !is_directory,
                "expiration" | "ttl" => !is_wait,
                _ => true,
            });
            fields.values_mut().for_each(|value| strip(value, is_wait));
        }
        Value::Array(values) => values.iter_mut().for_each(|value| strip(value, is_wait)),
        _ => {}
    }
}
