//! AArch64 cases: a core with the recorded ID registers, and QEMU's choices.

use softmmu::access::Access;
use softmmu::addr::{Asid, VirtAddr};
use softmmu::arch::aarch64::{
    Aarch64, Choices, Config, Control, ExceptionLevel, Fault, Flavor, Granule, IdRegisters, Pstate,
    RegimeKind, Register, Registers, Tlbi, TlbiTarget,
};
use softmmu::mmu::Mmu;

use crate::case::{AccessStep, Case, FaultMap, Header, InvalidateStep, Outcome};
use crate::keys::{Keys, NotBuilt};
use crate::machine::{Machine, fault_map, perform};
use crate::sparse::SparseMemory;
use crate::tlb::TestTlb;

const REGISTERS: [(&str, Register); 13] = [
    ("sctlr_el1", Register::SctlrEl1),
    ("tcr_el1", Register::TcrEl1),
    ("ttbr0_el1", Register::Ttbr0El1),
    ("ttbr1_el1", Register::Ttbr1El1),
    ("mair_el1", Register::MairEl1),
    ("hcr_el2", Register::HcrEl2),
    ("vtcr_el2", Register::VtcrEl2),
    ("vttbr_el2", Register::VttbrEl2),
    ("sctlr_el2", Register::SctlrEl2),
    ("tcr_el2", Register::TcrEl2),
    ("ttbr0_el2", Register::Ttbr0El2),
    ("ttbr1_el2", Register::Ttbr1El2),
    ("mair_el2", Register::MairEl2),
];

/// `HCR_EL2.TGE`.
const TGE: u64 = 1 << 27;

pub struct Driver {
    mmu: Mmu<Aarch64, SparseMemory, TestTlb>,
    /// The regime that the mode is about.
    regime: RegimeKind,
    granule: Granule,
}

/// What a mode's name says: `4k-s1`, `16k-s1+s2-lpa2`, `4k-el20`.
fn mode(name: &str) -> Option<(Granule, RegimeKind)> {
    let (granule, rest) = name.split_once('-')?;
    let granule = match granule {
        "4k" => Granule::K4,
        "16k" => Granule::K16,
        "64k" => Granule::K64,
        _ => return None,
    };
    let regime = match rest.strip_suffix("-lpa2").unwrap_or(rest) {
        "s1" | "s2" | "s1+s2" => RegimeKind::El10,
        "el2" => RegimeKind::El2,
        "el20" => RegimeKind::El20,
        _ => return None,
    };
    Some((granule, regime))
}

impl Driver {
    fn control(&mut self, change: Control) {
        self.mmu.control(change).unwrap_or_else(|error| panic!("no register write faults: {error}"));
    }
}

fn spell(fault: &Fault) -> FaultMap {
    let mut map = fault_map([
        ("fsc", u64::from(fault.fsc())),
        ("stage", if fault.second_stage { 2 } else { 1 }),
        ("s1ptw", u64::from(fault.s1ptw)),
        ("far", fault.va.0),
    ]);
    if let Some(hpfar) = fault.hpfar() {
        map.insert("hpfar".into(), hpfar);
    }
    map
}

impl Machine for Driver {
    /// AF, and the bit of AP or S2AP that dirty state flips.
    const LATITUDE: u64 = 0x480;

    fn new(header: &Header, case: &Case, memory: SparseMemory, tlb: TestTlb) -> Result<Self, NotBuilt> {
        let (granule, regime) =
            mode(&case.mode).ok_or_else(|| NotBuilt::new(format!("mode {}", case.mode)))?;
        let id = IdRegisters {
            mmfr0: header.machine.need("id_aa64mmfr0_el1")?,
            mmfr1: header.machine.need("id_aa64mmfr1_el1")?,
            mmfr2: header.machine.need("id_aa64mmfr2_el1")?,
            mmfr3: 0,
        };
        let config = Config::from_id_registers(&id).map_err(|error| NotBuilt::new(error.to_string()))?;
        let mut registers = Registers::default();
        for (name, register) in REGISTERS {
            registers.set(register, case.ctl.num(name)?.unwrap_or(0));
        }
        let pstate = Pstate { el: ExceptionLevel::El1, pan: false, uao: false };
        let core = Aarch64::with_state(config.with_choices(Choices::qemu()), registers, pstate);
        Ok(Self { mmu: Mmu::new(core, memory, tlb), regime, granule })
    }

