//! The emulator example: its instructions, its command line, what it makes of damaged programs, and whole runs.
#![cfg(all(feature = "std", feature = "elf"))]

#[path = "../examples/emulator/main.rs"]
#[expect(dead_code, reason = "an example's `main` is not called by its test")]
mod emulator;

use emulator::args::{self, Options};
use emulator::cpu::{Cpu, Registers, Stop, Trap};
use emulator::expand::{ILLEGAL, expand};
use emulator::guest;
use emulator::process::{End, Process};
use emulator::report::{Counters, Screen};
use emulator::run;
use softmmu::addr::{PhysAddr, VirtAddr};
use softmmu::arch::riscv::Riscv;
use softmmu::memory::Ram;
use softmmu::mmu::{AccessError, Mmu};
use softmmu::tlb::{Geometry, SetAssociative};

const BASE: u64 = 0x8000_0000;

/// Runs `words` at [`BASE`] with translation off, `x10` = `a` and `x11` = `b`, until the `ebreak` put behind them.
fn execute(words: &[u32], a: u64, b: u64) -> (Registers, Stop) {
    let ram = Ram::new(PhysAddr(BASE), 0x1000).expect("one page of RAM");
    let tlb = SetAssociative::new(Geometry::new(1, 1)).expect("the smallest TLB");
    let mut port = Mmu::new(Riscv::rv64(), &ram, tlb);
    for (index, &word) in words.iter().chain(&[0x0010_0073]).enumerate() {
        port.store(VirtAddr(BASE + 4 * index as u64), word).expect("a store to RAM");
    }
    let mut registers = Registers::new(BASE, BASE + 0x800);
    (registers.x[10], registers.x[11]) = (a, b);
    let (_, stop) = Cpu::default().run(&mut registers, &mut port, 1000);
    (registers, stop)
}

/// The result in `x12` of one instruction `op x12, x10, x11`, given without its registers.
fn result(op: u32, a: u64, b: u64) -> u64 {
    let (registers, stop) = execute(&[op | 11 << 20 | 10 << 15 | 12 << 7], a, b);
    assert!(matches!(stop, Stop::Trap(Trap::Breakpoint)), "{op:#x}: {stop:?}");
    registers.x[12]
}

/// The OP or OP-32 instruction with this funct7 and funct3.
const fn op(opcode: u32, funct7: u32, funct3: u32) -> u32 {
    funct7 << 25 | funct3 << 12 | opcode
}

#[test]
fn division_has_no_exceptions() {
    const MIN: u64 = i64::MIN as u64;
    const MIN32: u64 = i32::MIN as i64 as u64;
    const MAX: u64 = u64::MAX;
    let [div, divu, rem, remu] = [4, 5, 6, 7].map(|funct3| op(0x33, 1, funct3));
    let [divw, divuw, remw, remuw] = [4, 5, 6, 7].map(|funct3| op(0x3b, 1, funct3));
    // Unprivileged manual, "Division Operations", table of division by zero and overflow.
    for (op, a, b, wanted) in [
        (div, 7, 0, MAX),
        (divu, 7, 0, MAX),
        (rem, 7, 0, 7),
        (remu, 7, 0, 7),
        (div, MIN, MAX, MIN),
        (rem, MIN, MAX, 0),
        (div, -7i64 as u64, 2, -3i64 as u64),
        (rem, -7i64 as u64, 2, MAX),
        (divw, 0x1_0000_0007, 1 << 32, MAX),
        (divuw, 7, 1 << 32, MAX),
        (remw, 0xffff_ffff_8000_0000, 0, MIN32),
        (remuw, 0x8000_0000, 0, MIN32),
        (divw, 0x8000_0000, 0xffff_ffff, MIN32),
        (remw, 0x8000_0000, 0xffff_ffff, 0),
        (divuw, 0xffff_ffff, 1, MAX),
    ] {
        assert_eq!(result(op, a, b), wanted, "{op:#x} of {a:#x} and {b:#x}");
    }
}

#[test]
fn the_high_half_of_a_product_knows_its_signs() {
    let [mulh, mulhsu, mulhu] = [1, 2, 3].map(|funct3| op(0x33, 1, funct3));
    let minus_one = u64::MAX;
    assert_eq!(result(mulh, minus_one, minus_one), 0);
    assert_eq!(result(mulhsu, minus_one, minus_one), minus_one);
    assert_eq!(result(mulhu, minus_one, minus_one), minus_one - 1);
    assert_eq!(result(mulhsu, i64::MIN as u64, minus_one), i64::MIN as u64);
    assert_eq!(result(op(0x3b, 1, 0), 0x8000_0000, 3), 0xffff_ffff_8000_0000);
}

