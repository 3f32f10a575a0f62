//! Rows on their way from a file to its image: packed, sorted, merged.
//!
//! A row says which rule is in force from its file offset on, until the next row. It is one word, `offset << 16 | rule`, so
//! that sorting words sorts rows, and of two rows at one offset "nothing" (rule 0, the end of a function) comes first.

use std::collections::HashMap;

use profiler_ebpf::tables::{Cfa, RULE_END, RULE_NONE, RULE_UNSUPPORTED, Rule};

use super::CompileError;

/// Most rows of a file: Chromium, the largest seen, has 2.5 million.
pub(super) const MAX_ROWS: usize = 6_000_000;
/// Most rules of one file: 1,100 in rustc's driver.
pub(super) const MAX_FILE_RULES: usize = 16_384;
/// Rules 0, 1 and 2 are the same everywhere.
pub(super) const FIXED_RULES: u16 = 3;
/// Compilers begin functions at multiples of this.
const PADDING: u64 = 16;
/// First offset that no row can have.
pub(super) const OFFSET_LIMIT: u64 = 1 << 48;

/// The rule of a fixed number.
pub(super) fn fixed_rule(number: u16) -> Option<Rule> {
    let cfa = match number {
        RULE_NONE => Cfa::None,
        RULE_UNSUPPORTED => Cfa::Unsupported,
        RULE_END => Cfa::End,
        _ => return None,
    };
    Some(Rule { cfa: cfa as u8, ..Rule::default() })
}

/// Packs a row, whose offset is below [`OFFSET_LIMIT`].
pub(super) fn row_of(offset: u64, rule: u16) -> u64 {
    offset << 16 | u64::from(rule)
}

/// Offset at which a packed row begins.
pub(super) fn offset_of(row: u64) -> u64 {
    row >> 16
}

/// Number of the rule of a packed row.
pub(super) fn rule_of(row: u64) -> u16 {
    row as u16
}

/// Each rule of a file once.
pub(super) struct RuleTable {
    rules: Vec<Rule>,
    numbers: HashMap<Rule, u16>,
    /// The numbers found last, by a few bits of the rule: neighbours repeat.
    recent: Vec<(Rule, u16)>,
}

impl RuleTable {
    const RECENT: usize = 1024;

    pub(super) fn new() -> Self {
        Self { rules: Vec::new(), numbers: HashMap::new(), recent: vec![(Rule::default(), RULE_NONE); Self::RECENT] }
    }

    /// The number of a rule; nothing when there are too many.
    pub(super) fn number(&mut self, rule: Rule) -> Option<u16> {
        let slot = Self::slot(&rule);
        let (recent, number) = self.recent[slot];
        if recent == rule {
            return Some(number);
        }
        let number = self.look_up(rule)?;
        self.recent[slot] = (rule, number);
        Some(number)
    }

    fn look_up(&mut self, rule: Rule) -> Option<u16> {
        if let Some(number) = (0..FIXED_RULES).find(|number| fixed_rule(*number) == Some(rule)) {
            return Some(number);
        }
        if let Some(number) = self.numbers.get(&rule) {
            return Some(*number);
        }
        if self.rules.len() >= MAX_FILE_RULES {
            return None;
        }
        let number = self.rules.len() as u16 + FIXED_RULES;
        self.rules.push(rule);
        self.numbers.insert(rule, number);
        Some(number)
    }

    /// Where a rule is remembered; equal in few others of one file: they differ in offsets and registers.
    fn slot(rule: &Rule) -> usize {
        let word = (rule.cfa_offset as u32 as u64) << 20
            ^ (rule.fp_offset as u16 as u64) << 8
            ^ u64::from(rule.cfa_register) << 48
            ^ u64::from(rule.fp) << 56
            ^ u64::from(rule.cfa);
        (word.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 54) as usize % Self::RECENT
    }

    /// Rules from number [`FIXED_RULES`] on.
    pub(super) fn into_rules(self) -> Vec<Rule> {
        self.rules
    }
}

/// Rows in the order in which they are found.
#[derive(Default)]
pub(super) struct Rows {
    packed: Vec<u64>,
    sorted: bool,
}

impl Rows {
    pub(super) fn new() -> Self {
        Self { packed: Vec::new(), sorted: true }
    }

    /// Adds a row. What lies beyond the offsets that a row can have is dropped.
    pub(super) fn push(&mut self, offset: u64, rule: u16) -> Result<(), CompileError> {
        if offset >= OFFSET_LIMIT {
            return Ok(());
        }
        let row = row_of(offset, rule);
        if let Some(last) = self.packed.last_mut() {
            // The end of a function gives way to the next that begins there.
            if *last >> 16 == offset && rule_of(*last) == RULE_NONE {
                *last = row;
                return Ok(());
            }
            self.sorted &= *last <= row;
        }
        if self.packed.len() >= MAX_ROWS {
            return Err(CompileError::TooLarge("the number of unwind rows"));
        }
        self.packed.push(row);
        Ok(())
    }

    /// Sorted by offset, one row for each offset, each with another rule than the one before. The padding between two functions, up
    /// to the next multiple of 16, is said to be the first one's: it never runs, and without it a fifth of the rows goes away.
    pub(super) fn finish(mut self) -> Vec<u64> {
        if !self.sorted {
            self.packed.sort_unstable();
        }
        let mut kept = 0;
        for at in 0..self.packed.len() {
            let row = self.packed[at];
            let next = self.packed.get(at + 1).map_or(u64::MAX, |next| offset_of(*next));
            let ends = rule_of(row) == RULE_NONE;
            if next == offset_of(row) || ends && next <= offset_of(row).next_multiple_of(PADDING) {
                continue;
            }
            let before = if kept > 0 { rule_of(self.packed[kept - 1]) } else { RULE_NONE };
            if rule_of(row) != before {
                self.packed[kept] = row;
                kept += 1;
            }
        }
        self.packed.truncate(kept);
        self.packed
    }
}

/// `first`, and `second` where the first has nothing. Both are finished rows.
pub(super) fn fill_holes(first: Vec<u64>, second: Vec<u64>) -> Result<Vec<u64>, CompileError> {
    if second.is_empty() {
        return Ok(first);
    }
    let mut merged = Rows::new();
    let (mut a, mut b) = (first.iter().peekable(), second.iter().peekable());
    let (mut rule_a, mut rule_b) = (RULE_NONE, RULE_NONE);
    let mut last = RULE_NONE;
    while let Some(offset) = a.peek().into_iter().chain(b.peek()).map(|row| offset_of(**row)).min() {
        if let Some(row) = a.next_if(|row| offset_of(**row) == offset) {
            rule_a = rule_of(*row);
        }
        if let Some(row) = b.next_if(|row| offset_of(**row) == offset) {
            rule_b = rule_of(*row);
        }
        let rule = if rule_a == RULE_NONE { rule_b } else { rule_a };
        if rule != last {
            merged.push(offset, rule)?;
            last = rule;
        }
    }
    Ok(merged.finish())
}
