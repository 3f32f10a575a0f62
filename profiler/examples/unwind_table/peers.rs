//! What `perf script` and bpftrace print.

use crate::stacks::{Frame, GONE, Stack};

/// `perf script -F comm,ip,sym,dso`: a line for the sample, one for each frame (leaf first), an empty one.
pub fn perf(text: &str) -> Vec<Stack> {
    text.split("\n\n").filter(|sample| !sample.trim().is_empty()).map(sample).collect()
}

fn sample(text: &str) -> Stack {
    let mut stack = Stack { count: 1, ..Stack::default() };
    for line in text.lines().filter(|line| line.starts_with([' ', '\t'])) {
        let Some((ip, rest)) = line.trim().split_once(' ') else { continue };
        let (name, binary) = rest.rsplit_once(" (").unwrap_or((rest, ""));
        // Modules and BPF programs of the kernel are in brackets too, but lie high.
        if binary.starts_with("[kernel") || ip.len() == 16 && ip.starts_with("ffff") {
            stack.gone |= GONE.contains(&name);
            continue;
        }
        stack.frames.push(frame(name, binary, ip));
    }
    stack
}

fn frame(name: &str, binary: &str, ip: &str) -> Frame {
    Frame {
        name: (name != "[unknown]").then(|| name.to_owned()),
        binary: binary.trim_end_matches(')').to_owned(),
        offset: u64::from_str_radix(ip, 16).ok(),
    }
}

/// bpftrace's `@[ustack(perf)] = count()`: `@[`, a frame a line (leaf first), `]: COUNT`.
pub fn bpftrace(text: &str) -> Vec<Stack> {
    let mut stacks = Vec::new();
    let mut frames = Vec::new();
    for line in text.lines() {
        if let Some(count) = line.rsplit_once("]: ").map(|(_, count)| count) {
            // No frames at all: the process had no memory any more.
            let (count, gone) = (count.trim().parse().unwrap_or(0), frames.is_empty());
            stacks.push(Stack { frames: std::mem::take(&mut frames), count, cut: None, gone });
        } else if let Some((ip, rest)) = line.trim().split_once(' ') {
            let (name, binary) = rest.rsplit_once(" (").unwrap_or((rest, ""));
            frames.push(frame(name.rsplit_once('+').map_or(name, |(name, _)| name), binary, ip));
        }
    }
    stacks
}
