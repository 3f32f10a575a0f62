//! Stacks as the table counts them, and ours out of a database.

use std::path::Path;

use profiler::profile::{CallTree, FrameKind, TimeRange, WallNanos};
use profiler::query::{Selector, flame_graph};
use profiler::store::Reader;

use crate::elf;

/// A user frame, as far as it is known.
#[derive(Clone, Debug)]
pub struct Frame {
    /// Function.
    pub name: Option<String>,
    /// Path of the file.
    pub binary: String,
    /// Offset in it, where the function has no name.
    pub offset: Option<u64>,
}

impl Frame {
    /// For people.
    pub fn place(&self) -> String {
        let file = self.binary.rsplit('/').next().unwrap_or_default();
        match (&self.name, self.offset) {
            (Some(name), _) => format!("`{}` in {file}", name.chars().take(60).collect::<String>()),
            (None, Some(offset)) => format!("{file}+{offset:#x}"),
            (None, None) => file.to_owned(),
        }
    }

    /// The function, looked up in the file or its debug file when the profiler did not know it.
    fn looked_up(&self) -> Option<String> {
        self.name.clone().or_else(|| elf::function_at(Path::new(&self.binary), self.offset?))
    }
}

/// Equal samples.
#[derive(Clone, Debug, Default)]
pub struct Stack {
    /// User frames, leaf first, without inlined ones.
    pub frames: Vec<Frame>,
    /// Samples.
    pub count: u64,
    /// What the profiler itself says is wrong with it.
    pub cut: Option<String>,
    /// The process was in exit or exec: its memory is gone.
    pub gone: bool,
}

/// Kernel functions below which a process has no user stack.
pub const GONE: [&str; 3] = ["do_exit", "bprm_execve", "begin_new_exec"];

/// Where threads begin: libc's and musl's start of a process and of a thread, the loader's, Go's. Leading underscores and Go's
/// `.abi0` do not matter. A Go system stack begins with `mstart`, or where `mcall` and `morestack` switched to it for good.
const ENTRIES: [&str; 15] = [
    "start",
    "start_c",
    "dl_start_user",
    "clone",
    "clone3",
    "start_thread",
    "libc_start_main_stage2",
    "runtime.goexit",
    "runtime.mstart",
    "runtime.rt0_go",
    "runtime.mcall",
    "rt0_amd64_linux",
    "rt0_go",
    "runtime.morestack",
    "runtime.clone",
];

/// Whether the outermost frame is where a thread begins. Nameless code is taken for it when it called what only such code calls.
pub fn is_whole(frames: &[Frame]) -> bool {
    let Some(outermost) = frames.last() else { return false };
    match outermost.looked_up() {
        Some(name) => ENTRIES.contains(&plain(&name)),
        None => frames.iter().rev().nth(1).and_then(Frame::looked_up).is_some_and(|name| {
            ["libc_start_main", "libc_start_main_impl", "libc_start_call_main", "start_thread"].contains(&plain(&name))
        }),
    }
}

fn plain(name: &str) -> &str {
    let name = name.split(['@', '+']).next().unwrap_or_default();
    name.trim_start_matches('_').trim_end_matches(".abi0")
}

/// Every stack of a recording of ours.
pub fn of_database(path: &Path) -> Vec<Stack> {
    let Ok(mut reader) = Reader::open(path) else { return vec![] };
    let all_time = TimeRange { from: WallNanos(i64::MIN), to: WallNanos(i64::MAX) };
    of_tree(&flame_graph(&mut reader, all_time, &Selector::default(), usize::MAX).unwrap().tree)
}

fn of_tree(tree: &CallTree) -> Vec<Stack> {
    let mut stacks = Vec::new();
    let mut path: Vec<usize> = Vec::new();
    for (at, node) in tree.nodes.iter().enumerate() {
        path.truncate(node.depth as usize);
        path.push(at);
        if node.self_ == 0 {
            continue;
        }
        let mut stack = Stack { count: node.self_, ..Stack::default() };
        let mut in_kernel = false;
        for node in &path {
            let frame = &tree.frames[tree.nodes[*node].frame.0 as usize];
            let binary = frame.binary.as_deref().unwrap_or_default();
            match frame.kind {
                FrameKind::Note => stack.cut = Some(frame.name.trim_matches(['[', ']']).to_owned()),
                FrameKind::Kernel => {
                    in_kernel = true;
                    stack.gone |= GONE.contains(&&*frame.name);
                }
                FrameKind::User => {
                    stack.frames.push(Frame { name: Some((*frame.name).into()), binary: binary.into(), offset: None });
                }
                FrameKind::Unknown if !in_kernel && binary != "[kernel]" => {
                    let offset = frame.name.rsplit_once("+0x").map(|(_, hex)| hex.trim_end_matches(']'));
                    let offset = offset.and_then(|hex| u64::from_str_radix(hex, 16).ok());
                    stack.frames.push(Frame { name: None, binary: binary.into(), offset });
                }
                _ => {}
            }
        }
        stack.frames.reverse();
        stacks.push(stack);
    }
    stacks
}
