//! Which Linux distribution this host has, for commands that its users can copy.

use std::fs;

/// A family of distributions with one package manager.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Family {
    /// `apt`, symbols in an archive of their own.
    Debian,
    /// `apt`, symbols in another archive of their own.
    Ubuntu,
    /// `dnf`: Fedora, and Red Hat's with theirs.
    Fedora,
    /// `zypper`.
    Suse,
    /// `pacman`.
    Arch,
    /// None of these.
    #[default]
    Other,
}

/// A distribution.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Distribution {
    /// Its family.
    pub family: Family,
    /// What it calls its release (`bookworm`); empty where it has no word for that.
    pub codename: String,
    /// Whether it is the one that its family is called after, whose servers have its files.
    pub is_first: bool,
}

impl Distribution {
    /// That of this host; [`Family::Other`] where it does not say.
    #[must_use]
    pub fn here() -> Self {
        // The second is what the first is a link to, where there is an `/etc` at all (`man 5 os-release`).
        let read = |path| fs::read_to_string(path).ok();
        read("/etc/os-release")
            .or_else(|| read("/usr/lib/os-release"))
            .map_or_else(Self::default, |text| Self::of(&text))
    }

    /// That of an `os-release` file.
    fn of(text: &str) -> Self {
        let field = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
            line.unwrap_or_default().trim().trim_matches(['"', '\''])
        };
        let family = |word: &str| match word {
            "debian" => Some(Family::Debian),
            "ubuntu" => Some(Family::Ubuntu),
            "fedora" | "rhel" | "centos" => Some(Family::Fedora),
            "opensuse" | "opensuse-leap" | "opensuse-tumbleweed" | "sles" | "suse" => Some(Family::Suse),
            "arch" => Some(Family::Arch),
            _ => None,
        };
        let own = field("ID");
        // Of several that it is like, the nearest stands first.
        let found = family(own).or_else(|| field("ID_LIKE").split_whitespace().find_map(family));
        let codename = field("VERSION_CODENAME");
        // It goes into a command.
        let is_word = codename.bytes().all(|byte| byte.is_ascii_alphanumeric());
        Self {
            family: found.unwrap_or_default(),
            codename: if is_word { codename.to_owned() } else { String::new() },
            is_first: matches!(own, "debian" | "ubuntu" | "fedora" | "arch") || own.starts_with("opensuse"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The family is that of the word, or of the nearest it is like; what does not belong in a command is left out.
    #[test]
    fn a_host_says_what_it_has() {
        let of = |text: &str| {
            let Distribution { family, codename, is_first } = Distribution::of(text);
            (family, codename, is_first)
        };
        assert_eq!(of("ID=debian\nVERSION_CODENAME=bookworm\n"), (Family::Debian, "bookworm".to_owned(), true));
        assert_eq!(
            of("NAME=\"Ubuntu\"\nID=ubuntu\nID_LIKE=debian\nVERSION_CODENAME=noble"),
            (Family::Ubuntu, "noble".to_owned(), true)
        );
        assert_eq!(of("ID=linuxmint\nID_LIKE=\"ubuntu debian\""), (Family::Ubuntu, String::new(), false));
        assert_eq!(of("ID=\"rocky\"\nID_LIKE=\"rhel centos fedora\""), (Family::Fedora, String::new(), false));
        assert_eq!(of("ID=\"opensuse-tumbleweed\"\nID_LIKE=\"opensuse suse\""), (Family::Suse, String::new(), true));
        assert_eq!(of("ID=arch"), (Family::Arch, String::new(), true));
        assert_eq!(of("ID=debian\nVERSION_CODENAME=\"x;reboot\"").1, "");
        assert_eq!(of("ID=alpine\n").0, Family::Other);
        assert_eq!(of("").0, Family::Other);
    }
}
