//! From what is mapped to which binary it is, with its file pinned.
//!
//! In: a path and an identity, as the kernel told them ([`Backing`]). Out: a [`BinaryId`], one for each distinct
//! [`BinaryKey`], and the [`Binary`] behind it. A file is opened once per inode and shared; it is trusted only when its device and
//! inode are those that the kernel saw mapped: any file can claim any build id. A file that is open already is known by its inode, so
//! that a process that ends at once is known too. One that could not be opened in time is [`BinaryKey::Claimed`]; names and rows
//! for it come only from a file of the system's own with its build id. Ids are never used twice.
//!
//! Does no naming.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use super::backing::{Backing, BackingRef, NOT_PLACED, Origin, Sort};
use super::budget::{Budget, BudgetCounts, Charge};
use super::build_id::{Elf, build_id_note, read_elf};
use super::claims::Claims;
use super::find_file::{Devices, Found, find_file};
use super::jit_programs::JitPrograms;
use super::proc_dir::ProcRoot;
use super::roots::{Root, Roots, root_of};
use super::vdso::copy_vdso;
use crate::profile::{
    Binary, BinaryId, BinaryKey, BinaryKind, BootNanos, BuildId, InodeNumber, MappedFile, ProcessKey, UNRECORDED_PATH,
    UnknownReason, printable,
};
use crate::sys::fair_pool::FairPool;

/// Most files kept open. Above it the one that was hit longest ago is closed.
const MAX_PINNED: usize = 4096;
/// Most of them for one user but root; above it the one of this user that was hit longest ago is closed.
const MAX_PINNED_OF_USER: usize = 1024;
/// Most memory of the binaries that are remembered. What finds no room has no name: [`UNRECORDED`].
const MAX_BINARIES: usize = 16 << 20;
/// Opening a file takes microseconds, or milliseconds on a busy disk, after a wait for a thread. Samples do without the file after this
/// time; its answer is taken all the same when it comes.
const PATIENCE: u64 = 1_000_000_000;
/// Most files that are being opened, or are open and not yet taken in: for one user, for root, and in all.
const MAX_PENDING: [usize; 3] = [512, 1024, 2048];
/// Longest path kept, in bytes (`PATH_MAX`).
const MAX_PATH: usize = 4096;
/// A file that could not be opened is tried again after this long.
const RETRY: u64 = 1_000_000_000;
/// A file that no process maps is kept open this long after its last sample.
const KEEP_PINNED: u64 = 60_000_000_000;
/// A binary that no process maps is remembered this long: windows that name it are stored long before.
const KEEP_BINARY: u64 = 600_000_000_000;
/// The same while binaries take more than half of their budget.
const KEEP_BINARY_BRIEFLY: u64 = 60_000_000_000;

/// Most files that are told of in one pass as open at last; what is beyond has its rows in address spaces that are made from then on.
const MAX_OPENED: usize = 4096;

/// Most inodes remembered, four for each open file; 48 bytes each.
const MAX_INODES: usize = 4 * MAX_PINNED;

const ANONYMOUS_PATH: &str = "[anon]";

const KERNEL: BinaryId = BinaryId(0);
const ANONYMOUS: BinaryId = BinaryId(1);
const VDSO: BinaryId = BinaryId(2);
/// Code in mappings that were too many for their user's share.
const UNRECORDED: BinaryId = BinaryId(3);

/// Bytes of an [`Entry`] without its path.
const ENTRY_BYTES: usize = 600;

