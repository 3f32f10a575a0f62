//! Figures, what they should be, and whether they are.

use std::fmt::Write as _;

/// Which way is better.
#[derive(Clone, Copy, Debug)]
pub enum Goal {
    /// At most this.
    Most(f64),
    /// At least this.
    Least(f64),
    /// Nothing is promised: for comparison.
    None,
}

/// A figure.
#[derive(Clone, Debug)]
struct Figure {
    what: String,
    value: f64,
    unit: &'static str,
    goal: Goal,
}

/// All figures of a run.
#[derive(Debug, Default)]
pub struct Report {
    figures: Vec<Figure>,
}

impl Report {
    /// Takes a figure down, and prints it.
    pub fn add(&mut self, what: impl Into<String>, value: f64, unit: &'static str, goal: Goal) {
        let figure = Figure { what: what.into(), value, unit, goal };
        println!("{}", figure.line());
        self.figures.push(figure);
    }

    /// The figures that miss their goal.
    pub fn missed(&self) -> Vec<&str> {
        self.figures.iter().filter(|figure| !figure.is_good()).map(|figure| figure.what.as_str()).collect()
    }

    /// A figure by its name.
    #[cfg(test)]
    pub fn value(&self, what: &str) -> Option<f64> {
        self.figures.iter().find(|figure| figure.what == what).map(|figure| figure.value)
    }
}

impl Figure {
    fn is_good(&self) -> bool {
        match self.goal {
            Goal::Most(most) => self.value <= most,
            Goal::Least(least) => self.value >= least,
            Goal::None => true,
        }
    }

    fn line(&self) -> String {
        let mut line = format!("{:<58} {:>10} {:<9}", self.what, number(self.value), self.unit);
        let (word, goal) = match self.goal {
            Goal::Most(most) => ("at most", most),
            Goal::Least(least) => ("at least", least),
            Goal::None => return line.trim_end().to_owned(),
        };
        let verdict = if self.is_good() { "ok" } else { "MISSED" };
        let _ = write!(line, " {word:>8} {:<6} {verdict}", number(goal));
        line
    }
}

/// Three digits that matter.
fn number(value: f64) -> String {
    match value.abs() {
        large if large >= 100.0 => format!("{value:.0}"),
        some if some >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}
