//! Formats described at run time, and the rules of a textbook.

use arbitrary::{Result, Unstructured};
use softmmu::addr::{Asid, PhysAddr};
use softmmu::arch::custom::{Bit, Config, CustomFormat, Leaves};
use softmmu::arch::software::{Control, Marks, Software};
use softmmu::table::RadixWalker;

pub struct Target;

fn format(u: &mut Unstructured<'_>) -> Result<CustomFormat> {
    let four_levels = Config::new(4096, &[9, 9, 9, 9], 8, Bit::high(0))
        .frame(12, 40)
        .write(Bit::high(1))
        .user(Bit::high(2))
        .execute(Bit::low(63))
        .accessed(Bit::high(5))
        .dirty(Bit::high(6))
        .leaves(Leaves::Flag(Bit::high(7)))
        .sign_extended();
    let tiny = Config::new(64, &[3, 3, 5], 2, Bit::high(15))
        .frame(0, 13)
        .dirty(Bit::high(13))
        .accessed(Bit::high(14));
    let config = match u.int_in_range(0..=3)? {
        0 => four_levels,
        1 => Config::toy16(),
        2 => tiny,
        _ => Config::two_level_32(),
    };
    Ok(config.build().expect("sound formats"))
}

fn walker(u: &mut Unstructured<'_>) -> Result<RadixWalker<CustomFormat>> {
    // Tables of formats with small tables need not begin a page.
    let root = PhysAddr(super::place(u)? & !0x3f);
    Ok(RadixWalker { format: format(u)?, root })
}

impl super::Target for Target {
    type Arch = Software<RadixWalker<CustomFormat>>;

    fn arch(u: &mut Unstructured<'_>) -> Result<Self::Arch> {
        let marks = *u.choose(&[Marks::Hardware, Marks::Software, Marks::Ignored])?;
        Ok(Software::new(walker(u)?).with_marks(marks))
    }

    fn control(u: &mut Unstructured<'_>) -> Result<Control<RadixWalker<CustomFormat>>> {
        Ok(match u.int_in_range(0..=3)? {
            0 => Control::User(u.arbitrary()?),
            1 => Control::Enable(u.ratio(7, 8)?),
            _ => Control::Table(walker(u)?, Asid(u.int_in_range(0..=2)?)),
        })
    }

    fn entry(page: u64, flags: u64, high: u64) -> u64 {
        page << 12 | flags & 0xfff | high << 52
    }

    fn flavor(_u: &mut Unstructured<'_>) -> Result<()> {
        Ok(())
    }

    fn spans(_word: u64) -> bool {
        false
    }
}
