-- Series: what was sampled, on which host, how often. Layout and reasons: docs/decisions/0116.

-- Hosts whose samples are here. `machine` is made of the host's machine id for this program alone; empty where it is not known, as of what
-- was recorded before this schema.
CREATE TABLE host (
    id      INTEGER PRIMARY KEY,
    machine TEXT NOT NULL UNIQUE,
    name    TEXT NOT NULL                   -- as it was called when it wrote last
) STRICT;
INSERT INTO host VALUES (1, '', '');

-- Samples of one series stand for equal amounts, and are added up; those of different ones never are in one row.
CREATE TABLE series (
    id     INTEGER PRIMARY KEY,
    host   INTEGER NOT NULL,
    type   TEXT    NOT NULL,                -- of profile: 'process_cpu' and others of profile/profile_type.rs
    event  TEXT    NOT NULL,                -- what made the samples: 'cpu-clock', 'cycles'
    period INTEGER NOT NULL CHECK (period > 0), -- what passes between two samples of a CPU, in the type's unit: nanoseconds
    UNIQUE (host, type, event, period)
) STRICT;
-- A row says by a small number how it was sampled. Those of the commonest rate of each event keep the number that they have (0 CPU clock,
-- 1 cycles), so that of a history of one rate no roll-up is written anew; the others come after, which no row has yet.
INSERT INTO series (id, host, type, event, period)
WITH way AS (
    SELECT event, hz, count(*) AS n FROM rollup GROUP BY event, hz
    UNION ALL SELECT event, hz, 0 FROM window GROUP BY event, hz
    UNION ALL SELECT event, hz, 0 FROM hour_leaf GROUP BY event, hz),
placed AS (
    SELECT event, hz, row_number() OVER (PARTITION BY event ORDER BY sum(n) DESC, hz) > 1 AS is_other FROM way GROUP BY event, hz)
SELECT CASE WHEN is_other THEN 1 + row_number() OVER (PARTITION BY is_other ORDER BY event, hz) ELSE event END,
       1, 'process_cpu', iif(event = 0, 'cpu-clock', 'cycles'), 1000000000 / max(hz, 1)
FROM placed;

DROP VIEW v_windows;
DROP VIEW v_history;
DROP VIEW v_samples;
DROP TRIGGER hour_leaf_goes_with_its_hour;

CREATE TABLE window_of_series (
    id         INTEGER PRIMARY KEY,
    series     INTEGER NOT NULL,
    boot       INTEGER NOT NULL,            -- string
    boot_start INTEGER NOT NULL,            -- nanoseconds of the boot clock
    length     INTEGER NOT NULL,            -- nanoseconds by the boot clock
    wall_start INTEGER NOT NULL,            -- nanoseconds since the Unix epoch
    wall_end   INTEGER NOT NULL,
    cpus       INTEGER NOT NULL,
    busy       INTEGER NOT NULL,            -- timer ticks
    idle       INTEGER NOT NULL,
    filtered   INTEGER NOT NULL,
    taken      INTEGER NOT NULL,            -- samples
    stored     INTEGER NOT NULL,
    lost       INTEGER NOT NULL,
    incomplete INTEGER NOT NULL,            -- stored samples whose user stack is cut short
    losses     TEXT,                        -- lost samples by cause, as JSON: {"0":3}; NULL for none
    missed     INTEGER,                     -- ticks that were due and not seen; NULL where that was not counted
    misses     TEXT,                        -- these by cause, as `losses`
    packed     INTEGER NOT NULL DEFAULT 0,  -- 0: its samples are in `fresh`; 1: in the roll-up of its five minutes
    CHECK (length > 0),
    UNIQUE (series, boot, boot_start)
) STRICT;
INSERT INTO window_of_series
SELECT window.id, series.id, boot, boot_start, length, wall_start, wall_end, cpus, busy, idle, filtered, taken, stored, lost, incomplete,
       losses, missed, misses, packed
