//! Parameters of v2 and their order; all of it observed in 3.4.23 and 3.5.1.

use super::*;

fn parse_on(method: &str, query: &str) -> Result<Operation, Wrong> {
    let method = Method::from_bytes(method.as_bytes()).expect("a method");
    parse(&method, "/k", &Form::parse(query.as_bytes()).0)
}

fn written(method: &str, query: &str) -> Write {
    match parse_on(method, query) {
        Ok(Operation::Write { write, .. }) => write,
        other => panic!("{method} {query}: {other:?}"),
    }
}

#[test]
fn parameters_select_the_write() {
    let check = |method, query, expected: &str| {
        let write = format!("{:?}", written(method, query));
        assert!(write.starts_with(expected), "{method} {query}: {write}");
    };
    check("PUT", "value=1", "Set");
    check("PUT", "prevIndex=0", "Set");
    check("PUT", "prevExist=true", "Update");
    check("PUT", "prevExist=true&prevIndex=7", "CompareAndSwap");
    check("PUT", "prevValue=x", "CompareAndSwap");
    check("PUT", "prevExist=false&prevValue=x", "Create");
    check("POST", "value=1&prevValue=x", "Create");
    check("DELETE", "recursive=true", "Delete");
    check("DELETE", "prevIndex=3", "CompareAndDelete");
}

#[test]
fn only_posts_are_named_in_order() {
    assert!(matches!(written("POST", "dir=1"), Write::Create { in_order: true, dir: true, .. }));
    assert!(matches!(written("PUT", "prevExist=f"), Write::Create { in_order: false, dir: false, .. }));
}

#[test]
fn the_first_check_that_fails_is_told() {
    // Each query holds one fault less than the one before; all of them hold the last ones.
    let mut query = "prevIndex=&waitIndex=x&recursive=&sorted=2&wait=y&dir=&quorum=&stream=&prevValue=\
                     &noValueOnSuccess=&ttl=-1&prevExist=maybe&refresh="
        .to_owned();
    for (name, code, cause) in [
        ("prevIndex", 203, "invalid value for \"prevIndex\""),
        ("waitIndex", 203, "invalid value for \"waitIndex\""),
        ("recursive", 209, "invalid value for \"recursive\""),
        ("sorted", 209, "invalid value for \"sorted\""),
        ("wait", 209, "invalid value for \"wait\""),
        ("dir", 209, "invalid value for \"dir\""),
        ("quorum", 209, "invalid value for \"quorum\""),
        ("stream", 209, "invalid value for \"stream\""),
        ("prevValue", 201, "\"prevValue\" cannot be empty"),
        ("noValueOnSuccess", 209, "invalid value for \"noValueOnSuccess\""),
        ("ttl", 202, "invalid value for \"ttl\""),
        ("prevExist", 209, "invalid value for prevExist"),
        ("refresh", 209, "invalid value for refresh"),
    ] {
        assert_eq!(parse_on("PUT", &query), Err(Wrong::new(code, cause)), "{query}");
        let rest: Vec<&str> =
            query.split('&').filter(|pair| !pair.starts_with(&format!("{name}="))).collect();
        query = rest.join("&");
    }
    assert!(query.is_empty());
}

#[test]
fn a_refresh_brings_a_time_and_no_value() {
    assert_eq!(
        parse_on("PUT", "refresh=true&value=1"),
        Err(Wrong::new(211, "A value was provided on a refresh"))
    );
    assert_eq!(parse_on("PUT", "refresh=true&ttl="), Err(Wrong::new(212, "No TTL value set")));
    let Ok(Operation::Write { write, ttl, .. }) = parse_on("PUT", "refresh=true&value=&ttl=5") else {
        panic!("it is well-formed")
    };
    assert_eq!(ttl, V2Ttl::Seconds(5));
    assert!(matches!(write, Write::Set { refresh: true, .. }));
}

#[test]
fn waiting_is_for_reads_without_quorum() {
    let refused = Err(Wrong::new(209, "\"wait\" can only be used with GET requests"));
    assert_eq!(parse_on("HEAD", "wait=true"), refused);
    assert_eq!(parse_on("PUT", "wait=true"), refused);
    let watch = |stream, since| {
        Ok(Operation::Watch(Watch { path: Path::clean("/k"), recursive: stream, stream, since }))
    };
    assert_eq!(parse_on("GET", "wait=true&waitIndex=0"), watch(false, None));
    assert_eq!(parse_on("GET", "wait=true&recursive=1&stream=1&waitIndex=7"), watch(true, Some(7)));
    assert!(matches!(parse_on("GET", "wait=true&quorum=true"), Ok(Operation::Get { quorum: true, .. })));
    // HEAD reads locally, whatever it asks for.
    assert!(matches!(parse_on("HEAD", "quorum=true"), Ok(Operation::Get { quorum: false, .. })));
}

#[test]
fn numbers_are_unsigned_and_decimal() {
    for text in ["+1", "-1", "0x1", "1.0", "18446744073709551616", "%ff"] {
        assert!(parse_on("GET", &format!("prevIndex={text}")).is_err(), "{text}");
    }
    let greatest = written("PUT", "prevIndex=18446744073709551615");
    let Write::CompareAndSwap { condition, .. } = greatest else { panic!("it has a condition") };
    assert_eq!(condition.prev_index, Some(u64::MAX));
}
