//! A recorded case, as FORMAT.md describes it: every key of every table, those that no corpus uses yet included.

use std::cell::Cell;

use serde_json::Value;
use softmmu::access::AccessKind;
use std::collections::BTreeMap;

use crate::keys::{Keys, NotBuilt, Refusal, number};

/// The first line of a corpus.
pub struct Header {
    pub arch: String,
    pub cases: u64,
    /// What the recorded machine implements (`id_aa64mmfr0_el1` ...).
    pub machine: Keys,
}

/// One case: a machine, a memory and what happens.
pub struct Case {
    pub id: String,
    pub mode: String,
    /// Control registers before the first step.
    pub ctl: Keys,
    ext: Option<Vec<String>>,
    ext_taken: Cell<bool>,
    /// `[base, size]` of RAM.
    pub ram: (u64, u64),
    /// RAM's content: words at 8-aligned addresses.
    pub mem: Vec<(u64, u64)>,
    pub steps: Vec<Step>,
    /// Words that the walks changed, with their final value.
    pub after: BTreeMap<u64, u64>,
    /// Places of entries whose accessed (or dirty) bit the manuals leave open.
    pub latitude: Vec<u64>,
}

pub enum Step {
    Access(AccessStep),
    Poke { pa: u64, value: u64 },
    Invalidate(InvalidateStep),
    Set(Keys),
}

/// One access. `keys` holds what is the architecture's own: `priv`, `pan`, `insn`, `from`, `stack`.
pub struct AccessStep {
    pub kind: AccessKind,
    pub va: u64,
    pub size: u32,
    pub keys: Keys,
    pub expected: Outcome,
}

/// One invalidation. `keys` holds the operands.
pub struct InvalidateStep {
    pub kind: String,
    pub keys: Keys,
    pub expected: Option<FaultMap>,
}

/// A fault's parts by name; flags are 0 and 1.
pub type FaultMap = BTreeMap<String, u64>;

/// How an access ended.
#[derive(Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It reached RAM there, and its second part (where it crosses a page) there.
    Pa(u64, Option<u64>),
    /// It was allowed, and reached nothing at that physical address.
    Bus(u64),
    /// It faulted.
    Fault(FaultMap),
}

impl std::fmt::Debug for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Pa(pa, None) => write!(f, "pa {pa:#x}"),
            Self::Pa(pa, Some(second)) => write!(f, "pa {pa:#x}, pa2 {second:#x}"),
            Self::Bus(pa) => write!(f, "nothing at pa {pa:#x}"),
            Self::Fault(fault) => write!(f, "fault {}", show_fault(fault)),
        }
    }
}

pub fn show_fault(fault: &FaultMap) -> String {
    let parts: Vec<String> = fault.iter().map(|(name, value)| format!("{name}={value:#x}")).collect();
    format!("{{{}}}", parts.join(" "))
}

const HEADER: &[&str] = &["corpus", "oracle", "oracle_version", "arch", "seed", "cases"];
const CASE: &[&str] = &["id", "arch", "mode", "ctl", "ram", "mem", "steps", "after", "a_latitude", "ext"];

/// The keys that are one architecture's own.
struct Dialect {
    header: &'static [&'static str],
    ctl: &'static [&'static str],
    access: &'static [&'static str],
    invalidate: &'static [&'static str],
    fault: &'static [&'static str],
}

const X86: Dialect = Dialect {
    header: &[],
    ctl: &[
        "cr0",
        "cr3",
        "cr4",
        "efer",
        "pkru",
        "rflags",
        "maxphyaddr",
        "vendor",
        "page1gb",
        "pkrs",
        "pat",
        "ncr3",
        "ncr4",
        "nefer",
    ],
    access: &["priv", "stack", "bus", "bus_pa"],
    invalidate: &["va", "cr3", "pcid", "type", "asid", "fault"],
    fault: &["vector", "error_code", "cr2", "npf", "gpa"],
};

const RISCV: Dialect = Dialect {
    header: &[],
    ctl: &[
        "satp", "mstatus", "menvcfg", "vsatp", "hgatp", "hstatus", "henvcfg", "vsstatus", "pmp", "mseccfg",
        "senvcfg",
    ],
    access: &["priv", "insn", "from"],
    invalidate: &["va", "asid", "vmid", "gpa", "priv"],
    fault: &["cause", "tval", "tval2", "gva", "tinst"],
};

