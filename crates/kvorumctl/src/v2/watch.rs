//! `watch` and `exec-watch`: one request after the other, each behind what the last one showed.

use clap::Args;
use client::Method;

use super::failure::arguments;
use super::keys::judged;
use super::shown::text;
use super::wire::{Body, Reply, Wire, key_path};
use crate::failure::{Done, Failure, exit};
use crate::output::{print_line, say};
use crate::verbs::lock::execute;
use crate::verbs::signal::Stop;

#[derive(Debug, Args)]
pub(super) struct Watch {
    #[arg(value_name = "KEY")]
    args: Vec<String>,
    /// Goes on until it is interrupted.
    #[arg(short, long)]
    forever: bool,
    /// Shows what happened behind this index.
    #[arg(long, default_value_t = 0, value_name = "INDEX")]
    after_index: u64,
    /// Everything below it, too.
    #[arg(short, long)]
    recursive: bool,
}

#[derive(Debug, Args)]
#[command(
    after_help = "A command sees ETCD_WATCH_ACTION, ETCD_WATCH_KEY, ETCD_WATCH_VALUE and ETCD_WATCH_MODIFIED_INDEX."
)]
pub(super) struct ExecWatch {
    /// Shows what happened behind this index.
    #[arg(long, default_value_t = 0, value_name = "INDEX")]
    after_index: u64,
    /// Everything below it, too.
    #[arg(short, long)]
    recursive: bool,
    #[arg(value_name = "KEY -- COMMAND", trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<String>,
}

/// Where a watch stands.
struct Waiting<'a> {
    wire: &'a Wire,
    key: &'a str,
    recursive: bool,
    /// What comes next; 0 is what happens from now on.
    next: u64,
}

impl<'a> Waiting<'a> {
    fn new(wire: &'a Wire, key: &'a str, recursive: bool, after: u64) -> Self {
        Self { wire, key, recursive, next: if after > 0 { after + 1 } else { 0 } }
    }

    /// The next change of something that is no directory.
    async fn next(&mut self) -> Result<Reply, Failure> {
        loop {
            let mut query = vec![("wait", "true".to_owned()), ("recursive", self.recursive.to_string())];
            if self.next > 0 {
                query.push(("waitIndex", self.next.to_string()));
            }
            let reply =
                self.wire.ask_within(Method::GET, &key_path(self.key, &query), Body::Nothing, None).await?;
            // A member that ends sends a head and nothing behind it.
            if reply.status == 200 && reply.body.is_null() {
                continue;
            }
            let reply = judged(reply)?;
            self.next = reply.body["node"]["modifiedIndex"].as_u64().unwrap_or(self.next) + 1;
            if !reply.body["node"]["dir"].as_bool().unwrap_or(false) {
                return Ok(reply);
            }
        }
    }
}

impl Watch {
    pub(super) async fn run(self, wire: &Wire) -> Done {
        let key = self.args.first().ok_or_else(|| arguments("key required"))?;
        let mut waiting = Waiting::new(wire, key, self.recursive, self.after_index);
        let mut stop = Stop::listen()?;
        loop {
            let reply = tokio::select! {
                reply = waiting.next() => reply?,
                () = stop.heard() => return Ok(()),
            };
            if self.recursive {
                let (action, node) = (text(&reply.body, "action"), &reply.body["node"]);
                print_line(&format!("[{action}] {}", text(node, "key")))?;
            }
            wire.form.show(&reply)?;
            if !self.forever {
                return Ok(());
            }
        }
    }
}

impl ExecWatch {
    pub(super) async fn run(self, wire: &Wire) -> Done {
        let mut words = self.args.into_iter();
        let key = words.next();
        let command: Vec<String> = words.skip_while(|word| word == "--").collect();
        let Some(key) = key.filter(|_| !command.is_empty()) else {
            return Err(arguments("key and command to exec required"));
        };
        let mut waiting = Waiting::new(wire, &key, self.recursive, self.after_index);
        let mut stop = Stop::listen()?;
        loop {
            let reply = tokio::select! {
                reply = waiting.next() => reply?,
                () = stop.heard() => return Ok(()),
            };
            let node = &reply.body["node"];
            let variables = [
                ("ETCD_WATCH_ACTION", text(&reply.body, "action").to_owned()),
                ("ETCD_WATCH_KEY", text(node, "key").to_owned()),
                ("ETCD_WATCH_VALUE", text(node, "value").to_owned()),
                ("ETCD_WATCH_MODIFIED_INDEX", node["modifiedIndex"].to_string()),
            ];
            match execute(&command, &variables).await {
                Ok(status) if status.success() => {}
                Ok(status) => say(&format!("{}: {status}", command.join(" "))),
                Err(reason) => {
                    let sentence = format!("{}: {reason}", command.join(" "));
                    return Err(Failure { status: exit::ERROR, text: None, details: vec![sentence] });
                }
            }
        }
    }
}
