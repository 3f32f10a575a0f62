//! What a control group path says about a process: container and systemd unit.
//!
//! Pure functions over the text of `/proc/PID/cgroup`. Groups can be named by whoever owns them, so an answer is a label,
//! not a proof.

use crate::profile::{ContainerId, printable};

/// Longest path kept, in bytes (`PATH_MAX`).
const MAX_PATH: usize = 4096;
/// Longest name of a container that is not an id.
const MAX_NAME: usize = 128;

/// A process's control group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cgroup {
    /// Path of the group, `/` at the root.
    pub path: String,
    /// Whether the path is of the unified hierarchy (v2), so that the kernel's cgroup id names the same group.
    pub unified: bool,
    /// Container named by the path.
    pub container: Option<ContainerId>,
    /// systemd unit named by the path.
    pub unit: Option<String>,
}

impl Cgroup {
    /// The root group.
    pub fn root() -> Self {
        Self { path: "/".to_owned(), unified: false, container: None, unit: None }
    }

    /// Reads the text of `/proc/PID/cgroup`: lines of `hierarchy:controllers:path`. The unified path (`0::`) counts, unless it is
    /// only the root, as on hosts which still use v1; then systemd's own hierarchy; then the longest path of any.
    pub fn parse(text: &[u8]) -> Self {
        let lines = || text.split(|&b| b == b'\n').filter_map(split_line);
        let unified = lines().find(|line| line.hierarchy == b"0" && line.controllers.is_empty() && line.path != b"/");
        let systemd = || lines().find(|line| line.controllers == b"name=systemd" && line.path != b"/");
        // The first of the longest, so that the answer does not depend on chance.
        let longest = || lines().reduce(|best, line| if line.path.len() > best.path.len() { line } else { best });
        let Some(line) = unified.or_else(systemd).or_else(longest) else { return Self::root() };
        let path = line.path.strip_suffix(b" (deleted)").unwrap_or(line.path);
        let path = printable(path, MAX_PATH);
        Self { unified: unified.is_some(), container: container(&path), unit: unit(&path), path }
    }
}

#[derive(Clone, Copy)]
struct Line<'a> {
    hierarchy: &'a [u8],
    controllers: &'a [u8],
    path: &'a [u8],
}

fn split_line(line: &[u8]) -> Option<Line<'_>> {
    let mut parts = line.splitn(3, |&b| b == b':');
    let (hierarchy, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
    path.starts_with(b"/").then_some(Line { hierarchy, controllers, path })
}

/// The innermost container of a path.
fn container(path: &str) -> Option<ContainerId> {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    (0..parts.len()).rev().find_map(|at| {
        let before = at.checked_sub(1).map(|before| parts[before]);
        container_of_part(before, parts[at])
    })
}

fn container_of_part(before: Option<&str>, part: &str) -> Option<ContainerId> {
    let bare = part.strip_suffix(".scope").unwrap_or(part);
    // `docker-ID.scope`, `cri-containerd-ID.scope`, `crio-ID.scope`, `libpod-ID.scope`, `ID`, and containerd's
    // `kubepods-podUID.slice:cri-containerd:ID`. A monitor (`conmon`) is the container's keeper, not the container.
    let (prefix, id) = bare.rsplit_once(['-', ':']).unwrap_or(("", bare));
    if is_id(id) {
        return (!prefix.ends_with("conmon")).then(|| ContainerId(id.to_owned()));
    }
    let nspawn = || part.strip_prefix("systemd-nspawn@")?.strip_suffix(".service").map(unescape);
    // libvirt's virtual machines are registered the same way as containers.
    let machine =
        || part.strip_prefix("machine-")?.strip_suffix(".scope").map(unescape).filter(|m| !m.starts_with("qemu-"));
    let name = match (part.strip_prefix("lxc.payload."), before) {
        (Some(name), _) => name.to_owned(),
        (None, Some("lxc" | "lxc.payload")) => part.to_owned(),
        (None, _) => nspawn().or_else(machine)?,
    };
    (!name.is_empty()).then(|| ContainerId(printable(name.as_bytes(), MAX_NAME)))
}

