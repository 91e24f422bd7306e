//! A member's `/metrics` as numbers: what it is now, rates and quantiles between two looks.

use std::collections::BTreeMap;
use std::time::Duration;

use client::{Client, Endpoint, Page};

/// The numbers of a page, each under its name with its labels.
#[derive(Clone, Debug, Default)]
pub(super) struct Metrics(BTreeMap<String, f64>);

/// A page, read; the headers come with it.
pub(super) async fn fetch(
    client: &Client,
    endpoint: &Endpoint,
    patience: Option<Duration>,
) -> Option<(Metrics, Page)> {
    let page = client.only(endpoint).page("/metrics", None, patience).await.ok()?;
    (page.status == 200).then(|| (Metrics::read(&String::from_utf8_lossy(&page.body)), page))
}

impl Metrics {
    pub(super) fn read(text: &str) -> Self {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        Self(
            lines
                .filter_map(|line| line.rsplit_once(' '))
                .filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?)))
                .collect(),
        )
    }

    /// Everything under this name, whatever its labels.
    fn under<'a>(&'a self, name: &'a str) -> impl Iterator<Item = (&'a str, f64)> {
        let labelled = self
            .0
            .range(format!("{name}{{")..)
            .take_while(move |(full, _)| full.strip_prefix(name).is_some_and(|rest| rest.starts_with('{')));
        let plain = self.0.get_key_value(name);
        plain.into_iter().chain(labelled).map(|(full, value)| (full.as_str(), *value))
    }

    /// The sum of what has this name; nothing where the member does not tell.
    pub(super) fn sum(&self, name: &str) -> Option<f64> {
        self.under(name).map(|(_, value)| value).reduce(|one, next| one + next)
    }

    /// What has this name, each with the text of its labels.
    pub(super) fn labelled(&self, name: &str) -> Vec<(String, f64)> {
        let labels = |full: &str| {
            full.split_once('{').map_or("", |(_, labels)| labels).trim_end_matches('}').to_owned()
        };
        self.under(name).map(|(full, value)| (labels(full), value)).collect()
    }

    /// The least bound, in seconds, under which this part of all observations is; of all labels together. Nothing where
    /// there were none.
    pub(super) fn quantile(&self, name: &str, part: f64) -> Option<f64> {
        let mut bounds: Vec<(f64, f64)> = Vec::new();
        for (labels, count) in self.labelled(&format!("{name}_bucket")) {
            let bound = labels.split("le=\"").nth(1).and_then(|rest| rest.split('"').next())?;
            let bound = if bound == "+Inf" { f64::INFINITY } else { bound.parse().ok()? };
            match bounds.iter_mut().find(|(known, _)| known.total_cmp(&bound).is_eq()) {
                Some((_, known)) => *known += count,
                None => bounds.push((bound, count)),
            }
        }
        bounds.sort_by(|one, next| one.0.total_cmp(&next.0));
        let all = bounds.last().map(|(_, count)| *count).filter(|count| *count > 0.0)?;
        bounds.iter().find(|(_, count)| *count >= all * part).map(|(bound, _)| *bound)
    }

    /// What came since another look. What is less than it was began anew.
    pub(super) fn since(&self, before: &Self) -> Self {
        let grown = |(name, now): (&String, &f64)| {
            let before = before.0.get(name).copied().unwrap_or(0.0);
            (name.clone(), if *now < before { *now } else { now - before })
        };
        Self(self.0.iter().map(grown).collect())
    }
}

/// A time as people read it, from seconds.
pub(super) fn seconds(seconds: f64) -> String {
    match seconds {
        seconds if seconds.is_infinite() => "more than can be told".to_owned(),
        seconds if seconds >= 1.0 => format!("{seconds:.1} s"),
        seconds if seconds >= 0.001 => format!("{:.1} ms", seconds * 1e3),
        seconds => format!("{:.0} us", seconds * 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_read() {
        let page = "# TYPE a counter\na 3\nb{x=\"1\"} 2\nb{x=\"2\"} 5\nbb 100\n\
                    h_bucket{le=\"0.001\"} 9\nh_bucket{le=\"0.002\"} 10\nh_bucket{le=\"+Inf\"} 10\nh_count 10\n";
        let metrics = Metrics::read(page);
        assert_eq!([metrics.sum("a"), metrics.sum("b"), metrics.sum("c")], [Some(3.0), Some(7.0), None]);
        assert_eq!([metrics.quantile("h", 0.9), metrics.quantile("h", 0.99)], [Some(0.001), Some(0.002)]);
        assert_eq!(metrics.quantile("a", 0.5), None);
        let later = Metrics::read("a 10\nb{x=\"1\"} 1\n");
        assert_eq!([later.since(&metrics).sum("a"), later.since(&metrics).sum("b")], [Some(7.0), Some(1.0)]);
        assert_eq!([seconds(0.0021), seconds(2.0), seconds(0.0004)], ["2.1 ms", "2.0 s", "400 us"]);
    }
}