#[test]
fn compressed_instructions_expand_to_what_the_assembler_makes_of_the_same_line() {
    for (parcel, wanted) in [
        (0x0080, 0x0401_0413), // addi x8,x2,64
        (0x1ffc, 0x3fc1_0793), // addi x15,x2,1020
        (0x40c0, 0x0044_a403), // lw x8,4(x9)
        (0x5c7c, 0x07c4_2783), // lw x15,124(x8)
        (0x6588, 0x0085_b503), // ld x10,8(x11)
        (0x7fe4, 0x0f87_b483), // ld x9,248(x15)
        (0xc2b0, 0x04c6_a023), // sw x12,64(x13)
        (0xe458, 0x08e4_3423), // sd x14,136(x8)
        (0x0001, 0x0000_0013), // addi x0,x0,0
        (0x12fd, 0xfff2_8293), // addi x5,x5,-1
        (0x0ffd, 0x01ff_8f93), // addi x31,x31,31
        (0x3381, 0xfe03_839b), // addiw x7,x7,-32
        (0x4345, 0x0110_0313), // addi x6,x0,17
        (0x7141, 0xe101_0113), // addi x2,x2,-496
        (0x617d, 0x1f01_0113), // addi x2,x2,496
        (0x6105, 0x0201_0113), // addi x2,x2,32
        (0x61fd, 0x0001_f1b7), // lui x3,0x1f
        (0x7f81, 0xfffe_0fb7), // lui x31,0xfffe0
        (0x907d, 0x03f4_5413), // srli x8,x8,63
        (0x9485, 0x4214_d493), // srai x9,x9,33
        (0x9975, 0xffd5_7513), // andi x10,x10,-3
        (0x8c1d, 0x40f4_0433), // sub x8,x8,x15
        (0x8cb9, 0x00e4_c4b3), // xor x9,x9,x14
        (0x8d55, 0x00d5_6533), // or x10,x10,x13
        (0x8df1, 0x00c5_f5b3), // and x11,x11,x12
        (0x9e0d, 0x40b6_063b), // subw x12,x12,x11
        (0x9ea9, 0x00a6_86bb), // addw x13,x13,x10
        (0x1f36, 0x02df_1f13), // slli x30,x30,45
        (0x58fe, 0x0fc1_2883), // lw x17,252(x2)
        (0x797e, 0x1f81_3903), // ld x18,504(x2)
        (0x8982, 0x0009_8067), // jalr x0,0(x19)
        (0x8a56, 0x0150_0a33), // add x20,x0,x21
        (0x9002, 0x0010_0073), // ebreak
        (0x9b02, 0x000b_00e7), // jalr x1,0(x22)
        (0x9be2, 0x018b_8bb3), // add x23,x23,x24
        (0xdfe6, 0x0f91_2e23), // sw x25,252(x2)
        (0xffea, 0x1fa1_3c23), // sd x26,504(x2)
        (0xaffd, 0x7fe0_006f), // j .+2046
        (0xb001, 0x801f_f06f), // j .-2048
        (0xa46d, 0x2aa0_006f), // j .+0x2aa
        (0xcc7d, 0x0e04_0f63), // beq x8,x0,.+254
        (0xf381, 0xf007_90e3), // bne x15,x0,.-256
        (0xd64d, 0xfa06_05e3), // beq x12,x0,.-0x56
    ] {
        assert_eq!(expand(parcel), wanted, "{parcel:#06x}");
    }
    // Reserved, or floating point.
    for parcel in
        [0x0000, 0x2000, 0x8000, 0xa000, 0x2001, 0x6101, 0x6081, 0x9c41, 0x9c61, 0x4002, 0x6002, 0x8002]
    {
        assert_eq!(expand(parcel), ILLEGAL, "{parcel:#06x}");
    }
}

