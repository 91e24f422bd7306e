//! Beginnings and refusals, as tables: against members, a discovery service and a name server that are a few lines
//! each. Real ones are in tests/tests/bootstrap.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use hyper::body::Bytes;
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, UdpSocket};

use super::*;

/// Answers by method and path, without the query: a status and a body.
type Answers = Arc<dyn Fn(&Method, &str) -> (u16, String) + Send + Sync>;

/// A server on a port of its own; everything it says comes from the cluster `cafe`.
async fn serve(answers: Answers) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
    let address = listener.local_addr().expect("it has one");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let answers = Arc::clone(&answers);
            let service = service_fn(move |request: Request<hyper::body::Incoming>| {
                let (status, body) = answers(request.method(), request.uri().path());
                let response = Response::builder().status(status).header("X-Etcd-Cluster-ID", "cafe");
                std::future::ready(response.body(http_body_util::Full::new(Bytes::from(body))))
            });
            tokio::spawn(
                hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service),
            );
        }
    });
    address
}

/// A member that says of its cluster what `members` is.
async fn member(members: &str) -> SocketAddr {
    let members = members.to_owned();
    serve(Arc::new(move |_, path| match path {
        "/members" => (200, members.clone()),
        _ => (404, String::new()),
    }))
    .await
}

fn plan(urls: &str, source: Source) -> Plan {
    Plan {
        name: "b".to_owned(),
        peer_urls: members::parse_urls(urls.split(',')).expect("well-formed"),
        token: "t".to_owned(),
        source,
        joins: false,
        name_server: None,
        tls: None,
    }
}

fn said<T: std::fmt::Debug>(result: Result<T, BootstrapError>) -> String {
    result.expect_err("it is refused").to_string()
}

const OWN: &str = "http://127.0.0.1:2";

const ANSWER: Duration = Duration::from_secs(5);

/// What `b` at `OWN` says when it joins by `list`, in which `A` is where a member listens that says `members`.
async fn join_sentence(list: &str, members: &'static str, expect: &str) {
    let own = Arc::new(std::sync::OnceLock::<String>::new());
    let told = Arc::clone(&own);
    let address =
        serve(Arc::new(move |_, _| (200, members.replace('A', told.get().map_or("", String::as_str))))).await;
    own.set(format!("http://{address}")).expect("once");
    let list = list.replace('A', &format!("http://{address}"));
    let plan = Plan { joins: true, ..plan(OWN, Source::List(list.clone())) };
    let records = listed(&plan, &list).expect("right by itself").members("t").expect("different ids");
    let census = census(&format!("http://{address}"), None, ANSWER).await.expect("it answers");
    let cluster = census.cluster.expect("it says so");
    let said = joining::compare(&plan, &records, cluster, census.members).map_or_else(
        |error| error.to_string(),
        |beginning| {
            format!(
                "cluster {} member {} of {}",
                beginning.cluster,
                beginning.member,
                beginning.members.len()
            )
        },
    );
    assert!(said.contains(expect), "{list}: {said}");
}

#[tokio::test]
async fn who_joins_is_known_to_the_cluster() {
    let two = r#"[{"id":10,"peerURLs":["A"],"name":"a","clientURLs":["http://a:1"]},
        {"id":11,"peerURLs":["http://127.0.0.1:2"],"name":"","clientURLs":[]}]"#;
    let one = r#"[{"id":10,"peerURLs":["A"],"name":"a","clientURLs":["http://a:1"]}]"#;
    let other = r#"[{"id":10,"peerURLs":["A"],"name":"a","clientURLs":["http://a:1"]},
        {"id":11,"peerURLs":["http://127.0.0.1:3"],"name":"","clientURLs":[]}]"#;
    let list = "a=A,b=http://127.0.0.1:2";
    join_sentence(list, two, "cluster cafe member b of 2").await;
    join_sentence(list, one, "error validating peerURLs cafe: a \"a\" [http://127.0.0.1:").await;
    join_sentence(
        list,
        one,
        ": member count is unequal; --initial-cluster names 2 members and the cluster has 1",
    )
    .await;
    join_sentence(list, one, "`etcdctl member add b --peer-urls=http://127.0.0.1:2` comes before").await;
    join_sentence(
        list,
        other,
        "PeerURLs: no match found for existing member (b, [http://127.0.0.1:3]); the cluster does not know this member",
    )
    .await;
    join_sentence(list, "[]", "member count is unequal").await;
}

