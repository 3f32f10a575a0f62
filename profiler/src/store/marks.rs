//! A set of row numbers, a bit each. Pure.

/// A set of small numbers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Marks {
    words: Vec<u64>,
}

impl Marks {
    /// Puts a number in; whether it was not in it yet.
    #[inline]
    pub(crate) fn set(&mut self, at: u32) -> bool {
        let (word, bit) = ((at / 64) as usize, 1_u64 << (at % 64));
        if word >= self.words.len() {
            self.words.resize(word + 1, 0);
        }
        let new = self.words[word] & bit == 0;
        self.words[word] |= bit;
        new
    }

    /// Whether a number is in it.
    pub(crate) fn has(&self, at: u32) -> bool {
        self.words.get((at / 64) as usize).is_some_and(|word| word & (1 << (at % 64)) != 0)
    }

    /// Takes everything out, the smallest first.
    pub(crate) fn drain(&mut self, mut each: impl FnMut(u32)) {
        for (at, word) in self.words.iter_mut().enumerate() {
            let mut left = std::mem::take(word);
            while left != 0 {
                each(at as u32 * 64 + left.trailing_zeros());
                left &= left - 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// It is a set, emptied from its smallest number on.
        #[test]
        fn marks_are_a_set(numbers in proptest::collection::vec(0..1000_u32, 0..60)) {
            let (mut marks, mut model) = (Marks::default(), BTreeSet::new());
            for at in numbers {
                prop_assert_eq!(marks.set(at), model.insert(at));
            }
            prop_assert!((0..1100).all(|at| marks.has(at) == model.contains(&at)));
            let mut found = Vec::new();
            marks.drain(|at| found.push(at));
            prop_assert!(found.iter().eq(&model));
            prop_assert!((0..1100).all(|at| !marks.has(at)));
        }
    }
}
