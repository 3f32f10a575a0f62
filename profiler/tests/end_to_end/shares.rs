//! Shares, names, lines: does the profile say what the program does?

use std::time::Duration;

use crate::run::{Daemon, Running, build, folded, recorded, share};

/// A function of the fixture, and the share of CPU that its loop makes.
const RATIO: [(&str, f64); 3] = [("seventy", 0.7), ("twenty", 0.2), ("ten", 0.1)];

/// The leaf function of a folded stack, kernel frames (interrupts) left out.
fn has(stack: &str, function: &str) -> bool {
    stack.split(';').any(|frame| frame == function)
}

/// 70/20/10 in the program is 70/20/10, within 3 points, in the folded file.
#[test]
fn a_known_ratio_shows_in_the_folded_output() {
    let folder = tempfile::tempdir().unwrap();
    let program = build(folder.path(), "ratio");
    let out = folder.path().join("ratio.folded");
    recorded(&["-F", "499", "-d", "8", "-o", out.to_str().unwrap(), "--", program.to_str().unwrap()]);
    let stacks = folded(&std::fs::read_to_string(out).unwrap());
    let in_loop = |stack: &str| RATIO.iter().any(|(function, _)| has(stack, function));
    for (function, expected) in RATIO {
        let measured = share(&stacks, in_loop, |stack| has(stack, function));
        assert!((measured - expected).abs() < 0.03, "{function}: {measured:.3}, not {expected}");
    }
    // The first ones may be cut short while a debug build on a busy machine reads the program's unwind tables.
    let whole = |stack: &str| !stack.contains("[stack cut short");
    let complete = share(&stacks, in_loop, whole);
    assert!(complete > 0.9, "{complete:.3} of the stacks are whole");
    let below_main = |stack: &str| stack.contains("ratio;") && stack.contains(";main;");
    let below_main = share(&stacks, |stack| in_loop(stack) && whole(stack), below_main);
    assert!(below_main > 0.99, "{below_main:.3} of the whole stacks lead from the process through main");
}

/// The running daemon says the same over HTTP, with file and line, and sees the kernel half of a program that lives there.
#[test]
fn the_api_of_a_running_daemon_tells_ratio_lines_and_kernel_frames() {
    let folder = tempfile::tempdir().unwrap();
    let ratio = Running::start(&build(folder.path(), "ratio"), &[]);
    let syscalls = Running::start(&build(folder.path(), "syscalls"), &[]);
    let daemon = Daemon::start(&folder.path().join("run.db"), &["-F", "499", "--window", "4s"]);
    daemon.wait_for_status(Duration::from_secs(60), |status| status["database"]["windows"].as_u64() >= Some(3));

    let wait_for_names = |filter: String, wanted: &[&str]| {
        for _ in 0..450 {
            let (status, body) = daemon.get(&format!("/api/v1/export/folded?from=now-5m&filter={filter}"));
            assert_eq!(status, 200, "{body}");
            if wanted.iter().all(|name| body.contains(name)) {
                return folded(&body);
            }
            std::thread::sleep(Duration::from_millis(200));
        }
        panic!("{wanted:?} were not named within 90 s");
    };
    let stacks = wait_for_names(format!("%7Bpid%3D%22{}%22%7D", ratio.pid()), &[";seventy"]);
    let in_loop = |stack: &str| RATIO.iter().any(|(function, _)| has(stack, function));
    for (function, expected) in RATIO {
        let measured = share(&stacks, in_loop, |stack| has(stack, function));
        assert!((measured - expected).abs() < 0.03, "{function}: {measured:.3}, not {expected}");
    }

    let graph = daemon.json(&format!("/api/v1/flamegraph?from=now-5m&filter=%7Bpid%3D%22{}%22%7D", ratio.pid()));
    let strings: Vec<&str> = graph["strings"].as_array().unwrap().iter().map(|s| s.as_str().unwrap()).collect();
    let column = |name: &str| graph["frames"][name].as_array().unwrap();
    let seventy = column("name").iter().position(|name| strings[name.as_u64().unwrap() as usize] == "seventy").unwrap();
    let file = strings[column("file")[seventy].as_u64().unwrap() as usize];
    let line = column("line")[seventy].as_u64().unwrap();
    assert!(file.ends_with("ratio.c"), "{file}");
    let source = include_str!("../fixtures/ratio.c");
    let declared = source.lines().position(|line| line.contains("void seventy")).unwrap() as u64 + 1;
    assert!((declared..=declared + 2).contains(&line), "seventy is at line {declared}, the graph says {line}");

    let kernel = wait_for_names(format!("%7Bpid%3D%22{}%22%7D", syscalls.pid()), &[";main;", ";vfs_read;"]);
    // libc's `read` keeps no frame pointer, so its caller is missing, but not that one's.
    let in_kernel = share(&kernel, |_| true, |stack| stack.contains(";main;") && stack.contains(";vfs_read;"));
    assert!(in_kernel > 0.8, "{in_kernel:.3} of a program that reads zeroes is in the kernel's read, below main");
    let metrics = daemon.get("/metrics").1;
    assert!(metrics.contains("profiler_samples_taken_total"), "{metrics}");
    daemon.stop();
}