const AARCH64: Dialect = Dialect {
    header: &["id_aa64mmfr0_el1", "id_aa64mmfr1_el1", "id_aa64mmfr2_el1"],
    ctl: &[
        "sctlr_el1",
        "tcr_el1",
        "ttbr0_el1",
        "ttbr1_el1",
        "mair_el1",
        "vtcr_el2",
        "vttbr_el2",
        "hcr_el2",
        "ttbr0_el2",
        "ttbr1_el2",
        "tcr_el2",
        "sctlr_el2",
        "mair_el2",
    ],
    access: &["priv", "pan"],
    invalidate: &["va", "asid", "ipa", "vmid", "pages"],
    fault: &["fsc", "stage", "s1ptw", "far", "hpfar"],
};

fn dialect(arch: &str) -> Result<&'static Dialect, Refusal> {
    match arch {
        "x86" => Ok(&X86),
        "riscv" => Ok(&RISCV),
        "aarch64" => Ok(&AARCH64),
        other => Err(NotBuilt::new(format!("arch {other}")).into()),
    }
}

fn malformed(what: impl Into<String>) -> Refusal {
    Refusal::Malformed(what.into())
}

fn json(line: &str) -> Result<Value, Refusal> {
    serde_json::from_str(line).map_err(|error| malformed(format!("not JSON: {error}")))
}

/// A key that must be there, of the right type.
fn need<T>(keys: &Keys, key: &str, read: impl Fn(&Value) -> Option<T>) -> Result<T, Refusal> {
    let value = keys.value(key).ok_or_else(|| malformed(format!("no {key}")))?;
    read(value).ok_or_else(|| malformed(format!("{key} = {value}")))
}

