//! Runs of the whole generator against a server that answers, errs, or goes away.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::*;

const GOOD: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const BAD: &str = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 9\r\n\r\nno leader";

/// Serves each connection with `answers`, one for each request, and then closes it.
fn serve<A>(answers: impl Fn() -> A + Send + 'static) -> String
where
    A: Iterator<Item = &'static str> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let authority = listener.local_addr().expect("it is bound").to_string();
    std::thread::spawn(move || {
        for socket in listener.incoming().flatten() {
            let answers = answers();
            std::thread::spawn(move || answer(&socket, answers));
        }
    });
    authority
}

fn answer(mut socket: &TcpStream, answers: impl Iterator<Item = &'static str>) -> Option<()> {
    let mut input = BufReader::new(socket);
    for answer in answers {
        let (mut body, mut line) = (0, String::new());
        while line != "\r\n" {
            line.clear();
            if input.read_line(&mut line).ok()? == 0 {
                return None;
            }
            if let Some(length) = line.strip_prefix("Content-Length: ") {
                body = length.trim().parse().ok()?;
            }
        }
        input.read_exact(&mut vec![0; body]).ok()?;
        socket.write_all(answer.as_bytes()).ok()?;
    }
    Some(())
}

fn plan(authority: String, until: Until, rate: Option<f64>) -> Plan {
    let endpoints = vec![authority];
    let shape =
        Shape { kind: Kind::V2Put, keys: 100, key_bytes: 8, value_bytes: 16, clients: 4, seed: 1, endpoints };
    Plan { shape, connections: 8, rate, until, live: false, token: None, server_pids: Vec::new() }
}

fn run_blocking(plan: &Plan) -> Report {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(run(plan)).expect("the server is there")
}

#[test]
fn exactly_so_many_calls_are_made_and_counted() {
    let authority = serve(|| std::iter::repeat(GOOD));
    let report = run_blocking(&plan(authority, Until::Calls(1000), None));
    assert_eq!((report.operations, report.calls, report.failures), (1000, 1000, 0));
    assert!(report.latency_us.p50 > 0.0 && report.latency_us.max >= report.latency_us.p99);
}

#[test]
fn connections_take_several_servers_in_turn() {
    let counts: [Arc<AtomicU64>; 2] = [(); 2].map(|()| Arc::default());
    let endpoints = counts.each_ref().map(|count| {
        let count = Arc::clone(count);
        serve(move || {
            let count = Arc::clone(&count);
            std::iter::repeat_with(move || {
                count.fetch_add(1, Ordering::Relaxed);
                GOOD
            })
        })
    });
    let mut plan = plan(String::new(), Until::Calls(1000), None);
    plan.shape.endpoints = endpoints.to_vec();
    let report = run_blocking(&plan);
    assert_eq!((report.operations, report.failures), (1000, 0));
    let counts = counts.map(|count| count.load(Ordering::Relaxed));
    assert!(counts.iter().all(|&count| count > 0), "{counts:?}");
}

#[test]
fn refused_calls_are_counted_with_their_reason() {
    let authority = serve(|| [GOOD, BAD].into_iter().cycle());
    let report = run_blocking(&plan(authority, Until::Calls(1000), None));
    assert_eq!(report.operations + report.failures, 1000);
    assert_eq!(report.failure_texts.keys().collect::<Vec<_>>(), ["HTTP 503: no leader"]);
}

#[test]
fn a_server_that_goes_away_ends_the_run_and_is_told() {
    let authority = serve(|| std::iter::repeat_n(GOOD, 10));
    let report = run_blocking(&plan(authority, Until::Calls(1000), None));
    assert_eq!((report.operations, report.failures), (40, 4));
}

#[test]
fn an_open_loop_keeps_its_rate_and_counts_every_call_it_owed() {
    let authority = serve(|| std::iter::repeat(GOOD));
    let until = Until::Elapsed { warm_up: Duration::ZERO, measured: Duration::from_millis(200) };
    let report = run_blocking(&plan(authority, until, Some(2000.0)));
    assert_eq!(report.failures, 0);
    let expect = report.seconds * 2000.0;
    assert!((report.operations as f64 - expect).abs() <= 8.0, "{} of {expect}", report.operations);
}