/// All binaries of this run.
#[derive(Debug)]
pub(super) struct Binaries {
    roots: Roots,
    /// Opens files, which the sampling thread never does.
    pool: FairPool,
    answer: Sender<Answer>,
    answers: Receiver<Answer>,
    /// Files that the pool was asked for and whose answer has not been taken, by user.
    pending: HashMap<u32, usize>,
    all_pending: usize,
    /// The newest time that is known.
    now: BootNanos,
    proc: ProcRoot,
    next: u32,
    entries: HashMap<BinaryId, Entry>,
    by_key: HashMap<BinaryKey, BinaryId>,
    /// Files that were found to be these inodes.
    by_inode: HashMap<InodeNumber, BinaryId>,
    devices: Arc<Devices>,
    claims: Claims,
    /// By a hash of path and identity of 128 bits, keyed at random: no second copy of the path.
    backings: HashMap<u128, BackingRef>,
    hashers: [RandomState; 2],
    /// For backings, and for the ranges that the table keeps.
    mappings_budget: Budget,
    binaries_budget: Budget,
    anonymous: BackingRef,
    vdso: BackingRef,
    /// The code that processes wrote.
    jits: HashMap<ProcessKey, BinaryId>,
    jit_programs: JitPrograms,
    /// What stood for a file before it was open, and what it is.
    opened: Vec<(BinaryId, BinaryId)>,
    pinned: usize,
    pinned_of: HashMap<u32, usize>,
}

/// What the pool found of a file.
#[derive(Debug)]
struct Opened {
    found: Option<Found>,
    /// Why nothing was found, where more is known than that it is gone.
    unopened: Option<UnknownReason>,
    /// The root directory of the process that mapped it.
    root: Option<Root>,
}

/// A file that the pool was asked for.
#[derive(Debug)]
struct Answer {
    user: u32,
    backing: Arc<Backing>,
    opened: Opened,
}

#[derive(Debug)]
struct Entry {
    binary: Arc<Binary>,
    used: BootNanos,
    /// Whose process showed it first.
    user: u32,
    /// `None` for the special ones.
    _charge: Option<Charge>,
    /// The inode of the open file.
    inode: Option<InodeNumber>,
    /// What a file that was only claimed turned out to be.
    became: Option<BinaryId>,
}

impl Binaries {
    pub fn new(proc: ProcRoot, mappings_budget: Budget) -> Self {
        let special = |sort, id: BinaryId| {
            let backing = BackingRef::new(Arc::default(), MappedFile::default(), sort, 0, None);
            backing.0.place_for_good(id);
            backing
        };
        let (answer, answers) = channel();
        let (anonymous, vdso) = (special(Sort::Anonymous, ANONYMOUS), special(Sort::Vdso, VDSO));
        let mut binaries = Self {
            next: 0,
            entries: HashMap::new(),
            by_key: HashMap::new(),
            by_inode: HashMap::new(),
            devices: Arc::default(),
            claims: Claims::default(),
            backings: HashMap::new(),
            hashers: Default::default(),
            mappings_budget,
            binaries_budget: Budget::new(MAX_BINARIES),
            anonymous,
            vdso,
            jits: HashMap::new(),
            jit_programs: JitPrograms::default(),
            opened: Vec::new(),
            pinned: 0,
            pinned_of: HashMap::new(),
            roots: Roots::default(),
            pool: FairPool::new("file-opener"),
            answer,
            answers,
            pending: HashMap::new(),
            all_pending: 0,
            now: BootNanos(0),
            proc,
        };
        binaries.add_special();
        binaries
    }

    /// Enters the kernel, anonymous memory and the vDSO, in the order of their constant ids.
    fn add_special(&mut self) {
        let boot_id = self.proc.read("sys/kernel/random/boot_id").unwrap_or_default();
        let boot_id = printable(boot_id.trim_ascii(), 64);
        let notes = std::fs::read("/sys/kernel/notes").unwrap_or_default();
        let kernel = Binary {
            key: BinaryKey::Kernel { boot_id },
            kind: BinaryKind::Kernel,
            path: "[kernel]".to_owned(),
            build_id: build_id_note(&notes),
            code: None,
            file: None,
            root: None,
            jit: None,
            unopened: None,
        };
        let anonymous = Binary {
            key: BinaryKey::Anonymous,
            kind: BinaryKind::Anonymous,
            path: ANONYMOUS_PATH.to_owned(),
            build_id: None,
            code: None,
            file: None,
            root: None,
            jit: None,
            unopened: None,
        };
        let file = copy_vdso().map(Arc::new).ok();
        let build_id = match file.as_deref().map(read_elf) {
            Some(Elf::Is(build_id)) => build_id,
            _ => None,
        };
        let path = "[vdso]".to_owned();
        let key = match build_id {
            Some(id) => BinaryKey::BuildId(BinaryKind::Vdso, id),
            None => BinaryKey::Inode { path: path.clone(), dev: 0, inode: 0, mtime: 0, identity: None },
        };
        let vdso = Binary {
            key,
            kind: BinaryKind::Vdso,
            path,
            build_id,
            code: None,
            file,
            root: None,
            jit: None,
            unopened: None,
        };
        let path = UNRECORDED_PATH.to_owned();
        let key = BinaryKey::Inode { path: path.clone(), dev: 0, inode: 0, mtime: 0, identity: None };
        let kind = BinaryKind::File;
        let unrecorded =
            Binary { key, kind, path, build_id: None, code: None, file: None, root: None, jit: None, unopened: None };
        for (id, binary) in [(KERNEL, kernel), (ANONYMOUS, anonymous), (VDSO, vdso), (UNRECORDED, unrecorded)] {
            assert_eq!(self.add(binary, None, 0, BootNanos(0)), id, "special binaries have constant ids");
        }
    }

