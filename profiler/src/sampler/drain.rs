//! Ring-buffer bytes -> [`RawSample`]s. Pure: tests feed bytes, no kernel needed.
//!
//! Invariant: each record becomes one sample, or one loss with its cause. A stack id or hash means something only inside
//! its generation, so the books of two generations are kept and never mixed.

use std::collections::HashMap;
use std::sync::Arc;

use profiler_ebpf::{MAX_EVENTS, NO_KERNEL_STACK, Record, RecordHeader};

use crate::profile::{BootNanos, LossCause, Losses, RawSample, StartTicks, ThreadName, Unfinished};

/// Looks a kernel stack up: `None` when the map has no such id.
pub trait KernelStackMap {
    /// Frames of stack `id` of this generation's map, leaf first.
    fn frames(&self, generation: u32, id: u32) -> Option<Arc<[u64]>>;
}

/// What one pass over the ring buffer gave.
#[derive(Debug, Default)]
pub struct Drained {
    /// Samples in ring order (nearly, not exactly, by time), each with the generation that counted it.
    pub samples: Vec<(u32, RawSample)>,
    /// Records that became no sample, by the number of their event. What cannot be read is the clock's.
    pub losses: [Losses; MAX_EVENTS as usize],
    /// Two different stacks of one process with one 128-bit hash (expected: never). Both are kept apart.
    pub hash_conflicts: u64,
    /// Kernel stacks that were another sample's: the kernel fills and reads buckets of its stack map without a lock, so that two
    /// stacks that fall into one bucket at the same instant can share an id. Their samples keep the one frame that is certain.
    pub kernel_mixed: u64,
}

impl Drained {
    /// Records of all events that became no sample.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.losses.iter().map(Losses::total).sum()
    }
}

/// The stacks of one generation.
#[derive(Debug, Default)]
struct Generation {
    number: u32,
    user: HashMap<(u32, [u64; 2]), Arc<[u64]>>,
    kernel: HashMap<u32, Arc<[u64]>>,
}

/// What ids and hashes stand for, in the newest two generations.
#[derive(Debug)]
pub struct StackBook {
    generations: [Generation; 2],
    threads: HashMap<[u8; 16], ThreadName>,
    nothing: Arc<[u64]>,
}

/// Thread names kept; a host has hundreds, a hostile process can make up millions.
const MAX_THREAD_NAMES: usize = 16_384;

impl Default for StackBook {
    fn default() -> Self {
        Self { generations: Default::default(), threads: HashMap::new(), nothing: Arc::from([]) }
    }
}

impl StackBook {
    /// Decodes one record and adds it to `drained`.
    pub fn read(&mut self, bytes: &[u8], kernel: &impl KernelStackMap, drained: &mut Drained) {
        let Ok(record) = Record::decode(bytes) else {
            drained.losses[0].add(LossCause::Undecodable, 1);
            return;
        };
        let header = record.header;
        let lost = u64::from(header.weight);
        // Decoded numbers are below the limit.
        let event = header.event as usize;
        let unfinished =
            record.tail().map(|(registers, stack)| Box::new(Unfinished { registers, stack: stack.into() }));
        let user = if unfinished.is_some() {
            // Sent whole each time, and not what the hash will stand for.
            Some(record.user_frames().collect())
        } else {
            self.user_stack(&header, record.user_frames(), drained)
        };
        let Some(user) = user else {
            drained.losses[event].add(LossCause::StackUnknown, lost);
            return;
        };
        let Some(mut kernel) = self.kernel_stack(&header, record.kernel_frames(), kernel) else {
            drained.losses[event].add(LossCause::KernelStackGone, lost);
            return;
        };
        if header.kernel_ip != 0 && kernel.first() != Some(&header.kernel_ip) {
            drained.kernel_mixed += lost;
            kernel = Arc::from([header.kernel_ip]);
        }
        let sample = RawSample {
            time: BootNanos(header.time),
            cpu: header.cpu,
            pid: header.pid,
            tid: header.tid,
            start: StartTicks::from_boot(BootNanos(header.start)),
            thread: self.thread_name(header.comm),
            cgroup_id: header.cgroup,
            kernel,
            user,
            end: record.end,
            unfinished,
            event: header.event,
            weight: u64::from(header.weight),
        };
        drained.samples.push((header.generation, sample));
    }

