//! The service with real children, by subject: what becomes of children and files, what is named, what programs tell of their code.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::fs::File;
use std::io::{Seek, Write};
use std::sync::mpsc::channel;

use super::super::child::WorkerCommand;
use super::super::worker::tests::{obedient_child, real_child};
use super::*;
use crate::profile::{FileIdentity, Owner};

mod children;
mod jit;
mod names;

/// A good file: ourselves.
fn ourselves() -> Arc<Binary> {
    binary("ourselves", File::open(std::env::current_exe().unwrap()).unwrap())
}

/// As of a file of root's, told from others by its length alone.
fn identity_of(file: &File) -> FileIdentity {
    FileIdentity { len: file.metadata().unwrap().len(), owner: Owner::System, hash: 1 }
}

fn binary(name: &str, file: File) -> Arc<Binary> {
    let key = BinaryKey::Inode { path: name.to_owned(), dev: 0, inode: 0, mtime: 0, identity: None };
    Arc::new(Binary { file: Some(Arc::new(file)), ..Binary::new(BinaryKind::File, key, name) })
}

fn mapped(file: &File) -> Mapped<'_> {
    Mapped { file, path: "/x", build_id: None, identity: None, root: None, debug: None }
}

/// Without a file, by its kind.
fn special(kind: BinaryKind) -> Arc<Binary> {
    let key = BinaryKey::Inode { path: format!("{kind:?}"), dev: 0, inode: 0, mtime: 0, identity: None };
    Arc::new(Binary::new(kind, key, ""))
}

fn file_of(bytes: &[u8]) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    file.rewind().unwrap();
    file
}

/// A symbolizer, and where its answers arrive.
fn started(worker: NamesWorker) -> (Symbolizer, Receiver<Answers>) {
    let (sender, answers) = channel();
    (Symbolizer::start(worker, move |batch| sender.send(batch).unwrap()).unwrap(), answers)
}

/// Asks for all, and gives the answers in the order of the requests.
fn ask(command: WorkerCommand, requests: &[(&Arc<Binary>, u64)]) -> Vec<Symbolized> {
    let (symbolizer, answers) = started(NamesWorker::new(command));
    let batch = requests.iter().enumerate().map(|(n, (binary, offset))| Request {
        location: LocationId(n as i64),
        binary: (*binary).clone(),
        offset: *offset,
        weight: 1,
    });
    assert_eq!(symbolizer.request(batch.collect()), 0);
    assert_eq!(symbolizer.finish(Duration::from_secs(60)), 0);
    let mut answers: Vec<_> = answers.iter().flat_map(|batch: Answers| batch.names).collect();
    answers.sort_by_key(|(location, _)| *location);
    answers.into_iter().map(|(_, answer)| answer).collect()
}

const FAILED: Symbolized = Symbolized::Unknown(UnknownReason::SymbolizerFailed);

/// Where an address of ours lies in our file.
fn file_offset_of(address: u64) -> u64 {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let hex = |text: &str| u64::from_str_radix(text, 16).unwrap();
    let offset = maps.lines().find_map(|line| {
        let mut fields = line.split(' ');
        let (start, end) = fields.next()?.split_once('-')?;
        let offset = hex(fields.nth(1)?);
        (hex(start)..hex(end)).contains(&address).then(|| address - hex(start) + offset)
    });
    offset.unwrap()
}
