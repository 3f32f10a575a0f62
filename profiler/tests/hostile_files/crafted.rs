//! Files made to harm a parser, one idea each. The ideas are those that other profilers were hit by.

use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use profiler::profile::{Symbolized, UnknownReason};
use profiler::symbolizer::{Mapped, NamesWorker, WorkerCommand};

use super::image::{number, program, section_headers, section_of_type};
use super::{ask, command, file_of, resident, worker};

const SHT_SYMTAB: usize = 2;
const SHF_COMPRESSED: usize = 0x800;
/// How a section is compressed (`ch_type`).
const ZLIB: u64 = 1;
const ZSTD: u64 = 2;

fn put(image: &mut [u8], at: usize, value: u64) {
    image[at..at + 8].copy_from_slice(&value.to_le_bytes());
}

fn is_named(name: &Symbolized) -> bool {
    matches!(name, Symbolized::Named(_))
}

/// Sections of debug information that claim to be 64 TiB once unpacked: they are left out before anything is allocated, and the
/// symbol table names the code.
#[test]
fn sections_that_claim_too_much_are_left_out() {
    let (mut image, mut worker) = (program(&["-gz=zlib"]), worker());
    let headers = section_headers(&image).into_iter();
    let compressed: Vec<usize> = headers.filter(|at| number(&image, at + 8, 8) & SHF_COMPRESSED != 0).collect();
    assert!(!compressed.is_empty());
    for header in compressed {
        let section = number(&image, header + 24, 8);
        put(&mut image, section + 8, 1 << 46);
    }
    let names = ask(&mut worker, &file_of(&image), &[0x1140]);
    let Symbolized::Named(symbols) = &names[0] else { panic!("{names:?}") };
    assert_eq!(symbols[0].source, None);
}

/// A section that unpacks to far more than it says (a bomb: 1.5 GiB of zeros in 10 MB) is unpacked as far as it says. The symbol table
/// still names the code.
#[test]
fn a_section_that_lies_about_its_size_costs_the_debug_information() {
    let (mut image, mut worker) = (program(&["-gz=zlib"]), worker());
    let compressed = spoil_compressed(&mut image, [ZLIB, 100], zeros_in_zlib(1_500 << 20));
    assert!(compressed > 0);
    let before = resident();
    assert!(is_named(&ask(&mut worker, &file_of(&image), &[0x1140])[0]));
    assert!(resident() < before + (20 << 20), "our own memory");
}

/// Sections that each unpack to no more than one may have, but together to more than the child may hold: it ends at its limit on memory, which is
/// hard. That costs this file its debug information, not its symbols, and no other file anything; what the child took is free again.
#[test]
fn a_child_that_wants_too_much_memory_ends_and_others_are_named() {
    // Time is not what ends it.
    let mut worker = NamesWorker::new(WorkerCommand { patience: Duration::from_secs(60), ..command() });
    let mut image = program(&["-gz=zlib"]);
    let (good, offsets) = (file_of(&program(&["-g"])), (0x1100..0x1200).step_by(8).collect::<Vec<_>>());
    let named = |worker: &mut NamesWorker, file: &File| {
        let mapped = Mapped { file, path: "/tmp/hostile", build_id: None, identity: None, root: None, debug: None };
        worker.of_file(&mapped, &offsets, None).unwrap()
    };
    let lines = |name: &Symbolized| matches!(name, Symbolized::Named(symbols) if symbols[0].source.is_some());
    let expected = named(&mut worker, &good);
    assert!(expected.iter().any(lines), "{expected:?}");
    // Each is as large as one may be; two are too large.
    assert!(spoil_compressed(&mut image, [ZSTD, 500 << 20], zeros_in_zstd(500 << 20)) >= 2);
    let (before, file) = (resident(), file_of(&image));
    let done = AtomicBool::new(false);
    let (names, largest) = std::thread::scope(|scope| {
        let largest = scope.spawn(|| largest_child_until(&done));
        let names = named(&mut worker, &file);
        done.store(true, Ordering::Relaxed);
        (names, largest.join().unwrap())
    });
    assert!((256 << 20..1100 << 20).contains(&largest), "{largest} bytes: it never wanted more, or it got more");
    assert!(names.iter().any(is_named) && !names.iter().any(lines), "{names:?}");
    assert!(resident() < before + (20 << 20), "our own memory");
    assert_eq!(named(&mut worker, &good), expected);
}