#[tokio::test]
async fn nobody_to_join_is_told_with_every_reason() {
    let alone = Plan { joins: true, ..plan(OWN, Source::Alone) };
    let records = "cannot fetch cluster info from peer urls: could not retrieve cluster information from the given URLs; ";
    assert_eq!(
        said(joining::ask_once(&alone, "b=http://127.0.0.1:2").await),
        format!("{records}--initial-cluster names nobody but this member: name the others too")
    );
    let text = said(joining::ask_once(&alone, "a=http://127.0.0.1:1,b=http://127.0.0.1:2").await);
    assert!(
        text.starts_with(&format!("{records}http://127.0.0.1:1: ")) && text.contains("refused"),
        "{text}"
    );
}

#[tokio::test]
async fn a_list_that_is_wrong_is_told_with_its_cure() {
    for (urls, list, expect) in [
        (
            OWN,
            "a=http://127.0.0.1:1",
            "couldn't find local name \"b\" in the initial cluster configuration; --name and the names in \
             --initial-cluster have to be the same",
        ),
        (
            OWN,
            "b=http://127.0.0.1:9",
            "--initial-cluster has b=http://127.0.0.1:9 but missing from \
             --initial-advertise-peer-urls=http://127.0.0.1:2; both have to give this member the same URLs, to the letter",
        ),
        (
            OWN,
            "b=http://127.0.0.1:1,b=http://127.0.0.1:2",
            "--initial-cluster has b=http://127.0.0.1:1 but missing from \
             --initial-advertise-peer-urls=http://127.0.0.1:2; the name \"b\" is there 2 times, which means one member \
             with 2 URLs: give every member a name of its own",
        ),
        (
            OWN,
            "a=http://127.0.0.1:2,b=http://127.0.0.1:2",
            "initial cluster a=http://127.0.0.1:2,b=http://127.0.0.1:2 has duplicate url",
        ),
    ] {
        assert_eq!(said(begin(&plan(urls, Source::List(list.to_owned()))).await), expect, "{list}");
    }
    let both = Plan { joins: true, ..plan(OWN, Source::Discovery("http://127.0.0.1:1/x".to_owned())) };
    assert!(said(begin(&both).await).starts_with("discovery URL should not be set when joining existing"));
}

