//! `keys stat`, `doctor` and `top`: what they see, and that they tell no secrets.

use ::tests::cluster::Settings;
use ::tests::{Cluster, Program, Release, until};
use anyhow::{Context, ensure};
use serde_json::Value;

use crate::{House, NOBODY, PATIENCE, run_with, stderr, stdout};

#[test]
fn keys_are_counted_below_each_prefix() -> anyhow::Result<()> {
    let house = House::start()?;
    let client = house.client()?;
    for (key, value) in [("/stat/a/1", "12345"), ("/stat/a/2", "1"), ("/stat/b/x/1", "1"), ("/stat/c", "")] {
        client.put(key, value)?;
    }
    client.put("/stat/a/1", "123456")?;
    let json = house.run(&["keys", "stat", "--prefix", "/stat/", "-w", "json"])?;
    let said: Value = serde_json::from_slice(&json.stdout).with_context(|| format!("{json:?}"))?;
    let groups = said["groups"].as_array().context("groups")?;
    let names: Vec<&str> = groups.iter().filter_map(|group| group["prefix"].as_str()).collect();
    ensure!(names == ["/stat/a/", "/stat/b/", "/stat/c"], "{said}");
    let first = &groups[0];
    ensure!((first["keys"] == 2) && (first["valueBytes"] == 7) && (first["versions"] == 3), "{said}");
    ensure!((said["all"]["keys"] == 4) && (said["all"]["keyBytes"] == 36), "{said}");
    let deeper = stdout(&house.run(&["keys", "stat", "--prefix", "/stat/", "--depth", "2", "--limit", "1"])?);
    ensure!(
        deeper.lines().count() == 3 && deeper.contains("/stat/b/x/") != deeper.contains("/stat/a/1"),
        "{deeper}"
    );
    house.done()
}

#[test]
fn the_doctor_sees_what_is_wrong_and_tells_no_secrets() -> anyhow::Result<()> {
    let program = Program::kvorum()?;
    let mut three = Cluster::start(&Settings::new(&program, 3))?;
    let urls: Vec<String> = (0..3).map(|at| three.member(at).setup.client_url()).collect();
    let endpoints = format!("--endpoints={}", urls.join(","));
    let leader = three.wait_leader()?;
    three.member(leader).client()?.put("secret-key", "secret-value")?;
    let words = [endpoints.as_str(), "--user=ana:hush", "--command-timeout=20s", "doctor", "-w", "json"];
    // How fast disks and the network are is the machine's own.
    let well = || -> Option<Value> {
        let output = run_with(&words, &[]).ok()?;
        let said: Value = serde_json::from_slice(&output.stdout).ok()?;
        let ill = |one: &Value| one["level"] == "bad" && one["area"] != "disk" && one["area"] != "network";
        let is_well = !said["findings"].as_array()?.iter().any(ill);
        (is_well && said["members"].as_array()?.len() == 3).then_some(said)
    };
    let said = until(PATIENCE, well).context("three that are well are found well")?;
    let areas: Vec<&str> = said["findings"]
        .as_array()
        .context("findings")?
        .iter()
        .filter_map(|one| one["area"].as_str())
        .collect();
    for area in
        ["members", "version", "leader", "alarms", "clock", "reach", "quota", "disk", "process", "config"]
    {
        ensure!(areas.contains(&area), "nothing of {area}: {said}");
    }
    let gone = three.others(leader)[0];
    three.member_mut(gone).kill()?;
    let ill = run_with(&[endpoints.as_str(), "--command-timeout=3s", "doctor"], &[])?;
    let text = stdout(&ill);
    ensure!(
        ill.status.code() == Some(1) && text.contains("does not answer") && text.contains("hint: "),
        "{ill:?}"
    );
    for secret in ["secret-key", "secret-value", "hush"] {
        ensure!(!text.contains(secret) && !said.to_string().contains(secret), "{secret}");
    }
    let silent = run_with(&["--endpoints", NOBODY, "--command-timeout=1s", "doctor"], &[])?;
    ensure!(silent.status.code() == Some(1) && stdout(&silent).starts_with("bad "), "{silent:?}");

    // Real etcd tells as much.
    let etcd = Cluster::start(&Settings::new(&Program::release(Release::Debian)?, 1))?;
    let theirs = run_with(
        &["--endpoints", &etcd.member(0).setup.client_url(), "--command-timeout=20s", "doctor"],
        &[],
    )?;
    ensure!(stdout(&theirs).contains("3.4.23") && stdout(&theirs).contains("syncs of the log"), "{theirs:?}");
    etcd.done()?;
    a_lost_member_is_replaced(&mut three, gone, &endpoints)?;
    three.done()
}

/// `member replace`: not while the member answers; then its place is free for one with an empty folder.
fn a_lost_member_is_replaced(three: &mut Cluster, gone: usize, endpoints: &str) -> anyhow::Result<()> {
    let other = three.others(gone)[0];
    let names = [three.member(gone).setup.name.clone(), three.member(other).setup.name.clone()];
    let replace =
        |name: &str| run_with(&[endpoints, "--command-timeout=20s", "member", "replace", name], &[]);
    let alive = replace(&names[1])?;
    ensure!(alive.status.code() == Some(1) && stderr(&alive).contains("still answers"), "{alive:?}");
    let replaced = until(PATIENCE, || replace(&names[0]).ok().filter(|output| output.status.success()));
    let said = stdout(&replaced.context("its place is free")?);
    let cluster = said.lines().find_map(|line| line.strip_prefix("ETCD_INITIAL_CLUSTER="));
    let initial = cluster.with_context(|| said.clone())?.trim_matches('"').to_owned();
    three.member(gone).wipe()?;
    let setup = &mut three.member_mut(gone).setup;
    (setup.initial_cluster, setup.state) = (initial, "existing");
    three.restart(gone)
}

#[test]
fn top_shows_members_and_rates() -> anyhow::Result<()> {
    let house = House::start()?;
    let once = house.run(&["top", "--once"])?;
    let said = stdout(&once);
    ensure!(once.status.success() && said.starts_with("revision ") && said.contains("leader"), "{once:?}");
    ensure!(!said.contains('\u{1b}'), "no colour and no cursor where no terminal is: {said}");
    ensure!(said.lines().all(|line| line.chars().count() <= 100), "{said}");
    let json = house.run(&["top", "--once", "-w", "json"])?;
    let said: Value = serde_json::from_slice(&json.stdout)?;
    ensure!(
        said["members"][0]["role"] == "leader" && said["members"][0]["putsPerSecond"].is_number(),
        "{said}"
    );
    let nobody = run_with(&["--endpoints", NOBODY, "--command-timeout=1s", "top", "--once"], &[])?;
    ensure!(nobody.status.code() == Some(1), "{nobody:?}");
    house.done()
}
