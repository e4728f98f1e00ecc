use super::*;
use alloc::collections::BTreeMap;
use alloc::vec;
use alloc::vec::Vec;
use proptest::prelude::*;

/// Pages of 64 bytes keep the tests small.
fn page_size() -> PageSize {
    PageSize::from_bytes(64).unwrap()
}

#[derive(Clone, Debug)]
enum Op {
    Allocate,
    Free(u64),
    Read(u64),
    Write(u64, u8),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        Just(Op::Allocate),
        (0..14u64).prop_map(Op::Free),
        (0..14u64).prop_map(Op::Read),
        (0..14u64, any::<u8>()).prop_map(|(slot, byte)| Op::Write(slot, byte)),
    ]
}

/// Against a map from slots to pages.
fn check(
    store: &mut dyn BackingStore,
    ops: &[Op],
    capacity: u64,
) -> Result<(), proptest::test_runner::TestCaseError> {
    let mut model: BTreeMap<u64, Option<Vec<u8>>> = BTreeMap::new();
    for op in ops {
        match *op {
            Op::Allocate => match store.allocate() {
                Ok(slot) => prop_assert!(model.insert(slot.0, None).is_none(), "handed out twice"),
                Err(StoreError::Full { capacity: said }) => {
                    prop_assert_eq!((said, model.len() as u64), (capacity, capacity));
                }
                Err(error) => prop_assert!(false, "{}", error),
            },
            Op::Free(slot) => {
                prop_assert_eq!(store.free(Slot(slot)).is_ok(), model.remove(&slot).is_some());
            }
            Op::Read(slot) => {
                let mut page = vec![0; 64];
                match (store.read(Slot(slot), &mut page), model.get(&slot)) {
                    (Ok(()), Some(Some(kept))) => prop_assert_eq!(&page, kept),
                    (Err(StoreError::Empty { .. }), Some(None)) => {}
                    (Err(StoreError::NotAllocated { .. }), None) => {}
                    (found, kept) => prop_assert!(false, "{:?} where {:?} is kept", found, kept),
                }
            }
            Op::Write(slot, byte) => {
                let page: Vec<u8> = (0..64).map(|i| byte.wrapping_add(i)).collect();
                let done = store.write(Slot(slot), &page).is_ok();
                prop_assert_eq!(done, model.contains_key(&slot));
                if let Some(kept) = model.get_mut(&slot) {
                    *kept = Some(page);
                }
            }
        }
        prop_assert_eq!(store.used(), model.len() as u64);
    }
    Ok(())
}

proptest! {
    #[test]
    fn slots_keep_what_they_are_given(ops in proptest::collection::vec(op(), 1..120), capacity in 0..12u64) {
        check(&mut MemoryStore::new(page_size(), capacity), &ops, capacity)?;
        #[cfg(feature = "std")]
        check(&mut SwapFile::new(tempfile::tempfile().unwrap(), page_size(), capacity * 64 + 63), &ops, capacity)?;
    }
}

#[test]
fn pages_of_another_length_are_refused() {
    let mut store = MemoryStore::new(page_size(), 1);
    let slot = store.allocate().unwrap();
    assert!(matches!(store.write(slot, &[0; 63]), Err(StoreError::Length { wanted: 64, found: 63 })));
    assert!(matches!(store.read(slot, &mut [0; 65]), Err(StoreError::Length { wanted: 64, found: 65 })));
    store.write(slot, &[0; 64]).unwrap();
    store.read(slot, &mut [0; 64]).unwrap();
    let stats = store.stats();
    assert_eq!((stats.pages_read, stats.bytes_written, stats.peak_slots), (1, 64, 1));
}

#[cfg(feature = "std")]
mod file {
    use super::*;
    use std::io::{Read, Seek, SeekFrom, Write};

    #[test]
    fn a_damaged_page_is_an_error() {
        let mut file = tempfile::tempfile().unwrap();
        let mut swap = SwapFile::new(file.try_clone().unwrap(), page_size(), 1 << 20);
        let slots: Vec<_> = (0..3).map(|_| swap.allocate().unwrap()).collect();
        for &slot in &slots {
            swap.write(slot, &[9; 64]).unwrap();
        }
        // One bit of the second page.
        file.seek(SeekFrom::Start(64 + 17)).unwrap();
        file.write_all(&[8]).unwrap();
        let mut page = [0; 64];
        let error = swap.read(slots[1], &mut page).unwrap_err();
        assert!(matches!(error, StoreError::Damaged { slot, .. } if slot == slots[1]), "{error}");
        swap.read(slots[0], &mut page).unwrap();
        // A good page in the wrong place.
        swap.write(slots[1], &[7; 64]).unwrap();
        let mut other = [0; 64];
        file.seek(SeekFrom::Start(64)).unwrap();
        file.read_exact(&mut other).unwrap();
        file.seek(SeekFrom::Start(128)).unwrap();
        file.write_all(&other).unwrap();
        assert!(matches!(swap.read(slots[2], &mut page), Err(StoreError::Damaged { .. })));
        // A page that is gone.
        file.set_len(64).unwrap();
        assert!(matches!(swap.read(slots[1], &mut page), Err(StoreError::Io { .. })));
        swap.read(slots[0], &mut page).unwrap();
    }

    #[test]
    fn a_file_that_cannot_be_written_says_so_and_forgets_the_old_page() {
        let named = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(named.path(), [3; 64]).unwrap();
        let mut swap = SwapFile::new(std::fs::File::open(named.path()).unwrap(), page_size(), 640);
        let slot = swap.allocate().unwrap();
        let error = swap.write(slot, &[1; 64]).unwrap_err();
        assert!(matches!(error, StoreError::Io { operation: Operation::Write, .. }));
        assert!(std::error::Error::source(&error).is_some());
        assert!(matches!(swap.read(slot, &mut [0; 64]), Err(StoreError::Empty { .. })));
        assert_eq!(swap.stats().pages_written, 0);
    }

    #[test]
    fn the_file_is_as_long_as_its_last_slot() {
        let named = tempfile::NamedTempFile::new().unwrap();
        let mut swap = SwapFile::create(named.path(), page_size(), 640).unwrap();
        assert_eq!(swap.capacity(), 10);
        for round in 0..100 {
            let (a, b) = (swap.allocate().unwrap(), swap.allocate().unwrap());
            swap.write(a, &[round; 64]).unwrap();
            swap.write(b, &[round; 64]).unwrap();
            swap.free(a).unwrap();
            swap.free(b).unwrap();
        }
        assert_eq!(named.as_file().metadata().unwrap().len(), 128, "free slots are used again");
    }
}
