//! `profiler record`: sample once, into a file.

use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rustix::process::{Pid, Signal, kill_process};

use super::args::{Format, RecordArgs};
use super::exit::{NoSamples, NotExecutable, Usage};
use super::export::{format_of, write_stdout};
use super::host;
use super::open_range::{EVERYTHING, read, write};
use super::output::write_file;
use super::owner;
use super::recorder::{Recorder, RecorderOptions};
use super::stop::{Hangup, Stop};
use crate::query::Selector;
use crate::sampler::Target;
use crate::server::LiveStatus;
use crate::sys::spawn::HeldChild;

/// How often to look whether it is over.
const LOOK: Duration = Duration::from_millis(20);

/// How long a command may take to end when it is asked to.
const PATIENCE: Duration = Duration::from_secs(5);

/// One `-o`.
enum Output {
    Database(PathBuf),
    File(PathBuf, Format),
    Stdout,
}

impl Output {
    fn parse(path: &Path) -> anyhow::Result<Self> {
        if path == Path::new("-") {
            return Ok(Self::Stdout);
        }
        if path.extension().is_some_and(|extension| extension == "db") {
            return Ok(Self::Database(path.to_owned()));
        }
        let format = format_of(path).ok_or_else(|| {
            Usage(format!(
                "{}: name the output .folded, .svg, .html, .pb.gz or .db, the extension chooses the format",
                path.display()
            ))
        })?;
        Ok(Self::File(path.to_owned(), format))
    }
}

/// Runs the command.
///
/// # Errors
/// Not allowed, no such target, command or output not to be had, no samples.
pub fn record(args: RecordArgs) -> anyhow::Result<ExitCode> {
    let stop = Stop::on_signals(Hangup::Ends)?;
    let outputs = args.output.iter().map(|path| Output::parse(path)).collect::<anyhow::Result<Vec<_>>>()?;
    check_outputs(&outputs)?;
    let mut place = Place::of(&outputs, &stop)?;

    let child = match args.command.split_first() {
        Some((program, arguments)) => Some(hold(program, arguments)?),
        None => None,
    };
    // After the fork: the command keeps the limit it was called with.
    host::raise_file_limit();
    let target = match &child {
        Some((held, _)) if !args.all && args.cgroup.is_none() && args.pids.is_empty() => Target::Pids(vec![held.pid()]),
        _ => host::target(&args.pids, args.cgroup.as_deref())?,
    };
    let sampler = host::sampler_options(&args.sampling, target)?;
    let debuginfod = host::debuginfod(&args.sampling)?;
    let recorder = Recorder::start(RecorderOptions {
        sampler,
        window: args.sampling.window,
        database: place.database.clone(),
        retention: None,
        unwind_memory: args.sampling.tables.unwind_memory.as_u64(),
        cache: Some(host::cache(&args.sampling.tables)),
        naming: args.sampling.naming.clone(),
        debuginfod,
    })
    .context("failed to start sampling")?;
    place.holds = Holds::Nothing;
    if child.is_none() {
        eprintln!("recording; Ctrl-C ends it");
    }
    let status = release(child).and_then(|child| wait(&recorder, &stop, args.duration, &args.pids, child));
    let live = recorder.live.clone();
    let finished = recorder.finish();
    if live.snapshot().stored > 0 {
        place.holds = Holds::Samples;
    }
    let (status, live) = (status?, finished?);
    eprintln!("{}", summary(&live));
    if live.stored == 0 {
        anyhow::bail!(NoSamples(
            "no samples: whatever was sampled used no CPU; sample longer (-d) or more often (-F)".into()
        ));
    }
    for output in &outputs {
        match output {
            Output::Database(path) => eprintln!("wrote {0}; `profiler serve {0}` shows it", path.display()),
            Output::File(path, format) => {
                let demangle = args.demangle.into();
                let part = read(&place.database, EVERYTHING, &Selector::default(), demangle, *format)?;
                write_file(path, |out| write(&part, out))?;
                eprintln!("wrote {}", path.display());
            }
            Output::Stdout => {
                let demangle = args.demangle.into();
                let part = read(&place.database, EVERYTHING, &Selector::default(), demangle, Format::Folded)?;
                write_stdout(|out| write(&part, out))?;
            }
        }
    }
    Ok(status.map_or(ExitCode::SUCCESS, exit_code))
}

/// Refuses what would be found out only after the recording.
fn check_outputs(outputs: &[Output]) -> anyhow::Result<()> {
    let databases = outputs.iter().filter(|output| matches!(output, Output::Database(_))).count();
    if databases > 1 {
        anyhow::bail!(Usage("only one of the outputs can be a .db".into()));
    }
    for output in outputs {
        let (Output::Database(path) | Output::File(path, _)) = output else { continue };
        if path.exists() && matches!(output, Output::Database(_)) {
            anyhow::bail!(Usage(format!(
                "{} exists, and a recording goes into a new file: name another one with -o, or delete it",
                path.display()
            )));
        }
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        if !folder.is_dir() {
            anyhow::bail!(Usage(format!("no folder {} to write {} into", folder.display(), path.display())));
        }
    }
    Ok(())
}

fn hold(program: &std::ffi::OsStr, arguments: &[std::ffi::OsString]) -> anyhow::Result<(HeldChild, String)> {
    let name = program.to_string_lossy().into_owned();
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::inherit());
    let held = HeldChild::fork(command).with_context(|| format!("failed to fork for {name}"))?;
    Ok((held, name))
}

