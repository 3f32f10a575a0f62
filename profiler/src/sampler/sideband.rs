//! Side-band records -> [`SideBand`] events.

use linux_perf_event_reader::{
    BranchSampleFormat, Endianness, EventRecord, Mmap2FileId, RawData, RawEventRecord, ReadFormat, RecordIdParseInfo,
    RecordParseInfo, RecordType, SampleFormat,
};

use crate::profile::{BootNanos, BuildId, MappedFile, SideBand};
use crate::sys::perf::RawRecord;

/// `PROT_EXEC`, as `mmap2` records carry it.
const PROT_EXEC: u32 = 4;

/// What [`crate::sys::perf::SideBandRing`] asks the kernel for: each record ends in pid and tid, time, cpu (8 bytes each).
const LAYOUT: RecordParseInfo = RecordParseInfo {
    endian: Endianness::NATIVE,
    sample_format: SampleFormat::TID.union(SampleFormat::TIME).union(SampleFormat::CPU),
    branch_sample_format: BranchSampleFormat::empty(),
    read_format: ReadFormat::empty(),
    common_data_offset_from_end: Some(24),
    sample_regs_user: 0,
    user_regs_count: 0,
    sample_regs_intr: 0,
    intr_regs_count: 0,
    id_parse_info: RecordIdParseInfo {
        nonsample_record_id_offset_from_end: None,
        sample_record_id_offset_from_start: None,
    },
    nonsample_record_time_offset_from_end: Some(16),
    sample_record_time_offset_from_start: None,
};

/// The event in a record; `None` for records we do not ask about.
pub fn decode(raw: RawRecord<'_>) -> Option<SideBand> {
    let record = RawEventRecord::new(RecordType(raw.kind), raw.misc, RawData::Single(raw.body), LAYOUT);
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
                Mmap2FileId::BuildId(id) => MappedFile::BuildId(BuildId::new(&id)?),
                Mmap2FileId::InodeAndVersion(file) => MappedFile::Inode {
                    major: file.major,
                    minor: file.minor,
                    inode: file.inode,
                    generation: file.inode_generation,
                },
            },
            executable: map.protection & PROT_EXEC != 0,
        },
        EventRecord::Lost(lost) => SideBand::Lost { time, count: lost.count },
        _ => return None,
    })
}
