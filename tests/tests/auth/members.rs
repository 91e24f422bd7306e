//! Users and tokens at three members: at each of them, over the end of the leader, over restarts, at a member that was
//! given a snapshot, in running watches; and nothing of passwords and tokens in what the members write.

use ::tests::cluster::{Settings, program};
use ::tests::{Cluster, client, grpc, http1, until};
use anyhow::{Context, ensure};
use serde_json::json;

use crate::caller::{PATIENCE, User, bytes, found};

const ROOT: &str = "root-Password-3141";
const ALICE: &str = "alice-Password-2718";
const CHANGED: &str = "alice-Password-1618";
const WRONG: &str = "wrong-Password-1414";

/// Each member lets her do what her role allows, and nothing else.
fn check(cluster: &Cluster, alice: &User, root: &User, when: &str) -> anyhow::Result<()> {
    for number in 0..cluster.len() {
        let address = cluster.member(number).address();
        let (alice, root) = (alice.at(address), root.at(address));
        let expected =
            [(0, ""), (7, "etcdserver: permission denied"), (0, ""), (3, "etcdserver: user name is empty")];
        let mut seen = Vec::new();
        let agrees = until(PATIENCE, || {
            let asked = [
                alice.put(&format!("a{number}")),
                alice.put("b"),
                root.put("b"),
                User::nobody(address).get(&format!("a{number}")),
            ];
            seen = asked
                .map(|said| said.map_or_else(|why| (99, why.to_string()), |said| (said.code, said.text)))
                .into();
            // While there is no leader nobody is answered; who is refused falsely stays refused.
            seen.iter().map(|(code, text)| (*code, text.as_str())).eq(expected).then_some(())
        });
        agrees.with_context(|| format!("{when}, member {number}: {seen:?}"))?;
        ensure!(alice.get(&format!("a{number}"))?.ok()?["count"] == "1", "{when}: what she wrote is there");
    }
    Ok(())
}

#[test]
fn tokens_and_rights_hold_at_every_member_whatever_happens_to_them() -> anyhow::Result<()> {
    let mut cluster = Cluster::start(&Settings::new(&program()?, 3).flags(&["--bcrypt-cost=4"]))?;
    let first = cluster.member(0).address();
    found(first, ROOT, ALICE)?;
    let root = User::sign_in(first, "root", ROOT)?;
    let alice = User::sign_in(cluster.member(1).address(), "alice", ALICE)?;
    check(&cluster, &alice, &root, "at first")?;
    watches_end_with_their_rights(&cluster, &alice, &root)?;

    // A token is of the whole cluster, but for one that was not there when it was given.
    let leader = leader(&cluster, &root)?;
    cluster.member_mut(leader).kill()?;
    let left = cluster.others(leader);
    let elsewhere = cluster.member(left[0]).address();
    let found = until(PATIENCE, || alice.at(elsewhere).put("a").ok().filter(|said| said.code == 0));
    found.context("her token does not count after the end of the leader")?;
    ensure!(alice.at(elsewhere).put("b")?.code == 7, "she may not after the end of the leader either");
    cluster.restart(leader)?;
    let (again, root) = (User::sign_in(elsewhere, "alice", ALICE)?, User::sign_in(elsewhere, "root", ROOT)?);
    check(&cluster, &again, &root, "after the leader came back")?;

    for number in 0..cluster.len() {
        cluster.member_mut(number).kill()?;
    }
    cluster.start_all()?;
    let (again, root) = (User::sign_in(first, "alice", ALICE)?, User::sign_in(first, "root", ROOT)?);
    check(&cluster, &again, &root, "after a restart of all")?;

    a_newcomer_knows_them(&mut cluster, &root)?;
    a_password_that_changed_counts_everywhere(&cluster, &again, &root)?;
    let secrets = [ROOT, ALICE, CHANGED, WRONG].map(str::to_owned).to_vec();
    let tokens = [&alice, &again, &root].map(|user| user.token.clone().expect("signed in"));
    nothing_is_written_of(&cluster, &secrets.into_iter().chain(tokens).collect::<Vec<_>>())?;
    cluster.done()
}

/// The number of the member that leads; only users are told.
fn leader(cluster: &Cluster, root: &User) -> anyhow::Result<usize> {
    let leads = |number: &usize| -> anyhow::Result<bool> {
        let status =
            root.at(cluster.member(*number).address()).ask("Maintenance/Status", &json!({}))?.ok()?;
        Ok(status["leader"] == status["header"]["member_id"])
    };
    (0..cluster.len()).find(|number| leads(number).unwrap_or(false)).context("nobody leads")
}

