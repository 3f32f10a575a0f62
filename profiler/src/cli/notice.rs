//! Notices that the page shows while something is wrong: one for each trouble, gone when the trouble is.

use std::error::Error;
use std::path::Path;

use crate::server::SharedLive;

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
}
