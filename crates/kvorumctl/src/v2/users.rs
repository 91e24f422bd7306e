//! `user`: those of v2, who are others than those of v3.

use clap::{Args, Subcommand};
use client::Method;
use serde_json::{Value, json};

use super::failure::said;
use super::shown::text;
use super::wire::{Body, Reply, Wire, named_path, texts};
use crate::failure::{Done, Failure};
use crate::output::{print, print_line};
use crate::verbs::password;

const FOLDER: &str = "/v2/auth/users";

#[derive(Debug, Subcommand)]
pub(super) enum User {
    /// Adds a user.
    Add(Words),
    /// Shows a user's roles.
    Get(Words),
    /// Lists users.
    List,
    /// Removes a user.
    Remove(Words),
    /// Gives a user roles.
    Grant(Roles),
    /// Takes roles from a user.
    Revoke(Roles),
    /// Changes a password.
    Passwd(Words),
}

#[derive(Debug, Args)]
pub(super) struct Words {
    #[arg(value_name = "NAME")]
    pub(super) args: Vec<String>,
}

#[derive(Debug, Args)]
pub(super) struct Roles {
    #[arg(value_name = "NAME")]
    args: Vec<String>,
    /// Which roles.
    #[arg(long, value_name = "ROLE")]
    roles: Vec<String>,
}

impl User {
    pub(super) async fn run(self, wire: &Wire) -> Done {
        match self {
            Self::Add(words) => {
                let given = user_of(&words.args)?;
                let (name, password) = match given.split_once(':') {
                    Some((name, password)) => (name.to_owned(), password.to_owned()),
                    None => (given.clone(), password::ask("New password: ")?),
                };
                put(wire, &name, json!({"user": name, "password": password})).await?;
                print_line(&format!("User {name} created"))
            }
            Self::Get(words) => {
                let name = user_of(&words.args)?;
                let reply = judged(wire.ask(Method::GET, &named_path(FOLDER, &name), Body::Nothing).await?)?;
                let roles: String = names(&reply.body["roles"])
                    .iter()
                    .map(|role| format!(" {role}"))
                    .collect::<Vec<_>>()
                    .concat();
                print_line(&format!("User: {}\nRoles: {roles}", text(&reply.body, "user")))
            }
            Self::List => {
                let reply = judged(wire.ask(Method::GET, FOLDER, Body::Nothing).await?)?;
                let users = reply.body["users"].as_array().cloned().unwrap_or_default();
                let lines = users
                    .iter()
                    .map(|user| format!("{}\n", user.as_str().unwrap_or_else(|| text(user, "user"))));
                print(lines.collect::<String>().as_bytes())
            }
            Self::Remove(words) => {
                let name = user_of(&words.args)?;
                judged(wire.ask(Method::DELETE, &named_path(FOLDER, &name), Body::Nothing).await?)?;
                print_line(&format!("User {name} removed"))
            }
            Self::Grant(verb) => verb.change(wire, "grant").await,
            Self::Revoke(verb) => verb.change(wire, "revoke").await,
            Self::Passwd(words) => {
                let name = user_of(&words.args)?;
                let reply = wire.ask(Method::GET, &named_path(FOLDER, &name), Body::Nothing).await?;
                judged(reply)?;
                let password = password::ask("New password: ")?;
                put(wire, &name, json!({"user": name, "password": password})).await?;
                print_line("Password updated")
            }
        }
    }
}

impl Roles {
    async fn change(self, wire: &Wire, how: &str) -> Done {
        let name = user_of(&self.args)?;
        if self.roles.is_empty() {
            return Err(said("No roles specified; please use `--roles`"));
        }
        put(wire, &name, json!({"user": name, how: self.roles})).await?;
        print_line(&format!("User {name} updated"))
    }
}

fn user_of(args: &[String]) -> Result<String, Failure> {
    args.first().cloned().ok_or_else(|| said("Please provide a username"))
}

async fn put(wire: &Wire, name: &str, body: Value) -> Result<Reply, Failure> {
    judged(wire.ask(Method::PUT, &named_path(FOLDER, name), Body::Json(body)).await?)
}

/// An answer that is no refusal; what refuses says why.
pub(super) fn judged(reply: Reply) -> Result<Reply, Failure> {
    match (reply.status, reply.body["message"].as_str()) {
        (200..300, _) => Ok(reply),
        (_, Some(message)) => Err(said(message)),
        (status, None) => Err(said(format!("unexpected status code {status}"))),
    }
}

/// Names, which come alone or as fields of what they name.
fn names(list: &Value) -> Vec<String> {
    let of_objects = list.as_array().into_iter().flatten().filter_map(|one| one["role"].as_str());
    let mut names = texts(list);
    names.extend(of_objects.map(str::to_owned));
    names
}
