//! The command line before clap reads it: what shells make of `-p $(pgrep NAME)`, and words that other profilers have.

use std::ffi::OsString;

/// Joins process ids that a shell has split into words: `-p 12 34 -d 5` becomes `-p 12,34 -d 5`. Nothing behind `--` is touched.
pub fn join_pids(words: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let is_number = |word: &OsString| word.to_str().is_some_and(|word| word.parse::<u32>().is_ok());
    let (mut joined, mut words) = (Vec::<OsString>::new(), words.into_iter().peekable());
    while let Some(word) = words.next() {
        if word == "--" {
            joined.push(word);
            joined.extend(words);
            return joined;
        }
        let is_option = word == "-p" || word == "--pid";
        joined.push(word);
        if !is_option {
            continue;
        }
        let Some(mut pids) = words.next_if(is_number) else { continue };
        while let Some(more) = words.next_if(is_number) {
            pids.push(",");
            pids.push(more);
        }
        joined.push(pids);
        // What comes later may be a command's own.
        joined.extend(words);
        return joined;
    }
    joined
}

/// What to say of a command that other profilers have.
pub fn other(command: &str) -> String {
    format!("there is no `profiler {command}`: {}", instead_of(command))
}

/// What does what it does there.
fn instead_of(command: &str) -> &'static str {
    match command {
        "report" | "top" => {
            "`profiler record` ends with the hottest functions, `profiler export DB -o out.html` writes a page to look around in, \
             `profiler serve DB` shows the whole history; as a table: profiler sql DB \"SELECT function, sum(samples) FROM samples GROUP BY 1 ORDER BY 2 DESC LIMIT 20\""
        }
        "script" => "`profiler export DB` writes folded stacks, `profiler sql DB QUESTION` says anything else",
        "flamegraph" => "use `profiler record -o out.svg`, or `profiler export DB -o out.svg`",
        "diff" => "`profiler serve DB` compares two spans on its page",
        "import" => "files of other profilers are not read; `profiler serve DB` shows what `run` and `record` write",
        _ => "use `profiler --version`",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn joined(line: &str) -> String {
        let words = join_pids(line.split_whitespace().map(OsString::from));
        words.iter().map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
    }

    /// Each has an answer that names a command of ours.
    #[test]
    fn other_commands_have_an_answer() {
        for command in ["report", "top", "script", "flamegraph", "diff", "import", "version"] {
            assert!(other(command).split_once(": ").is_some_and(|(_, way)| way.contains("`profiler ")), "{command}");
        }
    }

    /// Numbers behind `-p` belong to it, all others stay where they are.
    #[test]
    fn process_ids_are_joined() {
        for (typed, meant) in [
            ("record -p 12 34 56 -d 5", "record -p 12,34,56 -d 5"),
            ("record --pid 12 34", "record --pid 12,34"),
            ("record -p 12 sleep 5", "record -p 12 sleep 5"),
            ("record -p -d 5", "record -p -d 5"),
            ("record -p 12,34 -- x -p 1 2", "record -p 12,34 -- x -p 1 2"),
            ("record -p 12 34 x -p 1 2", "record -p 12,34 x -p 1 2"),
            ("record -F 99 -- x -p 1 2", "record -F 99 -- x -p 1 2"),
        ] {
            assert_eq!(joined(typed), meant);
        }
    }
}
