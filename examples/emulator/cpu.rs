//! The interpreter: RV64IMAC, user mode. Every byte it fetches, loads and stores goes through the [`Port`].
//!
//! An instruction that faults has changed nothing, so the kernel may resolve the fault and run on from the same pc.

use super::{Fault, Port, expand};
use softmmu::addr::VirtAddr;
use softmmu::mmu::AccessError;

/// Why the processor came back to the kernel. `pc` stands at the instruction concerned.
#[derive(Clone, Copy, Debug)]
pub enum Stop {
    /// The time slice is over.
    Slice,
    /// `ecall`: a system call; pc stands behind it.
    Call,
    /// The instruction could not be done.
    Trap(Trap),
}

/// What ends an instruction other than its completion.
#[derive(Clone, Copy, Debug)]
pub enum Trap {
    /// The MMU refused.
    Access(AccessError<Fault>),
    /// An atomic access to an address that is not a multiple of its width.
    Misaligned(u64),
    /// No instruction of RV64IMAC; the raw bits as fetched.
    Illegal(u32),
    /// `ebreak`.
    Breakpoint,
}

impl From<AccessError<Fault>> for Trap {
    #[inline]
    fn from(error: AccessError<Fault>) -> Self {
        Self::Access(error)
    }
}

/// A hart's registers.
#[derive(Clone, Debug)]
pub struct Registers {
    /// `x[0]` reads as zero.
    pub x: [u64; 32],
    pub pc: u64,
    /// What the last `lr` read, and where; gone after a system call or a switch.
    reservation: Option<(u64, u64)>,
}

impl Registers {
    /// Those of a program about to start.
    pub fn new(entry: u64, stack: u64) -> Self {
        let mut x = [0; 32];
        x[2] = stack;
        Self { x, pc: entry, reservation: None }
    }
}

/// The processor: what every guest's registers are run on.
pub struct Cpu {
    expansions: Box<[u32]>,
}

impl Default for Cpu {
    fn default() -> Self {
        Self { expansions: expand::table() }
    }
}

impl Cpu {
    /// Runs at most `budget` instructions; returns how many were completed, and why it stopped.
    pub fn run(&self, registers: &mut Registers, port: &mut Port<'_>, budget: u64) -> (u64, Stop) {
        let mut done = 0;
        while done < budget {
            match self.step(registers, port) {
                Ok(None) => done += 1,
                Ok(Some(call)) => return (done + 1, call),
                Err(trap) => return (done, Stop::Trap(trap)),
            }
        }
        registers.reservation = None;
        (done, Stop::Slice)
    }

    /// The instruction at pc and its length. A parcel at a time where a 32-bit instruction may cross into another page.
    #[inline(always)]
    fn fetch(&self, pc: u64, port: &mut Port<'_>) -> Result<(u32, u32, u64), Trap> {
        let raw = if pc & 3 == 0 {
            port.fetch::<u32>(VirtAddr(pc))?
        } else {
            let low = u32::from(port.fetch::<u16>(VirtAddr(pc))?);
            if low & 3 == 3 { low | u32::from(port.fetch::<u16>(VirtAddr(pc + 2))?) << 16 } else { low }
        };
        if raw & 3 == 3 {
            return Ok((raw, raw, 4));
        }
        let parcel = raw & 0xffff;
        Ok((self.expansions[parcel as usize], parcel, 2))
    }

