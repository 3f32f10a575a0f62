//! Two libraries by turns at one address: the kernel tells of the mapping of one, and of no unmapping.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::run::{Running, folded, recorded, share};

/// Compiles the fixture as the program, or as the library whose function has this name and room in its frame.
fn compile(folder: &Path, library: Option<(&str, u32)>) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/plugins.c");
    let name = library.map_or("plugins".to_owned(), |(name, _)| format!("lib{name}.so"));
    let output = folder.join(name);
    let mut compiler = Command::new("cc");
    compiler.args(["-O2", "-g", "-o"]).args([&output, &source]);
    match library {
        Some((name, room)) => {
            compiler.args(["-shared", "-fPIC", &format!("-DPLUGIN={name}"), &format!("-DROOM={room}")])
        }
        None => compiler.arg("-ldl"),
    };
    assert!(compiler.status().unwrap().success(), "{compiler:?}");
    output
}

/// A sample's stack is walked and named by the library that was mapped when it was taken: by rows of the other one it would go astray, or
/// end at a wrong place that looks like the first function.
#[test]
fn plugins_that_take_each_others_place_keep_their_stacks() {
    let folder = tempfile::tempdir().unwrap();
    let program = compile(folder.path(), None);
    let [first, second] = [("first", 1000), ("second", 120)].map(|library| compile(folder.path(), Some(library)));
    let output = folder.path().join("out.folded");
    for millis in ["20", "300"] {
        let running = Running::start(&program, &[first.to_str().unwrap(), second.to_str().unwrap(), millis]);
        running.wait_until_busy();
        let pid = running.pid().to_string();
        recorded(&["-F", "199", "-d", "5", "-p", &pid, "-o", output.to_str().unwrap()]);
        drop(running);
        let stacks = folded(&std::fs::read_to_string(&output).unwrap());
        std::fs::remove_file(&output).unwrap();
        // Not what loads and unloads them.
        let is_work = |stack: &str| {
            let mut frames = stack.split(';');
            frames.any(|frame| ["spin", "first", "second", "run"].contains(&frame)) || stack.contains("[stack cut")
        };
        let is_right = |stack: &str| {
            stack.contains(";main;turn_of_first;run;first") || stack.contains(";main;turn_of_second;run;second")
        };
        let is_crossed = |stack: &str| {
            let frames: Vec<&str> = stack.split(';').collect();
            let both = |turn, function| frames.contains(&turn) && frames.contains(&function);
            both("turn_of_first", "second") || both("turn_of_second", "first")
        };
        let [right, crossed] = [share(&stacks, is_work, is_right), share(&stacks, is_work, is_crossed)];
        assert!(
            right >= 0.95 && crossed == 0.0,
            "{millis} ms each: {right:.3} right, {crossed:.3} crossed: {stacks:#?}"
        );
    }
}
