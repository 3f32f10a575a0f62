//! Which functions Go's compiler inlined where: beside the table of names, in data that only the runtime's description of the module
//! leads to (`go_module.rs`). Go 1.18 to today; of older ones, and where it is not found, nothing is known.
//!
//! Facts: Go's `src/runtime/symtab.go` (`_func`, `funcdata`), `src/runtime/symtabinl.go` (`inlinedCall`; before 1.20 in
//! `symtab.go`), `src/internal/abi/symtab.go` (`PCDATA_InlTreeIndex`, `FUNCDATA_InlTree`).
//!
//! ```text
//! description: ... number of tables | unit | (first line) | id, flag, pad, number of data | tables ... | data ...
//! tables[2]: by address, the number of the inlined call;  data[3]: where the calls begin, from `go:func.*` on
//! call (1.20): id, pad | name | parent | first line       call (1.18): parent's number, id, pad | file | line | name | parent
//! ```

use std::cell::OnceCell;
use std::ops::Range;

use super::elf::{Elf, u32_at};
use super::go::Layout;
use super::go_module::Module;

/// Which table, and which data.
const TABLE: usize = 2;
const DATA: usize = 3;
/// Where a description says how many tables there are.
const TABLES: usize = 28;

/// An inlined call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Call {
    /// Of the function, among the names.
    pub(super) name: u32,
    /// An instruction of the caller, from the start of the function that stands in the file.
    pub(super) parent: u64,
}

/// How a version of Go laid things out.
struct Shape {
    /// Where the description of a function counts its data; tables follow.
    counts: usize,
    /// Bytes of a call, and where its name and parent are.
    call: usize,
    name: usize,
    parent: usize,
    /// Zeros of a call.
    pad: Range<usize>,
    /// Where the module's description has the address of all data.
    base: u64,
}

const GO_1_18: Shape = Shape { counts: 39, call: 20, name: 12, parent: 16, pad: 3..4, base: 304 };
const GO_1_20: Shape = Shape { counts: 43, call: 16, name: 4, parent: 8, pad: 1..4, base: 320 };
/// Go 1.27 moved the address of all data here, where lengths were before; they lie in the table itself by now.
const BASE_SINCE_1_27: u64 = 344;

/// What is inlined in a file.
pub(super) struct Inlined<'a> {
    elf: &'a Elf<'a>,
    /// Addresses of the table of names.
    table: Range<u64>,
    layout: Layout,
    shape: Option<&'static Shape>,
    /// Where the data are; looked for when first asked for.
    base: OnceCell<Option<u64>>,
}

impl<'a> Inlined<'a> {
    pub(super) fn new(elf: &'a Elf<'a>, table: Range<u64>, layout: Layout) -> Self {
        let shape = match layout.version {
            18 => Some(&GO_1_18),
            20 => Some(&GO_1_20),
            _ => None,
        };
        Self { elf, table, layout, shape, base: OnceCell::new() }
    }

    /// The table that says which call an address is in, 0 when the function has none; `None` when the layout is not known.
    pub(super) fn steps(&self, description: &[u8]) -> Option<u32> {
        let at = self.shape?.counts + 1 + 4 * TABLE;
        let tables = u32_at(description, TABLES) as usize;
        Some(if tables > TABLE { u32_at(description.get(at..)?, 0) } else { 0 })
    }

    /// An inlined call by its number.
    pub(super) fn call(&self, description: &[u8], number: u32) -> Option<Call> {
        let shape = self.shape?;
        let tables = u32_at(description, TABLES) as usize;
        let data = usize::from(*description.get(shape.counts)?);
        let at = tables.checked_add(DATA)?.checked_mul(4)?.checked_add(shape.counts + 1)?;
        let offset = u32_at(description.get(at..).filter(|_| data > DATA)?.first_chunk::<4>()?, 0);
        // All ones are "none".
        let base = (*self.base.get_or_init(|| self.find_base(shape))).filter(|_| offset != u32::MAX)?;
        let address = base.checked_add(u64::from(offset))?.checked_add(u64::from(number) * shape.call as u64)?;
        let call = self.elf.loaded(address, shape.call as u64).ok().filter(|call| call.len() == shape.call)?;
        let is_call = call.get(shape.pad.clone())?.iter().all(|byte| *byte == 0);
        let (name, parent) = (u32_at(&call, shape.name), u64::from(u32_at(&call, shape.parent)));
        is_call.then_some(Call { name, parent })
    }

    /// Where the data are, by the module's description.
    fn find_base(&self, shape: &Shape) -> Option<u64> {
        let module = Module::find(self.elf, self.table.start, self.layout.names, self.layout.units)?;
        let since_1_27 = module.word(BASE_SINCE_1_27).filter(|base| self.table.contains(base));
        since_1_27.or_else(|| module.word(shape.base)).filter(|base| *base != 0)
    }
}
