-- Views for people: plain SQL, in any shell, over what is no blob. Described in docs/sql.md; columns may be added, not renamed.

-- The busiest functions of an hour by what ran in them: the 300 largest (process name, place) of each hour roll-up; the rest as
-- location 0, one row for each process name, so that sums are exact.
CREATE TABLE hour_leaf (
    hour     INTEGER NOT NULL,              -- hours since the Unix epoch
    event    INTEGER NOT NULL,
    hz       INTEGER NOT NULL,
    comm     INTEGER NOT NULL,              -- string
    location INTEGER NOT NULL,
    samples  INTEGER NOT NULL,
    PRIMARY KEY (hour, event, hz, comm, location)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER hour_leaf_goes_with_its_hour AFTER DELETE ON rollup WHEN old.level = 2
BEGIN
    DELETE FROM hour_leaf WHERE hour = old.start / 3600000000000 AND event = old.event AND hz = old.hz;
END;

-- Windows of ten seconds, as long as they are told apart.
CREATE VIEW v_windows AS
SELECT id, wall_start / 1e9 AS time, datetime(wall_start / 1000000000, 'unixepoch') AS utc, length / 1e9 AS seconds,
       iif(event = 0, 'cpu-clock', 'cycles') AS event, hz, cpus, busy, idle, taken, stored, lost, incomplete, losses
FROM window;

-- Everything that is held, in its finest pieces: windows, and roll-ups of what is told apart no more.
CREATE VIEW v_history AS
SELECT wall_start / 1e9 AS time, datetime(wall_start / 1000000000, 'unixepoch') AS utc, length / 1e9 AS seconds, 'window' AS piece,
       hz, cpus, busy, idle, taken, stored, lost, incomplete FROM window
UNION ALL
SELECT start / 1e9, datetime(start / 1000000000, 'unixepoch'), length / 1e9,
       CASE level WHEN 1 THEN '5 minutes' WHEN 2 THEN 'hour' ELSE 'day' END,
       hz, cpus, busy, idle, taken, stored, lost, incomplete FROM rollup WHERE finest = 1;

-- A process as it was for a while: exec and moves between cgroups make a new row.
CREATE VIEW v_processes AS
SELECT process.id, pid, start_ticks / 100.0 AS started_after_boot, comm.text AS comm, exe.text AS exe, path.text AS cgroup,
       container.text AS container, unit.text AS unit, boot.text AS boot
FROM process
JOIN cgroup ON cgroup.id = process.cgroup
LEFT JOIN string AS comm ON comm.id = process.comm
LEFT JOIN string AS exe ON exe.id = process.exe
LEFT JOIN string AS path ON path.id = cgroup.path
LEFT JOIN string AS container ON container.id = cgroup.container
LEFT JOIN string AS unit ON unit.id = cgroup.unit
LEFT JOIN string AS boot ON boot.id = process.boot;

CREATE VIEW v_binaries AS
SELECT binary.id, path.text AS path, lower(hex(build_id)) AS build_id, identity,
       CASE kind WHEN 0 THEN 'kernel' WHEN 1 THEN 'file' WHEN 2 THEN 'vdso' ELSE 'memory' END AS kind
FROM binary LEFT JOIN string AS path ON path.id = binary.path;

CREATE VIEW v_functions AS
SELECT function.id, name.text AS name, file.text AS file
FROM function LEFT JOIN string AS name ON name.id = function.name LEFT JOIN string AS file ON file.id = function.file;

-- Places in code, one row a function there: depth 0 is the innermost, the last one is not inlined. No name: a row without function.
CREATE VIEW v_locations AS
SELECT location.id, v_binaries.path AS binary, offset, coalesce(position, 0) AS depth, v_functions.name AS function, v_functions.file,
       nullif(line, 0) AS line, inlined, state
FROM location
LEFT JOIN v_binaries ON v_binaries.id = location.binary
LEFT JOIN location_frame ON location_frame.location = location.id
LEFT JOIN v_functions ON v_functions.id = location_frame.function;

-- Samples by hour, process name and the function they hit (self). Hours that are rolled up: the last one or two are missing.
CREATE VIEW v_samples AS
SELECT hour * 3600 AS time, datetime(hour * 3600, 'unixepoch') AS utc, comm.text AS comm,
       CASE hour_leaf.location WHEN 0 THEN '[others]' ELSE coalesce(v_locations.function, '[unknown]') END AS function,
       v_locations.file, v_locations.binary, samples, samples * 1.0 / hz AS cpu_seconds
FROM hour_leaf
LEFT JOIN string AS comm ON comm.id = hour_leaf.comm
LEFT JOIN v_locations ON v_locations.id = hour_leaf.location AND v_locations.depth = 0;

INSERT INTO migration VALUES (3, '0003_views', unixepoch());
