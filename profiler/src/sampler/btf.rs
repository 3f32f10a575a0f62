//! Offsets of five fields of `task_struct`, from the kernel's own type information (`/sys/kernel/btf/vmlinux`).
//!
//! Rust's eBPF has no CO-RE relocations, so user space looks the offsets up and hands them over as read-only data. The
//! format is the kernel's Documentation/bpf/btf.rst; only as much of it is read as they need.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::Path;

/// Byte offsets in `task_struct`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TaskOffsets {
    /// Process id.
    pub tgid: u32,
    /// Thread id.
    pub pid: u32,
    /// The thread that stands for the process.
    pub group_leader: u32,
    /// Start on the boot clock.
    pub start_boottime: u32,
    /// Its memory.
    pub mm: u32,
}

const MAGIC: u16 = 0xeb9f;
const KIND_STRUCT: u32 = 4;
const KIND_UNION: u32 = 5;

impl TaskOffsets {
    /// Reads them from the running kernel.
    ///
    /// # Errors
    /// No BTF in this kernel, or fields not found in it.
    pub fn of_running_kernel() -> io::Result<Self> {
        Self::from_btf(&fs::read(Path::new("/sys/kernel/btf/vmlinux"))?)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "task_struct not found in the kernel's BTF"))
    }

    /// Reads them from the bytes of a BTF file.
    #[must_use]
    pub fn from_btf(btf: &[u8]) -> Option<Self> {
        let btf = Btf::parse(btf)?;
        let fields = btf.fields("task_struct")?;
        let offset = |name: &str| fields.get(name).copied();
        Some(Self {
            tgid: offset("tgid")?,
            pid: offset("pid")?,
            group_leader: offset("group_leader")?,
            start_boottime: offset("start_boottime").or_else(|| offset("real_start_time"))?,
            mm: offset("mm")?,
        })
    }
}

struct Btf<'a> {
    /// Where each type begins; type ids count from 1.
    types: Vec<&'a [u8]>,
    strings: &'a [u8],
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

impl<'a> Btf<'a> {
    fn parse(btf: &'a [u8]) -> Option<Self> {
        if u16::from_ne_bytes(btf.get(..2)?.try_into().ok()?) != MAGIC {
            return None;
        }
        let word = |at: usize| u32_at(btf, at).map(|word| word as usize);
        let body = btf.get(word(4)?..)?;
        let section = |offset: usize, len: usize| body.get(offset..offset.checked_add(len)?);
        let mut rest = section(word(8)?, word(12)?)?;
        let strings = section(word(16)?, word(20)?)?;
        let mut types = Vec::new();
        while !rest.is_empty() {
            let info = u32_at(rest, 4)?;
            let entries = (info & 0xffff) as usize;
            // Bytes after the common 12, by kind.
            let tail = match (info >> 24) & 0x1f {
                1 | 14 | 17 => 4,
                3 => 12,
                KIND_STRUCT | KIND_UNION | 15 | 19 => entries * 12,
                6 | 13 => entries * 8,
                2 | 7..=12 | 16 | 18 => 0,
                _ => return None,
            };
            let (this, next) = rest.split_at_checked(12 + tail)?;
            types.push(this);
            rest = next;
        }
        Some(Self { types, strings })
    }