    /// The running kernel.
    pub fn kernel(&self) -> BinaryId {
        KERNEL
    }

    /// Memory without a file.
    pub fn anonymous(&self) -> BinaryId {
        ANONYMOUS
    }

    /// Code in mappings that were too many for their user's share.
    pub fn unrecorded(&self) -> BinaryId {
        UNRECORDED
    }

    /// Bytes of the binaries that are remembered.
    pub fn budget(&self) -> BudgetCounts {
        self.binaries_budget.counts()
    }

    /// Root directories kept, and refused since the start.
    pub fn roots(&self) -> (usize, u64) {
        (self.roots.len(), self.roots.refused)
    }

    /// Files that are being opened.
    pub fn pending(&self) -> usize {
        self.all_pending
    }

    /// The binary with this id; anonymous memory for an id long forgotten.
    pub fn get(&self, id: BinaryId) -> Arc<Binary> {
        let entry = self.entries.get(&id).or_else(|| self.entries.get(&ANONYMOUS));
        entry.map(|entry| entry.binary.clone()).expect("anonymous memory is entered at the start and never removed")
    }

    /// Files now held open.
    pub fn pinned(&self) -> usize {
        self.pinned
    }

    /// Notes that a sample hit a binary; `false` when it has lost, or never had, the file it should have.
    pub fn touch(&mut self, id: BinaryId, now: BootNanos) -> bool {
        let Some(entry) = self.entries.get_mut(&id) else { return false };
        entry.used = entry.used.max(now);
        let open = entry.binary.file.is_some() && !is_claimed(&entry.binary);
        entry.binary.kind != BinaryKind::File || open || id == UNRECORDED
    }

    /// The binary whose unwind rows are those of this one: of a file that was only claimed, what it turned out to be, else the
    /// system's file with its build id.
    pub fn with_rows(&self, id: BinaryId) -> BinaryId {
        let Some(entry) = self.entries.get(&id).filter(|entry| is_claimed(&entry.binary)) else { return id };
        let system = || self.of_the_system(entry.binary.build_id?);
        entry.became.or_else(system).unwrap_or(id)
    }

    /// The open file of root's with this build id, that nobody else can write.
    fn of_the_system(&self, build_id: BuildId) -> Option<BinaryId> {
        let id = self.claims.system(build_id)?;
        self.entries.get(&id).is_some_and(|entry| entry.binary.file.is_some()).then_some(id)
    }

    /// Files with one build id and different content, and files that could not be verified.
    pub fn claims(&mut self) -> &mut Claims {
        &mut self.claims
    }

    /// The binary that has this inode open. One whose own inode is open cannot have been replaced; of another with the same content the
    /// generation says so.
    fn known(&mut self, mapped: MappedFile, now: BootNanos) -> Option<BinaryId> {
        let inode = mapped.inode?;
        let id = *self.by_inode.get(&inode)?;
        let entry = self.entries.get(&id)?;
        let open = entry.binary.file.is_some() && (inode.generation != 0 || entry.inode == Some(inode));
        let good = open && (mapped.build_id.is_none() || mapped.build_id == entry.binary.build_id);
        (good && self.touch(id, now)).then_some(id)
    }

