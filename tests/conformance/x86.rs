//! x86 cases: control registers by name, `invlpg`, `invpcid` and `mov-cr3`, and the faults #PF, #GP, #SS and NPF.

use softmmu::access::Access;
use softmmu::addr::{GuestAddr, VirtAddr, Vmid};
use softmmu::arch::x86::{
    Config, Control, Cr0, Cr4, Efer, Fault, Fence, Flavor, Guest, Npt, Registers, Second, X86,
};
use softmmu::mmu::{AccessError, Mmu};

use crate::case::{AccessStep, Case, FaultMap, Header, InvalidateStep, Outcome};
use crate::keys::{Keys, NotBuilt};
use crate::machine::{Machine, fault_map, perform};
use crate::sparse::SparseMemory;
use crate::tlb::TestTlb;

pub struct Driver {
    mmu: Mmu<X86, SparseMemory, TestTlb>,
}

/// RFLAGS.AC.
const AC: u64 = 1 << 18;

impl Machine for Driver {
    const LATITUDE: u64 = 0x60;

    fn new(_: &Header, case: &Case, memory: SparseMemory, tlb: TestTlb) -> Result<Self, NotBuilt> {
        let ctl = &case.ctl;
        let config = config(ctl)?;
        let registers = Registers {
            cr0: Cr0::from_bits_retain(ctl.need("cr0")?),
            cr3: ctl.need("cr3")?,
            cr4: Cr4::from_bits_retain(ctl.need("cr4")?),
            efer: Efer::from_bits_retain(ctl.num("efer")?.unwrap_or(0)),
            pkru: ctl.num("pkru")?.unwrap_or(0) as u32,
            pkrs: ctl.num("pkrs")?.unwrap_or(0) as u32,
            pat: ctl.num("pat")?.unwrap_or(Registers::default().pat),
            ac: ctl.num("rflags")?.unwrap_or(2) & AC != 0,
            cpl: 0,
        };
        let guest = npt(ctl, None)?.map(guest);
        let mut driver = Self { mmu: Mmu::new(X86::new(config), memory, tlb) };
        driver.control(Control::Enter { registers, guest, pdptes: None })?;
        driver.check_mode(&case.mode)?;
        Ok(driver)
    }

    fn memory(&self) -> &SparseMemory {
        self.mmu.memory()
    }

    fn access(&mut self, step: &AccessStep) -> Result<Outcome, NotBuilt> {
        let cpl = match step.keys.text("priv")? {
            Some("user") => 3,
            Some("supervisor") => 0,
            other => return Err(NotBuilt::new(format!("priv {other:?}"))),
        };
        if self.mmu.arch().registers().cpl != cpl {
            self.control(Control::Cpl(cpl))?;
        }
        let flavor = if step.keys.flag("stack")? == Some(true) { Flavor::Stack } else { Flavor::Normal };
        let access = Access { va: VirtAddr(step.va), len: step.size, kind: step.kind, flavor };
        Ok(perform(&mut self.mmu, &access).unwrap_or_else(|fault| Outcome::Fault(spelled(fault))))
    }

    fn invalidate(&mut self, step: &InvalidateStep) -> Result<Option<FaultMap>, NotBuilt> {
        match step.kind.as_str() {
            "invlpg" => self.mmu.fence(Fence::Invlpg(VirtAddr(step.keys.need("va")?))),
            "mov-cr3" => return self.try_control(Control::Cr3(step.keys.need("cr3")?)),
            "invpcid" => {
                let (kind, pcid) = (step.keys.need("type")?, step.keys.num("pcid")?.unwrap_or(0));
                let va = step.keys.num("va")?.unwrap_or(0);
                match self.mmu.arch().invpcid(kind, [pcid, va]) {
                    Ok(fence) => self.mmu.fence(fence),
                    Err(fault) => return Ok(Some(spelled(fault))),
                }
            }
            // Host instructions, about which all is forgotten: what changed may be the nested tables.
            "invlpga" | "vmrun" => {
                let _ = (step.keys.num("va")?, step.keys.num("asid")?);
                self.mmu.fence(Fence::TlbControlAll);
            }
            other => return Err(NotBuilt::new(format!("invalidate {other}"))),
        }
        Ok(None)
    }

    fn set(&mut self, ctl: &Keys) -> Result<(), NotBuilt> {
        let arch = *self.mmu.arch();
        let old = match arch.guest() {
            Some(Guest { second: Some(Second::Npt(npt)), .. }) => Some(npt),
            _ => None,
        };
        let guest = npt(ctl, old)?.map(guest).or(arch.guest());
        let mut changes = Vec::new();
        let mut wanted = *arch.registers();
        for (name, write) in WRITES {
            if let Some(value) = ctl.num(name)? {
                changes.push(write(&mut wanted, value));
            }
        }
        let refused =
            changes.into_iter().map(|change| self.try_control(change)).find(|done| *done != Ok(None));
        match refused {
            Some(Err(other)) => return Err(other),
            // Recorders may set what no single instruction does.
            Some(_) => self.enter(wanted, guest, Some(arch.pdptes()))?,
            None if guest != arch.guest() => self.enter(wanted, guest, None)?,
            None => {}
        }
        Ok(())
    }
}

/// Puts a register's value among the others and says how an instruction does it.
type Write = fn(&mut Registers, u64) -> Control;

