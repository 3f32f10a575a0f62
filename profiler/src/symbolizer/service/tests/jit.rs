//! Programs that wrote code: what they tell of it late, or last, is used.

use std::collections::BTreeMap;
use std::process::{Child, Command};

use super::*;
use crate::profile::StartTicks;

/// A program, for all that anybody asks it: it sleeps. It and its perf map go with the value.
struct Program(Child);

impl Program {
    fn start() -> Self {
        Self(Command::new("sleep").arg("1000").spawn().unwrap())
    }

    /// The code that it wrote, of which nothing is held open.
    fn code(&self) -> Binary {
        self.code_as(self.0.id())
    }

    /// The same as another process's.
    fn code_as(&self, pid: u32) -> Binary {
        let (inside, user) = (self.0.id(), rustix::process::geteuid().as_raw());
        let key = BinaryKey::Jit { boot_id: String::new(), pid, start: start_of(inside), inside, user };
        Binary::new(BinaryKind::Anonymous, key, "[anon]")
    }

    fn map(&self) -> String {
        format!("/tmp/perf-{}.map", self.0.id())
    }

    fn tell(&self, map: &str) {
        std::fs::write(self.map(), map).unwrap();
    }

    fn end(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.end();
        let _ = std::fs::remove_file(self.map());
    }
}

/// When a process began (field 22 of its `stat`, the 20th after the name).
fn start_of(pid: u32) -> StartTicks {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let mut fields = stat.rsplit_once(')').unwrap().1.split_ascii_whitespace();
    StartTicks(fields.nth(19).unwrap().parse().unwrap())
}

fn request(location: i64, binary: &Arc<Binary>, offset: u64) -> Request {
    Request { location: LocationId(location), binary: Arc::clone(binary), offset, weight: 1 }
}

fn next(answers: &Receiver<Answers>) -> Answers {
    answers.recv_timeout(Duration::from_secs(60)).unwrap()
}

/// Names by location; of what has none, the reason.
fn words(answers: Answers) -> BTreeMap<i64, String> {
    let word = |(LocationId(location), answer): (LocationId, Symbolized)| match answer {
        Symbolized::Named(symbols) => (location, symbols[0].name.to_string()),
        Symbolized::Unknown(reason) | Symbolized::Nameless(reason, _) => (location, format!("{reason:?}")),
    };
    answers.names.into_iter().map(word).collect()
}

fn all<const N: usize>(expected: [(i64, &str); N]) -> BTreeMap<i64, String> {
    expected.map(|(location, word)| (location, word.to_owned())).into()
}

/// A program that tells of nothing has its answer at once; when its map comes, long after, somebody is told to ask again.
#[test]
fn a_program_that_tells_at_last_is_heard() {
    let program = Program::start();
    let code = Arc::new(program.code());
    let (symbolizer, answers) = started(NamesWorker::new(real_child()));
    assert_eq!(symbolizer.request(vec![request(1, &code, 0x1001)]), 0);
    assert_eq!(words(next(&answers)), all([(1, "NoFile")]));
    program.tell("1000 10 late\n");
    let told = next(&answers);
    assert!(told.tells_more && told.binary.key == code.key && told.names.is_empty());
    assert_eq!(symbolizer.request(vec![request(1, &code, 0x1001)]), 0);
    assert_eq!(words(next(&answers)), all([(1, "late")]));
    assert_eq!(symbolizer.finish(Duration::from_secs(60)), 0);
    assert_eq!(answers.iter().count(), 0, "told once");
}

/// A map that comes at the very end is used for what had no name, also where its program has ended since.
#[test]
fn a_map_that_comes_last_is_used_at_the_end() {
    for ends in [false, true] {
        let mut program = Program::start();
        let code = program.code();
        let jit = crate::process::jit_sources(&code.key, None).map(Arc::new);
        let (symbolizer, answers) = started(NamesWorker::new(real_child()));
        assert_eq!(symbolizer.request(vec![request(1, &Arc::new(Binary { jit, ..code }), 0x1001)]), 0);
        assert_eq!(words(next(&answers)), all([(1, "NoFile")]));
        program.tell("1000 10 last\n");
        if ends {
            program.end();
        }
        assert_eq!(symbolizer.finish(Duration::from_secs(60)), 0);
        let names: Vec<_> = answers.iter().map(words).collect();
        assert_eq!(names, [all([(1, "last")])], "{ends}");
    }
}

/// A sample of code that its runtime tells of later gets its name then: the program lives, and is asked again. Of a program that has ended
/// the answer is final at once.
#[test]
fn code_told_of_late_is_named_late() {
    let program = Program::start();
    program.tell("1000 10 early\n");
    let (symbolizer, answers) = started(NamesWorker::new(real_child()));
    let (alive, dead) = (Arc::new(program.code()), Arc::new(program.code_as(u32::MAX >> 1)));
    let batch = vec![request(1, &alive, 0x1001), request(2, &alive, 0x2001), request(3, &dead, 0x2001)];
    assert_eq!(symbolizer.request(batch.clone()), 0);
    let mut names = BTreeMap::new();
    while names.len() < 2 {
        names.extend(words(next(&answers)));
    }
    assert_eq!(names, all([(1, "early"), (3, "NotFound")]));
    program.tell("1000 10 early\n2000 10 late\n");
    // The store asks in every window for what has no answer: it waits once.
    assert_eq!(symbolizer.request(vec![batch[1].clone()]), 0);
    while !names.contains_key(&2) {
        names.extend(words(next(&answers)));
    }
    assert_eq!(names[&2], "late");
    assert_eq!(symbolizer.finish(Duration::from_secs(60)), 0);
    assert_eq!(answers.iter().count(), 0, "answered once");
}
