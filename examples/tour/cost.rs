//! What swap costs against RAM, and what comes of using it instead of RAM.

use super::lab::{self, DATA, Program, Random, Screen, Told};
use softmmu::addr::{PageSize, PhysAddr, VirtAddr};
use softmmu::memory::Ram;
use softmmu::vm::Region;

const PAGE: u64 = 4096;
const PAGES: u64 = 256;
const WORDS: u64 = PAGES * PAGE / 8;
const ACCESSES: u64 = 200_000;
/// Prices, in nanoseconds: an access to RAM, and moving one page from or to the store.
const RAM_NS: u64 = 100;
const FLASH_NS: u64 = 100_000;
const DISK_NS: u64 = 5_000_000;

pub fn tell(screen: &mut Screen) -> Told {
    screen.say(format!("A program with {PAGES} pages, 999 of 1000 accesses to a quarter of them, one in"));
    screen.say(format!("four a store. {ACCESSES} accesses, with less and less RAM. Faults and moves are"));
    screen.say(format!(
        "measured; the prices are assumed: {RAM_NS} ns an access to RAM, {} us to move a",
        FLASH_NS / 1000
    ));
    screen.say(format!("page from or to flash, {} ms from or to a disk.", DISK_NS / 1_000_000));
    screen.say("");
    screen.say("  RAM      faults   pages moved   mean access, flash     mean access, disk");
    let mut slower = 0;
    for percent in [110, 90, 75, 50, 25, 12] {
        let frames = PAGES * percent / 100;
        let ram = Ram::new(PhysAddr(0), frames * PAGE)?;
        let region = Region::anonymous(VirtAddr(0), PAGES * PAGE, DATA);
        let mut program = Program::new(&ram, lab::format32()?, PageSize::SIZE_4K, PAGES, region)?;
        for page in 0..PAGES {
            program.store(VirtAddr(page * PAGE), page)?;
        }
        let (faults, before) = (program.faults(), program.memory.stats());
        let mut random = Random(3);
        for _ in 0..ACCESSES {
            let span = if random.below(1000) == 0 { WORDS } else { WORDS / 4 };
            let va = lab::word(0, random.below(span));
            match random.below(4) {
                0 => program.store(va, va.0)?,
                _ => drop(program.load(va)?),
            }
        }
        let after = program.memory.stats();
        let moves = after.pages_read + after.pages_written - before.pages_read - before.pages_written;
        let mean = |price: u64| RAM_NS + moves * price / ACCESSES;
        let times = |price: u64| format!("{} ns ({} x)", mean(price), mean(price) / RAM_NS);
        let faults = program.faults() - faults;
        screen.say(format!(
            "  {percent:>3} % {faults:>9} {moves:>13} {:>20} {:>21}",
            times(FLASH_NS),
            times(DISK_NS)
        ));
        slower = mean(FLASH_NS) / RAM_NS;
    }
    screen.say("");
    screen.say("While what is in use fits, swap costs little: what lies idle moves out once.");
    screen.say("Below that the same pages go out and come back all the time (thrashing).");
    screen
        .say(format!("Swap is no cheap RAM: used as such it made this run {slower} times slower on flash."));
    screen.say("It buys room for what is rarely used, and time to notice that RAM is short.");
    Ok(())
}
