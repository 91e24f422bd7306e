//! The metrics of one member, in Prometheus' text form as Go programs write it.
//!
//! Families are sorted and stand without blank lines between them, each with HELP and TYPE. It never touches
//! the process-wide recorder of the `metrics` crate.
//!
//! INVARIANT: a family has one kind and one series of buckets.

use std::collections::BTreeMap;
use std::sync::Arc;

use metrics::{Counter, Gauge, Histogram, Key, KeyName, Label, Level, Metadata, Recorder, SharedString};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusRecorder};
use parking_lot::Mutex;

use crate::histograms::Histograms;
use crate::process::ProcessFamilies;
use crate::stripes::Stripes;

/// The upper bounds of a histogram: `count` of them from `start`, each `factor` times the one before. What
/// is above the last is counted under `+Inf`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Buckets {
    start: f64,
    factor: f64,
    count: u32,
    /// Bounds that follow no rule.
    listed: Option<&'static [f64]>,
}

impl Buckets {
    /// etcd's bounds for whatever waits for a disk or a client: 1 ms to 8.192 s.
    pub const WAIT: Self = Self::exponential(0.001, 2.0, 14);
    /// etcd's bounds for work in memory: 0.1 ms to 52 s.
    pub const WORK: Self = Self::exponential(0.0001, 2.0, 20);
    /// etcd's bounds for walks through all data, as hashes are: 10 ms to 164 s.
    pub const WALK: Self = Self::exponential(0.01, 2.0, 15);
    /// The usual bounds of Go's library, which the times of gRPC calls have.
    pub const CALLS: Self = Self {
        listed: Some(&[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0]),
        ..Self::exponential(0.005, 2.0, 11)
    };

    /// `count` bounds, of which the first is `start`. `count` of 0 counts as 1.
    pub const fn exponential(start: f64, factor: f64, count: u32) -> Self {
        Self { start, factor, count: if count == 0 { 1 } else { count }, listed: None }
    }

    pub(crate) fn bounds(self) -> Vec<f64> {
        if let Some(listed) = self.listed {
            return listed.to_vec();
        }
        std::iter::successors(Some(self.start), |bound| Some(bound * self.factor))
            .take(self.count as usize)
            .collect()
    }
}

/// The metrics of one member. Clones share them.
#[derive(Clone)]
pub struct Registry(Arc<Inner>);

struct Inner {
    /// Counters and gauges.
    plain: PrometheusRecorder,
    stripes: Stripes,
    process: ProcessFamilies,
    histograms: Mutex<Histograms>,
}

impl Default for Registry {
    fn default() -> Self {
        Self::new()
    }
}

impl Registry {
    /// A registry that holds the `process_*` and `os_fd_*` families and nothing else.
    pub fn new() -> Self {
        let plain = PrometheusBuilder::new().build_recorder();
        let process = ProcessFamilies::register(&plain);
        Self(Arc::new(Inner { plain, stripes: Stripes::default(), process, histograms: Mutex::default() }))
    }

