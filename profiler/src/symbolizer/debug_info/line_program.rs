//! Runs a line program (DWARF 5, section 6.2.5) for what we want of it: addresses, files and lines. gimli decodes its header; its machine fills
//! each row with all registers, by way of an instruction of its own type, and takes three times as long, which was a sixth of all that naming
//! took. Rows are those that it gives: a test holds one against the other.

use gimli::{DwLne, DwLns, LineProgramHeader, Reader as _, RunTimeEndian};

use super::Reader;

/// From this address to the next one on code is `line` of `file`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LineRow {
    pub address: u64,
    /// Its number.
    pub file: u64,
    /// 0: none.
    pub line: u64,
    /// There is no code from here on: the next row begins another sequence.
    pub end: bool,
}

/// The rows of a program, until its end or until it is damaged.
pub(super) struct LineRows<'a> {
    bytes: &'a [u8],
    big_endian: bool,
    address_size: u8,
    /// Addresses from here on are none: the linker has left the code out.
    left_out_from: u64,
    step: u64,
    /// More than one operation may stand in an instruction: how many, and which one is next.
    operations: (u64, u64),
    line_base: i64,
    line_range: u8,
    opcode_base: u8,
    lengths: &'a [u8],
    row: LineRow,
    left_out: bool,
}

impl<'a> LineRows<'a> {
    /// Runs nothing yet.
    pub fn new(header: &LineProgramHeader<Reader<'a>>) -> Self {
        let program = header.raw_program_buf();
        let address_size = header.address_size();
        let most = u64::MAX.checked_shr(64_u32.saturating_sub(u32::from(address_size) * 8)).unwrap_or(0);
        Self {
            bytes: program.slice(),
            big_endian: program.endian() == RunTimeEndian::Big,
            address_size,
            left_out_from: most.saturating_sub(1),
            step: header.minimum_instruction_length().into(),
            operations: (header.maximum_operations_per_instruction().max(1).into(), 0),
            line_base: header.line_base().into(),
            line_range: header.line_range().max(1),
            opcode_base: header.opcode_base(),
            lengths: header.standard_opcode_lengths().slice(),
            row: BEGIN,
            left_out: false,
        }
    }

    fn u8(&mut self) -> Option<u8> {
        let (first, rest) = self.bytes.split_first()?;
        self.bytes = rest;
        Some(*first)
    }

    fn number(&mut self) -> Option<u64> {
        let first = self.u8()?;
        if first < 0x80 {
            return Some(first.into());
        }
        let (mut value, mut shift) = (u64::from(first & 0x7f), 7);
        loop {
            let byte = self.u8()?;
            // Bits that do not fit are damage.
            if shift == 63 && byte > 1 {
                return None;
            }
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(value);
            }
            shift += 7;
        }
    }

    fn signed(&mut self) -> Option<i64> {
        let (mut value, mut shift) = (0_i64, 0);
        loop {
            let byte = self.u8()?;
            if shift == 63 && byte != 0 && byte != 0x7f {
                return None;
            }
            value |= i64::from(byte & 0x7f) << shift;
            shift += 7;
            if byte < 0x80 {
                let is_negative = shift < 64 && byte & 0x40 != 0;
                return Some(if is_negative { value | (-1 << shift) } else { value });
            }
        }
    }

    fn address(&mut self, len: usize) -> Option<u64> {
        let (bytes, rest) = self.bytes.split_at_checked(len)?;
        self.bytes = rest;
        let add = |sum: u64, byte: &u8| sum << 8 | u64::from(*byte);
        Some(if self.big_endian { bytes.iter().fold(0, add) } else { bytes.iter().rev().fold(0, add) })
    }

    fn advance_line(&mut self, by: i64) {
        let line = self.row.line;
        self.row.line =
            if by < 0 { line.saturating_sub(by.unsigned_abs()) } else { line.wrapping_add(by.unsigned_abs()) };
    }

    fn advance(&mut self, operations: u64) -> Option<()> {
        let (most, at) = self.operations;
        let by = if most == 1 {
            operations
        } else {
            let at = at.wrapping_add(operations);
            if !self.left_out {
                self.operations.1 = at % most;
            }
            at / most
        };
        self.move_by(self.step.wrapping_mul(by))
    }

    #[inline]
    fn move_by(&mut self, bytes: u64) -> Option<()> {
        if self.left_out {
            return Some(());
        }
        self.row.address = self.row.address.checked_add(bytes).filter(|at| *at <= self.left_out_from + 1)?;
        Some(())
    }

    /// The row that is made, unless it is of code that was left out.
    fn made(&mut self) -> Option<LineRow> {
        let row = (!self.left_out).then_some(self.row);
        if self.row.end {
            (self.row, self.left_out, self.operations.1) = (BEGIN, false, 0);
        }
        row
    }

    fn standard(&mut self, opcode: u8) -> Option<Option<LineRow>> {
        match DwLns(opcode) {
            gimli::DW_LNS_copy => return Some(self.made()),
            gimli::DW_LNS_advance_pc => {
                let by = self.number()?;
                self.advance(by)?;
            }
            gimli::DW_LNS_advance_line => {
                let by = self.signed()?;
                self.advance_line(by);
            }
            gimli::DW_LNS_set_file => self.row.file = self.number()?,
            gimli::DW_LNS_set_column | gimli::DW_LNS_set_isa => {
                self.number()?;
            }
            gimli::DW_LNS_negate_stmt
            | gimli::DW_LNS_set_basic_block
            | gimli::DW_LNS_set_prologue_end
            | gimli::DW_LNS_set_epilogue_begin => {}
            gimli::DW_LNS_const_add_pc => {
                self.advance(((255 - self.opcode_base) / self.line_range).into())?;
            }
            gimli::DW_LNS_fixed_advance_pc => {
                let by = self.address(2)?;
                if !self.left_out {
                    self.operations.1 = 0;
                }
                self.move_by(by)?;
            }
            _ => {
                for _ in 0..*self.lengths.get(usize::from(opcode) - 1)? {
                    self.number()?;
                }
            }
        }
        Some(None)
    }

    fn extended(&mut self) -> Option<Option<LineRow>> {
        let len = usize::try_from(self.number()?).ok()?;
        let after = self.bytes.get(len..)?;
        if len == 0 {
            return None;
        }
        let mut made = None;
        match DwLne(self.u8()?) {
            gimli::DW_LNE_end_sequence => {
                self.row.end = true;
                made = self.made();
            }
            gimli::DW_LNE_set_address => {
                if len <= usize::from(self.address_size) {
                    return None;
                }
                let address = self.address(self.address_size.into())?;
                // Linkers put the lines of what they left out at the end of all addresses or, in the middle of a sequence, at its beginning.
                self.left_out = address < self.row.address || address >= self.left_out_from;
                if !self.left_out {
                    (self.row.address, self.operations.1) = (address, 0);
                }
            }
            _ => {}
        }
        self.bytes = after;
        Some(made)
    }
}

