import { expect, test } from "vitest";
import { shortName } from "./frame-name";
import { followsNow, parseInstant, resolveInstant } from "./time-range";
import {
  baseName,
  formatAmount,
  formatBytes,
  formatClock,
  formatCores,
  formatCoresChange,
  formatCount,
  formatFigure,
  formatInterval,
  formatMoment,
  formatNanos,
  formatPoints,
  formatSamples,
  formatShare,
  formatSpan,
  fromLocalInput,
  toLocalInput,
  useUtc,
} from "./units";

/** Never rounds up to all or down to nothing. */
test("shares keep their meaning at both ends", () => {
  expect([1, 0.9999, 0.5, 0.0123, 0.00042, 1e-8, 0].map((part) => formatShare(part, 1))).toEqual([
    "100 %",
    "99.9 %",
    "50.0 %",
    "1.23 %",
    "0.042 %",
    "< 0.0001 %",
    "0 %",
  ]);
  expect(formatShare(0, 0)).toBe("0 %");
});

/** Nanoseconds are no samples, and are never called so. */
test("numbers are said as what they stand for", () => {
  const samples = { scale: 10_309_278, counts_samples: true };
  expect([formatAmount(1200, samples), formatFigure(1200, samples)]).toEqual(["1,200 samples", "1,200"]);
  const times = { scale: 1, counts_samples: false };
  expect([formatAmount(12e9, times), formatFigure(1_500_000, times)]).toEqual(["12.0 s", "1.50 ms"]);
});

/** Three figures and the unit that a person would choose. */
test("durations, spans, sizes and counts are short", () => {
  expect([0, 5e6, 1.5e9, 90e9, 600e9, 36_000e9].map(formatNanos)).toEqual([
    "0 s",
    "5.00 ms",
    "1.50 s",
    "90.0 s",
    "10.0 min",
    "10.0 h",
  ]);
  expect([4_000, 900_000, 12_000_000, 187_200_000].map(formatSpan)).toEqual(["4 s", "15 min", "3 h 20 min", "2 d 4 h"]);
  expect([12, 2048, 48_300_000, 1e13].map(formatBytes)).toEqual(["12 B", "2.0 KiB", "46.1 MiB", "9.1 TiB"]);
  expect([0, 0.004, 0.5, 12.34].map(formatCores)).toEqual(["0", "0.004", "0.50", "12.3"]);
  expect(formatCount(1234567)).toBe("1,234,567");
  expect([0, 1, 1200].map(formatSamples)).toEqual(["0 samples", "1 sample", "1,200 samples"]);
  expect([baseName("/usr/lib/libc.so.6"), baseName("[kernel]")]).toEqual(["libc.so.6", "[kernel]"]);
});

/** A day is named only where it is not clear. */
test("intervals name the day when they cross midnight", () => {
  const at = Date.UTC(2026, 10, 22, 23, 59, 0);
  expect(formatInterval(at, at + 30_000)).toBe("23:59:00 – 23:59:30");
  expect(formatInterval(at, at + 120_000)).toBe("2026-11-22 23:59:00 – 2026-11-23 00:01:00");
});

/** The forms of the API, and no others. */
test("instants are now, a time ago, or milliseconds", () => {
  expect(["now", "now-15m", "1763800000000"].map(parseInstant)).toEqual(["now", "now-15m", 1763800000000]);
  expect(["", "later", "now+1h", "now-1y", "-5", "1e9"].map(parseInstant)).toEqual([
    null,
    null,
    null,
    null,
    null,
    null,
  ]);
  expect([resolveInstant("now-2h", 10_000_000), resolveInstant("now", 7), resolveInstant(42, 7)]).toEqual([
    2_800_000, 7, 42,
  ]);
  expect([followsNow({ from: 1, to: "now" }), followsNow({ from: "now-1h", to: 5 })]).toEqual([true, false]);
});

/** The end of a name says most; template arguments say least. */
test("names are shortened from the front", () => {
  expect(
    [
      "main",
      "alloc::vec::Vec<alloc::string::String>::push",
      "<T as core::fmt::Display>::fmt",
      "core::ptr::drop_in_place<alloc::vec::Vec<u8>>",
      "std::rt::lang_start",
      "std::less<int>::operator()(int const&, int const&) const",
      "bool std::operator< <char>(std::basic_string<char> const&, char const*)",
      "bool std::operator==<char>(A, B)",
      "std::basic_string<char, std::char_traits<char> >::compare(char const*) const",
      "std::ostream& std::operator<< <T>(std::ostream&, T)",
      "operator new(unsigned long)",
      "Value::operator bool() const",
      "main::{lambda(int)#1}::operator()(int) const",
      "pool::run(int)::{lambda()#2}::operator()() const [clone .cold]",
      "foo::bar::{closure#0}",
      "void (anonymous namespace)::work<int>(int)",
      "char const* ns::name<a::B<1> >(c::D*)",
      "net/http.(*conn).serve",
      "operator()",
    ].map(shortName),
  ).toEqual([
    "main",
    "Vec::push",
    "Display::fmt",
    "ptr::drop_in_place",
    "rt::lang_start",
    "less::operator()",
    "std::operator<",
    "std::operator==",
    "basic_string::compare",
    "std::operator<<",
    "operator new",
    "Value::operator bool",
    "main::{lambda#1}",
    "run::{lambda#2}",
    "bar::{closure#0}",
    "work",
    "ns::name",
    "net/http.(*conn).serve",
    "operator()",
  ]);
});

/** A box of a heat map is shorter than a second; a change that rounding made is none. */
test("short spans have milliseconds, and nothing is no change", () => {
  const at = new Date(2026, 10, 30, 2, 23, 12).getTime();
  expect(formatInterval(at + 200, at + 400)).toBe("02:23:12.200 – 02:23:12.400");
  expect(formatInterval(at, at + 5_000)).toBe("02:23:12 – 02:23:17");
  expect([formatPoints(1e-9), formatPoints(-1e-17), formatPoints(0.02)]).toEqual(["±0 %", "±0 %", "+2.00 %"]);
  expect([formatCoresChange(0.24), formatCoresChange(-1.5), formatCoresChange(0)]).toEqual([
    "+0.24 cores",
    "−1.50 cores",
    "±0 cores",
  ]);
});

/** One switch for all times: what is written, and what is read back from a field. */
test("times are the reader's, or UTC", () => {
  const zone = process.env.TZ;
  const at = Date.UTC(2026, 6, 1, 22, 30, 5);
  try {
    process.env.TZ = "Asia/Kolkata";
    expect([formatMoment(at), toLocalInput(at), fromLocalInput("2026-07-02T04:00:05")]).toEqual([
      "2026-07-02 04:00:05",
      "2026-07-02T04:00:05",
      at,
    ]);
    useUtc(true);
    expect([formatMoment(at), toLocalInput(at), fromLocalInput("2026-07-01T22:30:05")]).toEqual([
      "2026-07-01 22:30:05",
      "2026-07-01T22:30:05",
      at,
    ]);
    expect(formatClock(at)).toBe("22:30:05");
  } finally {
    useUtc(false);
    process.env.TZ = zone;
  }
});
