//! RISC-V cases: a hart of Spike's configuration, its CSRs as recorded.

use softmmu::access::{Access, AccessKind};
use softmmu::addr::VirtAddr;
use softmmu::arch::riscv::{Config, Control, Extensions, Fault, Fence, Flavor, Privilege, Riscv};
use softmmu::mmu::Mmu;

use crate::case::{AccessStep, Case, FaultMap, Header, InvalidateStep, Outcome, Step};
use crate::keys::{Keys, NotBuilt, number};
use crate::machine::{Machine, fault_map, perform};
use crate::sparse::SparseMemory;
use crate::tlb::TestTlb;

pub struct Driver {
    mmu: Mmu<Riscv, SparseMemory, TestTlb>,
    /// Whether faults carry what the hypervisor extension adds to them.
    hypervisor: bool,
    /// As last set: `hstatus.SPVP` follows each HLV and HSV.
    hstatus: u64,
}

const SPVP: u64 = 1 << 8;
/// NAPOT over everything, open to all.
const OPEN: (u8, u64) = (0x1f, u64::MAX >> 10);

impl Machine for Driver {
    const LATITUDE: u64 = 0xc0;

    fn new(_header: &Header, case: &Case, memory: SparseMemory, tlb: TestTlb) -> Result<Self, NotBuilt> {
        let mut config = if case.mode.contains("sv32") { Config::rv32() } else { Config::rv64() };
        if let Some(ext) = case.ext() {
            extensions(&mut config, ext)?;
        }
        let protected = case.ctl.value("pmp").is_some()
            || case.steps.iter().any(|step| matches!(step, Step::Set(ctl) if ctl.value("pmp").is_some()));
        if protected {
            config.pmp_entries = 64;
        }
        let hypervisor = case.mode.contains('+') || case.ctl.value("hstatus").is_some();
        let mut driver = Self { mmu: Mmu::new(Riscv::new(config), memory, tlb), hypervisor, hstatus: 0 };
        driver.control(Control::PmpLoad { index: 0, cfg: OPEN.0, addr: OPEN.1 });
        driver.set(&case.ctl)?;
        Ok(driver)
    }

    fn memory(&self) -> &SparseMemory {
        self.mmu.memory()
    }

    fn access(&mut self, step: &AccessStep) -> Result<Outcome, NotBuilt> {
        let insn = step.keys.text("insn")?.unwrap_or("");
        let (kind, flavor) = match (step.kind, insn) {
            (kind, "") => (kind, Flavor::Normal),
            (AccessKind::Read, "lr") | (AccessKind::Write, "sc") => (step.kind, Flavor::LrSc),
            (_, "amo") => (AccessKind::ReadWrite, Flavor::Normal),
            (AccessKind::Read, "hlv") | (AccessKind::Write, "hsv") => (step.kind, Flavor::Hlv),
            (AccessKind::Read, "hlvx") => (step.kind, Flavor::Hlvx),
            (AccessKind::Write, "sspush") => (step.kind, Flavor::ShadowStack),
            (AccessKind::Read, "sspopchk") => (step.kind, Flavor::ShadowStack),
            (_, "ssamoswap") => (AccessKind::ReadWrite, Flavor::ShadowStack),
            (kind, other) => return Err(NotBuilt::new(format!("insn {other} as {kind:?}"))),
        };
        let (privilege, virt) = mode(step.keys.text("priv")?.unwrap_or("S"))?;
        let from = step.keys.text("from")?;
        if matches!(flavor, Flavor::Hlv | Flavor::Hlvx) {
            // `priv` is what the access is made as; the instruction runs in HS, or where `from` says.
            let spvp = if privilege == Privilege::Supervisor { SPVP } else { 0 };
            self.control(Control::Hstatus(self.hstatus & !SPVP | spvp));
            let (privilege, virt) = mode(from.unwrap_or("S"))?;
            self.control(Control::Mode { privilege, virt });
        } else {
            if from.is_some() {
                return Err(NotBuilt::new("from without hlv, hlvx or hsv"));
            }
            self.control(Control::Mode { privilege, virt });
        }
        let access = Access { va: VirtAddr(step.va), len: step.size, kind, flavor };
        Ok(perform(&mut self.mmu, &access).unwrap_or_else(|fault| Outcome::Fault(self.fault(fault))))
    }

