//! Entries written by index against a list of options.

use crate::generate::entries;
use crate::model::naive::drops;
use proptest::prelude::*;
use softmmu::tlb::{Geometry, IndexError, Key, Scope, SetAssociative, Side, Tlb, TlbEntry};

proptest! {
    #[test]
    fn an_array_of_slots(
        ways in 1_usize..20,
        ops in prop::collection::vec((any::<prop::sample::Index>(), entries(), 0_u8..8), 1..150),
        scope in crate::generate::scopes(),
    ) {
        let mut tlb: SetAssociative = SetAssociative::new(Geometry::fully_associative(ways)).unwrap();
        let mut list: Vec<Option<TlbEntry>> = vec![None; ways];
        for (index, entry, kind) in ops {
            let index = index.index(ways);
            if kind == 0 {
                let dropped = tlb.invalidate(&scope);
                let before = list.iter().flatten().count();
                list.iter_mut().for_each(|slot| *slot = slot.filter(|entry| !drops(&scope, entry)));
                prop_assert_eq!(dropped as usize, before - list.iter().flatten().count());
            } else {
                list.iter_mut().for_each(|slot| *slot = slot.filter(|old| !old.same_tag(&entry)));
                let evicted = list[index].replace(entry);
                prop_assert_eq!(tlb.write(index, entry).unwrap().evicted, evicted);
                let key = Key { va: entry.va, space: entry.space };
                let found = tlb.index_of(&key).unwrap();
                prop_assert!(list[found].unwrap().matches(&key));
                prop_assert_eq!(tlb.lookup(&key, Side::Data).map(|hit| hit.entry), list[found]);
            }
            prop_assert_eq!((0..ways).map(|index| tlb.read(index)).collect::<Vec<_>>(), list.clone());
            prop_assert_eq!(tlb.len(), list.iter().flatten().count());
        }
        tlb.invalidate(&Scope::ALL);
        prop_assert!((0..ways).all(|index| tlb.read(index).is_none()));
    }

    #[test]
    fn an_index_must_be_of_the_page_s_set(entry in entries(), index in 0_usize..40) {
        let mut tlb: SetAssociative = SetAssociative::new(Geometry::new(8, 4)).unwrap();
        let set = (entry.va >> entry.size_bits) as usize % 8;
        match tlb.write(index, entry) {
            Ok(_) => prop_assert!(index < 32 && index / 4 == set),
            Err(IndexError::Range { entries, .. }) => prop_assert!(index >= 32 && entries == 32),
            Err(IndexError::Set { wanted, .. }) => prop_assert!(index / 4 != set && wanted == set),
            Err(other) => prop_assert!(false, "{other}"),
        }
        prop_assert_eq!(tlb.is_empty(), index >= 32 || index / 4 != set);
    }
}
