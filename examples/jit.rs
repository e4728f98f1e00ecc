//! What a just-in-time compiler does with the hit layout: the compare that generated code would inline, written out by
//! hand, and shown to agree with `Mmu::load`, `store` and `fetch` in values, faults and counters.
//!
//! Two harts run the same accesses over equal memories, one through the documented layout, one through the methods.
//! Run it with `cargo run --release --example jit`.
#![allow(unsafe_code, reason = "generated code holds raw addresses; this is what it would do")]

use softmmu::access::{AccessKind, Width};
use softmmu::addr::{PhysAddr, VirtAddr};
use softmmu::arch::riscv::{Control, Fault, Fence, Privilege, Riscv, Sv39};
use softmmu::frame::{BumpAllocator, FrameAllocator};
use softmmu::memory::{HitLayout, Ram};
use softmmu::mmu::{AccessError, Mmu};
use softmmu::radix::Perms;
use softmmu::table::{PageTable, RadixTable};
use softmmu::{addr::PageSize, tlb::LevelStats};
use std::sync::atomic::{AtomicU64, Ordering};

type Hart = Mmu<Riscv, Ram>;
type Answer = Result<u64, AccessError<Fault>>;

/// Where a hit lands: the host address of eight bytes at `va`, or `None` for a miss.
///
/// This is the code to generate: a shift and a mask for the window, an and and an or for the key, one compare, one
/// add. The layout's numbers are constants, and so is `table`, which never moves.
#[inline(always)]
fn hit(table: *mut u8, va: u64, layout: HitLayout) -> Option<*mut u8> {
    let index = (va >> HitLayout::PAGE_BITS) & HitLayout::INDEX_MASK;
    let window = layout.windows + index as usize * HitLayout::WINDOW_BYTES;
    // SAFETY: the layout promises words at these offsets of the table, for as long as the `Mmu` lives.
    unsafe {
        let wanted = va & layout.address_mask | table.add(layout.context).cast::<u64>().read();
        if table.add(window + layout.key).cast::<u64>().read() != wanted {
            return None;
        }
        *table.add(layout.counter).cast::<u64>() += 1;
        let addend = table.add(window + layout.addend).cast::<usize>().read();
        Some(addend.wrapping_add(va as usize) as *mut u8)
    }
}

fn load(hart: &mut Hart, va: u64) -> Answer {
    match hit(hart.hit_table(), va, const { HitLayout::of(AccessKind::Read, Width::W8) }) {
        // SAFETY: after a hit the layout lets the code access the bytes, atomically, before the next call.
        Some(host) => Ok(unsafe { AtomicU64::from_ptr(host.cast()).load(Ordering::Relaxed) }),
        None => hart.load(VirtAddr(va)),
    }
}

fn store(hart: &mut Hart, va: u64, value: u64) -> Answer {
    match hit(hart.hit_table(), va, const { HitLayout::of(AccessKind::Write, Width::W8) }) {
        Some(host) => {
            // SAFETY: as in `load`.
            unsafe { AtomicU64::from_ptr(host.cast()).store(value, Ordering::Relaxed) };
            Ok(0)
        }
        None => hart.store(VirtAddr(va), value).map(|()| 0),
    }
}

fn fetch(hart: &mut Hart, va: u64) -> Answer {
    match hit(hart.hit_table(), va, const { HitLayout::of(AccessKind::Execute, Width::W8) }) {
        // SAFETY: as in `load`.
        Some(host) => Ok(unsafe { AtomicU64::from_ptr(host.cast()).load(Ordering::Relaxed) }),
        None => hart.fetch(VirtAddr(va)),
    }
}

/// A supervisor's hart with 96 pages from 4 MiB on: every third read-only, every fifth closed to the supervisor.
fn hart() -> Result<Hart, Box<dyn std::error::Error>> {
    let ram = Ram::new(PhysAddr(0x8000_0000), 4 << 20)?;
    let mut frames = BumpAllocator::new(ram.range(), PageSize::SIZE_4K);
    let mut table = RadixTable::new(Sv39::default(), &ram, &mut frames)?;
    for page in 0..96u64 {
        let mut perms = Perms::READ | Perms::EXECUTE | Perms::ACCESSED;
        perms.set(Perms::WRITE | Perms::DIRTY, page % 3 != 0);
        perms.set(Perms::USER, page % 5 == 0);
        let frame = frames.allocate(0)?;
        table
            .map(&ram, &mut frames, VirtAddr(0x40_0000 + page * 4096), frame, PageSize::SIZE_4K, perms)?
            .forget();
    }
    let mut hart =
        Mmu::new(Riscv::rv64(), ram, softmmu::tlb::SetAssociative::new(softmmu::tlb::Geometry::new(16, 2))?);
    hart.control(Control::Satp(8 << 60 | table.root().0 >> 12))?;
    hart.control(Control::Mode { privilege: Privilege::Supervisor, virt: false })?;
    Ok(hart)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (mut generated, mut called) = (hart()?, hart()?);
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    let (mut accesses, mut faults) = (0u64, 0u64);
    for round in 0..2_000_000u64 {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        // Mostly a few pages, sometimes any, now and then one that is not mapped or an address that is not aligned.
        let page = if random & 7 < 6 { random >> 8 & 7 } else { (random >> 8) % 100 };
        let align = if random >> 60 == 0 { 0 } else { 7 };
        let va = 0x40_0000 + page * 4096 + (random >> 20 & 0xfff & !align);
        let answers = match random >> 40 & 7 {
            0..4 => (load(&mut generated, va), called.load(VirtAddr(va))),
            4..6 => (store(&mut generated, va, round), called.store(VirtAddr(va), round).map(|()| 0)),
            _ => (fetch(&mut generated, va), called.fetch(VirtAddr(va))),
        };
        assert_eq!(answers.0, answers.1, "access {round} at {va:#x}");
        accesses += 1;
        faults += u64::from(answers.0.is_err());
        if round % 10_007 == 0 {
            let sum = Control::Mstatus(u64::from(round & 1 == 0) << 18);
            generated.control(sum)?;
            called.control(sum)?;
        }
        if round % 50_021 == 0 {
            let fence = Fence::SfenceVma { va: Some(va), asid: None };
            generated.fence(fence);
            called.fence(fence);
        }
    }
    let stats: [LevelStats; 2] = [*generated.tlb().stats(), *called.tlb().stats()];
    assert_eq!(format!("{:?}", stats[0]), format!("{:?}", stats[1]), "the models counted the same");
    let (ours, theirs) = (generated.stats(), called.stats());
    assert_eq!(ours, theirs);
    let inlined = 100.0 * ours.filter_hits as f64 / accesses as f64;
    println!(
        "{accesses} accesses agree, {faults} of them faults; {inlined:.1} % were answered by inlined code"
    );
    println!("{ours:#?}");
    Ok(())
}
