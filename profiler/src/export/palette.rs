//! The colours of flame graphs in files: those of the page (`web/src/model/color.ts`), so that a picture and the page are read alike.

use crate::profile::FrameKind;

/// Fills by kind of frame: light, dark.
pub(super) const FILLS: [[&str; 2]; FrameKind::COUNT] = [
    ["#d5dae1", "#39424f"], // root
    ["#dde2ea", "#38414e"], // process
    ["#9cc3f5", "#2c5a94"], // user
    ["#f8b878", "#8a4d12"], // kernel
    ["#7fd6c8", "#14645d"], // inlined
    ["#c4c9d1", "#525a66"], // unknown
    ["#f7dc86", "#6b540a"], // note
    ["#e3e6ea", "#333a44"], // remainder
    ["#b9dc6e", "#4a6412"], // JIT
];

/// Shades of each, and how far a shade goes towards white.
const SHADES: u32 = 3;
const SHADE: f64 = 0.07;

/// What the colours mean.
pub(super) const LEGEND: &str = "Blue native, orange kernel, teal inlined, green JIT, grey no symbol.";

/// The light fill of a frame: red, green, blue.
pub(super) fn light(kind: FrameKind, name: &str) -> [u8; 3] {
    let [fill, _] = FILLS[kind as usize];
    let share = f64::from(shade(name)) * SHADE;
    channels(fill).map(|value| (f64::from(value) + (255.0 - f64::from(value)) * share).round() as u8)
}

/// Which shade a function has, everywhere the same: by the last eight letters and the length of its name.
fn shade(name: &str) -> u32 {
    let units: Vec<u16> = name.encode_utf16().collect();
    let last = &units[units.len().saturating_sub(8)..];
    let mut hash = 2_166_136_261_u32 ^ units.len() as u32;
    for unit in last {
        hash = (hash ^ u32::from(*unit)).wrapping_mul(16_777_619);
    }
    (hash ^ (hash >> 15)) % SHADES
}

fn channels(fill: &str) -> [u8; 3] {
    [1, 3, 5].map(|at| u8::from_str_radix(&fill[at..at + 2], 16).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    /// The page's colours, read in its source.
    #[test]
    fn files_wear_the_colours_of_the_page() {
        let page = include_str!("../../../web/src/model/color.ts");
        let fills = page.split_once("const FILLS").unwrap().1.split_once("= [").unwrap().1.split_once("];").unwrap().0;
        let of_page: Vec<Vec<&str>> = fills
            .lines()
            .filter(|line| line.contains('#'))
            .map(|line| line.split('"').filter(|part| part.starts_with('#')).collect())
            .collect();
        assert_eq!(of_page, FILLS);
        assert!(
            page.contains(&format!("export const SHADES = {SHADES};")) && page.contains(&format!("shade: {SHADE},"))
        );
    }

    /// The shade is the page's (`shadeOf` in `web/src/model/coloring.ts`).
    #[test]
    fn a_function_has_one_shade_everywhere() {
        assert_eq!(["main", "serve", "read", "std::vector::push_back"].map(shade), [0, 2, 0, 0]);
        assert_eq!(light(FrameKind::User, "main"), [0x9c, 0xc3, 0xf5]);
    }
}
