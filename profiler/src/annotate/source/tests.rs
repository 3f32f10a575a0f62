//! Which file is read, which is not, and which of its lines are shown.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::os::unix::fs::symlink;
use std::sync::Arc;

use tempfile::TempDir;

use super::*;
use crate::process::key_of;
use crate::profile::{BinaryKey, FileIdentity, Measure};
use crate::symbolizer::WorkerCommand;

fn weight(at: u64) -> Weight {
    Weight { at, self_: 1, total: 2 }
}

fn asked(file: &str, lines: &[u64]) -> Lines {
    let places = lines.iter().map(|line| weight(*line)).collect();
    Lines { file: Some(file.into()), binaries: Vec::new(), total: 9, measure: Measure::default(), places }
}

fn annotator(roots: &[&str]) -> Annotator {
    let roots = roots.iter().map(|root| root.parse().unwrap()).collect();
    Annotator::new(WorkerCommand::default(), roots)
}

/// A folder `app` with a source file, and a secret beside the folder.
fn folder() -> (TempDir, String) {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(dir.path().join("app/src")).unwrap();
    std::fs::write(dir.path().join("app/src/main.c"), "one\n\ttwo\x1b[31m\nthree\n").unwrap();
    std::fs::write(dir.path().join("secret"), "CANARY\n").unwrap();
    let app = dir.path().join("app").display().to_string();
    (dir, app)
}

/// Folders of the build are found below the ones given here, the longest first; relative paths need a word of their own.
#[test]
fn paths_of_the_build_are_found_here() {
    let (_dir, app) = folder();
    let map = ["/=/nonexistent".to_owned(), format!("/build/app/={app}")];
    let read = |roots: &[&str], file| annotator(roots).source(&asked(file, &[2]), &Viewer::default());
    let map: Vec<&str> = map.iter().map(String::as_str).collect();
    let found = read(&map, "/build/app/src/main.c");
    assert_eq!(found.found, Some(format!("{app}/src/main.c")));
    let texts: Vec<_> = found.lines.iter().map(|line| (line.line, line.text.as_deref().unwrap(), line.total)).collect();
    assert_eq!(texts, [(1, "one", 0), (2, "    two\u{fffd}[31m", 2), (3, "three", 0)]);
    assert!(read(&map, "/build/application/src/main.c").reason.unwrap().contains("/nonexistent"), "another folder");
    assert!(read(&map, "src/main.c").found.is_none());
    assert!(read(&[&format!("={app}")], "src/main.c").found.is_some());
    assert!(read(&[&app], &format!("{app}/src/main.c")).found.is_some(), "the same here");
}

/// Without a word no file is read, whatever its name; the lines are listed all the same.
#[test]
fn without_a_word_nothing_is_read() {
    let (_dir, app) = folder();
    let found = annotator(&[]).source(&asked(&format!("{app}/src/main.c"), &[1, 3]), &Viewer::default());
    assert!(found.reason.unwrap().contains("--source-map"));
    assert_eq!(
        found.lines.iter().map(|line| (line.line, line.text.clone())).collect::<Vec<_>>(),
        [(1, None), (3, None)]
    );
    let unknown = annotator(&[]).source(
        &Lines { file: None, binaries: Vec::new(), total: 9, measure: Measure::default(), places: Vec::new() },
        &Viewer::default(),
    );
    assert!(unknown.reason.unwrap().contains("no debug information"));
}

/// Debug information may name any path: none leads out of the folder, and what is no file of text is refused.
#[test]
fn no_path_leads_out_of_the_folder() {
    let (dir, app) = folder();
    let at = |name: &str| dir.path().join("app").join(name);
    symlink(dir.path().join("secret"), at("link.c")).unwrap();
    symlink("../secret", at("up.c")).unwrap();
    symlink(dir.path(), at("out")).unwrap();
    symlink("/proc/self/root", at("magic")).unwrap();
    std::fs::write(at("binary.c"), b"a\0b").unwrap();
    File::create(at("huge.c")).unwrap().set_len(1 << 40).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, at("fifo.c"), rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR, 0).unwrap();
    let secret = format!("magic{}", dir.path().join("secret").display());
    let traps = [
        "../secret",
        "src/../../secret",
        "link.c",
        "up.c",
        "out/secret",
        &secret,
        "binary.c",
        "huge.c",
        "fifo.c",
        "src",
        "",
    ];
    let map = format!("/b={app}");
    let own = std::os::unix::fs::MetadataExt::uid(&dir.path().metadata().unwrap());
    let on_the_page = Viewer::logged_in(Some(own)).adding(&map).unwrap();
    assert!(annotator(&[]).source(&asked("/b/src/main.c", &[1]), &on_the_page).found.is_some());
    for (mut annotator, viewer) in [(annotator(&[&map]), Viewer::default()), (annotator(&[]), on_the_page)] {
        for trap in traps {
            let found = annotator.source(&asked(&format!("/b/{trap}"), &[1]), &viewer);
            assert!(found.found.is_none() && found.reason.is_some(), "{trap}: {found:?}");
            assert!(!format!("{found:?}").contains("CANARY"), "{trap}");
        }
    }
}

