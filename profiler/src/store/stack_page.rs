//! The stack tree's table: pages of neighbouring nodes. Pure.
//!
//! ```text
//! columns: id - caller's id, 0 for a hole | location - the one before (signed)
//! ```
//!
//! A node's number is its page's times [`NODES`] plus its place in it. Nodes are made from the root to the leaf, so the caller is
//! mostly the node before. There is no index from (caller, location) to a node, which would be five times the tree: the
//! writer remembers what it saw lately (see [`super::stack_writer`]).

use super::codec::{BadBlob, StackId};
use super::columns::{self, Effort};
use super::varint::{put, put_signed, step, take_signed, take_u32};

/// Nodes of a page: 5 KiB packed.
pub(super) const NODES: u32 = 2048;

/// A node of the stack tree.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct StackNode {
    /// Its caller; always a smaller id. 0 at the root.
    pub(crate) parent: StackId,
    /// Row of the location; 0 marks a hole: a node that nobody needs any more, or none yet.
    pub(crate) location: u32,
}

/// The blob of a page.
#[must_use]
pub(super) fn encode(page: u32, nodes: &[StackNode]) -> Vec<u8> {
    let mut columns = [const { Vec::new() }; 2];
    let mut before = 0;
    for (id, node) in (page * NODES..).zip(nodes) {
        if node.location == 0 {
            put(&mut columns[0], 0);
            continue;
        }
        put(&mut columns[0], u64::from(id - node.parent.0));
        put_signed(&mut columns[1], i64::from(node.location) - i64::from(before));
        before = node.location;
    }
    columns::pack(&columns, Effort::Much)
}

/// The nodes of a page.
pub(super) fn decode(page: u32, blob: &[u8]) -> Result<Vec<StackNode>, BadBlob> {
    let columns = columns::unpack::<2>(blob)?;
    let [mut steps, mut locations] = columns.each_ref().map(|column| &column[..]);
    let first = page.checked_mul(NODES).ok_or(BadBlob("page out of range"))?;
    let (mut nodes, mut location) = (Vec::with_capacity(NODES as usize), 0);
    while !steps.is_empty() {
        if nodes.len() == NODES as usize {
            return Err(BadBlob("more nodes than a page has"));
        }
        let up = take_u32(&mut steps)?;
        if up == 0 {
            nodes.push(StackNode::default());
            continue;
        }
        let parent = (first + nodes.len() as u32).checked_sub(up).ok_or(BadBlob("a caller before the first node"))?;
        location = step(location, take_signed(&mut locations)?)?;
        if location == 0 {
            return Err(BadBlob("a node without a location"));
        }
        nodes.push(StackNode { parent: StackId(parent), location });
    }
    if locations.is_empty() { Ok(nodes) } else { Err(BadBlob("columns of different lengths")) }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Pages come back as they were, holes too; a caller always comes before its callee.
        #[test]
        fn pages_round_trip(page in 0..3_u32, nodes in vec((1..5000_u32, 0..90_000_u32), 0..300)) {
            let nodes: Vec<_> = (page * NODES..)
                .zip(nodes)
                .map(|(id, (up, location))| match (id, location) {
                    (0, _) | (_, 0) => StackNode::default(),
                    _ => StackNode { parent: StackId(id - up.min(id)), location },
                })
                .collect();
            prop_assert_eq!(decode(page, &encode(page, &nodes)).unwrap(), nodes);
        }

        /// Any bytes are a page or an error; what decodes never has a caller after its callee.
        #[test]
        fn hostile_bytes_are_an_error_at_worst(page in prop_oneof![0..3_u32, any::<u32>()], a in vec(0..9_u8, 0..50), b in vec(any::<u8>(), 0..90)) {
            for (id, node) in (u64::from(page) * u64::from(NODES)..).zip(decode(page, &columns::pack(&[a, b], Effort::Little)).unwrap_or_default()) {
                prop_assert!(node.location == 0 || u64::from(node.parent.0) < id);
            }
        }
    }
}
