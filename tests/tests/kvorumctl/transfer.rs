//! `export` and `import`.

use std::fs;
use std::io::Write as _;

use ::tests::Client;
use anyhow::{Context, ensure};

use crate::{House, stderr, stdout};

#[test]
fn what_is_exported_comes_back() -> anyhow::Result<()> {
    let house = House::start()?;
    let client = house.client()?;
    for number in 0..450 {
        client.put(&format!("out/{number:04}"), &format!("value {number}"))?;
    }
    let folder = tempfile::tempdir()?;
    let path = |name: &str| folder.path().join(name).display().to_string();
    let bytes = folder.path().join("bytes");
    fs::write(&bytes, b"\xff\x00\n")?;
    ensure!(
        house.run(&["put", "out/words", "two\nlines \"quoted\""])?.status.success(),
        "a value with a line end"
    );
    let revision = client.put("out/last", "x")?;
    let file = path("out.jsonl");
    let done = house.run(&["export", "--prefix", "out/", &file])?;
    ensure!(done.status.success() && stderr(&done).contains("exported 452 keys"), "{done:?}");
    ensure!(fs::read_dir(folder.path())?.count() == 2, "nothing else is left");

    // Later changes: one more, one other, one gone.
    client.put("out/more", "x")?;
    client.put("out/0007", "other")?;
    client.delete("out/0008")?;
    let rehearsed = house.run(&["import", "--dry-run", "--delete", &file])?;
    let said = stdout(&rehearsed);
    for line in [
        "~ \"out/0007\"",
        "+ \"out/0008\"",
        "- \"out/more\"",
        "1 keys would be created, 1 updated, 1 deleted; 450 are the same",
    ] {
        ensure!(said.contains(line), "{line} is not in {rehearsed:?}");
    }
    ensure!(
        !said.contains("value") && client.get("out/0007")?.as_deref() == Some("other"),
        "it tells no value and changes nothing"
    );
    let done = house.run(&["import", "--delete", "-w", "json", &file])?;
    let report: serde_json::Value = serde_json::from_slice(&done.stdout)?;
    ensure!((report["created"] == 1) && (report["updated"] == 1) && (report["deleted"] == 1), "{report}");
    ensure!(
        client.get("out/0007")?.as_deref() == Some("value 7") && client.get("out/more")?.is_none(),
        "as it was"
    );
    let again = house.run(&["import", "--delete", &file])?;
    ensure!(stdout(&again).starts_with("0 keys were created, 0 updated, 0 deleted; 452 are"), "{again:?}");

    pieces_make_the_whole(&house, &client)?;

    // Under another prefix, and as it was at a revision.
    ensure!(
        house.run(&["import", "--prefix", "out/", "--dest-prefix", "in/", &file])?.status.success(),
        "a copy"
    );
    ensure!(client.list("in/")?.kvs.len() == 452, "of all of it");
    ensure!(client.get("in/words")?.as_deref() == Some("two\nlines \"quoted\""), "to the byte");
    let old = house.run(&["export", "--prefix", "out/", "--rev", &(revision - 1).to_string()])?;
    ensure!(
        stdout(&old).lines().count() == 451 + 2 && !stdout(&old).contains("out/last"),
        "one key less, and two lines"
    );
    house.done()
}

/// `get --stream` of more than a piece is the same as in one.
fn pieces_make_the_whole(house: &House, client: &Client) -> anyhow::Result<()> {
    for number in 0..700 {
        client.put(&format!("out/more/{number}"), "x")?;
    }
    let (whole, pieces) = (["get", "out/", "--prefix"], ["get", "out/", "--prefix", "--stream"]);
    ensure!(
        stdout(&house.run(&whole)?) == stdout(&house.run(&pieces)?) && house.run(&pieces)?.status.success(),
        "pieces make the whole"
    );
    let some = house.run(&[
        "get",
        "out/",
        "--prefix",
        "--stream",
        "--limit",
        "1100",
        "--keys-only",
        "-w",
        "jsonl",
    ])?;
    ensure!(stdout(&some).lines().count() == 1100, "as many as are wanted");
    ensure!(house.run(&["del", "out/more/", "--prefix"])?.status.success(), "they go again");
    Ok(())
}

#[test]
fn a_file_that_is_damaged_or_not_whole_is_refused() -> anyhow::Result<()> {
    let house = House::start()?;
    let client = house.client()?;
    for number in 0..5 {
        client.put(&format!("torn/{number}"), "x")?;
    }
    let whole = stdout(&house.run(&["export", "--prefix", "torn/"])?);
    client.delete("torn/0")?;
    let folder = tempfile::tempdir()?;
    let lines: Vec<&str> = whole.lines().collect();
    ensure!(lines.len() == 7, "{whole}");
    let without = |at: usize| -> String {
        lines
            .iter()
            .enumerate()
            .filter(|(line, _)| *line != at)
            .map(|(_, line)| format!("{line}\n"))
            .collect::<Vec<_>>()
            .concat()
    };
    let cases = [
        ("the last line is missing", without(6)),
        ("the line does not end", whole.get(..whole.len() - 3).context("it is longer")?.to_owned()),
        ("first line", without(0)),
        ("SHA-256", without(3)),
        ("SHA-256", whole.replace("\"value\":\"x\"", "\"value\":\"y\"")),
        ("no JSON", whole.replace("\"torn/2\"", "torn/2")),
        ("behind the end", format!("{whole}{}\n", lines[1])),
    ];
    for (reason, text) in cases {
        let path = folder.path().join("file");
        fs::File::create(&path)?.write_all(text.as_bytes())?;
        let refused = house.run(&["import", &path.display().to_string()])?;
        let said = stderr(&refused);
        ensure!(refused.status.code() == Some(3) && said.contains(reason), "{reason}: {refused:?}");
        ensure!(client.get("torn/0")?.is_none(), "{reason}: nothing was imported");
    }
    house.done()
}
