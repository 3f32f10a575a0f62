//! Parsers for the text of `/proc/PID/stat` and `/proc/PID/maps`. Pure; anything odd is `None`, never a panic.

use crate::profile::StartTicks;
use crate::profile::{InodeNumber, MappedFile};

/// What `/proc/PID/status` says of a process: its id in the innermost namespace, and its effective user.
pub(super) fn parse_identity(text: &[u8]) -> Option<(u32, u32)> {
    let text = std::str::from_utf8(text).ok()?;
    let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name));
    let inside = field("NSpid:").or_else(|| field("Pid:"))?.split_ascii_whitespace().next_back()?.parse().ok()?;
    let user = field("Uid:")?.split_ascii_whitespace().nth(1)?.parse().ok()?;
    Some((inside, user))
}

/// What we read from `/proc/PID/stat` (`man 5 proc_pid_stat`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stat {
    /// Field 2, as bytes: whatever the process wrote there.
    pub comm: Vec<u8>,
    /// Field 3: its first thread has ended.
    pub ended: bool,
    /// Field 4: parent.
    pub ppid: u32,
    /// Field 9, bit `PF_KTHREAD`: a thread of the kernel.
    pub kernel_thread: bool,
    /// Field 20, more than one thread.
    pub has_threads: bool,
    /// Field 22: start time.
    pub start: StartTicks,
}

/// Parses `/proc/PID/stat`. The name may hold blanks and parentheses, so it ends at the *last* parenthesis.
pub(super) fn parse_stat(text: &[u8]) -> Option<Stat> {
    const PF_KTHREAD: u64 = 0x0020_0000;
    let open = text.iter().position(|&b| b == b'(')?;
    let close = text.iter().rposition(|&b| b == b')')?;
    let comm = text.get(open + 1..close)?.to_vec();
    let rest = str::from_utf8(&text[close + 1..]).ok()?;
    let mut fields = rest.split_ascii_whitespace();
    // The first one after the name is field 3.
    let ended = is_ended(text);
    let ppid = fields.nth(4 - 3)?.parse().ok()?;
    let flags: u64 = fields.nth(9 - 5)?.parse().ok()?;
    let threads: u64 = fields.nth(20 - 10)?.parse().ok()?;
    let start = StartTicks(fields.nth(22 - 21)?.parse().ok()?);
    Some(Stat { comm, ended, ppid, kernel_thread: flags & PF_KTHREAD != 0, has_threads: threads > 1, start })
}

/// Whether `stat` says that the thread runs or waits for a CPU (state `R`, field 3).
pub(super) fn is_running(stat: &[u8]) -> bool {
    state(stat) == Some(b'R')
}

/// Whether `stat` says that the thread has ended: a zombie (`Z`), or not even that (`X`).
pub(super) fn is_ended(stat: &[u8]) -> bool {
    matches!(state(stat), Some(b'Z' | b'X' | b'x'))
}

fn state(stat: &[u8]) -> Option<u8> {
    let close = stat.iter().rposition(|&b| b == b')')?;
    stat.get(close..)?.strip_prefix(b") ")?.first().copied()
}

/// One executable line of `/proc/PID/maps`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct MapsLine {
    /// First address.
    pub start: u64,
    /// First address after.
    pub end: u64,
    /// What others write there is seen.
    pub shared: bool,
    /// Offset in the file of `start`.
    pub offset: u64,
    /// Which file.
    pub identity: MappedFile,
    /// Path, `[vdso]` and the like, or empty; the kernel's `\012` for a line feed is undone.
    pub path: Vec<u8>,
}

/// Reads the executable lines of `/proc/PID/maps`; lines that do not parse are left out. Memory without a file that fills a hole between two
/// pieces of one file is that file's code, moved there (onto huge pages, say): it gets the file and its offset.
#[derive(Debug, Default)]
pub(super) struct MapsReader {
    /// What was read.
    pub lines: Vec<MapsLine>,
    /// End of the last line of a file, the offset there, and which file.
    before: (u64, u64, MappedFile),
    path: Vec<u8>,
    /// First of the lines without a file that follow that one without a gap.
    moved: Option<usize>,
}

impl MapsReader {
    /// Takes in whole lines.
    pub fn read(&mut self, text: &[u8]) {
        for line in text.split(|&b| b == b'\n') {
            let _ = self.read_line(line);
        }
    }

    fn read_line(&mut self, text: &[u8]) -> Option<()> {
        let (line, is_executable, path) = parse_maps_line(text)?;
        let (end, offset, file) = self.before;
        let is_file = line.identity.inode.is_some_and(|inode| inode.inode != 0) && path.starts_with(b"/");
        let is_memory = path.is_empty() && is_executable;
        if is_memory {
            let follows = self.moved.map_or(end, |first| self.lines[first..].last().map_or(end, |last| last.end));
            self.moved = (follows == line.start).then(|| self.moved.unwrap_or(self.lines.len()));
        } else if let Some(first) = self.moved.take()
            && is_file
            && line.identity == file
            && path == self.path
            && self.lines.last().is_some_and(|last| last.end == line.start)
            && offset.wrapping_add(line.start - end) == line.offset
        {
            for moved in &mut self.lines[first..] {
                (moved.offset, moved.identity) = (offset.wrapping_add(moved.start - end), file);
                moved.path = unescape_line_feeds(path);
            }
        }
        if is_file {
            self.before = (line.end, line.offset.wrapping_add(line.end - line.start), line.identity);
            self.path.clear();
            self.path.extend_from_slice(path);
        }
        if is_executable {
            self.lines.push(MapsLine { path: unescape_line_feeds(path), ..line });
        }
        Some(())
    }
}

