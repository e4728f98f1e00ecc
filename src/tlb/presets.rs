//! Real machines' TLBs, as far as they are known.
//!
//! Numbers of entries, ways and page sizes are from the documents named at each, and what none of them says is called
//! a guess there; a page in an array that holds none so large is kept in pieces, as those machines do. Replacement
//! policies are hardly ever published: but for Rocket, all of them are guesses, tree PLRU for fully associative arrays
//! if their size allows and true LRU for others.

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

/// Arm Cortex-A53: fully associative micro TLBs of 10 entries, a unified main TLB of 512 entries in 4 ways that keeps
/// 1 GiB blocks in pieces of 512 MiB, a 4-way 64-entry walk cache, and a 4-way 64-entry IPA cache (Cortex-A53 MPCore
/// Processor TRM, DDI 0500, 5.1 and 5.2.2). That the walk cache holds last-level tables is how the TRM of the
/// Cortex-A35 (100236, A6.2), which has the same parts, describes its own.
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

/// Arm Cortex-A72: 48 instruction and 32 data entries, fully associative, for pages of 4 KiB, 64 KiB and 1 MiB; a
/// unified second level of 1024 entries in 4 ways for all sizes (Cortex-A72 MPCore Processor TRM, 100095, 5.2).
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

/// The Rocket core as its generator configures it by default: on each side 32 base pages and 4 superpages, fully
/// associative, both with tree PLRU; no second level; 8 non-leaf entries cached in the walker (`nTLBWays`,
/// `nTLBBasePageSectors`, `nTLBSuperpages` of `ICacheParams` and `DCacheParams`, `nPTECacheEntries` and
/// `nL2TLBEntries` of `RocketCoreParams` in chipsalliance/rocket-chip). The base pages stand in 8 sectors of 4
/// neighbours each under one tag; here each stands by itself.
#[must_use]
pub fn rocket() -> TlbConfig {
    let side = |sides| {
        [ArrayConfig::new(sides, plru(32)).pages(0, 12), ArrayConfig::new(sides, plru(4)).pages(13, 63)]
    };
    TlbConfig {
        walk_caches: vec![tables(0, 3, plru(8))],
        ..TlbConfig::new([LevelConfig::new([side(Sides::Instruction), side(Sides::Data)].concat())])
    }
}

/// SiFive U54, the application cores of PolarFire SoC: 32 entries a side, fully associative (Microchip, PolarFire SoC
/// MSS technical reference manual, "MMU").
#[must_use]
pub fn u54() -> TlbConfig {
    split(plru(32), plru(32))
}

/// SiFive U74: 40 entries a side, fully associative (`i-tlb-size` and `d-tlb-size` in one set, in Linux's device trees
/// of the FU740 and JH7110). The direct-mapped second level of 512 is a guess: it is what Rocket's generator makes of
/// that size.
#[must_use]
pub fn u74() -> TlbConfig {
    let mut config = split(plru(40), plru(40));
    config.levels.push(LevelConfig::new([ArrayConfig::new(Sides::Both, Shape::new(512, 1))]));
    config
}

/// Intel Skylake: first-level arrays by page size, and a unified second level (Intel 64 and IA-32 Architectures
/// Optimization Reference Manual, 248966, Table 2-15 of revision 045, "TLB Parameters of the Skylake Client
/// Microarchitecture"). One thread runs, so that it has all of what hyper-threads share. That tables of each level are
/// cached apart is from the Software Developer's Manual, Vol. 3A, 4.10.3, which gives no sizes: those here are
/// guesses, as is the shape of the second level's 16 entries for 1 GiB pages.
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

/// AMD Zen 2: 64 entries a side for all sizes, fully associative; second levels of 512 (8 ways) and 2048 entries that
/// keep 1 GiB pages in pieces of 2 MiB (as 7-cpu.com and WikiChip list them after AMD's Software Optimization Guide,
/// 56305); a page directory cache of 64 entries for what the two upper levels point at (as Chips and Cheese describes
/// it for all Zen cores). The 16 ways of the larger second level are a guess: the guide's 12, as WikiChip quotes it, do
/// not divide 2048. That it caches pointers to last-level tables too is left out.
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
