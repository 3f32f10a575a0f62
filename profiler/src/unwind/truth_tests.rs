//! Images against an independent reading of the same files: binutils' `readelf --debug-dump=frames-interp`.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use profiler_ebpf::tables::{Cfa, Rule, Saved};

use super::elf::Elf;
use super::{Image, compile};

/// A row as binutils prints it.
#[derive(Clone, Debug, Default)]
struct Printed {
    cfa: String,
    fp: Option<String>,
    ra: String,
}

/// What a rule would look like there.
fn print(rule: &Rule) -> Option<Printed> {
    let saved = |kind: u8, offset: i16| match kind & 0xf {
        kind if kind == Saved::AtCfa as u8 => Some(format!("c{offset:+}")),
        kind if kind == Saved::InRegister as u8 => Some(in_register(offset as usize)),
        kind if kind == Saved::AtRegister as u8 => Some("exp".to_owned()),
        _ => None,
    };
    let cfa = match rule.cfa {
        kind if kind == Cfa::Register as u8 => {
            format!("{}{:+}", REGISTERS[usize::from(rule.cfa_register)], rule.cfa_offset)
        }
        kind if kind == Cfa::Deref as u8 || kind == Cfa::Plt as u8 => "exp".to_owned(),
        kind if kind == Cfa::Signal as u8 => {
            return Some(Printed { cfa: "exp".to_owned(), fp: Some("exp".to_owned()), ra: "exp".to_owned() });
        }
        kind if kind == Cfa::End as u8 => return Some(Printed { ra: "u".to_owned(), ..Printed::default() }),
        _ => return None,
    };
    Some(Printed { cfa, fp: saved(rule.fp, rule.fp_offset), ra: saved(rule.ra, rule.ra_offset)? })
}

const REGISTERS: [&str; 16] =
    ["rax", "rdx", "rcx", "rbx", "rsi", "rdi", "rbp", "rsp", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15"];

fn in_register(number: usize) -> String {
    format!("r{number}({})", REGISTERS[number])
}

fn agree(ours: &Printed, theirs: &Printed) -> bool {
    // The first function of a thread: nothing else counts.
    (ours.ra == "u" && theirs.ra == "u") || (ours.cfa == theirs.cfa && ours.fp == theirs.fp && ours.ra == theirs.ra)
}

/// What is compared of a file.
struct Comparison<'a> {
    image: Image,
    elf: Elf<'a>,
    rows: usize,
    differences: Vec<String>,
}

impl Comparison<'_> {
    fn check(&mut self, address: u64, theirs: &Printed) {
        self.rows += 1;
        let segment = self.elf.code(address).unwrap();
        let rule = self.image.rule_at(address - segment.address + segment.offset);
        if print(&rule).is_none_or(|ours| !agree(&ours, theirs)) {
            self.differences.push(format!("{address:#x}: {rule:?} where binutils say {theirs:?}"));
        }
    }

    /// Both ends of a row.
    fn check_row(&mut self, start: u64, end: u64, theirs: &Printed) {
        if start < end {
            self.check(start, theirs);
            self.check(end - 1, theirs);
        }
    }
}

fn hex(text: &str) -> u64 {
    u64::from_str_radix(text, 16).unwrap()
}

/// Reads what binutils print, and compares row by row as it comes.
fn compare(path: &Path) -> (usize, Vec<String>) {
    let file = File::open(path).unwrap();
    let image = compile(&file).unwrap();
    let mut comparison = Comparison { image, elf: Elf::parse(&file).unwrap(), rows: 0, differences: Vec::new() };
    let mut readelf = Command::new("readelf")
        .args(["-wN", "--debug-dump=frames-interp"])
        .arg(path)
        .env("LC_ALL", "C")
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut columns: Vec<String> = Vec::new();
    let mut common = std::collections::HashMap::new();
    let mut cie: Option<String> = None;
    let mut function: Option<(u64, u64, Option<Printed>)> = None;
    let mut at = 0;
    for line in BufReader::new(readelf.stdout.take().unwrap()).lines() {
        // A register is printed as `r5 (rdi)`.
        let line = line.unwrap().replace(" (", "(");
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        if (words.contains(&"CIE") || words.contains(&"FDE") || words.is_empty())
            && let Some((_, end, Some(row))) = function.take()
        {
            comparison.check_row(at, end, &row);
        }
        if words.get(3) == Some(&"CIE") {
            cie = Some(words[0].to_owned());
        } else if words.get(3) == Some(&"FDE") {
            cie = None;
            let parent = words[4].strip_prefix("cie=").unwrap();
            let (start, end) = words[5].strip_prefix("pc=").unwrap().split_once("..").unwrap();
            (at, function) = (hex(start), Some((hex(start), hex(end), common.get(parent).cloned())));
        } else if words.first() == Some(&"LOC") {
            columns = words[1..].iter().map(|word| (*word).to_owned()).collect();
        } else if words.len() == columns.len() + 1 && words[0].len() == 16 {
            let column = |name: &str| columns.iter().position(|column| column == name).map(|at| words[at + 1]);
            let row = Printed {
                cfa: column("CFA").unwrap().to_owned(),
                fp: column("rbp").filter(|rule| *rule != "u" && *rule != "s").map(str::to_owned),
                ra: column("ra").unwrap_or("u").to_owned(),
            };
            match (&cie, &mut function) {
                (Some(cie), _) => drop(common.insert(cie.clone(), row)),
                (None, Some((_, _, before))) => {
                    let next = hex(words[0]);
                    if let Some(before) = before.replace(row).filter(|_| next > at) {
                        comparison.check_row(at, next, &before);
                    }
                    at = next;
                }
                _ => {}
            }
        }
    }
    assert!(readelf.wait().unwrap().success());
    (comparison.rows, comparison.differences)
}

/// Every row of real files, at both of its ends, says what binutils print for it. The last file has hand-written tables; three of its
/// rows have an expression with a multiplication, which rules cannot say.
#[test]
fn rows_agree_with_binutils() {
    let library = |name: &str| Path::new("/lib").join(format!("{}-linux-gnu", std::env::consts::ARCH)).join(name);
    let beyond_rules = ["libc.so.6", "libstdc++.so.6", "libcrypto.so.3"].map(library).into_iter().zip([0, 0, 6]);
    for (path, beyond) in beyond_rules.chain([("/bin/bash".into(), 0)]) {
        if path.ends_with("libcrypto.so.3") && !path.exists() {
            continue;
        }
        let (rows, differences) = compare(&path);
        assert!(rows > 10_000, "{} has few rows: {rows}", path.display());
        assert!(differences.len() <= beyond, "{}:\n{}", path.display(), differences.join("\n"));
        assert!(differences.iter().all(|line| line.contains("cfa: 7") || beyond == 0), "{differences:?}");
    }
}