/// Lets the command go.
fn release(child: Option<(HeldChild, String)>) -> anyhow::Result<Option<Child>> {
    let Some((held, command)) = child else { return Ok(None) };
    let child = held.release().map_err(|source| NotExecutable { command, source }).context("nothing was recorded")?;
    Ok(Some(child))
}

/// Waits for the end: of the command, of the time, of the processes, or a signal.
fn wait(
    recorder: &Recorder,
    stop: &Stop,
    duration: Option<Duration>,
    pids: &[u32],
    mut child: Option<Child>,
) -> anyhow::Result<Option<ExitStatus>> {
    let started = Instant::now();
    loop {
        if let Some(child) = &mut child
            && let Some(status) = child.try_wait()?
        {
            return Ok(Some(status));
        }
        let over = duration.is_some_and(|duration| started.elapsed() >= duration);
        let all_gone = !pids.is_empty() && !pids.iter().any(|pid| Path::new(&format!("/proc/{pid}")).exists());
        if over || all_gone || stop.is_set() || !recorder.is_running() {
            // A command that outlives the recording is ours to end (Ctrl-C has reached it already), and its exit says nothing.
            if let Some(child) = child {
                end(child)?;
            }
            return Ok(None);
        }
        std::thread::sleep(LOOK);
    }
}

/// Ends a command: asks it to, and after a while does not ask.
fn end(mut child: Child) -> io::Result<()> {
    // It may just have ended by itself: then there is nobody to tell.
    let _ = kill_process(Pid::from_child(&child), Signal::TERM);
    let asked = Instant::now();
    while child.try_wait()?.is_none() {
        if asked.elapsed() > PATIENCE {
            child.kill()?;
            child.wait()?;
            break;
        }
        std::thread::sleep(LOOK);
    }
    Ok(())
}

/// The command's own code; 128 + n when signal n ended it, as shells have it.
fn exit_code(status: ExitStatus) -> ExitCode {
    let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}

fn summary(live: &LiveStatus) -> String {
    let lost = live.losses.total();
    let causes: Vec<String> =
        live.losses.0.iter().map(|(cause, n)| format!("{n} {}", cause.name().replace('_', " "))).collect();
    let whole: u64 = live.stacks.iter().filter(|(end, _)| end.is_complete()).map(|(_, n)| n).sum();
    let share = if live.stored == 0 { 100.0 } else { whole as f64 * 100.0 / live.stored as f64 };
    format!(
        "{} samples taken by {} at {} Hz on {} CPUs: {} stored, {lost} lost{}; {share:.1} % of stacks complete",
        live.taken,
        live.event,
        live.hz,
        live.cpus,
        live.stored,
        if causes.is_empty() { String::new() } else { format!(" ({})", causes.join(", ")) },
    )
}

/// Where the recording goes: into the `.db` asked for, else into a temporary one that the other outputs are made from.
struct Place {
    database: PathBuf,
    /// The folder of a temporary database; goes in any case.
    scratch: Option<PathBuf>,
    holds: Holds,
}

/// What stands at the place of the database.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Holds {
    /// Nothing of ours: sampling has not begun.
    Unknown,
    /// Our database, empty: better none than one in the way of the next try.
    Nothing,
    /// Our database, to be kept.
    Samples,
}

impl Place {
    fn of(outputs: &[Output], stop: &Stop) -> anyhow::Result<Self> {
        let asked_for = outputs.iter().find_map(|output| match output {
            Output::Database(path) => Some(path.clone()),
            _ => None,
        });
        if let Some(database) = asked_for {
            return Ok(Self { database, scratch: None, holds: Holds::Unknown });
        }
        let nonce = crate::sys::clock::wall_now().0;
        let folder = std::env::temp_dir().join(format!("profiler-{}-{nonce}", std::process::id()));
        // Fails when it exists: nobody can prepare it for us.
        std::os::unix::fs::DirBuilderExt::mode(&mut std::fs::DirBuilder::new(), 0o700)
            .create(&folder)
            .with_context(|| format!("failed to create {} (TMPDIR chooses where)", folder.display()))?;
        stop.discards(&folder);
        Ok(Self { database: folder.join("record.db"), scratch: Some(folder), holds: Holds::Unknown })
    }

    /// A file that stands beside the database.
    fn beside(&self, suffix: &str) -> PathBuf {
        let mut path = self.database.clone().into_os_string();
        path.push(suffix);
        path.into()
    }
}

impl Drop for Place {
    /// A file that cannot be removed stays: the recording itself has gone well or been complained of.
    fn drop(&mut self) {
        if let Some(folder) = &self.scratch {
            let _ = std::fs::remove_dir_all(folder);
            return;
        }
        let log = self.beside("-wal");
        match self.holds {
            Holds::Unknown => return,
            Holds::Nothing => {
                let _ = std::fs::remove_file(&self.database);
                let _ = std::fs::remove_file(&log);
            }
            Holds::Samples => owner::give_database_to_caller(&self.database),
        }
        // What a recording needs while it grows. An empty log holds nothing that the database does not.
        if std::fs::metadata(&log).is_ok_and(|log| log.len() == 0) {
            let _ = std::fs::remove_file(&log);
        }
        if !log.exists() {
            let _ = std::fs::remove_file(self.beside("-shm"));
            let _ = std::fs::remove_file(self.beside(".lock"));
        }
    }
}
