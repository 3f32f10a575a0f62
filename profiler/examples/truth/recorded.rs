//! One stop as gdb's script wrote it down.

use serde::Deserialize;

/// A stopped thread.
#[derive(Deserialize)]
pub struct Stop {
    pub ip: u64,
    /// By DWARF number, 0 to 15.
    pub registers: [u64; 16],
    /// gdb's frames, interrupted one first: address, "normal" or "signal", function.
    pub frames: Vec<(u64, String, Option<String>)>,
    /// gdb's word for why there are no more: "outermost" when all is well.
    pub why_gdb_stopped: String,
    /// Executable lines of `/proc/PID/maps`.
    pub maps: Vec<String>,
    /// Stack.
    pub memory: Vec<Piece>,
}

/// Some bytes of memory.
#[derive(Deserialize)]
pub struct Piece {
    pub start: u64,
    #[serde(deserialize_with = "hex")]
    pub bytes: Vec<u8>,
}

fn hex<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
    let pairs = text.as_bytes().as_chunks::<2>().0.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?));
    pairs.collect::<Option<_>>().ok_or_else(|| serde::de::Error::custom("not hexadecimal"))
}

/// An executable mapping.
pub struct Mapped {
    pub start: u64,
    pub end: u64,
    pub offset: u64,
    /// Empty when there is no file.
    pub path: String,
}

impl Stop {
    /// A caller's frame is looked up in its call; one that was interrupted (the first, and what a signal frame leads to) and the
    /// signal frame itself where they are.
    pub fn look_up_addresses(&self) -> Vec<u64> {
        let mut called = false;
        let look_up = |(address, kind, _): &(u64, String, Option<String>)| {
            let signal = kind == "signal";
            let found = if called && !signal { address - 1 } else { *address };
            called = !signal;
            found
        };
        // A return address of 0 is an end (a goroutine's, a thread's of some libcs); gdb shows it as a frame.
        self.frames.iter().take_while(|(address, ..)| *address != 0).map(look_up).collect()
    }

    pub fn mappings(&self) -> impl Iterator<Item = Mapped> + '_ {
        self.maps.iter().filter_map(|line| {
            let mut fields = line.split_whitespace();
            let (start, end) = fields.next()?.split_once('-')?;
            let hex = |text: &str| u64::from_str_radix(text, 16).ok();
            let offset = hex(fields.nth(1)?)?;
            let path = fields.nth(2).unwrap_or_default().to_owned();
            Some(Mapped { start: hex(start)?, end: hex(end)?, offset, path })
        })
    }

    /// Whether an address is in an executable mapping.
    pub fn is_code(&self, address: u64) -> bool {
        self.mappings().any(|mapped| (mapped.start..mapped.end).contains(&address))
    }

    /// gdb's frame, for people.
    pub fn place(&self, at: usize) -> String {
        let (address, _, name) = &self.frames[at];
        format!("{} ({})", name.as_deref().unwrap_or("?"), self.file_place(*address))
    }

    /// An address as file and offset.
    pub fn file_place(&self, address: u64) -> String {
        let found = self.mappings().find(|mapped| (mapped.start..mapped.end).contains(&address));
        found.map_or_else(
            || format!("{address:#x}, in no mapping"),
            |mapped| {
                let file = mapped.path.rsplit('/').next().unwrap_or_default();
                format!("{file}+{:#x}", address - mapped.start + mapped.offset)
            },
        )
    }
}
