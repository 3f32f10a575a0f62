//! What is typed, and what it is read as.

#![expect(clippy::unwrap_used, reason = "tests")]

use clap::CommandFactory as _;
use clap::error::ErrorKind;

use super::values::{base, cpu_list, duration, listen, window};
use super::*;

/// Clap's own check of the whole definition.
#[test]
fn the_definition_is_consistent() {
    Args::command().debug_assert();
}

/// The help of all commands reads well where it is widest, at 100 columns: no line is broken there and once more by hand.
#[test]
fn no_line_of_the_help_is_broken_twice() {
    fn broken(command: &clap::Command, found: &mut Vec<String>) {
        let text = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let goes_on = |at: usize| lines.get(at + 1).is_some_and(|next| !next.is_empty());
        let long = (0..lines.len()).filter(|at| lines[*at].chars().count() > 100 && goes_on(*at));
        found.extend(long.map(|at| format!("{}: {}", command.get_name(), lines[at])));
        command.get_subcommands().for_each(|command| broken(command, found));
    }
    let mut found = Vec::new();
    broken(&Args::command(), &mut found);
    assert_eq!(found, [""; 0]);
}

/// Bare numbers are seconds; units are as people write them; nonsense and zero are refused.
#[test]
fn durations_are_read_as_people_write_them() {
    for (text, seconds) in [("30", 30), ("30s", 30), ("5m", 300), ("1h30m", 5400), ("30d", 30 * 86_400)] {
        assert_eq!(duration(text).unwrap(), Duration::from_secs(seconds), "{text}");
    }
    for (text, millis) in [("1.5", 1500), (".25", 250), ("0.5", 500), ("500ms", 500)] {
        assert_eq!(duration(text).unwrap(), Duration::from_millis(millis), "{text}");
    }
    for text in ["", "0", "0.0", "-5s", "-1.5", "soon", "5 parsecs", "inf", "NaN", "1e30"] {
        assert!(duration(text).is_err(), "{text}");
    }
}

/// Lengths that would overflow a clock or never be reached are refused.
#[test]
fn windows_have_a_sensible_length() {
    assert_eq!(window("200ms").unwrap(), Duration::from_millis(200));
    for text in ["1ms", "2h", "999999999999"] {
        assert!(window(text).is_err(), "{text}");
    }
}

/// The page's address is one that a browser opens.
#[test]
fn a_base_is_a_web_address() {
    for good in ["http://localhost:8000", "https://prof.example/path/", "http://[::1]:7117/"] {
        assert_eq!(base(good).as_deref(), Ok(good));
    }
    for bad in ["", "localhost:8000", "ftp://x/", "/path", "http://x/?a=b", "javascript:alert(1)"] {
        assert!(base(bad).is_err(), "{bad}");
    }
}

/// What follows `--` belongs to the command, options included.
#[test]
fn a_commands_own_options_are_left_alone() {
    let args = Args::try_parse_from(["profiler", "record", "-F", "199", "-o", "x.svg", "--", "ls", "-la"]).unwrap();
    let Command::Record(record) = args.command else { panic!("not record") };
    assert_eq!(record.command, ["ls", "-la"]);
    assert_eq!(record.sampling.frequency, Some(FrequencyArg::Hz(199)));
}

fn record(line: &str) -> Result<RecordArgs, clap::Error> {
    let words =
        line.split('|').flat_map(|words| if words.contains('\n') { vec![words] } else { words.split(' ').collect() });
    match Args::try_of(["profiler", "record"].into_iter().chain(words).map(OsString::from).collect())?.command {
        Command::Record(record) => Ok(record),
        _ => panic!("not record"),
    }
}

/// What hands have learned from perf, samply and py-spy.
#[test]
fn words_of_other_profilers_are_read() {
    let perf = record("-F 99 -a -g -- sleep 5").unwrap();
    assert_eq!((perf.sampling.frequency, perf.command.len()), (Some(FrequencyArg::Hz(99)), 2));
    assert_eq!(record("sleep 1").unwrap().command, ["sleep", "1"]);
    let samply = record("-r 1000 -o x.svg ls -la --color").unwrap();
    assert_eq!(samply.command, ["ls", "-la", "--color"]);
    assert_eq!(samply.sampling.frequency, Some(FrequencyArg::Hz(1000)));
    assert_eq!(record("-a -F max").unwrap().sampling.frequency, Some(FrequencyArg::Max));
    assert_eq!(record("-d 1.5 -a").unwrap().duration, Some(Duration::from_millis(1500)));
    assert_eq!(record("-a --call-graph dwarf,65528").unwrap().sampling.call_graph, Some(UnwindArg::Auto));
    assert_eq!(record("-a --call-graph fp").unwrap().sampling.call_graph, Some(UnwindArg::Fp));
    assert!(record("-a --call-graph magic").is_err());
    assert_eq!(record("-p 7 sleep 5").unwrap().command, ["sleep", "5"]);
}