    /// What stands behind a mapping of this path and identity that begins at `start`; `None` when the user has no room for it.
    /// A file that is mapped to be shared with whoever writes it may be memory that a JIT writes elsewhere.
    pub fn backing(
        &mut self,
        path: &[u8],
        identity: MappedFile,
        shared: bool,
        start: u64,
        user: u32,
    ) -> Option<BackingRef> {
        // Below 4 GiB it is the vDSO of a 32-bit process, another image.
        if path == b"[vdso]" && start > u64::from(u32::MAX) {
            return Some(self.vdso.clone());
        }
        let (path, deleted) = match path.strip_suffix(b" (deleted)") {
            Some(path) => (path, true),
            None => (path, false),
        };
        // `//anon`, `[heap]`, `anon_inode:..` and the like; paths are cut nowhere, so an overlong one is no file to us.
        if !path.starts_with(b"/") || path.starts_with(b"//") || path.len() > MAX_PATH {
            return Some(self.anonymous.clone());
        }
        let [high, low] = self.hashers.each_ref().map(|hasher| hasher.hash_one((path, identity, shared)));
        let key = u128::from(high) << 64 | u128::from(low);
        if let Some(known) = self.backings.get(&key) {
            return Some(known.clone());
        }
        let volatile = [&b"/memfd:"[..], b"/dev/", b"/SYSV", b"/anon_hugepage"].iter().any(|p| path.starts_with(p));
        let sort = if deleted || volatile || shared { Sort::Volatile } else { Sort::File };
        let charge = self.mappings_budget.charge(user, BackingRef::bytes(path))?;
        let backing = BackingRef::new(Arc::from(path), identity, sort, user, Some(charge));
        self.backings.insert(key, backing.clone());
        Some(backing)
    }

    /// Which binary a backing is, if that is known without opening a file now.
    pub fn placed(&mut self, backing: &BackingRef, now: BootNanos) -> Option<BinaryId> {
        let id = backing.0.binary();
        let has_file = self.touch(id, now) && id != ANONYMOUS && id != UNRECORDED;
        (has_file || (now.0 < backing.0.retry_at(RETRY) && self.entries.contains_key(&id))).then_some(id)
    }

    /// Which binary a backing is. `None` while its file is being opened: [`Self::take_answers`] says when to ask again. Asks the pool no
    /// more often than once a second, and waits for nothing.
    pub fn place(&mut self, backing: &BackingRef, origin: Origin, now: BootNanos) -> Option<BinaryId> {
        let now = now.max(self.now);
        if let Some(id) = self.placed(backing, now) {
            return Some(id);
        }
        if let Some(asked) = backing.0.asked() {
            return (now.0 >= asked.0.saturating_add(PATIENCE)).then(|| self.place_unopened(backing, now));
        }
        if let Some(id) = self.known(backing.0.identity, now) {
            backing.0.place(id, now);
            return Some(id);
        }
        if self.ask(backing, origin, now) { None } else { Some(self.place_unopened(backing, now)) }
    }

    /// Which binary a backing is, by what the kernel said of it, where its file is not open in time.
    pub fn place_unopened(&mut self, backing: &BackingRef, now: BootNanos) -> BinaryId {
        if let Some(id) = self.placed(backing, now) {
            return id;
        }
        let unopened = Some(UnknownReason::NotOpenedInTime);
        self.enter(&backing.0, Opened { found: None, unopened, root: None }, now)
    }

    /// Asks the pool for a file; says no when it has no room for the request.
    fn ask(&mut self, backing: &BackingRef, origin: Origin, now: BootNanos) -> bool {
        let Some(path) = backing.file_path() else { return false };
        let user = origin.user;
        let [most, most_of_root, most_in_all] = MAX_PENDING;
        let most = if user == 0 { most_of_root } else { most };
        if self.all_pending >= most_in_all || self.pending.get(&user).is_some_and(|pending| *pending >= most) {
            return false;
        }
        let (proc, backing, answer) = (self.proc.clone(), Arc::clone(&backing.0), self.answer.clone());
        let (asked, devices) = (Arc::clone(&backing), Arc::clone(&self.devices));
        let submitted = self.pool.submit(user, move || {
            let (found, refused) = find_file(&proc, &path, backing.identity, origin, &devices);
            let unopened = refused.then_some(UnknownReason::FileRefused);
            let root = found.as_ref().and_then(|_| root_of(&proc.process(origin.pid).ok()?));
            let _ = answer.send(Answer { user, backing, opened: Opened { found, unopened, root } });
        });
        if submitted.is_ok() {
            asked.ask(now);
            *self.pending.entry(user).or_default() += 1;
            self.all_pending += 1;
        }
        submitted.is_ok()
    }

