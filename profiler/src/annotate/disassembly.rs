//! A function's instructions with their samples.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use super::Annotator;
use super::code::{Found, Place};
use super::decode::{self, Decoded, Hide};
use crate::profile::{Binary, BinaryKind, SourceLine, Symbolized};
use crate::query::{Code, Weight};
use crate::symbolizer::{CodeBytes, Piece};

/// Most instructions of an answer. Of larger functions, those near samples are given.
const MAX_INSTRUCTIONS: usize = 5_000;
/// So many instructions around one with samples are given in any case.
const NEAR: usize = 20;
/// Most places asked for in one question about names, and most calls whose target is named.
const QUESTION: usize = 1024;
const MAX_TARGETS: usize = 512;

/// One instruction, with its samples.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instruction {
    /// The address that the linker gave it; the place in the file when the file cannot be read. In the kernel, how far it is from the
    /// beginning of the function, or from its first place that was sampled when its code cannot be read.
    pub address: u64,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Of these, those of an address of the kernel, which is not to be shown.
    pub hidden: Range<usize>,
    /// As an assembler writes it; empty when the file cannot be read.
    pub text: String,
    /// Where it comes from: of functions inlined into one another, the innermost.
    pub source: Option<SourceLine>,
    /// Samples taken there.
    pub self_: u64,
    /// Samples taken there or in what it calls.
    pub total: u64,
}

/// A function's instructions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Disassembly {
    /// Why instructions, or some of them, have no text.
    pub reason: Option<String>,
    /// By rising address, several parts of a function one after the other.
    pub instructions: Vec<Instruction>,
    /// Instructions left out, none of them with samples.
    pub hidden: usize,
}

impl Annotator {
    /// The instructions of a function that was sampled.
    pub fn disassemble(&mut self, code: &Code, function: &str, deadline: Instant) -> Disassembly {
        let read = self.read(code, function, deadline);
        // It may have grown with a large file.
        self.worker.let_go();
        read.unwrap_or_else(|reason| Disassembly {
            reason: Some(reason),
            instructions: code.places.iter().map(|place| bare(place, place.at.wrapping_sub(zero(code)))).collect(),
            hidden: 0,
        })
    }

    fn read(&mut self, code: &Code, function: &str, deadline: Instant) -> Result<Disassembly, String> {
        let Found { code: CodeBytes { machine, mut pieces }, place } = self.find_code(code, function, deadline)?;
        pieces.sort_by_key(|piece| piece.address);
        let hide = if matches!(place, Place::Kernel) { Hide::Addresses } else { Hide::Nothing };
        if hide == Hide::Addresses {
            let zero = pieces.first().map_or(0, |piece| piece.address);
            pieces.iter_mut().for_each(|piece| piece.address -= zero);
        }
        let Some(first) = pieces.first() else {
            return Err("neither a symbol nor an unwind table tells where the function begins".to_owned());
        };
        let address_of = |offset: u64| first.address.wrapping_add(offset.wrapping_sub(first.offset));
        let mut rows = Vec::new();
        for piece in &pieces {
            let decoded = decode::decode(machine, piece.address, &piece.bytes, hide);
            let decoded =
                decoded.ok_or_else(|| format!("code for this processor (ELF machine {machine}) is not read"))?;
            rows.extend(weighed(piece, decoded, &code.places));
        }
        let covered = |place: &&Weight| pieces.iter().any(|piece| offset_in(piece, place.at).is_some());
        let (inside, outside): (Vec<&Weight>, Vec<&Weight>) = code.places.iter().partition(covered);
        drop(inside);
        let reason = (!outside.is_empty()).then(|| "some parts of the function are not known, or too large".to_owned());
        let hidden = keep_near(&mut rows);
        self.name(&place, &code.binary, &mut rows, &pieces, deadline);
        let mut instructions: Vec<Instruction> = rows.into_iter().map(|row| row.instruction).collect();
        instructions.extend(outside.into_iter().map(|place| bare(place, address_of(place.at))));
        instructions.sort_by_key(|instruction| instruction.address);
        Ok(Disassembly { reason, instructions, hidden })
    }

    /// Lines of instructions, and names of what they call, as far as there is time.
    fn name(&mut self, place: &Place, binary: &Binary, rows: &mut [Row], pieces: &[Piece], deadline: Instant) {
        let outside = |target: &u64| {
            !pieces.iter().any(|piece| (piece.address..piece.address + piece.bytes.len() as u64).contains(target))
        };
        let mut targets: Vec<u64> = rows.iter().filter_map(|row| row.target).filter(outside).collect();
        targets.sort_unstable();
        targets.dedup();
        targets.truncate(MAX_TARGETS);
        // What is called lies mostly in the same segment; what does not has no name, or none that fits.
        let Some(first) = pieces.first() else { return };
        let offset_of = |address: u64| first.offset.wrapping_add(address.wrapping_sub(first.address));
        let asked: Vec<u64> =
            rows.iter().map(|row| row.offset).chain(targets.iter().map(|target| offset_of(*target))).collect();
        let mut answers = Vec::with_capacity(asked.len());
        for question in asked.chunks(QUESTION) {
            let Some(found) = self.names_of(place, binary, question, deadline) else { break };
            answers.extend(found);
        }
        let mut answers = answers.into_iter();
        for (row, answer) in rows.iter_mut().zip(&mut answers) {
            if let Symbolized::Named(symbols) = answer {
                row.instruction.source = symbols.into_iter().next().and_then(|symbol| symbol.source);
            }
        }
        let names: HashMap<u64, Arc<str>> = targets
            .into_iter()
            .zip(answers)
            .filter_map(|(target, answer)| match answer {
                Symbolized::Named(mut symbols) => Some((target, symbols.pop()?.name)),
                Symbolized::Unknown(_) | Symbolized::Nameless(..) => None,
            })
            .collect();
        for row in rows {
            let Some(target) = row.target else { continue };
            let (name, text) = (names.get(&target), &mut row.instruction.text);
            // Far from the function a distance is no address that anybody knows.
            if matches!(place, Place::Kernel) && outside(&target) {
                let number = text.find(" 0x").unwrap_or(text.len());
                text.truncate(number);
                text.push_str(if name.is_none() { " <elsewhere>" } else { "" });
            }
            if let Some(name) = name {
                text.push_str(&format!(" <{name}>"));
            }
        }
    }
}

