//! TLBs of any shape, and what is done to them: arrays and hierarchies answer as lists of options do, what a filter
//! may remember stays true, and walk caches answer only what they were told and what no fence has taken.
#![no_main]

use arbitrary::{Result, Unstructured};
use libfuzzer_sys::fuzz_target;
use softmmu::addr::{Asid, Vmid};
use softmmu::radix::{Leaf, PteRef, Stage, Subtable};
use softmmu::tlb::policy::{AnyPolicy, PolicyKind};
use softmmu::tlb::{
    ArrayConfig, Feed, Geometry, Key, LevelConfig, Scope, SetAssociative, Shape, Side, Sides, Space, Span,
    TlbConfig, TlbEntry, WalkCacheConfig,
};

#[path = "../../tests/tlb/model/mod.rs"]
#[allow(dead_code)]
mod model;

use model::levels::Levels;
use model::pair::Pair;
use model::remembered::Remembered;
use model::walks::{WalkOp, Walks};
use model::{Op, SIZES};

const OPS: usize = 200;

/// Few enough that everything collides, now and then anything.
fn space(u: &mut Unstructured<'_>) -> Result<Space> {
    let raw: u16 = u.arbitrary()?;
    if raw >> 12 == 0xf {
        return Ok(Space::new(u.arbitrary()?, Vmid(u.arbitrary()?), Asid(u.arbitrary()?)));
    }
    Ok(Space::new((raw & 1) as u8, Vmid(raw >> 1 & 3), Asid(raw >> 3 & 7)))
}

/// Few pages at the start of each of a few large ones, at either end of the space.
fn address(u: &mut Unstructured<'_>) -> Result<u64> {
    let raw: u32 = u.arbitrary()?;
    let near = u64::from(raw & 3) << 21 | u64::from(raw >> 2 & 31) << 12 | u64::from(raw >> 7 & 0xfff);
    Ok(match raw >> 28 {
        0 => u.arbitrary()?,
        1 => !near,
        2 => near << 18,
        _ => near,
    })
}

fn entry(u: &mut Unstructured<'_>) -> Result<TlbEntry> {
    let kind: u16 = u.arbitrary()?;
    let size_bits = match kind & 15 {
        0 => u.int_in_range(0..=63)?,
        small @ 1..4 => SIZES[usize::from(small)],
        _ => SIZES[0],
    };
    let larger = |choice: u16| SIZES.get(usize::from(choice)).copied().unwrap_or(0);
    let (va, gpa) = (address(u)?, address(u)?);
    let page = |address: u64| address >> size_bits << size_bits;
    Ok(TlbEntry {
        va: page(va),
        pa: page(!gpa),
        gpa: page(gpa),
        rights: u64::from(u.arbitrary::<u8>()?),
        space: space(u)?,
        global: kind >> 13 == 0,
        size_bits,
        leaf_bits: larger(kind >> 4 & 7).max(size_bits),
        leaf2_bits: larger(kind >> 7 & 7),
        level: (kind >> 10 & 3) as u8,
        attr: kind,
    })
}

fn scope(u: &mut Unstructured<'_>) -> Result<Scope> {
    let kind: u8 = u.arbitrary()?;
    let fields = [Space::ASID, Space::VMID, Space::REGIME];
    let mask = (0..3).filter(|bit| kind >> bit & 1 == 1).fold(0, |bits, field| bits | fields[field]);
    // Fields may be named in part.
    let mask = if kind == 0x77 { mask & u.arbitrary::<u64>()? } else { mask };
    let space = space(u)?;
    let span = if kind >> 5 & 3 == 0 {
        Span::All
    } else {
        let first = address(u)?;
        let last = match u.int_in_range(0..=7)? {
            0 => u64::MAX,
            1 => address(u)?,
            2 => first.saturating_add(u.arbitrary::<u32>()?.into()),
            bits => first.saturating_add((1 << (3 * bits)) - 1),
        };
        if kind >> 5 & 3 == 1 { Span::Guest { first, last } } else { Span::Virtual { first, last } }
    };
    Ok(Scope { space, mask, globals: kind >> 3 & 1 == 1, span, leaves_only: kind >> 4 & 1 == 1 })
}

fn side(u: &mut Unstructured<'_>) -> Result<Side> {
    Ok(*u.choose(&[Side::Data, Side::Instruction])?)
}

fn op(u: &mut Unstructured<'_>) -> Result<Op> {
    Ok(match u.int_in_range(0..=15)? {
        0..=1 => Op::Invalidate(scope(u)?),
        2 => Op::Remove(entry(u)?),
        3 => Op::Write(usize::from(u.arbitrary::<u8>()?), entry(u)?),
        4..=5 => Op::Lookup(Key { va: address(u)?, space: space(u)? }, side(u)?),
        6..=7 => Op::Insert(entry(u)?),
        _ => Op::Access(entry(u)?, side(u)?),
    })
}

fn shape(u: &mut Unstructured<'_>) -> Result<Shape> {
    let policy = *u.choose(PolicyKind::ALL)?;
    let sets = if u.ratio(1, 16)? { u.int_in_range(0..=140)? } else { u.int_in_range(1..=6)? };
    let ways = if u.ratio(1, 8)? { u.int_in_range(0..=70)? } else { u.int_in_range(1..=5)? };
    Ok(Shape { sets, ways, policy })
}

