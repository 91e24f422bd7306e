//! What works: three members with certificates, and whoever may come.

use anyhow::ensure;
use tests::{Program, Release};

use crate::house::{Member, client_flags, curl, etcdctl, three, wait_healthy};
use crate::shop::{Key, Shop};

/// The certificates of the walk-through.
pub(crate) fn stocked() -> anyhow::Result<Shop> {
    let shop = Shop::open()?;
    let hosts = ["127.0.0.1", "localhost"];
    shop.sign("ca", "server", "server", &hosts, Key::Ecdsa)?;
    shop.sign("ca", "peer", "peer", &hosts, Key::Rsa)?;
    // The walk-through has an empty host there, which becomes an empty name in the certificate.
    shop.sign("ca", "client", "client", &[""], Key::Ecdsa)?;
    Ok(shop)
}

#[test]
fn three_members_with_certificates_by_cfssl_serve_curl_and_etcdctl() -> anyhow::Result<()> {
    let shop = stocked()?;
    let members = three(&shop, &[])?;
    let urls: Vec<String> = members.iter().map(Member::url).collect();

    let put =
        curl(&shop, Some("client"), &["-X", "PUT", &format!("{}/v2/keys/k", urls[0]), "-d", "value=v"])?;
    ensure!(put.body.contains(r#""action":"set""#), "{put:?}");
    let got = curl(&shop, Some("client"), &["--http1.1", &format!("{}/v2/keys/k?quorum=true", urls[1])])?;
    ensure!(got.body.contains(r#""value":"v""#), "{got:?}");
    let body = r#"{"key": "Zm9v", "value": "YmFy"}"#;
    let put = curl(&shop, Some("client"), &[&format!("{}/v3/kv/put", urls[2]), "-d", body])?;
    ensure!(put.body.contains(r#""revision""#), "{put:?}");

    let endpoints = urls.join(",");
    for release in Release::ALL {
        let said = etcdctl(&shop, release, &endpoints, &["endpoint", "health"])?;
        ensure!(said.matches("is healthy").count() == 3, "{said}");
        let said = etcdctl(&shop, release, &endpoints, &["get", "foo", "--print-value-only"])?;
        ensure!(said == "bar\n", "{said}");
        let said = etcdctl(&shop, release, &endpoints, &["endpoint", "status"])?;
        ensure!(said.lines().count() == 3, "{said}");
    }
    let metrics = curl(&shop, Some("client"), &[&format!("{}/metrics", urls[0])])?.body;
    for family in [
        r#"kvorum_tls_handshakes_total{listener="client",outcome="done"}"#,
        r#"kvorum_tls_handshakes_total{listener="peer",outcome="done"}"#,
        r#"kvorum_tls_certificate_not_after_seconds{listener="client",file="cert"}"#,
        r#"kvorum_tls_certificate_not_after_seconds{listener="peer",file="trusted-ca"}"#,
    ] {
        ensure!(metrics.contains(family), "{family} is missing");
    }
    Ok(())
}

#[test]
fn https_and_http_beside_each_other_and_keys_of_every_kind() -> anyhow::Result<()> {
    let shop = stocked()?;
    // A chain of three, a key in PKCS#8, one with the parameters of its curve before it, and one of P-384.
    shop.openssl(&["pkcs8", "-topk8", "-nocrypt", "-in", "server-key.pem", "-out", "pkcs8-key.pem"])?;
    shop.put("server.pem", "pkcs8.pem")?;
    shop.openssl(&["ecparam", "-name", "secp384r1", "-genkey", "-out", "p384-key.pem"])?;
    let subject = ["-subj", "/O=self", "-addext", "subjectAltName=IP:127.0.0.1"];
    let request = ["req", "-x509", "-days", "9", "-key", "p384-key.pem", "-out", "p384.pem"];
    shop.openssl(&[&request[..], &subject].concat())?;
    for (name, ca) in [("server", "ca.pem"), ("pkcs8", "ca.pem"), ("p384", "p384.pem")] {
        let mut member = Member::new(&Program::kvorum()?, "solo", |client, peer| {
            let mut flags = client_flags(&shop, client);
            let plain = format!("https://127.0.0.1:{client},http://127.0.0.1:{}", peer + 1);
            let peer = format!("http://127.0.0.1:{peer}");
            let more = [
                ("--listen-client-urls", plain),
                ("--listen-peer-urls", peer.clone()),
                ("--initial-advertise-peer-urls", peer.clone()),
                ("--initial-cluster", format!("solo={peer}")),
                ("--cert-file", shop.word(&format!("{name}.pem"))),
                ("--key-file", shop.word(&format!("{name}-key.pem"))),
            ];
            flags.extend(more.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value]));
            flags
        })?;
        member.spawn()?;
        let url = format!("http://127.0.0.1:{}/health", member.peer_port + 1);
        let healthy = || curl(&shop, None, &[&url]).ok().filter(|answer| answer.body.contains("true"));
        ensure!(tests::until(crate::house::PATIENCE, healthy).is_some(), "{name}: {}", member.log());
        let health = format!("{}/health", member.url());
        let over_tls = curl(&shop, Some("client"), &["--cacert", &shop.word(ca), &health])?;
        ensure!(
            over_tls.code == 0 && over_tls.body.contains("true"),
            "{name}: {over_tls:?}\n{}",
            member.log()
        );
        member.line_with(&[
            "scheme is HTTP while key and cert files are present; ignoring key and cert files",
        ])?;
        member.line_with(&["scheme is HTTP while --client-cert-auth is enabled"])?;
    }
    Ok(())
}

#[test]
fn members_make_their_own_certificates() -> anyhow::Result<()> {
    let shop = stocked()?;
    let program = Program::kvorum()?;
    let mut members = Vec::new();
    for name in ["a", "b"] {
        members.push(Member::new(&program, name, |client, peer| {
            let (client, peer) = (format!("https://127.0.0.1:{client}"), format!("https://127.0.0.1:{peer}"));
            let words = [
                "--auto-tls",
                "--peer-auto-tls",
                "--listen-client-urls",
                &client,
                "--advertise-client-urls",
                &client,
                "--listen-peer-urls",
                &peer,
                "--initial-advertise-peer-urls",
                &peer,
            ];
            words.map(str::to_owned).to_vec()
        })?);
    }
    let pairs: Vec<String> = members
        .iter()
        .map(|member| format!("{}=https://127.0.0.1:{}", member.name, member.peer_port))
        .collect();
    for member in &mut members {
        member.flags.extend(["--initial-cluster".to_owned(), pairs.join(",")]);
        member.spawn()?;
    }
    for member in &members {
        let url = format!("{}/health", member.url());
        let healthy = || curl(&shop, None, &["-k", &url]).ok().filter(|answer| answer.body.contains("true"));
        ensure!(tests::until(crate::house::PATIENCE, healthy).is_some(), "{}", member.log());
    }
    // What was made is used again.
    let key = members[0].data_dir().join("fixtures/peer/key.pem");
    let before = std::fs::read(&key)?;
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&key)?.permissions());
    ensure!(mode & 0o777 == 0o600, "{mode:o}");
    members[0].stop()?;
    members[0].spawn()?;
    let url = format!("{}/health", members[0].url());
    let healthy = || curl(&shop, None, &["-k", &url]).ok().filter(|answer| answer.body.contains("true"));
    ensure!(tests::until(crate::house::PATIENCE, healthy).is_some(), "{}", members[0].log());
    ensure!(std::fs::read(&key)? == before, "another key");
    Ok(())
}

/// A member alone with certificates.
pub(crate) fn solo(shop: &Shop, program: &Program, more: &[String]) -> anyhow::Result<Member> {
    let mut member = Member::new(program, "solo", |client, peer| {
        let mut flags = client_flags(shop, client);
        let peer = format!("http://127.0.0.1:{peer}");
        let words = [
            "--listen-peer-urls",
            &peer,
            "--initial-advertise-peer-urls",
            &peer,
            "--initial-cluster",
            &format!("solo={peer}"),
        ];
        flags.extend(words.map(str::to_owned));
        flags.extend(more.iter().cloned());
        flags
    })?;
    member.spawn()?;
    wait_healthy(shop, &member)?;
    Ok(member)
}
