//! One rule each.

use super::*;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;

pub(super) fn heap(pages: u64) -> Region {
    Region::anonymous(VirtAddr(0), pages * 64, RW)
}

#[test]
fn pages_come_when_touched_and_go_when_room_is_needed() {
    let mut machine = Machine::plain(12);
    let space = machine.create();
    machine.vm.map(space, heap(64)).unwrap();
    for page in 0..64 {
        assert_eq!(machine.load(space, page * 64).unwrap(), 0);
    }
    let read_only = machine.vm.stats();
    assert_eq!((read_only.zero_fills, read_only.minor_faults, read_only.major_faults), (64, 64, 0));
    assert_eq!((read_only.dirty_evictions, read_only.pages_written), (0, 0), "zeros need no store");
    assert!(read_only.clean_evictions >= 52);

    for page in 0..64 {
        machine.store(space, page * 64 + 60, page as u32).unwrap();
    }
    for page in 0..64 {
        assert_eq!(machine.load(space, page * 64 + 60).unwrap(), page as u32);
        assert_eq!(machine.load(space, page * 64).unwrap(), 0, "and nothing else of it");
    }
    let stats = machine.vm.stats();
    assert!(stats.dirty_evictions >= 52, "{stats:?}");
    assert!(stats.major_faults >= 52, "{stats:?}");
    assert_eq!(stats.major_faults, stats.pages_read);
    assert_eq!((stats.dirty_evictions, stats.bytes_read), (stats.pages_written, stats.pages_read * 64));
    assert_eq!(machine.vm.space_stats(space).unwrap().major_faults, stats.major_faults);
    machine.end();
}

#[test]
fn a_page_that_did_not_change_is_not_written_again() {
    let mut machine = Machine::plain(10);
    let space = machine.create();
    machine.vm.map(space, heap(64)).unwrap();
    for page in 0..32 {
        machine.store(space, page * 64, 7).unwrap();
    }
    let round = |machine: &mut Machine| {
        for page in 0..32 {
            assert_eq!(machine.load(space, page * 64).unwrap(), 7);
        }
        machine.vm.stats().pages_written
    };
    let after_first = round(&mut machine);
    assert_eq!(after_first, 32);
    assert_eq!(round(&mut machine), 32, "each was written once");
    machine.end();
}

#[test]
fn faults_that_are_the_programs_own() {
    let mut machine = Machine::plain(12);
    let space = machine.create();
    machine.vm.map(space, Region::anonymous(VirtAddr(0), 128, Perms::READ)).unwrap();
    machine.vm.map(space, Region::guard(VirtAddr(128), 64)).unwrap();
    assert!(matches!(
        machine.store(space, 64, 1),
        Err(VmError::Protection { va: VirtAddr(64), kind: AccessKind::Write, .. })
    ));
    assert_eq!(machine.load(space, 64).unwrap(), 0);
    assert!(matches!(machine.store(space, 64, 1), Err(VmError::Protection { .. })));
    assert!(matches!(machine.load(space, 130), Err(VmError::Guard { va: VirtAddr(130) })));
    assert!(matches!(machine.load(space, 192), Err(VmError::Unmapped { va: VirtAddr(192) })));
    let fetched = machine.access(space, |mmu| mmu.fetch::<u32>(VirtAddr(0)));
    assert!(matches!(fetched, Err(VmError::Protection { kind: AccessKind::Execute, .. })));
    let stats = machine.vm.stats();
    assert_eq!((stats.protection_faults, stats.invalid_faults), (3, 2));
    machine.end();
}