fn string(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

impl Header {
    pub fn parse(line: &str) -> Result<Self, Refusal> {
        let value = json(line)?;
        let arch =
            value.get("arch").and_then(Value::as_str).ok_or_else(|| malformed("a header without arch"))?;
        let dialect = dialect(arch)?;
        let keys = Keys::new("header", value, &[HEADER, dialect.header])?;
        let header = Self {
            arch: need(&keys, "arch", string)?,
            cases: need(&keys, "cases", Value::as_u64)?,
            machine: Keys::default(),
        };
        // Where a corpus comes from is for people; its name is its file's.
        for note in ["corpus", "oracle", "oracle_version", "seed"] {
            keys.value(note);
        }
        Ok(Self { machine: keys, ..header })
    }
}

impl Case {
    pub fn parse(header: &Header, line: &str) -> Result<Self, Refusal> {
        let dialect = dialect(&header.arch)?;
        let keys = Keys::new("case", json(line)?, &[CASE])?;
        let id = need(&keys, "id", string)?;
        let place = |refusal| match refusal {
            Refusal::Malformed(what) => malformed(format!("{id}: {what}")),
            other => other,
        };
        Self::fields(header, dialect, &keys, &id).map_err(place)
    }

    /// The extensions that the case names (`ext`), where it does; a driver has to know each of them.
    pub fn ext(&self) -> Option<&[String]> {
        self.ext_taken.set(true);
        self.ext.as_deref()
    }

    /// Errs if the case names extensions and no driver has looked.
    pub fn ext_taken(&self) -> Result<(), NotBuilt> {
        if self.ext.is_some() && !self.ext_taken.get() {
            Err(NotBuilt::new("key ext (case)"))
        } else {
            Ok(())
        }
    }

    fn fields(header: &Header, dialect: &Dialect, keys: &Keys, id: &str) -> Result<Self, Refusal> {
        let arch = need(keys, "arch", string)?;
        if arch != header.arch {
            return Err(malformed(format!("arch {arch} in a corpus of {}", header.arch)));
        }
        let ram = need(keys, "ram", |value| match value.as_array()?.as_slice() {
            [base, size] => Some((number(base)?, number(size)?)),
            _ => None,
        })?;
        let ctl = need(keys, "ctl", |value| Some(value.clone()))?;
        let steps = need(keys, "steps", |value| Some(value.as_array()?.clone()))?;
        let case = Self {
            id: id.to_owned(),
            mode: need(keys, "mode", string)?,
            ctl: Keys::new("ctl", ctl, &[dialect.ctl])?,
            ext: match keys.value("ext") {
                None => None,
                Some(_) => Some(need(keys, "ext", |value| value.as_array()?.iter().map(string).collect())?),
            },
            ext_taken: Cell::new(false),
            ram,
            mem: need(keys, "mem", words)?.into_iter().collect(),
            steps: steps.into_iter().map(|step| Step::parse(dialect, step)).collect::<Result<_, _>>()?,
            after: need(keys, "after", words)?,
            latitude: match keys.value("a_latitude") {
                None => Vec::new(),
                Some(_) => need(keys, "a_latitude", |value| value.as_array()?.iter().map(number).collect())?,
            },
        };
        if let Some((pa, _)) = case.mem.iter().find(|(pa, _)| pa % 8 != 0) {
            return Err(malformed(format!("mem word at {pa:#x} is not aligned")));
        }
        Ok(case)
    }
}

fn words(value: &Value) -> Option<BTreeMap<u64, u64>> {
    let address = |text: &str| u64::from_str_radix(text.strip_prefix("0x")?, 16).ok();
    value.as_object()?.iter().map(|(pa, word)| Some((address(pa)?, number(word)?))).collect()
}

impl Step {
    fn parse(dialect: &Dialect, value: Value) -> Result<Self, Refusal> {
        let op =
            value.get("op").and_then(Value::as_str).ok_or_else(|| malformed("a step without op"))?.to_owned();
        let kind = match op.as_str() {
            "read" => AccessKind::Read,
            "write" => AccessKind::Write,
            "execute" => AccessKind::Execute,
            "poke" => {
                let keys = Keys::new("poke", value, &[&["op", "pa", "value"]])?;
                return Ok(Self::Poke {
                    pa: need(&keys, "pa", number)?,
                    value: need(&keys, "value", number)?,
                });
            }
            "invalidate" => return InvalidateStep::parse(dialect, value).map(Self::Invalidate),
            "set" => {
                let keys = Keys::new("set", value, &[&["op", "ctl"]])?;
                let ctl = need(&keys, "ctl", |value| Some(value.clone()))?;
                return Ok(Self::Set(Keys::new("set ctl", ctl, &[dialect.ctl])?));
            }
            _ => return Err(NotBuilt::new(format!("op {op}")).into()),
        };
        let known = ["op", "va", "size", "pa", "pa2", "fault"];
        let keys = Keys::new("access", value, &[&known, dialect.access])?;
        keys.value("op");
        let size = keys.num("size")?.unwrap_or(8);
        if !matches!(size, 1 | 2 | 4 | 8) {
            return Err(malformed(format!("size {size}")));
        }
        let expected = Outcome::parse(dialect, &keys)?;
        Ok(Self::Access(AccessStep {
            kind,
            va: need(&keys, "va", number)?,
            size: size as u32,
            keys,
            expected,
        }))
    }
}

impl InvalidateStep {
    fn parse(dialect: &Dialect, value: Value) -> Result<Self, Refusal> {
        let keys = Keys::new("invalidate", value, &[&["op", "kind"], dialect.invalidate])?;
        keys.value("op");
        let expected = match keys.value("fault") {
            Some(fault) => Some(fault_map(dialect, fault)?),
            None => None,
        };
        Ok(Self { kind: need(&keys, "kind", string)?, keys, expected })
    }
}

impl Outcome {
    /// The outcome of an access at `va`, told in one way only: a second part that just goes on from the first (in the
    /// next small page of one large page, say) is not named.
    pub fn told(&self, va: u64) -> Self {
        match self {
            Self::Pa(pa, Some(second)) if *second == pa.wrapping_add(0x1000 - (va & 0xfff)) => {
                Self::Pa(*pa, None)
            }
            other => other.clone(),
        }
    }

    fn parse(dialect: &Dialect, keys: &Keys) -> Result<Self, Refusal> {
        let bus = keys.flag("bus")?.unwrap_or(false);
        let second = keys.num("pa2")?;
        match (keys.num("pa")?, keys.num("bus_pa")?, keys.value("fault")) {
            (Some(pa), None, None) if !bus => Ok(Self::Pa(pa, second)),
            (None, Some(pa), None) if bus && second.is_none() => Ok(Self::Bus(pa)),
            (None, None, Some(fault)) if !bus && second.is_none() => {
                fault_map(dialect, fault).map(Self::Fault)
            }
            _ => Err(malformed("an access without exactly one of pa, bus_pa and fault")),
        }
    }
}

fn fault_map(dialect: &Dialect, value: &Value) -> Result<FaultMap, Refusal> {
    let map = value.as_object().ok_or_else(|| malformed(format!("fault = {value}")))?;
    map.iter()
        .map(|(key, value)| {
            if !dialect.fault.contains(&key.as_str()) {
                return Err(NotBuilt::new(format!("key {key} (fault)")).into());
            }
            let part = value.as_bool().map(u64::from).or_else(|| number(value));
            Ok((key.clone(), part.ok_or_else(|| malformed(format!("fault {key} = {value}")))?))
        })
        .collect()
}
