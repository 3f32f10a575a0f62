//! Chance that is the same every time.

/// SplitMix64 (Steele, Lea, Flood 2014).
pub struct Dice(pub u64);

impl Dice {
    /// The next 64 bits.
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }

    /// A number below `n`; 0 when `n` is.
    pub fn below(&mut self, n: u64) -> u64 {
        // Lemire's way, without its correction: n is tiny against 2^64.
        ((u128::from(self.next()) * u128::from(n)) >> 64) as u64
    }

    fn fraction(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// Draws indexes by given weights, each in the same time (Vose's alias method, 1991).
pub struct Urn {
    /// Chance of staying, and where to go otherwise.
    slots: Vec<(f64, u32)>,
}

impl Urn {
    /// From weights, none negative, not all 0.
    pub fn new(weights: &[f64]) -> Self {
        let mean = weights.iter().sum::<f64>() / weights.len() as f64;
        let mut slots: Vec<_> = weights.iter().zip(0..).map(|(weight, at)| (weight / mean, at)).collect();
        let (mut small, mut large): (Vec<usize>, Vec<usize>) = (0..slots.len()).partition(|at| slots[*at].0 < 1.0);
        while let (Some(under), Some(&over)) = (small.pop(), large.last()) {
            slots[under].1 = over as u32;
            slots[over].0 -= 1.0 - slots[under].0;
            if slots[over].0 < 1.0 {
                large.pop();
                small.push(over);
            }
        }
        // What is left is 1 but for rounding.
        small.into_iter().chain(large).for_each(|at| slots[at].0 = 1.0);
        Self { slots }
    }

    /// Ranks by a Zipf law.
    pub fn zipf(ranks: usize, exponent: f64) -> Self {
        Self::new(&(1..=ranks).map(|rank| (rank as f64).powf(-exponent)).collect::<Vec<_>>())
    }

    /// An index.
    pub fn draw(&self, dice: &mut Dice) -> usize {
        let at = dice.below(self.slots.len() as u64) as usize;
        let (stays, other) = self.slots[at];
        if dice.fraction() < stays { at } else { other as usize }
    }
}
