//! What good files are called: the names that binutils give, inlined functions included.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use profiler::process::build_id_of;
use profiler::profile::Symbolized;
use profiler::symbolizer::Mapped;

use super::image::{number, section_headers};
use super::{Random, worker};

/// Random addresses in each file.
const ADDRESSES: usize = 300;

/// Debian's C library, mathematics library and dynamic linker with their debug package (compressed, and spread over two files by
/// dwz): at least 99 % of random addresses have the functions that `addr2line` gives, in its order.
#[test]
fn names_agree_with_addr2line() {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let libraries = maps.lines().filter_map(|line| line.split_once('/').map(|(_, path)| format!("/{path}")));
    let debian = |path: &String| ["/libc.so", "/libm.so", "/ld-linux"].iter().any(|name| path.contains(name));
    let files: BTreeSet<String> = libraries.filter(debian).collect();
    assert!(files.len() > 1, "{maps}");
    let (mut worker, mut random) = (worker(), Random::new());
    let (mut same, mut total, mut inlined) = (0, 0, 0);
    for path in &files {
        let path = Path::new(&path);
        let image = std::fs::read(path).unwrap();
        let (addresses, offset) = in_text(&image, &mut random);
        let expected = addr2line(path, &addresses);
        let file = File::open(path).unwrap();
        let mapped = Mapped {
            file: &file,
            path: path.to_str().unwrap(),
            build_id: build_id_of(&file),
            identity: None,
            root: None,
            debug: None,
        };
        let offsets: Vec<u64> = addresses.iter().map(|address| address.wrapping_sub(offset)).collect();
        let found = worker.of_file(&mapped, &offsets, None).unwrap();
        for ((address, expected), found) in addresses.iter().zip(expected).zip(found) {
            let found: Vec<String> = match &found {
                Symbolized::Named(symbols) => symbols.iter().map(|symbol| bare(&symbol.name)).collect(),
                Symbolized::Unknown(_) | Symbolized::Nameless(..) => vec!["??".to_owned()],
            };
            // binutils name the nearest symbol even where no symbol reaches; and know one name of several.
            let alias = found.len() == expected.len() && found[..found.len() - 1] == expected[..expected.len() - 1];
            total += 1;
            inlined += usize::from(expected.len() > 1);
            if found == expected || alias {
                same += 1;
            } else {
                eprintln!("{} {address:#x}: {found:?}, binutils say {expected:?}", path.display());
            }
        }
    }
    eprintln!("{same} of {total} agree; {inlined} have inlined functions");
    assert!(inlined > total / 20, "there is no debug information: is libc6-dbg installed?");
    assert!(same * 100 >= total * 99, "{same} of {total}");
}

/// Random addresses in `.text`, and what to take from an address to get the offset in the file.
fn in_text(image: &[u8], random: &mut Random) -> (Vec<u64>, u64) {
    let headers = section_headers(image);
    let names = number(image, headers[number(image, 62, 2)] + 24, 8);
    let text = headers.into_iter().find(|at| image[names + number(image, *at, 4)..].starts_with(b".text\0")).unwrap();
    let (address, offset, len) =
        (number(image, text + 16, 8), number(image, text + 24, 8), number(image, text + 32, 8));
    let addresses = (0..ADDRESSES).map(|_| (address + random.below(len)) as u64).collect();
    (addresses, address.wrapping_sub(offset) as u64)
}

/// The functions at each address, innermost first.
fn addr2line(path: &Path, addresses: &[u64]) -> Vec<Vec<String>> {
    let mut child = Command::new("addr2line")
        .args(["-a", "-f", "-i", "-C", "-e"])
        .arg(path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let questions: String = addresses.iter().map(|address| format!("{address:#x}\n")).collect();
    let mut stdin = child.stdin.take().unwrap();
    let asking = std::thread::spawn(move || stdin.write_all(questions.as_bytes()).unwrap());
    let output = child.wait_with_output().unwrap();
    asking.join().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut answers: Vec<Vec<String>> = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if line.starts_with("0x") {
            answers.push(Vec::new());
        } else {
            answers.last_mut().unwrap().push(bare(line));
            let _place = lines.next();
        }
    }
    assert_eq!(answers.len(), addresses.len());
    answers
}

/// A name without what demanglers write differently: parameters, hashes, spaces, versions.
fn bare(name: &str) -> String {
    let name = name.split("::h").next().unwrap_or(name);
    let name = name.split(['(', '<', '@', ' ']).next().unwrap_or(name);
    name.split(".part").next().unwrap_or(name).to_owned()
}