    /// The counter with this name and these labels; the same one when asked again.
    pub fn counter(
        &self,
        name: &'static str,
        help: &'static str,
        labels: &[(&'static str, &str)],
    ) -> Counter {
        self.0.plain.describe_counter(KeyName::from_const_str(name), None, SharedString::const_str(help));
        let key = key(name, labels);
        self.0.stripes.counter(&key, || self.0.plain.register_counter(&key, &METADATA))
    }

    /// The gauge with this name and these labels; the same one when asked again.
    pub fn gauge(&self, name: &'static str, help: &'static str, labels: &[(&'static str, &str)]) -> Gauge {
        self.0.plain.describe_gauge(KeyName::from_const_str(name), None, SharedString::const_str(help));
        self.0.plain.register_gauge(&key(name, labels), &METADATA)
    }

    /// The histogram with this name and these labels; the same one when asked again. A sample is counted at once and
    /// takes no memory.
    ///
    /// # Panics
    /// When the family was registered before with other buckets, which is a mistake in this program.
    pub fn histogram(
        &self,
        name: &'static str,
        help: &'static str,
        labels: &[(&'static str, &str)],
        buckets: Buckets,
    ) -> Histogram {
        self.0.histograms.lock().histogram(name, help, key(name, labels), buckets)
    }

    /// Everything, in the text form 0.0.4.
    pub fn render(&self) -> String {
        self.0.process.update(&self.0.plain);
        self.0.stripes.show();
        sorted(&[self.0.plain.handle().render(), self.0.histograms.lock().render()])
    }
}

const METADATA: Metadata<'static> = Metadata::new("kvorum", Level::INFO, None);

fn key(name: &'static str, labels: &[(&'static str, &str)]) -> Key {
    let labels: Vec<Label> =
        labels.iter().map(|(name, value)| Label::new(*name, (*value).to_owned())).collect();
    Key::from_parts(name, labels)
}

/// Puts the families of several texts in the order of their names. The exporter ends each family with an
/// empty line, and escapes line ends inside, so an empty line ends nothing else.
fn sorted(texts: &[String]) -> String {
    let mut families = BTreeMap::new();
    for family in texts.iter().flat_map(|text| text.split("\n\n")).map(|family| family.trim_end_matches('\n'))
    {
        // "# HELP name ..." or "# TYPE name ..."
        if let Some(name) = family.split(' ').nth(2) {
            families.insert(name, family);
        }
    }
    let mut out = String::with_capacity(texts.iter().map(String::len).sum());
    for (name, family) in families {
        for line in lines(name, family) {
            out.push_str(line);
            out.push('\n');
        }
    }
    out
}

/// The lines of a family, in an order that does not change from scrape to scrape. Those of a histogram stay
/// as they are: the order of its buckets means something.
fn lines<'a>(name: &str, family: &'a str) -> Vec<&'a str> {
    let mut lines: Vec<&str> = family.lines().collect();
    let heads = lines.iter().take_while(|line| line.starts_with('#')).count();
    let histogram = lines.iter().take(heads).any(|line| line.ends_with(" histogram"));
    if !histogram {
        lines[heads..].sort_unstable();
    }
    ProcessFamilies::correct(name, &mut lines[..heads]);
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn family(registry: &Registry, name: &str) -> String {
        let text = registry.render();
        let of_family = |line: &&str| line.contains(&format!(" {name} ")) || line.starts_with(name);
        text.lines().filter(of_family).fold(String::new(), |all, line| all + line + "\n")
    }

    #[test]
    fn counters_and_gauges_look_as_gos_do() {
        let registry = Registry::new();
        registry.counter("b_total", "Counts b.", &[("type", "y")]).increment(2);
        registry.counter("b_total", "Counts b.", &[("type", "x\n\"")]).increment(1);
        registry.counter("b_total", "Counts b.", &[("type", "y")]).increment(3);
        registry.gauge("a", "Is a.", &[]).set(1.5);
        assert_eq!(family(&registry, "a"), "# HELP a Is a.\n# TYPE a gauge\na 1.5\n");
        assert_eq!(
            family(&registry, "b_total"),
            "# HELP b_total Counts b.\n# TYPE b_total counter\nb_total{type=\"x\\n\\\"\"} 1\nb_total{type=\"y\"} 5\n"
        );
    }

    #[test]
    fn histograms_are_there_before_the_first_sample() {
        let registry = Registry::new();
        let buckets = Buckets::exponential(0.001, 2.0, 2);
        let histogram = registry.histogram("h_seconds", "Takes time.", &[("op", "Put")], buckets);
        assert!(family(&registry, "h_seconds").ends_with("h_seconds_count{op=\"Put\"} 0\n"));
        for sample in [0.001, 0.0015, 7.0] {
            histogram.record(sample);
        }
        assert_eq!(
            family(&registry, "h_seconds"),
            "# HELP h_seconds Takes time.\n# TYPE h_seconds histogram\n\
             h_seconds_bucket{op=\"Put\",le=\"0.001\"} 1\nh_seconds_bucket{op=\"Put\",le=\"0.002\"} 2\n\
             h_seconds_bucket{op=\"Put\",le=\"+Inf\"} 3\nh_seconds_sum{op=\"Put\"} 7.0025\n\
             h_seconds_count{op=\"Put\"} 3\n"
        );
    }

    #[test]
    fn buckets_are_etcds() {
        let bounds = Buckets::WAIT.bounds();
        assert_eq!((bounds.len(), bounds[0], bounds[13]), (14, 0.001, 8.192));
    }

    #[test]
    fn families_are_sorted_and_each_has_help_and_type() {
        let registry = Registry::new();
        registry.histogram("etcd_disk_wal_fsync_duration_seconds", "Syncs.", &[], Buckets::WAIT).record(0.1);
        registry.gauge("etcd_server_has_leader", "Leads.", &[]).set(1.0);
        let text = registry.render();
        let names = |kind: &str| -> Vec<String> {
            let heads = text.lines().filter_map(|line| line.strip_prefix(&format!("# {kind} ")));
            heads.filter_map(|rest| rest.split(' ').next()).map(str::to_owned).collect()
        };
        assert_eq!(names("HELP"), names("TYPE"));
        assert!(names("TYPE").is_sorted());
        assert!(!text.contains("\n\n") && text.ends_with('\n') && text.starts_with("# HELP "));
    }

    #[test]
    fn members_do_not_share() {
        let (one, other) = (Registry::new(), Registry::new());
        one.counter("a_total", "Counts.", &[]).increment(1);
        assert!(!other.render().contains("a_total"));
        assert!(one.clone().render().contains("a_total 1\n"));
    }
}