/// One level: page sizes together, apart, or not all of them, and of each the two sides together or apart.
fn level(u: &mut Unstructured<'_>) -> Result<LevelConfig> {
    let mut arrays = Vec::new();
    let mut min = *u.choose(&[0, 0, 0, 11, 13])?;
    loop {
        let max = *u.choose(&[63, 63, 12, 14, 20])?;
        let sides: &[Sides] =
            if u.ratio(1, 2)? { &[Sides::Both] } else { &[Sides::Instruction, Sides::Data] };
        for &sides in sides {
            arrays.push(ArrayConfig::new(sides, shape(u)?).pages(min, max));
        }
        if max >= 63 || u.ratio(1, 4)? {
            break;
        }
        min = max + u.int_in_range(1..=2)?;
    }
    if u.ratio(1, 4)? {
        arrays.reverse();
    }
    let feed = if u.ratio(1, 3)? { Feed::Victims } else { Feed::Walks };
    Ok(LevelConfig { arrays, feed, inclusive: u.ratio(1, 4)? })
}

fn config(u: &mut Unstructured<'_>) -> Result<TlbConfig> {
    let mut levels = vec![LevelConfig { feed: Feed::Walks, ..level(u)? }];
    for _ in 0..u.int_in_range(0..=2)? {
        levels.push(level(u)?);
    }
    let mut config = TlbConfig { seed: u.int_in_range(0..=3)?, ..TlbConfig::new(levels) };
    for _ in 0..u.int_in_range(0..=3)? {
        config.walk_caches.push(WalkCacheConfig {
            stage: *u.choose(&[Stage::First, Stage::Second])?,
            min_level: u.int_in_range(0..=2)?,
            max_level: u.int_in_range(0..=3)?,
            shape: shape(u)?,
        });
    }
    config.nested = if u.arbitrary()? { Some(shape(u)?) } else { None };
    Ok(config)
}

fn walk_op(u: &mut Unstructured<'_>) -> Result<WalkOp> {
    let (space, va) = (space(u)?, address(u)?);
    let stage = *u.choose(&[Stage::First, Stage::Second])?;
    let level = u.int_in_range(0..=3)?;
    let at = PteRef { addr: u64::from(u.arbitrary::<u8>()?) << 3, bytes: 8, level, stage };
    let bits = *u.choose(&[12, 21, 16, 63, 64])?;
    Ok(match u.int_in_range(0..=15)? {
        0..=1 => WalkOp::Fence(scope(u)?),
        2 => WalkOp::Raced,
        3 => WalkOp::Updated(at, u.arbitrary()?),
        4..=5 => WalkOp::Ended(!u.ratio(1, 4)?),
        6..=8 => WalkOp::Recall(space, stage, va),
        9..=10 => {
            let (base, raw) = (at.addr << 12, u.arbitrary()?);
            WalkOp::Reached(space, stage, va, Leaf { base, size_bits: bits, raw, at, limits: 0 })
        }
        11..=13 => {
            let table = Subtable { level, base: at.addr << 12, limits: 0, span_bits: bits };
            WalkOp::Descended(space, stage, va, table)
        }
        _ => WalkOp::Resume(space, stage, va),
    })
}

fn array(u: &mut Unstructured<'_>) -> Result<()> {
    let Shape { sets, ways, policy: kind } = shape(u)?;
    let geometry = Geometry::new(sets, ways).with_seed(u.int_in_range(0..=3)?);
    let made = AnyPolicy::of(kind, geometry).and_then(|policy| SetAssociative::with_policy(geometry, policy));
    let Ok(mut beside) = made else {
        assert!(sets == 0 || ways == 0 || ways > kind.max_ways());
        return Ok(());
    };
    let (mut pair, mut filter) = (Pair::new(beside.clone(), kind), Remembered::default());
    for _ in 0..OPS {
        if u.is_empty() {
            break;
        }
        let op = op(u)?;
        pair.step(&op);
        filter.step_array(&mut beside, &op);
        filter.check(&beside);
    }
    Ok(())
}

fn hierarchy(u: &mut Unstructured<'_>) -> Result<()> {
    let config = config(u)?;
    let Ok(mut levels) = Levels::new(&config) else {
        assert!(config.check().is_err(), "{config}");
        return Ok(());
    };
    let (mut beside, mut filter, mut walks) = (levels.tlb.clone(), Remembered::default(), Walks::default());
    for _ in 0..OPS {
        if u.is_empty() {
            break;
        }
        if u.ratio(1, 3)? {
            walks.step(&mut beside, &walk_op(u)?);
            // Fences among these take entries too.
            filter = Remembered::default();
            continue;
        }
        let op = op(u)?;
        levels.step(&op);
        if let Op::Invalidate(scope) = op {
            walks.step(&mut beside, &WalkOp::Fence(scope));
            filter = Remembered::default();
        } else {
            filter.step(&mut beside, &op);
            filter.check(&beside);
        }
    }
    levels.end();
    Ok(())
}

fuzz_target!(|data: &[u8]| {
    let mut u = Unstructured::new(data);
    let _ = match u.arbitrary() {
        Ok(true) => array(&mut u),
        _ => hierarchy(&mut u),
    };
});