#[test]
fn atomics_do_as_the_words_do() {
    // AMO<op>.<w|d> x12, x11, (x10) on a word stored at x10 = BASE + 0x100, then a load of what stands there.
    let run = |funct5: u32, width: u32, old: u64, operand: u64| {
        let store_old = 0x00d5_3023; // sd x13, 0(x10)
        let amo = funct5 << 27 | 11 << 20 | 10 << 15 | width << 12 | 12 << 7 | 0x2f;
        let load_new = 0x0005_3703; // ld x14, 0(x10)
        let ram = Ram::new(PhysAddr(BASE), 0x1000).expect("one page of RAM");
        let mut port = Mmu::new(
            Riscv::rv64(),
            &ram,
            SetAssociative::new(Geometry::new(1, 1)).expect("the smallest TLB"),
        );
        for (index, word) in [store_old, amo, load_new, 0x0010_0073u32].into_iter().enumerate() {
            port.store(VirtAddr(BASE + 4 * index as u64), word).expect("a store to RAM");
        }
        let mut registers = Registers::new(BASE, BASE + 0x800);
        (registers.x[10], registers.x[11], registers.x[13]) = (BASE + 0x100, operand, old);
        Cpu::default().run(&mut registers, &mut port, 1000);
        (registers.x[12], registers.x[14])
    };
    let (word, double) = (2, 3);
    let minus_one = u64::MAX;
    assert_eq!(run(0, double, 5, 7), (5, 12)); // add
    assert_eq!(run(1, double, 5, 7), (5, 7)); // swap
    assert_eq!(run(16, double, minus_one, 1), (minus_one, minus_one)); // min
    assert_eq!(run(24, double, minus_one, 1), (minus_one, 1)); // minu
    assert_eq!(run(20, double, minus_one, 1), (minus_one, 1)); // max
    assert_eq!(run(28, double, minus_one, 1), (minus_one, minus_one)); // maxu
    // The word forms leave the other word alone and extend the sign of what they return.
    assert_eq!(run(0, word, 0x1234_5678_ffff_ffff, 1), (minus_one, 0x1234_5678_0000_0000));
    assert_eq!(run(16, word, 0x1234_5678_8000_0000, 1), (0xffff_ffff_8000_0000, 0x1234_5678_8000_0000));
    assert_eq!(run(24, word, 0x1234_5678_8000_0000, 1), (0xffff_ffff_8000_0000, 0x1234_5678_0000_0001));
}

#[test]
fn a_store_conditional_needs_its_reservation() {
    let lr = 0x1005_362f; // lr.d x12, (x10)
    let sc = 0x18b5_36af; // sc.d x13, x11, (x10)
    let at = BASE + 0x100;
    let (registers, _) = execute(&[lr, sc], at, 9);
    assert_eq!(registers.x[13], 0);
    let (registers, _) = execute(&[sc], at, 9);
    assert_eq!(registers.x[13], 1);
    let (registers, _) = execute(&[lr, sc, sc], at, 9);
    assert_eq!(registers.x[13], 1, "a reservation serves once");
    let (_, stop) = execute(&[lr], at + 4, 0);
    assert!(matches!(stop, Stop::Trap(Trap::Misaligned(_))), "{stop:?}");
}

#[test]
fn what_is_no_instruction_says_so() {
    for word in [0, u32::MAX, 0x0000_0007, 0x0000_2007 | 0x6000, 0x3020_0073, 0x4000_1013, 0x0000_7003] {
        let (registers, stop) = execute(&[word], 0, 0);
        let Stop::Trap(Trap::Illegal(raw)) = stop else { panic!("{word:#x}: {stop:?}") };
        assert_eq!(
            (u64::from(raw), registers.pc),
            (u64::from(if word & 3 == 3 { word } else { word & 0xffff }), BASE)
        );
    }
}

#[test]
fn a_fault_leaves_the_instruction_undone() {
    let ld = 0x0005_3503; // ld x10, 0(x10)
    let (registers, stop) = execute(&[ld], 0x10, 0);
    let Stop::Trap(Trap::Access(AccessError::Fault(fault))) = stop else { panic!("{stop:?}") };
    assert_eq!((fault.tval, registers.x[10], registers.pc), (0x10, 0x10, BASE));
}

fn parse(arguments: &[&str]) -> Result<Options, String> {
    args::parse(arguments.iter().map(std::ffi::OsString::from))
}

#[test]
fn the_command_line_is_understood_or_refused_by_name() {
    let line = [
        "--guest",
        "sort,10,20",
        "--guest",
        "x.elf",
        "--ram",
        "256K",
        "--tlb",
        "16x2",
        "--seed",
        "7",
        "--quiet",
    ];
    let options = parse(&line).expect("a good command line");
    assert_eq!(
        (options.ram, options.sets, options.ways, options.seed, options.quiet),
        (256 << 10, 16, 2, 7, true)
    );
    assert_eq!(options.guests[0].arguments, ["10", "20"]);
    assert_eq!(options.guests[1].name, "x.elf");
    for (limit, wanted) in [("s:2M", ("s", 2 << 20)), ("s", ("s", u64::MAX)), ("a:b", ("a:b", u64::MAX))] {
        let (file, limit) = parse(&["--swap", limit]).expect("a swap file").swap.expect("a swap file");
        assert_eq!((file.to_str(), limit), (Some(wanted.0), wanted.1));
    }
    for bad in [
        &["--ram", "much"][..],
        &["--ram", "99999999999G"],
        &["--ram"],
        &["--tlb", "64"],
        &["--tlb", "-1x4"],
        &["--seed", "x"],
        &["--guest", ""],
        &["--swap", "file:1X"],
        &["--nonsense"],
        &["word"],
    ] {
        let error = parse(bad).expect_err("a bad command line");
        assert!(!error.contains('\n') && !error.is_empty(), "{bad:?}: {error:?}");
    }
}

