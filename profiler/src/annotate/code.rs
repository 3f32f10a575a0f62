//! Where a function's code is had from: the file that was sampled, the image of the vDSO, the running kernel's memory, or that of a program
//! that wrote it and still runs.
//!
//! Memory changes: what a kernel or a program has now at an address is shown only if it still has the function's name.

use std::fs::File;
use std::time::Instant;

use object::elf::{EM_AARCH64, EM_X86_64};

use super::Annotator;
use crate::process::{KernelMemory, ProcRoot, ProgramMemory, SameFile, open_same};
use crate::profile::{Binary, BinaryKind, Symbolized, simple};
use crate::query::{Code, Weight};
use crate::symbolizer::{CodeBytes, Mapped};
use crate::sys::time_share::ROOT;

/// What runs here.
const HERE: u16 = if cfg!(target_arch = "aarch64") { EM_AARCH64 } else { EM_X86_64 };

/// A function's code, and who names what it calls.
pub(super) struct Found {
    pub code: CodeBytes,
    pub place: Place,
}

/// Where code lies.
pub(super) enum Place {
    File(SameFile),
    Kernel,
    Program(ProgramMemory),
}

impl Annotator {
    /// The code of a function, of its parts with most samples first.
    pub(super) fn find_code(&mut self, code: &Code, function: &str, deadline: Instant) -> Result<Found, String> {
        let mut busiest: Vec<&Weight> = code.places.iter().collect();
        busiest.sort_by_key(|place| std::cmp::Reverse((place.self_, place.total)));
        let offsets: Vec<u64> = busiest.iter().map(|place| place.at).collect();
        let (place, key) = (self.open(&code.binary)?, &code.binary.key);
        let of_child = match &place {
            Place::File(opened) => {
                let user = key.identity().map(|file| file.owner.user());
                self.worker.code_of(&opened.file, user, &offsets, deadline)
            }
            Place::Kernel => {
                let still = self.still(&place, &code.binary, function, &offsets, deadline)?;
                self.worker.kernel_code(&still, deadline)
            }
            Place::Program(memory) => {
                let still = self.still(&place, &code.binary, function, &offsets, deadline)?;
                self.worker.jit_code(&memory.sources, &still, deadline)
            }
        };
        let mut found = of_child.map_err(|reason| reason.describe().to_owned())?;
        // Only a dump has the code itself.
        if found.machine == 0 {
            found.machine = HERE;
            match &place {
                Place::File(_) => {}
                Place::Kernel => {
                    let key = key.clone();
                    let memory = self.opener.run(ROOT, move || KernelMemory::open(&ProcRoot::host(), &key));
                    let memory = memory.map_err(|_| "the kernel's memory does not answer".to_owned())??;
                    found.pieces.retain_mut(|piece| memory.read(piece.address, &mut piece.bytes));
                }
                Place::Program(memory) => {
                    found.pieces.retain_mut(|piece| memory.read(piece.address, &mut piece.bytes));
                }
            }
            if found.pieces.is_empty() {
                return Err("the function's memory could not be read".to_owned());
            }
        }
        Ok(Found { code: found, place })
    }

    fn open(&mut self, binary: &Binary) -> Result<Place, String> {
        match binary.kind {
            BinaryKind::Kernel => Ok(Place::Kernel),
            BinaryKind::Anonymous => Ok(Place::Program(ProgramMemory::open(&ProcRoot::host(), &binary.key)?)),
            BinaryKind::File | BinaryKind::Vdso => {
                let of = binary.without_files();
                let opened = self.opener.run(ROOT, move || open_same(&of));
                Ok(Place::File(opened.map_err(|_| "the file system of the binary does not answer".to_owned())??))
            }
        }
    }

    /// Those of the addresses that still are in the function.
    fn still(
        &mut self,
        place: &Place,
        binary: &Binary,
        function: &str,
        addresses: &[u64],
        deadline: Instant,
    ) -> Result<Vec<u64>, String> {
        let names = self.names_of(place, binary, addresses, deadline).ok_or("the symbolizer does not answer")?;
        let is_it = |name: &Symbolized| match name {
            Symbolized::Named(symbols) => symbols.iter().any(|symbol| {
                &*symbol.name == function || simple(&symbol.name) == function || symbol.raw.as_deref() == Some(function)
            }),
            Symbolized::Unknown(_) | Symbolized::Nameless(..) => false,
        };
        let still: Vec<u64> = addresses.iter().zip(&names).filter(|(_, name)| is_it(name)).map(|(at, _)| *at).collect();
        match names.first().and_then(Symbolized::reason) {
            Some(reason) if still.is_empty() => Err(reason.describe().to_owned()),
            _ if still.is_empty() => Err("other code has taken the function's place in memory since".to_owned()),
            _ => Ok(still),
        }
    }

    /// Names for places of the same binary.
    pub(super) fn names_of(
        &mut self,
        place: &Place,
        binary: &Binary,
        offsets: &[u64],
        deadline: Instant,
    ) -> Option<Vec<Symbolized>> {
        match place {
            Place::File(SameFile { file, root }) => {
                let root: Option<&File> = root.as_ref();
                let (path, build_id, identity) = (&binary.path, binary.build_id, binary.key.identity());
                let mapped = Mapped { file, path, build_id, identity, root, debug: None };
                self.worker.of_file(&mapped, offsets, Some(deadline))
            }
            Place::Kernel => self.worker.of_kernel(offsets, Some(deadline)),
            Place::Program(memory) => self.worker.of_jit(Some(&memory.sources), offsets, Some(deadline)),
        }
    }
}
