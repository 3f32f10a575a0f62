-- For exports that other tools resolve: where a file's code lies, and where functions are declared.

-- First executable segment of the file: its offset, the address that the linker gave to it, its length (unsigned as signed, as offsets are).
-- NULL where no ELF file was opened, and until this schema.
ALTER TABLE binary ADD COLUMN code_offset INTEGER;
ALTER TABLE binary ADD COLUMN code_address INTEGER;
ALTER TABLE binary ADD COLUMN code_len INTEGER;

-- Line that declares the function; NULL where no debug information says so, and until this schema. It is a fact of the place, not of the
-- function: two builds of a program have one function at two lines.
ALTER TABLE location_frame ADD COLUMN declared INTEGER;

DROP VIEW v_binaries;
CREATE VIEW v_binaries AS
SELECT binary.id, path.text AS path, lower(hex(build_id)) AS build_id, identity,
       CASE kind WHEN 0 THEN 'kernel' WHEN 1 THEN 'file' WHEN 2 THEN 'vdso' ELSE 'memory' END AS kind, code_offset, code_address, code_len
FROM binary LEFT JOIN string AS path ON path.id = binary.path;

DROP VIEW v_locations;
CREATE VIEW v_locations AS
SELECT location.id, v_binaries.path AS binary, offset, coalesce(position, 0) AS depth, v_functions.name AS function, v_functions.file,
       nullif(line, 0) AS line, inlined, state, declared
FROM location
LEFT JOIN v_binaries ON v_binaries.id = location.binary
LEFT JOIN location_frame ON location_frame.location = location.id
LEFT JOIN v_functions ON v_functions.id = location_frame.function;

INSERT INTO migration VALUES (7, '0007_code_and_declarations', unixepoch());