/// Runs guests in so much memory: the processes, the lines printed, and whether all is right.
fn run(ram: &str, guests: &[&str], seed: u64) -> Result<(Vec<Process>, String, bool), String> {
    let mut line = vec!["--ram", ram];
    guests.iter().for_each(|guest| line.extend(["--guest", guest]));
    let options = Options { seed, ..parse(&line).expect("a good command line") };
    let mut text = String::new();
    let mut sink = |line: &str| text.extend([line, "\n"]);
    let mut screen = Screen::new(&mut sink, false);
    let outcome = run::run(&options, &mut screen)?;
    let right = outcome.report(&mut screen);
    Ok((outcome.processes, text, right))
}

/// The same where all must be right.
fn right(ram: &str, guests: &[&str], seed: u64) -> (Vec<Process>, String) {
    let (processes, text, right) = run(ram, guests, seed).expect("a run to the end");
    assert!(right, "{text}");
    (processes, text)
}

/// Less than these small guests need together, and enough for each.
const RAM: &str = "64K";
/// Guests that are done soon.
const SMALL: [&str; 5] = ["sort,20000", "sha256,65536", "matmul,32", "fork,12", "hog,131072"];

fn total(processes: &[Process], count: impl Fn(&Counters) -> u64) -> u64 {
    processes.iter().map(|process| count(&process.counters)).sum()
}

#[test]
fn wild_guests_end_alone_with_cause_address_and_walk() {
    let (processes, text) = right(RAM, &["wild-null", "wild-text", "sort,1000", "wild-data"], 1);
    for phrase in [
        "[wild-null] ended: load page fault (cause 13) at address 0x8, pc 0x",
        "[wild-text] ended: store/AMO page fault (cause 15) at address 0x100",
        "[wild-data] ended: instruction page fault (cause 12) at address 0x102000, pc 0x102000",
        "    level 2, entry at 0x8000",
        ": the table at 0x8000",
        ", R-XU",
        ": nothing",
        "[sort] sorted 1000 numbers",
    ] {
        assert!(text.contains(phrase), "{phrase:?} is not in\n{text}");
    }
    assert_eq!(processes.len(), 4);
    assert_eq!(total(&processes, |c| c.invalid), 1);
    assert_eq!(total(&processes, |c| c.protection), 2);
}

#[test]
fn more_programs_than_memory_swap_and_are_right() {
    let (processes, text) = right(RAM, &SMALL, 1);
    assert!(total(&processes, |c| c.major) > 100, "{text}");
    assert!(total(&processes, |c| c.dirty) > 100, "{text}");
    assert_eq!(processes.len(), 6, "the five and the child of one");
    for line in ["frames: 16 of 16 free, 0 in page tables: none leaked", "swap slots: 0 in use: none leaked"]
    {
        assert!(text.contains(line), "{text}");
    }
}

#[test]
fn with_enough_memory_nothing_is_moved() {
    let (processes, text) = right("16M", &SMALL, 1);
    assert_eq!(total(&processes, |c| c.major + c.clean + c.dirty + c.bytes_in + c.bytes_out), 0, "{text}");
    // The heap's 12 pages, and those of data and stack that both sides write.
    let copies = total(&processes, |c| c.copies);
    assert!((12..=15).contains(&copies), "{copies} copies\n{text}");
}

#[test]
fn the_same_seed_gives_the_same_counters() {
    let counters = |seed| {
        let (processes, _) = right(RAM, &SMALL, seed);
        processes.into_iter().map(|process| (process.name, process.counters)).collect::<Vec<_>>()
    };
    let first = counters(1);
    assert_eq!(first, counters(1));
    assert_ne!(first, counters(2), "another seed cuts other time slices");
}