#[tokio::test]
async fn founders_know_each_other_by_ids_and_none_founds_twice() {
    let list = "a=http://127.0.0.1:1,b=http://127.0.0.1:2,c=http://127.0.0.1:3";
    let beginning = begin(&plan(OWN, Source::List(list.to_owned()))).await.expect("nobody knows it");
    assert_eq!((beginning.members.len(), beginning.joins), (3, false));
    let own = beginning.members.iter().find(|member| member.name == "b").expect("it is there");
    assert_eq!(own.id, beginning.member);

    let mut known = [
        format!(r#"[{{"id":ID,"peerURLs":["{OWN}"],"name":"b","clientURLs":["http://b:1"]}}]"#),
        format!(r#"[{{"id":ID,"peerURLs":["{OWN}"],"name":"b","clientURLs":[]}}]"#),
    ]
    .map(|text| text.replace("ID", &beginning.member.0.to_string()))
    .into_iter();
    let started = member(&known.next().expect("two")).await;
    let list = format!("a=http://{started},b={OWN}");
    let text = said(begin(&plan(OWN, Source::List(list))).await);
    let expect = format!("member {} has already been bootstrapped; ", beginning.member);
    assert!(text.starts_with(&expect), "{text}");
    let unstarted = member(&known.next().expect("two")).await;
    let list = format!("a=http://{unstarted},b={OWN}");
    begin(&plan(OWN, Source::List(list))).await.expect("it was never started");
}

#[tokio::test]
async fn the_data_of_another_cluster_is_found_out() {
    let other = member("[]").await;
    let plan = plan(OWN, Source::List(format!("a=http://{other},b={OWN},c=http://127.0.0.1:1")));
    let neighbours = neighbours(&plan).await;
    assert_eq!(neighbours, [(format!("http://{other}"), ClusterId(0xcafe))]);
    check_neighbours(&neighbours, ClusterId(0xcafe)).expect("the same");
    check_neighbours(&[], ClusterId(1)).expect("nobody says otherwise");
    let text = check_neighbours(&neighbours, ClusterId(0xbee)).expect_err("another").to_string();
    assert!(
        text.starts_with("the data folder belongs to another cluster (bee) than the members in"),
        "{text}"
    );
}

/// A discovery service that always says the same: a size and who has come.
async fn check_discovery(size: &'static str, nodes: &'static str, put: &'static str, expect: &str) {
    let service = serve(Arc::new(move |method, path| match (method, path) {
        (&Method::GET, "/x/_config/size") => (200, size.to_owned()),
        (&Method::GET, "/x") => (200, nodes.to_owned()),
        (&Method::PUT, _) => (200, put.to_owned()),
        _ => (404, "404 page not found".to_owned()),
    }))
    .await;
    let begun = begin(&plan(OWN, Source::Discovery(format!("http://{service}/x")))).await;
    let said = begun
        .map_or_else(|error| error.to_string(), |beginning| format!("{} members", beginning.members.len()));
    assert!(said.starts_with(expect), "{size} {nodes}: {said}");
}

#[tokio::test]
async fn a_discovery_service_is_understood() {
    const ONE: &str = r#"{"action":"get","node":{"key":"/x/_config/size","value":"1"}}"#;
    const ZERO: &str = r#"{"action":"get","node":{"key":"/x/_config/size","value":"0"}}"#;
    // GHSA-9gp7-6833-wv89: such a size ended etcd.
    const BELOW: &str = r#"{"action":"get","node":{"key":"/x/_config/size","value":"-3"}}"#;
    const WORD: &str = r#"{"action":"get","node":{"key":"/x/_config/size","value":"three"}}"#;
    const EMPTY: &str = r#"{"action":"get","node":{"key":"/x","dir":true}}"#;
    const FULL: &str = r#"{"action":"get","node":{"key":"/x","dir":true,"nodes":[{"key":"/x/12","value":"y=http://h:1","createdIndex":7}]}}"#;
    const DONE: &str = r#"{"action":"create","node":{"key":"/x/1"}}"#;
    const THERE: &str = r#"{"errorCode":105,"message":"Key already exists","cause":"/x/1","index":9}"#;
    const NOTHING: &str = r#"{"errorCode":100,"message":"Key not found","cause":"/x","index":4}"#;
    check_discovery(
        NOTHING,
        EMPTY,
        DONE,
        "failed to join discovery cluster (100: Key not found (/x) [4]); set how",
    )
    .await;
    check_discovery(
        "nonsense",
        EMPTY,
        DONE,
        "failed to join discovery cluster (discovery: bad discovery endpoint); ",
    )
    .await;
    check_discovery(ZERO, EMPTY, DONE, "failed to join discovery cluster (discovery: size key is bad); ")
        .await;
    check_discovery(BELOW, EMPTY, DONE, "failed to join discovery cluster (discovery: size key is bad); ")
        .await;
    check_discovery(WORD, EMPTY, DONE, "failed to join discovery cluster (discovery: size key is bad); ")
        .await;
    check_discovery(ONE, FULL, DONE, "failed to join discovery cluster (discovery: cluster is full); ").await;
    check_discovery(ONE, EMPTY, THERE, "failed to join discovery cluster (discovery: found duplicate id); ")
        .await;
    for (url, expect) in [
        (
            "ftp://h/x",
            "failed to join discovery cluster (discovery: invalid URL \"ftp://h/x\": it has to begin with http:// or https://)",
        ),
        (
            "nonsense",
            "failed to join discovery cluster (discovery: invalid URL \"nonsense\": it has to begin with http:// or https://)",
        ),
        (
            "http://h:1",
            "failed to join discovery cluster (discovery: invalid URL \"http://h:1\": it has no path",
        ),
    ] {
        let text = said(begin(&plan(OWN, Source::Discovery(url.to_owned()))).await);
        assert!(text.starts_with(expect), "{text}");
    }
}

/// A name server that knows these: SRV records as `port target`, addresses as they are.
async fn name_server(records: &'static [(&'static str, &'static [&'static str])]) -> SocketAddr {
    let records: BTreeMap<&str, &[&str]> = records.iter().copied().collect();
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
    let address = socket.local_addr().expect("it has one");
    tokio::spawn(async move {
        let mut buffer = [0; 1500];
        while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
            let answer = answer(&records, &buffer[..length]);
            socket.send_to(&answer, from).await.expect("sent");
        }
    });
    address
}