    /// Takes in the files that the pool has opened since the last call. Says whether there were any.
    pub fn take_answers(&mut self, now: BootNanos) -> bool {
        self.now = self.now.max(now);
        let mut any = false;
        while let Ok(answer) = self.answers.try_recv() {
            self.take(answer);
            any = true;
        }
        any
    }

    fn take(&mut self, Answer { user, backing, opened }: Answer) {
        let now = backing.asked().map_or(self.now, |asked| asked.max(self.now));
        backing.answered();
        self.all_pending -= 1;
        if let Some(pending) = self.pending.get_mut(&user) {
            *pending -= 1;
            if *pending == 0 {
                self.pending.remove(&user);
            }
        }
        self.enter(&backing, opened, now);
    }

    /// Files that were opened since the last call after something else had stood for them: what that was, and what they are.
    pub fn take_opened(&mut self) -> Vec<(BinaryId, BinaryId)> {
        std::mem::take(&mut self.opened)
    }

    /// Whether files are being opened.
    pub fn is_opening(&self) -> bool {
        self.all_pending > 0
    }

    /// Waits until the pool has answered every request.
    #[cfg(test)]
    pub fn wait_for_answers(&mut self) {
        while self.all_pending > 0 {
            let answer = self.answers.recv_timeout(std::time::Duration::from_secs(60)).expect("an answer in time");
            self.take(answer);
        }
    }

    /// Enters the binary that a backing turned out to be.
    fn enter(&mut self, backing: &Backing, opened: Opened, now: BootNanos) -> BinaryId {
        let before = backing.binary();
        let stood_in =
            self.entries.get(&before).is_some_and(|entry| entry.binary.file.is_none() || is_claimed(&entry.binary));
        let id = self.binary_of(backing, opened, now);
        let is_open = |id: &BinaryId| self.entries.get(id).is_some_and(|entry| entry.binary.file.is_some());
        if let Some(id) = id.filter(|id| stood_in && is_open(id))
            && self.opened.len() < MAX_OPENED
        {
            self.opened.push((before, id));
        }
        match id {
            Some(id) => backing.place(id, now),
            None => backing.place_for_good(ANONYMOUS),
        }
        id.unwrap_or(ANONYMOUS)
    }

