//! Who may use whom: the table of crates in docs/ARCHITECTURE.md against the manifests.

use std::collections::BTreeMap;

use ::tests::table_after;
use anyhow::{Context, bail, ensure};

use crate::manifests;
use crate::tree::{Finding, Source};

/// The heading above the table.
const HEADING: &str = "## The crates";

/// Packages beside the house, which may use anything in it and which nothing in it may use.
const BESIDE: [&str; 3] = ["tests", "fuzz", "bench"];

/// Where the table stands, in findings.
const DOCUMENT: &str = "docs/ARCHITECTURE.md";

/// What a row allows.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Room {
    floor: u8,
    floors: Vec<u8>,
    crates: Vec<String>,
}

/// The table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct House {
    rooms: BTreeMap<String, Room>,
}

impl House {
    /// Reads `| floor | crate | its one job | may use |`. The last cell lists floors and names, `–` for nothing
    /// and `all` for every lower floor.
    pub(crate) fn read(document: &str) -> anyhow::Result<Self> {
        let table = table_after(document, HEADING).with_context(|| format!("no table below `{HEADING}`"))?;
        let mut house = Self::default();
        for row in &table.rows {
            let [floor, name, _job, uses] = row.as_slice() else {
                bail!("a row has four cells, not {row:?}")
            };
            let floor: u8 = floor.parse().with_context(|| format!("`{floor}` is no floor"))?;
            let name = name.trim_matches(['`', '/']).to_owned();
            let room = room(floor, uses)?;
            ensure!(house.rooms.insert(name.clone(), room).is_none(), "{name} stands there twice");
        }
        ensure!(!house.rooms.is_empty(), "the table is empty");
        Ok(house)
    }

    /// Where manifests and table disagree.
    pub(crate) fn findings(&self, packages: &[Source]) -> Vec<Finding> {
        let mut findings = Vec::new();
        let mut seen = Vec::new();
        for package in packages {
            let Some(name) = manifests::name(&package.text) else {
                findings.push(Finding::new(&package.path, 0, "has no name"));
                continue;
            };
            if BESIDE.contains(&name) {
                continue;
            }
            seen.push(name);
            match self.rooms.get(name) {
                None => findings.push(Finding::new(
                    &package.path,
                    0,
                    format!("`{name}` is not in the table of {DOCUMENT}"),
                )),
                Some(room) => findings.extend(self.reaches_too_far(package, name, room)),
            }
        }
        let missing = self.rooms.keys().filter(|name| !seen.contains(&name.as_str()));
        findings.extend(missing.map(|name| Finding::new(DOCUMENT, 0, format!("`{name}` does not exist"))));
        findings
    }

    fn reaches_too_far(&self, package: &Source, name: &str, room: &Room) -> Vec<Finding> {
        let forbidden = |used: &str| match self.rooms.get(used) {
            None => BESIDE.contains(&used),
            Some(target) => {
                let allowed =
                    room.floors.contains(&target.floor) || room.crates.iter().any(|allowed| allowed == used);
                !allowed || target.floor > room.floor
            }
        };
        manifests::entries(&package.text)
            .into_iter()
            .filter_map(|entry| entry.dependency().map(|used| (entry.line, used)))
            .filter(|(_, used)| forbidden(used))
            .map(|(line, used)| {
                let what = format!("`{name}` may not use `{used}`; the table in {DOCUMENT} says what it may");
                Finding::new(&package.path, line, what)
            })
            .collect()
    }
}

fn room(floor: u8, uses: &str) -> anyhow::Result<Room> {
    let mut room = Room { floor, floors: Vec::new(), crates: Vec::new() };
    for word in uses.split([',', ';']).map(|word| word.trim().trim_matches('`')) {
        match word {
            "" | "–" | "-" => {}
            "all" => room.floors.extend(0..floor),
            word => match word.split_once('–').or_else(|| word.split_once('-')) {
                Some((low, high)) if low.parse::<u8>().is_ok() => {
                    room.floors.extend(
                        low.parse::<u8>()?..=high.parse::<u8>().context("the end of a run of floors")?,
                    );
                }
                _ => match word.parse() {
                    Ok(floor) => room.floors.push(floor),
                    Err(_) => room.crates.push(word.to_owned()),
                },
            },
        }
    }
    Ok(room)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "## The crates\n\n| floor | crate | its one job | may use |\n|---|---|---|---|\n\
        | 0 | `types` | nouns | – |\n| 1 | `store` | rows | 0 |\n| 2 | `mvcc` | keys | 0, store |\n\
        | 3 | `watch` | events | mvcc, 0 |\n| 5 | `gateway/` | door | types |\n";

    fn found(packages: &[(&str, &str)]) -> Vec<String> {
        let house = House::read(TABLE).expect("well-formed");
        let mut all = vec![
            ("types", ""),
            ("store", "types"),
            ("mvcc", "types store bytes"),
            ("watch", "mvcc"),
            ("gateway", "types"),
        ];
        for package in packages {
            all.retain(|(name, _)| name != &package.0);
            all.push(*package);
        }
        all.retain(|(_, uses)| *uses != "removed");
        let packages: Vec<Source> = all.iter().map(|(name, uses)| manifest(name, uses)).collect();
        house.findings(&packages).iter().map(ToString::to_string).collect()
    }

    fn manifest(name: &str, uses: &str) -> Source {
        let lines: Vec<String> =
            uses.split_whitespace().map(|used| format!("{used}.workspace = true")).collect();
        let lines = lines.join("\n");
        let text = format!("[package]\nname = \"{name}\"\n\n[dependencies]\n{lines}");
        Source { path: format!("crates/{name}/Cargo.toml"), text }
    }

    #[test]
    fn what_the_table_allows_passes() {
        assert_eq!(found(&[]), Vec::<String>::new());
        assert_eq!(found(&[("tests", "types store mvcc watch gateway")]), Vec::<String>::new());
    }

    #[test]
    fn each_way_to_break_it_is_seen() {
        for (package, what) in [
            (("store", "mvcc"), "`store` may not use `mvcc`"),
            (("types", "store"), "`types` may not use `store`"),
            (("watch", "store"), "`watch` may not use `store`"),
            (("gateway", "types mvcc"), "`gateway` may not use `mvcc`"),
            (("mvcc", "tests"), "`mvcc` may not use `tests`"),
            (("stray", ""), "`stray` is not in the table"),
            (("watch", "removed"), "`watch` does not exist"),
        ] {
            let found = found(&[package]);
            assert!(found.len() == 1 && found[0].contains(what), "{what}: {found:?}");
        }
    }

    #[test]
    fn the_cell_of_uses_is_read() {
        assert_eq!(room(4, "api, 0–3").expect("well-formed").floors, [0, 1, 2, 3]);
        assert_eq!(room(2, "all").expect("well-formed").floors, [0, 1]);
        assert!(House::read("## The crates\n\n| a |\n|---|\n| x |\n").is_err());
    }
}
