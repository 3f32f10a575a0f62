//! Numbers for rules: equal rules of all files share one, so that a row needs two bytes for it.
//!
//! Counts how many images use each, and gives out a number again only after its last user is gone (and the caller has waited
//! until no walk can hold it).

use std::collections::HashMap;

use profiler_ebpf::tables::{MAX_RULES, RULE_UNSUPPORTED, Rule};

use super::host::fixed_rules;

/// Rules by number, and back.
#[derive(Debug, Default)]
pub struct Rules {
    numbers: HashMap<Rule, u16>,
    /// Users of each number.
    users: Vec<u32>,
    rules: Vec<Rule>,
    free: Vec<u16>,
    /// Rules that found no number.
    refused: u64,
}

impl Rules {
    /// The table with its fixed rules, each handed to `write`.
    pub fn new(mut write: impl FnMut(u16, Rule)) -> Self {
        let mut rules = Self::default();
        for rule in fixed_rules() {
            rules.number(rule, &mut write);
        }
        rules
    }

    /// The number of a rule, with one more user. A new rule is handed to `write`. When there are no more numbers it is
    /// [`RULE_UNSUPPORTED`], and counted.
    pub fn number(&mut self, rule: Rule, mut write: impl FnMut(u16, Rule)) -> u16 {
        if let Some(&number) = self.numbers.get(&rule) {
            self.users[usize::from(number)] += 1;
            return number;
        }
        let number = match self.free.pop() {
            Some(number) => number,
            None if self.rules.len() < MAX_RULES as usize => {
                self.rules.push(rule);
                self.users.push(0);
                (self.rules.len() - 1) as u16
            }
            None => {
                self.refused += 1;
                self.users[usize::from(RULE_UNSUPPORTED)] += 1;
                return RULE_UNSUPPORTED;
            }
        };
        self.rules[usize::from(number)] = rule;
        self.users[usize::from(number)] = 1;
        self.numbers.insert(rule, number);
        write(number, rule);
        number
    }

    /// Takes back numbers, one user each.
    pub fn release(&mut self, numbers: &[u16]) {
        for &number in numbers {
            let Some(users) = self.users.get_mut(usize::from(number)).filter(|users| **users > 0) else { continue };
            *users -= 1;
            if *users == 0 {
                self.numbers.remove(&self.rules[usize::from(number)]);
                self.free.push(number);
            }
        }
    }

    /// Rules with a number now.
    #[must_use]
    pub fn len(&self) -> usize {
        self.numbers.len()
    }

    /// Rules that found no number since the start.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused
    }
}

#[cfg(test)]
mod tests {
    use profiler_ebpf::tables::Cfa;

    use super::*;

    fn rule(offset: i32) -> Rule {
        Rule { cfa: Cfa::Register as u8, cfa_register: 7, cfa_offset: offset, ..Rule::default() }
    }

    /// Two files with the same rule share its number, and it is free when both are gone.
    #[test]
    fn equal_rules_share_a_number_until_their_last_user_is_gone() {
        let mut written = Vec::new();
        let mut rules = Rules::new(|_, _| {});
        let mut number = |rules: &mut Rules, rule| rules.number(rule, |number, rule| written.push((number, rule)));
        let (one, two, other) =
            (number(&mut rules, rule(8)), number(&mut rules, rule(8)), number(&mut rules, rule(16)));
        assert_eq!(one, two);
        assert_ne!(one, other);
        rules.release(&[one]);
        assert_eq!(number(&mut rules, rule(8)), one);
        rules.release(&[one, two]);
        assert_eq!(number(&mut rules, rule(24)), one, "given out again");
        assert_eq!(rules.rules[usize::from(one)], rule(24));
        assert_eq!(written, [(one, rule(8)), (other, rule(16)), (one, rule(24))]);
    }

    /// A file with rules without end takes no other file's numbers away.
    #[test]
    fn when_numbers_run_out_rules_are_unsupported() {
        let mut rules = Rules::new(|_, _| {});
        for offset in 0..MAX_RULES as i32 {
            rules.number(rule(offset), |_, _| {});
        }
        assert_eq!(rules.len(), MAX_RULES as usize);
        assert_eq!(rules.refused(), 3);
        assert_eq!(rules.number(rule(-8), |_, _| {}), RULE_UNSUPPORTED);
        rules.release(&[RULE_UNSUPPORTED; 2]);
        assert_eq!(rules.rules[usize::from(RULE_UNSUPPORTED)].cfa, Cfa::Unsupported as u8);
    }
}