/// CPU time of a process so far, in hundredths of a second.
fn cpu_time(running: &Running) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", running.pid())).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    fields[11..13].iter().map(|ticks| ticks.parse::<u64>().unwrap()).sum()
}

/// One program ran at 97 Hz and another, as long, after a restart at 19 Hz: each has its share of the CPU time, though one has five times the
/// samples; the numbers say that they are time, and add up to the time that the kernel booked.
#[test]
fn recordings_of_two_rates_share_a_range_by_time() {
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("rates.db");
    let ratio = build(folder.path(), "ratio");
    let mut took = Vec::new();
    for (name, rate) in [("early", "97"), ("late", "19")] {
        let program = folder.path().join(name);
        std::fs::copy(&ratio, &program).unwrap();
        let daemon = Daemon::start(&database, &["-F", rate, "--window", "1s"]);
        daemon.wait_for_status(Duration::from_secs(60), |status| status["database"]["windows"].as_u64() >= Some(1));
        let running = Running::start(&program, &[]);
        std::thread::sleep(Duration::from_secs(8));
        took.push(cpu_time(&running) as f64 / 100.0);
        drop(running);
        std::thread::sleep(Duration::from_secs(2));
        daemon.stop();
    }
    let server = Daemon::serve(&database);
    let programs = "from=now-5m&filter=%7Bcomm%3D~%22early%7Clate%22%7D";
    let found = server.json(&format!("/api/v1/labels/comm/values?{programs}"));
    assert_eq!((found["counts_samples"].as_bool(), found["scale"].as_u64()), (Some(false), Some(1)), "{found}");
    let seconds = |name: &str| {
        let of = found["values"].as_array().unwrap().iter().find(|of| of["value"] == name).unwrap();
        of["samples"].as_u64().unwrap() as f64 / 1e9
    };
    for (name, took) in ["early", "late"].into_iter().zip(&took) {
        assert!((seconds(name) - took).abs() < 0.05 * took + 0.1, "{name}: {} s, and {took} s", seconds(name));
    }
    let (status, body) = server.get(&format!("/api/v1/export/folded?{programs}"));
    assert_eq!(status, 200, "{body}");
    let early = share(&folded(&body), |_| true, |stack| stack.starts_with("early;"));
    let truth = took[0] / took.iter().sum::<f64>();
    assert!((early - truth).abs() < 0.03, "{early:.3}, not {truth:.3}; by samples it would be 0.84");
    let (status, picture) = server.get(&format!("/api/v1/export/svg?{programs}"));
    assert_eq!((status, picture.contains("s of CPU time.")), (200, true));
}
