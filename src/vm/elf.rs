//! Programs: an ELF file's segments as regions.
//!
//! An ELF *segment* is a run of a file with an address and rights, and becomes a [`Region`]. It has nothing to do with
//! the segments of x86, which are a way of making addresses.

use super::region::{Backing, Region};
use crate::addr::{PageSize, VirtAddr};
use crate::radix::Perms;
use alloc::sync::Arc;
use alloc::vec::Vec;
use object::Endianness;
use object::elf::{ET_EXEC, FileHeader32, FileHeader64, PF_R, PF_W, PF_X, PT_INTERP, PT_LOAD};
use object::read::elf::{FileHeader, ProgramHeader};

/// Why a file cannot be loaded.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ElfError {
    /// Not an ELF file, or its headers are damaged.
    #[error("not a whole ELF file: {reason}")]
    Malformed {
        /// What is wrong.
        reason: &'static str,
    },
    /// Not an executable at fixed addresses (`ET_EXEC`), or one that needs a dynamic linker.
    #[error("not a static executable (type {kind}{})", if *dynamic { ", needs a dynamic linker" } else { "" })]
    NotStatic {
        /// The file's `e_type`.
        kind: u16,
        /// Whether it names an interpreter.
        dynamic: bool,
    },
    /// A segment's address and its place in the file disagree about alignment.
    #[error("segment {index} at {va:#x} is misaligned: byte {offset:#x} of the file, aligned to {align:#x}")]
    Misaligned {
        /// The program header's number.
        index: usize,
        /// The segment's address.
        va: VirtAddr,
        /// Its place in the file.
        offset: u64,
        /// The alignment that it asks for.
        align: u64,
    },
    /// A segment's bytes are not all in the file, are more than the segment, or wrap past the top of the space.
    #[error(
        "segment {index} at {va:#x} has {file:#x} bytes from {offset:#x} in the file, {memory:#x} in memory"
    )]
    Size {
        /// The program header's number.
        index: usize,
        /// The segment's address.
        va: VirtAddr,
        /// Its place in the file.
        offset: u64,
        /// How many bytes it has there.
        file: u64,
        /// How many it has in memory.
        memory: u64,
    },
    /// Two segments share a page.
    #[error("segment {index} at {va:#x} shares a page with the segment at {other:#x}")]
    Overlap {
        /// The program header's number.
        index: usize,
        /// The segment's address.
        va: VirtAddr,
        /// Where the other segment's pages begin.
        other: VirtAddr,
    },
    /// There is nothing to load.
    #[error("no segment is to be loaded")]
    Empty,
}

/// A program, ready to be mapped.
#[derive(Clone, Debug)]
pub struct Image {
    /// Where it starts.
    pub entry: VirtAddr,
    /// The machine that it is for: the file's `e_machine`.
    pub machine: u16,
    /// Its segments, by ascending address, none sharing a page; their rights include [`USER`](Perms::USER).
    pub regions: Vec<Region>,
}

impl Image {
    /// The first address after the highest segment's last page: where a heap may begin.
    #[must_use]
    pub fn end(&self) -> VirtAddr {
        self.regions.last().map_or(VirtAddr(0), |region| VirtAddr(region.last().0.wrapping_add(1)))
    }
}

/// Reads the segments of a static executable, 32- or 64-bit, of either byte order. The pages are filled from `file`
/// when they are touched.
///
/// # Errors
/// [`ElfError`].
pub fn read<B: AsRef<[u8]> + Send + Sync + 'static>(file: Arc<B>, page: PageSize) -> Result<Image, ElfError> {
    let bytes = (*file).as_ref();
    match bytes.get(4) {
        Some(1) => segments::<FileHeader32<Endianness>, B>(&file, page),
        _ => segments::<FileHeader64<Endianness>, B>(&file, page),
    }
}

fn segments<H, B>(file: &Arc<B>, page: PageSize) -> Result<Image, ElfError>
where
    H: FileHeader<Endian = Endianness>,
    B: AsRef<[u8]> + Send + Sync + 'static,
{
    let malformed = |reason| ElfError::Malformed { reason };
    let bytes = (**file).as_ref();
    let header = H::parse(bytes).map_err(|_| malformed("no valid file header"))?;
    let endian = header.endian().map_err(|_| malformed("unknown byte order"))?;
    let kind = header.e_type(endian);
    if kind != ET_EXEC {
        return Err(ElfError::NotStatic { kind, dynamic: false });
    }
    let headers = header.program_headers(endian, bytes);
    let headers = headers.map_err(|_| malformed("the program headers are not in the file"))?;
    let mut regions: Vec<Region> = Vec::new();
    for (index, segment) in headers.iter().enumerate() {
        match segment.p_type(endian) {
            PT_INTERP => return Err(ElfError::NotStatic { kind, dynamic: true }),
            PT_LOAD => {}
            _ => continue,
        }
        let memory: u64 = segment.p_memsz(endian).into();
        if memory == 0 {
            continue;
        }
        let va = VirtAddr(segment.p_vaddr(endian).into());
        let (offset, len) = (segment.p_offset(endian).into(), segment.p_filesz(endian).into());
        let align: u64 = segment.p_align(endian).into();
        if align > 1 && (!align.is_power_of_two() || (va.0 ^ offset) & (align - 1) != 0) {
            return Err(ElfError::Misaligned { index, va, offset, align });
        }
        let size = ElfError::Size { index, va, offset, file: len, memory };
        let in_file = offset.checked_add(len).is_some_and(|end| end <= bytes.len() as u64);
        // The whole last page must exist, or there is no length for it.
        let last = va.checked_add(memory - 1).ok_or(size)?;
        let first = va.align_down(page.bits());
        let whole = (last.align_down(page.bits()).0 - first.0).checked_add(page.bytes()).ok_or(size)?;
        if !in_file || len > memory {
            return Err(size);
        }
        let flags = segment.p_flags(endian);
        let mut perms = Perms::USER;
        perms.set(Perms::READ, flags & PF_R != 0);
        perms.set(Perms::WRITE, flags & PF_W != 0);
        perms.set(Perms::EXECUTE, flags & PF_X != 0);
        let backing = Backing::Source { source: file.clone(), offset, at: va, len };
        let region = Region { va: first, len: whole, perms, backing };
        let place = regions.partition_point(|other| other.last() < region.va);
        match regions.get(place) {
            Some(other) if other.va <= region.last() => {
                return Err(ElfError::Overlap { index, va, other: other.va });
            }
            _ => regions.insert(place, region),
        }
    }
    if regions.is_empty() {
        return Err(ElfError::Empty);
    }
    Ok(Image { entry: VirtAddr(header.e_entry(endian).into()), machine: header.e_machine(endian), regions })
}
