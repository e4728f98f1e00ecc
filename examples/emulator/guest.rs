//! Programs: the bundled ones with what is expected of them, and ELF files taken apart.

use super::args::Wanted;
use Expect::{Faults, Prints};
use object::LittleEndian;
use object::elf::{EM_RISCV, ET_EXEC, FileHeader64, PF_R, PF_W, PF_X, PT_INTERP, PT_LOAD, ProgramHeader64};
use object::read::elf::{FileHeader, ProgramHeader};
use softmmu::radix::Perms;
use std::borrow::Cow;

/// The page size that segments are aligned to.
pub const PAGE: u64 = 4096;
/// User addresses end here: the lower half of Sv39.
const USER_END: u64 = 1 << 38;

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

/// A run of pages with the same rights, and the file's bytes that they begin with.
#[derive(Clone, Debug)]
pub struct Segment {
    /// First address, a multiple of the page size.
    pub start: u64,
    /// Length in bytes, likewise.
    pub bytes: u64,
    pub perms: Perms,
    /// Where in the file its content begins (the byte that lands on `start`), and how much of it there is; zeros follow.
    pub content: std::ops::Range<usize>,
}

/// A program ready to be loaded.
pub struct Program {
    pub name: String,
    pub arguments: Vec<String>,
    pub file: Cow<'static, [u8]>,
    pub entry: u64,
    pub segments: Vec<Segment>,
    /// How it must end, and then its children; empty where nothing is known.
    pub expect: &'static [Expect],
}

/// Finds and reads what was asked for.
///
/// # Errors
/// One line naming the guest and what is wrong with it.
pub fn find(wanted: &Wanted) -> Result<Program, String> {
    let name = &wanted.name;
    let bundled = BUNDLED.iter().find(|guest| guest.name == name);
    let (file, expect) = match bundled {
        Some(guest) => (Cow::Borrowed(guest.elf), guest.expect),
        None => {
            let bytes = std::fs::read(name).map_err(|error| {
                format!("{name}: neither a bundled guest (see --list) nor a readable file: {error}")
            })?;
            (Cow::Owned(bytes), &[][..])
        }
    };
    let (entry, segments) = read(&file).map_err(|error| format!("{name}: {error}"))?;
    Ok(Program { name: name.clone(), arguments: wanted.arguments.clone(), file, entry, segments, expect })
}

/// The entry and the segments of a static RISC-V executable, in the order of their addresses.
fn read(file: &[u8]) -> Result<(u64, Vec<Segment>), String> {
    let endian = LittleEndian;
    let header =
        FileHeader64::<LittleEndian>::parse(file).map_err(|error| format!("not an ELF file: {error}"))?;
    if !header.is_little_endian() || !header.is_class_64() || header.e_machine(endian) != EM_RISCV {
        return Err(format!("not a 64-bit RISC-V program (machine {})", header.e_machine(endian)));
    }
    if header.e_type(endian) != ET_EXEC {
        return Err(format!("not a static executable (type {})", header.e_type(endian)));
    }
    let headers = header.program_headers(endian, file).map_err(|error| error.to_string())?;
    let mut segments: Vec<Segment> = Vec::new();
    for header in headers {
        if header.p_type(endian) == PT_INTERP {
            return Err("needs a dynamic linker".into());
        }
        if header.p_type(endian) == PT_LOAD && header.p_memsz(endian) != 0 {
            segments.push(segment(header, endian, file.len())?);
        }
    }
    segments.sort_by_key(|segment| segment.start);
    for pair in segments.windows(2) {
        if pair[0].start + pair[0].bytes > pair[1].start {
            return Err(format!("two segments share the page at {:#x}", pair[1].start));
        }
    }
    let entry = header.e_entry(endian);
    let runs =
        |s: &Segment| s.perms.contains(Perms::EXECUTE) && (s.start..s.start + s.bytes).contains(&entry);
    if !segments.iter().any(runs) {
        return Err(format!("the entry {entry:#x} lies in no executable segment"));
    }
    Ok((entry, segments))
}

fn segment(
    header: &ProgramHeader64<LittleEndian>,
    endian: LittleEndian,
    file_bytes: usize,
) -> Result<Segment, String> {
    let (va, memory) = (header.p_vaddr(endian), header.p_memsz(endian));
    let (offset, stored) = (header.p_offset(endian), header.p_filesz(endian));
    let bad =
        |what: &str| Err(format!("the segment at {va:#x} (offset {offset:#x}, {memory:#x} bytes) {what}"));
    let end = va.checked_add(memory).filter(|&end| end <= USER_END - PAGE);
    let Some(end) = end else { return bad("does not fit in the address space") };
    if va < PAGE {
        return bad("covers the null page");
    }
    if stored > memory {
        return bad("is longer in the file than in memory");
    }
    if offset.checked_add(stored).is_none_or(|end| end > file_bytes as u64) {
        return bad("runs past the end of the file");
    }
    if stored != 0 && offset % PAGE != va % PAGE {
        return bad("is not aligned alike in file and memory");
    }
    let flags = header.p_flags(endian);
    let mut perms = Perms::USER;
    perms.set(Perms::READ, flags & (PF_R | PF_W) != 0);
    perms.set(Perms::WRITE, flags & PF_W != 0);
    perms.set(Perms::EXECUTE, flags & PF_X != 0);
    let (start, lead) = (va / PAGE * PAGE, va % PAGE);
    let content = if stored == 0 { 0..0 } else { (offset - lead) as usize..(offset + stored) as usize };
    Ok(Segment { start, bytes: end.next_multiple_of(PAGE) - start, perms, content })
}
