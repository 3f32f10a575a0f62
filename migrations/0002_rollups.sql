-- Months in one file: windows are packed into roll-ups of 5 minutes, 1 hour and 1 day, the stack tree into pages.
--
-- What schema 1 recorded is dropped: no version that wrote it was released. Layout and reasons: docs/decisions/0010 to 0014.
-- Row ids never come back: readers cache by id, so nothing may delete the highest row of `string`, `location`, `process` or `stack_page`.
-- No REFERENCES here: blobs refer to rows too, which SQLite cannot see, and collecting garbage would search every table for each row.

DROP TABLE profile;
DROP TABLE ending;
DROP TABLE loss;
DROP TABLE window;
DROP TABLE thread;
DROP TABLE process;
DROP TABLE stack;
DROP TABLE location_frame;
DROP TABLE function;
DROP TABLE location;
DROP TABLE binary;
DROP TABLE string;
DELETE FROM tally;

-- 'garbage': windows deleted for good since stacks and names that nobody needs were last collected.
-- 'seed': the secret that `string.hash` is keyed with, so that nobody outside can make names that collide.
INSERT INTO meta VALUES ('garbage', 0), ('seed', random());

-- An index on the text would be as large as the texts.
CREATE TABLE string (
    id   INTEGER PRIMARY KEY,
    hash INTEGER NOT NULL,                  -- 32 bits of SipHash-1-3, keyed with meta.seed
    text TEXT    NOT NULL
) STRICT;
CREATE INDEX string_by_hash ON string (hash);

-- What holds code. `identity` is what makes two of them the same one, as text: 'build-id:1:6f1c..', 'inode:..', 'kernel:BOOT'.
CREATE TABLE binary (
    id       INTEGER PRIMARY KEY,
    identity TEXT    NOT NULL UNIQUE,
    kind     INTEGER NOT NULL,              -- 0 kernel, 1 file, 2 vDSO, 3 memory without a file
    path     INTEGER NOT NULL,              -- string
    build_id BLOB
) STRICT;

-- A place in code. A file's offset is a file offset; the kernel's and anonymous memory's is an address.
CREATE TABLE location (
    id     INTEGER PRIMARY KEY,
    binary INTEGER NOT NULL,
    offset INTEGER NOT NULL,
    state  INTEGER NOT NULL DEFAULT 0,      -- 0 not asked yet, 1 named, from 2 the reason for having no name
    UNIQUE (binary, offset)
) STRICT;
CREATE INDEX location_unasked ON location (id) WHERE state = 0;

CREATE TABLE function (
    id   INTEGER PRIMARY KEY,
    name INTEGER NOT NULL,                  -- string
    file INTEGER NOT NULL,                  -- string
    UNIQUE (name, file)
) STRICT;

-- The functions at a named location; 0 is the innermost, the last one is not inlined.
CREATE TABLE location_frame (
    location INTEGER NOT NULL,
    position INTEGER NOT NULL,
    function INTEGER NOT NULL,
    line     INTEGER NOT NULL,              -- 0 when not known
    inlined  INTEGER NOT NULL,              -- 1 when inlined into the next position
    PRIMARY KEY (location, position)
) STRICT, WITHOUT ROWID;

-- All stacks as one tree, 2048 nodes a page: a stack is the number of its leaf, 0 is the empty stack, callers come before their callees.
-- Node n is n % 2048 in page n / 2048. See store/stack_page.rs.
CREATE TABLE stack_page (
    page  INTEGER PRIMARY KEY,
    nodes BLOB    NOT NULL
) STRICT;

CREATE TABLE cgroup (
    id        INTEGER PRIMARY KEY,
    path      INTEGER NOT NULL UNIQUE,      -- string
    container INTEGER NOT NULL,             -- string
    unit      INTEGER NOT NULL              -- string
) STRICT;

-- A process as it was for a while: exec and moves between cgroups make a new row with the same (boot, pid, start).
CREATE TABLE process (
    id          INTEGER PRIMARY KEY,
    boot        INTEGER NOT NULL,           -- string
    pid         INTEGER NOT NULL,
    start_ticks INTEGER NOT NULL,           -- hundredths of a second after boot
    comm        INTEGER NOT NULL,           -- string
    exe         INTEGER NOT NULL,           -- string
    cgroup      INTEGER NOT NULL
) STRICT;
CREATE INDEX process_by_start ON process (start_ticks, pid);

-- The numbers of each window whose ten seconds are still told apart. taken = stored + lost, exactly, in every row.
CREATE TABLE window (
    id         INTEGER PRIMARY KEY,
    boot       INTEGER NOT NULL,            -- string
    boot_start INTEGER NOT NULL,            -- nanoseconds of the boot clock
    length     INTEGER NOT NULL,            -- nanoseconds by the boot clock
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
    losses     TEXT,                        -- lost samples by cause, as JSON: {"0":3}; NULL for none
    packed     INTEGER NOT NULL DEFAULT 0,  -- 0: its samples are in `fresh`; 1: in the roll-up of its five minutes
    CHECK (length > 0),
    UNIQUE (boot, boot_start)
) STRICT;
CREATE INDEX window_by_wall_start ON window (wall_start);
CREATE INDEX window_fresh ON window (wall_start) WHERE packed = 0;

-- The samples of windows that are not packed yet: see store/codec.rs.
CREATE TABLE fresh (
    window    INTEGER PRIMARY KEY,
    directory BLOB NOT NULL,
    stacks    BLOB NOT NULL
) STRICT;

-- Sums of all packed windows whose wall-clock start lies in one piece of time, one row for each way of sampling.
CREATE TABLE rollup (
    id         INTEGER PRIMARY KEY,
    level      INTEGER NOT NULL,            -- 1: five minutes, 2: an hour, 3: a day (UTC)
    start      INTEGER NOT NULL,            -- nanoseconds since the Unix epoch, a multiple of the length
    event      INTEGER NOT NULL,
    hz         INTEGER NOT NULL,
    rolled     INTEGER NOT NULL DEFAULT 0,  -- 1: its samples are in the row of the next level too
    finest     INTEGER NOT NULL DEFAULT 0,  -- 1: what it was made of is gone; it belongs to a range when its start does
    windows    INTEGER NOT NULL,
    wall_end   INTEGER NOT NULL,            -- end of its last window
    length     INTEGER NOT NULL,            -- the sum of its windows' lengths
    cpus       INTEGER NOT NULL,            -- the most of its windows
    busy       INTEGER NOT NULL,
    idle       INTEGER NOT NULL,
    filtered   INTEGER NOT NULL,
    taken      INTEGER NOT NULL,
    stored     INTEGER NOT NULL,
    lost       INTEGER NOT NULL,
    incomplete INTEGER NOT NULL,
    losses     TEXT,
    directory  BLOB NOT NULL,               -- who: see store/codec.rs
    stacks     BLOB NOT NULL,               -- their stacks
    split      BLOB,                        -- level 1: which of them in which window, while these are told apart; see store/split.rs
    UNIQUE (level, start, event, hz)
) STRICT;
CREATE INDEX rollup_unrolled ON rollup (level, start) WHERE rolled = 0;
CREATE INDEX rollup_detailed ON rollup (level, start) WHERE finest = 0;
CREATE INDEX rollup_finest ON rollup (start) WHERE finest = 1;

-- When samples were taken, in the order of their window's entries: see store/times.rs. Dropped first, under a budget of its own.
CREATE TABLE sample_time (
    window INTEGER PRIMARY KEY,
    times  BLOB NOT NULL
) STRICT;

INSERT INTO migration VALUES (2, '0002_rollups', unixepoch());