    fn memory(&self) -> &SparseMemory {
        self.mmu.memory()
    }

    fn access(&mut self, step: &AccessStep) -> Result<Outcome, NotBuilt> {
        let el = match step.keys.text("priv")? {
            Some("EL0") => ExceptionLevel::El0,
            Some("EL1") => ExceptionLevel::El1,
            Some("EL2") => ExceptionLevel::El2,
            other => return Err(NotBuilt::new(format!("priv {other:?}"))),
        };
        let pan = step.keys.flag("pan")?.unwrap_or(false);
        if self.regime == RegimeKind::El20 && el == ExceptionLevel::El0 {
            // What runs at EL0 under a VHE host does so with TGE set, whether the host's own HCR_EL2 shows it or not.
            let hcr = self.mmu.arch().registers().get(Register::HcrEl2);
            self.control(Control::Write(Register::HcrEl2, hcr | TGE));
        }
        self.control(Control::Pstate(Pstate { el, pan, uao: false }));
        if self.mmu.arch().regime() != self.regime {
            return Err(NotBuilt::new(format!("{el:?} outside the {:?} regime", self.regime)));
        }
        let access =
            Access { va: VirtAddr(step.va), len: step.size, kind: step.kind, flavor: Flavor::Ordinary };
        Ok(perform(&mut self.mmu, &access).unwrap_or_else(|fault| Outcome::Fault(spell(&fault))))
    }

    fn invalidate(&mut self, step: &InvalidateStep) -> Result<Option<FaultMap>, NotBuilt> {
        let unknown = || NotBuilt::new(format!("invalidate {}", step.kind));
        let name = step.kind.strip_prefix("tlbi ").ok_or_else(unknown)?;
        // How far the instruction reaches is nothing to one core.
        let name = name.strip_suffix("os").or(name.strip_suffix("is")).unwrap_or(name);
        let keys = &step.keys;
        let pages = keys.num("pages")?.unwrap_or(1);
        let host = self.regime == RegimeKind::El20;
        let regime = if name.ends_with("e2") && !host { RegimeKind::El2 } else { self.regime };
        // Without an ASID all are meant, which drops more and never less.
        let asid = keys.num("asid")?.map(|asid| Asid(asid as u16));
        let plain = name.strip_prefix('r').unwrap_or(name);
        let granule = if plain == name { Granule::K4 } else { self.granule };
        let address = |asid, last_level| {
            Ok::<_, NotBuilt>(Tlbi::pages(regime, keys.need("va")?, pages, granule, asid, last_level))
        };
        let all = |regime, target| Tlbi { regime, target };
        let fence = match plain {
            "vmalle1" | "vmalls12e1" | "alle2" | "alle3" => all(regime, TlbiTarget::All),
            "alle1" => all(RegimeKind::El10, TlbiTarget::AllVmids),
            "aside1" => all(regime, TlbiTarget::Asid(asid.ok_or_else(unknown)?)),
            "vae1" | "vae2" => address(asid, false)?,
            "vale1" | "vale2" => address(asid, true)?,
            "vaae1" => address(None, false)?,
            "vaale1" => address(None, true)?,
            "ipas2e1" => Tlbi::intermediate(keys.need("ipa")?, pages, granule, false),
            "ipas2le1" => Tlbi::intermediate(keys.need("ipa")?, pages, granule, true),
            _ => return Err(unknown()),
        };
        self.mmu.fence(fence);
        Ok(None)
    }

    fn set(&mut self, ctl: &Keys) -> Result<(), NotBuilt> {
        for (name, register) in REGISTERS {
            if let Some(value) = ctl.num(name)? {
                self.control(Control::Write(register, value));
            }
        }
        Ok(())
    }
}