    fn user_stack(
        &mut self,
        header: &RecordHeader,
        inline: impl ExactSizeIterator<Item = u64>,
        drained: &mut Drained,
    ) -> Option<Arc<[u64]>> {
        if header.hash == [0; 2] {
            return Some(Arc::clone(&self.nothing));
        }
        // The pid is part of the key: no process can name another's stacks.
        let key = (header.pid, header.hash);
        let generation = self.generation(header.generation)?;
        if inline.len() == 0 {
            return generation.user.get(&key).cloned();
        }
        let frames: Arc<[u64]> = inline.collect();
        if let Some(known) = generation.user.get(&key) {
            if *known == frames {
                return Some(Arc::clone(known));
            }
            drained.hash_conflicts += 1;
        }
        generation.user.insert(key, Arc::clone(&frames));
        Some(frames)
    }

    fn kernel_stack(
        &mut self,
        header: &RecordHeader,
        inline: impl ExactSizeIterator<Item = u64>,
        map: &impl KernelStackMap,
    ) -> Option<Arc<[u64]>> {
        if header.kernel_stack == NO_KERNEL_STACK {
            return Some(if inline.len() == 0 { Arc::clone(&self.nothing) } else { inline.collect() });
        }
        let id = header.kernel_stack as u32;
        let generation = self.generation(header.generation)?;
        if let Some(frames) = generation.kernel.get(&id) {
            return Some(Arc::clone(frames));
        }
        let frames = map.frames(header.generation, id)?;
        generation.kernel.insert(id, Arc::clone(&frames));
        Some(frames)
    }

    /// The book of a generation, begun when it is the next one; `None` for one that is closed already.
    fn generation(&mut self, number: u32) -> Option<&mut Generation> {
        let book = &mut self.generations[(number & 1) as usize];
        if book.number != number {
            // Wrapping: the counter runs over after 1,361 years of 10 s windows, tests start where they like.
            if (number.wrapping_sub(book.number) as i32) < 0 {
                return None;
            }
            *book = Generation { number, ..Generation::default() };
        }
        Some(book)
    }

