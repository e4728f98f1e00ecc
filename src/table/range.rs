//! Ranges for a table that says nothing of its own about them: page by page, all or nothing.
//!
//! What could fail is looked at first, in a pass that changes nothing. An edit that fails nevertheless is undone page
//! by page.

use alloc::vec::Vec;
use core::ops::ControlFlow;

use super::{EditError, Flush, Mapping, PageTable};
use crate::addr::{PageSize, PhysAddr, VirtAddr};
use crate::frame::FrameAllocator;
use crate::memory::PhysMemory;
use crate::radix::{EncodeError, Perms};

/// The smallest page and the last byte of a range of whole pages.
fn check<T: PageTable + ?Sized>(
    table: &T,
    va: VirtAddr,
    len: u64,
) -> Result<(PageSize, VirtAddr), EditError> {
    let size = table.page_sizes().next().unwrap_or(PageSize::SIZE_4K);
    if !va.is_aligned(size.bits()) {
        return Err(EditError::MisalignedVirtual { va, size });
    }
    let whole = len > 0 && len % size.bytes() == 0;
    let last = if whole { va.checked_add(len - 1) } else { None };
    last.map(|last| (size, last)).ok_or(EditError::Range { va, len, size })
}

/// The smallest page of a range that could be mapped.
pub(super) fn check_mapping<T: PageTable + ?Sized>(
    table: &T,
    va: VirtAddr,
    pa: PhysAddr,
    len: u64,
) -> Result<PageSize, EditError> {
    let (size, _) = check(table, va, len)?;
    if !pa.is_aligned(size.bits()) {
        return Err(EditError::MisalignedPhysical { pa, size });
    }
    pa.checked_add(len - 1).ok_or(EncodeError::Address { base: pa, level: 0 })?;
    Ok(size)
}

pub(super) fn map<T: PageTable + ?Sized, M: PhysMemory + ?Sized, A: FrameAllocator + ?Sized>(
    table: &mut T,
    memory: &M,
    frames: &mut A,
    (va, pa, len): (VirtAddr, PhysAddr, u64),
    perms: Perms,
) -> Result<Flush, EditError> {
    check_mapping(table, va, pa, len)?;
    let last = VirtAddr(va.0 + (len - 1));
    let mut sizes: Vec<PageSize> = table.page_sizes().collect();
    sizes.sort_unstable();
    let mut done = 0;
    let mut debt = Flush::nothing();
    while done < len {
        let (at, to) = (VirtAddr(va.0 + done), PhysAddr(pa.0 + done));
        let fits =
            |size: &&PageSize| (at.0 | to.0) & (size.bytes() - 1) == 0 && size.bytes() - 1 <= last.0 - at.0;
        let smallest = sizes.first().copied().unwrap_or(PageSize::SIZE_4K);
        let size = sizes.iter().rev().find(fits).copied().unwrap_or(smallest);
        match table.map(memory, frames, at, to, size, perms) {
            Ok(flush) => debt = debt.and(flush),
            Err(error) => {
                let mut undone = VirtAddr(va.0);
                while undone < at {
                    // Mapped a moment ago. What undoing frees may be cached already, so it waits in quarantine.
                    let (page, flush) = table.unmap(memory, undone)?;
                    undone = VirtAddr(undone.0 + page.size.bytes());
                    flush.forget();
                }
                return Err(error);
            }
        }
        done += size.bytes();
    }
    Ok(debt)
}

/// The pages in a range, none of which reaches out of it.
fn whole_pages<T: PageTable + ?Sized, M: PhysMemory + ?Sized>(
    table: &T,
    memory: &M,
    va: VirtAddr,
    len: u64,
) -> Result<Vec<Mapping>, EditError> {
    let (_, last) = check(table, va, len)?;
    let mut pages = Vec::new();
    let mut outside = None;
    table.translate_range(memory, va, len, |page| {
        let end = page.va.0 + (page.size.bytes() - 1);
        if page.va < va || end > last.0 {
            let inside = if page.va < va { va } else { VirtAddr(last.0.wrapping_add(1)) };
            outside = Some(EditError::InsidePage { va: inside, page: page.va, size: page.size });
            return ControlFlow::Break(());
        }
        pages.push(page);
        ControlFlow::Continue(())
    })?;
    outside.map_or(Ok(pages), Err)
}

pub(super) fn unmap<T: PageTable + ?Sized, M: PhysMemory + ?Sized, A: FrameAllocator + ?Sized>(
    table: &mut T,
    memory: &M,
    frames: &mut A,
    va: VirtAddr,
    len: u64,
) -> Result<Flush, EditError> {
    let pages = whole_pages(table, memory, va, len)?;
    let mut debt = Flush::nothing();
    for (n, page) in pages.iter().enumerate() {
        match table.unmap(memory, page.va) {
            Ok((_, flush)) => debt = debt.and(flush),
            Err(error) => {
                for page in &pages[..n] {
                    table.map(memory, frames, page.va, page.pa, page.size, page.perms)?.forget();
                }
                return Err(error);
            }
        }
    }
    Ok(debt)
}

pub(super) fn protect<T: PageTable + ?Sized, M: PhysMemory + ?Sized>(
    table: &mut T,
    memory: &M,
    va: VirtAddr,
    len: u64,
    perms: Perms,
) -> Result<Flush, EditError> {
    let pages = whole_pages(table, memory, va, len)?;
    let mut debt = Flush::nothing();
    for (n, page) in pages.iter().enumerate() {
        match table.protect(memory, page.va, perms) {
            Ok((_, flush)) => debt = debt.and(flush),
            Err(error) => {
                for page in &pages[..n] {
                    table.update(memory, page.va, |_| page.perms)?.1.forget();
                }
                return Err(error);
            }
        }
    }
    Ok(debt)
}

pub(super) fn visit<T: PageTable + ?Sized, M: PhysMemory + ?Sized>(
    table: &T,
    memory: &M,
    va: VirtAddr,
    len: u64,
    mut visit: impl FnMut(Mapping) -> ControlFlow<()>,
) -> Result<(), EditError> {
    let (size, last) = check(table, va, len)?;
    let mut at = va;
    loop {
        let found = table.translate(memory, at)?;
        let end = match found {
            Some(page) if visit(page).is_break() => return Ok(()),
            Some(page) => page.va.0 | (page.size.bytes() - 1),
            None => at.0 | (size.bytes() - 1),
        };
        if end >= last.0 {
            return Ok(());
        }
        at = VirtAddr(end + 1);
    }
}
