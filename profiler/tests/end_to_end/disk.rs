//! Disks that are full, read-only or wrong under a running profiler: it goes on, says so, and loses no more than it must.

use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use profiler::query;
use profiler::store::Reader;
use serde_json::Value;

use crate::crash::integrity;
use crate::run::{Daemon, Running, build};

/// A small file system of its own, gone with its value.
struct Disk(tempfile::TempDir);

impl Disk {
    fn tmpfs(size: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        command("mount", &["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"], folder.path());
        Self(folder)
    }

    /// In a file, by a loop device; an error makes it read-only.
    fn ext4(image: &Path) -> Self {
        std::fs::File::create(image).unwrap().set_len(64 << 20).unwrap();
        command("mkfs.ext4", &["-q", "-F"], image);
        Self::mounted(image)
    }

    fn mounted(image: &Path) -> Self {
        let folder = tempfile::tempdir().unwrap();
        command("mount", &["-o", "loop,errors=remount-ro", image.to_str().unwrap()], folder.path());
        Self(folder)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// Name of its block device.
    fn device(&self) -> String {
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
        let place = format!(" {} ", self.path().display());
        let line = mounts.lines().find(|line| line.contains(&place)).unwrap();
        line.split(' ').next().unwrap().trim_start_matches("/dev/").to_owned()
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.path()).status();
    }
}

fn command(program: &str, words: &[&str], last: &Path) {
    let output = Command::new(program).args(words).arg(last).output().unwrap();
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
}

const SHORT_WINDOWS: [&str; 4] = ["--window", "200ms", "-F", "997"];
const PATIENCE: Duration = Duration::from_secs(40);

fn windows(status: &Value) -> u64 {
    status["database"]["windows"].as_u64().unwrap_or(0)
}

/// Samples that the kernel side took since the start.
fn taken(daemon: &Daemon) -> u64 {
    let (_, metrics) = daemon.get("/metrics");
    let line = metrics.lines().find_map(|line| line.strip_prefix("profiler_samples_taken_total ")).unwrap();
    line.parse().unwrap()
}

fn lost(status: &Value, cause: &str) -> u64 {
    status["totals"]["lost"][cause].as_u64().unwrap_or(0)
}

fn notices(status: &Value) -> String {
    status["notices"].to_string()
}

fn rss_mib(daemon: &Daemon) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.child.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.split_whitespace().next().unwrap().parse::<u64>().unwrap() / 1024
}

/// taken = stored + lost in the whole database, and the file is sound.
fn books_balance(database: &Path) {
    let totals = query::totals(&mut Reader::open(database).unwrap()).unwrap();
    assert_eq!(totals.taken, totals.stored + totals.losses.total());
    assert_eq!(integrity(database), "ok");
}

/// No space: sampling goes on in bounded memory, and soon after room is made windows are stored again, with every sample in the books.
/// That the oldest windows go first and are counted is the queue's own test: how soon it is full depends on the machine.
#[test]
fn a_full_disk_is_outlived() {
    let disk = Disk::tmpfs("24m");
    let database = disk.path().join("x.db");
    let work = tempfile::tempdir().unwrap();
    let _busy = Running::start(&build(work.path(), "ratio"), &[]);
    // Few samples: windows must close on time on a machine that has little to spare.
    let daemon = Daemon::start(&database, &["--window", "200ms", "-F", "97"]);
    daemon.wait_for_status(PATIENCE, |status| windows(status) > 5);
    let ballast = disk.path().join("ballast");
    // Fails when the disk is full: that is what it is for.
    let _ = Command::new("dd").args(["if=/dev/zero", "bs=64k", &format!("of={}", ballast.display())]).output().unwrap();
    let full = daemon.wait_for_status(PATIENCE, |status| notices(status).contains("no space left"));
    let before = rss_mib(&daemon);
    // The queue holds thirty windows; then the oldest is given up. What was lost is told with the window that is stored, after the disk
    // has room: until then the samples taken say how long it has been.
    let thirty_windows = taken(&daemon) + 2 * 97 * 10;
    let start = Instant::now();
    while taken(&daemon) < thirty_windows {
        assert!(start.elapsed() < PATIENCE, "sampling does not go on");
        std::thread::sleep(Duration::from_millis(100));
    }
    let status = daemon.json("/api/v1/status");
    assert_eq!(windows(&status), windows(&full), "nothing is stored on a full disk");
    let after = rss_mib(&daemon);
    assert!(after < before + 100, "{before} MiB became {after}");
    std::fs::remove_file(&ballast).unwrap();
    let room = Instant::now();
    let status = daemon.wait_for_status(PATIENCE, |status| windows(status) > windows(&full));
    eprintln!("storing again after {:?}", room.elapsed());
    assert!(room.elapsed() < Duration::from_secs(10), "{:?}: {status}", room.elapsed());
    daemon.wait_for_status(PATIENCE, |status| !notices(status).contains("no space") && lost(status, "queue_full") > 0);
    daemon.stop();
    books_balance(&database);
}

