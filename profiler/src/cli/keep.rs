//! What is kept of what was sampled: `-t`, `-u`, `-C`, `--comm`, `--unit`, `--container`.
//!
//! `-p` and `--cgroup` are asked in the kernel, before a stack is walked. These are asked here, once a sample's process is known. A sample
//! that is not kept is no loss: it counts as filtered, like those that the kernel side leaves out, and not as taken.

use std::collections::BTreeSet;

use super::args::WhoArgs;
use super::exit::Usage;
use crate::profile::{ProcessFacts, RawSample};

/// Conditions that are all to be met; none for `None` and for empty lists.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Keep {
    cpus: Option<BTreeSet<u32>>,
    threads: Option<BTreeSet<u32>>,
    users: Option<BTreeSet<u32>>,
    comms: Vec<String>,
    units: Vec<String>,
    containers: Vec<String>,
}

impl Keep {
    /// What the command line asks for.
    ///
    /// # Errors
    /// A user that does not exist, a container without an id.
    pub fn of(args: &WhoArgs) -> Result<Self, Usage> {
        let users = args.users.iter().map(|name| user_id(name)).collect::<Result<BTreeSet<_>, _>>()?;
        if args.containers.iter().any(String::is_empty) {
            return Err(Usage("--container needs an id, or the beginning of one".into()));
        }
        let some = |set: BTreeSet<u32>| (!set.is_empty()).then_some(set);
        Ok(Self {
            cpus: args.cpus.as_ref().map(|cpus| cpus.0.iter().copied().collect()),
            threads: some(args.tids().into_iter().collect()),
            users: some(users),
            // The kernel cuts names there.
            comms: args.comms.iter().map(|name| name[..name.floor_char_boundary(15)].to_owned()).collect(),
            units: args.units.iter().map(|unit| unit_name(unit)).collect(),
            containers: args.containers.clone(),
        })
    }

    /// Whether a sample is kept, as far as its CPU and thread say.
    pub fn takes(&self, sample: &RawSample) -> bool {
        self.cpus.as_ref().is_none_or(|cpus| cpus.contains(&sample.cpu))
            && self.threads.as_ref().is_none_or(|threads| threads.contains(&sample.tid))
    }

    /// Whether a process's samples are kept. One whose user is not known, because it had ended, is nobody's.
    pub fn takes_process(&self, facts: &ProcessFacts, user: impl FnOnce() -> Option<u32>) -> bool {
        let one_of =
            |wanted: &[String], is: &dyn Fn(&str) -> bool| wanted.is_empty() || wanted.iter().any(|one| is(one));
        one_of(&self.comms, &|comm| facts.comm == comm)
            && one_of(&self.units, &|unit| facts.unit.as_deref() == Some(unit))
            && one_of(&self.containers, &|id| facts.container.as_ref().is_some_and(|own| own.0.starts_with(id)))
            && self.users.as_ref().is_none_or(|users| user().is_some_and(|user| users.contains(&user)))
    }
}

/// The full name of a unit: `.service` may be left out, as for `systemctl`.
pub fn unit_name(unit: &str) -> String {
    if unit.contains('.') { unit.to_owned() } else { format!("{unit}.service") }
}

/// A user's number: as written, or by name in `/etc/passwd`, or in the directories (LDAP, sssd) that the host's `getent` asks.
fn user_id(name: &str) -> Result<u32, Usage> {
    if let Ok(number) = name.parse() {
        return Ok(number);
    }
    let local = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    number_of(name, &local)
        .or_else(|| {
            let asked = std::process::Command::new("getent").args(["passwd", "--", name]).output().ok()?;
            number_of(name, &String::from_utf8_lossy(&asked.stdout))
        })
        .ok_or_else(|| Usage(format!("no user is called {name}: getent passwd lists them; a number will do (id -u)")))
}

/// That of a user in lines as `/etc/passwd` has them.
fn number_of(name: &str, lines: &str) -> Option<u32> {
    let row = |line: &str| {
        let mut fields = line.split(':');
        (fields.next()? == name).then(|| fields.nth(1)?.parse().ok())?
    };
    lines.lines().find_map(row)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::profile::{ContainerId, ProcessKey, StartTicks};

    fn facts(comm: &str, unit: &str, container: &str) -> ProcessFacts {
        ProcessFacts {
            key: ProcessKey { pid: 7, start: StartTicks(1) },
            comm: comm.into(),
            exe: None,
            cgroup: "/".into(),
            container: (!container.is_empty()).then(|| ContainerId(container.into())),
            unit: (!unit.is_empty()).then(|| unit.into()),
        }
    }

    /// All conditions are met, each by one of its values; nothing asked for is everything.
    #[test]
    fn every_condition_is_met() {
        let web = facts("nginx", "nginx.service", "0123abcd");
        let asked = |change: &dyn Fn(&mut WhoArgs)| {
            let mut args = WhoArgs::default();
            change(&mut args);
            Keep::of(&args).unwrap()
        };
        let takes = |keep: Keep| keep.takes_process(&web, || Some(33));
        assert!(takes(Keep::default()));
        assert!(takes(asked(&|args| args.comms = vec!["x".into(), "nginx".into()])));
        assert!(takes(asked(&|args| args.units = vec!["nginx".into()])));
        assert!(takes(asked(&|args| args.containers = vec!["0123".into()])));
        assert!(takes(asked(&|args| args.users = vec!["33".into()])));
        assert!(!takes(asked(&|args| args.users = vec!["root".into()])));
        assert!(!takes(asked(&|args| args.units = vec!["nginx.socket".into()])));
        assert!(!takes(asked(&|args| (args.comms, args.containers) = (vec!["nginx".into()], vec!["9".into()]))));
        let of_root = asked(&|args| args.users = vec!["root".into()]);
        assert!(of_root.takes_process(&web, || Some(0)) && !of_root.takes_process(&web, || None));
        let args = WhoArgs { users: vec!["nobody-of-this-name".into()], ..WhoArgs::default() };
        assert!(Keep::of(&args).unwrap_err().0.contains("no user is called nobody-of-this-name"));
        assert_eq!(number_of("b", "a:x:1:1::/:\nb:x:10023:7:B:/home/b:/bin/sh\n"), Some(10023));
    }
}
