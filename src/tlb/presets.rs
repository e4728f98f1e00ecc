//! Real machines' TLBs, as far as their makers have published them.
//!
//! Numbers of entries, ways and page sizes are from the documents named at each; a 1 GiB page in an array that holds
//! none is kept in pieces, as those machines do. Replacement policies are hardly ever published: where nothing is
//! said, fully associative arrays have tree PLRU if their size allows and others true LRU, and that is a guess. So
//! are the sizes of Intel's paging-structure caches.

use super::config::{ArrayConfig, Costs, LevelConfig, Shape, Sides, TlbConfig, WalkCacheConfig};
use super::policy::PolicyKind;
use crate::radix::Stage;
use alloc::vec;

/// A preset's name and maker.
pub type Preset = (&'static str, fn() -> TlbConfig);

/// All of them.
pub const ALL: &[Preset] = &[
    ("cortex-a53", cortex_a53),
    ("cortex-a72", cortex_a72),
    ("rocket", rocket),
    ("u54", u54),
    ("u74", u74),
    ("skylake", skylake),
    ("zen2", zen2),
];

/// The preset of this name.
#[must_use]
pub fn by_name(name: &str) -> Option<TlbConfig> {
    ALL.iter().find(|(known, _)| *known == name).map(|(_, make)| make())
}

const fn plru(entries: usize) -> Shape {
    Shape::full(entries).policy(PolicyKind::TreePlru)
}

const fn tables(min_level: u32, max_level: u32, shape: Shape) -> WalkCacheConfig {
    WalkCacheConfig { stage: Stage::First, min_level, max_level, shape }
}

/// Arm Cortex-A53: 10-entry micro TLBs, a unified main TLB of 512 entries in 4 ways that keeps 1 GiB blocks in pieces
/// of 512 MiB, a 4-way 64-entry walk cache of last-level tables, and a 4-way 64-entry IPA cache (Cortex-A53 MPCore
/// Processor TRM, DDI 0500, 5.1 and 5.2).
#[must_use]
pub fn cortex_a53() -> TlbConfig {
    let micro = Shape::full(10).policy(PolicyKind::Fifo);
    TlbConfig {
        walk_caches: vec![tables(0, 0, Shape::new(16, 4))],
        nested: Some(Shape::new(16, 4)),
        ..TlbConfig::new([
            LevelConfig::new([
                ArrayConfig::new(Sides::Instruction, micro),
                ArrayConfig::new(Sides::Data, micro),
            ]),
            LevelConfig::new([ArrayConfig::new(Sides::Both, Shape::new(128, 4)).pages(0, 29)]),
        ])
    }
}

/// Arm Cortex-A72: 48 instruction and 32 data entries, fully associative, for pages up to 1 MiB; a unified second
/// level of 1024 entries in 4 ways for all sizes (Cortex-A72 MPCore Processor TRM, 100095, 5.2).
#[must_use]
pub fn cortex_a72() -> TlbConfig {
    TlbConfig::new([
        LevelConfig::new([
            ArrayConfig::new(Sides::Instruction, plru(48)).pages(0, 20),
            ArrayConfig::new(Sides::Data, plru(32)).pages(0, 20),
        ]),
        LevelConfig::new([ArrayConfig::new(Sides::Both, Shape::new(256, 4))]),
    ])
}

/// The Rocket core as its generator configures it by default: 32 entries a side, no second level, and 8 non-leaf
/// entries cached in the walker (`nTLBWays`, `nPTECacheEntries` in chipsalliance/rocket-chip).
#[must_use]
pub fn rocket() -> TlbConfig {
    TlbConfig { walk_caches: vec![tables(0, 3, plru(8))], ..split(plru(32), plru(32)) }
}

/// SiFive U54, the application cores of PolarFire SoC: 32 entries a side, fully associative (Microchip, PolarFire SoC
/// MSS technical reference manual, MMU).
#[must_use]
pub fn u54() -> TlbConfig {
    split(plru(32), plru(32))
}

/// SiFive U74: 40 entries a side, fully associative, and a direct-mapped second level of 512 (U74 Core Complex
/// Manual 21G1, memory management unit).
#[must_use]
pub fn u74() -> TlbConfig {
    let mut config = split(plru(40), plru(40));
    config.levels.push(LevelConfig::new([ArrayConfig::new(Sides::Both, Shape::new(512, 1))]));
    config
}

/// Intel Skylake: first-level arrays by page size, and a unified second level (Intel 64 and IA-32 Architectures
/// Optimization Reference Manual, 248966, "TLB Parameters of the Skylake Client Microarchitecture"). That tables of
/// each level are cached apart is from the Software Developer's Manual, Vol. 3A, 4.10.3, which gives no sizes.
#[must_use]
pub fn skylake() -> TlbConfig {
    let tree = |sets, ways| Shape::new(sets, ways).policy(PolicyKind::TreePlru);
    TlbConfig {
        walk_caches: vec![
            tables(0, 0, Shape::new(8, 4)),
            tables(1, 1, Shape::full(4)),
            tables(2, 2, Shape::full(2)),
        ],
        costs: Costs { levels: vec![1, 7], ..Costs::default() },
        ..TlbConfig::new([
            LevelConfig::new([
                ArrayConfig::new(Sides::Instruction, tree(16, 8)).pages(0, 20),
                ArrayConfig::new(Sides::Instruction, plru(8)).pages(21, 21),
                ArrayConfig::new(Sides::Data, tree(16, 4)).pages(0, 20),
                ArrayConfig::new(Sides::Data, tree(8, 4)).pages(21, 29),
                ArrayConfig::new(Sides::Data, plru(4)).pages(30, 63),
            ]),
            LevelConfig::new([
                ArrayConfig::new(Sides::Both, tree(128, 12)).pages(0, 21),
                ArrayConfig::new(Sides::Both, tree(4, 4)).pages(30, 63),
            ]),
        ])
    }
}

/// AMD Zen 2: 64 entries a side for all sizes, fully associative; second levels of 512 (8 ways) and 2048 (16 ways)
/// entries that keep 1 GiB pages in pieces of 2 MiB; a page directory cache of 64 entries above the last two levels
/// (Software Optimization Guide for AMD Family 17h Models 30h and Greater Processors, 56305, 2.7).
#[must_use]
pub fn zen2() -> TlbConfig {
    TlbConfig {
        walk_caches: vec![tables(1, 2, plru(64))],
        ..TlbConfig::new([
            LevelConfig::new([
                ArrayConfig::new(Sides::Instruction, plru(64)),
                ArrayConfig::new(Sides::Data, plru(64)),
            ]),
            LevelConfig::new([
                ArrayConfig::new(Sides::Instruction, Shape::new(64, 8)).pages(0, 21),
                ArrayConfig::new(Sides::Data, Shape::new(128, 16)).pages(0, 21),
            ]),
        ])
    }
}

fn split(instruction: Shape, data: Shape) -> TlbConfig {
    TlbConfig::new([LevelConfig::new([
        ArrayConfig::new(Sides::Instruction, instruction),
        ArrayConfig::new(Sides::Data, data),
    ])])
}
