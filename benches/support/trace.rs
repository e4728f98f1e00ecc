//! Recorded memory traces: the loader, and a cursor that yields accesses with what must happen before each.
//!
//! The file is little-endian and may be compressed with zstd:
//!
//! ```text
//! magic "SMMUTRC1" | u32 version = 1 | u32 mode bits = 39 | u64 records, satps, events, fences | u64 RAM base, size
//! satp table: { u64 satp, u64 first record }      event: { u64 at, va, pa; u32 satp; u8 level, flags, kind, 0 }
//! fence: { u64 at, va; u16 asid; u8 kind, has; u32 satp }   record: { u64 va; u8 kind, priv, size, flags; u32 satp }
//! ```

use std::io::Read;
use std::path::{Path, PathBuf};

/// What a record does.
pub const FETCH: u8 = 0;
/// See [`FETCH`].
pub const LOAD: u8 = 1;
/// See [`FETCH`].
pub const STORE: u8 = 2;

/// The access page-faulted.
pub const FAULTED: u8 = 1 << 1;
/// sstatus.SUM was set.
pub const SUM: u8 = 1 << 2;
/// sstatus.MXR was set.
pub const MXR: u8 = 1 << 3;
/// No translation applied.
pub const BARE: u8 = 1 << 4;

/// One access.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Record {
    pub va: u64,
    pub kind: u8,
    pub privilege: u8,
    pub size: u8,
    pub flags: u8,
    pub satp: u32,
}

/// A translation that the guest's tables hold from record `at` on.
#[derive(Clone, Copy)]
pub struct Event {
    pub at: u64,
    pub va: u64,
    pub pa: u64,
    pub satp: u32,
    pub level: u8,
    pub flags: u8,
}

/// A fence, or a write of satp, before record `at`.
#[derive(Clone, Copy)]
pub struct Fence {
    pub at: u64,
    pub va: u64,
    pub asid: u16,
    /// 0: satp written; 1: sfence.vma.
    pub kind: u8,
    /// Bit 0: rs1 given; bit 1: rs2 given.
    pub has: u8,
    pub satp: u32,
}

/// A trace in memory.
pub struct Trace {
    pub satps: Vec<u64>,
    pub events: Vec<Event>,
    pub fences: Vec<Fence>,
    pub records: Vec<Record>,
    pub ram_base: u64,
    pub ram_size: u64,
}

/// The trace named by `SOFTMMU_TRACE`, else the one beside the checkout.
pub fn path() -> PathBuf {
    std::env::var_os("SOFTMMU_TRACE").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/traces/xv6-boot.trace.zst"),
        PathBuf::from,
    )
}

/// Loads a trace, compressed or not.
pub fn load(path: &Path) -> Result<Trace, String> {
    let raw = std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let bytes = if raw.starts_with(b"SMMUTRC1") {
        raw
    } else {
        let mut bytes = Vec::new();
        ruzstd::decoding::StreamingDecoder::new(raw.as_slice())
            .map_err(|error| format!("{}: {error}", path.display()))?
            .read_to_end(&mut bytes)
            .map_err(|error| format!("{}: {error}", path.display()))?;
        bytes
    };
    parse(&bytes).ok_or_else(|| format!("{}: not a whole trace of version 1", path.display()))
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*head)
    }
    fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_le_bytes)
    }
    fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_le_bytes)
    }
}

fn parse(bytes: &[u8]) -> Option<Trace> {
    let mut from = Reader(bytes);
    if &from.take::<8>()? != b"SMMUTRC1" || from.u32()? != 1 || from.u32()? != 39 {
        return None;
    }
    let counts = [from.u64()?, from.u64()?, from.u64()?, from.u64()?];
    if counts.iter().any(|count| *count > bytes.len() as u64) {
        return None;
    }
    let [records, satps, events, fences] = counts.map(|count| count as usize);
    let (ram_base, ram_size) = (from.u64()?, from.u64()?);
    let satps =
        (0..satps).map(|_| from.take::<16>().and_then(|pair| Reader(&pair).u64())).collect::<Option<_>>()?;
    let events = (0..events)
        .map(|_| {
            let (at, va, pa, satp) = (from.u64()?, from.u64()?, from.u64()?, from.u32()?);
            let [level, flags, _, _] = from.take()?;
            Some(Event { at, va, pa, satp, level, flags })
        })
        .collect::<Option<_>>()?;
    let fences = (0..fences)
        .map(|_| {
            let (at, va) = (from.u64()?, from.u64()?);
            let [low, high, kind, has] = from.take()?;
            Some(Fence { at, va, asid: u16::from_le_bytes([low, high]), kind, has, satp: from.u32()? })
        })
        .collect::<Option<_>>()?;
    let records = (0..records)
        .map(|_| {
            let va = from.u64()?;
            let [kind, privilege, size, flags] = from.take()?;
            Some(Record { va, kind, privilege, size, flags, satp: from.u32()? })
        })
        .collect::<Option<_>>()?;
    Some(Trace { satps, events, fences, records, ram_base, ram_size })
}
