//! `role` and `auth`: what users of v2 may do, and whether that is asked.

use clap::{Args, Subcommand};
use client::Method;
use serde_json::{Value, json};

use super::failure::said;
use super::shown::text;
use super::users::{Words, judged};
use super::wire::{Body, Wire, named_path, texts};
use crate::failure::{Done, Failure};
use crate::output::{print, print_line};

const FOLDER: &str = "/v2/auth/roles";

#[derive(Debug, Subcommand)]
pub(super) enum Role {
    /// Adds a role.
    Add(Words),
    /// Shows what a role permits.
    Get(Words),
    /// Lists roles.
    List,
    /// Removes a role.
    Remove(Words),
    /// Permits something.
    Grant(Permission),
    /// Permits something no more.
    Revoke(Permission),
}

#[derive(Debug, Args)]
pub(super) struct Permission {
    #[arg(value_name = "ROLE")]
    args: Vec<String>,
    /// What it is about; with * at the end all that begins so.
    #[arg(long, default_value = "", hide_default_value = true, value_name = "PATH")]
    path: String,
    /// Reading.
    #[arg(long)]
    read: bool,
    /// Writing.
    #[arg(long)]
    write: bool,
    /// Both.
    #[arg(long, visible_alias = "rw")]
    readwrite: bool,
}

/// Whether the cluster asks who speaks.
#[derive(Debug, Subcommand)]
pub(super) enum Auth {
    /// From now on it does.
    Enable,
    /// From now on it does not.
    Disable,
}

impl Role {
    pub(super) async fn run(self, wire: &Wire) -> Done {
        match self {
            Self::Add(words) => {
                let name = role_of(&words.args)?;
                let path = named_path(FOLDER, &name);
                if wire.ask(Method::GET, &path, Body::Nothing).await?.status == 200 {
                    return Err(said(format!("Role {name} already exists")));
                }
                let nothing = json!({"kv": {"read": null, "write": null}});
                let body = Body::Json(json!({"role": name, "permissions": nothing}));
                judged(wire.ask(Method::PUT, &path, body).await?)?;
                print_line(&format!("Role {name} created"))
            }
            Self::Get(words) => {
                let name = role_of(&words.args)?;
                let reply = judged(wire.ask(Method::GET, &named_path(FOLDER, &name), Body::Nothing).await?)?;
                let kv = &reply.body["permissions"]["kv"];
                let paths = |field: &str| -> String {
                    texts(&kv[field]).iter().map(|path| format!("\t{path}\n")).collect::<Vec<_>>().concat()
                };
                let role = text(&reply.body, "role");
                let text = format!("Role: {role}\nKV Read:\n{}KV Write:\n{}", paths("read"), paths("write"));
                print(text.as_bytes())
            }
            Self::List => {
                let reply = wire.ask(Method::GET, FOLDER, Body::Nothing).await?;
                if reply.status != 200 {
                    return Err(said(format!("unexpected status code {}", reply.status)));
                }
                let roles = reply.body["roles"].as_array().cloned().unwrap_or_default();
                let lines = roles
                    .iter()
                    .map(|role| format!("{}\n", role.as_str().unwrap_or_else(|| text(role, "role"))));
                print(lines.collect::<String>().as_bytes())
            }
            Self::Remove(words) => {
                let name = role_of(&words.args)?;
                judged(wire.ask(Method::DELETE, &named_path(FOLDER, &name), Body::Nothing).await?)?;
                print_line(&format!("Role {name} removed"))
            }
            Self::Grant(verb) => verb.change(wire, "grant").await,
            Self::Revoke(verb) => verb.change(wire, "revoke").await,
        }
    }
}

impl Permission {
    async fn change(self, wire: &Wire, how: &str) -> Done {
        let name = role_of(&self.args)?;
        if self.path.is_empty() {
            return Err(said("No path specified; please use `--path`"));
        }
        let paths = |is_meant: bool| if is_meant { json!([self.path]) } else { Value::Null };
        let (read, write) = match (self.read, self.write, self.readwrite) {
            (true, false, false) => (true, false),
            (false, true, false) => (false, true),
            (false, false, true) => (true, true),
            _ => return Err(said("Please specify exactly one of --read, --write or --readwrite")),
        };
        let kv = json!({"kv": {"read": paths(read), "write": paths(write)}});
        let nothing = json!({"kv": {"read": null, "write": null}});
        let body = Body::Json(json!({"role": name, "permissions": nothing, how: kv}));
        judged(wire.ask(Method::PUT, &named_path(FOLDER, &name), body).await?)?;
        print_line(&format!("Role {name} updated"))
    }
}

fn role_of(args: &[String]) -> Result<String, Failure> {
    args.first().cloned().ok_or_else(|| said("Please provide a role name"))
}

impl Auth {
    pub(super) async fn run(self, wire: &Wire) -> Done {
        let (method, sentence) = match self {
            Self::Enable => (Method::PUT, "Authentication Enabled"),
            Self::Disable => (Method::DELETE, "Authentication Disabled"),
        };
        judged(wire.ask(method, "/v2/auth/enable", Body::Nothing).await?)?;
        print_line(sentence)
    }
}
