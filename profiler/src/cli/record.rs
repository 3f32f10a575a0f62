//! `profiler record`: sample once, into a file.

use std::io::{self, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rustix::process::{Pid, Signal, kill_process};

use super::args::RecordArgs;
use super::exit::{NoSamples, NotExecutable, Usage};
use super::export::write_stdout;
use super::keep::Keep;
use super::open::open;
use super::open_range::{Ask, EVERYTHING, read, write};
use super::output::{beside, with_suffix, write_file};
use super::outputs::Output;
use super::recorder::{Recorder, RecorderOptions};
use super::sampling::PATIENCE_ONCE;
use super::stop::{Hangup, Stop};
use super::summary::{Progress, Summary};
use super::voice::say;
use super::{host, owner};
use crate::query::Selector;
use crate::sampler::Target;
use crate::store::Store;
use crate::sys::spawn::HeldChild;

/// How often to look whether it is over.
const LOOK: Duration = Duration::from_millis(20);

/// How long a command may take to end when it is asked to.
const PATIENCE: Duration = Duration::from_secs(5);

/// Runs the command.
///
/// # Errors
/// Not allowed, no such target, command or output not to be had, no samples of what was already running.
pub fn record(args: RecordArgs) -> anyhow::Result<ExitCode> {
    let stop = Stop::on_signals(Hangup::Ends)?;
    // First what no other output would mend.
    let (keep, pids) = (Keep::of(&args.who)?, args.who.pids());
    let mut sampler = host::sampler_options(&args.sampling, host::target(&args.who)?)?;
    let debuginfod = host::debuginfod(&args.sampling)?;
    let outputs = outputs(&args)?;
    let mut place = Place::of(&outputs, &stop)?;

    let child = match args.command.split_first() {
        Some((program, arguments)) => Some(hold(program, arguments)?),
        None => None,
    };
    // After the fork: the command keeps the limit it was called with.
    host::raise_file_limit();
    if let Some((held, _)) =
        child.as_ref().filter(|_| !args.all && sampler.target == Target::All && keep == Keep::default())
    {
        sampler.target = Target::Pids(vec![held.pid()]);
    }
    let recorder = Recorder::start(RecorderOptions {
        sampler,
        keep,
        window: args.sampling.window,
        patience: PATIENCE_ONCE,
        database: place.database.clone(),
        retention: None,
        unwind_memory: args.sampling.tables.unwind_memory.as_u64(),
        cache: Some(host::cache(&args.sampling.tables)),
        naming: args.sampling.naming.clone(),
        debuginfod,
    })
    .context("failed to start sampling")?;
    place.holds = Holds::Nothing;
    let started = Instant::now();
    let has_command = child.is_some();
    // A command writes on the same terminal.
    let mut progress = Progress::begin(args.duration, !has_command);
    if !has_command && !progress.is_shown() {
        say("recording; Ctrl-C ends it");
    }
    let status = release(child).and_then(|child| wait(&recorder, &stop, args.duration, &pids, child, &mut progress));
    let elapsed = started.elapsed();
    drop(progress);
    let live = recorder.live.clone();
    let finished = recorder.finish();
    if live.snapshot().stored > 0 {
        place.holds = Holds::Samples;
    }
    let (status, live) = (status?, finished?);
    let exit_code = status.map(exit_code);
    let names = args.output.iter().map(|path| path.display().to_string()).collect();
    let summary = Summary::of(&live, &place.database, elapsed, exit_code, names);
    say(summary.text());
    let nothing = "no samples: whatever was sampled used no CPU; sample longer (-d) or more often (-F)";
    if live.stored == 0 {
        if !has_command {
            anyhow::bail!(NoSamples(nothing.into()));
        }
        // A command that has run is no failure of ours: its code is passed on.
        say(format_args!("{nothing}; the outputs are empty"));
        place.holds = Holds::Samples;
    }
    let mut lost = None;
    for output in &outputs {
        if let Err(error) = write_output(output, &args, &mut place) {
            lost = Some(lost.unwrap_or(error));
        }
    }
    if let Some(path) = &args.json {
        let text = serde_json::to_string_pretty(&summary)? + "\n";
        if path == Path::new("-") { eprint!("{text}") } else { write_file(path, |out| out.write_all(text.as_bytes()))? }
    }
    if let Some(error) = lost {
        return Err(error);
    }
    if args.open {
        let shown =
            |output: &&PathBuf| output.extension().is_some_and(|extension| extension == "html" || extension == "svg");
        match args.output.iter().find(shown) {
            Some(path) => open(&path.display().to_string()),
            None => say("--open shows an .html or .svg: name one with -o"),
        }
    }
    Ok(exit_code.map_or(ExitCode::SUCCESS, |code| ExitCode::from(u8::try_from(code).unwrap_or(1))))
}

/// Reads `-o`, and refuses what would be found out only after the recording.
fn outputs(args: &RecordArgs) -> Result<Vec<Output>, Usage> {
    let outputs = args.output.iter().map(|path| Output::parse(path, None)).collect::<Result<Vec<_>, _>>()?;
    if outputs.iter().filter(|output| matches!(output, Output::Database(_))).count() > 1 {
        return Err(Usage("only one of the outputs can be a .db".into()));
    }
    outputs.iter().try_for_each(|output| output.check(args.form.force))?;
    Ok(outputs)
}

fn write_output(output: &Output, args: &RecordArgs, place: &mut Place) -> anyhow::Result<()> {
    let part = |format| {
        let (range, selector) = (EVERYTHING, Selector::default());
        let (demangle, process_frames) = (args.form.demangle.into(), args.form.process_frames);
        read(&place.database, &Ask { range, selector, demangle, format, process_frames })
    };
    match output {
        Output::Database(path) => {
            place.replace(path)?;
            say(format_args!("wrote {0}; `profiler serve {0}` shows it", path.display()));
        }
        Output::File(path, format) => {
            let part = part(*format)?;
            write_file(path, |out| write(&part, out))?;
            say(format_args!("wrote {}", path.display()));
        }
        Output::Stdout(format) => {
            let part = part(*format)?;
            write_stdout(|out| write(&part, out))?;
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
    progress: &mut Progress,
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
        progress.look(&recorder.live);
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
fn exit_code(status: ExitStatus) -> i32 {
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
}

/// Where the recording goes: into the `.db` asked for, else into a temporary one that the other outputs are made from.
struct Place {
    database: PathBuf,
    /// The folder of a temporary database; goes in any case.
    scratch: Option<PathBuf>,
    /// Whether it takes the place of one that exists when it is whole.
    replaces: bool,
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
            let replaces = database.exists();
            let database = if replaces {
                // It is one of ours, and nobody writes into it: what it says otherwise is the answer.
                Store::open(&database)?.0.close()?;
                beside(&database)?
            } else {
                database
            };
            return Ok(Self { database, scratch: None, replaces, holds: Holds::Unknown });
        }
        let nonce = crate::sys::clock::wall_now().0;
        let folder = std::env::temp_dir().join(format!("profiler-{}-{nonce}", std::process::id()));
        // Fails when it exists: nobody can prepare it for us.
        std::os::unix::fs::DirBuilderExt::mode(&mut std::fs::DirBuilder::new(), 0o700)
            .create(&folder)
            .with_context(|| format!("failed to create {} (TMPDIR chooses where)", folder.display()))?;
        stop.discards(&folder);
        Ok(Self { database: folder.join("record.db"), scratch: Some(folder), replaces: false, holds: Holds::Unknown })
    }

    /// Puts the database in the place of the one that is to be replaced, if it is to replace one.
    fn replace(&mut self, path: &Path) -> anyhow::Result<()> {
        if !self.replaces {
            return Ok(());
        }
        self.tidy();
        // What belongs to the one that goes.
        for suffix in ["-wal", "-shm", ".lock"] {
            let _ = std::fs::remove_file(with_suffix(path, suffix));
        }
        std::fs::rename(&self.database, path).with_context(|| format!("failed to replace {}", path.display()))?;
        (self.database, self.replaces) = (path.to_owned(), false);
        Ok(())
    }

    /// Removes what a recording needs while it grows. An empty log holds nothing that the database does not.
    fn tidy(&self) {
        let log = with_suffix(&self.database, "-wal");
        if std::fs::metadata(&log).is_ok_and(|log| log.len() == 0) {
            let _ = std::fs::remove_file(&log);
        }
        if !log.exists() {
            let _ = std::fs::remove_file(with_suffix(&self.database, "-shm"));
            let _ = std::fs::remove_file(with_suffix(&self.database, ".lock"));
        }
    }
}

impl Drop for Place {
    /// A file that cannot be removed stays: the recording itself has gone well or been complained of.
    fn drop(&mut self) {
        if let Some(folder) = &self.scratch {
            let _ = std::fs::remove_dir_all(folder);
            return;
        }
        match self.holds {
            Holds::Unknown => return,
            // One that was to replace another and did not is in nobody's way.
            Holds::Samples if !self.replaces => owner::give_database_to_caller(&self.database),
            Holds::Nothing | Holds::Samples => {
                let _ = std::fs::remove_file(&self.database);
                let _ = std::fs::remove_file(with_suffix(&self.database, "-wal"));
            }
        }
        self.tidy();
    }
}
