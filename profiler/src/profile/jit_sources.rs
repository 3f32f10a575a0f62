//! Where a program's runtime tells of the code it wrote: the files, held open while the program runs.
//!
//! One value for each program, shared by its [`Binary`](crate::profile::Binary) and all requests for names of it: what is found later is there for the
//! earlier ones. `process/jit_files.rs` fills it; here is no I/O.

use std::fs::File;
use std::sync::{Arc, Mutex, PoisonError};

use super::{StartTicks, WallNanos};

/// One program that tells of code.
#[derive(Clone, Debug)]
pub struct JitProgram {
    /// Host process id.
    pub pid: u32,
    /// When it began.
    pub start: StartTicks,
    /// Process id in the innermost namespace: names its files.
    pub inside: u32,
    /// Effective user: owns its files.
    pub user: u32,
    /// Its perf map.
    pub map: Option<Arc<File>>,
    /// Its jitdump.
    pub dump: Option<Arc<File>>,
}

/// What is known of a program's files.
#[derive(Clone, Debug)]
pub struct JitFiles {
    /// The program, then those it was forked from, nearest first: it has their code.
    pub programs: Vec<JitProgram>,
    /// The directory for temporary files, as the program sees it. Holds the file system on which a map may be written later, and which
    /// may be unmounted when the program ends.
    pub temporary: Option<Arc<File>>,
    /// It was looked for those it was forked from.
    pub has_parents: bool,
    /// A file is there that may not be used.
    pub refused: bool,
    /// The program has ended: a file that comes now is somebody else's.
    pub ended: bool,
}

/// The files of one program.
#[derive(Debug)]
pub struct JitSources {
    /// When the machine was started by the wall clock, as that was when the program was first looked at. It may be set later.
    pub booted: WallNanos,
    /// Root directory of the program; `None` when it is ours.
    pub root: Option<Arc<File>>,
    files: Mutex<JitFiles>,
}

impl JitSources {
    /// Nothing is found yet.
    #[must_use]
    pub fn new(program: JitProgram, root: Option<Arc<File>>, booted: WallNanos) -> Self {
        let (programs, temporary) = (vec![program], None);
        let files = JitFiles { programs, temporary, has_parents: false, refused: false, ended: false };
        Self { booted, root, files: Mutex::new(files) }
    }

    /// The user whose program it is, who decides what its files are and whether they answer.
    #[must_use]
    pub fn user(&self) -> u32 {
        let files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        files.programs.first().map_or(u32::MAX, |program| program.user)
    }

    /// What is known now.
    #[must_use]
    pub fn files(&self) -> JitFiles {
        self.files.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes in what a look has found. What an earlier look has found and this one has not stays; so does an end.
    pub fn set(&self, mut found: JitFiles) {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        for program in &mut found.programs {
            let Some(before) = files.programs.iter().find(|before| before.pid == program.pid) else { continue };
            program.map = program.map.take().or_else(|| before.map.clone());
            program.dump = program.dump.take().or_else(|| before.dump.clone());
        }
        if found.programs.len() < files.programs.len() {
            found.programs.clone_from(&files.programs);
        }
        found.ended |= files.ended;
        found.has_parents |= files.has_parents;
        found.temporary = found.temporary.or_else(|| files.temporary.clone());
        *files = found;
    }

    /// Whether the program has ended and its files have been looked at since.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.files.lock().unwrap_or_else(PoisonError::into_inner).ended
    }

    /// Whether a file of it is held.
    #[must_use]
    pub fn has_file(&self) -> bool {
        let files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        files.programs.iter().any(|program| program.map.is_some() || program.dump.is_some())
    }
}
