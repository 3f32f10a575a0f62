//! What the tests run: the profiler itself, and programs with a known shape.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// The profiler, this build.
pub const PROFILER: &str = env!("CARGO_BIN_EXE_profiler");

/// Builds a fixture without optimisation, which keeps the frame pointer even in leaf functions, and with debug lines: its
/// stacks are whole up to `main` and its frames have places.
pub fn build(folder: &Path, fixture: &str) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(fixture).with_extension("c");
    let program = folder.join(fixture);
    let built = Command::new("cc").args(["-O0", "-g", "-o"]).args([&program, &source]).status().unwrap();
    assert!(built.success(), "cc {}", source.display());
    program
}

/// A process that is killed with its value.
pub struct Running(pub Child);

impl Running {
    pub fn start(program: &Path, arguments: &[&str]) -> Self {
        Self(Command::new(program).args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap())
    }

    pub fn pid(&self) -> u32 {
        self.0.id()
    }

    /// Waits until the fields of `/proc/PID/stat` from the state on (the third) are as wanted.
    pub fn wait_until(&self, is_so: impl Fn(&[&str]) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid())).unwrap();
            let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
            if is_so(&fields) {
                return;
            }
            assert!(Instant::now() < deadline, "{stat}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Waits until it has computed for 50 ms: a program that only computes is past its beginning then.
    pub fn wait_until_busy(&self) {
        // Field 14 of proc(5), in hundredths of a second.
        self.wait_until(|fields| fields[11].parse::<u64>().unwrap() >= 5);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A setting of the kernel, which is put back with its value.
pub struct Setting {
    path: &'static str,
    before: String,
}

impl Setting {
    pub fn set(path: &'static str, to: &str) -> Self {
        let before = std::fs::read_to_string(path).unwrap();
        std::fs::write(path, to).unwrap();
        Self { path, before }
    }
}

impl Drop for Setting {
    fn drop(&mut self) {
        let _ = std::fs::write(self.path, &self.before);
    }
}

/// Runs `profiler record` with these words.
pub fn record(words: &[&str]) -> Output {
    Command::new(PROFILER).arg("record").args(words).stdin(Stdio::null()).output().unwrap()
}

/// Runs it, expecting success.
pub fn recorded(words: &[&str]) -> Output {
    let output = record(words);
    assert!(output.status.success(), "record {words:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

/// Folded stacks: stack -> samples.
pub fn folded(text: &str) -> BTreeMap<String, u64> {
    let line = |line: &str| {
        let (stack, count) = line.rsplit_once(' ').unwrap();
        (stack.to_owned(), count.parse().unwrap())
    };
    text.lines().map(line).collect()
}

/// Share of the samples whose stack passes, of those whose stack is in `of`.
pub fn share(stacks: &BTreeMap<String, u64>, of: impl Fn(&str) -> bool, passes: impl Fn(&str) -> bool) -> f64 {
    let sum = |keep: &dyn Fn(&str) -> bool| -> u64 {
        stacks.iter().filter(|(stack, _)| keep(stack)).map(|(_, count)| count).sum()
    };
    let all = sum(&|stack| of(stack));
    assert!(all > 0, "no samples at all among {} stacks", stacks.len());
    sum(&|stack| of(stack) && passes(stack)) as f64 / all as f64
}

/// `profiler run` on a port of its own; stopped with its value.
pub struct Daemon {
    pub child: Child,
    address: String,
    /// What it says after that; its end is that of the profiler's standard error.
    said: Option<std::thread::JoinHandle<String>>,
}

impl Daemon {
    pub fn start(database: &Path, words: &[&str]) -> Self {
        Self::start_with(database, words, &[])
    }

    /// With variables in its environment.
    pub fn start_with(database: &Path, words: &[&str], variables: &[(&str, &str)]) -> Self {
        let mut run = Command::new(PROFILER);
        run.args(["run", "--listen", "127.0.0.1:0", "--db"]).arg(database).args(words);
        Self::listening(run.envs(variables.iter().copied()))
    }

    /// `profiler serve` of a recording.
    pub fn serve(database: &Path) -> Self {
        Self::listening(Command::new(PROFILER).args(["serve", "--listen", "127.0.0.1:0"]).arg(database))
    }

    fn listening(command: &mut Command) -> Self {
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut said = String::new();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let address = loop {
            let line = lines.next().unwrap_or_else(|| panic!("the profiler ended: {said}")).unwrap();
            if let Some(address) = line.strip_prefix("open http://") {
                break address.split([' ', '/']).next().unwrap().to_owned();
            }
            said += &line;
        };
        // Keeps the pipe from filling up or breaking.
        let rest = std::thread::spawn(move || lines.map_while(Result::ok).fold(said, |said, line| said + &line + "\n"));
        Self { child, address, said: Some(rest) }
    }

    /// Where it listens.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// What a browser would open for `path`.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Answer of `GET path`, by curl: status and body.
    pub fn get(&self, path: &str) -> (u16, String) {
        let url = format!("http://{}{path}", self.address);
        let output = Command::new("curl").args(["--silent", "--write-out", "\n%{http_code}", &url]).output().unwrap();
        let answer = String::from_utf8(output.stdout).unwrap();
        let (body, status) = answer.rsplit_once('\n').unwrap();
        (status.parse().unwrap(), body.to_owned())
    }

    /// A JSON answer.
    pub fn json(&self, path: &str) -> serde_json::Value {
        let (status, body) = self.get(path);
        assert_eq!(status, 200, "{path}: {body}");
        serde_json::from_str(&body).unwrap()
    }

    /// The JSON that a POST without a body is answered by.
    pub fn post(&self, path: &str) -> serde_json::Value {
        let url = format!("http://{}{path}", self.address);
        let output = Command::new("curl").args(["--silent", "--fail-with-body", "-X", "POST", &url]).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Waits until `ready` says so of `/api/v1/status`.
    pub fn wait_for_status(&self, patience: Duration, ready: impl Fn(&serde_json::Value) -> bool) -> serde_json::Value {
        let start = Instant::now();
        loop {
            let status = self.json("/api/v1/status");
            if ready(&status) {
                return status;
            }
            assert!(start.elapsed() < patience, "not in {patience:?}: {status}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Ctrl-C.
    pub fn interrupt(&self) {
        assert!(Command::new("kill").args(["-INT", &self.child.id().to_string()]).status().unwrap().success());
    }

    /// Ctrl-C, and the end.
    pub fn stop(self) {
        self.stop_and_say();
    }

    /// The same, with all that it said but the link it began with.
    pub fn stop_and_say(mut self) -> String {
        self.interrupt();
        let status = self.child.wait().unwrap();
        let said = self.said.take().unwrap().join().unwrap();
        assert!(status.success(), "{status}: {said}");
        said
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
