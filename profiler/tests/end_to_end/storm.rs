//! A storm of programs: many builds at once, none seen before.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::run::{Daemon, build};

/// Programs of the storm.
const PROGRAMS: usize = 200;
/// Most memory of the profiler itself, in KiB: an unoptimized build took 119 MB. Unwind tables that are mapped count, too.
const MOST_KIB: u64 = 256 << 10;

/// Bytes in a file, wherever they are, become others of the same length.
fn patch(image: &mut [u8], from: &[u8], to: &[u8]) {
    let places: Vec<usize> =
        image.windows(from.len()).enumerate().filter(|(_, window)| *window == from).map(|(at, _)| at).collect();
    assert!(!places.is_empty() && from.len() == to.len(), "{from:?}");
    places.into_iter().for_each(|at| image[at..at + to.len()].copy_from_slice(to));
}

/// Programs with a build id and a function of their own each: copies of one, with other bytes in these two places.
pub fn programs(folder: &Path, count: usize) {
    let brief = build(folder, "brief");
    let notes = Command::new("readelf").args(["-nW"]).arg(&brief).output().unwrap();
    let notes = String::from_utf8(notes.stdout).unwrap();
    let id = notes.split("Build ID: ").nth(1).and_then(|rest| rest.split_whitespace().next()).expect("a build id");
    let id: Vec<u8> = (0..id.len()).step_by(2).map(|at| u8::from_str_radix(&id[at..at + 2], 16).unwrap()).collect();
    let image = fs::read(&brief).unwrap();
    for n in 0..count {
        let mut image = image.clone();
        let mut other = id.clone();
        other[..2].copy_from_slice(&(n as u16).to_le_bytes());
        patch(&mut image, &id, &other);
        patch(&mut image, b"brief_work", format!("work_{n:05}").as_bytes());
        let path = folder.join(format!("storm-{n:03}"));
        fs::write(&path, image).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
}

/// A figure of `/proc/PID/status`, in KiB.
fn status(pid: u32, name: &str) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = text.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Two hundred builds that nobody has seen before run for a moment each: each has its own function's name, every sample is
/// accounted for, and the profiler stays small.
#[test]
fn a_storm_of_two_hundred_programs_is_named() {
    let folder = tempfile::tempdir().unwrap();
    programs(folder.path(), PROGRAMS);
    let database = folder.path().join("storm.db");
    let cache = folder.path().join("cache");
    let words = ["-F", "499", "--window", "1s", "--cache", cache.to_str().unwrap()];
    let daemon = Daemon::start(&database, &words);
    let storm = format!(
        "cd {}; for n in $(seq -f %03g 0 {}); do ./storm-$n 40 & [ $((10#$n % 8)) = 7 ] && wait; done; wait",
        folder.path().display(),
        PROGRAMS - 1
    );
    let stormed = Command::new("bash").args(["-c", &storm]).stdin(Stdio::null()).status().unwrap();
    assert!(stormed.success());
    let named = || {
        let top = daemon.json("/api/v1/top?limit=10000&filter=comm=~%22storm-.*%22");
        let rows = top["rows"].as_array().unwrap();
        let names = rows.iter().filter_map(|row| {
            let number = row["name"].as_str().unwrap().strip_prefix("work_")?.to_owned();
            assert!(row["binary"].as_str().unwrap().ends_with(&number[2..]), "another program's name: {row}");
            Some(number)
        });
        names.collect::<std::collections::HashSet<_>>().len()
    };
    let start = Instant::now();
    while named() < PROGRAMS {
        assert!(start.elapsed() < Duration::from_secs(180), "{} of {PROGRAMS} programs are named", named());
        std::thread::sleep(Duration::from_millis(500));
    }
    let totals = &daemon.json("/api/v1/status")["totals"];
    let number = |value: &serde_json::Value| value.as_u64().unwrap();
    let lost: u64 = totals["lost"].as_object().unwrap().values().map(number).sum();
    assert_eq!(number(&totals["taken"]), number(&totals["stored"]) + lost, "{totals}");
    let most = status(daemon.child.id(), "VmHWM");
    eprintln!("{PROGRAMS} programs named {:?} after they ended; {} MB at most", start.elapsed(), most >> 10);
    assert!(most < MOST_KIB, "the profiler took {most} KiB");
    daemon.stop();
}
