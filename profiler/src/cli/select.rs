//! Which samples of a database a command is about: a range, a selector, and the options that are short for one.

use super::args::RangeArgs;
use super::keep::unit_name;
use crate::profile::TimeRange;
use crate::query::{self, QueryError, Selector};
use crate::sys::clock::wall_now;

/// Reads what was asked for.
///
/// # Errors
/// A selector or a time that makes no sense.
pub fn of(args: &RangeArgs) -> Result<(Selector, TimeRange), QueryError> {
    let selector = query::parse_selector(&args.filter)?.and(query::parse_selector(&shorthand(args))?);
    Ok((selector, query::parse_range(&args.from, &args.to, wall_now())?))
}

/// `--comm` and its like as a selector: one of the values of each.
fn shorthand(args: &RangeArgs) -> String {
    let escaped = |texts: &mut dyn Iterator<Item = String>| {
        texts.map(|text| regex::escape(&text).replace('\\', "\\\\").replace('"', "\\\"")).collect::<Vec<_>>().join("|")
    };
    let pids = args.pids.iter().flat_map(|list| &list.0).map(u32::to_string);
    [
        ("comm", escaped(&mut args.comms.iter().cloned()), ""),
        ("unit", escaped(&mut args.units.iter().map(|unit| unit_name(unit))), ""),
        ("container", escaped(&mut args.containers.iter().cloned()), ".*"),
        ("pid", escaped(&mut pids.into_iter()), ""),
    ]
    .into_iter()
    .filter(|(_, values, _)| !values.is_empty())
    .map(|(label, values, rest)| format!("{label}=~\"({values}){rest}\""))
    .collect::<Vec<_>>()
    .join(",")
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::cli::args::PidList;

    fn args() -> RangeArgs {
        RangeArgs {
            from: "now-1h".into(),
            to: "now".into(),
            filter: String::new(),
            comms: Vec::new(),
            units: Vec::new(),
            containers: Vec::new(),
            pids: Vec::new(),
        }
    }

    /// Options become a selector of the same meaning, whatever stands in them; they narrow `--filter`.
    #[test]
    fn options_are_short_for_a_selector() {
        assert!(of(&args()).unwrap().0.is_empty());
        let short = RangeArgs {
            comms: vec!["a\"|\\b".into(), "c.d".into()],
            units: vec!["nginx".into()],
            containers: vec!["01".into()],
            pids: vec![PidList(vec![7, 8])],
            ..args()
        };
        let expected = r#"comm=~"(a\"\\|\\\\b|c\\.d)",unit=~"(nginx\\.service)",container=~"(01).*",pid=~"(7|8)""#;
        assert_eq!(shorthand(&short), expected);
        let both = of(&RangeArgs { filter: r#"{thread="io"}"#.into(), ..short }).unwrap().0;
        let whole = query::parse_selector(&format!(r#"{{thread="io",{expected}}}"#)).unwrap();
        assert_eq!(format!("{both:?}"), format!("{whole:?}"));
    }
}
