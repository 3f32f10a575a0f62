//! CPUs that go away and come back.

use std::fs;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use profiler::profile::{SampleEvent, SideBand};
use profiler::sampler::{Frequency, Sampler, SamplerOptions, Target};
use profiler::sys::clock::boot_now;

use crate::run::Daemon;

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

const SAMPLE_RATE: &str = "/proc/sys/kernel/perf_event_max_sample_rate";

/// Puts the limit back whatever happens.
struct SampleRate(String);

impl Drop for SampleRate {
    fn drop(&mut self) {
        let _ = fs::write(SAMPLE_RATE, &self.0);
    }
}

/// The kernel lowers its limit by itself when samples take long; a CPU that comes back then cannot be sampled at the old
/// frequency. The others are, the page says so, and it is tried again.
#[test]
fn a_cpu_that_cannot_be_sampled_does_not_end_the_others() {
    let folder = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(&folder.path().join("x.db"), &["-F", "997", "--window", "500ms"]);
    let notices = |status: &serde_json::Value| status["notices"].to_string();
    let (_online, _rate) = (Online, SampleRate(fs::read_to_string(SAMPLE_RATE).unwrap()));
    fs::write(SAMPLE_RATE, "500").unwrap();
    fs::write(CPU1, "0").unwrap();
    daemon.wait_for_status(Duration::from_secs(10), |status| status["recording"]["cpus"] == 1);
    fs::write(CPU1, "1").unwrap();
    let told = |status: &serde_json::Value| notices(status).contains("a CPU is not being sampled");
    daemon.wait_for_status(Duration::from_secs(10), told);
    fs::write(SAMPLE_RATE, "100000").unwrap();
    daemon.wait_for_status(Duration::from_secs(10), |status| status["recording"]["cpus"] == 2 && !told(status));
    daemon.stop();
}
