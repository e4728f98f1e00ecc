//! A linear page table against a radix tree, in bytes.

use super::lab::{self, DATA, Screen, Told};
use softmmu::addr::{PageSize, VirtAddr};
use softmmu::frame::FrameAllocator;
use softmmu::table::{PageTable, RadixTable};

/// A program's areas: where, and how many pages.
const AREAS: [(&str, u64, u64); 3] =
    [("code", 0x1_0000, 16), ("heap", 0x100_0000, 100), ("stack", 0xbfff_0000, 8)];

/// Frames that tables of this shape take, empty and with a program's areas mapped.
fn weigh(index_bits: &[u32], areas: &[(&str, u64, u64)]) -> Result<[u64; 2], Box<dyn std::error::Error>> {
    let (ram, mut frames) = lab::memory(64 << 20, PageSize::SIZE_4K)?;
    let all = frames.free_frames();
    let mut table = RadixTable::new(lab::format(4096, index_bits)?, &ram, &mut frames)?;
    let empty = all - frames.free_frames();
    for &(_, start, pages) in areas {
        for page in 0..pages {
            // Weighing tables needs no pages behind the entries: all may share one frame.
            let (va, pa) = (VirtAddr(start + page * 4096), softmmu::addr::PhysAddr(0));
            table.map(&ram, &mut frames, va, pa, PageSize::SIZE_4K, DATA)?.forget();
        }
    }
    Ok([empty, all - frames.free_frames()])
}

pub fn tell(screen: &mut Screen) -> Told {
    let pages: u64 = AREAS.iter().map(|area| area.2).sum();
    screen.say(format!("A program uses {pages} pages of a 32-bit space ({} KiB of 4 GiB):", pages * 4));
    for (name, start, pages) in AREAS {
        screen.say(format!("  {name:<6} {pages:>4} pages at {start:#010x}"));
    }
    screen.say("");
    screen.say("Its page table, 8 bytes an entry, in shapes from one level to four:");
    screen.say("");
    screen.say("  index bits     empty   with the program   per mapped page");
    let mut sizes = Vec::new();
    for bits in [&[20][..], &[10, 10], &[7, 7, 6], &[5, 5, 5, 5]] {
        let [empty, full] = weigh(bits, &AREAS)?.map(|frames| frames * 4096);
        let shape = bits.iter().map(u32::to_string).collect::<Vec<_>>().join("+");
        screen.say(format!(
            "  {shape:<10} {:>5} KiB {:>14} KiB {:>11} bytes",
            empty / 1024,
            full / 1024,
            full / pages
        ));
        sizes.push(full);
    }
    screen.say("");
    screen.say(format!(
        "The linear table is {} times the two-level one, and most of it says",
        sizes[0] / sizes[1]
    ));
    screen.say("\"nothing here\". A tree leaves out the tables that would say only that. More");
    screen.say("levels do not always weigh less (a table takes a frame, however short it is),");
    screen.say("and every level is one more read on a TLB miss.");
    screen.say("");
    let everything = [("all", 0, 1 << 16)];
    let [_, linear] = weigh(&[20], &everything)?;
    let [_, tree] = weigh(&[10, 10], &everything)?;
    screen.say(format!(
        "For 256 MiB mapped without a gap: linear {} KiB, two levels {} KiB.",
        linear * 4,
        tree * 4
    ));
    screen.say("The tree saves by what is absent, not by what is there.");
    Ok(())
}
