//! Points in time as people and programs write them.
//!
//! `now`, `now-1h`, `now-2d12h`; RFC 3339 with an offset; Unix time in seconds, milliseconds, microseconds or nanoseconds, told
//! apart by size: below 10^11 it is seconds (until the year 5138), then each unit takes the next three digits.

use super::QueryError;
use crate::profile::{TimeRange, WallNanos};

/// Longest text that is worth reading.
const MAX_BYTES: usize = 64;

const SECOND: i128 = 1_000_000_000;

/// A Unix time below this is in seconds.
const SECONDS_BELOW: i128 = 100_000_000_000;

/// Parses both ends of a range: `now`, `now-1h`, `now-2d12h`, RFC 3339, or Unix time in s, ms, us or ns (told apart by size).
///
/// # Errors
/// [`QueryError::BadTime`] naming the text, also when `from` is not before `to`.
pub fn parse_range(from: &str, to: &str, now: WallNanos) -> Result<TimeRange, QueryError> {
    let range = TimeRange { from: parse_time(from, now)?, to: parse_time(to, now)? };
    if range.from >= range.to {
        let [from, to] = [(from, range.from), (to, range.to)].map(|(text, time)| written(text, time));
        return Err(QueryError::BadTime(format!("the start {from} is not before the end {to}")));
    }
    Ok(range)
}

/// A point in time as it was given, and as people write it, where it was given as a number.
fn written(text: &str, time: WallNanos) -> String {
    let number = text.trim().bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
    match jiff::Timestamp::from_nanosecond(time.0.into()) {
        Ok(time) if number => format!("{text:?} ({time:.0})"),
        _ => format!("{text:?}"),
    }
}

/// Parses one point in time: see [`parse_range`].
///
/// # Errors
/// [`QueryError::BadTime`] naming the text.
pub fn parse_time(text: &str, now: WallNanos) -> Result<WallNanos, QueryError> {
    let bad = |why: &str| {
        let shown: String = text.chars().take(MAX_BYTES).collect();
        QueryError::BadTime(format!(
            "{shown:?} {why}: write `now-1h`, `2026-01-31T12:00:00Z` or Unix time in s, ms, us or ns"
        ))
    };
    let word = text.trim();
    if word.len() > MAX_BYTES {
        return Err(bad("is too long"));
    }
    let nanos = if let Some(rest) = word.strip_prefix("now") {
        ago(rest).ok_or_else(|| bad("has an offset that is not like `-2d12h`")).map(|ago| i128::from(now.0) - ago)?
    } else if word.starts_with(|c: char| c.is_ascii_digit()) && word.chars().all(|c| c.is_ascii_digit() || c == '.') {
        unix(word).ok_or_else(|| bad("is not a number"))?
    } else {
        word.parse::<jiff::Timestamp>().map_err(|_| bad("is not a time"))?.as_nanosecond()
    };
    if nanos < 0 {
        return Err(bad("is before 1970"));
    }
    i64::try_from(nanos).map(WallNanos).map_err(|_| bad("is too far in the future"))
}

/// Nanoseconds of `-2d12h`; 0 for nothing.
fn ago(text: &str) -> Option<i128> {
    if text.is_empty() {
        return Some(0);
    }
    let mut rest = text.strip_prefix('-')?;
    let mut sum = 0_i128;
    loop {
        let (digits, tail) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit())?);
        // The longer unit first: `m` begins `ms`.
        let units =
            [("ms", SECOND / 1000), ("s", SECOND), ("m", 60 * SECOND), ("h", 3_600 * SECOND), ("d", 86_400 * SECOND)];
        let mut units = units.into_iter().chain([("w", 7 * 86_400 * SECOND)]);
        let (tail, unit) = units.find_map(|(name, unit)| Some((tail.strip_prefix(name)?, unit)))?;
        let n = i128::from(digits.parse::<i64>().ok()?);
        sum = sum.checked_add(n.checked_mul(unit)?)?;
        if tail.is_empty() {
            return Some(sum);
        }
        rest = tail;
    }
}

