//! Side-band records -> [`SideBand`] events.
//!
//! The kernel writes two records of a mapping, one after the other, with preemption switched off: one with the build id of the file, one
//! with its inode. [`Decoder`] makes one event of them. Invariant: a record without its other half (the ring was full) is an event of its
//! own, no later than the record after it.

use linux_perf_event_reader::{
    BranchSampleFormat, Endianness, EventRecord, Mmap2FileId, RawData, RawEventRecord, ReadFormat, RecordIdParseInfo,
    RecordParseInfo, RecordType, SampleFormat,
};

use crate::profile::{BootNanos, BuildId, InodeNumber, MappedFile, SideBand};
use crate::sys::perf::RawRecord;

/// `PROT_EXEC`, as `mmap2` records carry it.
const PROT_EXEC: u32 = 4;
/// `MAP_SHARED`, likewise.
const MAP_SHARED: u32 = 1;

/// What [`crate::sys::perf::SideBandRing`] asks the kernel for: each record ends in pid and tid, time, cpu, id (8 bytes each).
const LAYOUT: RecordParseInfo = RecordParseInfo {
    endian: Endianness::NATIVE,
    sample_format: SampleFormat::TID.union(SampleFormat::TIME).union(SampleFormat::CPU).union(SampleFormat::IDENTIFIER),
    branch_sample_format: BranchSampleFormat::empty(),
    read_format: ReadFormat::empty(),
    common_data_offset_from_end: Some(32),
    sample_regs_user: 0,
    user_regs_count: 0,
    sample_regs_intr: 0,
    intr_regs_count: 0,
    id_parse_info: RecordIdParseInfo {
        nonsample_record_id_offset_from_end: Some(8),
        sample_record_id_offset_from_start: None,
    },
    nonsample_record_time_offset_from_end: Some(24),
    sample_record_time_offset_from_start: None,
};

/// Pairs the records of one CPU's ring.
#[derive(Debug, Default)]
pub struct Decoder {
    /// The first record of a mapping, and whether it has the inode.
    half: Option<(SideBand, bool)>,
}

impl Decoder {
    /// Takes in a record, and hands on the events that are complete with it, oldest first. The second half of a mapping may not
    /// have been written yet when the ring is read: its event comes with the next reading, and before any sample in it.
    pub fn take(&mut self, raw: RawRecord<'_>, mut each: impl FnMut(SideBand)) {
        let by_inode = raw.by_inode;
        let Some(event) = decode(raw) else { return };
        if let Some((half, half_by_inode)) = self.half.take() {
            match join(half, &event, half_by_inode != by_inode) {
                Ok(whole) => return each(whole),
                Err(half) => each(half),
            }
        }
        match event {
            SideBand::Mmap { .. } => self.half = Some((event, by_inode)),
            _ => each(event),
        }
    }

    /// Hands on what waits for its other half.
    pub fn finish(&mut self) -> Option<SideBand> {
        self.half.take().map(|(half, _)| half)
    }
}

/// Both records of a mapping as one event; the first one again if they are of different mappings.
fn join(mut half: SideBand, other: &SideBand, different: bool) -> Result<SideBand, SideBand> {
    let is_same = |half: &SideBand| match (half, other) {
        (
            SideBand::Mmap { pid, start, len, page_offset, path, executable, .. },
            SideBand::Mmap { pid: p, start: s, len: l, page_offset: o, path: q, executable: x, .. },
        ) => different && (pid, start, len, page_offset, path, executable) == (p, s, l, o, q, x),
        _ => false,
    };
    if !is_same(&half) {
        return Err(half);
    }
    if let (SideBand::Mmap { identity, .. }, SideBand::Mmap { identity: other, .. }) = (&mut half, other) {
        *identity =
            MappedFile { build_id: identity.build_id.or(other.build_id), inode: identity.inode.or(other.inode) };
    }
    Ok(half)
}

/// `PERF_RECORD_MISC_MMAP_BUILD_ID`.
const HAS_BUILD_ID: u16 = 1 << 14;