/// An instruction and what else is known of it.
struct Row {
    instruction: Instruction,
    offset: u64,
    target: Option<u64>,
}

/// What places are told from: in the kernel the first one, for its addresses are nobody's business.
fn zero(code: &Code) -> u64 {
    let first = code.places.first().map_or(0, |place| place.at);
    if code.binary.kind == BinaryKind::Kernel { first } else { 0 }
}

/// Samples at a place whose instruction is not known.
fn bare(place: &Weight, address: u64) -> Instruction {
    let Weight { self_, total, .. } = *place;
    Instruction { address, bytes: Vec::new(), hidden: 0..0, text: String::new(), source: None, self_, total }
}

fn offset_in(piece: &Piece, offset: u64) -> Option<usize> {
    let at = usize::try_from(offset.checked_sub(piece.offset)?).ok()?;
    (at < piece.bytes.len()).then_some(at)
}

/// Gives each instruction the samples of its bytes: a caller's place is the last byte of its call.
fn weighed(piece: &Piece, decoded: Vec<Decoded>, places: &[Weight]) -> Vec<Row> {
    let mut places = places.iter().filter(|place| offset_in(piece, place.at).is_some()).peekable();
    let row = |one: Decoded| {
        let at = usize::try_from(one.address - piece.address).unwrap_or(usize::MAX);
        let bytes = piece.bytes.get(at..at.saturating_add(one.len)).unwrap_or_default().to_vec();
        let offset = piece.offset + at as u64;
        let (mut self_, mut total) = (0_u64, 0_u64);
        let target = one.target;
        while let Some(place) = places.next_if(|place| place.at < offset + one.len as u64) {
            self_ = self_.saturating_add(place.self_);
            total = total.saturating_add(place.total);
        }
        let Decoded { address, text, hidden, .. } = one;
        let instruction = Instruction { address, bytes, hidden, text, source: None, self_, total };
        Row { instruction, offset, target }
    };
    decoded.into_iter().map(row).collect()
}

/// Leaves out instructions far from samples when there are too many; says how many.
fn keep_near(rows: &mut Vec<Row>) -> usize {
    let all = rows.len();
    if all <= MAX_INSTRUCTIONS {
        return 0;
    }
    let has_samples: Vec<bool> = rows.iter().map(|row| row.instruction.total > 0).collect();
    let mut at = 0_usize;
    rows.retain(|_| {
        let near = has_samples[at.saturating_sub(NEAR)..(at + NEAR + 1).min(all)].iter().any(|has| *has);
        at += 1;
        near
    });
    all - rows.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(len: usize) -> Piece {
        Piece { offset: 0x100, address: 0x1100, bytes: vec![0x90; len] }
    }

    fn weights(len: usize, places: &[(u64, u64, u64)]) -> Vec<Row> {
        let places: Vec<Weight> =
            places.iter().map(|(at, self_, total)| Weight { at: *at, self_: *self_, total: *total }).collect();
        let decoded = (0..len as u64 / 4).map(|n| Decoded {
            address: 0x1100 + 4 * n,
            len: 4,
            text: "nop".into(),
            target: None,
            hidden: 0..0,
        });
        weighed(&piece(len), decoded.collect(), &places)
    }

    /// A sample in the middle of an instruction (a caller's, before its return address) is that instruction's; what lies elsewhere is
    /// nobody's here.
    #[test]
    fn samples_go_to_the_instruction_that_covers_them() {
        let rows =
            weights(12, &[(0x0f, 9, 9), (0x100, 1, 1), (0x107, 0, 5), (0x108, 2, 2), (0x10b, 3, 4), (0x10c, 9, 9)]);
        let found: Vec<_> = rows.iter().map(|row| (row.instruction.self_, row.instruction.total)).collect();
        assert_eq!(found, [(1, 1), (0, 5), (5, 6)]);
    }

    /// Of a function of a hundred thousand instructions the ones near samples are given, and the others counted.
    #[test]
    fn a_huge_function_is_cut_around_its_samples() {
        let mut rows = weights(400_000, &[(0x100, 1, 1), (0x100 + 4 * 50_000, 2, 2)]);
        let hidden = keep_near(&mut rows);
        assert_eq!((rows.len(), hidden), (21 + 41, 100_000 - 62));
        assert_eq!(rows.iter().map(|row| row.instruction.total).sum::<u64>(), 3);
    }
}
