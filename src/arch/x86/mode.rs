//! Which paging mode the control registers select (SDM Vol. 3A, 4.1.1; APM Vol. 2, 5.1).

use super::control::{Cr0, Cr4, Efer};
use super::nested::Second;
use super::pte::{Legacy32, LongMode, Pae};
use super::{Config, X86};

/// A paging mode.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Mode {
    /// CR0.PG is clear: linear addresses are physical.
    Off,
    /// 32-bit paging: two levels of 4-byte entries.
    Legacy32,
    /// PAE paging: four PDPTE registers above two levels of 8-byte entries.
    Pae,
    /// 4-level paging: 48-bit linear addresses.
    Level4,
    /// 5-level paging: 57-bit linear addresses.
    Level5,
}

impl Mode {
    /// The mode that CR0.PG, CR4.PAE, EFER.LMA and CR4.LA57 select.
    #[inline]
    #[must_use]
    pub const fn select(cr0: Cr0, cr4: Cr4, efer: Efer) -> Self {
        if !cr0.contains(Cr0::PG) {
            Self::Off
        } else if !cr4.contains(Cr4::PAE) {
            Self::Legacy32
        } else if !efer.contains(Efer::LMA) {
            Self::Pae
        } else if cr4.contains(Cr4::LA57) {
            Self::Level5
        } else {
            Self::Level4
        }
    }

    /// How many bits of a linear address are translated. In the two 64-bit modes all bits above must repeat the top
    /// one (canonical form); in the others an address has no more.
    #[inline]
    #[must_use]
    pub const fn linear_bits(self) -> u32 {
        match self {
            Self::Off | Self::Legacy32 | Self::Pae => 32,
            Self::Level4 => 48,
            Self::Level5 => 57,
        }
    }

    /// Whether this is one of the two modes of IA-32e (long) mode.
    #[inline]
    #[must_use]
    pub const fn is_long(self) -> bool {
        matches!(self, Self::Level4 | Self::Level5)
    }
}

/// The format that the mode walks with, ready for use.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Paging {
    Off,
    Legacy32(Legacy32),
    /// Below the PDPTE registers.
    Pae(Pae),
    /// With the PDPTEs in memory.
    PaeInMemory(Pae),
    Long(LongMode),
}

impl Paging {
    /// The format of the present mode.
    pub(super) fn of(x86: &X86) -> Self {
        let X86 { config, registers, .. } = x86;
        let nxe = registers.efer.contains(Efer::NXE);
        match (Self::select(x86.mode(), config, registers.cr4, nxe), x86.second()) {
            (Self::Pae(_), Some(Second::Npt(_))) => Self::PaeInMemory(Pae::in_memory(config, nxe)),
            (other, _) => other,
        }
    }

    /// The format of `mode`.
    pub(super) const fn select(mode: Mode, config: &Config, cr4: Cr4, nxe: bool) -> Self {
        match mode {
            Mode::Off => Self::Off,
            Mode::Legacy32 => Self::Legacy32(Legacy32::new(config, cr4.contains(Cr4::PSE))),
            Mode::Pae => Self::Pae(Pae::below_registers(config, nxe)),
            Mode::Level4 => Self::Long(LongMode::new(config, nxe, false)),
            Mode::Level5 => Self::Long(LongMode::new(config, nxe, true)),
        }
    }
}
