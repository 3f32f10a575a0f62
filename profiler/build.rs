//! Compiles the eBPF programs from source and leaves the object in `OUT_DIR`, for `sampler/load.rs` to embed; has the crate
//! rebuilt when the page, which `server/assets.rs` embeds, has changed.

#![expect(unsafe_code, reason = "set_var: the child build needs one environment variable")]

use anyhow::Context as _;
use aya_build::{Package, Toolchain};

fn main() -> anyhow::Result<()> {
    println!("cargo::rerun-if-changed=../profiler-ebpf/src");
    // The page is embedded from there. While it does not exist its folder is watched: a missing path counts as changed.
    let page = if std::path::Path::new("../web/dist").exists() { "../web/dist" } else { "../web" };
    println!("cargo::rerun-if-changed={page}");
    // The fuzzer feeds parsers. Its compiler flags would reach the child build, and the bpf target has no sanitizers.
    if std::env::var_os("CARGO_CFG_FUZZING").is_some() {
        let out = std::env::var_os("OUT_DIR").context("cargo sets OUT_DIR")?;
        return Ok(std::fs::write(std::path::Path::new(&out).join("profiler-ebpf"), [])?);
    }
    // `core` is built from source for the bpf target: an unstable cargo flag, which a stable toolchain takes only with this
    // variable. It is set for the child build alone (this process ends with it).
    // SAFETY: a build script has one thread.
    unsafe { std::env::set_var("RUSTC_BOOTSTRAP", "1") };
    let root_dir = concat!(env!("CARGO_MANIFEST_DIR"), "/../profiler-ebpf");
    let package = Package { name: "profiler-ebpf", root_dir, ..Package::default() };
    aya_build::build_ebpf([package], Toolchain::Custom("1.98.0"))
        .context("failed to build the eBPF programs; `make setup` installs what this needs (rust-src, bpf-linker)")
}
