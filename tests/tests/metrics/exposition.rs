//! What a server tells in Prometheus' text form: families with their kind, the names of their labels, their bounds.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use ::tests::http1;
use anyhow::{Context, bail, ensure};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Families by name.
pub(crate) type Families = BTreeMap<String, Family>;

/// What all rows of a name have in common.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Family {
    pub(crate) kind: String,
    /// The names of its labels, `le` and `quantile` apart.
    pub(crate) labels: BTreeSet<String>,
    /// The upper bounds of a histogram's buckets, without the infinite one; no row, no bounds.
    pub(crate) bounds: Vec<f64>,
    /// Whether there is a row.
    pub(crate) has_rows: bool,
}

/// Asks a server.
pub(crate) fn ask(address: SocketAddr) -> anyhow::Result<Families> {
    let request = http1::request("GET", "/metrics", &[], None);
    let text = http1::exchange(address, &request, PATIENCE).context("ask for metrics")?.body_text();
    read(&text)
}

/// All that several servers of one kind tell.
pub(crate) fn together(all: Vec<Families>) -> Families {
    let mut whole = Families::new();
    for (name, family) in all.into_iter().flatten() {
        let known = whole.entry(name).or_default();
        if !known.has_rows {
            *known = family;
        }
    }
    whole
}

fn read(text: &str) -> anyhow::Result<Families> {
    let mut families = Families::new();
    for line in text.lines() {
        if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|head| head.split_once(' ')) {
            families.insert(name.to_owned(), Family { kind: kind.to_owned(), ..Family::default() });
        } else if !line.starts_with('#') {
            row(&mut families, line).with_context(|| line.to_owned())?;
        }
    }
    Ok(families)
}

fn row(families: &mut Families, line: &str) -> anyhow::Result<()> {
    let end = line.find(['{', ' ']).context("a row has a name and a value")?;
    let (name, rest) = line.split_at(end);
    let ends = ["", "_bucket", "_sum", "_count"];
    let base = ends.iter().filter_map(|end| name.strip_suffix(end)).find(|base| families.contains_key(*base));
    let family = base.and_then(|base| families.get_mut(base)).context("a row of no family")?;
    let labels = labels(rest)?;
    let names: BTreeSet<String> =
        labels.keys().filter(|name| !["le", "quantile"].contains(&name.as_str())).cloned().collect();
    ensure!(!family.has_rows || family.labels == names, "rows have other labels: {:?}", family.labels);
    (family.labels, family.has_rows) = (names, true);
    if let Some(bound) = labels.get("le") {
        let bound: f64 = bound.parse().context("a bound is a number")?;
        if bound.is_finite() && !family.bounds.contains(&bound) {
            family.bounds.push(bound);
        }
    }
    Ok(())
}

/// What stands in braces; nothing else that is said here has a quote in its value.
fn labels(rest: &str) -> anyhow::Result<BTreeMap<String, String>> {
    let Some(mut rest) = rest.strip_prefix('{') else { return Ok(BTreeMap::new()) };
    let mut labels = BTreeMap::new();
    while !rest.starts_with('}') {
        let Some((name, behind)) = rest.split_once("=\"") else { bail!("a label without a value") };
        let (value, behind) = behind.split_once('"').context("a value that ends")?;
        labels.insert(name.to_owned(), value.to_owned());
        rest = behind.strip_prefix(',').unwrap_or(behind);
    }
    Ok(labels)
}

#[test]
fn rows_are_read() {
    let text = "# HELP a x\n# TYPE a histogram\na_bucket{To=\"1\",le=\"0.5\"} 1\na_bucket{To=\"1\",le=\"+Inf\"} 1\n\
                a_sum{To=\"1\"} 1\na_count{To=\"1\"} 1\n# TYPE b gauge\nb 1e+06\n# TYPE c counter\n";
    let read = read(text).expect("right");
    let shown = |name: &str| {
        let family = &read[name];
        (family.kind.clone(), family.labels.iter().cloned().collect::<Vec<_>>(), family.bounds.clone())
    };
    assert_eq!(shown("a"), ("histogram".to_owned(), vec!["To".to_owned()], vec![0.5]));
    assert_eq!(shown("b"), ("gauge".to_owned(), vec![], vec![]));
    assert!(read["b"].has_rows && !read["c"].has_rows);
    assert!(super::exposition::read("x{} 1\n").is_err(), "a row of no family");
}
