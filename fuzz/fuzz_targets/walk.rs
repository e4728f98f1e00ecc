//! Raw words as page tables, raw numbers as control registers, and accesses: nothing panics, and an MMU without a TLB,
//! one with a tiny one and one with a large one agree about every access and about memory.
#![no_main]

use arbitrary::Unstructured;
use libfuzzer_sys::fuzz_target;
use softmmu::access::{Access, AccessKind};
use softmmu::addr::VirtAddr;
use softmmu::arch::Arch;
use softmmu::mmu::{AccessError, Mmu, Value};
use softmmu::tlb::Scope;

#[path = "walk/aarch64.rs"]
mod aarch64;
#[path = "walk/custom.rs"]
mod custom;
#[path = "walk/riscv.rs"]
mod riscv;
#[path = "../../tests/conformance/sparse.rs"]
#[allow(dead_code)]
mod sparse;
#[path = "../../tests/conformance/tlb.rs"]
#[allow(dead_code)]
mod tlb;
#[path = "walk/x86.rs"]
mod x86;

use sparse::SparseMemory;
use tlb::TestTlb;

/// RAM: so many pages from here, nothing elsewhere.
const BASE: u64 = 0x8000_0000;
const PAGES: u64 = 32;

/// An architecture's part of the work: what its registers and table entries look like.
trait Target {
    type Arch: Arch<Fault: PartialEq>;