const TYPE_A: u16 = 1;
const TYPE_SRV: u16 = 33;

fn answer(records: &BTreeMap<&str, &[&str]>, query: &[u8]) -> Vec<u8> {
    let (mut name, mut at) = (String::new(), 12);
    while query[at] != 0 {
        let end = at + 1 + usize::from(query[at]);
        name.push_str(std::str::from_utf8(&query[at + 1..end]).expect("ASCII"));
        name.push('.');
        at = end;
    }
    let kind = u16::from_be_bytes([query[at + 1], query[at + 2]]);
    let values = records.get(name.to_lowercase().trim_end_matches('.')).copied().unwrap_or_default();
    let mut rows = Vec::new();
    for value in values {
        let data = match (value.split_once(' '), kind) {
            (Some((port, target)), TYPE_SRV) => {
                let mut data = vec![0, 0, 0, 0];
                data.extend(port.parse::<u16>().expect("a port").to_be_bytes());
                for label in target.split('.') {
                    data.push(label.len() as u8);
                    data.extend(label.bytes());
                }
                data.push(0);
                data
            }
            (None, TYPE_A) => value.parse::<Ipv4Addr>().expect("an address").octets().to_vec(),
            _ => continue,
        };
        // A pointer to the question's name, the kind, the class, a minute to live.
        rows.push(
            [
                &[0xc0, 12],
                &kind.to_be_bytes()[..],
                &[0, 1, 0, 0, 0, 60],
                &(data.len() as u16).to_be_bytes(),
                &data,
            ]
            .concat(),
        );
    }
    let known = if values.is_empty() { 3 } else { 0 };
    let counts = [0, 1, 0, rows.len() as u8, 0, 0, 0, 0];
    [&query[..2], &[0x81, 0x80 | known], &counts, &query[12..at + 5], &rows.concat()].concat()
}

#[tokio::test]
async fn srv_records_name_the_founders() {
    let server = name_server(&[
        ("_etcd-server._tcp.good.test", &["2 me.good.test", "1 one.good.test", "3 three.good.test"]),
        ("_etcd-server-blue._tcp.good.test", &["2 me.good.test"]),
        ("_etcd-server._tcp.strange.test", &["1 one.good.test"]),
        ("_etcd-server-ssl._tcp.secure.test", &["1 one.good.test"]),
        ("_etcd-server._tcp.lost.test", &["1 nowhere.test"]),
        ("me.good.test", &["127.0.0.1"]),
        ("one.good.test", &["127.0.0.11"]),
        ("three.good.test", &["127.0.0.13"]),
    ])
    .await;
    let look = async |domain: &str, suffix: &str| {
        let plan = Plan { name_server: Some(server), ..plan(OWN, Source::Alone) };
        srv::look_up(&plan, domain, suffix)
            .await
            .map_or_else(|error| error.to_string(), |found| found.to_string())
    };
    assert_eq!(
        look("good.test", "").await,
        "0=http://one.good.test:1,1=http://three.good.test:3,b=http://me.good.test:2"
    );
    assert_eq!(look("good.test.", "blue").await, "b=http://me.good.test:2");
    let start = "error setting up initial cluster: ";
    for (domain, expect) in [
        ("strange.test", "cannot find local etcd member \"b\" in SRV records; no record leads"),
        ("secure.test", "cannot find local etcd member \"b\" in SRV records; no record leads"),
        ("lost.test", "error querying DNS SRV records for _etcd-server: nowhere.test: no such host; "),
        (
            "none.test",
            "error querying DNS SRV records for _etcd-server: no such host; `dig +short SRV _etcd-server._tcp.none.test`",
        ),
    ] {
        let text = look(domain, "").await;
        assert!(text.starts_with(&format!("{start}{expect}")), "{text}");
    }
}
