//! Users by certificate: a common name stands for a user over gRPC, and for nobody over JSON; who is revoked comes in
//! nowhere.

use anyhow::ensure;
use tests::{Program, Release, until};

use crate::house::{Member, PATIENCE, curl, etcdctl_as};
use crate::serving::{solo, stocked};
use crate::shop::{Key, Shop};

/// Users root and alice, who may write what begins with `a`, by certificates of these names.
fn with_users(shop: &Shop, member: &Member) -> anyhow::Result<()> {
    let commands: [&[&str]; 8] = [
        &["user", "add", "root:root-password"],
        &["user", "grant-role", "root", "root"],
        &["user", "add", "alice", "--no-password"],
        &["role", "add", "own"],
        &["role", "grant-permission", "own", "readwrite", "a", "b"],
        &["user", "grant-role", "alice", "own"],
        &["put", "b", "secret"],
        &["auth", "enable"],
    ];
    for command in commands {
        let said = etcdctl_as(shop, "client", Release::Pypi, &member.url(), command)?;
        ensure!(said.0, "{command:?}: {}", said.1);
    }
    Ok(())
}

/// CVE-2018-16886: behind a gateway that shows a certificate of its own, everybody was whom that one named.
#[test]
fn cve_2018_16886_a_common_name_is_nobody_over_json() -> anyhow::Result<()> {
    let shop = stocked()?;
    for name in ["root", "alice"] {
        shop.sign("ca", name, "client", &[""], Key::Ecdsa)?;
    }
    let programs = [Program::kvorum()?, Program::release(Release::Pypi)?];
    let mut told = Vec::new();
    for program in &programs {
        let member = solo(&shop, program, &[])?;
        with_users(&shop, &member)?;
        let as_user = |name: &str, command: &[&str]| {
            etcdctl_as(&shop, name, Release::Pypi, &member.url(), command)
                .map(|(fine, said)| (fine, said.contains("permission denied")))
        };
        let seen = [
            as_user("alice", &["put", "a1", "v"])?,
            as_user("alice", &["put", "b", "v"])?,
            as_user("root", &["put", "b", "v"])?,
            // A name that is no user's.
            as_user("client", &["put", "a1", "v"])?,
        ];
        ensure!(
            seen == [(true, false), (false, true), (true, false), (false, true)],
            "{}: {seen:?}",
            program.path.display()
        );
        let url = format!("{}/v3/kv/put", member.url());
        let body = r#"{"key": "Yg==", "value": "eA=="}"#;
        let mut answers = Vec::new();
        for extra in [&[][..], &["-H", "Grpc-Metadata-Grpcgateway-Accept: x"]] {
            let answer = curl(&shop, Some("root"), &[extra, &["--http2", &url, "-d", body]].concat())?;
            ensure!(!answer.body.contains("revision"), "root's certificate counts over JSON: {answer:?}");
            answers.push(answer.body);
        }
        let kept =
            etcdctl_as(&shop, "root", Release::Pypi, &member.url(), &["get", "b", "--print-value-only"])?;
        ensure!(kept == (true, "v\n".to_owned()), "{kept:?}");
        told.push(answers);
    }
    let [ours, theirs] = told.as_slice() else { anyhow::bail!("two programs") };
    ensure!(ours.first() == theirs.first(), "{ours:?}, etcd: {theirs:?}");
    Ok(())
}

/// GHSA-3wh4-j44w-pg92: a list of the revoked counts at every listener, not only at the first.
#[test]
fn ghsa_3wh4_j44w_pg92_who_is_revoked_comes_in_nowhere() -> anyhow::Result<()> {
    let shop = stocked()?;
    shop.sign("ca", "revoked", "client", &[""], Key::Ecdsa)?;
    shop.sign("ca", "neighbour", "peer", &["127.0.0.1"], Key::Ecdsa)?;
    shop.revoke("revoked")?;
    let mut member = Member::new(&Program::kvorum()?, "solo", |client, peer| {
        let mut flags = crate::house::client_flags(&shop, client);
        flags.extend(crate::house::peer_flags(&shop, peer));
        let (first, second) = (format!("https://127.0.0.1:{client}"), format!("https://127.0.0.2:{client}"));
        let more = [
            ("--listen-client-urls", format!("{first},{second}")),
            ("--initial-cluster", format!("solo=https://127.0.0.1:{peer}")),
            ("--client-crl-file", shop.word("crl.der")),
            ("--peer-crl-file", shop.word("crl.der")),
        ];
        flags.extend(more.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value]));
        flags
    })?;
    member.spawn()?;
    crate::house::wait_healthy(&shop, &member)?;
    let insecure = |who: &str, host: &str, port: u16| {
        // The certificate of the server has no such name; that is not what is looked at.
        curl(&shop, Some(who), &["-k", &format!("https://{host}:{port}/version")])
    };
    for host in ["127.0.0.1", "127.0.0.2"] {
        let (good, bad) =
            (insecure("client", host, member.client_port)?, insecure("revoked", host, member.client_port)?);
        ensure!(good.code == 0 && bad.code != 0 && bad.body.is_empty(), "{host}: {good:?} {bad:?}");
    }
    let (good, bad) = (
        insecure("neighbour", "127.0.0.1", member.peer_port)?,
        insecure("revoked", "127.0.0.1", member.peer_port)?,
    );
    ensure!(good.code == 0 && bad.code != 0 && bad.body.is_empty(), "between members: {good:?} {bad:?}");
    // A client may be gone before the line about it is written.
    let told = until(PATIENCE, || (member.log().matches("revoked by").count() >= 3).then_some(()));
    ensure!(told.is_some(), "fewer than three refusals in the log");
    Ok(())
}
