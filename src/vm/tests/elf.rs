//! Programs that load and programs that do not.

use super::*;
use crate::vm::elf::{ElfError, Image, read};
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;

/// One program header: type, flags, offset, address, bytes in the file, bytes in memory, alignment.
type Segment = (u32, u32, u64, u64, u64, u64, u64);

/// A 64-bit little-endian ELF file of type `kind` for machine 243, entry 0x1004, with a kilobyte of bytes behind it.
fn file(kind: u16, segments: &[Segment]) -> Vec<u8> {
    let mut out = vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    out.extend(kind.to_le_bytes());
    out.extend(243u16.to_le_bytes());
    out.extend(1u32.to_le_bytes());
    out.extend(0x1004u64.to_le_bytes());
    out.extend(64u64.to_le_bytes());
    out.extend(0u64.to_le_bytes());
    out.extend(0u32.to_le_bytes());
    for half in [64, 56, segments.len() as u16, 64, 0, 0] {
        out.extend(half.to_le_bytes());
    }
    for &(kind, flags, offset, va, in_file, in_memory, align) in segments {
        out.extend(kind.to_le_bytes());
        out.extend(flags.to_le_bytes());
        for word in [offset, va, va, in_file, in_memory, align] {
            out.extend(word.to_le_bytes());
        }
    }
    out.resize(0x400, 0);
    out.extend((0..=255u8).cycle().take(0x400));
    out
}

fn load(kind: u16, segments: &[Segment]) -> Result<Image, ElfError> {
    read(Arc::new(file(kind, segments)), PageSize::SIZE_4K)
}

const CODE: Segment = (1, 5, 0x410, 0x1010, 0x20, 0x20, 0x400);
const DATA: Segment = (1, 6, 0x400, 0x3000, 0x100, 0x2001, 0x400);

#[test]
fn segments_become_regions() {
    let image = load(2, &[DATA, (4, 4, 0, 0, 0, 0, 0), CODE]).unwrap();
    assert_eq!((image.entry, image.machine, image.end()), (VirtAddr(0x1004), 243, VirtAddr(0x6000)));
    let shape: Vec<_> = image.regions.iter().map(|region| (region.va.0, region.len, region.perms)).collect();
    let user = Perms::USER | Perms::READ;
    assert_eq!(shape, [(0x1000, 0x1000, user | Perms::EXECUTE), (0x3000, 0x3000, user | Perms::WRITE)]);

    let ram = Ram::new(PhysAddr(0), 0x8000).unwrap();
    let frames = BitmapAllocator::new(ram.range(), PageSize::SIZE_4K).unwrap();
    let store = MemoryStore::new(PageSize::SIZE_4K, 10);
    let format = crate::arch::custom::Config::two_level_32().build().unwrap();
    let mut vm = VirtualMemory::new(format, &ram, frames, store).unwrap();
    let space = vm.create(Space::default());
    for region in image.regions {
        vm.map(space, region).unwrap();
    }
    let mut bytes = [1; 0x28];
    vm.read(space, VirtAddr(0x100c), &mut bytes, &mut ()).unwrap();
    assert_eq!(bytes[..4], [0; 4], "nothing of the file's neighbourhood");
    assert_eq!(bytes[4..0x24], (0x10..0x30).collect::<Vec<u8>>()[..]);
    assert_eq!(bytes[0x24..], [0; 4]);
    let mut bytes = [1; 0x200];
    vm.read(space, VirtAddr(0x3000), &mut bytes, &mut ()).unwrap();
    assert_eq!(bytes[..0x100], (0..=255).collect::<Vec<u8>>()[..]);
    assert_eq!(bytes[0x100..], [0; 0x100], "the rest is zero");
}

#[test]
fn what_cannot_be_loaded_says_why() {
    let malformed = |result: Result<Image, ElfError>| matches!(result, Err(ElfError::Malformed { .. }));
    assert!(malformed(read(Arc::new(b"#!/bin/sh\n"), PageSize::SIZE_4K)));
    assert!(malformed(read(Arc::new(Vec::new()), PageSize::SIZE_4K)));
    let mut cut = file(2, &[CODE]);
    cut.truncate(100);
    assert!(malformed(read(Arc::new(cut), PageSize::SIZE_4K)));
    assert_eq!(load(3, &[CODE]).unwrap_err(), ElfError::NotStatic { kind: 3, dynamic: false });
    let interpreted = load(2, &[(3, 4, 0, 0, 0, 0, 0), CODE]);
    assert_eq!(interpreted.unwrap_err(), ElfError::NotStatic { kind: 2, dynamic: true });
    assert_eq!(load(2, &[]).unwrap_err(), ElfError::Empty);

    let error = load(2, &[CODE, (1, 6, 0x400, 0x1800, 1, 1, 0x400)]).unwrap_err();
    assert_eq!(error, ElfError::Overlap { index: 1, va: VirtAddr(0x1800), other: VirtAddr(0x1000) });
    let error = load(2, &[DATA, (1, 6, 0x400, 0x2000, 1, 0x1001, 0x400)]).unwrap_err();
    assert_eq!(error, ElfError::Overlap { index: 1, va: VirtAddr(0x2000), other: VirtAddr(0x3000) });
    for align in [0x1000, 3] {
        let error = load(2, &[(1, 4, 0x410, 0x1000, 1, 1, align)]).unwrap_err();
        assert_eq!(error, ElfError::Misaligned { index: 0, va: VirtAddr(0x1000), offset: 0x410, align });
    }
    // More in the file than in memory; beyond the file; wrapping in the file; past the top of the space.
    for segment in [
        (1, 4, 0x400, 0x1000, 2, 1, 1),
        (1, 4, 0x7ff, 0x1000, 2, 2, 1),
        (1, 4, u64::MAX, 0x1000, 2, 2, 1),
        (1, 4, 0x400, u64::MAX - 1, 1, 4, 1),
    ] {
        let error = load(2, &[segment]).unwrap_err();
        assert!(matches!(error, ElfError::Size { index: 0, .. }), "{error}");
    }
}

proptest::proptest! {
    #[test]
    fn damaged_files_are_refused_or_loaded_but_never_worse(
        damage in proptest::collection::vec((0..0x120usize, proptest::prelude::any::<u8>()), 1..6),
        page in 4..22u32,
        cut in 0..0x800usize,
    ) {
        let mut bytes = file(2, &[DATA, CODE]);
        for (at, byte) in damage {
            bytes[at] = byte;
        }
        bytes.truncate(0x800 - cut / 2);
        let page = PageSize::from_bits(page).unwrap();
        if let Ok(image) = read(Arc::new(bytes), page) {
            // What is loaded is whole pages in order, and can be filled.
            for pair in image.regions.windows(2) {
                proptest::prop_assert!(pair[0].last() < pair[1].va);
            }
            for region in &image.regions {
                proptest::prop_assert!(region.va.is_aligned(page.bits()) && region.len % page.bytes() == 0);
                let mut buffer = vec![1; page.bytes() as usize];
                region.fill(region.va, &mut buffer).unwrap();
                region.fill(region.last().align_down(page.bits()), &mut buffer).unwrap();
            }
        }
    }
}
