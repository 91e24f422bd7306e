//! The users of v2 beside those of v3: patterns of keys, guests, and root.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use ::tests::http1;
use anyhow::ensure;
use serde_json::json;

use crate::caller::PATIENCE;
use crate::chance::Chance;
use crate::model::{Verdict, basic};

const NAMES: [&str; 2] = ["ann", "bea"];

/// A pattern of a role: one key, or what begins with what stands before `*`.
type Patterns = Vec<String>;

#[derive(Clone, Debug, Default)]
struct Role {
    read: Patterns,
    write: Patterns,
}

/// A member with users of v2.
pub(crate) struct House {
    connection: http1::Connection,
    guest: Role,
    users: Vec<(&'static str, Role)>,
}

/// A path of up to three names.
fn path(chance: &mut Chance) -> String {
    (0..=chance.below(2)).map(|_| *chance.one(&["/a", "/b", "/ab"])).collect()
}

fn patterns(chance: &mut Chance) -> Patterns {
    let some: BTreeSet<String> =
        (0..chance.below(3)).map(|_| path(chance) + *chance.one(&["", "*", "/*"])).collect();
    some.into_iter().collect()
}

impl Role {
    fn some(chance: &mut Chance) -> Self {
        Self { read: patterns(chance), write: patterns(chance) }
    }

    fn may(&self, write: bool, recursive: bool, key: &str) -> bool {
        let patterns = if write { &self.write } else { &self.read };
        patterns.iter().any(|pattern| match pattern.strip_suffix('*') {
            Some(begin) => key.starts_with(begin),
            None => !recursive && pattern == key,
        })
    }
}

impl House {
    pub(crate) fn open(address: SocketAddr) -> anyhow::Result<Self> {
        let connection = http1::Connection::new(address, PATIENCE);
        let mut house = Self { connection, guest: Role::default(), users: Vec::new() };
        house.as_root("users/root", &json!({"user": "root", "password": "root"}).to_string())?;
        for name in NAMES {
            house.as_root(&format!("users/{name}"), &json!({"user": name, "password": name}).to_string())?;
        }
        house.as_root("roles/guest", &json!({"role": "guest"}).to_string())?;
        house.as_root("enable", "")?;
        Ok(house)
    }

    fn as_root(&mut self, path: &str, body: &str) -> anyhow::Result<()> {
        let request =
            http1::request("PUT", &format!("/v2/auth/{path}"), &basic("root", "root"), Some(body.as_bytes()));
        let reply = self.connection.ask(&request)?;
        ensure!(reply.status < 300, "PUT {path} {body}: {} {}", reply.status, reply.body_text());
        Ok(())
    }

    /// Other roles for everybody.
    pub(crate) fn furnish(&mut self, chance: &mut Chance, round: usize) -> anyhow::Result<()> {
        let old = std::mem::take(&mut self.guest);
        self.guest = Role::some(chance);
        let taken = json!({"kv": {"read": old.read, "write": old.write}});
        let given = json!({"kv": {"read": self.guest.read, "write": self.guest.write}});
        self.change("guest", "revoke", &taken)?;
        self.change("guest", "grant", &given)?;
        self.users.clear();
        for name in NAMES {
            let role = Role::some(chance);
            let own = format!("{name}{round}");
            let made = json!({"role": own, "permissions": {"kv": {"read": role.read, "write": role.write}}});
            self.as_root(&format!("roles/{own}"), &made.to_string())?;
            let mut user = json!({"user": name, "grant": [own]});
            if round > 0 {
                user["revoke"] = json!([format!("{name}{}", round - 1)]);
            }
            self.as_root(&format!("users/{name}"), &user.to_string())?;
            self.users.push((name, role));
        }
        Ok(())
    }

    fn change(&mut self, role: &str, what: &str, permissions: &serde_json::Value) -> anyhow::Result<()> {
        let body = json!({"role": role, what: permissions});
        let is_empty = ["read", "write"].iter().all(|kind| permissions["kv"][kind] == json!([]));
        if is_empty { Ok(()) } else { self.as_root(&format!("roles/{role}"), &body.to_string()) }
    }

    /// Asks for something, and looks whether it was refused.
    pub(crate) fn check(&mut self, chance: &mut Chance) -> anyhow::Result<Verdict> {
        let (who, role, proof, verdict) = match chance.below(8) {
            0 => ("root", None, basic("root", "root"), Verdict::Served),
            1 => ("a stranger", None, basic("ann", "wrong"), Verdict::BadToken),
            2 | 3 => ("a guest", Some(self.guest.clone()), Vec::new(), Verdict::NoName),
            _ => {
                let (name, role) = chance.one(&self.users).clone();
                (name, Some(role), basic(name, name), Verdict::Denied)
            }
        };
        let (write, recursive) = (chance.happens(2), chance.happens(3));
        let key = path(chance);
        let (method, body) = match (write, chance.below(3)) {
            (false, _) => ("GET", None),
            (true, 0) => ("DELETE", None),
            (true, 1) => ("POST", Some(&b"value=1"[..])),
            (true, _) => ("PUT", Some(&b"value=1"[..])),
        };
        let query = if recursive { "?recursive=true" } else { "" };
        // As in etcd, of a guest only the node itself is looked at.
        let whole = recursive && who != "a guest";
        let may = who == "root" || role.as_ref().is_some_and(|role| role.may(write, whole, &key));
        let request = http1::request(method, &format!("/v2/keys{key}{query}"), &proof, body);
        let reply = self.connection.ask(&request)?;
        ensure!(
            (reply.status != 401) == may,
            "{who} wants {method} {key}{query}: {} {}; his role is {role:?}",
            reply.status,
            reply.body_text()
        );
        Ok(if may { Verdict::Served } else { verdict })
    }
}