/// The kernel makes a file system read-only when it meets an error, for good: sampling goes on, what cannot be stored is counted,
/// the end is an error that says so, and all that was stored before is there.
#[test]
fn a_file_system_turned_read_only_is_said_and_counted() {
    let work = tempfile::tempdir().unwrap();
    let image = work.path().join("image");
    let disk = Disk::ext4(&image);
    let database = disk.path().join("x.db");
    let _busy = Running::start(&build(work.path(), "ratio"), &[]);
    let mut daemon = Daemon::start(&database, &SHORT_WINDOWS);
    let good = windows(&daemon.wait_for_status(PATIENCE, |status| windows(status) > 5));
    std::fs::write(format!("/sys/fs/ext4/{}/trigger_fs_error", disk.device()), "test").unwrap();
    daemon.wait_for_status(PATIENCE, |status| notices(status).contains("not being stored"));
    let before = taken(&daemon);
    let start = Instant::now();
    while taken(&daemon) < before + 1_000 {
        assert!(start.elapsed() < PATIENCE, "sampling does not go on");
        std::thread::sleep(Duration::from_millis(100));
    }
    daemon.interrupt();
    assert!(!daemon.child.wait().unwrap().success());
    drop(disk);
    // 1: errors were corrected.
    let checked = Command::new("e2fsck").args(["-p", "-f"]).arg(&image).output().unwrap();
    assert!(matches!(checked.status.code(), Some(0 | 1)), "{checked:?}");
    let disk = Disk::mounted(&image);
    let database = disk.path().join("x.db");
    books_balance(&database);
    assert!(query::totals(&mut Reader::open(&database).unwrap()).unwrap().windows >= good);
}

/// Pages overwritten under a running profiler: the file is set aside as it is, a banner says where, and windows go on into a new
/// one; no sample that was taken meanwhile is missing from the books.
#[test]
fn a_database_damaged_while_in_use_is_set_aside_and_sampling_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("x.db");
    let _busy = Running::start(&build(folder.path(), "ratio"), &[]);
    let daemon = Daemon::start(&database, &SHORT_WINDOWS);
    daemon.wait_for_status(PATIENCE, |status| windows(status) > 10);
    // What is in the log may not be written over the damage: both are damaged, all but the first page of the file.
    let junk = vec![0xa5; 1 << 16];
    for name in ["x.db", "x.db-wal"] {
        let file = std::fs::OpenOptions::new().write(true).open(folder.path().join(name)).unwrap();
        let length = file.metadata().unwrap().len();
        let mut at = 4096;
        while at < length {
            let end = junk.len().min((length - at) as usize);
            file.write_all_at(&junk[..end], at).unwrap();
            at += end as u64;
        }
    }
    // Until it is noticed, there is a damaged database to tell of.
    let start = Instant::now();
    let status = loop {
        let (code, body) = daemon.get("/api/v1/status");
        let status: Value = serde_json::from_str(&body).unwrap();
        if code == 200 && notices(&status).contains("was damaged and has been set aside") && windows(&status) > 5 {
            break status;
        }
        assert!(start.elapsed() < PATIENCE, "{status}");
        std::thread::sleep(Duration::from_millis(100));
    };
    assert!(notices(&status).contains("x.db.corrupt-"), "{status}");
    assert_eq!(lost(&status, "store_failed"), 0, "{status}");
    daemon.stop();
    books_balance(&database);
    let aside: Vec<_> = std::fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.contains(".corrupt-") && !name.ends_with("-wal") && !name.ends_with("-shm"))
        .collect();
    assert_eq!(aside.len(), 1, "{aside:?}");
}

