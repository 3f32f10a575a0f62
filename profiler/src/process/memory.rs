//! Code in memory: the kernel's, through `/proc/kcore` (`man 5 proc`: a core file of memory, as ELF), and what a running program wrote,
//! through `/proc/PID/mem`. Both only of this boot; a program only as long as it is the one that was sampled, and nothing of it but what
//! is mapped executable.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::Duration;

use super::ProcRoot;
use super::jit_files::sources_in;
use super::reading_time::Patience;
use crate::profile::{BinaryKey, JitSources, ProcessKey};

/// Longest header of a core file: a kernel's has a few segments.
const MAX_SEGMENTS: usize = 4096;
/// Bytes of an ELF file's header, and of one for a segment.
const HEADER: usize = 64;
const SEGMENT: usize = 56;
const PT_LOAD: u64 = 1;

/// The memory of the running kernel.
#[derive(Debug)]
pub struct KernelMemory {
    core: File,
    /// Address, length, place in the file.
    segments: Vec<(u64, u64, u64)>,
}

impl KernelMemory {
    /// That of the kernel that was sampled, if it is still the one that runs.
    ///
    /// # Errors
    /// Why it cannot be had.
    pub fn open(proc: &ProcRoot, key: &BinaryKey) -> Result<Self, &'static str> {
        let BinaryKey::Kernel { boot_id } = key else { return Err("it is no kernel") };
        if !is_this_boot(proc, boot_id) {
            return Err("the kernel has been started anew since, and lies elsewhere");
        }
        let core = proc.open("kcore").map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => "this kernel does not show its code: it has no /proc/kcore (CONFIG_PROC_KCORE)",
            _ => "/proc/kcore may not be read by the profiler: it takes CAP_SYS_RAWIO, and a kernel that is not locked down",
        })?;
        let segments = segments(&core).filter(|segments| !segments.is_empty());
        Ok(Self { core, segments: segments.ok_or("/proc/kcore could not be read")? })
    }

    /// Fills in what lies at an address; false when it is not all there.
    #[must_use]
    pub fn read(&self, address: u64, bytes: &mut [u8]) -> bool {
        let place = self.segments.iter().find_map(|(start, len, offset)| {
            let at = address.checked_sub(*start)?;
            (at.checked_add(bytes.len() as u64)? <= *len).then(|| offset.checked_add(at))?
        });
        place.is_some_and(|place| self.core.read_exact_at(bytes, place).is_ok())
    }
}

fn segments(core: &File) -> Option<Vec<(u64, u64, u64)>> {
    let mut header = [0; HEADER];
    core.read_exact_at(&mut header, 0).ok()?;
    let number = |bytes: &[u8], at: usize, len: usize| {
        bytes[at..at + len].iter().rev().fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte))
    };
    // 64 bits, little-endian, segments of the known length.
    if header[..6] != *b"\x7fELF\x02\x01" || number(&header, 54, 2) != SEGMENT as u64 {
        return None;
    }
    let count = usize::try_from(number(&header, 56, 2)).ok()?.min(MAX_SEGMENTS);
    let mut table = vec![0; count * SEGMENT];
    core.read_exact_at(&mut table, number(&header, 32, 8)).ok()?;
    let loaded = table.as_chunks::<SEGMENT>().0.iter().filter(|entry| number(*entry, 0, 4) == PT_LOAD);
    Some(loaded.map(|entry| (number(entry, 16, 8), number(entry, 32, 8), number(entry, 8, 8))).collect())
}

/// The executable memory of a running program.
#[derive(Debug)]
pub struct ProgramMemory {
    memory: File,
    /// Executable mappings.
    code: Vec<(u64, u64)>,
    /// The program, with what it calls itself and whose it is.
    pub key: BinaryKey,
    /// Where its runtime tells of its code.
    pub sources: Arc<JitSources>,
}

impl ProgramMemory {
    /// That of the program that was sampled, if it still runs.
    ///
    /// # Errors
    /// Why it cannot be had.
    pub fn open(proc: &ProcRoot, key: &BinaryKey) -> Result<Self, &'static str> {
        let BinaryKey::Jit { boot_id, pid, start, .. } = key else {
            return Err("memory of a program that is not known any more");
        };
        let gone = "the program has ended, and its code with it";
        let dir = proc.process(*pid).map_err(|_| gone)?;
        let (inside, user) = dir.identity_inside().ok_or(gone)?;
        let memory = dir.open_memory().map_err(|_| "the program's memory may not be read by the profiler")?;
        let sources = Arc::new(sources_in(&dir, ProcessKey { pid: *pid, start: *start }).ok_or(gone)?);
        let (maps, _) = dir.executable_maps(usize::MAX, Patience::of(Duration::from_millis(500))).ok_or(gone)?;
        // Opened first, then made sure that it was this process.
        let same = dir
            .stat()
            .filter(|stat| ProcessKey { pid: *pid, start: stat.start } == ProcessKey { pid: *pid, start: *start });
        same.filter(|_| is_this_boot(proc, boot_id)).ok_or(gone)?;
        let key = BinaryKey::Jit { boot_id: boot_id.clone(), pid: *pid, start: *start, inside, user };
        Ok(Self { memory, code: maps.iter().map(|line| (line.start, line.end)).collect(), key, sources })
    }

    /// Fills in what lies at an address; false when it is not executable there, or gone.
    #[must_use]
    pub fn read(&self, address: u64, bytes: &mut [u8]) -> bool {
        let Some(end) = address.checked_add(bytes.len() as u64) else { return false };
        let is_code = self.code.iter().any(|(first, last)| *first <= address && end <= *last);
        is_code && self.memory.read_exact_at(bytes, address).is_ok()
    }
}

