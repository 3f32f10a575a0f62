//! The walk on the host, over a stop's registers and memory, by rows compiled from the files that were mapped.

use std::collections::HashMap;
use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;

use profiler::unwind::{self, Image, host};
use profiler_ebpf::tables::{Mapping, Registers, UnwindMode};

use crate::recorded::{Mapped, Stop};

/// Rows of every file met so far.
#[derive(Default)]
pub struct Programs {
    pool: host::Pool,
    images: HashMap<String, Option<Loaded>>,
}

#[derive(Clone, Copy)]
struct Loaded {
    base: u64,
    granules: u32,
    first_page: u32,
}

struct Pieces<'a>(&'a Stop);

impl host::Memory for Pieces<'_> {
    fn read(&self, address: u64, into: &mut [u8]) -> bool {
        self.0.memory.iter().any(|piece| {
            let Some(at) = address.checked_sub(piece.start) else { return false };
            let found = piece.bytes.get(at as usize..).and_then(|rest| rest.get(..into.len()));
            found.map(|bytes| into.copy_from_slice(bytes)).is_some()
        })
    }
}

impl Programs {
    /// What our walk makes of a stop.
    pub fn walk(&mut self, stop: &Stop) -> host::Walked {
        let mappings: Vec<Mapping> = stop.mappings().map(|mapped| self.mapping(&mapped)).collect();
        let space = self.pool.space(&mappings);
        let mut general = [0; 32];
        general[..16].copy_from_slice(&stop.registers);
        let registers = Registers { ip: stop.ip, sp: general[7], fp: general[6], lr: 0, general, all: 1 };
        host::walk(registers, host::Machine::X86_64, &self.pool, space, &Pieces(stop), UnwindMode::Auto)
    }

    fn mapping(&mut self, mapped: &Mapped) -> Mapping {
        let Mapped { start, end, .. } = *mapped;
        if mapped.path.is_empty() {
            return Mapping { start, end, bias: 0, image: Mapping::JIT, granules: 0 };
        }
        if !self.images.contains_key(&mapped.path) {
            let loaded = open(&mapped.path).and_then(|file| unwind::compile(&file).ok()).map(|image| self.load(&image));
            self.images.insert(mapped.path.clone(), loaded);
        }
        match self.images[&mapped.path] {
            Some(Loaded { base, granules, first_page }) => {
                let bias = mapped.offset.wrapping_sub(start).wrapping_sub(base);
                Mapping { start, end, bias, image: first_page, granules }
            }
            None => Mapping { start, end, bias: 0, image: Mapping::NO_ROWS, granules: 0 },
        }
    }

    fn load(&mut self, image: &Image) -> Loaded {
        let numbers: Vec<u16> = image.rules().iter().map(|rule| self.pool.add_rule(*rule)).collect();
        let mut pages = Vec::new();
        image.write_pages(&numbers, |_, page| pages.push(*page));
        Loaded { base: image.base(), granules: image.granules(), first_page: self.pool.add_pages(&pages) }
    }
}

/// A mapped file; the vDSO out of our own memory, where the same kernel put the same one.
fn open(path: &str) -> Option<File> {
    if path != "[vdso]" {
        return File::open(path).ok();
    }
    let maps = std::fs::read_to_string("/proc/self/maps").ok()?;
    let line = maps.lines().find(|line| line.ends_with("[vdso]"))?;
    let (start, end) = line.split_whitespace().next()?.split_once('-')?;
    let [start, end] = [start, end].map(|hex| u64::from_str_radix(hex, 16).unwrap());
    let mut bytes = vec![0; (end - start) as usize];
    File::open("/proc/self/mem").ok()?.read_exact_at(&mut bytes, start).ok()?;
    let mut file = tempfile::tempfile().ok()?;
    file.write_all(&bytes).ok()?;
    Some(file)
}
