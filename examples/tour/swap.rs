//! RAM running out, and a store that takes what is not needed now.

use super::lab::{self, DATA, Program, Screen, Told};
use softmmu::addr::{PageSize, PhysAddr, VirtAddr};
use softmmu::memory::Ram;
use softmmu::vm::Region;

const PAGE: u64 = 4096;
const FRAMES: u64 = 16;
const PAGES: u64 = 32;
const BASE: u64 = 0x10_0000;

/// Which of the program's pages are in RAM.
fn map(program: &Program<'_>, ram: &Ram) -> Result<String, Box<dyn std::error::Error>> {
    use softmmu::table::PageTable;
    let table = program.memory.table(program.space)?.ok_or("no page table")?;
    let mut text = String::new();
    for page in 0..PAGES {
        text.push(if table.translate(ram, VirtAddr(BASE + page * PAGE))?.is_some() { '#' } else { '.' });
    }
    Ok(text)
}

pub fn tell(screen: &mut Screen) -> Told {
    let ram = Ram::new(PhysAddr(0), FRAMES * PAGE)?;
    let region = || Region::anonymous(VirtAddr(BASE), PAGES * PAGE, DATA);
    let page_at = |page: u64| VirtAddr(BASE + page * PAGE);
    screen.say(format!(
        "A machine of {FRAMES} frames runs a program of {PAGES} pages. Nothing is allocated until"
    ));
    screen.say("it is touched, so the program starts; then it writes to one page after another.");
    screen.say("");
    let mut program = Program::new(&ram, lab::format32()?, PageSize::SIZE_4K, 0, region())?;
    let mut touched = 0;
    let error = loop {
        match program.store(page_at(touched), lab::pattern(touched)) {
            Ok(()) => touched += 1,
            Err(error) => break error,
        }
    };
    screen.say(format!("Without swap it gets {touched} pages far:"));
    error.to_string().split_inclusive([':', ',']).for_each(|part| screen.say(format!("  {}", part.trim())));
    drop(program);
    screen.say("");
    let ram = Ram::new(PhysAddr(0), FRAMES * PAGE)?;
    let mut program = Program::new(&ram, lab::format32()?, PageSize::SIZE_4K, 64, region())?;
    for page in 0..PAGES {
        program.store(page_at(page), lab::pattern(page))?;
    }
    screen.say(format!("With a store of 64 pages it writes to all {PAGES}. (# in RAM, . in the store)"));
    screen.say(format!("  after writing   {}", map(&program, &ram)?));
    let mut right = 0;
    for page in 0..PAGES {
        right += u64::from(program.load(page_at(page))? == lab::pattern(page));
    }
    screen.say(format!("  after reading   {}", map(&program, &ram)?));
    let stats = program.memory.stats();
    screen.say(format!(
        "It read back {right} of {PAGES} pages right. On the way {} pages were written out and",
        stats.pages_written
    ));
    screen.say(format!(
        "{} read back in; {} could go without being written, as the store had them.",
        stats.pages_read, stats.clean_evictions
    ));
    screen.say("");
    screen.say("The program did not notice: an access that faults is tried again, later.");
    Ok(())
}
