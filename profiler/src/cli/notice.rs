//! Notices that the page shows while something is wrong: one for each trouble, gone when the trouble is.

use std::error::Error;
use std::path::Path;
use std::time::Duration;

use crate::profile::{CpuTicks, MissCause};
use crate::server::SharedLive;
use crate::sys::clock::wall_now;

/// Shows `trouble` with its causes, in place of what was said of it before. Says whether this is news.
pub fn give(live: &SharedLive, trouble: &str, error: &dyn Error) -> bool {
    replace(live, trouble, text(trouble, error))
}

/// `trouble` with its causes.
pub fn text(trouble: &str, error: &dyn Error) -> String {
    let mut notice = format!("{trouble}: {error}");
    let mut cause = error.source();
    while let Some(error) = cause {
        notice += &format!(": {error}");
        cause = error.source();
    }
    notice
}

/// Shows `notice` in place of all that begin as it does, with `trouble`. Says whether this is news.
pub fn replace(live: &SharedLive, trouble: &str, notice: String) -> bool {
    let mut news = false;
    live.update(|live| {
        news = !live.notices.contains(&notice);
        live.notices.retain(|notice| !notice.starts_with(trouble));
        live.notices.push(notice);
    });
    news
}

/// Says while the kernel's limit keeps us below the frequency wanted, with what lifts it.
pub fn limited_frequency(live: &SharedLive, wanted: u32, hz: u32) {
    set(
        live,
        LIMIT_NOTICE,
        (hz < wanted).then(|| {
            format!(
                "{LIMIT_NOTICE} to {hz} Hz, not {wanted}: raise it with \
             `sudo sysctl kernel.perf_event_max_sample_rate={wanted}`, sampling follows within a second"
            )
        }),
    );
}

const LIMIT_NOTICE: &str = "the kernel limits the sampling frequency";

/// Share of a window's ticks that is worth a notice.
const MISSED_SHARE: f64 = 0.01;

/// Says when much of the last window was not sampled, for a reason that somebody on this host can mend. A timer
/// that is late is the hypervisor's doing most often, and on the timeline.
pub fn missed_ticks(live: &SharedLive, ticks: &CpuTicks) {
    let causes = [MissCause::ProgramBusy, MissCause::Throttled, MissCause::NotScheduled];
    let worst = causes.into_iter().max_by_key(|cause| ticks.missed.of(*cause));
    let due = ticks.busy.saturating_add(ticks.idle).saturating_add(ticks.missed.total());
    let text = worst.and_then(|cause| {
        let share = ticks.missed.of(cause) as f64 / due.max(1) as f64;
        let percent = share * 100.0;
        (share >= MISSED_SHARE).then(|| format!("{MISSED_NOTICE}: {percent:.1} % of ticks missed, {}", cause.words()))
    });
    set(live, MISSED_NOTICE, text);
}

const MISSED_NOTICE: &str = "part of the CPU time of the last window was not sampled";

/// Says how long we were stopped, and until when.
pub fn stopped(live: &SharedLive, trouble: &str, time: Duration) {
    let until = wall_now().as_millis() / 1000;
    let until = jiff::Timestamp::from_second(until).map_or_else(|_| String::new(), |until| format!(", until {until}"));
    let text = format!(
        "{trouble} for {:.0} s{until}: what found no room meanwhile is counted as lost (ring full)",
        time.as_secs_f64()
    );
    set(live, trouble, Some(text));
}

/// Puts `text`, or nothing, in the place of what began with `trouble`.
fn set(live: &SharedLive, trouble: &str, text: Option<String>) {
    live.update(|live| {
        live.notices.retain(|notice| !notice.starts_with(trouble));
        live.notices.extend(text);
    });
}

/// The trouble is over.
pub fn take_back(live: &SharedLive, trouble: &str) {
    live.update(|live| live.notices.retain(|notice| !notice.starts_with(trouble)));
}

/// The banner of a database that was set aside: it stays until the profiler is started again.
pub fn set_aside_notice(database: &Path, aside: &Path) -> String {
    format!(
        "the database {} was damaged and has been set aside as {}; a new one was begun",
        database.display(),
        aside.display()
    )
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    /// Told once, replaced when it changes, and other troubles are left alone.
    #[test]
    fn a_trouble_has_one_notice_until_it_is_over() {
        let live = SharedLive::default();
        let (full, broken) = (io::Error::other("full"), io::Error::other("broken"));
        assert!(give(&live, "disk", &full));
        assert!(!give(&live, "disk", &full));
        assert!(give(&live, "cpu", &broken) && give(&live, "disk", &broken));
        assert_eq!(live.snapshot().notices, ["cpu: broken", "disk: broken"]);
        take_back(&live, "disk");
        assert_eq!(live.snapshot().notices, ["cpu: broken"]);
    }

    /// What somebody here can mend is told, with its share and cause; what cannot, or is rare, is not; it goes when it is over.
    #[test]
    fn missed_ticks_are_told_when_they_are_many_and_can_be_mended() {
        let live = SharedLive::default();
        let window = |cause, missed| {
            let mut ticks = CpuTicks { busy: 300, idle: 700 - missed, ..CpuTicks::default() };
            ticks.missed.add(cause, missed);
            missed_ticks(&live, &ticks);
            live.snapshot().notices
        };
        assert_eq!(window(MissCause::ProgramBusy, 9), [""; 0]);
        let told = window(MissCause::ProgramBusy, 21);
        assert!(told[0].ends_with("2.1 % of ticks missed, another eBPF program held the CPU"), "{told:?}");
        assert_eq!(window(MissCause::TimerLate, 500), [""; 0]);
        limited_frequency(&live, 97, 50);
        limited_frequency(&live, 97, 40);
        let told = live.snapshot().notices;
        assert!(told.len() == 1 && told[0].contains("to 40 Hz, not 97"), "{told:?}");
        limited_frequency(&live, 97, 97);
        assert_eq!(live.snapshot().notices, [""; 0]);
    }
}