    /// The binary that a backing is, or `None` if it is known for good to be no ELF file.
    fn binary_of(&mut self, backing: &Backing, opened: Opened, now: BootNanos) -> Option<BinaryId> {
        let Opened { found, unopened, root } = opened;
        let mapped = backing.identity;
        if backing.sort == Sort::Volatile {
            match (&found, mapped.build_id) {
                (Some(Found { elf: Elf::Is(_), .. }), _) | (None, Some(_)) => {}
                (Some(Found { elf: Elf::Not, .. }), _) => return None,
                (None, None) => return Some(ANONYMOUS),
            }
        }
        let path = printable(&backing.file_path().unwrap_or_default(), MAX_PATH);
        let build_id = match &found {
            Some(Found { elf: Elf::Is(id), .. }) => *id,
            _ => mapped.build_id,
        };
        let kind = BinaryKind::File;
        let Some(Found { opened, identity, code, certain, .. }) = found else {
            let key = match build_id {
                Some(build_id) => BinaryKey::Claimed { build_id, path: path.clone(), inode: mapped.inode },
                None => {
                    let InodeNumber { inode, .. } = mapped.inode.unwrap_or_default();
                    let dev = mapped.inode.unwrap_or_default().device();
                    BinaryKey::Inode { path: path.clone(), dev, inode, mtime: 0, identity: None }
                }
            };
            // It has its own name, and the names of the system's file.
            let system = build_id.and_then(|id| self.of_the_system(id)).and_then(|id| self.entries.get(&id));
            let (file, root) =
                system.map_or((None, None), |entry| (entry.binary.file.clone(), entry.binary.root.clone()));
            let code = system.and_then(|entry| entry.binary.code);
            self.claims.not_verified += u64::from(build_id.is_some());
            let binary = Binary { key, kind, path, build_id, code, file, root, jit: None, unopened };
            return Some(self.add(binary, None, backing.user, now));
        };
        let key = match build_id {
            Some(id) => BinaryKey::File(id, identity),
            None => {
                let (dev, inode, mtime) = (opened.dev, opened.inode, opened.mtime);
                BinaryKey::Inode { path: path.clone(), dev, inode, mtime, identity: Some(identity) }
            }
        };
        let root = root.and_then(|root| self.roots.share(&self.proc, root, backing.user));
        let (file, inode) = (Some(Arc::new(opened.file)), mapped.inode.filter(|_| certain));
        let binary = Binary { key, kind, path: path.clone(), build_id, code, file, root, jit: None, unopened };
        let id = self.add(binary, inode, backing.user, now);
        if id == UNRECORDED {
            return Some(id);
        }
        if let Some(build_id) = build_id {
            self.claims.note(build_id, identity, &path, id);
        }
        if let Some(inode) = inode {
            if self.by_inode.len() >= MAX_INODES {
                self.by_inode.clear();
            }
            self.by_inode.insert(inode, id);
        }
        let before = self.entries.get_mut(&backing.binary()).filter(|entry| is_claimed(&entry.binary));
        before.into_iter().for_each(|entry| entry.became = Some(id));
        Some(id)
    }

    /// Enters a binary, or gives a known one the file it lacked. [`UNRECORDED`] if its user has no room for it.
    fn add(&mut self, binary: Binary, inode: Option<InodeNumber>, user: u32, now: BootNanos) -> BinaryId {
        // A file that was only claimed shares the system's.
        let opened = binary.file.is_some() && !is_claimed(&binary);
        if let Some(id) = self.by_key.get(&binary.key).copied()
            && let Some(entry) = self.entries.get_mut(&id)
        {
            entry.used = entry.used.max(now);
            if entry.binary.jit.is_none() && binary.jit.is_some() {
                entry.binary = Arc::new(binary);
            } else if entry.binary.file.is_none() && binary.file.is_some() {
                let user = entry.user;
                (entry.binary, entry.inode) = (Arc::new(binary), inode);
                if opened {
                    self.pin(user, id);
                }
            }
            return id;
        }
        let id = BinaryId(self.next);
        let charge = if id.0 > UNRECORDED.0 {
            // The path is kept in the key of both maps, too.
            let Some(charge) = self.binaries_budget.charge(user, ENTRY_BYTES + 3 * binary.path.len()) else {
                return UNRECORDED;
            };
            Some(charge)
        } else {
            None
        };
        // Four billion distinct binaries take centuries at the rate files are opened; then all is anonymous.
        if id.0 == NOT_PLACED {
            return ANONYMOUS;
        }
        self.next += 1;
        self.by_key.insert(binary.key.clone(), id);
        self.entries
            .insert(id, Entry { binary: Arc::new(binary), used: now, inode, became: None, user, _charge: charge });
        if opened {
            self.pin(user, id);
        }
        id
    }

    /// Counts a file that was just entered, and closes another one where there are too many.
    fn pin(&mut self, user: u32, id: BinaryId) {
        self.pinned += 1;
        let of_user = self.pinned_of.entry(user).or_default();
        *of_user += 1;
        if user != 0 && *of_user > MAX_PINNED_OF_USER {
            self.unpin_oldest(id, |entry| entry.user == user);
        } else if self.pinned > MAX_PINNED {
            self.unpin_oldest(id, |_| true);
        }
    }
}

/// Whether all that is known of a file is what it claims.
fn is_claimed(binary: &Binary) -> bool {
    matches!(binary.key, BinaryKey::Claimed { .. })
}

mod closing;
mod jit;

pub(super) use closing::shrink;
