//! Sequential, local and random access to more pages than there are frames.

use super::lab::{self, DATA, Program, Random, Screen, Told};
use softmmu::addr::{PageSize, PhysAddr, VirtAddr};
use softmmu::memory::Ram;
use softmmu::vm::Region;

const PAGE: u64 = 4096;
const PAGES: u64 = 128;
const FRAMES: u64 = 64;
const ACCESSES: u64 = 2 * WORDS;
const WORDS: u64 = PAGES * PAGE / 8;

/// Where the `index`th access goes.
type Order = fn(u64, &mut Random) -> u64;

const ORDERS: [(&str, Order); 4] = [
    ("in order, word by word", |index, _| index % WORDS),
    ("90 % in an eighth of the pages", |_, random| match random.below(10) {
        0 => random.below(WORDS),
        _ => random.below(WORDS / 8),
    }),
    ("at random", |_, random| random.below(WORDS)),
    ("in order, page by page", |index, _| index % PAGES * (PAGE / 8) + index / PAGES % (PAGE / 8)),
];

pub fn tell(screen: &mut Screen) -> Told {
    screen.say(format!(
        "A program loads words from {PAGES} pages; {FRAMES} frames are there (some of them for its"
    ));
    screen.say(format!("page table). {ACCESSES} loads, in four orders:"));
    screen.say("");
    screen.say("  order                             faults   loads a fault   moved per load");
    let mut per_fault = Vec::new();
    for (name, order) in ORDERS {
        let ram = Ram::new(PhysAddr(0), FRAMES * PAGE)?;
        let region = Region::anonymous(VirtAddr(0), PAGES * PAGE, DATA);
        let mut program = Program::new(&ram, lab::format32()?, PageSize::SIZE_4K, PAGES, region)?;
        for index in 0..WORDS {
            program.store(lab::word(0, index), lab::pattern(index))?;
        }
        let (faults, stats) = (program.faults(), program.memory.stats());
        let mut random = Random(11);
        for index in 0..ACCESSES {
            let word = order(index, &mut random);
            if program.load(lab::word(0, word))? != lab::pattern(word) {
                return Err(format!("word {word} is wrong").into());
            }
        }
        let faults = program.faults() - faults;
        let now = program.memory.stats();
        let moved = now.bytes_read + now.bytes_written - stats.bytes_read - stats.bytes_written;
        let bytes = moved as f64 / ACCESSES as f64;
        screen.say(format!(
            "  {name:<32} {faults:>7} {:>15.1} {bytes:>10.1} bytes",
            ACCESSES as f64 / faults as f64
        ));
        per_fault.push(ACCESSES as f64 / faults as f64);
    }
    screen.say("");
    screen.say(format!(
        "A page has {} words. Fetching all of them for the sake of one pays when the",
        PAGE / 8
    ));
    screen.say("neighbours are wanted soon (locality in space), or the same ones again (locality");
    screen.say(format!(
        "in time). In order, one fault serves {:.0} loads; page by page, each word is the",
        per_fault[0]
    ));
    screen.say(format!(
        "only one used before its page goes again: {:.0} load a fault, and a whole page moved",
        per_fault[3]
    ));
    screen.say("for 8 bytes. It is the same work on the same data. Demand paging is a bet on");
    screen.say("locality; so is every cache, and the TLB.");
    Ok(())
}
