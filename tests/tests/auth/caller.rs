//! One who calls a member: with a token or without, over JSON or over gRPC, with the same body.

use std::net::SocketAddr;
use std::time::Duration;

use ::tests::{grpc, http1};
use anyhow::{Context, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

/// An answer takes no longer, an election and a busy machine included.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// What a member said.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Said {
    /// gRPC's code; 0 is success.
    pub(crate) code: u16,
    /// The text of an error.
    pub(crate) text: String,
    /// The answer in JSON.
    pub(crate) body: Value,
}

impl Said {
    /// The body of a success.
    pub(crate) fn ok(self) -> anyhow::Result<Value> {
        ensure!(self.code == 0, "{} ({})", self.text, self.code);
        Ok(self.body)
    }
}

/// The methods that have paths here: name of gRPC, path of JSON.
const PATHS: [(&str, &str); 9] = [
    ("Auth/Authenticate", "auth/authenticate"),
    ("Auth/UserRevokeRole", "auth/user/revoke"),
    ("Maintenance/MoveLeader", "maintenance/transfer-leadership"),
    ("KV/DeleteRange", "kv/deleterange"),
    ("KV/Compact", "kv/compaction"),
    ("Auth/UserChangePassword", "auth/user/changepw"),
    ("Auth/UserGrantRole", "auth/user/grant"),
    ("Auth/RoleGrantPermission", "auth/role/grant"),
    ("Auth/RoleRevokePermission", "auth/role/revoke"),
];

/// The path of a method of gRPC over JSON.
pub(crate) fn path(method: &str) -> anyhow::Result<String> {
    if let Some((_, path)) = PATHS.iter().find(|(name, _)| *name == method) {
        return Ok(format!("/v3/{path}"));
    }
    let (service, name) = method.split_once('/').context("a service and a method")?;
    let mut words = String::new();
    for (at, char) in name.char_indices() {
        if char.is_uppercase() && at > 0 && service == "Auth" {
            words.push('/');
        }
        words.push(char.to_ascii_lowercase());
    }
    let service = service.to_lowercase();
    // `LeaseGrant` of `Lease` is `lease/grant`, `AuthEnable` of `Auth` is `auth/enable`.
    let rest = words.strip_prefix(&service).map_or(words.as_str(), |rest| rest.trim_start_matches('/'));
    let rest = if service == "cluster" { rest.replacen("member", "member/", 1) } else { rest.to_owned() };
    Ok(format!("/v3/{service}/{rest}"))
}

/// A header line.
pub(crate) fn header(name: &str, value: &str) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

/// Calls over JSON with these headers.
pub(crate) fn json(
    address: SocketAddr,
    method: &str,
    headers: &[(String, String)],
    body: &Value,
) -> anyhow::Result<Said> {
    let request = http1::request("POST", &path(method)?, headers, Some(body.to_string().as_bytes()));
    json_said(&http1::exchange(address, &request, PATIENCE)?)
}

/// An answer over JSON, understood.
pub(crate) fn json_said(reply: &http1::Reply) -> anyhow::Result<Said> {
    let body: Value = serde_json::from_slice(&reply.body).with_context(|| reply.body_text())?;
    if reply.status == 200 {
        return Ok(Said { code: 0, text: String::new(), body });
    }
    let code = body["code"].as_u64().and_then(|code| u16::try_from(code).ok());
    let text = body["message"].as_str().unwrap_or_default().to_owned();
    Ok(Said { code: code.with_context(|| reply.body_text())?, text, body })
}

/// Calls over gRPC with this metadata.
pub(crate) fn grpc(
    address: SocketAddr,
    method: &str,
    metadata: &[(String, String)],
    body: &Value,
) -> anyhow::Result<Said> {
    let known = grpc::method(method).with_context(|| format!("there is no method {method}"))?;
    let message = grpc::encode(known.input(), &body.to_string())?;
    let reply = grpc::call(address, &grpc::path_of(&known), metadata, &message, PATIENCE)?;
    grpc_said(method, &reply)
}

