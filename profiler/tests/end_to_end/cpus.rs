//! CPUs that go away and come back.

use std::fs;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use profiler::profile::{SampleEvent, SideBand};
use profiler::sampler::{Frequency, Sampler, SamplerOptions, Target};
use profiler::sys::clock::boot_now;

use crate::run::{Daemon, PROFILER, Setting, record};

const CPU1: &str = "/sys/devices/system/cpu/cpu1/online";

/// Puts the CPU back whatever happens.
struct Online;

impl Drop for Online {
    fn drop(&mut self) {
        let _ = fs::write(CPU1, "1");
    }
}

fn spin_on_cpu1() -> Child {
    Command::new("taskset").args(["-c", "1", "sh", "-c", "while :; do :; done"]).spawn().unwrap()
}

/// Samples of one CPU in a second, kept busy: idle is not sampled.
fn samples_of_cpu1(sampler: &mut Sampler) -> usize {
    let mut spin = spin_on_cpu1();
    sampler.poll();
    let start = Instant::now();
    let mut samples = 0;
    while start.elapsed() < Duration::from_secs(1) {
        std::thread::sleep(Duration::from_millis(100));
        samples += sampler.poll().drained.samples.iter().filter(|(_, sample)| sample.cpu == 1).count();
    }
    spin.kill().unwrap();
    spin.wait().unwrap();
    samples
}

/// An event dies with its CPU and stays dead; it is reopened both when the CPU was seen gone and when it was back too soon.
#[test]
fn a_cpu_that_comes_back_is_sampled_again() {
    let options = SamplerOptions::new(Frequency::new(199).unwrap(), SampleEvent::CpuClock, Target::All);
    let mut sampler = Sampler::start(options, boot_now()).unwrap();
    assert!(samples_of_cpu1(&mut sampler) > 100, "before");
    let _online = Online;

    fs::write(CPU1, "0").unwrap();
    assert!(sampler.follow_cpus(boot_now()).unwrap().is_empty());
    assert_eq!(sampler.cpus(), 1);
    fs::write(CPU1, "1").unwrap();
    assert_eq!(sampler.follow_cpus(boot_now()).unwrap(), [1]);
    let told = sampler.poll().side_band;
    assert!(told.iter().any(|event| matches!(event, SideBand::Lost { .. })), "what began meanwhile was not seen");
    assert!(samples_of_cpu1(&mut sampler) > 100, "after it was seen to go and come");

    fs::write(CPU1, "0").unwrap();
    fs::write(CPU1, "1").unwrap();
    let mut spin = spin_on_cpu1();
    let start = Instant::now();
    while sampler.follow_cpus(boot_now()).unwrap() != [1] {
        assert!(start.elapsed() < Duration::from_secs(10), "a silent event was not found in 10 s");
        std::thread::sleep(Duration::from_millis(500));
    }
    spin.kill().unwrap();
    spin.wait().unwrap();
    assert!(samples_of_cpu1(&mut sampler) > 100, "after it was back before anybody looked");
}

pub const SAMPLE_RATE: &str = "/proc/sys/kernel/perf_event_max_sample_rate";

/// A limit of the kernel, for as long as the value lives.
pub fn limit(hz: u32) -> Setting {
    Setting::set(SAMPLE_RATE, &hz.to_string())
}

fn told_of_limit(status: &serde_json::Value) -> bool {
    status["notices"].to_string().contains("the kernel limits the sampling frequency")
}

/// The kernel lowers its limit by itself when samples take long: sampling follows it down and up, on a CPU that comes back
/// meanwhile too, says so, and each window has the frequency that it was sampled at.
#[test]
fn a_limit_that_falls_while_sampling_is_followed_and_told() {
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("x.db");
    let daemon = Daemon::start(&database, &["-F", "997", "--window", "500ms"]);
    let patience = Duration::from_secs(20);
    daemon.wait_for_status(patience, |status| status["recording"]["hz"] == 997 && !told_of_limit(status));
    let (_online, rate) = (Online, limit(500));
    let status = daemon.wait_for_status(patience, |status| status["recording"]["hz"] == 500 && told_of_limit(status));
    assert_eq!(status["recording"]["hz_wanted"], 997);
    fs::write(CPU1, "0").unwrap();
    daemon.wait_for_status(patience, |status| status["recording"]["cpus"] == 1);
    fs::write(CPU1, "1").unwrap();
    daemon.wait_for_status(patience, |status| status["recording"]["cpus"] == 2);
    drop(rate);
    daemon.wait_for_status(patience, |status| status["recording"]["hz"] == 997 && !told_of_limit(status));
    daemon.stop();
    let sql = "SELECT group_concat(DISTINCT hz) AS hz FROM v_windows";
    let output =
        Command::new(PROFILER).args(["sql", "--format", "csv", "--db"]).arg(&database).arg(sql).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains("997") && said.contains("500"), "{said}");
}

/// A limit below the default is no reason not to start: it is taken, and told. Who asked for more is told so instead.
#[test]
fn a_limit_below_the_default_is_taken_and_only_a_frequency_asked_for_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let _rate = limit(50);
    let daemon = Daemon::start(&folder.path().join("x.db"), &["--window", "500ms"]);
    let status = daemon.wait_for_status(Duration::from_secs(20), told_of_limit);
    assert_eq!((&status["recording"]["hz"], &status["recording"]["hz_wanted"]), (&50.into(), &97.into()));
    daemon.stop();
    let asked = record(&["-a", "-F", "97", "-d", "1", "-o", folder.path().join("y.db").to_str().unwrap()]);
    let said = String::from_utf8(asked.stderr).unwrap();
    assert_eq!(asked.status.code(), Some(2), "{said}");
    assert!(said.contains("sysctl kernel.perf_event_max_sample_rate=97") && said.contains("leave -F out"), "{said}");
}

/// SIGHUP means "read the configuration again" to a daemon, and ends nothing; a stop is told of afterwards.
#[test]
fn a_hangup_ends_nothing_and_a_stop_is_told_of() {
    let folder = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(&folder.path().join("x.db"), &["--window", "500ms"]);
    let pid = rustix::process::Pid::from_child(&daemon.child);
    let signal = |signal| rustix::process::kill_process(pid, signal).unwrap();
    signal(rustix::process::Signal::HUP);
    signal(rustix::process::Signal::HUP);
    let stored = |status: &serde_json::Value| status["database"]["windows"].as_u64().unwrap();
    let before = stored(&daemon.json("/api/v1/status"));
    daemon.wait_for_status(Duration::from_secs(20), |status| stored(status) > before);
    signal(rustix::process::Signal::STOP);
    // The stop itself, not a wait for something.
    std::thread::sleep(Duration::from_secs(3));
    signal(rustix::process::Signal::CONT);
    let told = |status: &serde_json::Value| status["notices"].to_string().contains("was stopped (SIGSTOP) for");
    daemon.wait_for_status(Duration::from_secs(20), told);
    daemon.stop();
}
