//! Another eBPF program that holds a CPU, and writes down when: what it takes from the sampling program is known to the tick.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use aya::Ebpf;
use aya::maps::Array;
use aya::programs::TracePoint;

/// The kernel's list of tracepoints, mounted for as long as it is needed where it is not.
struct TraceFs(bool);

impl TraceFs {
    const PATH: &str = "/sys/kernel/tracing";

    fn mount() -> Self {
        if Path::new(Self::PATH).join("events").exists() {
            return Self(false);
        }
        let mounted = Command::new("mount").args(["-t", "tracefs", "nodev", Self::PATH]).status().unwrap();
        assert!(mounted.success(), "mount -t tracefs");
        Self(true)
    }
}

impl Drop for TraceFs {
    fn drop(&mut self) {
        if self.0 {
            let _ = Command::new("umount").arg(Self::PATH).status();
        }
    }
}

/// Holds a CPU for most of `time` by a program that runs at this thread's calls of `getppid`. Beginnings and ends of the holds,
/// on the monotonic clock.
pub fn hold(cpu: usize, time: Duration) -> Vec<[u64; 2]> {
    let mut cpus = rustix::thread::CpuSet::new();
    cpus.set(cpu);
    rustix::thread::sched_setaffinity(None, &cpus).unwrap();
    let mut ebpf = Ebpf::load(aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/hold"))).unwrap();
    let tid = rustix::thread::gettid().as_raw_nonzero().get() as u32;
    let mut thread: Array<_, u32> = Array::try_from(ebpf.map_mut("THREAD").unwrap()).unwrap();
    thread.set(0, &tid, 0).unwrap();
    let _tracefs = TraceFs::mount();
    let program: &mut TracePoint = ebpf.program_mut("hold").unwrap().try_into().unwrap();
    program.load().unwrap();
    program.attach("syscalls", "sys_enter_getppid").unwrap();
    let start = Instant::now();
    while start.elapsed() < time {
        assert!(rustix::process::getppid().is_some());
    }
    let program: &mut TracePoint = ebpf.program_mut("hold").unwrap().try_into().unwrap();
    program.unload().unwrap();
    let count: Array<_, u64> = Array::try_from(ebpf.map("COUNT").unwrap()).unwrap();
    let holds: Array<_, [u64; 2]> = Array::try_from(ebpf.map("HOLDS").unwrap()).unwrap();
    (0..count.get(&0, 0).unwrap() as u32).map(|nth| holds.get(&nth, 0).unwrap()).collect()
}
