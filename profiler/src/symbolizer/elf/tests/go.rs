//! Go programs that were stripped. `GO=/path/to/go` tries another version of Go.

use super::*;

/// Functions in functions, some of them inlined.
const SOURCE: &str = "\
package main

import \"strconv\"

func leaf(n int) int { return n*7 + 3 }

func middle(n int) int { return leaf(n) / 5 }

//go:noinline
func hot(n int) int {
    if n < 2 {
        return middle(n)
    }
    return hot(n-1) + hot(n-2)
}

func main() {
    println(strconv.Quote(strconv.Itoa(hot(5))))
}
";

fn build() -> Program {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("app.go"), SOURCE).unwrap();
    let build = "GOCACHE=$PWD/cache GO111MODULE=off ${GO:-go} build -o program app.go";
    run(Command::new("sh").current_dir(&dir).args(["-ec", build]));
    Program { path: dir.path().join("program"), dir }
}

/// Offsets of all bytes of the functions of two packages.
fn code(program: &Program) -> Vec<u64> {
    let table = run(Command::new("nm").arg("-S").arg(&program.path));
    let function = |line: &str| {
        let [start, len, "T" | "t", name] = line.split(' ').collect::<Vec<_>>()[..] else { return None };
        let number = |text: &str| u64::from_str_radix(text, 16).ok();
        let wanted = name.starts_with("main.") || name.starts_with("strconv.");
        wanted.then_some((program.offset(number(start)?), number(len)?))
    };
    table.lines().filter_map(function).flat_map(|(start, len)| start..start + len).collect()
}

/// A Go program stripped of its symbols and debug information keeps the names, files and lines of its functions, inlined ones too: at
/// every instruction they are what the debug information said. Damage to it never panics.
#[test]
fn a_stripped_go_program_keeps_its_names() {
    let program = build();
    let offsets = code(&program);
    let names = || names_of(&program.path, &offsets).iter().map(describe).collect::<Vec<_>>();
    let expected = names();
    program.sh("strip program");
    let found = names();
    let different: Vec<_> =
        offsets.iter().zip(expected.iter().zip(&found)).filter(|(_, (expected, found))| expected != found).collect();
    assert!(different.is_empty(), "{} of {}, the first: {:?}", different.len(), offsets.len(), different[0]);
    let functions = |names: &Vec<(String, String)>| names.iter().map(|name| name.0.clone()).collect::<Vec<_>>();
    assert!(found.iter().any(|names| functions(names) == ["main.leaf", "main.middle", "main.hot"]));
    damage(&program, &offsets);
}

/// Changes bytes of the table and of the data that lead to what is inlined.
fn damage(program: &Program, offsets: &[u64]) {
    let headers = run(Command::new("readelf").arg("-SW").arg(&program.path));
    let section = |name: &str| {
        let line = headers.lines().find(|line| line.contains(&format!(" {name} "))).unwrap();
        let fields: Vec<&str> = line.split(&format!(" {name} ")).nth(1).unwrap().split_ascii_whitespace().collect();
        let [offset, len] = [fields[2], fields[3]].map(|field| usize::from_str_radix(field, 16).unwrap());
        offset..offset + len
    };
    let image = std::fs::read(&program.path).unwrap();
    let (table, data) = (section(".gopclntab"), section(".noptrdata"));
    assert!(!data.is_empty());
    let asked: Vec<u64> = offsets.iter().copied().step_by(97).collect();
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = |below: usize| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 20) as usize % below
    };
    for round in 0..100 {
        let mut damaged = image.clone();
        // The header, the descriptions and steps all over the table, or what leads to the inlined calls.
        let (place, times) = match round % 4 {
            0 => (table.start + 8..table.start + 72, 1),
            1 => (data.clone(), 2000),
            _ => (table.clone(), 20_000),
        };
        for _ in 0..times {
            let at = place.start + next(place.len());
            damaged[at] = [0, 1, 0x7f, 0x80, 0xff, next(256) as u8][next(6)];
        }
        std::fs::write(&program.path, &damaged).unwrap();
        assert_eq!(names_of(&program.path, &asked).len(), asked.len());
    }
}
