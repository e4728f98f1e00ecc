//! Editing page tables, judged by a map of what should be mapped: every table, every format, the same operations.
//!
//! Each case keeps a `BTreeMap` beside a table in guest memory and applies the same random edits to both. Errors must
//! be the model's errors, a failed edit must leave every byte of every table and every frame as it was, the walk of an
//! `Mmu` must find what was mapped, and when all is unmapped only the root's frame may be out.

#[path = "editing/drops.rs"]
mod drops;
#[path = "editing/edges.rs"]
mod edges;
#[path = "editing/formats.rs"]
mod formats;
#[path = "editing/model.rs"]
mod model;
#[path = "editing/moments.rs"]
mod moments;
#[path = "editing/pool.rs"]
mod pool;
#[path = "editing/splits.rs"]
mod splits;
#[path = "editing/threads.rs"]
mod threads;

use model::{Machine, run};
use proptest::prelude::*;
use softmmu::addr::PhysAddr;
use softmmu::arch::aarch64::Granule;
use softmmu::memory::Ram;
use softmmu::radix::Encode;
use softmmu::table::{EditError, HashedTable, InvertedTable, RadixTable};

use pool::Pool;

macro_rules! editing {
    ($($test:ident: $made:expr, $table:expr;)*) => {$(
        proptest! {
            #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]
            #[test]
            fn $test(steps in model::steps()) {
                let (format, machine) = $made;
                run(&machine, &steps, |ram, pool| $table(format, ram, pool));
            }
        }
    )*};
}

/// Few chains, so that they grow long.
fn hashed<F: Encode>(format: F, ram: &Ram, pool: &mut Pool) -> Result<HashedTable<F>, EditError> {
    HashedTable::new(format, 2, ram, pool)
}

/// An entry for each page that the edits may map.
fn inverted<F: Encode>(format: F, ram: &Ram, pool: &mut Pool) -> Result<InvertedTable<F>, EditError> {
    let count = (4 << 20) >> format.shift(0).max(12);
    InvertedTable::new(format, (PhysAddr(0), count), ram, pool)
}

editing! {
    custom_two_level_32: formats::two_level_32(), RadixTable::new;
    custom_toy16: formats::toy16(), RadixTable::new;
    custom_tiny: formats::tiny(), RadixTable::new;
    custom_any_right: formats::any_right(), RadixTable::new;
    riscv_sv32: formats::sv32(), RadixTable::new;
    riscv_sv39: formats::sv39(), RadixTable::new;
    riscv_sv48: formats::sv48(), RadixTable::new;
    riscv_sv57: formats::sv57(), RadixTable::new;
    x86_4level: formats::long_mode(false), RadixTable::new;
    x86_5level: formats::long_mode(true), RadixTable::new;
    x86_pae: formats::pae(), RadixTable::new;
    x86_legacy32: formats::legacy32(), RadixTable::new;
    aarch64_4k: formats::vmsa(Granule::K4, false), RadixTable::new;
    aarch64_16k: formats::vmsa(Granule::K16, true), RadixTable::new;
    aarch64_64k: formats::vmsa(Granule::K64, true), RadixTable::new;
    hashed_two_level_32: smallest(formats::two_level_32()), hashed;
    hashed_sv39: smallest(formats::sv39()), hashed;
    hashed_4level: smallest(formats::long_mode(false)), hashed;
    hashed_tiny: smallest(formats::tiny()), hashed;
    inverted_two_level_32: few_frames(formats::two_level_32()), inverted;
    inverted_sv39: few_frames(formats::sv39()), inverted;
    inverted_aarch64_16k: few_frames(formats::vmsa(Granule::K16, false)), inverted;
}

/// Only the smallest pages of a format.
fn smallest<F>((format, machine): (F, Machine)) -> (F, Machine) {
    (format, machine.only_smallest())
}

/// Only the smallest pages, and memory that lies near the bottom.
fn few_frames<F>((format, machine): (F, Machine)) -> (F, Machine) {
    (format, machine.only_smallest().near())
}