/// `-p $(pgrep many)` gives several words, `-p "$(pgrep many)"` one with line ends, `-p $(pgrep nobody)` none.
#[test]
fn process_ids_come_as_pgrep_prints_them() {
    for line in ["-p 12 34 56 -d 5", "-p|12\n34\n56|-d 5", "-p 12,34,56 -d 5", "-p 12 -p 34 -p 56 -d 5"] {
        let read = record(line).unwrap();
        assert_eq!(
            (read.who.pids(), read.command.len(), read.duration.is_some()),
            (vec![12, 34, 56], 0, true),
            "{line}"
        );
    }
    for line in ["-p -d 5", "-d 5 -p"] {
        assert!(record(line).unwrap_err().to_string().contains("no process is called so"), "{line}");
    }
}

/// CPUs as the kernel lists them.
#[test]
fn cpus_are_a_list() {
    assert_eq!(cpu_list("0,2,4-6").unwrap().0, [0, 2, 4, 5, 6]);
    for bad in ["", "3-1", "a", "0-", "0-4294967295"] {
        assert!(cpu_list(bad).is_err(), "{bad}");
    }
}

/// A port alone is one of this host, and names are looked up.
#[test]
fn an_address_may_be_a_port_or_a_name() {
    for text in ["7503", ":7503", "localhost:7503", "127.0.0.1:7503"] {
        assert_eq!(listen(text).unwrap().to_string(), "127.0.0.1:7503", "{text}");
    }
    assert_eq!(listen("[::1]:80").unwrap().to_string(), "[::1]:80");
    for bad in ["", "here", "1.2.3.4", ":x", "70000"] {
        assert!(listen(bad).is_err(), "{bad}");
    }
}

/// Two answers to "whom?" are a mistake.
#[test]
fn targets_exclude_each_other() {
    assert!(Args::try_parse_from(["profiler", "record", "-a", "-p", "1"]).is_err());
    assert!(Args::try_parse_from(["profiler", "record", "-t", "2", "-p", "1"]).is_err());
    assert!(Args::try_parse_from(["profiler", "run", "-p", "1", "--cgroup", "/x"]).is_err());
}

/// What the page, messages and documents tell people to type is a command that we have, with options that it has, and settings that
/// this kernel has.
#[test]
fn every_command_that_is_recommended_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut files = vec![root.join("README.md"), root.join("web/src/model/remedies.ts")];
    let mut folders = vec![root.join("docs"), root.join("profiler/src")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                // These tell of what was.
                true if path.ends_with("decisions") => {}
                true => folders.push(path),
                false => files.push(path),
            }
        }
    }
    let is_text = |file: &PathBuf| {
        let kind = file.extension().is_some_and(|kind| ["md", "rs", "ts"].iter().any(|text| kind == *text));
        kind && !file.ends_with("tests.rs")
    };
    let (mut ours, mut settings, mut wrong) = (0, 0, Vec::new());
    for file in files.into_iter().filter(is_text) {
        let text = std::fs::read_to_string(&file).unwrap();
        for line in text.split("#[cfg(test)]").next().unwrap_or_default().lines() {
            for command in commands_in(line) {
                ours += 1;
                let words = shlex::split(command).unwrap_or_default();
                match Args::try_parse_from(words).map_err(|error| error.kind()) {
                    Ok(_) => {}
                    // Placeholders and what is left out are the reader's to fill in.
                    Err(
                        ErrorKind::MissingRequiredArgument
                        | ErrorKind::DisplayHelp
                        | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
                        | ErrorKind::DisplayVersion,
                    ) => {}
                    Err(kind) => wrong.push(format!("{}: {command}: {kind}", file.display())),
                }
            }
            for rest in line.split("sysctl ").skip(1) {
                let Some(setting) = rest.split(['"', '`', '=', ' ']).find(|word| *word != "-w") else { continue };
                if setting.contains('.') {
                    settings += 1;
                    if !Path::new("/proc/sys").join(setting.replace('.', "/")).exists() {
                        wrong.push(format!("{}: sysctl {setting}", file.display()));
                    }
                }
            }
        }
    }
    assert_eq!(wrong, [""; 0]);
    assert!(ours > 40 && settings >= 3, "{ours}, {settings}: this looks at nothing");
}

/// The commands of ours that stand in a line, in quotes or by themselves.
fn commands_in(line: &str) -> Vec<&str> {
    let typed = line.strip_prefix("sudo ").unwrap_or(line);
    if typed.starts_with("profiler ") {
        let end = [" #", "  #", " | ", " > ", " && ", "; "].iter().filter_map(|end| typed.find(end)).min();
        return vec![&typed[..end.unwrap_or(typed.len())]];
    }
    let mut found = Vec::new();
    for (begin, end) in [("`profiler ", '`'), ("\"profiler ", '"')] {
        for (at, _) in line.match_indices(begin) {
            let command = &line[at + 1..];
            found.extend(command.split([end, '|']).next());
        }
    }
    // What is put together at run time, or is said not to exist.
    found.retain(|command| {
        command.trim() != "profiler"
            && !command.contains(['{', '…'])
            && !command.contains("...")
            && !command.contains("COMMAND")
    });
    found
}
