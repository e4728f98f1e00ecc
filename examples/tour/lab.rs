//! What the chapters share: a screen to print on, and machines to measure on.

use softmmu::access::AccessKind;
use softmmu::addr::{PageSize, PhysAddr, VirtAddr};
use softmmu::arch::custom::{Bit, Config, Custom, CustomFormat};
use softmmu::frame::BuddyAllocator;
use softmmu::memory::{PhysRange, Ram};
use softmmu::mmu::{AccessError, Mmu};
use softmmu::radix::Perms;
use softmmu::store::MemoryStore;
use softmmu::table::{PageTable, RadixTable, RadixWalker};
use softmmu::tlb::Space;
use softmmu::vm::{Region, SpaceId, VirtualMemory};
use std::error::Error;
use std::io::Write as _;

/// How a chapter ends: with all told, or with what should not have happened.
pub type Told = Result<(), Box<dyn Error>>;

/// A processor without a TLB, so that a chapter need not speak of stale translations.
pub type Hart<'m> = Mmu<Custom, &'m Ram, ()>;

/// What a program may do with its data.
pub const DATA: Perms = Perms::READ.union(Perms::WRITE).union(Perms::USER);

/// A chapter's page: at most 24 lines of at most 80 columns, so that it fits a terminal.
pub struct Screen {
    text: String,
}

impl Screen {
    /// A screen with its heading.
    pub fn new(number: usize, title: &str) -> Self {
        Self { text: format!("== {number}. {title} ==\n") }
    }

    /// One line.
    pub fn say(&mut self, line: impl AsRef<str>) {
        self.text.push_str(line.as_ref().trim_end());
        self.text.push('\n');
    }

    /// The whole, with an empty line behind it.
    pub fn finish(mut self) -> String {
        self.text.push('\n');
        self.text
    }
}

/// Prints to standard output; a reader that has gone away is no error.
pub fn print(text: &str) {
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
}

/// The 32-bit two-level format with pages of 4 KiB.
///
/// # Errors
/// None in fact: the description makes sense.
pub fn format32() -> Result<CustomFormat, Box<dyn Error>> {
    Ok(Config::two_level_32().build()?)
}

/// A format of pages of `page_bytes` with `index_bits` per level, 4-byte entries and every mark that a kernel needs.
///
/// # Errors
/// When the description makes no sense.
pub fn format(page_bytes: u64, index_bits: &[u32]) -> Result<CustomFormat, Box<dyn Error>> {
    let frame_bits = 32 - page_bytes.trailing_zeros();
    let low = 32 - frame_bits;
    let config = Config::new(page_bytes, index_bits, 8, Bit::high(63)).frame(low, frame_bits);
    let config = config.read(Bit::high(62)).write(Bit::high(61)).execute(Bit::high(60)).user(Bit::high(59));
    Ok(config.accessed(Bit::high(58)).dirty(Bit::high(57)).build()?)
}

/// RAM of `bytes` from address 0, and an allocator for its frames.
///
/// # Errors
/// When the host has no room for it.
pub fn memory(bytes: u64, frame: PageSize) -> Result<(Ram, BuddyAllocator), Box<dyn Error>> {
    let ram = Ram::new(PhysAddr(0), bytes)?;
    let range = PhysRange::new(PhysAddr(0), bytes).ok_or("memory runs past the top of the physical space")?;
    Ok((ram, BuddyAllocator::new(range, frame)?))
}

/// A processor that runs a program in the address space of `table`.
pub fn hart<'m>(ram: &'m Ram, table: &RadixTable<CustomFormat>) -> Hart<'m> {
    Mmu::new(Custom::new(table.walker()).unprivileged(), ram, ())
}

/// The number that a program in a chapter expects at `index`: never the same twice, never zero.
pub fn pattern(index: u64) -> u64 {
    (index + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// Numbers that look random and are the same every time (xorshift64).
pub struct Random(pub u64);

impl Random {
    /// The next, below `limit`.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

/// `va` of the `index`th 8-byte word from `base`.
pub fn word(base: u64, index: u64) -> VirtAddr {
    VirtAddr(base + 8 * index)
}

/// Virtual memory over a small RAM, with a store for what does not fit.
pub type Memory<'m> = VirtualMemory<CustomFormat, &'m Ram, BuddyAllocator, MemoryStore>;

/// A program on demand-paged memory, with the processor that runs it.
pub struct Program<'m> {
    pub memory: Memory<'m>,
    pub space: SpaceId,
    hart: Hart<'m>,
}

impl<'m> Program<'m> {
    /// A program with `region`, in `ram` of pages of `page` bytes, with room for `slots` pages in the store.
    ///
    /// # Errors
    /// What the parts say of their sizes.
    pub fn new(
        ram: &'m Ram,
        format: CustomFormat,
        page: PageSize,
        slots: u64,
        region: Region,
    ) -> Result<Self, Box<dyn Error>> {
        let frames = BuddyAllocator::new(ram.range(), page)?;
        let mut memory = VirtualMemory::new(format, ram, frames, MemoryStore::new(page, slots))?;
        // A load or store here needs one page at a time.
        memory.set_protected(0);
        let space = memory.create(Space::default());
        memory.map(space, region)?;
        let root = memory.activate(space, &mut ())?;
        let hart = Mmu::new(Custom::new(RadixWalker { format, root }).unprivileged(), ram, ());
        Ok(Self { memory, space, hart })
    }

    /// Loads a word; what is not there is brought in first.
    ///
    /// # Errors
    /// What virtual memory could not do, or the program may not.
    pub fn load(&mut self, va: VirtAddr) -> Result<u64, Box<dyn Error>> {
        loop {
            match self.hart.load(va) {
                Ok(value) => return Ok(value),
                Err(error) => self.serve(error, AccessKind::Read)?,
            }
        }
    }

    /// Stores a word likewise.
    ///
    /// # Errors
    /// As for [`load`](Self::load).
    pub fn store(&mut self, va: VirtAddr, value: u64) -> Told {
        loop {
            match self.hart.store(va, value) {
                Ok(()) => return Ok(()),
                Err(error) => self.serve(error, AccessKind::Write)?,
            }
        }
    }

    fn serve(&mut self, error: AccessError<softmmu::arch::custom::Fault>, kind: AccessKind) -> Told {
        let AccessError::Fault(fault) = error else { return Err(error.into()) };
        self.memory.handle_fault(self.space, fault.va, kind, &mut self.hart)?;
        Ok(())
    }

    /// How many faults were served.
    pub fn faults(&self) -> u64 {
        self.memory.stats().minor_faults + self.memory.stats().major_faults
    }
}
