//! A machine whose TLB the guest fills itself.

use crate::addr::VirtAddr;
use crate::radix::{EncodeError, Leaf, Perms, PteRef, PteSource, Stage, Stop};
use crate::table::Walker;

/// No table at all: what the TLB does not hold faults, as on MIPS, and the guest's handler writes the entry.
///
/// The handler tells a refill from a page that is there but does not permit the access (MIPS: TLB Invalid, TLB
/// Modified) as a real one does, by probing the TLB. Accessed and dirty bits are the handler's business too: it keeps
/// [`WRITE`](Perms::WRITE) from a page until it has seen a store.
///
/// ```
/// use softmmu::access::AccessKind;
/// use softmmu::addr::{Asid, PageSize, PhysAddr, VirtAddr};
/// use softmmu::arch::software::{NoTable, Software};
/// use softmmu::memory::Ram;
/// use softmmu::mmu::{AccessError, Mmu};
/// use softmmu::radix::Perms;
/// use softmmu::table::Mapping;
/// use softmmu::tlb::{Geometry, Key, SetAssociative};
///
/// const ENTRIES: usize = 8;
/// const WIRED: usize = 2;
///
/// let ram = Ram::new(PhysAddr(0), 1 << 20)?;
/// let arch = Software::new(NoTable).with_asid(Asid(5));
/// let tlb: SetAssociative = SetAssociative::new(Geometry::fully_associative(ENTRIES))?;
/// let mut mmu = Mmu::new(arch, &ram, tlb);
///
/// // The guest's own idea of its pages: page n lies at frame n + 16.
/// let page = |va: VirtAddr, perms| Mapping {
///     va: va.align_down(12),
///     pa: PhysAddr(va.align_down(12).0 + 0x1_0000),
///     size: PageSize::SIZE_4K,
///     perms,
///     raw: 0,
/// };
///
/// // TLBWI: the kernel's page, in a wired entry.
/// let kernel = VirtAddr(0x3f000);
/// mmu.tlb_mut().write(0, arch.entry(&page(kernel, Perms::READ | Perms::GLOBAL)))?;
///
/// let (mut refills, mut first_stores, mut random) = (0, 0, ENTRIES - 1);
/// for n in 0..64u64 {
///     let va = VirtAddr((n % 16) << 12 | 0x18);
///     loop {
///         match mmu.store::<u64>(va, n) {
///             Ok(()) => break,
///             Err(AccessError::Fault(fault)) => {
///                 assert_eq!((fault.va, fault.kind), (va, AccessKind::Write));
///                 match mmu.tlb().index_of(&Key { va: va.0, space: arch.space() }) {
///                     // TLB Refill: TLBWR. Read-only at first, so that the first store is seen.
///                     None => {
///                         refills += 1;
///                         random = if random == WIRED { ENTRIES - 1 } else { random - 1 };
///                         mmu.tlb_mut().write(random, arch.entry(&page(va, Perms::READ)))?;
///                     }
///                     // TLB Modified: TLBP found it; TLBWI.
///                     Some(index) => {
///                         first_stores += 1;
///                         mmu.tlb_mut().write(index, arch.entry(&page(va, Perms::READ | Perms::WRITE)))?;
///                     }
///                 }
///             }
///             Err(error) => return Err(error.into()),
///         }
///     }
///     assert_eq!(mmu.load::<u64>(va)?, n);
/// }
/// // Sixteen pages in turn through six entries: every one has left again when it is needed next.
/// assert_eq!((refills, first_stores), (64, 64));
/// assert_eq!(mmu.load::<u64>(kernel)?, 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct NoTable;

impl Walker for NoTable {
    fn find<S: PteSource>(&self, _va: VirtAddr, _source: &mut S) -> Result<Leaf, Stop<S::Error>> {
        let at = PteRef { addr: 0, bytes: 8, level: 0, stage: Stage::First };
        Err(Stop::Absent { at, raw: 0, limits: 0 })
    }

    fn translates(&self, _va: VirtAddr) -> bool {
        true
    }

    fn perms(&self, _leaf: &Leaf) -> Perms {
        Perms::empty()
    }

    fn with_perms(&self, _leaf: &Leaf, perms: Perms) -> Result<u64, EncodeError> {
        Err(EncodeError::Perms { perms })
    }

    /// The guest keeps them, if anybody does.
    fn marks(&self) -> Perms {
        Perms::empty()
    }
}
