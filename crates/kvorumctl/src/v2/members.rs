//! `member`: who is in the cluster, by the interface of v2.

use std::fmt::Write as _;

use clap::{Args, Subcommand};
use client::Method;
use serde_json::{Value, json};

use super::failure::said;
use super::shown::text;
use super::wire::{Body, Reply, Wire, named_path, texts};
use crate::failure::{Done, Failure};
use crate::output::{print, print_line};

const FOLDER: &str = "/v2/members";

#[derive(Debug, Subcommand)]
pub(super) enum Member {
    /// Lists all members.
    List,
    /// Adds a member, which is then to be started.
    Add(Words),
    /// Removes a member for good.
    Remove(Words),
    /// Changes where others reach it.
    Update(Words),
}

#[derive(Debug, Args)]
pub(super) struct Words {
    #[arg(value_name = "WORDS")]
    args: Vec<String>,
}

impl Member {
    pub(super) async fn run(self, wire: &Wire) -> Done {
        match self {
            Self::List => list(wire).await,
            Self::Add(words) => add(wire, &words.args).await,
            Self::Remove(words) => remove(wire, &words.args).await,
            Self::Update(words) => update(wire, &words.args).await,
        }
    }
}

async fn all(wire: &Wire) -> Result<Vec<Value>, Failure> {
    let reply = judged(wire.ask(Method::GET, FOLDER, Body::Nothing).await?)?;
    Ok(reply.body["members"].as_array().cloned().unwrap_or_default())
}

/// An answer that is no refusal. Only some of the statuses bring a sentence that etcdctl shows.
fn judged(reply: Reply) -> Result<Reply, Failure> {
    match reply.status {
        200..300 => Ok(reply),
        409 | 410 | 500 if reply.body["message"].is_string() => Err(said(text(&reply.body, "message"))),
        status => Err(said(format!("unexpected status code {status}"))),
    }
}

/// A place where a member can be reached.
fn check(url: &str) -> Done {
    let scheme = url.split_once("://").map_or("", |(scheme, _)| scheme);
    if ["http", "https", "unix", "unixs"].contains(&scheme) {
        return Ok(());
    }
    Err(said(format!("URL scheme must be http, https, unix, or unixs: {url}")))
}

async fn list(wire: &Wire) -> Done {
    let members = all(wire).await?;
    let leader = judged(wire.ask(Method::GET, "/v2/members/leader", Body::Nothing).await?);
    let leader = leader.map(|reply| text(&reply.body, "id").to_owned()).unwrap_or_default();
    let mut lines = String::new();
    for member in &members {
        let (id, name) = (text(member, "id"), text(member, "name"));
        let joined = |field: &str| texts(&member[field]).join(",");
        let _ = if name.is_empty() {
            writeln!(lines, "{id}[unstarted]: peerURLs={}", joined("peerURLs"))
        } else {
            let (peers, clients) = (joined("peerURLs"), joined("clientURLs"));
            writeln!(
                lines,
                "{id}: name={name} peerURLs={peers} clientURLs={clients} isLeader={}",
                id == leader
            )
        };
    }
    print(lines.as_bytes())
}

async fn add(wire: &Wire, args: &[String]) -> Done {
    let [name, url] = args else { return Err(said("Provide a name and a single member peerURL")) };
    check(url)?;
    let body = Body::Json(json!({"peerURLs": [url]}));
    let added = judged(wire.ask(Method::POST, FOLDER, body).await?)?;
    let id = text(&added.body, "id").to_owned();
    let mut cluster = Vec::new();
    for member in all(wire).await? {
        let is_new = text(&member, "id") == id;
        let called = if is_new { name.as_str() } else { text(&member, "name") };
        cluster.extend(texts(&member["peerURLs"]).iter().map(|url| format!("{called}={url}")));
    }
    print_line(&format!(
        "Added member named {name} with ID {id} to cluster\n\nETCD_NAME={name:?}\nETCD_INITIAL_CLUSTER=\"{}\"\n\
         ETCD_INITIAL_CLUSTER_STATE=\"existing\"",
        cluster.join(",")
    ))
}

async fn remove(wire: &Wire, args: &[String]) -> Done {
    let [id] = args else { return Err(said("Provide a single member ID")) };
    if !all(wire).await?.iter().any(|member| text(member, "id") == id) {
        return Err(said(format!("Couldn't find a member in the cluster with an ID of {id}.")));
    }
    judged(wire.ask(Method::DELETE, &named_path(FOLDER, id), Body::Nothing).await?)?;
    print_line(&format!("Removed member {id} from cluster"))
}

async fn update(wire: &Wire, args: &[String]) -> Done {
    let [id, urls] = args else {
        let text = "Provide an ID and a list of comma separated peerURL (0xabcd http://example.com,http://example1.com)";
        return Err(said(text));
    };
    let urls: Vec<&str> = urls.split(',').collect();
    if !all(wire).await?.iter().any(|member| text(member, "id") == id) {
        return Err(said(format!("No such member: {id}")));
    }
    urls.iter().try_for_each(|url| check(url))?;
    let body = Body::Json(json!({"peerURLs": urls}));
    judged(wire.ask(Method::PUT, &named_path(FOLDER, id), body).await?)?;
    print_line(&format!("Updated member with ID {id} in cluster"))
}
