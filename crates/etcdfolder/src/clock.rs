//! Times as Go writes them into JSON.

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use types::v2::Timestamp;

/// The moment that `text` tells, as `2026-11-22T01:02:03.5+01:00`. `Some(None)` is Go's zero, which is no time; `None` is
/// what cannot be read.
#[expect(clippy::option_option, reason = "no time is something else than no text")]
pub(crate) fn parse(text: &str) -> Option<Option<Timestamp>> {
    let moment = OffsetDateTime::parse(text, &Rfc3339).ok()?;
    if moment.year() <= 1 {
        return Some(None);
    }
    i64::try_from(moment.unix_timestamp_nanos()).ok().map(|nanoseconds| Some(Timestamp(nanoseconds)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `expect` is none, or nanoseconds, 0 for no time.
    fn check(text: &str, expect: Option<i64>) {
        let found = parse(text).map(|time| time.map_or(0, |time| time.0));
        assert_eq!(found, expect, "{text}");
    }

    #[test]
    fn times_are_those_of_go() {
        check("1970-01-01T00:00:01Z", Some(1_000_000_000));
        check("2000-02-29T12:00:00.5Z", Some(951_825_600_500_000_000));
        check("2026-11-22T01:02:03.000000001+01:00", Some(1_795_305_723_000_000_001));
        check("2026-11-21T20:02:03-04:00", Some(1_795_305_723_000_000_000));
        check("0001-01-01T00:00:00Z", Some(0));
        for bad in
            ["", "T", "2026-11-22", "2026-13-01T00:00:00Z", "2026-11-22T00:00:00", "2026-11-22T00:00:00+1"]
        {
            check(bad, None);
        }
    }
}