/// In the order in which they are written.
const WRITES: [(&str, Write); 8] = [
    ("rflags", |to, value| {
        to.ac = value & AC != 0;
        Control::Ac(to.ac)
    }),
    ("pkru", |to, value| {
        to.pkru = value as u32;
        Control::Pkru(to.pkru)
    }),
    ("pkrs", |to, value| {
        to.pkrs = value as u32;
        Control::Pkrs(to.pkrs)
    }),
    ("pat", |to, value| {
        to.pat = value;
        Control::Pat(value)
    }),
    ("efer", |to, value| {
        to.efer = Efer::from_bits_retain(value);
        Control::Efer(value)
    }),
    ("cr0", |to, value| {
        to.cr0 = Cr0::from_bits_retain(value);
        Control::Cr0(value)
    }),
    ("cr4", |to, value| {
        to.cr4 = Cr4::from_bits_retain(value);
        Control::Cr4(value)
    }),
    ("cr3", |to, value| {
        to.cr3 = value & !(1 << 63);
        Control::Cr3(value)
    }),
];

impl Driver {
    /// All of a state at once. Nothing cached survives.
    fn enter(
        &mut self,
        registers: Registers,
        guest: Option<Guest>,
        pdptes: Option<[u64; 4]>,
    ) -> Result<(), NotBuilt> {
        self.control(Control::Enter { registers, guest, pdptes })?;
        self.mmu.fence(Fence::TlbControlAll);
        Ok(())
    }

    /// A control change that no case expects to fault.
    fn control(&mut self, change: Control) -> Result<(), NotBuilt> {
        match self.try_control(change)? {
            None => Ok(()),
            Some(fault) => Err(NotBuilt::new(format!("{change:?} raises {fault:?}"))),
        }
    }

    fn try_control(&mut self, change: Control) -> Result<Option<FaultMap>, NotBuilt> {
        match self.mmu.control(change) {
            Ok(()) => Ok(None),
            Err(AccessError::Fault(fault)) => Ok(Some(spelled(fault))),
            Err(error) => Err(NotBuilt::new(error.to_string())),
        }
    }

    /// Only modes that are known are judged. Which one a case is in, its registers say at any moment.
    fn check_mode(&self, mode: &str) -> Result<(), NotBuilt> {
        let (first, second) = mode.split_once('+').map_or((mode, None), |(first, npt)| (first, Some(npt)));
        let known = matches!(first, "legacy32" | "pae" | "4level" | "5level");
        let nested = self.mmu.arch().guest().is_some();
        match (known, second, nested) {
            (true, None, false) | (true, Some("npt"), true) => Ok(()),
            _ => Err(NotBuilt::new(format!("mode {mode}"))),
        }
    }
}

fn config(ctl: &Keys) -> Result<Config, NotBuilt> {
    let preset = match ctl.text("vendor")? {
        Some("amd") => Config::AMD,
        Some("intel") => Config::INTEL,
        // Nested paging is AMD's.
        None if ctl.value("ncr3").is_some() => Config::AMD,
        None => Config::INTEL,
        Some(other) => return Err(NotBuilt::new(format!("vendor {other}"))),
    };
    let maxphyaddr = ctl.num("maxphyaddr")?.unwrap_or(52) as u8;
    Ok(Config { maxphyaddr, page1gb: ctl.flag("page1gb")?.unwrap_or(true), ..preset })
}

/// The nested paging controls, where the keys name any; those they leave out stay as they are.
fn npt(ctl: &Keys, old: Option<Npt>) -> Result<Option<Npt>, NotBuilt> {
    let (ncr3, ncr4, nefer) = (ctl.num("ncr3")?, ctl.num("ncr4")?, ctl.num("nefer")?);
    if ncr3.or(ncr4).or(nefer).is_none() {
        return Ok(None);
    }
    let missing = || NotBuilt::new("nested paging without all of ncr3, ncr4, nefer");
    Ok(Some(Npt {
        ncr3: ncr3.or(old.map(|old| old.ncr3)).ok_or_else(missing)?,
        cr4: ncr4.map(Cr4::from_bits_retain).or(old.map(|old| old.cr4)).ok_or_else(missing)?,
        efer: nefer.map(Efer::from_bits_retain).or(old.map(|old| old.efer)).ok_or_else(missing)?,
        pat: Registers::default().pat,
    }))
}

/// ASID 0: every entry drops what the last one cached.
fn guest(npt: Npt) -> Guest {
    Guest { vmid: Vmid(0), second: Some(Second::Npt(npt)) }
}

fn spelled(fault: Fault) -> FaultMap {
    match fault {
        Fault::Page { code, cr2 } => {
            fault_map([("vector", 14), ("error_code", code.bits().into()), ("cr2", cr2.0)])
        }
        Fault::GeneralProtection { .. } => fault_map([("vector", 13), ("error_code", 0)]),
        Fault::Stack { .. } => fault_map([("vector", 12), ("error_code", 0)]),
        Fault::NestedPage { info, gpa: GuestAddr(gpa), .. } => {
            fault_map([("npf", 1), ("error_code", info), ("gpa", gpa)])
        }
        Fault::EptViolation { .. } | Fault::EptMisconfiguration { .. } => {
            unreachable!("no case has EPT: {fault}")
        }
    }
}
