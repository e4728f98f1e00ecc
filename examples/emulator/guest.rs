//! Programs: the bundled ones with what is expected of them, and ELF files taken apart.

use super::args::Wanted;
use Expect::{Faults, Prints};
use object::elf::EM_RISCV;
use softmmu::addr::PageSize;
use softmmu::radix::Perms;
use softmmu::vm::{Region, elf};
use std::borrow::Cow;
use std::sync::Arc;

/// The page size that segments are aligned to.
pub const PAGE: u64 = 4096;
/// User addresses end here: the lower half of Sv39.
pub const USER_END: u64 = 1 << 38;

/// How a guest must end.
#[derive(Clone, Copy, Debug)]
pub enum Expect {
    /// With this exit status, having printed just this when run without arguments, and nothing but lines ending in
    /// "right" otherwise.
    Prints(i32, &'static str),
    /// With an exception of this cause.
    Faults(&'static str),
}

/// A guest that comes with the emulator.
pub struct Bundled {
    pub name: &'static str,
    pub about: &'static str,
    elf: &'static [u8],
    /// How it must end, and then its child, if it forks one.
    expect: &'static [Expect],
}

macro_rules! bundled {
    ($name:literal, $about:literal, $($expect:expr),+) => {
        Bundled {
            name: $name,
            about: $about,
            elf: include_bytes!(concat!("guests/bin/", $name, ".elf")),
            expect: &[$($expect),+],
        }
    };
}

/// What `sha256` prints.
const DIGEST: &str =
    "sha256 of 4194304 bytes: 1cf0351ec7d25ff62aa51f46eb698794fdaf3c5a69cc444d37b07cc5fc587013: right\n";

/// Every guest that comes with the emulator.
#[rustfmt::skip]
pub static BUNDLED: [Bundled; 8] = [
    bundled!("sort", "quick-sorts 2 MiB of numbers; argument: how many",
        Prints(0, "sorted 524288 numbers, sum 4010628ae5948: right\n")),
    bundled!("sha256", "digests 4 MiB; argument: how many bytes", Prints(0, DIGEST)),
    bundled!("matmul", "multiplies matrices of 192 by 192; argument: their side",
        Prints(0, "multiplied 192 squared, trace e89cec3d938d374c: right\n")),
    bundled!("fork", "parent and child write the same 24 pages; argument: how many",
        Prints(0, "parent wrote 24 pages: right\n"), Prints(42, "child wrote 24 pages: right\n")),
    bundled!("hog", "touches and verifies 4 MiB; argument: how many bytes",
        Prints(0, "touched and verified 1024 pages: right\n")),
    bundled!("wild-null", "follows a null pointer", Faults("load page fault")),
    bundled!("wild-text", "writes to its own code", Faults("store/AMO page fault")),
    bundled!("wild-data", "jumps into its data", Faults("instruction page fault")),
];

/// A program ready to be loaded.
pub struct Program {
    pub name: String,
    pub arguments: Vec<String>,
    /// How it must end, and then its children; empty where nothing is known.
    pub expect: &'static [Expect],
    /// Its segments and entry.
    pub image: elf::Image,
}

/// Finds and reads what was asked for.
pub fn find(wanted: &Wanted) -> Result<Program, String> {
    let Wanted { name, arguments } = wanted.clone();
    let (file, expect) = match BUNDLED.iter().find(|guest| guest.name == name) {
        Some(guest) => (Cow::Borrowed(guest.elf), guest.expect),
        None => {
            let bytes = std::fs::read(&name).map_err(|error| {
                format!("{name}: neither a bundled guest (see --list) nor a readable file: {error}")
            })?;
            (Cow::Owned(bytes), &[][..])
        }
    };
    let is_64 = file.get(4) == Some(&2);
    let image = elf::read(Arc::new(file), PageSize::SIZE_4K).map_err(|error| format!("{name}: {error}"))?;
    if !is_64 || image.machine != EM_RISCV {
        return Err(format!("{name}: not a 64-bit RISC-V program (machine {})", image.machine));
    }
    if let Some(region) =
        image.regions.iter().find(|region| !(PAGE..USER_END - PAGE).contains(&region.last().0))
    {
        return Err(format!(
            "{name}: the segment at {} lies on the null page or past the user's half",
            region.va
        ));
    }
    let runs = |region: &Region| {
        region.perms.contains(Perms::EXECUTE) && region.va <= image.entry && image.entry <= region.last()
    };
    if !image.regions.iter().any(runs) {
        return Err(format!("{name}: the entry {} lies in no executable segment", image.entry));
    }
    Ok(Program { name, arguments, expect, image })
}