    fn invalidate(&mut self, step: &InvalidateStep) -> Result<Option<FaultMap>, NotBuilt> {
        let (privilege, virt) = mode(step.keys.text("priv")?.unwrap_or("S"))?;
        self.control(Control::Mode { privilege, virt });
        let id = |key| Ok(step.keys.num(key)?.map(|id| id as u16));
        let fence = match step.kind.as_str() {
            "sfence.vma" | "sinval.vma" => Fence::SfenceVma { va: step.keys.num("va")?, asid: id("asid")? },
            "hfence.vvma" | "hinval.vvma" => {
                Fence::HfenceVvma { va: step.keys.num("va")?, asid: id("asid")? }
            }
            "hfence.gvma" | "hinval.gvma" => {
                Fence::HfenceGvma { gpa: step.keys.num("gpa")?, vmid: id("vmid")? }
            }
            "sfence.w.inval" | "sfence.inval.ir" => return Ok(None),
            other => return Err(NotBuilt::new(format!("invalidate {other}"))),
        };
        self.mmu.fence(fence);
        Ok(None)
    }

    fn set(&mut self, ctl: &Keys) -> Result<(), NotBuilt> {
        type Make = fn(u64) -> Control;
        const CSRS: [(&str, Make); 9] = [
            ("mstatus", Control::Mstatus),
            ("menvcfg", Control::Menvcfg),
            ("senvcfg", Control::Senvcfg),
            ("mseccfg", Control::Mseccfg),
            ("henvcfg", Control::Henvcfg),
            ("vsstatus", Control::Vsstatus),
            ("hgatp", Control::Hgatp),
            ("satp", Control::Satp),
            ("vsatp", Control::Vsatp),
        ];
        for (name, make) in CSRS {
            if let Some(value) = ctl.num(name)? {
                self.control(make(value));
            }
        }
        if let Some(value) = ctl.num("hstatus")? {
            self.hstatus = value;
            self.control(Control::Hstatus(value));
        }
        if let Some(list) = ctl.value("pmp") {
            let entries = list.as_array().and_then(|list| {
                let pair = |entry: &serde_json::Value| Some((number(entry.get(0)?)?, number(entry.get(1)?)?));
                list.iter().map(pair).collect::<Option<Vec<_>>>()
            });
            let entries = entries.ok_or_else(|| NotBuilt::new(format!("pmp = {list}")))?;
            for index in 0..64 {
                let (cfg, addr) = entries.get(usize::from(index)).copied().unwrap_or((0, 0));
                self.control(Control::PmpLoad { index, cfg: cfg as u8, addr });
            }
        }
        Ok(())
    }
}

impl Driver {
    fn control(&mut self, change: Control) {
        self.mmu.control(change).expect("no RISC-V register write faults here");
    }

    fn fault(&self, fault: Fault) -> FaultMap {
        let mut map = fault_map([("cause", fault.code()), ("tval", fault.tval)]);
        if self.hypervisor {
            map.extend(fault_map([("tval2", fault.tval2), ("gva", u64::from(fault.gva))]));
        }
        if fault.tinst != 0 {
            map.extend(fault_map([("tinst", u64::from(fault.tinst))]));
        }
        map
    }
}

/// A step's `priv`.
fn mode(name: &str) -> Result<(Privilege, bool), NotBuilt> {
    Ok(match name {
        "M" => (Privilege::Machine, false),
        "S" => (Privilege::Supervisor, false),
        "U" => (Privilege::User, false),
        "VS" => (Privilege::Supervisor, true),
        "VU" => (Privilege::User, true),
        other => return Err(NotBuilt::new(format!("priv {other}"))),
    })
}

/// A case's `ext`. A list that names Svadu or Svpbmt is the whole of what the machine has of the translation
/// extensions; any other says what is there besides the usual (`name`), or is not (`no-name`).
fn extensions(config: &mut Config, list: &[String]) -> Result<(), NotBuilt> {
    let known = |name: &str| {
        Some(match name {
            "svadu" => Extensions::SVADU,
            "svnapot" => Extensions::SVNAPOT,
            "svpbmt" => Extensions::SVPBMT,
            "svrsw60t59b" => Extensions::SVRSW60T59B,
            "zicfiss" => Extensions::ZICFISS,
            "ssnpm" => Extensions::SSNPM,
            "smnpm" => Extensions::SMNPM,
            "smmpm" => Extensions::SMMPM,
            "smepmp" => Extensions::SMEPMP,
            "h" => Extensions::H,
            // Nothing that an access shows.
            "svinval" | "svade" | "zicfilp" | "zimop" | "zcmop" | "zicbom" => Extensions::empty(),
            _ => return None,
        })
    };
    if list.iter().any(|name| name == "svadu" || name == "svpbmt") {
        config.extensions -= Extensions::SVADU | Extensions::SVNAPOT | Extensions::SVPBMT;
    }
    for name in list {
        let (absent, base) = match ["no-", "!", "-"].iter().find_map(|no| name.strip_prefix(no)) {
            Some(base) => (true, base),
            None => (false, name.as_str()),
        };
        let extension = known(base).ok_or_else(|| NotBuilt::new(format!("ext {name}")))?;
        config.extensions.set(extension, !absent);
    }
    Ok(())
}
