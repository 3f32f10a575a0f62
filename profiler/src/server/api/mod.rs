//! The wire: what `/api/v1` answers, as JSON. `web/src/api/schema.d.ts` is generated from its OpenAPI document;
//! both sides test the same golden files.
//!
//! Times are milliseconds since the Unix epoch, counts are samples, tables are columns (one array per field, equal
//! lengths) because a million small objects are slow to parse. Optional indexes are -1 when absent.

mod code;
mod naming;
mod params;
mod status;
mod timeline;
mod top;
mod tree;

pub use code::*;
pub use naming::*;
pub use params::*;
pub use status::*;
pub use timeline::*;
pub use top::*;
pub use tree::*;
