//! The child: answers questions on its standard input, a socket, until it closes.
//!
//! It gives up all rights before the first question (`sandbox.rs`) and limits its memory and processor time for each one. It
//! goes with its parent.

use std::fs::File;
use std::io::{self, BufWriter, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileExt;

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};
use rustix::process::{Resource, Rlimit};

use super::child::{URGENT, USER};
use super::code::code_of;
use super::contents::Contents;
use super::dwarf::{Units, units_of};
use super::elf::{Sources, symbolize_file};
use super::jit_map;
use super::kernel::KernelSymbols;
use super::sandbox::{self, HardLimits};
use super::self_test::try_everything;
use super::wire::{Answer, Kind, MAX_FILES, MAX_FRAME, Question, Reply};

/// Address space for parsing, beside the file's copy, which is mapped.
const MEMORY: u64 = 1 << 30;
/// Largest file. Firefox's debug information has 3 GiB, Chromium's with all of it more; only its tables are read.
pub(super) const MAX_FILE: u64 = 32 << 30;
/// CPU seconds for one question. The parent's patience in wall time ends about then.
const CPU_SECONDS: u64 = 10;
/// CPU seconds after which it is time for another child.
const LIFETIME: u64 = 60;
/// What is never exceeded.
const LIMITS: HardLimits =
    HardLimits { memory: MEMORY + 2 * MAX_FILE, cpu_seconds: LIFETIME + 2 * CPU_SECONDS, file: MAX_FILE };
/// A child larger than this exits after its answer, as memory once taken by a large file is not given back.
const MAX_RESIDENT: u64 = 96 << 20;

/// Rows are written in pieces of this size.
const ROWS_BUFFER: usize = 256 << 10;
/// The code of a refusal that is ours: the rows do not fit into the memfd.
pub const ROWS_TOO_LARGE: u8 = 255;

/// Why a symbolizer child ended.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// It was not started by the profiler.
    #[error(
        "symbolizer-worker is started by the profiler itself: its standard input must be a socket of the profiler's"
    )]
    Io(#[from] io::Error),
    /// The parent said something else than a question.
    #[error("the symbolizer's question could not be decoded")]
    BadQuestion,
}

/// The main function of the child: limits itself, then answers until the socket closes.
///
/// # Errors
/// Standard input is no socket, or does not speak `wire.rs`.
pub fn worker_main(compile_rows: CompileRows) -> Result<(), WorkerError> {
    let mut kernel = KernelSymbols::default();
    answer_with(|question, files| match (question.kind, files) {
        (Kind::Kernel, [kallsyms]) => Ok(Reply::Names(kernel.symbolize(kallsyms, &question.offsets))),
        (Kind::Elf | Kind::ElfSymbolsOnly | Kind::ElfWithPackage | Kind::ElfWithUnits, files) => names(question, files),
        (Kind::Units, [file]) => Ok(Reply::Units(units(file, &question.offsets))),
        (Kind::Inspect, [file]) => {
            Ok(Reply::Facts(Contents::of(file).map(|contents| contents.facts).unwrap_or_default()))
        }
        (Kind::UnwindRows, [file, rows]) => Ok(write_rows(compile_rows, file, rows)),
        (Kind::Code, [file]) => Ok(Reply::Code(code_of(file, &question.offsets))),
        (Kind::Jit, [file]) => Ok(Reply::Names(jit_map::symbolize(file, &question.offsets))),
        (Kind::KernelCode, [kallsyms]) => Ok(Reply::Code(kernel.bounds(kallsyms, &question.offsets))),
        (Kind::JitCode, [file]) => Ok(Reply::Code(jit_map::code_of(file, &question.offsets))),
        (Kind::SelfTest, []) => Ok(Reply::Escaped(try_everything())),
        _ => Err(WorkerError::BadQuestion),
    })
}

