//! Edits at every moment of a walk: a page that stays is found, whatever is done to others between two reads.

use softmmu::access::Width;
use softmmu::addr::{PageSize, PhysAddr, VirtAddr};
use softmmu::memory::{BusError, PhysMemory, Ram};
use softmmu::radix::{PteRef, PteSource};
use softmmu::table::{EditError, HashedTable, InvertedTable, PageTable, RadixTable, Walker};

use super::formats::{self, RW};
use super::pool::Pool;

const PAGES: u64 = 6;

fn va(n: u64) -> VirtAddr {
    VirtAddr(0x40_0000 + n * 4096)
}

fn pa(n: u64) -> PhysAddr {
    PhysAddr(0x10_0000 + n * 4096)
}

/// Memory that something happens to before one of its reads.
struct Meddled<'a, F: FnOnce()> {
    ram: &'a Ram,
    /// Reads until then.
    left: u32,
    edit: Option<F>,
}

impl<F: FnOnce()> PteSource for Meddled<'_, F> {
    type Error = BusError;

    fn read(&mut self, at: PteRef) -> Result<u64, BusError> {
        match self.left.checked_sub(1) {
            Some(left) => self.left = left,
            None => {
                if let Some(edit) = self.edit.take() {
                    edit();
                }
            }
        }
        let width = Width::from_bytes(at.bytes).expect("a width");
        self.ram.read_pte(PhysAddr(at.addr), width)
    }
}

fn meddle<T: PageTable>(make: impl Fn(&Ram, &mut Pool) -> Result<T, EditError>) {
    for moment in 0..16 {
        for (stays, goes, comes) in
            (0..PAGES).flat_map(|a| (0..PAGES).flat_map(move |b| (0..PAGES).map(move |c| (a, b, c))))
        {
            if stays == goes || goes == comes || comes == stays {
                continue;
            }
            let ram = Ram::new(PhysAddr(0), 4 << 20).expect("RAM");
            let mut pool = Pool::new(PageSize::SIZE_4K, 1 << 20);
            let mut table = make(&ram, &mut pool).expect("a table");
            for n in [stays, goes] {
                table.map(&ram, &mut pool, va(n), pa(n), PageSize::SIZE_4K, RW).expect("mapped").forget();
            }
            let walker = table.walker();
            let edit = || {
                table.unmap(&ram, va(goes)).expect("unmapped").1.forget();
                // In its place: a table that has one entry a frame uses the same again.
                table
                    .map(&ram, &mut pool, va(comes), pa(goes), PageSize::SIZE_4K, RW)
                    .expect("mapped")
                    .forget();
            };
            let mut source = Meddled { ram: &ram, left: moment, edit: Some(edit) };
            let found = walker.find(va(stays), &mut source);
            let leaf = found.unwrap_or_else(|stop| panic!("{stays} {goes} {comes} at {moment}: {stop:x?}"));
            assert_eq!(leaf.base, pa(stays).0, "{stays} {goes} {comes} at {moment}");
        }
    }
}

#[test]
fn a_radix_walk_finds_what_stays() {
    meddle(|ram, pool| RadixTable::new(formats::two_level_32().0, ram, pool));
}

#[test]
fn a_hashed_walk_finds_what_stays() {
    for chains in 0..3 {
        meddle(|ram, pool| HashedTable::new(formats::two_level_32().0, chains, ram, pool));
    }
}

#[test]
fn an_inverted_walk_finds_what_stays() {
    meddle(|ram, pool| {
        InvertedTable::new(formats::two_level_32().0, (PhysAddr(0x10_0000), PAGES), ram, pool)
    });
}