FROM window JOIN series ON series.event = iif(window.event = 0, 'cpu-clock', 'cycles') AND series.period = 1000000000 / max(hz, 1);
DROP TABLE window;
ALTER TABLE window_of_series RENAME TO window;
CREATE INDEX window_by_wall_start ON window (wall_start);
CREATE INDEX window_fresh ON window (wall_start) WHERE packed = 0;

-- SQLite cannot take a column out of a table's uniqueness without writing the table anew, with all its blobs. So `hz` stays, and says no more
-- than the series: a thousand million by its period.
ALTER TABLE rollup RENAME COLUMN event TO series;
UPDATE rollup SET series = way.id
FROM series AS way
WHERE way.event = iif(rollup.series = 0, 'cpu-clock', 'cycles') AND way.period = 1000000000 / max(rollup.hz, 1) AND way.id <> rollup.series;

ALTER TABLE hour_leaf RENAME COLUMN event TO series;
UPDATE hour_leaf SET series = way.id
FROM series AS way
WHERE way.event = iif(hour_leaf.series = 0, 'cpu-clock', 'cycles') AND way.period = 1000000000 / max(hour_leaf.hz, 1) AND way.id <> hour_leaf.series;

CREATE TRIGGER hour_leaf_goes_with_its_hour AFTER DELETE ON rollup WHEN old.level = 2
BEGIN
    DELETE FROM hour_leaf WHERE hour = old.start / 3600000000000 AND series = old.series;
END;

-- Views for people.

-- Every series, its frequency where its samples are taken by the time.
CREATE VIEW v_series AS
SELECT series.id, host.name AS host, type, event, period, iif(type = 'process_cpu', (1000000000 + period / 2) / period, NULL) AS hz
FROM series JOIN host ON host.id = series.host;

-- Windows of ten seconds, as long as they are told apart.
CREATE VIEW v_windows AS
SELECT window.id, wall_start / 1e9 AS time, datetime(wall_start / 1000000000, 'unixepoch') AS utc, length / 1e9 AS seconds,
       v_series.event, v_series.hz, cpus, busy, idle, taken, stored, lost, incomplete, losses, missed, misses, host, type
FROM window JOIN v_series ON v_series.id = window.series;

-- Everything that is held, in its finest pieces: windows, and roll-ups of what is told apart no more.
CREATE VIEW v_history AS
SELECT wall_start / 1e9 AS time, datetime(wall_start / 1000000000, 'unixepoch') AS utc, length / 1e9 AS seconds, 'window' AS piece,
       v_series.hz, cpus, busy, idle, taken, stored, lost, incomplete, missed, v_series.event, host, type
FROM window JOIN v_series ON v_series.id = window.series
UNION ALL
SELECT start / 1e9, datetime(start / 1000000000, 'unixepoch'), length / 1e9,
       CASE level WHEN 1 THEN '5 minutes' WHEN 2 THEN 'hour' ELSE 'day' END,
       v_series.hz, cpus, busy, idle, taken, stored, lost, incomplete, missed, v_series.event, host, type
FROM rollup JOIN v_series ON v_series.id = rollup.series WHERE finest = 1;

-- Samples by hour, process name and the function they hit (self). Hours that are rolled up: the last one or two are missing.
CREATE VIEW v_samples AS
SELECT hour * 3600 AS time, datetime(hour * 3600, 'unixepoch') AS utc, comm.text AS comm,
       CASE hour_leaf.location WHEN 0 THEN '[others]' ELSE coalesce(v_locations.function, '[unknown]') END AS function,
       v_locations.file, v_locations.binary, samples, iif(type = 'process_cpu', samples * 1.0 / ((1000000000 + period / 2) / period), NULL) AS cpu_seconds,
       host.name AS host, type
FROM hour_leaf
JOIN series ON series.id = hour_leaf.series
JOIN host ON host.id = series.host
LEFT JOIN string AS comm ON comm.id = hour_leaf.comm
LEFT JOIN v_locations ON v_locations.id = hour_leaf.location AND v_locations.depth = 0;

INSERT INTO migration VALUES (8, '0008_series', unixepoch());
