-- Where the function of a place without a name begins, by the unwind table of its file: places of one function are one frame.

ALTER TABLE location ADD COLUMN begin INTEGER;  -- an offset as `offset` is; NULL for named places, and where it is not known

INSERT INTO migration VALUES (5, '0005_function_begin', unixepoch());