/// `EXT4_IOC_SHUTDOWN` without flushing the journal (`linux/fs/ext4/ext4.h`): from then on every read and write fails with EIO.
const SHUTDOWN: &str =
    "import fcntl, os, struct, sys; fcntl.ioctl(os.open(sys.argv[1], os.O_RDONLY), 0x8004587d, struct.pack('I', 2))";

/// Every read and write fails with EIO: sampling, page and metrics go on, the reason is said in the right words, the oldest windows
/// are counted when the queue is full; on another mount at the path windows are stored again, in the database that is there.
#[test]
fn a_disk_that_fails_is_outlived() {
    let work = tempfile::tempdir().unwrap();
    let (image, copy) = (work.path().join("image"), work.path().join("copy"));
    let disk = Disk::ext4(&image);
    let database = disk.path().join("x.db");
    let _busy = Running::start(&build(work.path(), "ratio"), &[]);
    let daemon = Daemon::start(&database, &["--window", "200ms", "-F", "97"]);
    let good = windows(&daemon.wait_for_status(PATIENCE, |status| windows(status) > 5));
    command("python3", &["-c", SHUTDOWN], disk.path());
    let said = wait_for(&daemon, "/healthz", |code, said| code == 503 && said.contains("disk error"));
    assert!(!said.contains("damaged"), "{said}");
    let thirty_windows = taken(&daemon) + 2 * 97 * 10;
    wait_for(&daemon, "/metrics", |code, _| code == 200 && taken(&daemon) > thirty_windows);
    assert_eq!(daemon.get("/").0, 200);
    // People unmount what has failed while the profiler has it open, check it, and mount it again.
    command("umount", &["--lazy"], disk.path());
    command("cp", &[image.to_str().unwrap()], &copy);
    // 1: errors were corrected.
    let checked = Command::new("e2fsck").args(["-p", "-f"]).arg(&copy).output().unwrap();
    assert!(matches!(checked.status.code(), Some(0 | 1)), "{checked:?}");
    command("mount", &["-o", "loop", copy.to_str().unwrap()], disk.path());
    wait_for(&daemon, "/healthz", |code, _| code == 200);
    daemon.wait_for_status(PATIENCE, |status| windows(status) > good && lost(status, "queue_full") > 0);
    daemon.stop();
    books_balance(&database);
}

