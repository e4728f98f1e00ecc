//! What the `Mmu`'s filter relies on: while nothing is said about a line, a lookup that was remembered on it would be
//! answered in the same way again, and change nothing.

use crate::generate::{Op, ops};
use proptest::prelude::*;
use softmmu::tlb::policy::{AnyPolicy, PolicyKind};
use softmmu::tlb::{
    ArrayConfig, BLOCK_BITS, Geometry, Hierarchy, Key, LevelConfig, Line, SetAssociative, Shape, Side, Sides,
    Tlb, TlbConfig, TlbEntry,
};

/// A filter without any limit of its own but the number of slots.
#[derive(Default)]
struct Remembered(Vec<(Key, Side, Line, TlbEntry)>);

impl Remembered {
    const SLOTS: usize = 12;

    fn changed(&mut self, line: Option<Line>, ripple: bool) {
        self.0.retain(|slot| !ripple && Some(slot.2) != line);
    }

    fn open(&mut self, key: Key, side: Side, line: Option<Line>, entry: TlbEntry) {
        if let (Some(line), true) = (line, u32::from(entry.size_bits) >= BLOCK_BITS) {
            self.0.truncate(Self::SLOTS - 1);
            self.0.insert(0, (key, side, line, entry));
        }
    }

    fn check<T: Tlb + Clone>(&self, tlb: &T) -> Result<(), TestCaseError> {
        let blocks = [0, 0x400, 0xc00];
        for ((key, side, line, entry), other) in
            self.0.iter().flat_map(|slot| blocks.map(|other| (*slot, other)))
        {
            let key = Key { va: key.va ^ other, ..key };
            let mut copy = tlb.clone();
            let hit = copy.lookup(&key, side);
            prop_assert!(hit.is_some(), "{key:?} is remembered on {line:?} and would miss");
            let hit = hit.unwrap();
            prop_assert_eq!(hit.entry.address(key.va), entry.address(key.va));
            prop_assert_eq!(hit.entry.rights, entry.rights);
            prop_assert_eq!((hit.repeat, hit.ripple), (true, false));
            prop_assert!(hit.line.is_none_or(|now| now == line));
            // Once more, for a policy that would count.
            let again = copy.lookup(&key, side).unwrap();
            prop_assert_eq!((again.entry, again.line, again.repeat), (hit.entry, hit.line, true));
        }
        Ok(())
    }
}

fn holds<T: Tlb + Clone>(mut tlb: T, ops: &[Op]) -> Result<(), TestCaseError> {
    let mut filter = Remembered::default();
    for op in ops {
        let (key, side, entry) = match *op {
            Op::Lookup(key, side) => (key, side, None),
            Op::Insert(entry) => (Key { va: entry.va, space: entry.space }, Side::Data, Some(entry)),
            Op::Access(entry, side) => (Key { va: entry.va | 3, space: entry.space }, side, Some(entry)),
            Op::Invalidate(scope) => {
                let dropped = tlb.invalidate(&scope) > 0;
                filter.changed(None, dropped);
                filter.check(&tlb)?;
                continue;
            }
        };
        if !matches!(op, Op::Insert(_)) {
            let hit = tlb.lookup(&key, side);
            if let Some(hit) = hit {
                if !hit.repeat {
                    filter.changed(hit.line, false);
                }
                filter.changed(None, hit.ripple);
                filter.open(key, side, hit.line, hit.entry);
                filter.check(&tlb)?;
                continue;
            }
        }
        if let Some(entry) = entry {
            let inserted = tlb.insert(entry, side);
            filter.changed(inserted.touched, inserted.ripple);
            filter.open(key, side, inserted.line, entry);
        }
        filter.check(&tlb)?;
    }
    Ok(())
}

fn shapes(policies: &'static [PolicyKind]) -> impl Strategy<Value = Shape> + Clone {
    let policy = prop::sample::select(policies);
    (1_usize..5, 1_usize..6, policy).prop_map(|(sets, ways, policy)| Shape { sets, ways, policy })
}

/// Levels of every kind, small enough to overflow.
pub fn configs(policies: &'static [PolicyKind]) -> impl Strategy<Value = TlbConfig> {
    let shapes = || shapes(policies);
    let unified = shapes().prop_map(|shape| vec![ArrayConfig::new(Sides::Both, shape)]);
    let split = (shapes(), shapes()).prop_map(|(fetch, data)| {
        vec![ArrayConfig::new(Sides::Instruction, fetch), ArrayConfig::new(Sides::Data, data)]
    });
    let by_size = (shapes(), shapes(), shapes()).prop_map(|(small, middle, large)| {
        vec![
            ArrayConfig::new(Sides::Both, large).pages(21, 63),
            ArrayConfig::new(Sides::Both, small).pages(0, 12),
            ArrayConfig::new(Sides::Both, middle).pages(13, 20),
        ]
    });
    // The largest pages in pieces; the smallest not at all.
    let narrow = shapes().prop_map(|shape| vec![ArrayConfig::new(Sides::Both, shape).pages(0, 14)]);
    let wide = shapes().prop_map(|shape| vec![ArrayConfig::new(Sides::Both, shape).pages(14, 63)]);
    let arrays = prop_oneof![unified, split, by_size, narrow, wide];
    let lower = (arrays.clone(), 0_u8..3).prop_map(|(arrays, kind)| match kind {
        0 => LevelConfig::victims(arrays),
        1 => LevelConfig { inclusive: true, ..LevelConfig::new(arrays) },
        _ => LevelConfig::new(arrays),
    });
    (arrays, prop::collection::vec(lower, 0..3), 0_u64..3).prop_map(|(first, lower, seed)| {
        let mut levels = vec![LevelConfig::new(first)];
        levels.extend(lower);
        TlbConfig { seed, ..TlbConfig::new(levels) }
    })
}

proptest! {
    #[test]
    fn one_array(shape in shapes(PolicyKind::ALL), ops in ops()) {
        let geometry = Geometry::new(shape.sets, shape.ways);
        let policy = AnyPolicy::of(shape.policy, geometry).unwrap();
        holds(SetAssociative::with_policy(geometry, policy).unwrap(), &ops)?;
    }

    #[test]
    fn every_hierarchy(config in configs(PolicyKind::ALL), ops in ops()) {
        holds(Hierarchy::new(&config).unwrap(), &ops)?;
    }
}
