//! Code that is not where its file is mapped, or in a file that is none: moved to other memory, made in a cache that has a name.

use std::fs;
use std::path::Path;

use crate::run::{Running, build, folded, recorded, share};

/// Records a program for three seconds, one that runs already or from its beginning: its stacks have `chain`.
fn assert_whole(folder: &Path, program: &Path, words: &[&str], before: bool, chain: &str) {
    let output = folder.join("out.folded").to_str().unwrap().to_owned();
    let options = ["-F", "199", "-d", "3", "-o", &output];
    if before {
        let running = Running::start(program, words);
        running.wait_until_busy();
        recorded(&[&options[..], &["-p", &running.pid().to_string()]].concat());
        let _ = fs::remove_file(format!("/tmp/perf-{}.map", running.pid()));
    } else {
        recorded(&[&options[..], &["--", program.to_str().unwrap()], words].concat());
    }
    let stacks = folded(&fs::read_to_string(&output).unwrap());
    fs::remove_file(&output).unwrap();
    let name = program.file_name().unwrap().to_str().unwrap();
    let is_work = |stack: &str| stack.starts_with(name) && !stack.contains("execve") && !stack.contains("_dl_start");
    let whole = share(&stacks, is_work, |stack| stack.contains(chain) && !stack.contains("[stack cut"));
    assert!(whole >= 0.9, "{whole} of {words:?}, {before}: {stacks:#?}");
}

/// Text that a program has put on other pages (huge ones, mostly) keeps its names and rows: by the pieces of its file around it when the
/// profiler comes later, by what the kernel tells when it looks on.
#[test]
fn text_on_other_pages_keeps_names_and_rows() {
    let folder = tempfile::tempdir().unwrap();
    let program = build(folder.path(), "moved");
    for (way, before) in [("map", true), ("move", true), ("map", false), ("move", false)] {
        assert_whole(folder.path(), &program, &[way], before, ";main;caller;leaf");
    }
}

/// A code cache in a file with a name is memory that code was made in, whether it was mapped before or is while the profiler looks on.
#[test]
#[cfg(target_arch = "x86_64")]
fn code_made_in_a_file_has_its_names() {
    let folder = tempfile::tempdir().unwrap();
    let program = build(folder.path(), "cached");
    let cache = folder.path().join("codecache").to_str().unwrap().to_owned();
    for before in [true, false] {
        assert_whole(folder.path(), &program, &[&cache], before, ";main;engine;made_code");
    }
}