    fn thread_name(&mut self, comm: [u8; 16]) -> ThreadName {
        if let Some(name) = self.threads.get(&comm) {
            return Arc::clone(name);
        }
        if self.threads.len() >= MAX_THREAD_NAMES {
            self.threads.clear();
        }
        let len = comm.iter().position(|byte| *byte == 0).unwrap_or(comm.len());
        let name: ThreadName = String::from_utf8_lossy(&comm[..len])
            .chars()
            .map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c })
            .collect::<String>()
            .into();
        self.threads.insert(comm, Arc::clone(&name));
        name
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::profile::StackEnd;

    struct Map(Vec<(u32, u32, Vec<u64>)>);

    impl KernelStackMap for Map {
        fn frames(&self, generation: u32, id: u32) -> Option<Arc<[u64]>> {
            self.0.iter().find(|(g, i, _)| (*g, *i) == (generation, id)).map(|(_, _, frames)| frames.as_slice().into())
        }
    }

    /// A record of process `pid` in `generation`, with a hash and perhaps its frames.
    fn record(pid: u32, generation: u32, hash: u64, user: &[u64], kernel_stack: i32) -> Vec<u8> {
        record_at(0, pid, generation, hash, user, kernel_stack)
    }

    /// The same, of an interrupted kernel.
    fn record_at(kernel_ip: u64, pid: u32, generation: u32, hash: u64, user: &[u64], kernel_stack: i32) -> Vec<u8> {
        let mut bytes = Vec::new();
        for word in [1_u64, 0, 0, hash, hash, kernel_ip] {
            bytes.extend(word.to_ne_bytes());
        }
        let end = StackEnd::Complete as u32;
        for word in [pid, pid, 0, generation, kernel_stack as u32, end, 1] {
            bytes.extend(word.to_ne_bytes());
        }
        bytes.extend((user.len() as u16).to_ne_bytes());
        bytes.extend(0_u16.to_ne_bytes());
        bytes.extend(b"a\x1bb\0xxxxxxxxxxxx");
        bytes.extend([0; 8]);
        user.iter().for_each(|frame| bytes.extend(frame.to_ne_bytes()));
        bytes
    }

    fn drain(records: &[Vec<u8>], map: &Map) -> Drained {
        let (mut book, mut drained) = (StackBook::default(), Drained::default());
        records.iter().for_each(|bytes| book.read(bytes, map, &mut drained));
        drained
    }

    /// Sent once, named by its hash afterwards.
    #[test]
    fn a_hash_stands_for_the_frames_sent_before_it() {
        let drained = drain(&[record(7, 1, 42, &[10, 20], -1), record(7, 1, 42, &[], -1)], &Map(vec![]));
        assert_eq!(drained.samples.len(), 2);
        assert_eq!(*drained.samples[1].1.user, [10, 20]);
        assert_eq!(&*drained.samples[0].1.thread, "a\u{fffd}b");
    }

    /// An unfinished sample brings its frames and its tail; the hash of its frames stands for nothing.
    #[test]
    fn an_unfinished_sample_keeps_its_tail_and_names_no_hash() {
        let mut bytes = record(7, 1, 42, &[10, 20], -1);
        bytes[96..100].copy_from_slice(&300_u32.to_ne_bytes());
        bytes.extend([9; 300]);
        let drained = drain(&[bytes, record(7, 1, 42, &[], -1)], &Map(vec![]));
        let sample = &drained.samples[0].1;
        let unfinished = sample.unfinished.as_ref().unwrap();
        assert_eq!(*sample.user, [10, 20]);
        assert_eq!((unfinished.registers.all, &*unfinished.stack), (u64::from_ne_bytes([9; 8]), &[9; 4][..]));
        assert_eq!((drained.samples.len(), drained.losses[0].0.get(&LossCause::StackUnknown)), (1, Some(&1)));
    }

    /// Another process with the same hash has no right to it, nor has the next generation.
    #[test]
    fn a_hash_never_names_another_processes_or_generations_stack() {
        let records = [record(7, 1, 42, &[10], -1), record(8, 1, 42, &[], -1), record(7, 2, 42, &[], -1)];
        let drained = drain(&records, &Map(vec![]));
        assert_eq!(drained.samples.len(), 1);
        assert_eq!(drained.losses[0].0.get(&LossCause::StackUnknown), Some(&2));
    }

    /// Two stacks with one hash: each sample keeps the frames it came with.
    #[test]
    fn a_hash_conflict_is_counted_and_mixes_nothing() {
        let drained = drain(&[record(7, 1, 42, &[10], -1), record(7, 1, 42, &[11], -1)], &Map(vec![]));
        assert_eq!(drained.hash_conflicts, 1);
        assert_eq!((&*drained.samples[0].1.user, &*drained.samples[1].1.user), (&[10][..], &[11][..]));
    }

    /// An id is looked up in the map of its own generation; a missing one is a counted loss.
    #[test]
    fn kernel_stack_ids_belong_to_their_generation() {
        let map = Map(vec![(1, 3, vec![100]), (2, 3, vec![200])]);
        let records =
            [record(7, 1, 0, &[], 3), record(7, 2, 0, &[], 3), record(7, 1, 0, &[], 3), record(7, 2, 0, &[], 4)];
        let drained = drain(&records, &map);
        let kernels: Vec<_> = drained.samples.iter().map(|(_, sample)| sample.kernel[0]).collect();
        assert_eq!(kernels, [100, 200, 100]);
        assert_eq!(drained.losses[0].0.get(&LossCause::KernelStackGone), Some(&1));
    }

    /// An id that leads to another sample's stack is found out by the instruction that was interrupted; that one is kept.
    #[test]
    fn a_kernel_stack_of_another_sample_is_not_believed() {
        let map = Map(vec![(1, 3, vec![100, 101])]);
        let drained = drain(&[record_at(100, 7, 1, 0, &[], 3), record_at(200, 7, 1, 0, &[], 3)], &map);
        let kernels: Vec<_> = drained.samples.iter().map(|(_, sample)| sample.kernel.to_vec()).collect();
        assert_eq!(kernels, [vec![100, 101], vec![200]]);
        assert_eq!((drained.kernel_mixed, drained.lost()), (1, 0));
    }

    /// A record from a generation closed two windows ago cannot be resolved any more, and is counted.
    #[test]
    fn a_record_of_a_closed_generation_is_counted_as_lost() {
        let records = [record(7, 1, 42, &[10], -1), record(7, 3, 42, &[10], -1), record(7, 1, 42, &[], -1)];
        let drained = drain(&records, &Map(vec![]));
        assert_eq!(drained.samples.len(), 2);
        assert_eq!(drained.lost(), 1);
    }

    /// What is lost of an event is booked to it, and a sample tells which event made it.
    #[test]
    fn events_have_losses_of_their_own() {
        let of = |event: u32, hash| {
            let mut bytes = record(7, 1, hash, &[], -1);
            bytes[100..104].copy_from_slice(&event.to_ne_bytes());
            bytes
        };
        let drained = drain(&[of(3, 42), of(2, 0)], &Map(vec![]));
        assert_eq!((drained.lost(), drained.losses[3].0.get(&LossCause::StackUnknown)), (1, Some(&1)));
        assert_eq!(drained.samples.iter().map(|(_, sample)| sample.event).collect::<Vec<_>>(), [2]);
    }

    /// A damaged record is one sample or one loss, of the weight it says; one that cannot be decoded is one loss of its own cause. Every
    /// byte of records of each shape is changed, so that most pass the decoder and meet what comes behind it.
    #[test]
    fn a_damaged_record_is_a_sample_or_a_counted_loss() {
        let mut unfinished = record(7, 1, 42, &[10, 20], -1);
        unfinished[96..100].copy_from_slice(&300_u32.to_ne_bytes());
        unfinished.extend([9; 300]);
        let shapes = [
            record(7, 1, 0, &[], -1),
            record(7, 1, 42, &[10, 20, 30], -1),
            record(7, 1, 43, &[], 3),
            record_at(100, 7, 1, 42, &[10], 3),
            unfinished,
        ];
        let map = Map(vec![(1, 3, vec![100, 101])]);
        let (mut decoded, mut lost, mut all) = (0, 0, 0);
        for shape in &shapes {
            let flips = (0..shape.len()).flat_map(|at| [1, 0x80, 0xff].map(|mask| (at, mask)));
            let damaged = flips.map(|(at, mask)| {
                let mut bytes = shape.clone();
                bytes[at] ^= mask;
                bytes
            });
            for bytes in damaged.chain((0..shape.len()).map(|len| shape[..len].to_vec())) {
                let drained = drain(&[record(7, 1, 43, &[1, 2], -1), bytes.clone()], &map);
                let samples = &drained.samples[1..];
                let weight = match Record::decode(&bytes) {
                    Ok(record) => u64::from(record.header.weight),
                    Err(_) => 1,
                };
                let told: u64 = samples.iter().map(|(_, sample)| sample.weight).sum();
                assert_eq!(told + drained.lost(), weight, "{bytes:?}");
                assert!(samples.len() <= 1);
                let undecodable = drained.losses[0].0.contains_key(&LossCause::Undecodable);
                assert_eq!(undecodable, Record::decode(&bytes).is_err());
                decoded += usize::from(!undecodable);
                lost += usize::from(samples.is_empty() && !undecodable);
                all += 1;
            }
        }
        assert!(decoded * 2 > all && lost > 20, "{decoded} of {all} pass the decoder, {lost} of them are lost later");
    }
}
