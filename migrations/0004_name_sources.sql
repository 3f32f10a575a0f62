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

INSERT INTO migration VALUES (4, '0004_name_sources', unixepoch());