fn is_this_boot(proc: &ProcRoot, boot_id: &str) -> bool {
    proc.read("sys/kernel/random/boot_id").is_ok_and(|id| id.trim_ascii_end() == boot_id.as_bytes())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use std::path::Path;

    use super::*;
    use crate::profile::StartTicks;

    fn boot_id() -> String {
        std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap().trim().to_owned()
    }

    fn some_proc(kcore: Option<&[u8]>) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("sys/kernel/random")).unwrap();
        std::fs::write(dir.path().join("sys/kernel/random/boot_id"), "this-boot\n").unwrap();
        if let Some(bytes) = kcore {
            std::fs::write(dir.path().join("kcore"), bytes).unwrap();
        }
        dir
    }

    fn kernel(proc: &Path, boot_id: &str) -> Result<KernelMemory, &'static str> {
        KernelMemory::open(&ProcRoot::at(proc), &BinaryKey::Kernel { boot_id: boot_id.to_owned() })
    }

    /// A core file with a note and two segments, as the kernel lays it out.
    fn core() -> Vec<u8> {
        let word = |value: u64| value.to_le_bytes().to_vec();
        let mut header = [b"\x7fELF\x02\x01\x01".to_vec(), vec![0; 9 + 16], word(64), vec![0; 14]].concat();
        header.extend([56_u16, 3].map(u16::to_le_bytes).concat());
        header.resize(64, 0);
        let segment = |kind: u64, offset, address, len| {
            [word(kind), word(offset), word(address), vec![0; 8], word(len), vec![0; 16]].concat()
        };
        let segments = [
            segment(4, 64, 0, 8),
            segment(1, 232, 0xffff_ffff_8100_0000, 16),
            segment(1, 248, 0xffff_8880_0000_0000, 8),
        ];
        [header, segments.concat(), (0..24).collect()].concat()
    }

    /// What a segment of the core file holds is read, and nothing that lies in none or in two.
    #[test]
    fn the_kernels_code_is_read_by_address() {
        let dir = some_proc(Some(&core()));
        let memory = kernel(dir.path(), "this-boot").unwrap();
        let read = |address, len: usize| {
            let mut bytes = vec![0; len];
            memory.read(address, &mut bytes).then_some(bytes)
        };
        assert_eq!(read(0xffff_ffff_8100_0004, 3), Some(vec![4, 5, 6]));
        assert_eq!(read(0xffff_8880_0000_0000, 8), Some((16..24).collect()));
        assert_eq!([read(0xffff_ffff_8100_000c, 8), read(0, 4), read(u64::MAX, 4)], [None, None, None]);
    }

    /// Another boot's kernel lies elsewhere; a kernel may show nothing; what is no core file is none.
    #[test]
    fn a_kernel_that_does_not_show_its_code_says_why() {
        let reason = |kcore: Option<&[u8]>, boot| kernel(some_proc(kcore).path(), boot).unwrap_err();
        assert!(reason(Some(&core()), "another").contains("started anew"));
        assert!(reason(None, "this-boot").contains("CONFIG_PROC_KCORE"));
        for bytes in [&b""[..], b"\x7fELF", &core()[..100], &[0; 400]] {
            assert!(reason(Some(bytes), "this-boot").contains("could not be read"));
        }
    }

    /// This host's kernel: code where it shows any, and a reason where not.
    #[test]
    fn this_kernels_code_is_read_or_a_reason_given() {
        let opened = kernel(Path::new("/proc"), &boot_id());
        let text = std::fs::read_to_string("/proc/kallsyms").unwrap();
        let schedule = text.lines().find(|line| line.ends_with(" T schedule")).unwrap().split(' ').next().unwrap();
        match opened {
            Ok(memory) => {
                let mut code = [0; 16];
                assert!(memory.read(u64::from_str_radix(schedule, 16).unwrap(), &mut code));
                assert_ne!(code, [0; 16]);
            }
            Err(reason) => assert!(reason.contains("/proc/kcore"), "{reason}"),
        }
    }

    /// Of a running program executable memory is read, and nothing else; of another one that had its pid nothing at all.
    #[test]
    fn only_the_code_of_the_program_that_was_sampled_is_read() {
        let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
        let start = stat.rsplit(')').next().unwrap().split_whitespace().nth(19).unwrap().parse().unwrap();
        let key = |start| BinaryKey::Jit {
            boot_id: boot_id(),
            pid: std::process::id(),
            start: StartTicks(start),
            inside: 0,
            user: 0,
        };
        let opened = |key: &BinaryKey| ProgramMemory::open(&ProcRoot::host(), key);
        let memory = opened(&key(start)).unwrap();
        let function = u64::try_from(is_this_boot as fn(&ProcRoot, &str) -> bool as usize).unwrap();
        let mut code = [0; 8];
        assert!(memory.read(function, &mut code) && code != [0; 8]);
        let secret = Box::new(7_u64);
        assert!(!memory.read(std::ptr::from_ref(&*secret) as u64, &mut code), "data");
        assert!(!memory.read(u64::MAX - 3, &mut code), "beyond all memory");
        assert!(opened(&key(start + 1)).unwrap_err().contains("ended"));
        assert!(opened(&BinaryKey::Anonymous).is_err());
    }
}
