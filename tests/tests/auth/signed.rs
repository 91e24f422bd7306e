//! Signed tokens over processes: of every method, beside real etcd with the same keys; and what is forged is refused.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

use ::tests::cluster::{Settings, program};
use ::tests::{Cluster, Node, Program, Release};
use anyhow::{Context, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::caller::{User, bytes, found};

/// Every method, and what openssl makes its key with.
const METHODS: [(&str, &[&str]); 13] = [
    ("RS256", RSA),
    ("RS384", RSA),
    ("RS512", RSA),
    ("PS256", RSA),
    ("PS384", RSA),
    ("PS512", RSA),
    ("ES256", &["ecparam", "-name", "prime256v1", "-genkey", "-noout"]),
    ("ES384", &["ecparam", "-name", "secp384r1", "-genkey", "-noout"]),
    ("ES512", &["ecparam", "-name", "secp521r1", "-genkey", "-noout"]),
    ("HS256", SECRET),
    ("HS384", SECRET),
    ("HS512", SECRET),
    ("EdDSA", &["genpkey", "-algorithm", "ed25519"]),
];
const RSA: &[&str] = &["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"];
const SECRET: &[&str] = &["rand", "-hex", "64"];

/// Tokens at which real etcd 3.5.1 ends.
const CRASHES: [&str; 3] = ["no user", "no revision", "a user that is none"];

/// The only one that etcd 3.5 does not know.
const NEWER: &str = "EdDSA";

/// Methods that are tried at the same time.
const WORKERS: usize = 3;

fn openssl(folder: &Path, arguments: &[&str]) -> anyhow::Result<()> {
    let output =
        Command::new("openssl").args(arguments).current_dir(folder).output().context("run openssl")?;
    ensure!(output.status.success(), "openssl {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// Keys `NAME.key` and `NAME.pub`, and the flag that names them.
fn keys(folder: &Path, name: &str, method: &str) -> anyhow::Result<String> {
    let make = METHODS.iter().find(|(known, _)| *known == method).context("a method")?.1;
    let (private, public) = (format!("{name}.key"), format!("{name}.pub"));
    let (command, more) = make.split_first().context("a command")?;
    openssl(folder, &[&[*command, "-out", &private], more].concat())?;
    let path = |file: &str| folder.join(file).display().to_string();
    let mut flag = format!("--auth-token=jwt,priv-key={},sign-method={method},ttl=10m", path(&private));
    if make != SECRET {
        openssl(folder, &["pkey", "-in", &private, "-pubout", "-out", &public])?;
        flag = format!("{flag},pub-key={}", path(&public));
    }
    Ok(flag)
}

fn folder() -> anyhow::Result<TempDir> {
    tempfile::Builder::new().prefix("kvorum-jwt-").tempdir().context("make a folder")
}

/// Users at a new member, and alice signed in.
fn alice_at(node: &Node) -> anyhow::Result<User> {
    found(node.address(), "root-password", "alice-password")?;
    User::sign_in(node.address(), "alice", "alice-password")
}

fn check_method(method: &str) -> anyhow::Result<()> {
    let folder = folder()?;
    let flag = keys(folder.path(), "own", method)?;
    let ours = Node::start(&Program::kvorum()?, &[&flag, "--bcrypt-cost=4"])?;
    let alice = alice_at(&ours)?;
    ensure!(alice.put("a")?.code == 0 && alice.put("b")?.code == 7, "{method}: she does what she may");
    let token = alice.token.as_deref().context("a token")?;
    let head = token.split('.').next().map(|head| URL_SAFE_NO_PAD.decode(head)).context("a head")??;
    ensure!(serde_json::from_slice::<Value>(&head)?["alg"] == method, "{method}: {token}");
    let forged = User { token: Some(with_user(token, "root")?), ..alice.clone() };
    ensure!(forged.put("b")?.code == 16, "{method}: an altered name is believed");
    if method == NEWER {
        return Ok(());
    }
    let etcd = Node::start(&Program::release(Release::Pypi)?, &[&flag, "--bcrypt-cost=4"])?;
    let their_alice = alice_at(&etcd)?;
    for (user, at) in [(&alice, &etcd), (&their_alice, &ours)] {
        let user = user.at(at.address());
        let said = (user.put("a")?.code, user.put("b")?.code);
        ensure!(said == (0, 7), "{method}: a token of {:?} at the other: {said:?}", user.address);
    }
    Ok(())
}

/// The token with another user's name in its claims, and the signature that it had.
fn with_user(token: &str, user: &str) -> anyhow::Result<String> {
    let parts: Vec<&str> = token.split('.').collect();
    let [head, claims, signature] = parts.as_slice() else { anyhow::bail!("three parts: {token}") };
    let mut claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims)?)?;
    claims["username"] = user.into();
    Ok(format!("{head}.{}.{signature}", URL_SAFE_NO_PAD.encode(claims.to_string())))
}

#[test]
fn tokens_of_every_method_are_taken_here_and_by_real_etcd() {
    let next = AtomicUsize::new(0);
    let work = || -> Vec<String> {
        let mut failed = Vec::new();
        while let Some((method, _)) = METHODS.get(next.fetch_add(1, Ordering::Relaxed)) {
            failed.extend(check_method(method).err().map(|error| format!("{method}: {error:#}")));
        }
        failed
    };
    let failed: Vec<String> = thread::scope(|scope| {
        let workers: Vec<_> = (0..WORKERS).map(|_| scope.spawn(work)).collect();
        workers.into_iter().flat_map(|worker| worker.join().expect("no worker panics")).collect()
    });
    assert!(failed.is_empty(), "{failed:#?}");
}

/// What forgers have, and what they make of it; each with a name.
fn forged(folder: &Path, revision: u64) -> anyhow::Result<BTreeMap<&'static str, String>> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let claims = |user: &str, exp: u64| json!({"username": user, "revision": revision, "exp": exp});
    let own = EncodingKey::from_ec_der(&pkcs8(folder, "own")?);
    let other = EncodingKey::from_ec_der(&pkcs8(folder, "other")?);
    let public = fs::read(folder.join("own.pub"))?;
    let sign = |algorithm, claims: &Value, key: &EncodingKey| {
        jsonwebtoken::encode(&Header::new(algorithm), claims, key).context("sign")
    };
    let root = claims("root", now + 600);
    let body = URL_SAFE_NO_PAD.encode(root.to_string());
    let none = |head: &str| format!("{}.{body}.", URL_SAFE_NO_PAD.encode(head));
    let good = sign(Algorithm::ES256, &root, &own)?;
    let signature = good.rsplit('.').next().context("a signature")?;
    Ok(BTreeMap::from([
        ("good", good.clone()),
        ("expired", sign(Algorithm::ES256, &claims("root", now - 1), &own)?),
        (
            "not yet",
            sign(
                Algorithm::ES256,
                &json!({"username": "root", "revision": revision, "exp": now + 600, "nbf": now + 300}),
                &own,
            )?,
        ),
        ("another key", sign(Algorithm::ES256, &root, &other)?),
        ("none", none(r#"{"alg":"none","typ":"JWT"}"#)),
        ("None", none(r#"{"alg":"None"}"#)),
        ("none with a signature", none(r#"{"alg":"none"}"#) + signature),
        ("no algorithm", none(r#"{"typ":"JWT"}"#)),
        ("the public key as a secret", sign(Algorithm::HS256, &root, &EncodingKey::from_secret(&public))?),
        ("no user", sign(Algorithm::ES256, &json!({"revision": revision, "exp": now + 600}), &own)?),
        ("no revision", sign(Algorithm::ES256, &json!({"username": "root", "exp": now + 600}), &own)?),
        (
            "a user that is none",
            sign(Algorithm::ES256, &json!({"username": 1, "revision": revision, "exp": now + 600}), &own)?,
        ),
        ("without its signature", good.trim_end_matches(signature).to_owned()),
        ("two parts", good.rsplit_once('.').context("a dot")?.0.to_owned()),
        ("another user", with_user(&sign(Algorithm::ES256, &claims("alice", now + 600), &own)?, "root")?),
        ("nothing", ".".to_owned()),
    ]))
}

fn pkcs8(folder: &Path, name: &str) -> anyhow::Result<Vec<u8>> {
    let (key, out) = (format!("{name}.key"), format!("{name}.pkcs8"));
    openssl(folder, &["pkcs8", "-topk8", "-nocrypt", "-outform", "DER", "-in", &key, "-out", &out])?;
    Ok(fs::read(folder.join(out))?)
}

#[test]
fn a_token_of_one_member_is_taken_by_all_and_a_forged_one_by_none() -> anyhow::Result<()> {
    let folder = folder()?;
    let flag = keys(folder.path(), "own", "ES256")?;
    keys(folder.path(), "other", "ES256")?;
    let cluster = Cluster::start(&Settings::new(&program()?, 3).flags(&[&flag, "--bcrypt-cost=4"]))?;
    let etcd = Node::start(&Program::release(Release::Pypi)?, &[&flag, "--bcrypt-cost=4"])?;
    alice_at(&etcd)?;
    let first = cluster.member(0).address();
    found(first, "root-password", "alice-password")?;
    let alice = User::sign_in(first, "alice", "alice-password")?;
    let root = User::sign_in(first, "root", "root-password")?;
    let revision = root.ask("Auth/AuthStatus", &json!({}))?.ok()?["authRevision"].clone();
    let revision: u64 = revision.as_str().context("a revision")?.parse()?;
    let addresses: Vec<_> = (0..3).map(|number| cluster.member(number).address()).collect();
    for address in &addresses {
        // Elsewhere what was said last may not be known yet: a linearizable read waits for it.
        alice.at(*address).get("a")?.ok()?;
        ensure!(alice.at(*address).put("b")?.code == 7, "her rights are the same everywhere");
    }
    for (name, token) in forged(folder.path(), revision)? {
        let with = |address| User { address, token: Some(token.clone()) };
        for address in &addresses {
            let said = with(*address).get("b")?;
            ensure!((said.code == 0) == (name == "good"), "{name}: {said:?}");
            if name != "good" {
                ensure!(with(*address).put("b")?.code == 16, "{name}: it writes");
            }
            if !CRASHES.contains(&name) {
                let theirs = with(etcd.address()).get("b")?;
                let is_same = (said.code, &said.text) == (theirs.code, &theirs.text);
                ensure!(is_same, "{name}: {said:?}, etcd: {theirs:?}");
            }
        }
    }
    // A token is of the time before a change, and says so.
    root.ask("Auth/RoleAdd", &json!({"name": "new"}))?.ok()?;
    for address in &addresses {
        let said = alice.at(*address).ask("KV/Put", &json!({"key": bytes("a")}))?;
        ensure!(said.text == "etcdserver: revision of auth store is old", "{said:?}");
        User::sign_in(*address, "alice", "alice-password")?.put("a")?.ok()?;
    }
    cluster.done()
}