/// The event in a record; `None` for records we do not ask about.
fn decode(raw: RawRecord<'_>) -> Option<SideBand> {
    let misc = if raw.by_inode { raw.misc & !HAS_BUILD_ID } else { raw.misc };
    let record = RawEventRecord::new(RecordType(raw.kind), misc, RawData::Single(raw.body), LAYOUT);
    let time = BootNanos(record.timestamp()?);
    Some(match record.parse().ok()? {
        EventRecord::Comm(comm) => {
            let (pid, tid) = (comm.pid as u32, comm.tid as u32);
            let name = String::from_utf8_lossy(&comm.name.as_slice()).into_owned();
            if comm.is_execve {
                SideBand::Exec { time, pid, comm: name }
            } else {
                SideBand::Comm { time, pid, tid, comm: name }
            }
        }
        EventRecord::Fork(fork) => {
            SideBand::Fork { time, pid: fork.pid as u32, ppid: fork.ppid as u32, tid: fork.tid as u32 }
        }
        EventRecord::Exit(exit) => SideBand::Exit { time, pid: exit.pid as u32, tid: exit.tid as u32 },
        EventRecord::Mmap2(map) => SideBand::Mmap {
            time,
            pid: map.pid as u32,
            start: map.address,
            len: map.length,
            page_offset: map.page_offset,
            path: map.path.as_slice().into_owned(),
            identity: match map.file_id {
                Mmap2FileId::BuildId(id) => MappedFile { build_id: BuildId::new(&id), inode: None },
                Mmap2FileId::InodeAndVersion(file) => MappedFile::of_inode(InodeNumber {
                    major: file.major,
                    minor: file.minor,
                    inode: file.inode,
                    generation: file.inode_generation,
                }),
            },
            executable: map.protection & PROT_EXEC != 0,
            shared: map.flags & MAP_SHARED != 0,
        },
        EventRecord::Lost(lost) => SideBand::Lost { time, count: lost.count },
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDENTIFIER: u64 = 7;

    /// A mapping's record as the kernel writes it: by inode, or by build id.
    fn mapping(start: u64, path: &[u8; 8], by_inode: bool) -> (u16, Vec<u8>) {
        let mut body = Vec::new();
        [50_u32, 50].iter().for_each(|n| body.extend(n.to_ne_bytes()));
        [start, 0x1000, 0x2000].iter().for_each(|n| body.extend(n.to_ne_bytes()));
        if by_inode {
            [8_u32, 1].iter().for_each(|n| body.extend(n.to_ne_bytes()));
            [99_u64, 3].iter().for_each(|n| body.extend(n.to_ne_bytes()));
        } else {
            body.extend([20, 0, 0, 0]);
            body.extend([0xab; 20]);
        }
        [5_u32, 2].iter().for_each(|n| body.extend(n.to_ne_bytes()));
        body.extend(path);
        [50_u32, 50].iter().for_each(|n| body.extend(n.to_ne_bytes()));
        [1000 + u64::from(by_inode), 0, IDENTIFIER + u64::from(by_inode)]
            .iter()
            .for_each(|n| body.extend(n.to_ne_bytes()));
        // The flag is set of both: as after an event of somebody else's.
        (HAS_BUILD_ID, body)
    }

    fn fed(records: &[(u64, &[u8; 8], bool)]) -> Vec<(u64, bool, bool)> {
        let (mut decoder, mut events) = (Decoder::default(), Vec::new());
        for (start, path, by_inode) in records {
            let (misc, body) = mapping(*start, path, *by_inode);
            let raw = RawRecord { kind: 10, misc, by_inode: *by_inode, body: &body };
            decoder.take(raw, |event| events.push(event));
        }
        events.extend(decoder.finish());
        let told = |event: &SideBand| match event {
            SideBand::Mmap { start, identity, .. } => (*start, identity.build_id.is_some(), identity.inode.is_some()),
            _ => panic!("only mappings were fed"),
        };
        events.iter().map(told).collect()
    }

    /// Both records of a mapping are one event, whichever comes first; a half that lost its other half is an event too.
    #[test]
    fn two_records_of_a_mapping_are_one_event() {
        let (a, b) = (b"/bin/a\0\0", b"/bin/b\0\0");
        assert_eq!(fed(&[(1, a, true), (1, a, false)]), [(1, true, true)]);
        assert_eq!(
            fed(&[(1, a, false), (1, a, true), (2, b, true), (2, b, false)]),
            [(1, true, true), (2, true, true)]
        );
        assert_eq!(fed(&[(1, a, true), (2, b, true), (2, b, false)]), [(1, false, true), (2, true, true)]);
        assert_eq!(fed(&[(1, a, false), (1, b, true)]), [(1, true, false), (1, false, true)]);
        assert_eq!(fed(&[(1, a, true), (1, a, true)]), [(1, false, true), (1, false, true)], "mapped twice");
    }
}
