//! Memory budgets with a share for each user: of the process table, and of samples that wait.
//!
//! In: bytes, and the user who makes us keep them. Out: a [`Charge`], which gives them back when it is dropped, or a refusal, which is
//! counted. What is charged is an estimate of what the allocator gives.
//!
//! - One user but root has at most a quarter of a budget, so that no user's processes push out what is known of the others'.
//! - All users but root together have at most three quarters: the rest is root's, whose programs are the host's own.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Users but root together: this many eighths of a budget.
const OTHERS: usize = 6;
/// One user but root.
const ONE: usize = 2;
const PARTS: usize = 8;

const ROOT: u32 = 0;

/// A budget in bytes. Clones are the same budget.
#[derive(Clone, Debug)]
pub(crate) struct Budget(Arc<Mutex<Accounts>>);

#[derive(Debug, Default)]
struct Accounts {
    limit: usize,
    used: usize,
    used_by_root: usize,
    users: HashMap<u32, usize>,
    refused: u64,
}

/// What a budget holds, for `/metrics`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BudgetCounts {
    /// Bytes in use.
    pub used: usize,
    /// Bytes it may hold.
    pub limit: usize,
    /// Times that something was refused.
    pub refused: u64,
}

impl Budget {
    pub fn new(limit: usize) -> Self {
        Self(Arc::new(Mutex::new(Accounts { limit, ..Accounts::default() })))
    }

    /// Charges a user for something; `None`, and counted, when its share or the budget is used up.
    pub fn charge(&self, user: u32, bytes: usize) -> Option<Charge> {
        let mut accounts = self.accounts();
        if !accounts.has_room(user, bytes) {
            accounts.refused += 1;
            return None;
        }
        accounts.add(user, bytes);
        Some(Charge { budget: self.clone(), user, bytes })
    }

    /// Whether a user may have so many bytes more. Counts a refusal.
    pub fn has_room(&self, user: u32, bytes: usize) -> bool {
        let mut accounts = self.accounts();
        let room = accounts.has_room(user, bytes);
        accounts.refused += u64::from(!room);
        room
    }

    /// What it holds.
    pub fn counts(&self) -> BudgetCounts {
        let Accounts { used, limit, refused, .. } = *self.accounts();
        BudgetCounts { used, limit, refused }
    }

    /// Whether more than half of it is used.
    pub fn is_half_full(&self) -> bool {
        let accounts = self.accounts();
        accounts.used * 2 > accounts.limit
    }

    fn accounts(&self) -> MutexGuard<'_, Accounts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Accounts {
    fn has_room(&self, user: u32, bytes: usize) -> bool {
        if user == ROOT {
            return self.used + bytes <= self.limit;
        }
        let (others, own) = (self.used - self.used_by_root, self.users.get(&user).copied().unwrap_or(0));
        self.used + bytes <= self.limit
            && others + bytes <= self.limit * OTHERS / PARTS
            && own + bytes <= self.limit * ONE / PARTS
    }

    fn add(&mut self, user: u32, bytes: usize) {
        self.used += bytes;
        if user == ROOT {
            self.used_by_root += bytes;
        } else {
            *self.users.entry(user).or_default() += bytes;
        }
    }

    fn give_back(&mut self, user: u32, bytes: usize) {
        self.used -= bytes;
        if user == ROOT {
            self.used_by_root -= bytes;
        } else if let Some(own) = self.users.get_mut(&user) {
            *own -= bytes;
            if *own == 0 {
                self.users.remove(&user);
            }
        }
    }
}

/// Bytes that a user is charged for.
#[derive(Debug)]
pub(crate) struct Charge {
    budget: Budget,
    user: u32,
    bytes: usize,
}

impl Charge {
    /// Makes it another size. Never refused: ask [`Budget::has_room`] before what may grow much.
    pub fn resize(&mut self, bytes: usize) {
        let mut accounts = self.budget.accounts();
        accounts.give_back(self.user, self.bytes);
        accounts.add(self.user, bytes);
        self.bytes = bytes;
    }
}

impl Clone for Charge {
    /// A copy is charged to the same user, whether it has room or not.
    fn clone(&self) -> Self {
        self.budget.accounts().add(self.user, self.bytes);
        Self { budget: self.budget.clone(), user: self.user, bytes: self.bytes }
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.budget.accounts().give_back(self.user, self.bytes);
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    /// One user is refused at a quarter, all but root at three quarters, root at the whole; what is given back can be had again.
    #[test]
    fn each_user_has_a_share_and_root_the_rest() {
        let budget = Budget::new(800);
        let mut held: Vec<Charge> = (1..=3).map(|user| budget.charge(user, 200).unwrap()).collect();
        assert!(budget.charge(1, 1).is_none(), "more than a quarter");
        assert!(budget.charge(4, 1).is_none(), "three users have what users may have");
        assert!(budget.charge(0, 201).is_none());
        let root = budget.charge(0, 200).unwrap();
        assert_eq!(budget.counts(), BudgetCounts { used: 800, limit: 800, refused: 3 });
        held.remove(0);
        assert!(budget.charge(4, 200).is_some());
        drop((held, root));
        assert_eq!(budget.counts().used, 0);
        assert!(budget.accounts().users.is_empty());
    }

    /// A copy counts beside its original, and another size replaces the one before.
    #[test]
    fn copies_and_sizes_are_counted() {
        let budget = Budget::new(800);
        let mut one = budget.charge(1, 100).unwrap();
        let two = one.clone();
        one.resize(30);
        assert_eq!(budget.counts().used, 130);
        assert!(!budget.has_room(1, 71) && budget.has_room(1, 70));
        drop((one, two));
        assert_eq!(budget.counts().used, 0);
    }
}