/// Where root's binary, or the viewer's, names a file that lies at its path here, its text is shown to who is logged in. Another user's
/// binary is not believed, nor one that does not lie here, such as a container's; a relative path is no path; a folder of the page helps.
#[test]
fn a_trusted_binary_shows_its_source() {
    let (_dir, app) = folder();
    let file = format!("{app}/src/main.c");
    let program = std::fs::canonicalize("/bin/true").unwrap();
    let key = key_of(&File::open(&program).unwrap()).unwrap();
    let at =
        |path: &Path, key: &BinaryKey| Arc::new(Binary::new(BinaryKind::File, key.clone(), path.to_str().unwrap()));
    let own = std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(&file).unwrap());
    let BinaryKey::File(id, identity) = &key else { panic!("{key:?}") };
    let of_other = BinaryKey::File(*id, FileIdentity { owner: Owner::User(own + 1), ..*identity });
    let (ours, others) = (at(&program, &key), at(&program, &of_other));
    let read = |file: &str, binary: &Arc<Binary>, viewer: &Viewer| {
        let lines = Lines { binaries: vec![Arc::clone(binary)], ..asked(file, &[2]) };
        annotator(&[]).source(&lines, viewer)
    };
    let viewer = Viewer::logged_in(Some(own));
    let found = read(&file, &ours, &viewer);
    assert_eq!((found.found.as_deref(), found.reason), (Some(&*file), None));
    assert_eq!(found.lines[1].text.as_deref(), Some("    two\u{fffd}[31m"));
    let refused = |file: &str, binary: &Arc<Binary>, viewer: &Viewer| {
        read(file, binary, viewer).reason.is_some_and(|why| why.contains("--source-map"))
    };
    assert!(refused(&file, &others, &viewer), "another user's word");
    assert!(refused(&file, &at(Path::new("/app/bin/true"), &key), &viewer), "a container's");
    assert!(refused(&file, &at(Path::new("/bin/false"), &key), &viewer), "another build lies there");
    assert!(refused(&file, &ours, &Viewer::default()), "nobody is logged in");
    assert!(refused("src/main.c", &ours, &viewer), "a relative path");
    let adding = |map: String| Viewer::logged_in(Some(own)).adding(&map).unwrap();
    assert!(read("src/main.c", &others, &adding(format!("={app}"))).found.is_some());
    assert!(read("/build/src/main.c", &others, &adding(format!("/build={app}"))).found.is_some());
}

/// A word that is no map is refused with the form it should have.
#[test]
fn maps_are_absolute() {
    for bad in ["", "src", "a=/b", "/a=b", "="] {
        assert!(bad.parse::<SourceRoot>().unwrap_err().contains("FROM=TO"), "{bad:?}");
    }
    for good in ["/a", "/a=/b", "=/b", "/=/b"] {
        assert!(good.parse::<SourceRoot>().is_ok(), "{good:?}");
    }
}

/// Between lines with samples everything is shown while that is not too much; far apart, only what is near them.
#[test]
fn lines_near_samples_are_shown() {
    let text = vec!["x"; 10_000];
    let numbers = |lines: &[u64]| -> Vec<u64> {
        let places: Vec<Weight> = lines.iter().map(|line| weight(*line)).collect();
        shown(&places, &text).iter().map(|line| line.line).collect()
    };
    assert_eq!(numbers(&[100, 200]), (85..=215).collect::<Vec<_>>());
    assert_eq!(numbers(&[1, 3]), (1..=18).collect::<Vec<_>>());
    assert_eq!(numbers(&[100, 110, 9_999]), (85..=125).chain(9_984..=10_000).collect::<Vec<_>>());
    assert_eq!(numbers(&[9_999, 4_000_000_000]).last(), Some(&4_000_000_000), "a line that the file has not");
    assert!(numbers(&[]).is_empty());
}
