-- The history of one or more hosts' boots: windows of samples, and what their stacks are made of.
--
-- Numbered, forward only, never edited once released. Row ids never come back: readers cache by id, so nothing may delete
-- the highest row of `string`, `location`, `stack`, `process` or `thread`.
-- Unsigned 64-bit addresses are stored as the signed integer with the same bits. 'None' strings are the empty string.

CREATE TABLE migration (
    version    INTEGER PRIMARY KEY,
    name       TEXT    NOT NULL,
    applied_at INTEGER NOT NULL             -- Unix seconds
) STRICT;
INSERT INTO migration VALUES (1, '0001_profiles', unixepoch());

-- 'clean_shutdown': 1 while nobody writes and the last writer closed properly.
-- 'renames': goes up when a location that had an answer gets another one; readers then drop their names.
CREATE TABLE meta (
    key   TEXT    PRIMARY KEY,
    value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO meta VALUES ('clean_shutdown', 0), ('renames', 0);

CREATE TABLE string (
    id   INTEGER PRIMARY KEY,
    text TEXT    NOT NULL UNIQUE
) STRICT;

-- What holds code. `identity` is what makes two of them the same one, as text: 'build-id:1:6f1c..', 'inode:..', 'kernel:BOOT'.
CREATE TABLE binary (
    id       INTEGER PRIMARY KEY,
    identity TEXT    NOT NULL UNIQUE,
    kind     INTEGER NOT NULL,              -- 0 kernel, 1 file, 2 vDSO, 3 memory without a file
    path     INTEGER NOT NULL REFERENCES string,
    build_id BLOB
) STRICT;

-- A place in code. A file's offset is a file offset; the kernel's and anonymous memory's is an address.
CREATE TABLE location (
    id     INTEGER PRIMARY KEY,
    binary INTEGER NOT NULL REFERENCES binary,
    offset INTEGER NOT NULL,
    state  INTEGER NOT NULL DEFAULT 0,      -- 0 not asked yet, 1 named, from 2 the reason for having no name
    UNIQUE (binary, offset)
) STRICT;

CREATE TABLE function (
    id   INTEGER PRIMARY KEY,
    name INTEGER NOT NULL REFERENCES string,
    file INTEGER NOT NULL REFERENCES string,
    UNIQUE (name, file)
) STRICT;

-- The functions at a named location; 0 is the innermost, the last one is not inlined.
CREATE TABLE location_frame (
    location INTEGER NOT NULL REFERENCES location,
    position INTEGER NOT NULL,
    function INTEGER NOT NULL REFERENCES function,
    line     INTEGER NOT NULL,              -- 0 when not known
    inlined  INTEGER NOT NULL,              -- 1 when inlined into the next position
    PRIMARY KEY (location, position)
) STRICT, WITHOUT ROWID;

-- All stacks as one tree: a stack is the id of its leaf, 0 is the empty stack. Parents come before their children.
CREATE TABLE stack (
    id       INTEGER PRIMARY KEY,
    parent   INTEGER NOT NULL CHECK (parent >= 0 AND parent < id),
    location INTEGER NOT NULL REFERENCES location,
    UNIQUE (parent, location)
) STRICT;

-- A process as it was for a while: exec and moves between cgroups make a new row with the same (boot, pid, start).
CREATE TABLE process (
    id          INTEGER PRIMARY KEY,
    boot        INTEGER NOT NULL REFERENCES string,
    pid         INTEGER NOT NULL,
    start_ticks INTEGER NOT NULL,           -- hundredths of a second after boot
    comm        INTEGER NOT NULL REFERENCES string,
    exe         INTEGER NOT NULL REFERENCES string,
    cgroup      INTEGER NOT NULL REFERENCES string,
    container   INTEGER NOT NULL REFERENCES string,
    unit        INTEGER NOT NULL REFERENCES string,
    UNIQUE (boot, pid, start_ticks, comm, exe, cgroup)
) STRICT;

CREATE TABLE thread (
    id      INTEGER PRIMARY KEY,
    process INTEGER NOT NULL REFERENCES process,
    tid     INTEGER NOT NULL,
    name    INTEGER NOT NULL REFERENCES string,
    UNIQUE (process, tid, name)
) STRICT;

-- taken = stored + lost, exactly, in every row.
CREATE TABLE window (
    id         INTEGER PRIMARY KEY,
    boot       INTEGER NOT NULL REFERENCES string,
    boot_start INTEGER NOT NULL,            -- nanoseconds of the boot clock
    boot_end   INTEGER NOT NULL,
    wall_start INTEGER NOT NULL,            -- nanoseconds since the Unix epoch
    wall_end   INTEGER NOT NULL,
    event      INTEGER NOT NULL,            -- 0 CPU clock, 1 cycles
    hz         INTEGER NOT NULL,            -- samples per second and CPU
    cpus       INTEGER NOT NULL,
    busy       INTEGER NOT NULL,            -- timer ticks
    idle       INTEGER NOT NULL,
    filtered   INTEGER NOT NULL,
    taken      INTEGER NOT NULL,            -- samples
    stored     INTEGER NOT NULL,
    lost       INTEGER NOT NULL,
    incomplete INTEGER NOT NULL,            -- stored samples whose user stack is cut short
    CHECK (boot_start < boot_end),
    UNIQUE (boot, boot_start)
) STRICT;
CREATE INDEX window_by_wall_start ON window (wall_start);

-- Lost samples of a window by cause.
CREATE TABLE loss (
    window INTEGER NOT NULL REFERENCES window,
    cause  INTEGER NOT NULL,
    count  INTEGER NOT NULL,
    PRIMARY KEY (window, cause)
) STRICT, WITHOUT ROWID;

-- Stored samples of a window by how the walk of the user stack ended.
CREATE TABLE ending (
    window INTEGER NOT NULL REFERENCES window,
    end    INTEGER NOT NULL,
    count  INTEGER NOT NULL,
    PRIMARY KEY (window, end)
) STRICT, WITHOUT ROWID;

-- One process's share of a window. `stacks` lists (thread, stack, end, samples): see store/codec.rs.
CREATE TABLE profile (
    window     INTEGER NOT NULL REFERENCES window,
    process    INTEGER NOT NULL REFERENCES process,
    samples    INTEGER NOT NULL,
    incomplete INTEGER NOT NULL,
    stacks     BLOB    NOT NULL,
    PRIMARY KEY (window, process)
) STRICT, WITHOUT ROWID;

-- Sums over the windows that are here, kept so that the status page never scans: ('windows', 0), ('taken', 0), ('stored', 0),
-- ('lost', cause), ('ending', end).
CREATE TABLE tally (
    name   TEXT    NOT NULL,
    number INTEGER NOT NULL,
    count  INTEGER NOT NULL,
    PRIMARY KEY (name, number)
) STRICT, WITHOUT ROWID;