    #[inline(always)]
    fn step(&self, registers: &mut Registers, port: &mut Port<'_>) -> Result<Option<Stop>, Trap> {
        let pc = registers.pc;
        let (op, raw, length) = self.fetch(pc, port)?;
        let (mut rd, rs1, rs2) =
            ((op >> 7 & 31) as usize, (op >> 15 & 31) as usize, (op >> 20 & 31) as usize);
        let (funct3, funct7) = (op >> 12 & 7, op >> 25);
        let x = &mut registers.x;
        let (a, b) = (x[rs1], x[rs2]);
        let imm = (op as i32 >> 20) as i64 as u64;
        let mut next = pc.wrapping_add(length);
        let illegal = Trap::Illegal(raw);
        let value = match op & 0x7f {
            0x03 => {
                let va = VirtAddr(a.wrapping_add(imm));
                match funct3 {
                    0 => port.load::<u8>(va)? as i8 as u64,
                    1 => port.load::<u16>(va)? as i16 as u64,
                    2 => port.load::<u32>(va)? as i32 as u64,
                    3 => port.load::<u64>(va)?,
                    4 => u64::from(port.load::<u8>(va)?),
                    5 => u64::from(port.load::<u16>(va)?),
                    6 => u64::from(port.load::<u32>(va)?),
                    _ => return Err(illegal),
                }
            }
            0x23 => {
                let offset = (op as i32 >> 25 << 5) as i64 as u64 | rd as u64;
                let va = VirtAddr(a.wrapping_add(offset));
                match funct3 {
                    0 => port.store(va, b as u8)?,
                    1 => port.store(va, b as u16)?,
                    2 => port.store(va, b as u32)?,
                    3 => port.store(va, b)?,
                    _ => return Err(illegal),
                }
                rd = 0;
                0
            }
            // Shifts by a constant say which in the bits above it, which for the others belong to the constant.
            0x13 if matches!(funct3, 1 | 5) => alu(op >> 26 << 1, funct3, a, imm).ok_or(illegal)?,
            0x13 => alu(0, funct3, a, imm).ok_or(illegal)?,
            0x33 => alu(funct7, funct3, a, b).ok_or(illegal)?,
            0x1b if funct3 == 0 => sign32(a.wrapping_add(imm)),
            0x1b if matches!(funct3, 1 | 5) && funct7 != 1 => alu32(funct7, funct3, a, imm).ok_or(illegal)?,
            0x3b => alu32(funct7, funct3, a, b).ok_or(illegal)?,
            0x63 => {
                let taken = match funct3 {
                    0 => a == b,
                    1 => a != b,
                    4 => (a as i64) < b as i64,
                    5 => a as i64 >= b as i64,
                    6 => a < b,
                    7 => a >= b,
                    _ => return Err(illegal),
                };
                if taken {
                    let low = op >> 7 & 0x1e | (op & 0x80) << 4 | op >> 20 & 0x7e0;
                    next = pc.wrapping_add(((op as i32 >> 31 << 12) as u32 | low) as i32 as u64);
                }
                rd = 0;
                0
            }
            0x37 => (op & 0xffff_f000) as i32 as u64,
            0x17 => pc.wrapping_add((op & 0xffff_f000) as i32 as u64),
            0x6f => {
                let low = op >> 20 & 0x7fe | op >> 9 & 0x800 | op & 0xff000;
                let target = pc.wrapping_add(((op as i32 >> 31 << 20) as u32 | low) as i32 as u64);
                core::mem::replace(&mut next, target)
            }
            0x67 if funct3 == 0 => core::mem::replace(&mut next, a.wrapping_add(imm) & !1),
            // FENCE, FENCE.TSO, PAUSE and FENCE.I: one hart, and fetches see stores at once.
            0x0f if funct3 < 2 => x[rd],
            0x2f => atomic(op, raw, registers, port)?,
            0x73 if op == 0x0000_0073 => {
                registers.pc = next;
                registers.reservation = None;
                return Ok(Some(Stop::Call));
            }
            0x73 if op == 0x0010_0073 => return Err(Trap::Breakpoint),
            _ => return Err(illegal),
        };
        let x = &mut registers.x;
        x[rd] = value;
        x[0] = 0;
        registers.pc = next;
        Ok(None)
    }
}

/// The low word, sign-extended.
#[inline(always)]
fn sign32(value: u64) -> u64 {
    value as i32 as u64
}

/// The operations of RV64I and M; `None` where there is none.
#[inline(always)]
fn alu(funct7: u32, funct3: u32, a: u64, b: u64) -> Option<u64> {
    Some(match (funct7, funct3) {
        (0, 0) => a.wrapping_add(b),
        (0x20, 0) => a.wrapping_sub(b),
        (0, 1) => a << (b & 63),
        (0, 2) => u64::from((a as i64) < b as i64),
        (0, 3) => u64::from(a < b),
        (0, 4) => a ^ b,
        (0, 5) => a >> (b & 63),
        (0x20, 5) => (a as i64 >> (b & 63)) as u64,
        (0, 6) => a | b,
        (0, 7) => a & b,
        (1, _) => multiply_divide(funct3, a, b),
        _ => return None,
    })
}