/// Nanoseconds of a decimal number of s, ms, us or ns.
fn unix(text: &str) -> Option<i128> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let n = i128::from(whole.parse::<i64>().ok()?);
    let limits = [(SECONDS_BELOW, SECOND), (SECONDS_BELOW * 1_000, SECOND / 1_000), (SECONDS_BELOW * 1_000_000, 1_000)];
    let unit = limits.into_iter().find(|(limit, _)| n < *limit).map_or(1, |(_, unit)| unit);
    // Digits past the ninth are below a nanosecond.
    let digits = format!("{:0<9.9}", fraction);
    let fraction = i128::from(digits.parse::<u32>().ok()?);
    Some(n * unit + fraction * unit / SECOND)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use proptest::prelude::*;

    use super::*;

    const NOW: WallNanos = WallNanos(1_800_000_000_000_000_000);

    fn nanos(text: &str) -> i64 {
        parse_time(text, NOW).unwrap().0
    }

    /// Offsets add up, in any units and order.
    #[test]
    fn now_takes_offsets() {
        assert_eq!(nanos("now"), NOW.0);
        assert_eq!(nanos(" now-1h "), NOW.0 - 3_600_000_000_000);
        assert_eq!(nanos("now-2d12h"), NOW.0 - 216_000_000_000_000);
        assert_eq!(nanos("now-1m"), NOW.0 - 60_000_000_000);
        assert_eq!(nanos("now-1w30s5ms"), NOW.0 - 604_830_005_000_000);
    }

    /// The four Unix units mean the same moment.
    #[test]
    fn unix_times_are_told_apart_by_size() {
        for text in ["1700000000", "1700000000000", "1700000000000000", "1700000000000000000", "1700000000.000"] {
            assert_eq!(nanos(text), 1_700_000_000_000_000_000, "{text}");
        }
        assert_eq!(nanos("1700000000.25"), 1_700_000_000_250_000_000);
        assert_eq!(nanos("1700000000250.5"), 1_700_000_000_250_500_000);
        assert_eq!(nanos("0"), 0);
        // Nanoseconds in 64 bits end in the year 2262.
        assert!(parse_time("99999999999", NOW).is_err());
        assert!(parse_time("99999999999999999", NOW).is_err());
    }

    /// RFC 3339 needs its offset: a local time would mean something else elsewhere.
    #[test]
    fn rfc_3339_needs_an_offset() {
        assert_eq!(nanos("2023-11-14T22:13:20Z"), 1_700_000_000_000_000_000);
        assert_eq!(nanos("2023-11-14T23:13:20.5+01:00"), 1_700_000_000_500_000_000);
        assert!(parse_time("2023-11-14T22:13:20", NOW).is_err());
    }

    /// Every refusal names the text and shows right ones.
    #[test]
    fn bad_times_are_named() {
        insta::assert_snapshot!(
            [
                "", "yesterday", "now-", "now-1", "now-h", "now+1h", "now-1y", "now-99999999999999999999h", "now-1h-1h", "-5",
                "NaN", "inf", "1e9", "1.2.3", "99999999999999999999", "1969-12-31T23:59:59Z", "9999-01-01T00:00:00Z",
            ]
            .map(|text| parse_time(text, NOW).unwrap_err().to_string())
            .map(|error| error.split(": write").next().unwrap().to_owned())
            .join("\n"),
            @r#"
        bad time range: "" is not a time
        bad time range: "yesterday" is not a time
        bad time range: "now-" has an offset that is not like `-2d12h`
        bad time range: "now-1" has an offset that is not like `-2d12h`
        bad time range: "now-h" has an offset that is not like `-2d12h`
        bad time range: "now+1h" has an offset that is not like `-2d12h`
        bad time range: "now-1y" has an offset that is not like `-2d12h`
        bad time range: "now-99999999999999999999h" has an offset that is not like `-2d12h`
        bad time range: "now-1h-1h" has an offset that is not like `-2d12h`
        bad time range: "-5" is not a time
        bad time range: "NaN" is not a time
        bad time range: "inf" is not a time
        bad time range: "1e9" is not a time
        bad time range: "1.2.3" is not a number
        bad time range: "99999999999999999999" is not a number
        bad time range: "1969-12-31T23:59:59Z" is before 1970
        bad time range: "9999-01-01T00:00:00Z" is too far in the future
        "#
        );
    }

    /// A range that is empty or the wrong way round is refused.
    #[test]
    fn a_range_ends_after_it_starts() {
        assert!(parse_range("now-1h", "now", NOW).is_ok());
        for (from, to) in [("now", "now"), ("now", "now-1h")] {
            let error = parse_range(from, to, NOW).unwrap_err().to_string();
            let start = format!("bad time range: the start {from:?}");
            assert!(error.starts_with(&start) && error.contains(&format!("is not before the end {to:?}")), "{error}");
        }
    }

    proptest! {
        /// No text makes the parser panic.
        #[test]
        fn arbitrary_text_is_an_error_at_worst(text in r"(now)?[-+0-9.smhdwTZ:\PC]{0,40}", now in any::<i64>()) {
            let _ = parse_time(&text, WallNanos(now));
        }

        /// What a program prints as milliseconds is read back exactly.
        #[test]
        fn milliseconds_round_trip(ms in 100_000_000_000_i64..9_000_000_000_000) {
            prop_assert_eq!(nanos(&ms.to_string()), WallNanos::from_millis(ms).0);
        }
    }
}
