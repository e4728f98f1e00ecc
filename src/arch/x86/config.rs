//! What differs from one x86 processor to the next, as a plain value with a name for each choice.
//!
//! Nothing outside this file asks "which processor?": the rest of the module reads one of these fields.

use super::control::Cr4;

/// Who made the processor; decides the few reserved bits on which the two manuals disagree.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Vendor {
    /// Bit 8 of a PML4E or PML5E is ignored (SDM Vol. 3A, 4.5).
    Intel,
    /// Bit 8 of a PML4E or PML5E must be zero (APM Vol. 2, 5.3.3).
    Amd,
}

/// Which accessed bits a walk leaves set when the access then faults. The manuals allow either (SDM 4.8: the
/// processor may set the flag of any entry that it used).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum AccessedOnFault {
    /// None: bits are written only once the whole translation is known to be allowed.
    Never,
    /// Those of the table entries that the walk went through, not that of the entry where it stopped.
    Tables,
}

/// A processor.
///
/// ```
/// use softmmu::arch::x86::Config;
/// let small = Config { maxphyaddr: 36, page1gb: false, ..Config::INTEL };
/// assert_eq!(small.physical_mask(), 0xf_ffff_ffff);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Config {
    /// Who made it.
    pub vendor: Vendor,
    /// MAXPHYADDR, the width of a physical address in bits: 32 to 52 (CPUID 8000_0008h, EAX 7:0). Values outside
    /// are taken as the nearest bound.
    pub maxphyaddr: u8,
    /// Whether a PDPTE may map 1 GiB (CPUID 8000_0001h, EDX 26); PS is reserved there otherwise.
    pub page1gb: bool,
    /// Whether a 4 MiB page of 32-bit paging can lie above 4 GiB (CPUID 1, EDX 17, PSE-36).
    pub pse36: bool,
    /// The bits that MOV to CR4 accepts; any other raises #GP.
    pub cr4: Cr4,
    /// Whether data addresses can carry tags (CPUID 7.1, EAX 26, LAM): bits 61 and 62 of CR3, reserved otherwise, and
    /// CR4.LAM_SUP, without effect otherwise, say which.
    pub lam: bool,
    /// Accessed bits of walks that end in a fault.
    pub accessed_on_fault: AccessedOnFault,
    /// Whether EPT has execute-only entries (IA32_VMX_EPT_VPID_CAP bit 0); else they are misconfigured.
    pub ept_execute_only: bool,
    /// Whether EPT has 1 GiB pages (IA32_VMX_EPT_VPID_CAP bit 17).
    pub ept_page1gb: bool,
    /// Whether EPT violations report the guest's own rights (IA32_VMX_EPT_VPID_CAP bit 22: advanced VM-exit
    /// information), bits 9 to 11 of the qualification.
    pub ept_advanced_info: bool,
}

impl Config {
    /// An Intel processor with every feature that this crate knows, 52 address bits wide; but for LAM, which would take
    /// two bits from those that CR3 refuses.
    pub const INTEL: Self = Self {
        vendor: Vendor::Intel,
        maxphyaddr: 52,
        page1gb: true,
        pse36: true,
        cr4: Cr4::all(),
        lam: false,
        accessed_on_fault: AccessedOnFault::Never,
        ept_execute_only: true,
        ept_page1gb: true,
        ept_advanced_info: true,
    };

    /// An AMD processor with every feature that this crate knows, 52 address bits wide.
    pub const AMD: Self = Self { vendor: Vendor::Amd, ..Self::INTEL };

    /// Intel Pentium III (Katmai): 36-bit addresses, no NX, no long mode.
    pub const PENTIUM_III: Self = Self {
        maxphyaddr: 36,
        page1gb: false,
        cr4: Cr4::PENTIUM_III,
        ept_execute_only: false,
        ept_page1gb: false,
        ept_advanced_info: false,
        ..Self::INTEL
    };

    /// Intel Core i7 of the Skylake client line: 39-bit addresses, SMEP, SMAP, PCID, 4 levels. Its walker sets the
    /// accessed bits of the tables as it goes.
    pub const SKYLAKE_CLIENT: Self = Self {
        maxphyaddr: 39,
        cr4: Cr4::SKYLAKE_CLIENT,
        accessed_on_fault: AccessedOnFault::Tables,
        ept_advanced_info: false,
        ..Self::INTEL
    };

    /// Intel Xeon of the Ice Lake server line: 52-bit addresses, 5 levels, PKU.
    pub const ICELAKE_SERVER: Self = Self {
        maxphyaddr: 52,
        cr4: Cr4::SKYLAKE_CLIENT.union(Cr4::UMIP).union(Cr4::PKE).union(Cr4::LA57),
        accessed_on_fault: AccessedOnFault::Tables,
        ..Self::INTEL
    };

    /// AMD EPYC of the Zen 2 line (Rome): 48-bit addresses, SMEP and SMAP, neither PCID nor PKU.
    pub const ZEN2: Self =
        Self { maxphyaddr: 48, cr4: Cr4::ZEN2, accessed_on_fault: AccessedOnFault::Tables, ..Self::AMD };

    /// AMD EPYC of the Zen 4 line (Genoa): 52-bit addresses, 5 levels, PCID, PKU, shadow stacks.
    pub const ZEN4: Self = Self {
        maxphyaddr: 52,
        cr4: Cr4::ZEN2.union(Cr4::PCIDE).union(Cr4::PKE).union(Cr4::LA57).union(Cr4::CET),
        accessed_on_fault: AccessedOnFault::Tables,
        ..Self::AMD
    };

    /// MAXPHYADDR within its architectural bounds.
    #[inline]
    #[must_use]
    pub const fn physical_bits(&self) -> u32 {
        match self.maxphyaddr {
            0..=31 => 32,
            bits @ 32..=52 => bits as u32,
            _ => 52,
        }
    }

    /// All ones below MAXPHYADDR.
    #[inline]
    #[must_use]
    pub const fn physical_mask(&self) -> u64 {
        crate::addr::low_mask(self.physical_bits())
    }
}