fn names(question: &Question, files: &[File]) -> Result<Reply, WorkerError> {
    let ([main, copy, spare], rest) = files.split_first_chunk().ok_or(WorkerError::BadQuestion)?;
    let pair = |at: usize| Some((rest.get(at)?, rest.get(at + 1)?));
    let debug_info = question.kind != Kind::ElfSymbolsOnly;
    let ([debug, shared, package], units) = match question.kind {
        Kind::ElfWithPackage => ([None, None, pair(0)], &[][..]),
        Kind::ElfWithUnits => ([None; 3], rest),
        _ => ([pair(0), pair(2), None], &[][..]),
    };
    let sources =
        Sources { main: (main, copy), spare, debug, shared, package, units, debug_info, allowed: question.sources };
    Ok(Reply::Names(symbolize_file(&sources, &question.offsets)))
}

fn units(file: &File, offsets: &[u64]) -> Units {
    let Some(contents) = Contents::of(file) else { return Units { covered: offsets.len() as u32, files: Vec::new() } };
    let addresses: Vec<Option<u64>> = offsets.iter().map(|offset| contents.address_of(*offset)).collect();
    units_of(file, &addresses)
}

/// Writes the unwind rows of a file, in a form that is the unwinder's, or refuses with a code of its own. The file is foreign:
/// it may be anything and may change at any time, so it is read by `pread` and never mapped. Panics and crashes cost the child.
pub type CompileRows = fn(&File, &mut dyn Write) -> Result<(), u8>;

fn write_rows(compile_rows: CompileRows, file: &File, rows: &File) -> Reply {
    let mut out = Counted { out: BufWriter::with_capacity(ROWS_BUFFER, rows), bytes: 0 };
    match compile_rows(file, &mut out) {
        Ok(()) if out.flush().is_ok() => Reply::Written(out.bytes),
        Ok(()) => Reply::Refused(ROWS_TOO_LARGE),
        Err(code) => Reply::Refused(code),
    }
}

/// Counts what is written.
struct Counted<W> {
    out: W,
    bytes: u64,
}

impl<W: Write> Write for Counted<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Says hello, then answers each question by `answer`.
fn answer_with(mut answer: impl FnMut(&Question, &[File]) -> Result<Reply, WorkerError>) -> Result<(), WorkerError> {
    // Started as /proc/self/exe, it would be called `exe`.
    rustix::thread::set_name(c"profiler-names").map_err(io::Error::from)?;
    let statm = File::open("/proc/self/statm")?;
    // Asked now, as the library reads `/proc/self/auxv` when it is first asked.
    let _ = (cpu_seconds(), resident(&statm));
    let user = std::env::var(USER).ok().and_then(|user| user.parse().ok());
    let confinement = sandbox::enter(&LIMITS, user, std::env::var_os(URGENT).is_some())?;
    let stdin = io::stdin();
    send(stdin.as_fd(), &Answer { id: 0, leaving: false, reply: Reply::Hello(confinement) })?;
    while let Some((question, files)) = receive(stdin.as_fd())? {
        allow_for(&files)?;
        let reply = answer(&question, &files)?;
        drop(files);
        let leaving = resident(&statm) > MAX_RESIDENT || cpu_seconds() > LIFETIME;
        send(stdin.as_fd(), &Answer { id: question.id, leaving, reply })?;
        if leaving {
            break;
        }
    }
    Ok(())
}

/// Gives one question its share of memory and time.
fn allow_for(files: &[File]) -> io::Result<()> {
    let len = files.iter().filter_map(|file| file.metadata().ok()).map(|stat| stat.len()).max().unwrap_or(0);
    set_limit(Resource::As, MEMORY + len.min(MAX_FILE))?;
    set_limit(Resource::Cpu, cpu_seconds() + CPU_SECONDS + 1)
}

fn cpu_seconds() -> u64 {
    rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime).tv_sec.unsigned_abs()
}

/// Sets the soft limit; the hard one stays, as the next question gets another.
fn set_limit(resource: Resource, soft: u64) -> io::Result<()> {
    let maximum = rustix::process::getrlimit(resource).maximum;
    let current = Some(maximum.map_or(soft, |maximum| soft.min(maximum)));
    Ok(rustix::process::setrlimit(resource, Rlimit { current, maximum })?)
}

/// Memory now resident, in bytes: the second number of `/proc/self/statm`, in pages.
fn resident(statm: &File) -> u64 {
    let mut text = [0; 128];
    let read = statm.read_at(&mut text, 0).unwrap_or(0);
    let text = std::str::from_utf8(&text[..read]).unwrap_or_default();
    let pages: u64 = text.split(' ').nth(1).and_then(|pages| pages.parse().ok()).unwrap_or(0);
    pages * rustix::param::page_size() as u64
}