    fn name(&self, offset: u32) -> Option<&'a str> {
        let tail = self.strings.get(offset as usize..)?;
        std::str::from_utf8(&tail[..tail.iter().position(|byte| *byte == 0)?]).ok()
    }

    /// Byte offsets of the fields of a struct, those of its anonymous members included.
    fn fields(&self, wanted: &str) -> Option<HashMap<&'a str, u32>> {
        let found = self.types.iter().find(|ty| {
            u32_at(ty, 4).is_some_and(|info| (info >> 24) & 0x1f == KIND_STRUCT && info & 0xffff > 0)
                && u32_at(ty, 0).and_then(|name| self.name(name)) == Some(wanted)
        })?;
        let mut fields = HashMap::new();
        self.collect(found, 0, 0, &mut fields)?;
        Some(fields)
    }

    fn collect(&self, ty: &'a [u8], base: u32, depth: u32, fields: &mut HashMap<&'a str, u32>) -> Option<()> {
        let info = u32_at(ty, 4)?;
        // Bit fields keep their width in the offset's top byte.
        let mask = if info >> 31 == 1 { 0x00ff_ffff } else { u32::MAX };
        for member in ty.get(12..)?.as_chunks::<12>().0 {
            let (name, member_type, bits) = (u32_at(member, 0)?, u32_at(member, 4)?, u32_at(member, 8)? & mask);
            let offset = base.checked_add(bits / 8)?;
            let name = self.name(name)?;
            if !name.is_empty() {
                fields.entry(name).or_insert(offset);
            } else if depth < 8
                && let Some(inner) = self.types.get((member_type as usize).wrapping_sub(1))
                && matches!((u32_at(inner, 4)? >> 24) & 0x1f, KIND_STRUCT | KIND_UNION)
            {
                self.collect(inner, offset, depth + 1, fields)?;
            }
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    /// The running kernel has all five, at places a task_struct can have.
    #[test]
    fn this_kernels_offsets_are_found() {
        let offsets = TaskOffsets::of_running_kernel().unwrap();
        assert_eq!(offsets.tgid, offsets.pid + 4, "tgid follows pid in every version");
        assert!(offsets.group_leader > offsets.tgid && offsets.start_boottime > offsets.tgid && offsets.mm > 0);
    }

    /// Cut type information gives nothing, and no panic.
    #[test]
    fn cut_btf_gives_no_offsets() {
        let btf = fs::read("/sys/kernel/btf/vmlinux").unwrap();
        for len in (0..4096).chain([btf.len() / 2]) {
            assert_eq!(TaskOffsets::from_btf(&btf[..len]), None, "cut at {len}");
        }
        let (small, _) = small_btf();
        for len in 0..small.len() {
            assert_eq!(TaskOffsets::from_btf(&small[..len]), None, "cut at {len}");
        }
    }

    /// The five fields of a `task_struct`, `mm` in an anonymous union, and where in the bytes each offset stands.
    fn small_btf() -> (Vec<u8>, [(usize, &'static str); 6]) {
        let strings = b"\0int\0task_struct\0pid\0tgid\0group_leader\0start_boottime\0mm\0";
        let name = |text: &str| {
            let at = strings.windows(text.len() + 2).position(|window| window[1..=text.len()] == *text.as_bytes());
            at.unwrap() as u32 + 1
        };
        let (union, structure) = (KIND_UNION << 24 | 1, KIND_STRUCT << 24 | 5);
        let types = [
            [name("int"), 1 << 24, 4, 32].as_slice(),
            &[0, union, 8],
            &[name("mm"), 1, 64],
            &[name("task_struct"), structure, 400],
            &[name("pid"), 1, 800],
            &[name("tgid"), 1, 832],
            &[0, 2, 960],
            &[name("group_leader"), 1, 1280],
            &[name("start_boottime"), 1, 1920],
        ]
        .concat();
        let lens = [24, 0, 4 * types.len() as u32, 4 * types.len() as u32, strings.len() as u32];
        let head = [MAGIC.to_ne_bytes(), 1_u16.to_ne_bytes()].concat();
        let words = lens.into_iter().chain(types).flat_map(u32::to_ne_bytes);
        let bytes = head.into_iter().chain(words).chain(*strings).collect();
        let word = |number: usize| 24 + 4 * number;
        let offsets = [(9, "mm"), (15, "pid"), (18, "tgid"), (21, "mm"), (24, "group_leader"), (27, "start_boottime")];
        (bytes, offsets.map(|(number, field)| (word(number), field)))
    }

    /// One wrong bit anywhere: no offsets, or the right ones. In the word of an offset that field alone is another.
    #[test]
    fn a_damaged_bit_gives_no_wrong_offset_of_another_field() {
        let (whole, places) = small_btf();
        let right = TaskOffsets { tgid: 104, pid: 100, group_leader: 160, start_boottime: 240, mm: 128 };
        assert_eq!(TaskOffsets::from_btf(&whole), Some(right));
        let mut refused = 0;
        for bit in 0..whole.len() * 8 {
            let mut damaged = whole.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            let mut found = TaskOffsets::from_btf(&damaged);
            if let Some((_, field)) = places.iter().find(|(at, _)| (*at..at + 4).contains(&(bit / 8))) {
                let found = found.as_mut().unwrap_or_else(|| panic!("bit {bit}: an offset is only a number"));
                let (place, was) = match *field {
                    "mm" => (&mut found.mm, right.mm),
                    "pid" => (&mut found.pid, right.pid),
                    "tgid" => (&mut found.tgid, right.tgid),
                    "group_leader" => (&mut found.group_leader, right.group_leader),
                    _ => (&mut found.start_boottime, right.start_boottime),
                };
                // The lowest three count bits of a byte.
                assert_eq!(*place == was, bit % 32 < 3, "bit {bit}");
                *place = was;
            }
            refused += usize::from(found.is_none());
            assert!(found.is_none_or(|found| found == right), "bit {bit}: {found:?}");
        }
        assert!(refused > 200, "{refused} of {} bits matter", whole.len() * 8);
    }
}
