//! Both stages together (`AArch64.FullTranslate`), and what the TLB may keep of them.

use super::attributes::Attributes;
use super::config::Features;
use super::descriptor::Granule;
use super::regime::{RegimeKind, Table};
use super::registers::hcr;
use super::rights::Rights;
use super::stage1::{self, First};
use super::stage2::{self, Direct, Halt, Nested, Stage2, Tables};
use super::{Aarch64, Context, Fault, Flavor, is_unaligned};
use crate::access::{Access, AccessKind};
use crate::addr::low_mask;
use crate::arch::{PteMemory, WalkError};
use crate::tlb::TlbEntry;

impl Aarch64 {
    fn stage2(&self) -> Option<Stage2<'_>> {
        self.regime.stage2.as_ref().map(|table| Stage2 {
            table,
            xnx: self.config.has(Features::XNX),
            protect_walks: self.hcr & hcr::PTW != 0,
            forced: self.hcr & hcr::FWB != 0,
            choices: &self.config.choices,
        })
    }

    /// Every walk there is, with its marks and its fault.
    #[inline(never)]
    pub(super) fn full_walk<P: PteMemory>(
        &self,
        context: &Context,
        access: &Access<Flavor>,
        memory: &mut P,
    ) -> Result<TlbEntry, WalkError<Fault>> {
        self.translate(context, access, memory).map_err(|halt| match halt {
            WalkError::Fault(cause) => WalkError::Fault(self.fault(context, access, cause)),
            WalkError::Bus(error) => WalkError::Bus(error),
            WalkError::Raced => WalkError::Raced,
        })
    }

    /// Both stages, for `access`.
    fn translate<P: PteMemory>(
        &self,
        context: &Context,
        access: &Access<Flavor>,
        memory: &mut P,
    ) -> Result<TlbEntry, Halt> {
        let (va, upper) = self.untag(context, access.va.0);
        let upper = upper && self.regime.kind.two_ranges();
        let fetch = access.kind == AccessKind::Execute;
        let (need, store) = (context.need, access.kind.writes());
        let unaligned = is_unaligned(context, access);
        let request = stage1::Request { va, upper, need, store, fetch, unaligned };
        // E0PD is about the halves' tables: without tables nobody is kept out.
        let half = if !self.regime.kind.two_ranges() || !self.regime.stage1 {
            Rights::HALVES
        } else if upper {
            Rights::UPPER
        } else {
            Rights::LOWER
        };
        let Some(stage2) = self.stage2() else {
            let first = self.first(context, &request, &mut Direct(memory))?;
            let ipa = first.base | va & low_mask(first.size_bits);
            return Ok(self.entry(va, ipa, &first, half, None));
        };
        let mut tables = Nested { stage2, memory };
        let first = self.first(context, &request, &mut tables)?;
        let ipa = first.base | va & low_mask(first.size_bits);
        let request = stage2::Request { ipa, need, store, unaligned, descriptor: false };
        let second = stage2.translate(request, tables.memory)?;
        Ok(self.entry(va, ipa, &first, half, Some((stage2.table, &second))))
    }

    /// Stage 1, on or off.
    #[inline]
    fn first<T: Tables>(
        &self,
        context: &Context,
        request: &stage1::Request,
        tables: &mut T,
    ) -> Result<First, Halt> {
        if self.regime.stage1 {
            return stage1::translate(&self.regime, &self.config.choices, request, tables);
        }
        let guest = self.regime.kind == RegimeKind::El10;
        let attributes = match Attributes::stage1_off(if guest { self.hcr } else { 0 }) {
            // Cached entries serve fetches and data alike, so only an uncached one tells them apart.
            Attributes::DEVICE if request.fetch && context.bare => Attributes::fetch_off(self.regime.sctlr),
            attributes => attributes,
        };
        stage1::flat(request, self.config.pa_bits, attributes)
    }

    /// What the TLB may keep: both stages' rights, types and sizes combined.
    #[inline(always)]
    pub(super) fn entry(
        &self,
        va: u64,
        ipa: u64,
        first: &First,
        half: Rights,
        second: Option<(&Table, &stage2::Translated)>,
    ) -> TlbEntry {
        // A run counts as one page only where its pages lie as the hint promises.
        let trusted = |size: u32, run: u32, from: u64, to: u64| {
            let aligned = (from ^ to) & low_mask(run) == 0;
            if self.config.choices.trust_contiguous && aligned { run.max(size) } else { size }
        };
        // Uncached identities (no stage is on) are handed out by the page.
        let size1 = match (first.size_bits, second) {
            (64, None) => Granule::K4.bits(),
            (size, _) => trusted(size, first.run_bits, va, ipa),
        };
        // Stage 1's Device memory keeps its alignment faults, also where stage 2 forces it to be Normal.
        let mut device = first.attributes.is_device();
        let (pa, size, rights, attributes, run2) = match second {
            None => (ipa, size1, first.rights, first.attributes.effective(), 0),
            Some((table, second)) => {
                let pa = second.address(ipa);
                let size = size1.min(trusted(second.size_bits, second.run_bits, ipa, pa));
                let attributes =
                    first.attributes.with_stage2(second.raw, table.format.high, table.share, self.hcr);
                (pa, size, first.rights & second.rights, attributes, second.run_bits)
            }
        };
        device |= attributes.is_device();
        let mut rights = rights | half;
        rights.set(Rights::UNALIGNED, !device);
        let page = !low_mask(size);
        TlbEntry {
            va: va & page,
            pa: pa & page,
            gpa: ipa & page,
            rights: rights.bits(),
            space: self.regime.space,
            global: first.global,
            size_bits: size as u8,
            leaf_bits: first.run_bits.max(size) as u8,
            leaf2_bits: run2 as u8,
            level: first.level as u8,
            attr: attributes.0,
        }
    }
}
