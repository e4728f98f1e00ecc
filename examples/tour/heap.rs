//! Fragmentation inside a program's heap, where paging cannot reach.

use super::lab::{self, DATA, Hart, Screen, Told};
use softmmu::addr::{PageSize, VirtAddr};
use softmmu::frame::FrameAllocator;
use softmmu::table::{PageTable, RadixTable};

const PAGE: u64 = 4096;
const HEAP: u64 = 0x40_0000;
const PAGES: u64 = 16;
const BLOCK: u64 = 1024;

/// A first-fit heap as a C library has one: every block has a header word (its size, lowest bit: in use) in the
/// program's own memory.
struct Heap<'h, 'm> {
    hart: &'h mut Hart<'m>,
}

/// A value, or what should not have happened.
type Got<T> = Result<T, Box<dyn std::error::Error>>;

/// A block: where, how long (header included), whether in use.
type Block = (u64, u64, bool);

impl Heap<'_, '_> {
    fn header(&mut self, at: u64) -> Got<(u64, bool)> {
        let word: u64 = self.hart.load(VirtAddr(at))?;
        Ok((word & !1, word & 1 != 0))
    }

    /// Every block. Free neighbours are joined on the way.
    fn blocks(&mut self) -> Got<Vec<Block>> {
        let (mut at, mut blocks) = (HEAP, Vec::<Block>::new());
        while at < HEAP + PAGES * PAGE {
            let (size, used) = self.header(at)?;
            match blocks.last_mut() {
                Some((start, length, false)) if !used => {
                    *length += size;
                    let (start, length) = (*start, *length);
                    self.hart.store(VirtAddr(start), length)?;
                }
                _ => blocks.push((at, size, used)),
            }
            at += size;
        }
        Ok(blocks)
    }

    fn allocate(&mut self, bytes: u64) -> Got<Option<u64>> {
        let need = bytes + 8;
        let found = self.blocks()?.into_iter().find(|&(_, size, used)| !used && size >= need);
        let Some((at, size, _)) = found else { return Ok(None) };
        if size > need {
            self.hart.store(VirtAddr(at + need), size - need)?;
        }
        self.hart.store(VirtAddr(at), need | 1)?;
        Ok(Some(at + 8))
    }

    fn free(&mut self, block: u64) -> Told {
        let (size, _) = self.header(block - 8)?;
        Ok(self.hart.store(VirtAddr(block - 8), size)?)
    }
}

pub fn tell(screen: &mut Screen) -> Told {
    let (ram, mut frames) = lab::memory(64 * PAGE, PageSize::SIZE_4K)?;
    let mut table = RadixTable::new(lab::format32()?, &ram, &mut frames)?;
    for page in 0..PAGES {
        let pa = frames.allocate(0)?;
        table.map(&ram, &mut frames, VirtAddr(HEAP + page * PAGE), pa, PageSize::SIZE_4K, DATA)?.forget();
    }
    let mut hart = lab::hart(&ram, &table);
    hart.store(VirtAddr(HEAP), PAGES * PAGE)?;
    let mut heap = Heap { hart: &mut hart };

    screen.say(format!("A heap of {PAGES} pages inside one program, kept first-fit like a C library's."));
    let mut blocks = Vec::new();
    while let Some(block) = heap.allocate(BLOCK)? {
        blocks.push(block);
    }
    screen.say(format!(
        "It gives out {} blocks of {BLOCK} bytes; then every other one is freed.",
        blocks.len()
    ));
    for &block in blocks.iter().step_by(2) {
        heap.free(block)?;
    }
    let walk = heap.blocks()?;
    let free: u64 = walk.iter().filter(|block| !block.2).map(|block| block.1).sum();
    let largest = walk.iter().filter(|block| !block.2).map(|block| block.1).max().unwrap_or(0);
    let map: String = walk.iter().map(|block| if block.2 { '#' } else { '.' }).collect();
    screen.say("");
    screen.say(format!("  {map}"));
    screen.say("");
    screen.say(format!("Free: {free} bytes in all, {largest} in the largest hole."));
    let answer = heap.allocate(2 * BLOCK)?.map_or("no".into(), |at| format!("yes, at {at:#x}"));
    screen.say(format!("  A block of {} bytes? {answer}.", 2 * BLOCK));
    let mut empty_pages = 0;
    for page in 0..PAGES {
        let (start, end) = (HEAP + page * PAGE, HEAP + (page + 1) * PAGE);
        let used = walk.iter().any(|&(at, size, used)| used && at < end && at + size > start);
        empty_pages += u64::from(!used);
    }
    screen.say(format!("  Pages without a used byte, that could be given back: {empty_pages} of {PAGES}."));
    screen.say("");
    screen.say("This is chapter 1 again, one floor up. There the frames were moved behind the");
    screen.say("program's back, because it only knew addresses of pages. Here the program holds");
    screen.say("the addresses of the blocks themselves: nobody can move them without telling it,");
    screen.say("and a page with one used block cannot be given back.");
    screen.say("Paging ends fragmentation between programs. Inside one, only its allocator can:");
    screen.say("size classes, arenas, or a collector that moves objects and mends the pointers.");
    Ok(())
}
