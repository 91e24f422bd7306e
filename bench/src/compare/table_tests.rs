//! Tests of the arithmetic behind the tables.

use std::collections::BTreeMap;

use super::super::streams::Flow;
use super::*;
use crate::load::Latency;
use crate::stream::{Figure, Wanted};

fn sample(system: &str, round: u64, throughput: f64, cpu: f64) -> Sample {
    let report = Report {
        workload: "put".into(),
        clients: 64,
        connections: 8,
        rate: None,
        seconds: 2.0,
        operations: 100,
        calls: 100,
        throughput,
        latency_us: Latency { p50: 500.0, p99: 2000.0, p999: 3000.0, ..Latency::default() },
        client_cpu_us: 2.0,
        server_cpu_us: Some(cpu),
        foreign_cpu: Some(0.25),
        failures: round,
        failure_texts: BTreeMap::new(),
    };
    let memory = Memory { rss_kib: 2048, peak_kib: 4096, anon_kib: 1024, file_kib: 1024 };
    Sample {
        medium: "tmpfs".into(),
        point: "put, 64 clients".into(),
        system: system.into(),
        round,
        report,
        memory,
        elections: 0,
    }
}

fn results(samples: Vec<Sample>) -> Results {
    let machine =
        Machine { cores: 2, processor: "p".into(), memory_mib: 1, kernel: "k".into(), disk: "d".into() };
    Results {
        date: "2026-01-01".into(),
        profile: "quick".into(),
        machine,
        systems: vec![("kvorum".into(), "1".into()), ("etcd34".into(), "2".into())],
        members: 1,
        rounds: 3,
        seconds: 2.0,
        samples,
        million: Vec::new(),
        joins: Vec::new(),
        flows: Vec::new(),
        broken: Vec::new(),
    }
}

fn close(found: f64, expect: f64) {
    assert!((found - expect).abs() < 1e-9, "{found} is not {expect}");
}

#[test]
fn medians() {
    close(median(&[]), 0.0);
    close(median(&[3.0, 1.0, 2.0]), 2.0);
    close(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
}

#[test]
fn ratios_are_ours_over_theirs_and_never_of_nothing() {
    assert_eq!(ratio(30.0, 10.0), Some(3.0));
    assert_eq!(ratio(30.0, 0.0), None);
    assert_eq!(ratio(f64::NAN, 1.0), None);
    assert_eq!(times(1.0, 4.0), "0.25x");
    assert_eq!(times(1.0, 0.0), "-");
}

#[test]
fn a_row_takes_the_median_of_each_column_and_all_failures() {
    let samples = [sample("a", 1, 10.0, 9.0), sample("a", 2, 30.0, 7.0), sample("a", 3, 20.0, 8.0)];
    let row = Row::of(&samples.iter().collect::<Vec<_>>());
    assert_eq!((row.throughput, row.cpu_us, row.rss_mib, row.failures), (20.0, 8.0, 2.0, 6));
}

#[test]
fn a_stranger_can_read_the_table() {
    let text =
        results(vec![sample("etcd34", 0, 10_000.0, 50.0), sample("kvorum", 0, 30_000.0, 12.5)]).markdown();
    let rows: Vec<&str> = text.lines().filter(|line| line.starts_with('|')).skip(2).collect();
    let expect = [
        "| put, 64 clients | kvorum          | 30000 |   0.50 |   2.00 |     3.00 |             12.5 |    2.00 |  1.00 |  4.00 |      2.00 |    25% |      0 |",
        "| put, 64 clients | etcd34          | 10000 |   0.50 |   2.00 |     3.00 |             50.0 |    2.00 |  1.00 |  4.00 |      2.00 |    25% |      0 |",
        "|                 | kvorum / etcd34 | 3.00x |  1.00x |  1.00x |    1.00x |            0.25x |   1.00x | 1.00x | 1.00x |           |        |        |",
    ];
    assert_eq!(rows, expect);
}

fn flow(system: &str, events: f64, bytes: f64) -> Flow {
    Flow {
        medium: "tmpfs".into(),
        scenario: "keepalive".into(),
        title: "many watches".into(),
        system: system.into(),
        round: 1,
        figures: vec![
            Figure::new("events per CPU s", events, Wanted::Times(3.0)),
            Figure::new("bytes", bytes, Wanted::AtMost(200.0)),
            Figure::new("seconds", 1.0, Wanted::Less),
        ],
    }
}

#[test]
fn what_was_wished_of_streams_stands_beside_what_was_found() {
    let mut results = results(Vec::new());
    results.flows = vec![flow("etcd34", 100.0, 300.0), flow("kvorum", 250.0, 150.0)];
    let text = results.markdown();
    let rows: Vec<&str> = text.lines().filter(|line| line.starts_with('|')).skip(2).collect();
    let expect = [
        "| many watches | events per CPU s |   250 |   100 | 2.50x | >= 3x  |      no |",
        "|              | bytes            |   150 |   300 | 0.50x | <= 200 |     yes |",
        "|              | seconds          |  1.00 |  1.00 | 1.00x |        |         |",
    ];
    let squeezed = |line: &&str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(
        rows.iter().map(squeezed).collect::<Vec<_>>(),
        expect.iter().map(squeezed).collect::<Vec<_>>()
    );
}

#[test]
fn nothing_measured_is_no_table() {
    assert!(!results(Vec::new()).markdown().contains('|'));
}