/// What the kernel says is mapped at an address, by the text of `/proc/PID/maps`.
pub(super) fn identity_at(text: &[u8], address: u64) -> Option<InodeNumber> {
    let lines = text.split(|&b| b == b'\n').filter_map(parse_maps_line);
    let mut found = lines.filter(|(line, ..)| (line.start..line.end).contains(&address));
    found.next()?.0.identity.inode
}

/// The executable lines of a text.
pub(super) fn executable_maps(text: &[u8]) -> impl Iterator<Item = MapsLine> {
    let mut reader = MapsReader::default();
    reader.read(text);
    reader.lines.into_iter()
}

/// `start-end perms offset major:minor inode      path`, numbers hexadecimal but for the inode. The path stands apart, as it is written;
/// so does whether it is executable.
fn parse_maps_line(line: &[u8]) -> Option<(MapsLine, bool, &[u8])> {
    let mut rest = line;
    let (start, end) = split_at_byte(next_field(&mut rest)?, b'-')?;
    let permissions = next_field(&mut rest)?;
    let offset = hex(next_field(&mut rest)?)?;
    let (major, minor) = split_at_byte(next_field(&mut rest)?, b':')?;
    let inode = str::from_utf8(next_field(&mut rest)?).ok()?.parse().ok()?;
    let blanks = rest.iter().position(|&b| b != b' ').unwrap_or(rest.len());
    let line = MapsLine {
        start: hex(start)?,
        end: hex(end)?,
        shared: permissions.get(3) == Some(&b's'),
        offset,
        identity: MappedFile::of_inode(InodeNumber {
            major: hex(major)?.try_into().ok()?,
            minor: hex(minor)?.try_into().ok()?,
            inode,
            generation: 0,
        }),
        path: Vec::new(),
    };
    (line.start <= line.end).then_some((line, permissions.get(2) == Some(&b'x'), &rest[blanks..]))
}

fn next_field<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let field;
    (field, *rest) = match split_at_byte(rest, b' ') {
        Some(parts) => parts,
        None => (*rest, [].as_slice()),
    };
    (!field.is_empty()).then_some(field)
}

fn split_at_byte(text: &[u8], byte: u8) -> Option<(&[u8], &[u8])> {
    let at = text.iter().position(|&b| b == byte)?;
    Some((&text[..at], &text[at + 1..]))
}

fn hex(text: &[u8]) -> Option<u64> {
    u64::from_str_radix(str::from_utf8(text).ok()?, 16).ok()
}

