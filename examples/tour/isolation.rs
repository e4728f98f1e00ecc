//! Two programs that use the same addresses, without translation and with it.

use super::lab::{self, DATA, Hart, Screen, Told};
use softmmu::addr::{Asid, PageSize, VirtAddr};
use softmmu::arch::custom::Control;
use softmmu::arch::custom::CustomFormat;
use softmmu::frame::FrameAllocator;
use softmmu::memory::Ram;
use softmmu::table::{PageTable, RadixTable};

const COUNTER: VirtAddr = VirtAddr(0x8000);
const PRIVATE: VirtAddr = VirtAddr(0x9000);

/// Each program counts its own turns in a variable; both were compiled to keep it at the same address.
fn turns(
    hart: &mut Hart<'_>,
    mut switch: impl FnMut(&mut Hart<'_>, usize) -> Told,
) -> Result<[u64; 2], Box<dyn std::error::Error>> {
    let mut seen = [0; 2];
    for program in 0..2 {
        switch(hart, program)?;
        hart.store(COUNTER, 0u64)?;
    }
    for turn in 0..30 {
        let program = usize::from(turn % 3 == 2);
        switch(hart, program)?;
        let count: u64 = hart.load(COUNTER)?;
        hart.store(COUNTER, count + 1)?;
        seen[program] = count + 1;
    }
    Ok(seen)
}

pub fn tell(screen: &mut Screen) -> Told {
    let (ram, mut frames) = lab::memory(64 << 12, PageSize::SIZE_4K)?;
    // What a machine without translation uses is its memory itself: keep the tables away from there.
    let low = frames.allocate(4)?;
    let spaces = [space(&ram, &mut frames)?, space(&ram, &mut frames)?];
    let mut hart = lab::hart(&ram, &spaces[0]);

    screen.say("Two programs count their turns, each in a variable at its address 0x8000.");
    screen.say("The first has 20 turns, the second 10.");
    screen.say("");
    hart.control(Control::Enable(false))?;
    let [first, second] = turns(&mut hart, |_, _| Ok(()))?;
    screen.say("Without translation an address is a place in memory, for everybody:");
    screen.say(format!("  the first program counted {first}, the second {second}"));
    screen.say("Neither did anything wrong, and both are wrong.");
    screen.say("");
    hart.control(Control::Enable(true))?;
    let [first, second] = turns(&mut hart, |hart, program| {
        Ok(hart.control(Control::Table(spaces[program].walker(), Asid(program as u16)))?)
    })?;
    screen.say("With a page table for each:");
    for (program, table) in spaces.iter().enumerate() {
        let page = table.translate(&ram, COUNTER)?.ok_or("the counter's page is not mapped")?;
        screen.say(format!(
            "  program {}: {COUNTER} lies at physical {}",
            program + 1,
            page.address(COUNTER)
        ));
    }
    screen.say(format!("  the first program counted {first}, the second {second}"));
    screen.say("");
    screen.say(format!("The first also keeps a secret at {PRIVATE}. The second tries to read it:"));
    let mut spaces = spaces;
    let pa = frames.allocate(0)?;
    spaces[0].map(&ram, &mut frames, PRIVATE, pa, PageSize::SIZE_4K, DATA)?.forget();
    hart.control(Control::Table(spaces[0].walker(), Asid(0)))?;
    hart.store(PRIVATE, 42u64)?;
    hart.control(Control::Table(spaces[1].walker(), Asid(1)))?;
    match hart.load::<u64>(PRIVATE) {
        Ok(value) => return Err(format!("it read {value}").into()),
        Err(error) => screen.say(format!("  {error}")),
    }
    screen.say("There is no address it could use: what is not in its table does not exist.");
    frames.free(low, 4)?;
    Ok(())
}

/// An address space with one page, for the counter.
fn space(
    ram: &Ram,
    frames: &mut impl FrameAllocator,
) -> Result<RadixTable<CustomFormat>, Box<dyn std::error::Error>> {
    let mut table = RadixTable::new(lab::format32()?, ram, frames)?;
    let pa = frames.allocate(0)?;
    table.map(ram, frames, COUNTER, pa, PageSize::SIZE_4K, DATA)?.forget();
    Ok(table)
}
