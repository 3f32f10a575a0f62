//! All unsafe code and foreign calls that no library wraps. Safe types go out; nothing here knows what a sample is.

pub mod attempt;
pub mod cache_folder;
pub mod clock;
pub mod distribution;
pub mod fair_pool;
pub mod file_lock;
pub mod file_page;
pub mod host;
pub mod kernel_text;
pub mod memory;
pub mod perf;
pub mod planted_link;
pub mod sampling_event;
pub mod shared_map;
pub mod sock_diag;
pub mod spawn;
pub mod sqlite;
pub mod time_share;
pub mod timeout_pool;
