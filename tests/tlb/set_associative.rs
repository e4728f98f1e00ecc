//! `SetAssociative` against the reference, for every policy.

use crate::generate::{Op, ops};
use crate::naive::{self, Naive, NaivePolicy};
use proptest::prelude::*;
use softmmu::tlb::policy::{BitPlru, Brrip, Fifo, Nru, Random, Srrip, TreePlru, TrueLru, WayPolicy};
use softmmu::tlb::{BLOCK_BITS, Geometry, Key, Line, SetAssociative, Side, Tlb, TlbEntry};

/// Runs `ops` on both and compares everything that can be seen.
fn agree<P: WayPolicy + Clone, N: NaivePolicy>(geometry: Geometry, ops: &[Op]) -> Result<(), TestCaseError> {
    let mut tlb = SetAssociative::<P>::new(geometry).unwrap();
    let mut reference = Naive::<N>::new(geometry.sets, geometry.ways, geometry.seed);
    let (mut hits, mut misses, mut evictions) = ([0; 2], [0; 2], 0);
    for op in ops {
        match *op {
            Op::Lookup(key, side) => {
                let hit = look(&mut tlb, &mut reference, &key, side)?;
                *(if hit { &mut hits } else { &mut misses }).get_mut(side as usize).unwrap() += 1;
            }
            Op::Insert(entry) => evictions += put(&mut tlb, &mut reference, entry)?,
            Op::Access(entry, side) => {
                let key = Key { va: entry.va | 3, space: entry.space };
                if look(&mut tlb, &mut reference, &key, side)? {
                    hits[side as usize] += 1;
                } else {
                    misses[side as usize] += 1;
                    evictions += put(&mut tlb, &mut reference, entry)?;
                }
            }
            Op::Invalidate(scope) => {
                prop_assert_eq!(tlb.invalidate(&scope), reference.invalidate(&scope), "{:?}", scope);
            }
        }
        let (mut here, mut there): (Vec<_>, Vec<_>) =
            (tlb.entries().collect(), reference.entries().collect());
        here.sort_by_key(order);
        there.sort_by_key(order);
        prop_assert_eq!(&here, &there, "after {:?}", op);
        prop_assert_eq!(tlb.len(), there.len());
        for (size, count) in tlb.resident() {
            let expected =
                there.iter().filter(|(_, entry)| u32::from(entry.size_bits) == size.bits()).count();
            prop_assert_eq!(count, expected);
        }
        prop_assert_eq!(tlb.resident().map(|(_, count)| count).sum::<usize>(), there.len());
    }
    prop_assert_eq!((tlb.stats().hits, tlb.stats().misses, tlb.stats().evictions), (hits, misses, evictions));
    Ok(())
}

fn order((set, entry): &(usize, TlbEntry)) -> (usize, u64, u64, u8, bool) {
    (*set, entry.va, entry.space.bits(), entry.size_bits, entry.global)
}

fn look<P: WayPolicy + Clone, N: NaivePolicy>(
    tlb: &mut SetAssociative<P>,
    reference: &mut Naive<N>,
    key: &Key,
    side: Side,
) -> Result<bool, TestCaseError> {
    let peeked = tlb.peek(key, side);
    let (hit, found) = (tlb.lookup(key, side), reference.lookup(key));
    prop_assert_eq!(hit.map(|hit| hit.entry), found.as_ref().map(|found| found.entry));
    prop_assert_eq!(peeked, hit.map(|hit| hit.entry));
    let (Some(hit), Some(found)) = (hit, found) else { return Ok(false) };
    prop_assert_eq!(hit.repeat, !found.changed);
    let finest = reference.entries().map(|(_, entry)| entry.size_bits).min().unwrap();
    if u32::from(finest) < BLOCK_BITS && finest < hit.entry.size_bits {
        prop_assert_eq!((hit.line, hit.ripple), (None, !hit.repeat));
    } else {
        prop_assert_eq!((hit.line, hit.ripple), (Some(Line(found.set as u32)), false));
    }
    prop_assert!((found.set as u32) < tlb.lines());
    Ok(true)
}

fn put<P: WayPolicy + Clone, N: NaivePolicy>(
    tlb: &mut SetAssociative<P>,
    reference: &mut Naive<N>,
    entry: TlbEntry,
) -> Result<u64, TestCaseError> {
    let (inserted, (set, evicted)) = (tlb.insert(entry, Side::Data), reference.insert(entry));
    prop_assert_eq!(inserted.evicted, evicted);
    prop_assert_eq!(inserted.touched, Some(Line(set as u32)));
    prop_assert!(inserted.ripple || !reference.shadows(&entry));
    if inserted.line.is_some() {
        // Then looking it up at once changes nothing, unless a smaller page stands before it.
        prop_assert_eq!(inserted.line, inserted.touched);
        let hit = tlb.clone().lookup(&Key { va: entry.va, space: entry.space }, Side::Data).unwrap();
        prop_assert!(hit.repeat || hit.entry != entry);
    }
    Ok(u64::from(evicted.is_some()))
}

fn geometries() -> impl Strategy<Value = Geometry> {
    let ways = prop_oneof![1_usize..=9, Just(12), Just(17), Just(40)];
    let sets = prop_oneof![1_usize..=6, Just(8), Just(70)];
    (sets, ways, 0_u64..4).prop_map(|(sets, ways, seed)| Geometry::new(sets, ways).with_seed(seed))
}

macro_rules! against_reference {
    ($($name:ident: $policy:ty, $naive:ty;)*) => {
        proptest! {
            $(
                #[test]
                fn $name(geometry in geometries(), ops in ops()) {
                    agree::<$policy, $naive>(geometry, &ops)?;
                }
            )*
        }
    };
}

against_reference! {
    true_lru: TrueLru, naive::Lru;
    fifo: Fifo, naive::Fifo;
    tree_plru: TreePlru, naive::TreePlru;
    bit_plru: BitPlru, naive::BitPlru;
    nru: Nru, naive::Nru;
    random: Random, naive::Random;
    srrip: Srrip, naive::Rrip<false>;
    brrip: Brrip, naive::Rrip<true>;
}