    /// The state to begin with.
    fn arch(u: &mut Unstructured<'_>) -> arbitrary::Result<Self::Arch>;

    /// A write to a control register.
    fn control(u: &mut Unstructured<'_>) -> arbitrary::Result<<Self::Arch as Arch>::Control>;

    /// An entry for the page `page`, likely to mean something, with `flags` in the low and `high` in the high bits.
    fn entry(page: u64, flags: u64, high: u64) -> u64;

    /// An access's manner.
    fn flavor(u: &mut Unstructured<'_>) -> arbitrary::Result<<Self::Arch as Arch>::Flavor>;

    /// Whether a table that holds `word` may let one entry speak for its neighbours (Svnapot, the contiguous hint):
    /// where the neighbours say otherwise, what a TLB answers is the machine's choice.
    fn spans(word: u64) -> bool;
}

/// An address of a page of RAM, or anything.
fn place(u: &mut Unstructured<'_>) -> arbitrary::Result<u64> {
    Ok(match u.int_in_range(0..=7)? {
        0 => u.arbitrary()?,
        _ => BASE + u.int_in_range(0..=PAGES - 1)? * 0x1000,
    })
}

fn words<T: Target>(u: &mut Unstructured<'_>) -> arbitrary::Result<Vec<(u64, u64)>> {
    let mut words = Vec::new();
    for _ in 0..u.int_in_range(0..=96)? {
        let page = u.int_in_range(0..=PAGES - 1)?;
        // Few indices are in use, so that tables meet the addresses of the accesses.
        let index = u.choose(&[0, 1, 2, 3, 255, 256, 510, 511])?;
        let word = match u.int_in_range(0..=15)? {
            0 => u.arbitrary()?,
            1 => T::entry(u.arbitrary()?, u64::from(u.arbitrary::<u16>()?), u.arbitrary()?),
            _ => {
                let high = if u.ratio(1, 8)? { u.arbitrary()? } else { 0 };
                T::entry(
                    (BASE >> 12) + u.int_in_range(0..=PAGES - 1)?,
                    u64::from(u.arbitrary::<u16>()?),
                    high,
                )
            }
        };
        words.push((BASE + page * 0x1000 + index * 8, word));
    }
    Ok(words)
}

fn access<T: Target>(u: &mut Unstructured<'_>) -> arbitrary::Result<Access<<T::Arch as Arch>::Flavor>> {
    let va = if u.ratio(1, 16)? {
        u.arbitrary()?
    } else {
        let bits: u16 = u.arbitrary()?;
        let levels = (0..6).map(|level| u64::from(bits >> (2 * level)) & 3);
        let low =
            [12u32, 21, 30, 39, 48, 22].iter().zip(levels).fold(0, |va, (shift, index)| va | index << shift);
        let offset = u.choose(&[0, 8, 0x7f8, 0xff8, 0xffc, 0xfff])?;
        let high = u.choose(&[0, 0, 0, !0 << 39, !0 << 48, !0 << 57, 0x1f << 56])?;
        (low | high) + offset
    };
    let kind =
        *u.choose(&[AccessKind::Read, AccessKind::Write, AccessKind::Execute, AccessKind::ReadWrite])?;
    let flavor =
        if matches!(kind, AccessKind::Read | AccessKind::Write) { T::flavor(u)? } else { Default::default() };
    Ok(Access { va: VirtAddr(va), len: *u.choose(&[1, 2, 4, 8])?, kind, flavor })
}

type Answer<A> = Result<u64, AccessError<<A as Arch>::Fault>>;

fn typed<A: Arch, V: Value>(
    mmu: &mut Mmu<A, SparseMemory, TestTlb>,
    access: &Access<A::Flavor>,
) -> Answer<A> {
    let Access { va, kind, flavor, .. } = *access;
    match kind {
        AccessKind::Read => mmu.load_as::<V>(va, flavor).map(V::to_u64),
        AccessKind::Write => mmu.store_as(va, V::from_u64(0), flavor).map(|()| 0),
        AccessKind::Execute => mmu.fetch::<V>(va).map(V::to_u64),
        AccessKind::ReadWrite => mmu.rmw(va, |old: V| old).map(V::to_u64),
    }
}

fn made<A: Arch>(mmu: &mut Mmu<A, SparseMemory, TestTlb>, access: &Access<A::Flavor>) -> Answer<A> {
    match access.len {
        1 => typed::<A, u8>(mmu, access),
        2 => typed::<A, u16>(mmu, access),
        4 => typed::<A, u32>(mmu, access),
        _ => typed::<A, u64>(mmu, access),
    }
}

/// What memory holds, in order.
fn sorted(memory: &SparseMemory) -> Vec<(u64, u64)> {
    let mut words = memory.words();
    words.retain(|&(_, word)| word != 0);
    words.sort_unstable();
    words
}

fn live<T: Target>(u: &mut Unstructured<'_>) -> arbitrary::Result<()> {
    let arch = T::arch(u)?;
    let words = words::<T>(u)?;
    let exact = !words.iter().any(|&(_, word)| T::spans(word));
    let memory = || SparseMemory::new((BASE, PAGES * 0x1000), &words);
    let mut mmus = [0, 2, 64].map(|room| Mmu::new(arch, memory(), TestTlb::new(room)));
    let mut before = sorted(mmus[0].memory());
    for _ in 0..64 {
        if u.is_empty() {
            break;
        }
        if u.ratio(1, 4)? {
            let control = T::control(u)?;
            let done = mmus.each_mut().map(|mmu| mmu.control(control).is_ok());
            assert!(done == [done[0]; 3]);
            // What a write leaves in the TLB that it may leave, and the guest had to fence, is not at issue here.
            mmus.iter_mut().for_each(|mmu| mmu.invalidate(&Scope::ALL));
            continue;
        }
        let access = access::<T>(u)?;
        let unseen = sorted(mmus[2].memory());
        let probed = mmus.each_ref().map(|mmu| mmu.probe(&access));
        let explained = mmus[2].explain(&access);
        assert_eq!(unseen, sorted(mmus[2].memory()), "looking changed memory");
        let answers = mmus.each_mut().map(|mmu| made(mmu, &access));
        let after = sorted(mmus[0].memory());
        if !exact {
            continue;
        }
        for (at, answer) in answers.iter().enumerate() {
            assert_eq!(*answer, answers[0], "{access:x?}");
            assert_eq!(probed[at].is_ok(), probed[0].is_ok(), "{access:x?}");
            assert_eq!(after, sorted(mmus[at].memory()), "{access:x?}");
        }
        assert_eq!(explained.outcome.is_ok(), probed[0].is_ok(), "{access:x?}");
        if let Err(foretold) = probed[0] {
            assert_eq!(answers[0], Err(foretold), "{access:x?}");
        }
        // Tables that point into themselves: a mark set in one entry may be a right in another. The guest that does
        // that has to fence.
        if after != before {
            mmus.iter_mut().for_each(|mmu| mmu.invalidate(&Scope::ALL));
            before = after;
        }
    }
    Ok(())
}

fuzz_target!(|data: &[u8]| {
    let mut u = Unstructured::new(data);
    let _ = match u.int_in_range(0..=3) {
        Ok(0) => live::<riscv::Target>(&mut u),
        Ok(1) => live::<x86::Target>(&mut u),
        Ok(2) => live::<aarch64::Target>(&mut u),
        _ => live::<custom::Target>(&mut u),
    };
});
