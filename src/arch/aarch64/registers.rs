//! The system registers that translation looks at, and the names of their bits (DDI 0487, D24.2).

/// A system register that decides translation.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Register {
    /// `SCTLR_EL1`.
    SctlrEl1,
    /// `TCR_EL1`.
    TcrEl1,
    /// `TTBR0_EL1`.
    Ttbr0El1,
    /// `TTBR1_EL1`.
    Ttbr1El1,
    /// `MAIR_EL1`.
    MairEl1,
    /// `HCR_EL2`.
    HcrEl2,
    /// `VTCR_EL2`.
    VtcrEl2,
    /// `VTTBR_EL2`.
    VttbrEl2,
    /// `SCTLR_EL2`.
    SctlrEl2,
    /// `TCR_EL2`; its layout is `TCR_EL1`'s while `HCR_EL2.E2H` is set.
    TcrEl2,
    /// `TTBR0_EL2`.
    Ttbr0El2,
    /// `TTBR1_EL2` (FEAT_VHE).
    Ttbr1El2,
    /// `MAIR_EL2`.
    MairEl2,
    /// `SCTLR_EL3`.
    SctlrEl3,
    /// `TCR_EL3`.
    TcrEl3,
    /// `TTBR0_EL3`.
    Ttbr0El3,
    /// `MAIR_EL3`.
    MairEl3,
}

impl Register {
    const COUNT: usize = Self::MairEl3 as usize + 1;
}

/// Their values, zero at first: all translation off.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Registers([u64; Register::COUNT]);

impl Registers {
    /// The value of `register`.
    #[inline]
    #[must_use]
    pub const fn get(&self, register: Register) -> u64 {
        self.0[register as usize]
    }

    /// Sets `register`.
    #[inline]
    pub const fn set(&mut self, register: Register, value: u64) {
        self.0[register as usize] = value;
    }
}

/// The part of PSTATE that translation looks at.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Pstate {
    /// The exception level.
    pub el: ExceptionLevel,
    /// Privileged Access Never.
    pub pan: bool,
    /// User Access Override.
    pub uao: bool,
}

/// An exception level.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum ExceptionLevel {
    /// Unprivileged.
    El0 = 0,
    /// The kernel's.
    El1 = 1,
    /// The hypervisor's.
    El2 = 2,
    /// The monitor's.
    El3 = 3,
}

/// `SCTLR_ELx` bits.
pub(super) mod sctlr {
    pub(crate) const M: u64 = 1;
    pub(crate) const A: u64 = 1 << 1;
    pub(crate) const C: u64 = 1 << 2;
    pub(crate) const I: u64 = 1 << 12;
    pub(crate) const WXN: u64 = 1 << 19;
    pub(crate) const EPAN: u64 = 1 << 57;
}

/// `HCR_EL2` bits.
pub(super) mod hcr {
    pub(crate) const VM: u64 = 1;
    pub(crate) const PTW: u64 = 1 << 2;
    pub(crate) const DC: u64 = 1 << 12;
    pub(crate) const TGE: u64 = 1 << 27;
    pub(crate) const CD: u64 = 1 << 32;
    pub(crate) const E2H: u64 = 1 << 34;
    pub(crate) const FWB: u64 = 1 << 46;
    pub(crate) const DCT: u64 = 1 << 57;
}

/// One field of a register.
#[inline]
pub(super) const fn field(value: u64, low: u32, width: u32) -> u64 {
    value >> low & ((1 << width) - 1)
}

/// One bit of a register.
#[inline]
pub(super) const fn bit(value: u64, low: u32) -> bool {
    value >> low & 1 != 0
}
