//! `SetAssociative` against the reference, for every policy.

use crate::generate::ops;
use crate::model::pair::Pair;
use proptest::prelude::*;
use softmmu::tlb::policy::{BitPlru, Brrip, Fifo, Nru, PolicyKind, Random, Srrip, TreePlru, TrueLru};
use softmmu::tlb::{Geometry, SetAssociative};

fn geometries() -> impl Strategy<Value = Geometry> {
    let ways = prop_oneof![1_usize..=9, Just(12), Just(15), Just(16), Just(17), Just(40)];
    let sets = prop_oneof![1_usize..=6, Just(8), Just(70)];
    (sets, ways, 0_u64..4).prop_map(|(sets, ways, seed)| Geometry::new(sets, ways).with_seed(seed))
}

macro_rules! against_reference {
    ($($name:ident: $policy:ident;)*) => {
        proptest! {
            $(
                #[test]
                fn $name(geometry in geometries(), ops in ops()) {
                    let tlb = SetAssociative::<$policy>::new(geometry).unwrap();
                    let mut pair = Pair::new(tlb, PolicyKind::$policy);
                    ops.iter().for_each(|op| pair.step(op));
                }
            )*
        }
    };
}

against_reference! {
    true_lru: TrueLru;
    fifo: Fifo;
    tree_plru: TreePlru;
    bit_plru: BitPlru;
    nru: Nru;
    random: Random;
    srrip: Srrip;
    brrip: Brrip;
}
