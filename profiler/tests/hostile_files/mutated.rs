//! Files with random damage.

use std::time::Instant;

use profiler::profile::{Symbolized, UnknownReason};

use super::image::{program, section_headers};
use super::{Random, ask, code, file_of, resident, rounds, worker};

/// Growth of our own memory that is let pass: 20 MiB.
const GROWTH: u64 = 20 << 20;

/// A few thousand damaged files (`make fuzz-names`: a million): we go on, no question takes longer than its time, our memory stays
/// what it was. Children may die; how many is printed.
#[test]
fn damaged_files_harm_nobody() {
    let images = [
        program(&[]),
        program(&["-gz=zlib"]),
        program(&["-gdwarf-4", "-no-pie"]),
        program(&["-gdwarf-5", "-gsplit-dwarf"]),
    ];
    let (mut worker, mut random, total) = (worker(), Random::new(), rounds("NAMES_MUTATED", 3000));
    let (mut failed, mut named, mut cut) = (0, 0, 0);
    let (begin, mut before) = (Instant::now(), 0);
    for round in 0..total {
        let image = damage(&images[random.below(images.len())], &mut random);
        let offsets = [0x1000, 0x1060, 0x1140 + random.next() % 64, random.next() % 0x4000];
        let file = file_of(&image);
        cut += usize::from(code(&mut worker, &file, &offsets));
        for name in ask(&mut worker, &file, &offsets) {
            failed += u64::from(name == Symbolized::Unknown(UnknownReason::SymbolizerFailed));
            named += u64::from(matches!(name, Symbolized::Named(_)));
        }
        if round == total / 10 {
            before = resident();
        }
        if round % 50_000 == 0 && round > 0 {
            eprintln!("{round} files, {failed} failed answers, {named} names, {:?}", begin.elapsed());
        }
    }
    let grown = resident().saturating_sub(before);
    let rate = total as f64 / begin.elapsed().as_secs_f64();
    eprintln!(
        "{total} damaged files at {rate:.0}/s: {named} names, {failed} failed answers; our memory grew by {grown} bytes"
    );
    assert!(grown < GROWTH, "{grown}");
    assert!(cut as u64 > total / 2, "the damage is so large that no code is cut out: {cut}");
    assert!(named > total / 2, "the damage is so large that nothing is tested: {named}");
    // After all that a good file has its names.
    let names = ask(&mut worker, &file_of(&images[0]), &[0x1140]);
    assert!(matches!(names[0], Symbolized::Named(_)), "{names:?}");
}

/// Up to eight places are changed, half of them in headers, to random or to nasty numbers; some files are cut.
fn damage(image: &[u8], random: &mut Random) -> Vec<u8> {
    const NASTY: [u64; 8] = [0, 1, 0x7fff_ffff, 0xffff_ffff, 1 << 32, 1 << 46, u64::MAX >> 1, u64::MAX];
    let mut image = image.to_vec();
    let headers = section_headers(&image);
    for _ in 0..=random.below(8) {
        let at = match random.below(4) {
            0 => random.below(64 + 13 * 56),
            1 => headers[random.below(headers.len())] + random.below(64),
            _ => random.below(image.len()),
        };
        let len = 1 << random.below(4);
        let value = if random.below(2) == 0 { NASTY[random.below(NASTY.len())] } else { random.next() };
        let end = (at + len).min(image.len());
        image[at..end].copy_from_slice(&value.to_le_bytes()[..end - at]);
    }
    if random.below(16) == 0 {
        image.truncate(random.below(image.len()).max(1));
    }
    image
}
