//! The same run with small, middling and large pages.

use super::lab::{self, Program, Random, Screen, Told};
use softmmu::addr::{PageSize, PhysAddr, VirtAddr};
use softmmu::memory::Ram;
use softmmu::radix::Perms;
use softmmu::vm::Region;
use std::sync::Arc;

const RAM: u64 = 8 << 20;
/// The program's data: so many areas of so many bytes, 2 MiB apart.
const AREAS: u64 = 8;
const USED: u64 = 20_000;
const APART: u64 = 2 << 20;

pub fn tell(screen: &mut Screen) -> Told {
    screen.say(format!(
        "{AREAS} areas of {USED} bytes each, {} MiB apart, are read from a file as they are",
        APART >> 20
    ));
    screen.say("touched: each once from start to end, then 300 words here and there.");
    screen.say(format!("RAM: {} MiB. The same run with three sizes of page:", RAM >> 20));
    screen.say("");
    screen.say("  page      levels   faults   bytes moved   page tables   wasted inside pages");
    let mut moved = Vec::new();
    for (bytes, index_bits) in [(64, &[3; 6][..]), (4096, &[3, 9]), (2 << 20, &[3])] {
        let page = PageSize::from_bytes(bytes).ok_or("not a power of two")?;
        let ram = Ram::new(PhysAddr(0), RAM)?;
        let source: Vec<u8> = (0..AREAS * APART).map(|at| (at % 251) as u8).collect();
        let region =
            Region::from_source(VirtAddr(0), AREAS * APART, Perms::READ | Perms::USER, Arc::new(source));
        let mut program = Program::new(&ram, lab::format(bytes, index_bits)?, page, 0, region)?;
        let mut run = |va: u64| -> Told {
            let bytes = program.load(VirtAddr(va))?.to_le_bytes();
            let expected: [u8; 8] = std::array::from_fn(|at| ((va + at as u64) % 251) as u8);
            if bytes == expected { Ok(()) } else { Err(format!("{bytes:?} at {va:#x}").into()) }
        };
        for area in 0..AREAS {
            for word in 0..USED / 8 {
                run(area * APART + word * 8)?;
            }
        }
        let mut random = Random(7);
        for _ in 0..300 {
            run(random.below(AREAS) * APART + random.below(USED / 8) * 8)?;
        }
        let (stats, usage) = (program.memory.stats(), program.memory.usage());
        let bytes_moved = stats.source_fills * bytes + stats.bytes_read + stats.bytes_written;
        let tables = usage.frames_tables * bytes;
        let waste = AREAS * (USED.next_multiple_of(bytes) - USED);
        let (faults, levels) = (program.faults(), index_bits.len());
        screen.say(format!(
            "  {:<8} {levels:>7} {faults:>8} {bytes_moved:>13} {tables:>13} {waste:>21}",
            page.to_string()
        ));
        moved.push(bytes_moved);
    }
    screen.say("");
    screen.say(format!(
        "{} bytes were wanted. Small pages move hardly more, but fault for every",
        AREAS * USED
    ));
    screen.say("eighth word, and a miss goes down six tables. Large pages need one small table");
    screen.say("(which takes a frame of their size), waste what their last page does not hold");
    screen.say(format!(
        "(internal fragmentation), and moved {} times what 4 KiB pages did: only three",
        moved[2] / moved[1]
    ));
    screen.say("fit beside the page table, so that reading one area pushes another one out.");
    screen.say("Machines settle in the middle, and offer large pages beside small ones.");
    Ok(())
}