fn unescape_line_feeds(path: &[u8]) -> Vec<u8> {
    const ESCAPED: &[u8] = b"\\012";
    let mut out = Vec::with_capacity(path.len());
    let mut rest = path;
    while let Some(at) = rest.windows(ESCAPED.len()).position(|four| four == ESCAPED) {
        out.extend_from_slice(&rest[..at]);
        out.push(b'\n');
        rest = &rest[at + ESCAPED.len()..];
    }
    out.extend_from_slice(rest);
    out
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use proptest::prelude::*;

    use super::*;

    /// A process in a container is 7 to itself; its name cannot forge lines, as the kernel escapes line feeds.
    #[test]
    fn the_innermost_pid_and_the_effective_user_are_read() {
        let status = b"Name:\tx\nPid:\t4711\nUid:\t0\t1000\t0\t0\nNSpid:\t4711\t23\t7\n";
        assert_eq!(parse_identity(status), Some((7, 1000)));
        assert_eq!(parse_identity(b"Pid:\t4711\nUid:\t5\t5\t5\t5\n"), Some((4711, 5)));
        assert_eq!(parse_identity(b"Pid:\tx\n"), None);
    }

    /// A process may call itself `) R 1 (`: the fields after it are still the kernel's.
    #[test]
    fn stat_survives_a_name_full_of_parentheses() {
        let text = b"4242 (a) R 1 (b) S 77 4242 4242 0 -1 4194560 100 0 0 0 1 2 0 0 20 0 1 0 123456 1000 10 18446744073709551615";
        let stat = parse_stat(text).unwrap();
        assert_eq!(stat.comm, b"a) R 1 (b");
        assert_eq!((stat.ppid, stat.start, stat.kernel_thread), (77, StartTicks(123_456), false));
        assert!(!stat.has_threads && !stat.ended);
        let leader = b"70 (leader) Z 1 70 70 0 -1 4194560 0 0 0 0 0 0 0 0 20 0 3 0 500 0 0";
        let leader = parse_stat(leader).unwrap();
        assert!(leader.has_threads && leader.ended && leader.start == StartTicks(500));
        let kernel = b"2 (kthreadd) S 0 0 0 0 -1 2129984 0 0 0 0 0 0 0 0 20 0 1 0 3 0 0 18446744073709551615";
        assert!(parse_stat(kernel).unwrap().kernel_thread);
        assert_eq!(parse_stat(b"4242 (cut off"), None);
    }

    /// Lines as the kernel writes them: files with blanks, escaped line feeds, no file, `--xp`; data is left out.
    #[test]
    fn executable_lines_are_kept_with_their_paths() {
        let text = b"\
562d35e2e000-562d35e30000 r--p 00000000 fe:00 247030                     /usr/bin/cat
562d35e30000-562d35e35000 r-xp 00002000 fe:00 247030                     /usr/bin/cat
7f0000000000-7f0000001000 rwxp 00000000 00:00 0 
7f5d0a029000-7f5d0a02a000 r-xp 00001000 08:11 12                         /opt/a b\\012c.so (deleted)
7f5d0a0a0000-7f5d0a0a2000 r-xp 00000000 00:00 0                          [vdso]
ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0                  [vsyscall]
garbage
";
        let lines: Vec<_> = executable_maps(text).collect();
        let paths: Vec<_> = lines.iter().map(|line| str::from_utf8(&line.path).unwrap()).collect();
        assert_eq!(paths, ["/usr/bin/cat", "", "/opt/a b\nc.so (deleted)", "[vdso]", "[vsyscall]"]);
        assert_eq!((lines[0].start, lines[0].end, lines[0].offset), (0x562d_35e3_0000, 0x562d_35e3_5000, 0x2000));
        assert_eq!(
            lines[2].identity,
            MappedFile::of_inode(InodeNumber { major: 8, minor: 0x11, inode: 12, generation: 0 })
        );
        assert_eq!(lines[4].start, 0xffff_ffff_ff60_0000);
    }

    /// Text that was moved to memory at its own address is the file's between its pieces, executable or not; memory beside a file, or between
    /// pieces that do not fit together, is memory.
    #[test]
    fn memory_that_fills_a_hole_in_a_file_is_the_file() {
        let described = |text: &str| {
            let mut reader = MapsReader::default();
            // As they come: a line at a time.
            text.lines().for_each(|line| reader.read(line.as_bytes()));
            let line =
                |line: &MapsLine| format!("{:x}+{:x} {}", line.start, line.offset, String::from_utf8_lossy(&line.path));
            reader.lines.iter().map(line).collect::<Vec<_>>().join(", ")
        };
        let header = "400000-401000 r--p 00000000 fe:00 5 /bin/a\n";
        let moved = "401000-600000 r-xp 00000000 00:00 0 \n600000-a00000 rwxp 00000000 00:00 0 \n";
        let rest = "a00000-a01000 r-xp 00600000 fe:00 5 /bin/a\n";
        let all = "401000+1000 /bin/a, 600000+200000 /bin/a, a00000+600000 /bin/a";
        assert_eq!(described(&[header, moved, rest].concat()), all);
        let data = "a00000-a01000 r--p 00600000 fe:00 5 /bin/a\n";
        assert_eq!(described(&[header, moved, data].concat()), "401000+1000 /bin/a, 600000+200000 /bin/a");
        let memory = "401000+0 , 600000+0 ";
        for other in [
            "",
            "a00000-a01000 r-xp 00601000 fe:00 5 /bin/a\n",
            "a00000-a01000 r--p 00600000 fe:00 6 /bin/a\n",
            "a01000-a02000 r--p 00601000 fe:00 5 /bin/a\n",
        ] {
            assert!(described(&[header, moved, other].concat()).starts_with(memory), "{other}");
        }
        assert!(described(&[moved, rest].concat()).starts_with(memory));
        assert_eq!(described("400000-401000 rwxp 00000000 00:00 0 \n"), "400000+0 ");
    }

    /// What this very process has mapped can be read.
    #[test]
    fn our_own_maps_parse() {
        let text = std::fs::read("/proc/self/maps").unwrap();
        let ours = executable_maps(&text).find(|line| {
            let here = our_own_maps_parse as *const () as u64;
            line.start <= here && here < line.end
        });
        assert_eq!(ours.unwrap().path, std::env::current_exe().unwrap().as_os_str().as_encoded_bytes());
        assert!(parse_stat(&std::fs::read("/proc/self/stat").unwrap()).unwrap().start.0 > 0);
    }

    proptest! {
        /// No bytes make the parsers panic.
        #[test]
        fn any_bytes_are_survived(text in proptest::collection::vec(
            prop_oneof![any::<u8>(), Just(b' '), Just(b'\n'), Just(b'-'), Just(b':'), Just(b'x'), Just(b'0'), Just(b')')], 0..300)) {
            parse_stat(&text);
            executable_maps(&text).for_each(drop);
        }
    }
}
