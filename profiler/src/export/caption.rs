//! What a file says about itself: of which host, when, of what, and how much.

use crate::profile::{Measure, TimeRange, WallNanos};

/// What stands on top.
#[must_use]
pub fn title(host: Option<&str>) -> String {
    host.map_or_else(|| "CPU flame graph".to_owned(), |host| format!("CPU flame graph of {host}"))
}

/// Range, filter and samples, in one line.
#[must_use]
pub fn about(of: TimeRange, filter: &str, total: u64, measure: Measure) -> String {
    format!("{}, {}", range(of), amount(filter, total, measure))
}

/// `2026-11-01 12:00:00 to 12:01:00 UTC`.
#[must_use]
pub fn range(of: TimeRange) -> String {
    let (from, to) = (moment(of.from), moment(of.to));
    // A day is said once.
    let to = to.strip_prefix(&from[..from.len().min(11)]).unwrap_or(&to);
    format!("{from} to {to} UTC")
}

/// Filter and samples, or the CPU time of samples of several rates; without a filter, of everything.
#[must_use]
pub fn amount(filter: &str, total: u64, measure: Measure) -> String {
    let of = if filter.is_empty() { "everything" } else { filter };
    if !measure.counts_samples() {
        return format!("{of}, {:.2} s of CPU time.", total as f64 / 1e9);
    }
    let plural = if total == 1 { "" } else { "s" };
    format!("{of}, {total} sample{plural}.")
}

/// `2026-11-01 12:00:00`, UTC.
fn moment(at: WallNanos) -> String {
    jiff::Timestamp::from_millisecond(at.as_millis())
        .map_or_else(|_| "unknown".into(), |time| time.strftime("%Y-%m-%d %H:%M:%S").to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Host, range, filter and samples, in words.
    #[test]
    fn a_caption_says_of_which_host_when_and_how_much() {
        let noon = 1_793_534_400_000;
        let at = |seconds: i64| WallNanos::from_millis(noon + seconds * 1_000);
        let one = Measure::of([97]);
        assert_eq!(title(Some("db-1")), "CPU flame graph of db-1");
        assert_eq!(
            about(TimeRange { from: at(0), to: at(60) }, "", 1, one),
            "2026-11-01 12:00:00 to 12:01:00 UTC, everything, 1 sample."
        );
        assert_eq!(
            about(TimeRange { from: at(0), to: at(86_400) }, "{pid=7}", 12, one),
            "2026-11-01 12:00:00 to 2026-11-02 12:00:00 UTC, {pid=7}, 12 samples."
        );
        assert_eq!(amount("", 12_340_000_000, Measure::of([97, 19])), "everything, 12.34 s of CPU time.");
        assert!(
            about(TimeRange { from: WallNanos(i64::MIN), to: WallNanos(i64::MAX) }, "", 0, one).contains("0 samples")
        );
    }
}