/// An answer over gRPC, understood. Of several messages the first counts.
pub(crate) fn grpc_said(method: &str, reply: &grpc::Reply) -> anyhow::Result<Said> {
    let known = grpc::method(method).with_context(|| format!("there is no method {method}"))?;
    let mut ends = reply.headers.iter().chain(&reply.trailers);
    let code = ends.clone().find(|(name, _)| name == "grpc-status").context("a status")?.1.parse()?;
    let text = ends.find(|(name, _)| name == "grpc-message").map_or("", |(_, text)| text).to_owned();
    let message = reply.messages.iter().flatten().next();
    let body = message.map(|message| grpc::decode(known.output(), message)).transpose()?;
    let body = body.map_or(Ok(Value::Null), |body| serde_json::from_str(&body))?;
    Ok(Said { code, text, body })
}

/// Bytes as JSON has them.
pub(crate) fn bytes(text: &str) -> Value {
    STANDARD.encode(text).into()
}

/// A user at one member.
#[derive(Clone, Debug)]
pub(crate) struct User {
    pub(crate) address: SocketAddr,
    pub(crate) token: Option<String>,
}

impl User {
    pub(crate) fn nobody(address: SocketAddr) -> Self {
        Self { address, token: None }
    }

    /// Signs in.
    pub(crate) fn sign_in(address: SocketAddr, name: &str, password: &str) -> anyhow::Result<Self> {
        let body = json!({"name": name, "password": password});
        let said = json(address, "Auth/Authenticate", &[], &body)?.ok()?;
        let token = said["token"].as_str().context("a token")?;
        Ok(Self { address, token: Some(token.to_owned()) })
    }

    /// The same at another member, with the token of this one.
    pub(crate) fn at(&self, address: SocketAddr) -> Self {
        Self { address, token: self.token.clone() }
    }

    /// Asks over JSON.
    pub(crate) fn ask(&self, method: &str, body: &Value) -> anyhow::Result<Said> {
        json(self.address, method, &self.proof("Authorization"), body)
    }

    /// Asks over gRPC.
    pub(crate) fn call(&self, method: &str, body: &Value) -> anyhow::Result<Said> {
        grpc(self.address, method, &self.proof("token"), body)
    }

    pub(crate) fn put(&self, key: &str) -> anyhow::Result<Said> {
        self.call("KV/Put", &json!({"key": bytes(key), "value": bytes("v")}))
    }

    pub(crate) fn get(&self, key: &str) -> anyhow::Result<Said> {
        self.ask("KV/Range", &json!({"key": bytes(key)}))
    }

    pub(crate) fn proof(&self, name: &str) -> Vec<(String, String)> {
        self.token.iter().map(|token| header(name, token)).collect()
    }
}

/// Users `root` and `alice`, their passwords, and a role that lets alice read and write what begins with `a`; then
/// everybody is asked for proof.
pub(crate) fn found(address: SocketAddr, root: &str, alice: &str) -> anyhow::Result<()> {
    let nobody = User::nobody(address);
    let permission = json!({"permType": "READWRITE", "key": bytes("a"), "range_end": bytes("b")});
    for (method, body) in [
        ("Auth/UserAdd", json!({"name": "root", "password": root})),
        ("Auth/UserGrantRole", json!({"user": "root", "role": "root"})),
        ("Auth/UserAdd", json!({"name": "alice", "password": alice})),
        ("Auth/RoleAdd", json!({"name": "own"})),
        ("Auth/RoleGrantPermission", json!({"name": "own", "perm": permission})),
        ("Auth/UserGrantRole", json!({"user": "alice", "role": "own"})),
        ("Auth/AuthEnable", json!({})),
    ] {
        nobody.ask(method, &body)?.ok().with_context(|| method.to_owned())?;
    }
    Ok(())
}
