//! Raw bytes as a program: refused with a reason, or mapped and read to its last byte.
#![no_main]

use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use softmmu::addr::{PageSize, PhysAddr, VirtAddr};
use softmmu::arch::riscv::{PteRules, Sv39};
use softmmu::frame::BitmapAllocator;
use softmmu::memory::Ram;
use softmmu::store::MemoryStore;
use softmmu::tlb::Space;
use softmmu::vm::{VirtualMemory, VmError, elf};

fuzz_target!(|bytes: &[u8]| {
    let page = PageSize::SIZE_4K;
    let Ok(image) = elf::read(Arc::new(bytes.to_vec()), page) else { return };
    let ram = Ram::new(PhysAddr(0), 8 << 12).expect("eight pages");
    let frames = BitmapAllocator::new(ram.range(), page).expect("eight frames");
    let store = MemoryStore::new(page, 8);
    let mut vm = VirtualMemory::new(Sv39::new(PteRules::default()), &ram, frames, store).expect("pages fit");
    let space = vm.create(Space::default());
    for region in image.regions {
        let (first, last, perms) = (region.va, region.last(), region.perms);
        // What the format cannot hold is refused: an address beyond Sv39, a page to be written and not read.
        if vm.map(space, region).is_err() {
            continue;
        }
        for va in [first, last] {
            let mut byte = [0];
            match vm.read(space, va, &mut byte, &mut ()) {
                Ok(()) | Err(VmError::Protection { .. }) => {}
                Err(error) => panic!("{va}: {error} ({perms:?})"),
            }
        }
        let beyond = VirtAddr(last.0.wrapping_sub(1));
        let _ = vm.write(space, beyond, &[1, 2, 3], &mut ());
    }
    vm.destroy(space, &mut ()).expect("sound tables");
    let usage = vm.usage();
    assert_eq!((usage.frames_free, usage.slots_used), (8, 0), "{usage:?}");
});
