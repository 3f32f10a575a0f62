//! CPUs that go away and come back.

use std::fs;
use std::time::{Duration, Instant};

use profiler::profile::{SampleEvent, SideBand};
use profiler::sampler::{Frequency, Sampler, SamplerOptions, Target};
use profiler::sys::clock::boot_now;

const CPU1: &str = "/sys/devices/system/cpu/cpu1/online";

/// Puts the CPU back whatever happens.
struct Online;

impl Drop for Online {
    fn drop(&mut self) {
        let _ = fs::write(CPU1, "1");
    }
}

/// Ticks of one CPU in a second (an idle CPU ticks too, but its samples are not sent: so it is kept busy).
fn samples_of_cpu1(sampler: &mut Sampler) -> usize {
    let mut spin =
        std::process::Command::new("taskset").args(["-c", "1", "sh", "-c", "while :; do :; done"]).spawn().unwrap();
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
    let start = Instant::now();
    while sampler.follow_cpus(boot_now()).unwrap() != [1] {
        assert!(start.elapsed() < Duration::from_secs(10), "a silent event was not found in 10 s");
        std::thread::sleep(Duration::from_millis(500));
    }
    assert!(samples_of_cpu1(&mut sampler) > 100, "after it was back before anybody looked");
}
