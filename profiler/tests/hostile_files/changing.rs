//! Files that change while they are read.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use profiler::profile::{Symbolized, UnknownReason};

use super::image::program;
use super::{Random, ask, file_of, rounds, worker};

/// A file is cut and rewritten as fast as its owner can while it is parsed, some hundred times (`make fuzz-names`: 10,000). Mapped, as
/// parsers like to have it, that is a SIGBUS within seconds; here not even a child dies.
#[test]
fn a_file_cut_while_it_is_parsed_kills_no_child() {
    let image = program(&["-static"]);
    let (mut worker, total) = (worker(), rounds("NAMES_TRUNCATED", 300));
    let file = Arc::new(file_of(&image));
    let cuts = Arc::new(AtomicU64::new(0));
    let stop = Arc::new(AtomicBool::new(false));
    let owner = std::thread::spawn({
        let (file, cuts, stop) = (Arc::clone(&file), Arc::clone(&cuts), Arc::clone(&stop));
        let mut random = Random::new();
        move || {
            while !stop.load(Ordering::Relaxed) {
                file.set_len(image.len() as u64 * random.below(8) as u64 / 8).unwrap();
                file.write_all_at(&image, 0).unwrap();
                cuts.fetch_add(1, Ordering::Relaxed);
                // As long as parsing takes, more or less: a cut may come at any point of it.
                std::thread::sleep(Duration::from_micros(random.below(3000) as u64));
            }
        }
    });
    let (begin, mut asked, mut failed, mut named) = (Instant::now(), 0, 0, 0);
    while asked < total || cuts.load(Ordering::Relaxed) < total / 4 {
        asked += 1;
        for name in ask(&mut worker, &file, &[0x1140, 0x2000, 0x5000]) {
            failed += u64::from(name == Symbolized::Unknown(UnknownReason::SymbolizerFailed));
            named += u64::from(matches!(name, Symbolized::Named(_)));
        }
    }
    stop.store(true, Ordering::Relaxed);
    owner.join().unwrap();
    eprintln!(
        "{total} changing files: {asked} rounds in {:?}, {cuts:?} cuts: {named} names, {failed} failed answers",
        begin.elapsed()
    );
    assert!(named > 0, "the file was never whole");
    assert_eq!(failed, 0, "a child died");
}

/// A file that somebody replaces by a shorter one between opening and asking is a bad file, not the end of a child.
#[test]
fn a_file_that_shrank_is_a_bad_file() {
    let mut worker = worker();
    let file: File = file_of(&program(&[]));
    file.set_len(100).unwrap();
    assert_eq!(ask(&mut worker, &file, &[0x1140]), [Symbolized::Unknown(UnknownReason::BadFile)]);
}
