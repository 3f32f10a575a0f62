//! `profiler symbolize`: names again what had no name when it was sampled, in a database that no profiler is writing to.

use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use serde_json::json;

use super::args::SymbolizeArgs;
use super::exit::Usage;
use super::export::write_stdout;
use super::host;
use super::owner::starters;
use crate::process::build_id_of;
use crate::profile::{BinaryKind, BuildId, NameStatus, Symbolized};
use crate::store::naming::{Renamed, Unnamed};
use crate::store::{Store, StoreError};
use crate::symbolizer::{FileFinder, Mapped, NamesWorker};

/// Offsets asked about at a time.
const PIECE: usize = 1024;

/// A file given by hand.
struct Given {
    file: Arc<File>,
    build_id: BuildId,
    used: bool,
}

/// Runs the command.
///
/// # Errors
/// The database or a file cannot be had; a file is of no binary in the database.
pub fn symbolize(args: &SymbolizeArgs) -> anyhow::Result<ExitCode> {
    let database = args.database.path()?;
    let mut given = args.files.iter().map(|path| open(path)).collect::<anyhow::Result<Vec<_>>>()?;
    if !database.exists() {
        return Err(StoreError::Missing(database).into());
    }
    let (mut store, _) = Store::open(&database).map_err(|error| {
        let busy = matches!(error, StoreError::Locked(_));
        let error = anyhow::Error::from(error);
        if busy {
            error.context("ask the profiler that runs: curl -X POST localhost:7117/api/v1/symbolize")
        } else {
            error
        }
    })?;
    let mut worker = host::names_worker(&args.naming, None);
    // The one who called sudo, or whoever we are.
    let mut finder = starters().last().map_or_else(FileFinder::default, |user| FileFinder::for_user(*user));
    let (mut renamed, mut asked) = (Vec::new(), 0_u64);
    for id in store.unnamed_binaries(args.all)? {
        let unnamed = store.unnamed_of(id, args.all)?;
        asked += unnamed.places.len() as u64;
        let by_hand = given.iter_mut().find(|given| Some(given.build_id) == unnamed.binary.build_id);
        let by_hand = by_hand.map(|given| {
            given.used = true;
            &*given.file
        });
        renamed.extend(ask(&mut worker, &mut finder, unnamed, by_hand));
    }
    if let Some((path, given)) = args.files.iter().zip(&given).find(|(_, given)| !given.used) {
        anyhow::bail!(Usage(format!(
            "{}: nothing without a name in {} is of its build id, {}: it is another build, or everything has its name (--all asks again)",
            path.display(),
            database.display(),
            given.build_id
        )));
    }
    let gained = store.write_better_names(&renamed)?;
    store.close()?;
    let total: u64 = gained.iter().sum();
    if args.json {
        let binaries = renamed.iter().zip(&gained).filter(|(_, gained)| **gained > 0);
        let binaries: Vec<_> = binaries
            .map(|(renamed, gained)| json!({"path": renamed.binary.path, "named": gained, "of": renamed.names.len()}))
            .collect();
        let text = serde_json::to_string_pretty(&json!({"named": total, "of": asked, "binaries": binaries}))? + "\n";
        write_stdout(|out| out.write_all(text.as_bytes()))?;
        return Ok(ExitCode::SUCCESS);
    }
    for (renamed, gained) in renamed.iter().zip(&gained).filter(|(_, gained)| **gained > 0) {
        eprintln!("{}: {gained} of {}", renamed.binary.path, renamed.names.len());
    }
    let what = if args.all { "places" } else { "places without a name" };
    eprintln!("named {total} of {asked} {what} in {}", database.display());
    Ok(ExitCode::SUCCESS)
}

fn open(path: &Path) -> anyhow::Result<Given> {
    let mut options = std::fs::OpenOptions::new();
    // A FIFO would block.
    let file = options.read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path);
    let file = file.with_context(|| format!("failed to open {}", path.display()))?;
    let regular = file.metadata().is_ok_and(|stat| stat.is_file());
    let build_id = regular.then(|| build_id_of(&file)).flatten().ok_or_else(|| {
        Usage(format!("{} has no build id, by which it could be matched: name an ELF file with one", path.display()))
    })?;
    Ok(Given { file: Arc::new(file), build_id, used: false })
}

/// Asks for a binary's names; `None` when there is nothing to ask.
fn ask(worker: &mut NamesWorker, finder: &mut FileFinder, unnamed: Unnamed, by_hand: Option<&File>) -> Option<Renamed> {
    let Unnamed { binary, places } = unnamed;
    let found = finder.find(&binary);
    let on_disk = found.as_ref().and_then(|found| found.file.as_deref());
    let offsets: Vec<u64> = places.iter().map(|(_, offset)| *offset).collect();
    let mut names: Vec<Symbolized> = Vec::with_capacity(offsets.len());
    for piece in offsets.chunks(PIECE) {
        let answer = match (binary.kind, on_disk.or(by_hand)) {
            (BinaryKind::File | BinaryKind::Vdso, Some(file)) => {
                // Beside the program the file given tells of it; without the program it stands for it.
                let debug = on_disk.and(by_hand);
                let root = found.as_ref().and_then(|found| found.root.as_deref());
                let (path, build_id, identity) = (&binary.path, binary.build_id, binary.key.identity());
                let mapped = Mapped { file, path, build_id, identity, root, debug };
                worker.of_file(&mapped, piece, None)
            }
            (BinaryKind::Kernel, _) if found.is_some() => worker.of_kernel(piece, None),
            (BinaryKind::Anonymous, _) => worker.of_jit(Some(found.as_ref()?.jit.as_ref()?), piece, None),
            _ => return None,
        };
        names.extend(answer?);
    }
    let status = NameStatus { sources: worker.take_found(), package: None };
    Some(Renamed { binary, status, names: places.iter().map(|(id, _)| *id).zip(names).collect() })
}