/// The operations on words, whose result is sign-extended.
#[inline(always)]
fn alu32(funct7: u32, funct3: u32, a: u64, b: u64) -> Option<u64> {
    Some(sign32(match (funct7, funct3) {
        (0, 0) => a.wrapping_add(b),
        (0x20, 0) => a.wrapping_sub(b),
        (0, 1) => a << (b & 31),
        (0, 5) => u64::from(a as u32 >> (b & 31)),
        (0x20, 5) => (a as i32 >> (b & 31)) as u64,
        // The 64-bit operation on extended words has the word operation's special cases.
        (1, 0 | 4 | 6) => multiply_divide(funct3, sign32(a), sign32(b)),
        (1, 5 | 7) => multiply_divide(funct3, u64::from(a as u32), u64::from(b as u32)),
        _ => return None,
    }))
}

/// The M extension: division by zero gives all ones and the dividend, the one overflow gives the dividend and zero.
#[inline(always)]
fn multiply_divide(funct3: u32, a: u64, b: u64) -> u64 {
    let (signed_a, signed_b) = (a as i64, b as i64);
    match funct3 {
        0 => a.wrapping_mul(b),
        1 => ((i128::from(signed_a) * i128::from(signed_b)) >> 64) as u64,
        2 => (i128::from(signed_a).wrapping_mul(b as i128) >> 64) as u64,
        3 => ((u128::from(a) * u128::from(b)) >> 64) as u64,
        4 if b == 0 => u64::MAX,
        4 => signed_a.wrapping_div(signed_b) as u64,
        5 => a.checked_div(b).unwrap_or(u64::MAX),
        6 if b == 0 => a,
        6 => signed_a.wrapping_rem(signed_b) as u64,
        _ => a.checked_rem(b).unwrap_or(a),
    }
}

/// The A extension; `op` has its opcode. Gives what goes into rd.
fn atomic(op: u32, raw: u32, registers: &mut Registers, port: &mut Port<'_>) -> Result<u64, Trap> {
    let (va, b) = (registers.x[(op >> 15 & 31) as usize], registers.x[(op >> 20 & 31) as usize]);
    let (word, funct5) = (op >> 12 & 7 == 2, op >> 27);
    let operation: fn(u64, u64) -> u64 = match funct5 {
        2 | 3 => |old, _| old,
        0 => u64::wrapping_add,
        1 => |_, b| b,
        4 => |a, b| a ^ b,
        8 => |a, b| a | b,
        12 => |a, b| a & b,
        16 => |a, b| (a as i64).min(b as i64) as u64,
        20 => |a, b| (a as i64).max(b as i64) as u64,
        24 => u64::min,
        28 => u64::max,
        _ => return Err(Trap::Illegal(raw)),
    };
    if !matches!(op >> 12 & 7, 2 | 3) || funct5 == 2 && op >> 20 & 31 != 0 {
        return Err(Trap::Illegal(raw));
    }
    if va & if word { 3 } else { 7 } != 0 {
        return Err(Trap::Misaligned(va));
    }
    let va = VirtAddr(va);
    match funct5 {
        2 => {
            let old = if word { sign32(port.load::<u32>(va)?.into()) } else { port.load::<u64>(va)? };
            registers.reservation = Some((va.0, old));
            Ok(old)
        }
        3 => {
            let failed = match registers.reservation {
                Some((reserved, old)) if reserved == va.0 && word => {
                    port.compare_exchange::<u32>(va, old as u32, b as u32)?.is_err()
                }
                Some((reserved, old)) if reserved == va.0 => {
                    port.compare_exchange::<u64>(va, old, b)?.is_err()
                }
                _ => true,
            };
            registers.reservation = None;
            Ok(failed.into())
        }
        // Sign-extended words compare as the words do, signed and unsigned.
        _ if word => {
            let old = port.rmw::<u32>(va, |old| operation(sign32(old.into()), sign32(b)) as u32)?;
            Ok(sign32(old.into()))
        }
        _ => Ok(port.rmw::<u64>(va, |old| operation(old, b))?),
    }
}
