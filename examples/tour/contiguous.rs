//! External fragmentation, and how a level of indirection ends it.

use super::lab::{self, DATA, Screen, Told};
use softmmu::addr::{PageSize, PhysAddr, VirtAddr};
use softmmu::frame::FrameAllocator;
use softmmu::table::{PageTable, RadixTable};

const FRAMES: u64 = 64;
const PAGE: u64 = 4096;
/// Where the program sees its memory.
const BASE: u64 = 0x40_0000;

pub fn tell(screen: &mut Screen) -> Told {
    let (ram, mut frames) = lab::memory(FRAMES * PAGE, PageSize::SIZE_4K)?;
    // Three frames for page tables (a root, one below it, one to spare); programs fill the rest, two frames each.
    let reserved = frames.allocate(2)?;
    let mut programs = Vec::new();
    while let Ok(run) = frames.allocate(1) {
        programs.push(run);
    }
    screen.say(format!(
        "A machine of {FRAMES} frames of 4 KiB. {} programs of two frames each fill it;",
        programs.len()
    ));
    screen.say("then every other one ends. (# in use, . free)");
    let mut free = Vec::new();
    for &run in programs.iter().step_by(2) {
        frames.free(run, 1)?;
        free.push(run);
    }
    let is_free = |frame: u64| free.iter().any(|run| (run.0 / PAGE..run.0 / PAGE + 2).contains(&frame));
    let map: String = (0..FRAMES).map(|frame| if is_free(frame) { '.' } else { '#' }).collect();
    screen.say("");
    screen.say(format!("  {map}"));
    screen.say("");
    let wanted = 3;
    let pages = 1u64 << wanted;
    screen
        .say(format!("Free: {} frames. A new program wants {pages} frames in a row:", frames.free_frames()));
    match frames.allocate(wanted) {
        Ok(run) => return Err(format!("a run was found at {run}").into()),
        Err(error) => screen.say(format!("  the allocator says: {error}")),
    }
    screen.say("Every hole is two frames long. This is external fragmentation.");
    screen.say("");
    screen.say("With a page table the frames need not be neighbours, only the addresses:");
    frames.free(reserved, 2)?;
    let mut table = RadixTable::new(lab::format32()?, &ram, &mut frames)?;
    let mut taken = Vec::new();
    for page in 0..pages {
        let pa = frames.allocate(0)?;
        table.map(&ram, &mut frames, VirtAddr(BASE + page * PAGE), pa, PageSize::SIZE_4K, DATA)?.forget();
        taken.push(pa);
    }
    let list = |items: &[PhysAddr]| {
        items.iter().map(|pa| format!("{:>4}", pa.0 / PAGE)).collect::<Vec<_>>().join("  ")
    };
    let seen: Vec<PhysAddr> = (0..pages).map(|page| PhysAddr(BASE + page * PAGE)).collect();
    screen.say(format!("  page   {}", list(&seen)));
    screen.say(format!("  frame  {}", list(&taken)));
    let mut hart = lab::hart(&ram, &table);
    let words = pages * PAGE / 8;
    for index in 0..words {
        hart.store(lab::word(BASE, index), lab::pattern(index))?;
    }
    let mut right = 0;
    for index in 0..words {
        right += u64::from(hart.load::<u64>(lab::word(BASE, index))? == lab::pattern(index));
    }
    screen.say(format!("The program wrote {words} words from {BASE:#x} on and read {right} of them back."));
    screen.say("");
    screen.say("Any free frame serves any page: no hole is too small, as all have one size.");
    Ok(())
}
