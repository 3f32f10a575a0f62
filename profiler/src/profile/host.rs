//! A host, as its samples name it.

/// A host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Host {
    /// Tells it from others: made of its machine id for this program alone. Empty where nobody knows.
    pub machine: String,
    /// What it is called; may change.
    pub name: String,
}
