//! Instructions of code that is in no file, with their samples: what a program wrote, the vDSO, the kernel.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::run::{Daemon, Running, build};

/// A program that writes code; the file in which it tells of it goes with it.
struct Writing {
    running: Running,
    told: PathBuf,
}

impl Drop for Writing {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.told);
    }
}

/// Asks until an answer passes.
fn wait(what: &str, ask: impl Fn() -> Option<Value>) -> Value {
    let start = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(start.elapsed() < Duration::from_secs(120), "{what}");
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// The function of a binary with most samples that has a name.
fn busiest(daemon: &Daemon, binary: &str) -> Option<String> {
    let top = daemon.json("/api/v1/top");
    let rows = top["rows"].as_array().unwrap().iter().filter(|row| row["binary"] == binary);
    rows.map(|row| row["name"].as_str().unwrap().to_owned()).find(|name| !name.starts_with('['))
}

fn disassembly(daemon: &Daemon, function: &str) -> Option<Value> {
    let function: String = function.bytes().map(|byte| format!("%{byte:02x}")).collect();
    let (status, body) = daemon.get(&format!("/api/v1/disassembly?function={function}"));
    (status == 200).then(|| serde_json::from_str(&body).unwrap())
}

fn texts(answer: &Value) -> Vec<&str> {
    let rows = answer["instructions"].as_array().unwrap();
    rows.iter().map(|row| row["text"].as_str().unwrap()).collect()
}

fn sampled(answer: &Value) -> u64 {
    answer["instructions"].as_array().unwrap().iter().map(|row| row["self"].as_u64().unwrap()).sum()
}

/// A program's own code is shown as long as the program runs, by what its runtime tells: where it is (a map), or what it was (a dump).
/// The image of the vDSO and the kernel's memory are shown too, or the answer says why not.
#[test]
#[cfg(target_arch = "x86_64")]
fn code_in_memory_is_disassembled_while_it_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let program = build(folder.path(), "written");
    for (word, file) in [("map", "perf-PID.map"), ("dump", "jit-PID.dump")] {
        let running = Running::start(&program, &[word]);
        let told = PathBuf::from("/tmp").join(file.replace("PID", &running.pid().to_string()));
        let mut writing = Writing { running, told };
        let database = folder.path().join(format!("{word}.db"));
        let pid = writing.running.pid().to_string();
        let daemon = Daemon::start(&database, &["-F", "499", "--window", "1s", "-p", &pid]);
        let own = wait("hot_loop is not shown", || {
            disassembly(&daemon, "hot_loop").filter(|answer| answer["available"] == true)
        });
        assert_eq!(own["reason"], Value::Null, "{own}");
        let [first, again, jump, back] = texts(&own)[..] else { panic!("{own}") };
        assert_eq!((first, again, back), ("mov ecx, edi", "dec ecx", "ret"));
        assert!(jump.starts_with("jne "), "{own}");
        assert!(sampled(&own) > 0, "{own}");
        if word == "map" {
            let vdso = wait("nothing of the vDSO", || disassembly(&daemon, &busiest(&daemon, "[vdso]")?));
            assert!(vdso["available"] == true && sampled(&vdso) > 0, "{vdso}");
            assert!(texts(&vdso).iter().any(|text| text.starts_with("ret")), "{vdso}");
            let kernel = wait("nothing of the kernel", || disassembly(&daemon, &busiest(&daemon, "[kernel]")?));
            // A kernel may be built without showing its code.
            if std::fs::exists("/proc/kcore").unwrap() {
                assert_eq!(kernel["available"], true, "{kernel}");
            } else {
                assert!(kernel["reason"].as_str().unwrap().contains("CONFIG_PROC_KCORE"), "{kernel}");
            }
        }
        writing.running.0.kill().unwrap();
        writing.running.0.wait().unwrap();
        let gone = disassembly(&daemon, "hot_loop").unwrap();
        assert_eq!(gone["available"], false, "{gone}");
        assert!(gone["reason"].as_str().unwrap().contains("the program has ended"), "{gone}");
        daemon.stop();
    }
}
