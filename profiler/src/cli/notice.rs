//! Notices that the page shows while something is wrong: one for each trouble, gone when the trouble is.

use std::error::Error;

use crate::server::SharedLive;

/// Shows `trouble` with its causes, in place of what was said of it before. Says whether this is news.
pub fn give(live: &SharedLive, trouble: &str, error: &dyn Error) -> bool {
    let mut notice = format!("{trouble}: {error}");
    let mut cause = error.source();
    while let Some(error) = cause {
        notice += &format!(": {error}");
        cause = error.source();
    }
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