/// The next question and its descriptors; `None` when the parent has closed the socket.
fn receive(socket: BorrowedFd<'_>) -> Result<Option<(Question, Vec<File>)>, WorkerError> {
    let mut len = [0; 4];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FILES))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let got = rustix::net::recvmsg(
        socket,
        &mut [IoSliceMut::new(&mut len)],
        &mut control,
        RecvFlags::WAITALL | RecvFlags::CMSG_CLOEXEC,
    )
    .map_err(io::Error::from)?;
    if got.bytes == 0 {
        return Ok(None);
    }
    let mut files = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = message {
            files.extend(received.map(File::from));
        }
    }
    let len = u32::from_le_bytes(len) as usize;
    if got.bytes != 4 || len > MAX_FRAME {
        return Err(WorkerError::BadQuestion);
    }
    let mut body = vec![0; len];
    Socket(socket).read_exact(&mut body)?;
    let question = Question::decode(&body).ok_or(WorkerError::BadQuestion)?;
    Ok(Some((question, files)))
}

fn send(socket: BorrowedFd<'_>, answer: &Answer) -> io::Result<()> {
    let body = answer.encode();
    let mut frame = Vec::with_capacity(4 + body.len());
    frame.extend((body.len() as u32).to_le_bytes());
    frame.extend(body);
    Socket(socket).write_all(&frame)
}

/// Unbuffered reading and writing of a borrowed socket.
struct Socket<'a>(BorrowedFd<'a>);

impl Read for Socket<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        Ok(rustix::io::read(self.0, buffer)?)
    }
}

impl Write for Socket<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(rustix::io::write(self.0, bytes)?)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::child::WorkerCommand;
    use super::super::contents::Facts;
    use super::*;

    /// The test binary runs itself as the child, by the name of an ignored test that is the child's main function.
    fn this_test_as_child(test: &str) -> WorkerCommand {
        let program = std::env::current_exe().unwrap_or_default();
        let args = ["--ignored", "--exact", &format!("symbolizer::worker::tests::{test}")].map(Into::into).to_vec();
        WorkerCommand { program, args, ..WorkerCommand::default() }
    }

    /// The real child.
    pub fn real_child() -> WorkerCommand {
        this_test_as_child("child_main")
    }

    /// A child that does what the first bytes of a file say: `ABORT`, `HANG!` or `REFUS`; any other file is parsed, and copied
    /// where rows are asked for.
    pub fn obedient_child() -> WorkerCommand {
        this_test_as_child("obedient_child_main")
    }

    /// Not a test: the main function of the child, which the tests start with its standard input as the socket.
    #[test]
    #[ignore = "run by other tests"]
    fn child_main() {
        let _ = worker_main(|_, _| Err(1));
    }

    fn copy(file: &File, rows: &mut dyn Write) -> Result<(), u8> {
        let (mut buffer, mut at) = ([0; 1000], 0);
        loop {
            let read = file.read_at(&mut buffer, at).map_err(|_| 2)?;
            if &buffer[..5] == b"REFUS" {
                return Err(77);
            }
            if read == 0 {
                return Ok(());
            }
            rows.write_all(&buffer[..read]).map_err(|_| 3)?;
            at += read as u64;
        }
    }

    /// Not a test: the main function of [`obedient_child`].
    #[test]
    #[ignore = "run by other tests"]
    fn obedient_child_main() {
        let _ = answer_with(|question, files| {
            let file = files.first().ok_or(WorkerError::BadQuestion)?;
            let mut word = [0; 5];
            let _ = file.read_at(&mut word, 0);
            match &word {
                _ if question.kind == Kind::Inspect => {}
                b"ABORT" => std::process::abort(),
                b"HANG!" => loop {
                    std::thread::park();
                },
                _ => {}
            }
            match (question.kind, files) {
                (Kind::UnwindRows, [file, rows]) => Ok(write_rows(copy, file, rows)),
                (Kind::Inspect, _) => Ok(Reply::Facts(Facts::default())),
                _ => names(question, files),
            }
        });
    }
}
