-- Ticks that were due and that the sampling program did not see, by cause: ticks due = busy + idle + missed.

-- `missed`: their number; NULL where it was not counted, before this schema. They were booked as idle then.
-- `misses`: by cause, as JSON: {"0":3}; NULL for none. 0 another eBPF program held the CPU, 1 the kernel throttled the event,
-- 2 the event was not on the CPU, 3 the timer came late, 4 not known.
ALTER TABLE window ADD COLUMN missed INTEGER;
ALTER TABLE window ADD COLUMN misses TEXT;
ALTER TABLE rollup ADD COLUMN missed INTEGER;
ALTER TABLE rollup ADD COLUMN misses TEXT;

DROP VIEW v_windows;
CREATE VIEW v_windows AS
SELECT id, wall_start / 1e9 AS time, datetime(wall_start / 1000000000, 'unixepoch') AS utc, length / 1e9 AS seconds,
       iif(event = 0, 'cpu-clock', 'cycles') AS event, hz, cpus, busy, idle, taken, stored, lost, incomplete, losses, missed, misses
FROM window;

DROP VIEW v_history;
CREATE VIEW v_history AS
SELECT wall_start / 1e9 AS time, datetime(wall_start / 1000000000, 'unixepoch') AS utc, length / 1e9 AS seconds, 'window' AS piece,
       hz, cpus, busy, idle, taken, stored, lost, incomplete, missed FROM window
UNION ALL
SELECT start / 1e9, datetime(start / 1000000000, 'unixepoch'), length / 1e9,
       CASE level WHEN 1 THEN '5 minutes' WHEN 2 THEN 'hour' ELSE 'day' END,
       hz, cpus, busy, idle, taken, stored, lost, incomplete, missed FROM rollup WHERE finest = 1;

INSERT INTO migration VALUES (6, '0006_missed_ticks', unixepoch());
