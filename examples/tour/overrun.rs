//! What hardware sees of an array overrun: pages, and nothing smaller.

use super::lab::{self, DATA, Hart, Screen, Told};
use softmmu::addr::{PageSize, VirtAddr};
use softmmu::frame::FrameAllocator;
use softmmu::table::{PageTable, RadixTable};

const PAGE: u64 = 4096;
/// The array's length, and the page that it lies on, with a guard (a page that is not mapped) behind it.
const LENGTH: u64 = 100;
const HEAP: u64 = 0x10_0000;

/// Stores to the array's elements without end; says which store was the first to fault, and how.
fn run_over(hart: &mut Hart<'_>, array: u64) -> (u64, String) {
    let mut index = 0;
    loop {
        if let Err(error) = hart.store(lab::word(array, index), u64::MAX) {
            return (index, error.to_string());
        }
        index += 1;
    }
}

pub fn tell(screen: &mut Screen) -> Told {
    let (ram, mut frames) = lab::memory(64 * PAGE, PageSize::SIZE_4K)?;
    let mut table = RadixTable::new(lab::format32()?, &ram, &mut frames)?;
    let pa = frames.allocate(0)?;
    table.map(&ram, &mut frames, VirtAddr(HEAP), pa, PageSize::SIZE_4K, DATA)?.forget();
    let mut hart = lab::hart(&ram, &table);

    screen.say(format!("An array of {LENGTH} words at the start of a page, a variable right behind it,"));
    screen.say("and behind the page a guard: a page that is not mapped.");
    screen.say("");
    let variable = lab::word(HEAP, LENGTH);
    hart.store(variable, 7u64)?;
    hart.store(lab::word(HEAP, LENGTH), 0u64)?;
    let spoilt: u64 = hart.load(variable)?;
    screen.say(format!(
        "  storing to element {LENGTH} (one too far): no fault; the variable was 7, is {spoilt}"
    ));
    let (index, error) = run_over(&mut hart, HEAP);
    screen.say(format!("  storing on and on: elements {LENGTH} to {} were stored in silence;", index - 1));
    screen.say(format!("  element {index} was caught:"));
    screen.say(format!("    {error}"));
    screen.say(format!("{} stores were wrong before the first that the hardware could see.", index - LENGTH));
    screen.say("");
    let array = HEAP + PAGE - 8 * LENGTH;
    screen.say("The same array moved so that it *ends* with the page:");
    let (index, error) = run_over(&mut hart, array);
    screen.say(format!("  element {index} was caught:"));
    screen.say(format!("    {error}"));
    let (index, _) = (0u64..)
        .map(|index| (index, hart.load::<u64>(VirtAddr(array - 8 - 8 * index))))
        .find(|(_, got)| got.is_err())
        .ok_or("no end")?;
    screen.say(format!("  but before its start {index} words can be read, the neighbours' among them."));
    screen.say("");
    screen.say("A page table guards pages. Inside a page nobody looks: debugging allocators give");
    screen.say("each block a page and a guard of its own, and pay a page for a hundred words.");
    Ok(())
}