#[test]
fn regions_that_cannot_be_change_nothing() {
    let mut machine = Machine::plain(12);
    let space = machine.create();
    machine.vm.map(space, Region::anonymous(VirtAddr(128), 128, RW)).unwrap();
    let mut refused = |region: Region| machine.vm.map(space, region).unwrap_err();
    assert!(matches!(refused(heap(0)), VmError::Range { len: 0, .. }));
    assert!(matches!(refused(Region::anonymous(VirtAddr(1), 64, RW)), VmError::Range { .. }));
    assert!(matches!(refused(Region::anonymous(VirtAddr(0), 65, RW)), VmError::Range { len: 65, .. }));
    assert!(matches!(refused(Region::anonymous(VirtAddr(4096), 64, RW)), VmError::Range { .. }));
    assert!(matches!(refused(Region::anonymous(VirtAddr(4032), 128, RW)), VmError::Range { .. }));
    assert!(matches!(refused(Region::anonymous(VirtAddr(u64::MAX - 63), 128, RW)), VmError::Range { .. }));
    assert!(matches!(
        refused(Region::guard(VirtAddr(64), 128)),
        VmError::Overlap { va: VirtAddr(64), first: VirtAddr(128), last: VirtAddr(255) }
    ));
    assert!(matches!(refused(Region::anonymous(VirtAddr(0), 64, RW | Perms::GLOBAL)), VmError::Table(_)));
    assert!(matches!(refused(Region::device(VirtAddr(0), 64, RW, PhysAddr(3))), VmError::Table(_)));
    assert_eq!(machine.vm.regions(space).unwrap().count(), 1);
    let gone = SpaceId(77);
    assert!(matches!(machine.vm.map(gone, heap(1)), Err(VmError::NoSpace { space }) if space == gone));
    machine.vm.suspend(space).unwrap();
    let fault = machine.vm.handle_fault(space, VirtAddr(128), AccessKind::Read, &mut ());
    assert!(matches!(fault, Err(VmError::Suspended { .. })));
    let format = format(64, true);
    let ram = Ram::new(PhysAddr(0), 4096).unwrap();
    let size = |bytes| PageSize::from_bytes(bytes).unwrap();
    let frames = BitmapAllocator::new(ram.range(), size(128)).unwrap();
    let wrong = VirtualMemory::new(format, &ram, frames, MemoryStore::new(size(128), 1)).unwrap_err();
    assert!(matches!(wrong, VmError::PageSize { .. }));
}

#[test]
fn a_fork_sees_what_was_and_not_what_comes() {
    let mut machine = Machine::plain(40);
    let parent = machine.create();
    machine.vm.map(parent, heap(8)).unwrap();
    for page in 0..4 {
        machine.store(parent, page * 64, 100 + page as u32).unwrap();
    }
    let frames = machine.vm.usage().frames_free;
    let child = machine.fork(parent).unwrap();
    assert_eq!(machine.vm.usage().frames_free, frames, "a fork takes no frame");
    machine.store(child, 0, 1).unwrap();
    machine.store(parent, 64, 2).unwrap();
    machine.store(child, 4 * 64, 3).unwrap();
    let seen = |machine: &mut Machine, space| -> Vec<u32> {
        (0..5).map(|page| machine.load(space, page * 64).unwrap()).collect()
    };
    assert_eq!(seen(&mut machine, parent), [100, 2, 102, 103, 0]);
    assert_eq!(seen(&mut machine, child), [1, 101, 102, 103, 3]);
    assert_eq!(machine.vm.stats().cow_breaks, 2);
    // The last owner writes without a copy.
    machine.destroy(parent).unwrap();
    machine.store(child, 2 * 64, 9).unwrap();
    assert_eq!(machine.vm.stats().cow_breaks, 2);
    machine.audit();
    machine.end();
}

#[test]
fn sources_fill_pages_and_fill_them_again() {
    let mut machine = Machine::plain(9);
    let space = machine.create();
    let bytes: Vec<u8> = (0..=255).collect();
    // The source's byte 16 appears in the middle of the first page; 100 bytes of it, then zeros.
    let backing = Backing::Source { source: Arc::new(bytes), offset: 16, at: VirtAddr(64 + 32), len: 100 };
    machine.vm.map(space, Region { va: VirtAddr(64), len: 192, perms: RW, backing }).unwrap();
    machine.vm.map(space, Region::anonymous(VirtAddr(1024), 1024, RW)).unwrap();
    let mut expected = vec![0; 192];
    for i in 0..100 {
        expected[32 + i] = 16 + i as u8;
    }
    for _ in 0..3 {
        let mut found = vec![0; 192];
        machine.vm.read(space, VirtAddr(64), &mut found, &mut machine.mmu).unwrap();
        assert_eq!(found, expected);
        for page in 0..16 {
            machine.store(space, 1024 + page * 64, 1).unwrap();
        }
    }
    let stats = machine.vm.stats();
    assert!(stats.source_fills > 3, "{stats:?}");
    machine.vm.write(space, VirtAddr(64 + 40), &[1, 2, 3], &mut machine.mmu).unwrap();
    expected[40..43].copy_from_slice(&[1, 2, 3]);
    for page in 0..16 {
        machine.store(space, 1024 + page * 64, 1).unwrap();
    }
    let mut found = vec![0; 192];
    machine.vm.read(space, VirtAddr(64), &mut found, &mut machine.mmu).unwrap();
    assert_eq!(found, expected, "a written page is private");
    machine.end();
}