#[test]
fn what_cannot_run_is_told_what_it_needs() {
    // The first fails, the second runs: the minimum printed is one.
    let (processes, text, right) = run("24K", &["sort,1000"], 1).expect("a run to the end");
    assert!(!right && text.contains("ended: out of memory"), "{text}");
    assert!(text.contains("it needs at least --ram 28K"), "{text}");
    assert!(matches!(processes[0].end(), Some(End::Killed(cause)) if cause == "out of memory"));
    let (processes, _) = self::right("28K", &["sort,1000", "wild-data", "fork,3"], 1);
    assert!(total(&processes, |c| c.major) > 0);
}

#[test]
fn a_full_swap_file_ends_the_guest_that_needs_more() {
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    let swap = format!("{}:64K", file.path().display());
    let options = parse(&["--ram", "64K", "--swap", &swap, "--guest", "hog,262144", "--guest", "sort,500"]);
    let (mut text, options) = (String::new(), options.expect("a good command line"));
    let mut sink = |line: &str| text.extend([line, "\n"]);
    let mut screen = Screen::new(&mut sink, false);
    let outcome = run::run(&options, &mut screen).expect("a run to the end");
    assert!(!outcome.report(&mut screen));
    assert_eq!(outcome.processes[1].right(), Some(true));
    assert!(
        text.contains("[hog] ended: out of memory") && text.contains("the backing store is full"),
        "{text}"
    );
    assert_eq!(std::fs::metadata(file.path()).expect("the file").len(), 64 << 10);
}

#[test]
fn a_machine_that_cannot_be_built_is_refused_in_one_line() {
    for (ram, line) in [("0", "--ram"), ("100", "--ram"), ("17179869183G", "--ram")] {
        let error = run(ram, &["sort,10"], 1).map(|_| ()).expect_err("no such RAM");
        assert!(error.contains(line) && !error.contains('\n'), "{error}");
    }
}

/// The prebuilt guest's bytes.
fn elf() -> Vec<u8> {
    std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/emulator/guests/bin/sort.elf"))
        .expect("the guest")
}

/// What the emulator makes of a file with these bytes.
fn load(bytes: &[u8]) -> Result<guest::Program, String> {
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    std::fs::write(file.path(), bytes).expect("a write to it");
    guest::find(&args::Wanted::plain(file.path().to_str().expect("a name in UTF-8")))
}

#[test]
fn damaged_programs_are_refused_in_one_line() {
    let good = elf();
    assert!(load(&good).is_ok());
    // Where the first program header's fields stand.
    let header = 64;
    let damage: [(&str, usize, &[u8]); 11] = [
        ("no valid file header", 0, b"MZ"),
        ("", 4, &[1]),                                  // 32 bits
        ("not a 64-bit RISC-V program", 18, &[62]),     // x86-64
        ("not a static executable", 16, &[3]),          // a shared object
        ("lies in no executable segment", 24, &[0; 8]), // entry 0
        ("needs a dynamic linker", header, &[3]),
        ("misaligned", header + 16, &[0xff; 8]),
        ("in memory", header + 40, &[0xff; 8]),
        ("in the file", header + 32, &[0xff; 4]),
        ("in the file", header + 8, &[0, 0, 0, 1]),
        ("shares a page", header + 40, &[0, 0x18]),
    ];
    for (wanted, at, bytes) in damage {
        let mut file = good.clone();
        file[at..at + bytes.len()].copy_from_slice(bytes);
        let error = load(&file).map(|_| ()).expect_err(wanted);
        assert!(error.contains(wanted) && !error.contains('\n'), "{at}: {error:?} and not {wanted:?}");
    }
    for length in [0, 1, 63, 64, 100, 0x1100] {
        assert!(load(&good[..length]).is_err(), "{length} bytes");
    }
    assert!(guest::find(&args::Wanted::plain("no-such-guest")).is_err());
}

proptest::proptest! {
    /// Whatever the file says, it is refused or it runs: no panic.
    #[test]
    fn no_program_brings_the_emulator_down(changes in proptest::collection::vec((0usize..0x1140, 0u8..), 1..8)) {
        let mut file = elf();
        for (at, byte) in changes {
            file[at] = byte;
        }
        let file_on_disk = tempfile::NamedTempFile::new().expect("a temporary file");
        std::fs::write(file_on_disk.path(), &file).expect("a write to it");
        let name = format!("{},16", file_on_disk.path().display());
        // A guest that loops for ever is not stopped by anybody: give the damaged ones no code to loop in.
        let entry = file[24..32].to_vec();
        if entry == elf()[24..32] {
            file[0x1000..0x1332].fill(0);
            std::fs::write(file_on_disk.path(), &file).expect("a write to it");
            let _ = run(RAM, &[&name], 1);
        } else {
            let _ = load(&file);
        }
    }
}
