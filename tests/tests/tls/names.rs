//! Who is let in between members and by which names, what ends soon, and where metrics and health are served beside.

use std::net::TcpListener;
use std::process::Command;

use anyhow::ensure;
use tests::{Program, until};

use crate::house::{Member, PATIENCE, client_flags, curl, peer_flags, wait_healthy};
use crate::serving::stocked;
use crate::shop::{Key, Shop};

/// A member alone with https for clients and between members.
fn solo(shop: &Shop, more: &[String]) -> anyhow::Result<Member> {
    let mut member = Member::new(&Program::kvorum()?, "solo", |client, peer| {
        let mut flags = [client_flags(shop, client), peer_flags(shop, peer)].concat();
        flags.extend(["--initial-cluster".to_owned(), format!("solo=https://127.0.0.1:{peer}")]);
        flags.extend(more.iter().cloned());
        flags
    })?;
    member.spawn()?;
    Ok(member)
}

fn words(flags: &[&str]) -> Vec<String> {
    flags.iter().map(ToString::to_string).collect()
}

#[test]
fn neighbours_are_known_by_their_common_names_or_hosts() -> anyhow::Result<()> {
    let shop = stocked()?;
    shop.sign("ca", "friend", "peer", &["127.0.0.1", "n1.cluster.example"], Key::Ecdsa)?;
    shop.sign("ca", "kin", "peer", &["127.0.0.1", "*.cluster.example"], Key::Ecdsa)?;
    shop.sign("ca", "stranger", "peer", &["127.0.0.1", "n1.elsewhere.example"], Key::Ecdsa)?;
    let skip = "--experimental-peer-skip-client-san-verification";
    for (rule, welcome, refused, reason) in [
        (
            words(&[skip, "--peer-cert-allowed-cn", "peer,friend"]),
            &["peer", "friend"][..],
            "stranger",
            "CN=stranger",
        ),
        (
            words(&[skip, "--peer-cert-allowed-hostname", "n1.cluster.example"]),
            &["friend", "kin"],
            "stranger",
            "it has to be valid for n1.cluster.example",
        ),
    ] {
        let member = solo(&shop, &rule)?;
        wait_healthy(&shop, &member)?;
        let asked =
            |who: &str| curl(&shop, Some(who), &[&format!("https://127.0.0.1:{}/version", member.peer_port)]);
        for who in welcome {
            let answer = asked(who)?;
            ensure!(answer.code == 0 && answer.body.contains("etcdserver"), "{rule:?}, {who}: {answer:?}");
        }
        let answer = asked(refused)?;
        ensure!(answer.code != 0 && answer.body.is_empty(), "{rule:?}, {refused}: {answer:?}");
        member.line_with(&["rejected connection", reason])?;
    }
    Ok(())
}

#[test]
fn a_certificate_for_all_names_below_one_that_ends_soon_is_told() -> anyhow::Result<()> {
    let shop = stocked()?;
    let request = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
    let names = ["-subj", "/CN=wild", "-addext", "subjectAltName=DNS:*.cluster.example", "-days", "9"];
    let files = ["-keyout", "wild-key.pem", "-out", "wild.pem"];
    shop.openssl(&[&request[..], &names, &files].concat())?;
    let (cert, key) = (shop.word("wild.pem"), shop.word("wild-key.pem"));
    let member = solo(&shop, &words(&["--cert-file", &cert, "--key-file", &key]))?;
    member.line_with(&["a certificate expires soon", "wild.pem", "days-left"])?;
    let called = |host: &str| {
        let resolve = format!("{host}:{}:127.0.0.1", member.client_port);
        let url = format!("https://{host}:{}/health", member.client_port);
        curl(&shop, Some("client"), &["--cacert", &cert, "--resolve", &resolve, &url])
    };
    let healthy = || called("n1.cluster.example").ok().filter(|answer| answer.body.contains("true"));
    ensure!(until(PATIENCE, healthy).is_some(), "{}", member.log());
    // A star stands for one part of a name.
    for host in ["cluster.example", "a.n1.cluster.example", "n1.other.example"] {
        ensure!(called(host)?.code != 0, "{host}");
    }
    Ok(())
}

#[test]
fn metrics_and_health_have_listeners_of_their_own() -> anyhow::Result<()> {
    let shop = stocked()?;
    let free = || -> anyhow::Result<u16> { Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port()) };
    let (plain, over_tls) = (free()?, free()?);
    let urls = format!("http://127.0.0.1:{plain},https://127.0.0.1:{over_tls}");
    let member = solo(&shop, &words(&["--listen-metrics-urls", &urls]))?;
    wait_healthy(&shop, &member)?;
    let get = |who: Option<&str>, url: String| curl(&shop, who, &["-w", " %{http_code}", &url]);
    for (path, status) in [
        ("/health", "200"),
        ("/metrics", "200"),
        ("/version", "404"),
        ("/v2/keys/", "404"),
        ("/v3/kv/range", "404"),
        ("/debug/vars", "404"),
    ] {
        let answer = get(None, format!("http://127.0.0.1:{plain}{path}"))?;
        ensure!(answer.body.ends_with(status), "{path}: {answer:?}");
    }
    let url = format!("https://127.0.0.1:{over_tls}/health");
    ensure!(get(Some("client"), url.clone())?.body.ends_with("200"));
    ensure!(get(None, url)?.code != 0, "who has no certificate was let in");
    // Health checks of containers speak https as well.
    let asked = |more: &[&str]| {
        let endpoint = format!("--endpoint=https://127.0.0.1:{}", member.client_port);
        let ca = format!("--cacert={}", shop.word("ca.pem"));
        Command::new(Program::kvorum()?.path)
            .args(["health", &endpoint, &ca])
            .args(more)
            .output()
            .map_err(anyhow::Error::from)
    };
    let (cert, key) = (shop.word("client.pem"), shop.word("client-key.pem"));
    let told = asked(&["--cert", &cert, "--key", &key])?;
    ensure!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
    ensure!(asked(&[])?.status.code() == Some(1));
    Ok(())
}
