//! Walk caches beside a list of what they may answer: what they were told of walks that found something, unless a
//! fence has taken it since. They may forget as they like.

use softmmu::radix::{Leaf, PteRef, Stage, Subtable};
use softmmu::tlb::{Hierarchy, Scope, Space, Span, Tlb};

/// What is done to walk caches.
#[derive(Clone, Copy, Debug)]
pub enum WalkOp {
    /// A walk begins.
    Resume(Space, Stage, u64),
    Descended(Space, Stage, u64, Subtable),
    Recall(Space, Stage, u64),
    Reached(Space, Stage, u64, Leaf),
    Updated(PteRef, u64),
    Ended(bool),
    Raced,
    Fence(Scope),
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum What {
    Table(Subtable),
    Leaf(Leaf),
}

/// Something known: in which space (the second stage knows no ASIDs), of which stage, for which addresses.
#[derive(Clone, Copy, Debug)]
struct Known {
    space: Space,
    stage: Stage,
    first: u64,
    last: u64,
    what: What,
}

#[derive(Default)]
pub struct Walks {
    known: Vec<Known>,
    /// What the present walk has come by.
    found: Vec<Known>,
}

impl Walks {
    pub fn step(&mut self, tlb: &mut Hierarchy, op: &WalkOp) {
        match *op {
            WalkOp::Resume(space, stage, va) => {
                if let Some(table) = tlb.walk_resume(space, stage, va) {
                    assert!(self.knows(space, stage, va, What::Table(table)), "{table:?} for {va:#x}");
                }
            }
            WalkOp::Recall(space, stage, va) => {
                if let Some(leaf) = tlb.walk_recall(space, stage, va) {
                    assert_eq!(stage, Stage::Second);
                    assert!(self.knows(space, stage, va, What::Leaf(leaf)), "{leaf:?} for {va:#x}");
                }
            }
            WalkOp::Descended(space, stage, va, table) => {
                tlb.walk_descended(space, stage, va, table);
                self.find(space, stage, va, table.span_bits, What::Table(table));
            }
            WalkOp::Reached(space, stage, va, leaf) => {
                tlb.walk_reached(space, stage, va, &leaf);
                self.find(space, stage, va, leaf.size_bits, What::Leaf(leaf));
            }
            WalkOp::Updated(at, new) => {
                tlb.walk_updated(at, new);
                for known in self.known.iter_mut().chain(&mut self.found) {
                    if let What::Leaf(leaf) = &mut known.what {
                        leaf.raw = if leaf.at == at { new } else { leaf.raw };
                    }
                }
            }
            WalkOp::Ended(found) => {
                tlb.walk_ended(found);
                if found {
                    self.known.append(&mut self.found);
                }
                self.found.clear();
            }
            WalkOp::Raced => {
                tlb.walk_raced();
                *self = Self::default();
            }
            WalkOp::Fence(scope) => {
                tlb.invalidate(&scope);
                self.known.retain(|known| !taken(&scope, known));
            }
        }
    }

    fn find(&mut self, space: Space, stage: Stage, va: u64, bits: u32, what: What) {
        let low = if bits < 64 { (1 << bits) - 1 } else { u64::MAX };
        let space = tagged(space, stage);
        self.found.push(Known { space, stage, first: va & !low, last: va | low, what });
    }

    fn knows(&self, space: Space, stage: Stage, va: u64, what: What) -> bool {
        let space = tagged(space, stage);
        self.known.iter().any(|known| {
            (known.space, known.stage, known.what) == (space, stage, what)
                && (known.first..=known.last).contains(&va)
        })
    }
}

fn tagged(space: Space, stage: Stage) -> Space {
    let asid = if stage == Stage::First { space.asid() } else { softmmu::addr::Asid(0) };
    Space::new(space.regime(), space.vmid(), asid)
}

/// What a fence must take: leaves and, unless it spares them, tables of the addresses that it names; those of the
/// second stage are named by guest addresses, or with all addresses of their virtual machine.
fn taken(scope: &Scope, known: &Known) -> bool {
    let fields = if known.stage == Stage::Second { !Space::ASID } else { u64::MAX };
    let space = (known.space.bits() ^ scope.space.bits()) & scope.mask & fields == 0;
    let addresses = match (scope.span, known.stage) {
        (Span::All, _) => true,
        (Span::Virtual { first, last }, Stage::First) | (Span::Guest { first, last }, Stage::Second) => {
            first <= last && first <= known.last && known.first <= last
        }
        _ => false,
    };
    space && addresses && !(scope.leaves_only && matches!(known.what, What::Table(_)))
}
