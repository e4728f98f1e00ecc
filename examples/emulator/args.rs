//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;

/// What `--help` prints.
pub const HELP: &str = "\
Runs RISC-V programs side by side, each in an address space of its own, on an emulated MMU.

emulator [OPTIONS]
  --guest NAME|ELF[,ARG..]  a bundled guest or a static RV64IMAC ELF file, with its arguments; repeatable
                            (default: every bundled guest)
  --ram SIZE                guest-physical memory, with K, M or G (default 1M)
  --swap FILE[:LIMIT]       where pages go when memory is short; overwritten (default: a temporary file,
                            removed at exit)
  --tlb SETSxWAYS           the TLB's geometry (default 64x4)
  --seed N                  varies the lengths of the time slices (default 1)
  --quiet                   print the table only, no output of the guests
  --list                    list the bundled guests
  --help                    this text";

/// A guest as asked for.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// A bundled guest's name or a file's.
    pub name: String,
    /// What follows it on its own command line.
    pub arguments: Vec<String>,
}

impl Wanted {
    /// Without arguments.
    pub fn plain(name: &str) -> Self {
        Self { name: name.into(), arguments: Vec::new() }
    }
}

/// What the command line asks for.
#[derive(Clone, Debug, Default)]
pub struct Options {
    pub guests: Vec<Wanted>,
    pub ram: u64,
    pub swap: Option<(PathBuf, u64)>,
    pub sets: usize,
    pub ways: usize,
    pub seed: u64,
    pub quiet: bool,
    pub list: bool,
    pub help: bool,
}

/// Takes the command line apart.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Options, String> {
    let mut parser = lexopt::Parser::from_args(arguments);
    let mut options = Options { ram: 1 << 20, sets: 64, ways: 4, seed: 1, ..Options::default() };
    while let Some(argument) = parser.next().map_err(|error| error.to_string())? {
        let lexopt::Arg::Long(name) = argument else { return Err(argument.unexpected().to_string()) };
        let name = name.to_owned();
        let mut value = || {
            let value = parser.value().map_err(|error| error.to_string())?;
            value.into_string().map_err(|value| format!("--{name}: {value:?} is not UTF-8"))
        };
        match name.as_str() {
            "guest" => options.guests.push(wanted(&value()?)?),
            "ram" => options.ram = size(&value()?).map_err(|error| format!("--ram: {error}"))?,
            "swap" => options.swap = Some(swap(&value()?).map_err(|error| format!("--swap: {error}"))?),
            "tlb" => (options.sets, options.ways) = geometry(&value()?)?,
            "seed" => {
                let value = value()?;
                options.seed = value.parse().map_err(|_| format!("--seed: {value:?} is not a number"))?;
            }
            "quiet" => options.quiet = true,
            "list" => options.list = true,
            "help" => options.help = true,
            _ => return Err(format!("no option --{name}; see --help")),
        }
    }
    Ok(options)
}

fn wanted(text: &str) -> Result<Wanted, String> {
    let mut parts = text.split(',').map(str::to_owned);
    match parts.next() {
        Some(name) if !name.is_empty() => Ok(Wanted { name, arguments: parts.collect() }),
        _ => Err(format!("--guest: {text:?} names no guest")),
    }
}

/// Bytes, with an optional binary unit.
fn size(text: &str) -> Result<u64, String> {
    let (digits, shift) = match text.chars().last() {
        Some('K' | 'k') => (&text[..text.len() - 1], 10),
        Some('M' | 'm') => (&text[..text.len() - 1], 20),
        Some('G' | 'g') => (&text[..text.len() - 1], 30),
        _ => (text, 0),
    };
    let value: u64 =
        digits.parse().map_err(|_| format!("{text:?} is not a size (such as 256K, 1M or 2G)"))?;
    value.checked_mul(1 << shift).ok_or(format!("{text:?} is too large"))
}

/// `FILE` or `FILE:LIMIT`; what follows the last colon is a limit if it begins with a digit.
fn swap(text: &str) -> Result<(PathBuf, u64), String> {
    match text.rsplit_once(':') {
        Some((file, limit)) if limit.starts_with(|c: char| c.is_ascii_digit()) => {
            Ok((file.into(), size(limit)?))
        }
        _ => Ok((text.into(), u64::MAX)),
    }
}

fn geometry(text: &str) -> Result<(usize, usize), String> {
    text.split_once('x')
        .and_then(|(sets, ways)| Some((sets.parse().ok()?, ways.parse().ok()?)))
        .ok_or(format!("--tlb: {text:?} is not SETSxWAYS (such as 64x4)"))
}
