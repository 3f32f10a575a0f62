-- Where names come from, for people who ask why some are missing. Layout and reasons: docs/decisions/0040.

-- What was looked for when a binary's names were last asked for, and the path of the file that has it; NULL for not found.
CREATE TABLE name_source (
    binary INTEGER NOT NULL,
    source INTEGER NOT NULL,                -- NameSource in profile/name_source.rs
    found  TEXT,
    PRIMARY KEY (binary, source)
) STRICT, WITHOUT ROWID;

-- The distribution's package that a file without symbols belongs to.
ALTER TABLE binary ADD COLUMN package TEXT;

-- A function keeps the linker's name beside the one it is shown by: docs/decisions/0041.
DROP VIEW v_samples;
DROP VIEW v_locations;
DROP VIEW v_functions;

CREATE TABLE named_function (
    id   INTEGER PRIMARY KEY,
    name INTEGER NOT NULL,                  -- string, demangled
    file INTEGER NOT NULL,                  -- string
    raw  INTEGER NOT NULL,                  -- string, as the linker has it; 0 when that is the name, or was not kept (until schema 3)
    UNIQUE (name, file, raw)
) STRICT;
INSERT INTO named_function SELECT id, name, file, 0 FROM function;
DROP TABLE function;
ALTER TABLE named_function RENAME TO function;

CREATE VIEW v_functions AS
SELECT function.id, name.text AS name, file.text AS file, coalesce(raw.text, name.text) AS linker_name
FROM function
LEFT JOIN string AS name ON name.id = function.name
LEFT JOIN string AS file ON file.id = function.file
LEFT JOIN string AS raw ON raw.id = function.raw;

-- As in 0003.
CREATE VIEW v_locations AS
SELECT location.id, v_binaries.path AS binary, offset, coalesce(position, 0) AS depth, v_functions.name AS function, v_functions.file,
       nullif(line, 0) AS line, inlined, state
FROM location
LEFT JOIN v_binaries ON v_binaries.id = location.binary
LEFT JOIN location_frame ON location_frame.location = location.id
LEFT JOIN v_functions ON v_functions.id = location_frame.function;

CREATE VIEW v_samples AS
SELECT hour * 3600 AS time, datetime(hour * 3600, 'unixepoch') AS utc, comm.text AS comm,
       CASE hour_leaf.location WHEN 0 THEN '[others]' ELSE coalesce(v_locations.function, '[unknown]') END AS function,
       v_locations.file, v_locations.binary, samples, samples * 1.0 / hz AS cpu_seconds
FROM hour_leaf
LEFT JOIN string AS comm ON comm.id = hour_leaf.comm
LEFT JOIN v_locations ON v_locations.id = hour_leaf.location AND v_locations.depth = 0;

INSERT INTO migration VALUES (4, '0004_name_sources', unixepoch());