/// The most that a child of ours has had resident, in bytes.
fn largest_child_until(done: &AtomicBool) -> u64 {
    let mut largest = 0;
    while !done.load(Ordering::Relaxed) {
        for thread in std::fs::read_dir("/proc/self/task").unwrap().flatten() {
            let children = std::fs::read_to_string(thread.path().join("children")).unwrap_or_default();
            for child in children.split_whitespace() {
                let status = std::fs::read_to_string(format!("/proc/{child}/status")).unwrap_or_default();
                let most = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB"));
                largest = largest.max(most.map_or(0, |kilobytes| kilobytes.parse::<u64>().unwrap() << 10));
            }
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    largest
}

/// Gives every compressed section another content, with the method and the length that its header says. Says how many there are.
fn spoil_compressed(image: &mut Vec<u8>, [method, said]: [u64; 2], content: Vec<u8>) -> usize {
    let bomb = image.len() as u64;
    image.extend([method, said, 1].iter().flat_map(|word: &u64| word.to_le_bytes()));
    image.extend(content);
    let len = image.len() as u64 - bomb;
    let headers = section_headers(image).into_iter();
    let compressed: Vec<_> = headers.filter(|at| number(image, at + 8, 8) & SHF_COMPRESSED != 0).collect();
    for header in &compressed {
        put(image, header + 24, bomb);
        put(image, header + 32, len);
    }
    compressed.len()
}

/// A zlib stream (RFC 1950, 1951) of this many zeros: one literal, then "258 bytes, as the one before" in 13 bits each, by the
/// fixed codes. It has no end, which nobody will live to see.
fn zeros_in_zlib(len: usize) -> Vec<u8> {
    let literal = [0, 0, 1, 1, 0, 0, 0, 0];
    let repeat = [1, 1, 0, 0, 0, 1, 0, 1, 0, 0, 0, 0, 0];
    let bits = [1, 1, 0].into_iter().chain(literal).chain(repeat.into_iter().cycle().take(len / 258 * repeat.len()));
    let mut packed = vec![0x78, 0x01];
    let mut bits = bits.peekable();
    while bits.peek().is_some() {
        packed.push((0..8).fold(0, |byte, at| byte | bits.next().unwrap_or(0) << at));
    }
    packed
}

/// A zstd frame (RFC 8878) of this many zeros, in blocks that say "this byte, 128 KiB long".
fn zeros_in_zstd(len: usize) -> Vec<u8> {
    const BLOCK: usize = 128 << 10;
    // The magic number, no length or checksum, a window of a block.
    let mut packed = vec![0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x38];
    let blocks = len.div_ceil(BLOCK);
    for block in 1..=blocks {
        let header = u32::from(block == blocks) | 1 << 1 | (BLOCK as u32) << 3;
        packed.extend(&header.to_le_bytes()[..3]);
        packed.push(0);
    }
    packed
}

/// Every header byte once 0 and once 255, and the file cut at every 64th of its length: all are answered.
#[test]
fn every_spoilt_header_is_survived() {
    let (image, mut worker) = (program(&[]), worker());
    let places = (0..64).chain(section_headers(&image).into_iter().flat_map(|at| at..at + 64));
    for at in places.step_by(3) {
        for value in [0, 255] {
            let mut spoilt = image.clone();
            spoilt[at] = value;
            ask(&mut worker, &file_of(&spoilt), &[0x1140]);
        }
    }
    for piece in 1..64 {
        ask(&mut worker, &file_of(&image[..image.len() * piece / 64]), &[0x1140]);
    }
}

/// A file of 33 GiB without content is refused; one of 31 GiB is looked at, and costs nothing.
#[test]
fn huge_sparse_files_cost_nothing() {
    let (image, mut worker, before) = (program(&[]), worker(), resident());
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&image).unwrap();
    file.set_len(33 << 30).unwrap();
    assert_eq!(ask(&mut worker, &file, &[0x1140]), [Symbolized::Unknown(UnknownReason::FileRefused)]);
    file.set_len(31 << 30).unwrap();
    assert!(is_named(&ask(&mut worker, &file, &[0x1140])[0]));
    assert!(resident() < before + (20 << 20));
}

/// A symbol table that claims to fill the rest of a file of 3 GiB: no more is copied than the child may hold.
#[test]
fn a_symbol_table_of_gigabytes_is_refused_in_time() {
    let (mut image, mut worker) = (program(&[]), worker());
    let table = section_of_type(&image, SHT_SYMTAB);
    put(&mut image, table + 32, 3 << 30);
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&image).unwrap();
    file.set_len(4 << 30).unwrap();
    assert!(!is_named(&ask(&mut worker, &file, &[0x1140])[0]));
}

