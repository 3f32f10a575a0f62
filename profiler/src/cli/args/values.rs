//! Values of the command line: what a text means, and what to say where it means nothing.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs as _};
use std::time::Duration;

use super::UnwindArg;

/// How often to sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrequencyArg {
    /// This many samples per second and CPU.
    Hz(u32),
    /// As many as the kernel allows.
    Max,
}

pub(super) fn frequency(text: &str) -> Result<FrequencyArg, String> {
    match text {
        "max" => Ok(FrequencyArg::Max),
        text => text.parse().map(FrequencyArg::Hz).map_err(|_| "neither a number nor `max`".into()),
    }
}

/// Process ids of one `-p`: a list, as `pgrep` or a person writes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PidList(pub Vec<u32>);

pub(super) fn pid_list(text: &str) -> Result<PidList, String> {
    let words = text.split([',', ' ', '\n', '\t']).filter(|word| !word.is_empty());
    let pids: Vec<u32> = words
        .map(|word| word.parse().map_err(|_| format!("{word:?} is no process id: `pgrep NAME` finds those of a name")))
        .collect::<Result<_, _>>()?;
    if pids.is_empty() {
        Err("no process id: no process is called so, if pgrep was asked".into())
    } else {
        Ok(PidList(pids))
    }
}

/// CPUs of `-C`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CpuList(pub Vec<u32>);

pub(super) fn cpu_list(text: &str) -> Result<CpuList, String> {
    let bad = || format!("{text:?} is no list of CPUs: write 0, 0-3 or 0,2,4-7");
    let mut cpus = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (u32, u32) = (first.parse().map_err(|_| bad())?, last.parse().map_err(|_| bad())?);
        if first > last || last > 65_535 {
            return Err(bad());
        }
        cpus.extend(first..=last);
    }
    Ok(CpuList(cpus))
}

/// perf's words for how stacks are walked, with what may stand behind a comma.
pub(super) fn call_graph(text: &str) -> Result<UnwindArg, String> {
    match text.split(',').next() {
        Some("fp") => Ok(UnwindArg::Fp),
        Some("dwarf" | "lbr") => Ok(UnwindArg::Auto),
        _ => Err("write fp, dwarf or lbr".into()),
    }
}

pub(super) fn power_of_two(text: &str) -> Result<u32, String> {
    let number: u32 = text.parse().map_err(|_| "not a number".to_owned())?;
    if number.is_power_of_two() && number <= 1 << 22 {
        Ok(number)
    } else {
        Err("not a power of two up to 4194304".into())
    }
}

/// What an address bar can hold, up to the page.
pub(super) fn base(text: &str) -> Result<String, String> {
    let uri: actix_web::http::Uri = text.parse().map_err(|error| format!("{error}"))?;
    let web = matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some() && uri.query().is_none();
    if web {
        Ok(text.to_owned())
    } else {
        Err("write it like http://localhost:8000 or https://prof.example/path/".into())
    }
}

/// An address with its port; a port alone is one of this host, a name is looked up.
pub(super) fn listen(text: &str) -> Result<SocketAddr, String> {
    let here = |port| SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port);
    let port = text.strip_prefix(':').unwrap_or(text);
    if let Ok(port) = port.parse() {
        return Ok(here(port));
    }
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    let bad =
        || format!("{text:?} is no address with a port: write 7117, 127.0.0.1:7117, localhost:7117 or [::1]:7117");
    let mut found: Vec<SocketAddr> = text.to_socket_addrs().map_err(|_| bad())?.collect();
    // `localhost` is both: browsers of old try this one first.
    found.sort_by_key(SocketAddr::is_ipv6);
    found.first().copied().ok_or_else(bad)
}

/// `30` (seconds), `1.5`, `30s`, `5m`, `1h30m`, `30d`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let bad = || format!("{text:?} is not a time: write 30, 1.5, 30s, 5m, 1h or 30d");
    let is_number = text.starts_with(|first: char| first.is_ascii_digit() || first == '.');
    let duration = match text.parse::<f64>() {
        Ok(seconds) if is_number => Duration::try_from_secs_f64(seconds).map_err(|_| bad())?,
        _ => {
            let span: jiff::Span = text.parse().map_err(|_| bad())?;
            let days = jiff::SpanRelativeTo::days_are_24_hours();
            Duration::try_from(span.to_duration(days).map_err(|_| bad())?).map_err(|_| bad())?
        }
    };
    if duration.is_zero() { Err(format!("{text:?} is no time at all: write 30s or more")) } else { Ok(duration) }
}

/// A window's length: long enough to be stored in its own time, short enough to be held in memory.
pub(super) fn window(text: &str) -> Result<Duration, String> {
    let window = duration(text)?;
    if (Duration::from_millis(100)..=Duration::from_secs(3600)).contains(&window) {
        Ok(window)
    } else {
        Err("a window is 100ms to 1h long".into())
    }
}