/// 64 lower-case hexadecimal digits, as Docker, containerd, CRI-O and podman name containers.
fn is_id(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// The innermost service or scope of a path, without the underscore by which systemd escapes group names.
fn unit(path: &str) -> Option<String> {
    path.rsplit('/')
        .map(|part| part.strip_prefix('_').unwrap_or(part))
        .find(|part| {
            part.strip_suffix(".service").or_else(|| part.strip_suffix(".scope")).is_some_and(|s| !s.is_empty())
        })
        .map(str::to_owned)
}

/// Undoes systemd's `\xNN` (`man systemd-escape`).
fn unescape(name: &str) -> String {
    let mut out = Vec::with_capacity(name.len());
    let mut rest = name.as_bytes();
    while let [first, tail @ ..] = rest {
        let escaped = rest
            .strip_prefix(b"\\x")
            .and_then(|hex| hex.get(..2))
            .and_then(|hex| u8::from_str_radix(str::from_utf8(hex).ok()?, 16).ok());
        if let Some(byte) = escaped {
            out.push(byte);
            rest = &rest[4..];
        } else {
            out.push(*first);
            rest = tail;
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ID: &str = "3f4a9c2b1d0e5f6a7b8c9d0e1f2a3b4c5d6e7f8091a2b3c4d5e6f708192a3b4c";

    fn parsed(text: &str) -> (String, Option<String>, Option<String>) {
        let cgroup = Cgroup::parse(text.replace("ID", ID).as_bytes());
        (
            cgroup.path.replace(ID, "ID"),
            cgroup.container.map(|id| id.0.replace(ID, "ID")),
            cgroup.unit.map(|u| u.replace(ID, "ID")),
        )
    }

    fn row(text: &str, path: &str, container: Option<&str>, unit: Option<&str>) {
        let expected = (path.to_owned(), container.map(str::to_owned), unit.map(str::to_owned));
        assert_eq!(parsed(text), expected, "{text}");
    }

    /// The paths that container runtimes make, each as seen on a host of its kind.
    #[test]
    fn containers_are_known_by_their_paths() {
        row("0::/system.slice/docker-ID.scope\n", "/system.slice/docker-ID.scope", Some("ID"), Some("docker-ID.scope"));
        row("0::/docker/ID", "/docker/ID", Some("ID"), None);
        let pod = "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podaa_bb.slice/cri-containerd-ID.scope";
        row(&format!("0::{pod}"), pod, Some("ID"), Some("cri-containerd-ID.scope"));
        let crio = "/kubepods.slice/kubepods-pod1.slice/crio-ID.scope";
        row(&format!("0::{crio}"), crio, Some("ID"), Some("crio-ID.scope"));
        row("0::/kubepods/besteffort/pod8c1f/ID", "/kubepods/besteffort/pod8c1f/ID", Some("ID"), None);
        let colon = "/system.slice/containerd.service/kubepods-besteffort-pod8c.slice:cri-containerd:ID";
        row(&format!("0::{colon}"), colon, Some("ID"), Some("containerd.service"));
        let podman = "/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-ID.scope/container";
        row(&format!("0::{podman}"), podman, Some("ID"), Some("libpod-ID.scope"));
        row(
            "0::/machine.slice/libpod-conmon-ID.scope",
            "/machine.slice/libpod-conmon-ID.scope",
            None,
            Some("libpod-conmon-ID.scope"),
        );
        row(
            "0::/lxc.payload.web1/system.slice/nginx.service",
            "/lxc.payload.web1/system.slice/nginx.service",
            Some("web1"),
            Some("nginx.service"),
        );
        row("0::/lxc.monitor.web1", "/lxc.monitor.web1", None, None);
        row("4:memory:/lxc/web2\n0::/", "/lxc/web2", Some("web2"), None);
        let nspawn = "/machine.slice/systemd-nspawn@deb\\x2d12.service/payload/init.scope";
        row(&format!("0::{nspawn}"), nspawn, Some("deb-12"), Some("init.scope"));
        row(
            "0::/machine.slice/machine-a\\x2db.scope",
            "/machine.slice/machine-a\\x2db.scope",
            Some("a-b"),
            Some("machine-a\\x2db.scope"),
        );
        let vm = "/machine.slice/machine-qemu\\x2d1\\x2dvm.scope/libvirt";
        row(&format!("0::{vm}"), vm, None, Some("machine-qemu\\x2d1\\x2dvm.scope"));
    }

    /// A container within a container is known by the inner one.
    #[test]
    fn the_innermost_container_counts() {
        let outer = "0".repeat(64);
        row(
            &format!("0::/docker/{outer}/docker/ID/init.scope"),
            &format!("/docker/{outer}/docker/ID/init.scope"),
            Some("ID"),
            Some("init.scope"),
        );
    }

    /// Units of the system, of users and of sessions; slices are no units; a leading underscore is an escape.
    #[test]
    fn the_innermost_service_or_scope_is_the_unit() {
        row("0::/system.slice/ssh.service", "/system.slice/ssh.service", None, Some("ssh.service"));
        row(
            "0::/user.slice/user-0.slice/session-3.scope",
            "/user.slice/user-0.slice/session-3.scope",
            None,
            Some("session-3.scope"),
        );
        let app =
            "/user.slice/user-1000.slice/user@1000.service/app.slice/app-org.gnome.Terminal.slice/vte-spawn-1.scope";
        row(&format!("0::{app}"), app, None, Some("vte-spawn-1.scope"));
        row("0::/system.slice/_cpu.service/worker", "/system.slice/_cpu.service/worker", None, Some("cpu.service"));
        row("0::/system.slice", "/system.slice", None, None);
        row("0::/system.slice/.service", "/system.slice/.service", None, None);
    }

    /// On a host with both hierarchies the one that says something is taken.
    #[test]
    fn hybrid_hosts_fall_back_to_systemd_then_to_the_longest_path() {
        let hybrid = "9:name=systemd:/system.slice/cron.service\n4:memory:/system.slice/cron.service/very/long\n0::/\n";
        row(hybrid, "/system.slice/cron.service", None, Some("cron.service"));
        row("9:name=systemd:/\n8:pids:/\n4:memory:/jobs/017e\n3:cpu:/a\n0::/\n", "/jobs/017e", None, None);
        row("9:name=systemd:/\n0::/\n", "/", None, None);
        row("", "/", None, None);
        row("0::/a/b (deleted)\n", "/a/b", None, None);
        assert!(Cgroup::parse(b"0::/a").unified);
        assert!(!Cgroup::parse(b"4:memory:/a\n0::/").unified);
    }

    proptest! {
        /// No text makes the parser panic, and what it says can be shown.
        #[test]
        fn any_text_is_survived(text in "[0-9]?:?(name=systemd)?:?(/[a-z\\\\x@._:-]{0,70}){0,5}\\PC*") {
            let cgroup = Cgroup::parse(text.as_bytes());
            prop_assert!(cgroup.path.starts_with('/'));
        }
    }
}