fn watches_end_with_their_rights(cluster: &Cluster, alice: &User, root: &User) -> anyhow::Result<()> {
    let method = grpc::method("Watch/Watch").context("a method")?;
    let mut streams = Vec::new();
    for number in 0..cluster.len() {
        let address = cluster.member(number).address();
        let create = json!({"create_request": {"key": bytes("a"), "range_end": bytes("b")}});
        let create = grpc::encode(method.input(), &create.to_string())?;
        let mut stream = client::runtime().block_on(async {
            let stream = grpc::Stream::open(address, &grpc::path_of(&method), &alice.proof("token")).await?;
            stream.send(&create).await?;
            anyhow::Ok(stream)
        })?;
        ensure!(told(&mut stream)?.contains("\"created\":true"), "it is created");
        streams.push(stream);
    }
    root.put("a-watched")?.ok()?;
    for stream in &mut streams {
        ensure!(told(stream)?.contains("\"events\""), "it sees what she may read");
    }
    let own = json!({"role": "own", "key": bytes("a"), "range_end": bytes("b")});
    root.ask("Auth/RoleRevokePermission", &own)?.ok()?;
    root.put("a-watched")?.ok()?;
    for stream in &mut streams {
        let said = told(stream)?;
        ensure!(
            said.contains("\"canceled\":true") && said.contains("permission denied"),
            "it goes on: {said}"
        );
    }
    let permission = json!({"permType": "READWRITE", "key": bytes("a"), "range_end": bytes("b")});
    root.ask("Auth/RoleGrantPermission", &json!({"name": "own", "perm": permission}))?.ok()?;
    Ok(())
}

fn told(stream: &mut grpc::Stream) -> anyhow::Result<String> {
    let method = grpc::method("Watch/Watch").context("a method")?;
    let message =
        client::runtime().block_on(async { tokio::time::timeout(PATIENCE, stream.receive()).await })??;
    grpc::decode(method.output(), &message.context("the stream ended")?)
}

/// A member that is added is given a snapshot: a founder's log begins behind what was written before.
fn a_newcomer_knows_them(cluster: &mut Cluster, root: &User) -> anyhow::Result<()> {
    let number = cluster.add_process("existing")?;
    let url = cluster.member(number).setup.peer_url();
    let add = json!({"peerURLs": [url]});
    // For a while after a start it is refused, since the others were not seen for long enough.
    until(PATIENCE, || root.call("Cluster/MemberAdd", &add).ok()?.ok().ok()).context("it cannot be added")?;
    cluster.restart(number)?;
    ensure!(cluster.member(number).log().contains("fetched a snapshot"), "it was not given a snapshot");
    let address = cluster.member(number).address();
    // Simple tokens are no part of a snapshot: it has to be signed in anew for this member.
    let fresh = User::sign_in(address, "alice", ALICE)?;
    ensure!(fresh.put("a")?.code == 0 && fresh.put("b")?.code == 7, "the newcomer knows her role");
    ensure!(User::nobody(address).get("a")?.code == 3, "the newcomer asks everybody");
    Ok(())
}

fn a_password_that_changed_counts_everywhere(
    cluster: &Cluster,
    alice: &User,
    root: &User,
) -> anyhow::Result<()> {
    root.ask("Auth/UserChangePassword", &json!({"name": "alice", "password": CHANGED}))?.ok()?;
    for number in 0..cluster.len() {
        let address = cluster.member(number).address();
        let gone = until(PATIENCE, || alice.at(address).get("a").ok().filter(|said| said.code == 16));
        gone.with_context(|| format!("her old token counts at member {number}"))?;
        for wrong in [ALICE, WRONG] {
            let said = User::nobody(address)
                .call("Auth/Authenticate", &json!({"name": "alice", "password": wrong}))?;
            ensure!(
                said.text == "etcdserver: authentication failed, invalid user ID or password",
                "{said:?}"
            );
        }
        User::sign_in(address, "alice", CHANGED)?;
    }
    Ok(())
}

/// Neither in a log nor in what a member tells everybody; nor a password in its files.
fn nothing_is_written_of(cluster: &Cluster, secrets: &[String]) -> anyhow::Result<()> {
    for number in 0..cluster.len() {
        let member = cluster.member(number);
        let mut written = vec![("its log".to_owned(), member.log().into_bytes())];
        for path in
            ["/metrics", "/debug/vars", "/health", "/debug/requests", "/debug/pprof/cmdline", "/config"]
        {
            let reply = http1::exchange(member.address(), &http1::request("GET", path, &[], None), PATIENCE)?;
            written.push((path.to_owned(), reply.body));
        }
        ensure!(
            written.iter().any(|(name, text)| name == "/metrics" && text.len() > 1000),
            "there are metrics"
        );
        for (name, text) in &written {
            let text = String::from_utf8_lossy(text);
            for secret in secrets {
                ensure!(!text.contains(secret.as_str()), "{secret} is in {name} of member {number}");
            }
        }
    }
    Ok(())
}
