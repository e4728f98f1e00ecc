//! The TLB models against naive reference models.

use proptest::prelude::*;
use softmmu::addr::{Asid, Vmid};
use softmmu::tlb::{Geometry, Key, Scope, SetAssociative, Side, Space, Span, Tlb, TlbEntry};

fn space(asid: u16) -> Space {
    Space::new(0, Vmid(0), Asid(asid))
}

fn page(number: u64, asid: u16, pa: u64) -> TlbEntry {
    TlbEntry {
        va: number << 12,
        pa: pa << 12,
        gpa: pa << 12,
        rights: 0,
        space: space(asid),
        global: false,
        size_bits: 12,
        leaf_bits: 12,
        leaf2_bits: 0,
        level: 0,
        attr: 0,
    }
}

proptest! {
    /// True LRU is a list per set: hits and fills move to the front, the back leaves.
    #[test]
    fn true_lru_is_a_list(
        sets in 1_usize..6, ways in 1_usize..12,
        ops in prop::collection::vec((0_u64..40, 0_u16..3, 0_u8..8), 1..400),
    ) {
        let mut tlb: SetAssociative = SetAssociative::new(Geometry::new(sets, ways)).unwrap();
        let mut lists: Vec<Vec<TlbEntry>> = vec![Vec::new(); sets];
        for (step, (number, asid, kind)) in ops.into_iter().enumerate() {
            let list = &mut lists[(number % sets as u64) as usize];
            let key = Key { va: number << 12 | 5, space: space(asid) };
            if kind == 0 {
                let scope = Scope {
                    space: space(asid), mask: Space::ASID | Space::VMID | Space::REGIME, globals: false,
                    span: Span::All, leaves_only: false,
                };
                let before: usize = lists.iter().map(Vec::len).sum();
                lists.iter_mut().for_each(|list| list.retain(|entry| entry.space != space(asid)));
                let after: usize = lists.iter().map(Vec::len).sum();
                prop_assert_eq!(tlb.invalidate(&scope), (before - after) as u64);
                continue;
            }
            let found = list.iter().position(|entry| entry.matches(&key));
            let hit = tlb.lookup(&key, Side::Data);
            prop_assert_eq!(hit.map(|hit| hit.entry), found.map(|at| list[at]));
            if let (Some(at), Some(hit)) = (found, hit) {
                // The way of a dropped entry keeps its place in the order.
                prop_assert!(!hit.repeat || at == 0);
                let entry = list.remove(at);
                list.insert(0, entry);
            } else {
                let entry = page(number, asid, step as u64);
                let evicted = if list.len() == ways { list.pop() } else { None };
                list.insert(0, entry);
                prop_assert_eq!(tlb.insert(entry, Side::Data).evicted, evicted);
            }
            prop_assert_eq!(tlb.len(), lists.iter().map(Vec::len).sum::<usize>());
        }
    }
}