/// Names as long as the file allows, with control characters in them, arrive short and printable.
#[test]
fn names_of_a_megabyte_arrive_short() {
    let (mut image, mut worker) = (program(&[]), worker());
    let table = section_of_type(&image, SHT_SYMTAB);
    let strings = section_headers(&image)[number(&image, table + 40, 4)];
    let name = image.len();
    image.extend([0; 1]);
    image.extend(b"\x1b]0;\xe2\x80\xaegnp.\r\n<img src=x onerror=alert(1)>".repeat(40_000));
    image.push(0);
    // All symbols take their names from a table that is this one name.
    put(&mut image, strings + 24, name as u64);
    let len = image.len() - name;
    put(&mut image, strings + 32, len as u64);
    let (symbols, size) = (number(&image, table + 24, 8), number(&image, table + 32, 8));
    (symbols..symbols + size).step_by(24).for_each(|at| image[at..at + 4].copy_from_slice(&1_u32.to_le_bytes()));
    for name in ask(&mut worker, &file_of(&image), &[0x1140, 0x1060]) {
        let Symbolized::Named(symbols) = name else { continue };
        for symbol in symbols {
            assert!(symbol.name.len() <= 4096 && symbol.name.chars().all(profiler::profile::is_printable));
        }
    }
}

/// Sections that lead to other files lead nowhere: neither an absolute path, nor one upwards, nor a FIFO is opened, and what is
/// there shows up nowhere.
#[test]
fn links_lead_nowhere() {
    let dir = tempfile::tempdir().unwrap();
    let canary = dir.path().join("canary");
    std::fs::write(&canary, "CANARY-7f3a\n").unwrap();
    let path = dir.path().join("program");
    let mut worker = worker();
    for target in [canary.to_str().unwrap(), "/etc/shadow", "../../../../etc/shadow", "/dev/zero"] {
        std::fs::write(&path, program(&[])).unwrap();
        let section = dir.path().join("link");
        std::fs::write(&section, [target.as_bytes(), &[0; 24]].concat()).unwrap();
        for name in [".gnu_debugaltlink", ".debug_sup", ".gnu_debuglink"] {
            let add = format!("{name}={}", section.display());
            let objcopy = Command::new("objcopy").arg("--add-section").arg(add).arg(&path).status();
            assert!(objcopy.unwrap().success());
        }
        let names = ask(&mut worker, &File::open(&path).unwrap(), &[0x1140]);
        assert!(is_named(&names[0]) && !format!("{names:?}").contains("CANARY"), "{names:?}");
    }
}

/// Scripts, directories of numbers, and things that begin like an ELF file are bad files.
#[test]
fn what_is_no_elf_file_is_a_bad_file() {
    let mut worker = worker();
    for content in [&b"#!/bin/sh\necho CANARY\n"[..], b"\x7fELF", b"\x7fELF\x02\x01\x01 nonsense", &[0xff; 5000]] {
        assert_eq!(
            ask(&mut worker, &file_of(content), &[0, 9]),
            [const { Symbolized::Unknown(UnknownReason::BadFile) }; 2]
        );
    }
}

/// A file that holds its reader up for ever, as a FUSE file system can, is given up in time, and the next file is named. A pipe
/// stands for it: reading it waits.
#[test]
fn a_file_that_never_answers_is_given_up() {
    let mut worker = worker();
    let (reader, _writer) = std::io::pipe().unwrap();
    let never = File::from(std::os::fd::OwnedFd::from(reader));
    assert!(!is_named(&ask(&mut worker, &never, &[1])[0]));
    let mut good = file_of(&program(&[]));
    good.seek(SeekFrom::Start(0)).unwrap();
    assert!(is_named(&ask(&mut worker, &good, &[0x1140])[0]));
}
