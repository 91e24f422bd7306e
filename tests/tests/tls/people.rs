//! Who somebody is by the certificate: users of v2 by their common names, as real etcd has it, and `kvorumctl migrate`.

use std::process::{Command, Stdio};

use anyhow::{Context, ensure};
use tests::{Program, until};

use crate::house::{Answer, Member, PATIENCE, client_flags, curl, wait_healthy};
use crate::serving::stocked;
use crate::shop::{Key, Shop};

/// `root:pw`, and ann with a password that is wrong.
const ROOT: &str = "Authorization: Basic cm9vdDpwdw==";
const WRONG: &str = "Authorization: Basic YW5uOndyb25n";

/// A member alone, that asks its clients for certificates.
fn alone(shop: &Shop, program: &Program) -> anyhow::Result<Member> {
    let mut member = Member::new(program, "solo", |client, peer| {
        let peer = format!("http://127.0.0.1:{peer}");
        let words = ["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer];
        let cluster = ["--initial-cluster".to_owned(), format!("solo={peer}")];
        [client_flags(shop, client), words.map(str::to_owned).to_vec(), cluster.to_vec()].concat()
    })?;
    member.spawn()?;
    wait_healthy(shop, &member)?;
    Ok(member)
}

fn put(shop: &Shop, member: &Member, path: &str, body: &str) -> anyhow::Result<Answer> {
    let url = format!("{}/v2/{path}", member.url());
    curl(shop, Some("client"), &["-w", " %{http_code}", "-X", "PUT", &url, "-d", body])
}

/// What those with certificates of these names are answered.
fn judgements(shop: &Shop, program: &Program) -> anyhow::Result<Vec<(String, String)>> {
    let member = alone(shop, program)?;
    for (path, body) in [
        ("keys/own/a", "value=1"),
        ("keys/other", "value=1"),
        ("auth/roles/own", r#"{"role":"own","permissions":{"kv":{"read":["/own/*"],"write":["/own/*"]}}}"#),
        ("auth/roles/guest", r#"{"role":"guest"}"#),
        ("auth/users/root", r#"{"user":"root","password":"pw"}"#),
        ("auth/users/ann", r#"{"user":"ann","password":"pw","roles":["own"]}"#),
        ("auth/enable", ""),
    ] {
        let told = put(shop, &member, path, body)?;
        ensure!([" 200", " 201"].iter().any(|status| told.body.ends_with(status)), "{path}: {told:?}");
    }
    let mut told = Vec::new();
    for certificate in ["client", "ann", "root"] {
        for header in [None, Some(ROOT), Some(WRONG)] {
            for (method, path) in [
                ("GET", "keys/own/a"),
                ("GET", "keys/other"),
                ("PUT", "keys/own/b?value=2"),
                ("PUT", "keys/other?value=2"),
                ("GET", "auth/users/ann"),
                ("DELETE", "auth/roles/none"),
                ("DELETE", "members/1"),
            ] {
                let url = format!("{}/v2/{path}", member.url());
                let mut arguments = vec!["-w", " %{http_code}", "-X", method, &url];
                arguments.extend(header.into_iter().flat_map(|header| ["-H", header]));
                let answer = curl(shop, Some(certificate), &arguments)?;
                told.push((format!("{certificate} {header:?} {method} {path}"), answer.body));
            }
        }
    }
    Ok(told)
}

#[test]
fn the_common_name_is_a_user_of_v2_as_it_is_in_etcd() -> anyhow::Result<()> {
    let shop = stocked()?;
    for name in ["ann", "root"] {
        shop.sign("ca", name, "client", &[""], Key::Ecdsa)?;
    }
    let ours = judgements(&shop, &Program::kvorum()?)?;
    let theirs = judgements(&shop, &Program::etcd()?)?;
    for (ours, theirs) in ours.iter().zip(&theirs) {
        ensure!(ours == theirs, "{ours:?} is told, and {theirs:?} by etcd");
    }
    let status = |request: &str| {
        let found = ours.iter().find(|(asked, _)| asked == request);
        found.map(|(_, told)| told.rsplit(' ').next().unwrap_or_default().to_owned())
    };
    ensure!(status("ann None PUT keys/own/b?value=2").as_deref() == Some("200"), "{ours:?}");
    ensure!(status("ann None GET keys/other").as_deref() == Some("401"), "{ours:?}");
    ensure!(status("client None GET keys/own/a").as_deref() == Some("401"), "{ours:?}");
    ensure!(status("root None GET auth/users/ann").as_deref() == Some("200"), "{ours:?}");
    // Who shows a password is who it says, whatever the certificate.
    ensure!(status(&format!("root {:?} GET keys/other", Some(WRONG))).as_deref() == Some("401"), "{ours:?}");
    Ok(())
}

#[test]
fn a_tree_is_migrated_over_https() -> anyhow::Result<()> {
    let shop = stocked()?;
    let (source, target) = (alone(&shop, &Program::etcd()?)?, alone(&shop, &Program::kvorum()?)?);
    for (path, body) in [("keys/a/b", "value=1"), ("keys/c", "value=2&ttl=600"), ("keys/d", "dir=true")] {
        put(&shop, &source, path, body)?;
    }
    let program = Program::kvorum()?.path.with_file_name("kvorumctl");
    ensure!(program.is_file(), "there is no {}; run `make test`, which builds it first", program.display());
    let output = Command::new(program)
        .args(["--endpoints", &source.url(), "--cacert", &shop.word("ca.pem")])
        .args(["--cert", &shop.word("client.pem"), "--key", &shop.word("client-key.pem")])
        .args(["migrate", "--prefix=/v2/", "--dest-endpoints", &target.url()])
        .stdin(Stdio::null())
        .output()?;
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    ensure!(output.status.success() && said.contains("verified 3 keys"), "{said}");
    // The key /v2/a/b.
    let url = format!("{}/v3/kv/range", target.url());
    let value = || {
        let told = curl(&shop, Some("client"), &[&url, "-d", r#"{"key":"L3YyL2EvYg=="}"#]).ok()?;
        told.body.contains(r#""value":"MQ==""#).then_some(())
    };
    until(PATIENCE, value).with_context(|| format!("the key is not there: {said}"))
}
