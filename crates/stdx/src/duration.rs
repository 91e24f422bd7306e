//! Times as Go programs write them, which is how flags say them.

use std::time::Duration;

/// A time as Go writes it, such as `1h30m` or `1.5s`. A negative one is none.
pub fn parse_duration(word: &str) -> Option<Duration> {
    let mut rest = word.strip_prefix('+').unwrap_or(word);
    if rest == "0" {
        return Some(Duration::ZERO);
    }
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at(digits);
        let unit = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at(unit);
        let scale = match unit {
            "ns" => 1e-9,
            "us" | "µs" | "μs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        seconds += number.parse::<f64>().ok()? * scale;
        rest = after;
    }
    if word.is_empty() { None } else { Duration::try_from_secs_f64(seconds).ok() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_go_reads_them() {
        assert_eq!(parse_duration("1m1.5s"), Some(Duration::from_millis(61_500)));
        assert_eq!(parse_duration("0"), Some(Duration::ZERO));
        assert_eq!([parse_duration(""), parse_duration("5"), parse_duration("-1s")], [None; 3]);
    }
}