/// Polls until an answer is as it should be; gives its body.
fn wait_for(daemon: &Daemon, path: &str, ready: impl Fn(u16, &str) -> bool) -> String {
    let start = Instant::now();
    loop {
        let (code, body) = daemon.get(path);
        if ready(code, &body) {
            return body;
        }
        assert!(start.elapsed() < PATIENCE, "{path}: {code} {body}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// What somebody does to a database in use, what is said of it, and whether samples that were called stored are gone then.
type Accident<'a> = (&'a str, &'a dyn Fn(&Path), &'a str, bool);

/// Deleted, moved, replaced, cut short: it is noticed, said, and counted; windows go on into a new database at the path; and the
/// exit code is an error if anything that was called stored is gone.
#[test]
fn a_database_that_is_gone_is_noticed() {
    let beside = |path: &Path, suffix: &str| std::path::PathBuf::from(format!("{}{suffix}", path.display()));
    let delete =
        |path: &Path| ["", "-wal", "-shm", ".lock"].iter().for_each(|s| std::fs::remove_file(beside(path, s)).unwrap());
    let rename = |path: &Path| std::fs::rename(path.parent().unwrap(), path.with_file_name("../moved")).unwrap();
    let cut = |path: &Path| std::fs::OpenOptions::new().write(true).open(path).unwrap().set_len(8192).unwrap();
    let log = |path: &Path| std::fs::remove_file(beside(path, "-wal")).unwrap();
    let replace = |path: &Path| {
        let copy = path.with_extension("copy");
        command("sqlite3", &[path.to_str().unwrap(), &format!(".backup {}", copy.display())], Path::new(".exit"));
        std::fs::rename(copy, path).unwrap();
    };
    let accidents: [Accident<'_>; 5] = [
        ("deleted", &delete, "was deleted while in use", true),
        ("moved", &rename, "was moved to ", false),
        ("cut", &cut, "was cut short while in use", true),
        ("log", &log, "lost its write-ahead log", false),
        ("replaced", &replace, "was deleted while in use", true),
    ];
    let work = tempfile::tempdir().unwrap();
    let _busy = Running::start(&build(work.path(), "ratio"), &[]);
    for (name, happens, said, is_loss) in accidents {
        let folder = work.path().join(name).join("below");
        std::fs::create_dir_all(&folder).unwrap();
        let database = folder.join("x.db");
        let mut daemon = Daemon::start(&database, &["--window", "1s", "-F", "97"]);
        daemon.wait_for_status(PATIENCE, |status| windows(status) > 1);
        if name == "cut" {
            // The file is as long as its header says once the log has moved into it.
            command(
                "sqlite3",
                &["-cmd", ".timeout 20000", database.to_str().unwrap()],
                Path::new("PRAGMA wal_checkpoint(TRUNCATE)"),
            );
        }
        happens(&database);
        let start = Instant::now();
        wait_for(&daemon, "/api/v1/status", |code, body| code == 200 && body.contains(said));
        eprintln!("{name}: noticed after {:?}", start.elapsed());
        wait_for(&daemon, "/healthz", |code, _| code == 200);
        daemon.wait_for_status(PATIENCE, |status| windows(status) > 1);
        let gone = daemon.get("/metrics").1.lines().any(|line| line == "profiler_samples_gone_total 0");
        assert_eq!(!gone, is_loss, "{name}");
        daemon.interrupt();
        assert_eq!(daemon.child.wait().unwrap().code(), Some(if is_loss { 7 } else { 0 }), "{name}");
        books_balance(&database);
    }
}

/// While nothing can be put where the database was, that is said, windows wait, and they are stored when the way is free.
#[test]
fn a_database_that_cannot_be_begun_again_is_said_until_it_can() {
    let work = tempfile::tempdir().unwrap();
    let folder = work.path().join("below");
    std::fs::create_dir(&folder).unwrap();
    let database = folder.join("x.db");
    let _busy = Running::start(&build(work.path(), "ratio"), &[]);
    let daemon = Daemon::start(&database, &["--window", "200ms", "-F", "97"]);
    daemon.wait_for_status(PATIENCE, |status| windows(status) > 2);
    std::fs::rename(&folder, work.path().join("moved")).unwrap();
    std::fs::write(&folder, "in the way").unwrap();
    wait_for(&daemon, "/healthz", |code, said| {
        code == 503 && said.contains("not being stored") && said.contains("below")
    });
    let before = taken(&daemon);
    wait_for(&daemon, "/metrics", |code, _| code == 200 && taken(&daemon) > before + 100);
    std::fs::remove_file(&folder).unwrap();
    wait_for(&daemon, "/healthz", |code, _| code == 200);
    daemon.wait_for_status(PATIENCE, |status| windows(status) > 2);
    daemon.stop();
    books_balance(&database);
}

/// A database on a file system that cannot be written is refused with the way out, and can be looked at.
#[test]
fn a_read_only_file_system_is_refused_for_writing_and_read_all_the_same() {
    let disk = Disk::tmpfs("64m");
    let database = disk.path().join("x.db");
    let daemon = Daemon::start(&database, &SHORT_WINDOWS);
    daemon.wait_for_status(PATIENCE, |status| windows(status) > 2);
    daemon.stop();
    command("mount", &["-o", "remount,ro"], disk.path());
    let run = |words: &[&str]| {
        let output = Command::new(crate::run::PROFILER).args(words).arg("--db").arg(&database).output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (code, said) = run(&["run", "--listen", "127.0.0.1:0"]);
    assert!(code == Some(7) && said.contains("x.db") && said.contains("ead-only file system"), "{code:?} {said}");
    let (code, said) = run(&["export", "--from", "now-1h"]);
    assert_eq!(code, Some(0), "{said}");
}