#[test]
fn a_source_that_fails_fails_the_access_alone() {
    struct Broken;
    #[derive(Debug, thiserror::Error)]
    #[error("the disk is gone")]
    struct Gone;
    impl Source for Broken {
        fn read(&self, _: u64, _: &mut [u8]) -> Result<(), Box<dyn core::error::Error + Send + Sync>> {
            Err(Box::new(Gone))
        }
    }
    let mut machine = Machine::plain(9);
    let space = machine.create();
    machine.vm.map(space, Region::from_source(VirtAddr(0), 64, RW, Arc::new(Broken))).unwrap();
    let error = machine.load(space, 0).unwrap_err();
    assert!(matches!(error, VmError::Source { va: VirtAddr(0), .. }), "{error}");
    machine.audit();
    machine.end();
}

#[test]
fn devices_are_mapped_not_copied() {
    let mut machine = Machine::plain(12);
    let space = machine.create();
    // Memory beyond the frames stands for a device.
    let pa = PhysAddr(0x4000 + 50 * 64);
    machine.vm.map(space, Region::device(VirtAddr(0), 128, RW, pa)).unwrap();
    machine.store(space, 68, 0x1234).unwrap();
    assert_eq!(machine.mmu.memory().read(PhysAddr(pa.0 + 68), crate::access::Width::W4), Ok(0x1234));
    let child = machine.fork(space).unwrap();
    machine.store(child, 68, 0x5678).unwrap();
    assert_eq!(machine.load(space, 68).unwrap(), 0x5678);
    machine.vm.unmap(space, VirtAddr(0), 128, &mut machine.mmu).unwrap();
    assert!(matches!(machine.load(space, 68), Err(VmError::Unmapped { .. })));
    assert_eq!(machine.load(child, 68).unwrap(), 0x5678);
    machine.end();
}

#[test]
fn rights_change_at_once_and_regions_split() {
    let mut machine = Machine::plain(20);
    let space = machine.create();
    machine.vm.map(space, heap(4)).unwrap();
    for page in 0..4 {
        machine.store(space, page * 64, 5).unwrap();
    }
    machine.vm.protect(space, VirtAddr(64), 128, Perms::READ, &mut machine.mmu).unwrap();
    assert!(matches!(machine.store(space, 64, 6), Err(VmError::Protection { .. })));
    machine.store(space, 0, 6).unwrap();
    machine.store(space, 3 * 64, 6).unwrap();
    assert_eq!(machine.load(space, 128).unwrap(), 5);
    assert_eq!(machine.vm.regions(space).unwrap().count(), 3);
    machine.vm.protect(space, VirtAddr(64), 64, Perms::empty(), &mut machine.mmu).unwrap();
    assert!(matches!(machine.load(space, 64), Err(VmError::Protection { .. })));
    let beyond = machine.vm.protect(space, VirtAddr(64), 256, RW, &mut machine.mmu);
    assert!(matches!(beyond, Err(VmError::Unmapped { va: VirtAddr(256) })));
    machine.vm.protect(space, VirtAddr(0), 256, RW, &mut machine.mmu).unwrap();
    machine.store(space, 64, 7).unwrap();
    assert_eq!(machine.load(space, 128).unwrap(), 5, "content stays through all of it");

    machine.vm.unmap(space, VirtAddr(64), 64, &mut machine.mmu).unwrap();
    assert!(matches!(machine.load(space, 64), Err(VmError::Unmapped { .. })));
    machine.vm.map(space, Region::anonymous(VirtAddr(64), 64, RW)).unwrap();
    assert_eq!(machine.load(space, 64).unwrap(), 0, "a new region is new");
    machine.end();
}

#[test]
fn a_heap_grows_and_shrinks() {
    let mut machine = Machine::plain(20);
    let space = machine.create();
    machine.vm.map(space, heap(2)).unwrap();
    machine.vm.map(space, Region::guard(VirtAddr(512), 64)).unwrap();
    machine.store(space, 64, 1).unwrap();
    machine.vm.resize(space, VirtAddr(0), 512, &mut machine.mmu).unwrap();
    machine.store(space, 448, 2).unwrap();
    let error = machine.vm.resize(space, VirtAddr(0), 576, &mut machine.mmu).unwrap_err();
    assert!(matches!(error, VmError::Overlap { first: VirtAddr(512), .. }));
    machine.vm.resize(space, VirtAddr(0), 64, &mut machine.mmu).unwrap();
    assert!(matches!(machine.load(space, 64), Err(VmError::Unmapped { .. })));
    machine.vm.resize(space, VirtAddr(0), 512, &mut machine.mmu).unwrap();
    assert_eq!((machine.load(space, 64).unwrap(), machine.load(space, 448).unwrap()), (0, 0));
    assert!(machine.vm.resize(space, VirtAddr(64), 64, &mut machine.mmu).is_err());
    machine.end();
}
