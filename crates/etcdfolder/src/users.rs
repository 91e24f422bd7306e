//! Users and roles of v2, which etcd keeps as JSON in its own part of the v2 tree.

use std::collections::BTreeMap;

use serde::Deserialize;
use store::Batch;
use types::v2auth::{Change, Rights, Role};
use v2auth::V2Auth;

use crate::messages::V2Request;

/// That part of the tree: values by path, without `/2`.
#[derive(Debug, Default)]
pub(crate) struct Users {
    nodes: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
struct WireUser {
    #[serde(default)]
    password: String,
    #[serde(default)]
    roles: Option<Vec<String>>,
}

#[derive(Debug, Deserialize)]
struct WireRole {
    #[serde(default)]
    permissions: WirePermissions,
}

#[derive(Debug, Default, Deserialize)]
struct WirePermissions {
    #[serde(default)]
    kv: WireRights,
}

#[derive(Debug, Default, Deserialize)]
struct WireRights {
    #[serde(default)]
    read: Option<Vec<String>>,
    #[serde(default)]
    write: Option<Vec<String>>,
}

impl Users {
    pub(crate) fn put(&mut self, path: &str, value: String) {
        self.nodes.insert(path.to_owned(), value);
    }

    /// Does what a request does there, as far as etcd makes such. True if it changed something.
    pub(crate) fn apply(&mut self, path: &str, request: &V2Request) -> bool {
        let is_there = self.nodes.contains_key(path);
        match request.method.as_str() {
            "PUT" if request.prev_exists.is_some_and(|expected| expected != is_there) => false,
            "PUT" => {
                self.put(path, request.value.clone());
                true
            }
            "DELETE" => self.nodes.remove(path).is_some(),
            _ => false,
        }
    }

    /// Stages all of them. Those that are no users or roles of ours are told by name.
    pub(crate) fn stage(&self, auth: &V2Auth, batch: &mut Batch<'_>) -> Result<(), String> {
        for (path, value) in &self.nodes {
            let change = if let Some(name) = path.strip_prefix("/roles/") {
                let role: WireRole = serde_json::from_str(value).map_err(|_| path.clone())?;
                let WireRights { read, write } = role.permissions.kv;
                Change::CreateRole(Role { name: name.to_owned(), rights: Rights { read, write } })
            } else if let Some(name) = path.strip_prefix("/users/") {
                let user: WireUser = serde_json::from_str(value).map_err(|_| path.clone())?;
                let (name, hash) = (name.to_owned(), Some(user.password));
                match user.roles {
                    Some(roles) => Change::CreateUser { name, hash, roles },
                    None => Change::PutUser { name, hash, listed: false },
                }
            } else {
                continue;
            };
            auth.apply(&change, batch).result.map_err(|_| path.clone())?;
        }
        if self.nodes.get("/enabled").is_some_and(|enabled| enabled == "true") {
            auth.apply(&Change::Enable, batch).result.map_err(|_| "/enabled".to_owned())?;
        }
        Ok(())
    }
}