/// Where each sequence begins.
const BEGIN: LineRow = LineRow { address: 0, file: 1, line: 1, end: false };

impl Iterator for LineRows<'_> {
    type Item = LineRow;

    fn next(&mut self) -> Option<LineRow> {
        loop {
            let opcode = self.u8()?;
            let made = if opcode >= self.opcode_base && opcode != 0 {
                let opcode = opcode - self.opcode_base;
                self.advance_line(self.line_base + i64::from(opcode % self.line_range));
                self.advance((opcode / self.line_range).into())?;
                self.made()
            } else if opcode == 0 {
                self.extended()?
            } else {
                self.standard(opcode)?
            };
            if made.is_some() {
                return made;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use gimli::{DebugLine, DebugLineOffset};
    use proptest::prelude::*;

    use super::*;

    /// A program of version 4 without files, whose machine has these parameters.
    fn program(step: u8, operations: u8, base: i8, range: u8, opcodes: &[u8]) -> Vec<u8> {
        let lengths = [0, 1, 1, 1, 1, 0, 0, 0, 1, 0, 0, 1, 2];
        let header =
            [&[step, operations, 1, base.cast_unsigned(), range, lengths.len() as u8 + 1], &lengths[..], &[0, 0]];
        let header = header.concat();
        let body = [&4_u16.to_le_bytes(), &(header.len() as u32).to_le_bytes()[..], &header, opcodes].concat();
        [&(body.len() as u32).to_le_bytes(), &body[..]].concat()
    }

    fn opcode() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            4 => any::<u8>().prop_map(|byte| vec![byte]),
            4 => (14..=255_u8).prop_map(|special| vec![special]),
            1 => any::<u32>().prop_map(|at| [&[0, 9, 2], &u64::from(at).to_le_bytes()[..]].concat()),
            1 => (0..4_u64).prop_map(|from_end| [&[0, 9, 2], &(!from_end).to_le_bytes()[..]].concat()),
            1 => Just(vec![0, 1, 1]),
            1 => any::<[u8; 2]>().prop_map(|[a, b]| vec![3, a | 0x80, b & 0x7f]),
            1 => any::<[u8; 2]>().prop_map(|[a, b]| vec![2, a | 0x80, b & 0x7f]),
            1 => (0..9_u8).prop_map(|file| vec![4, file]),
        ]
    }

    proptest! {
        /// Whatever a program does, its rows are those that gimli gives, as far as gimli gets.
        #[test]
        fn rows_are_those_of_gimli(
            opcodes in proptest::collection::vec(opcode(), 0..60),
            (step, operations, base, range) in (1..5_u8, 1..4_u8, any::<i8>(), 1..20_u8),
        ) {
            let bytes = program(step, operations, base, range, &opcodes.concat());
            let section = DebugLine::new(&bytes, RunTimeEndian::Little);
            let program = section.program(DebugLineOffset(0), 8, None, None).unwrap();
            let ours: Vec<LineRow> = LineRows::new(program.header()).collect();
            let (mut rows, mut theirs) = (program.rows(), Vec::new());
            let whole = loop {
                match rows.next_row() {
                    Ok(Some((_, row))) => theirs.push(LineRow {
                        address: row.address(),
                        file: row.file_index(),
                        line: row.line().map_or(0, std::num::NonZeroU64::get),
                        end: row.end_sequence(),
                    }),
                    Ok(None) => break true,
                    Err(_) => break false,
                }
            };
            prop_assert!(ours.starts_with(&theirs), "{:?} {:?}", ours, theirs);
            prop_assert!(!whole || ours.len() == theirs.len());
        }
    }
}
