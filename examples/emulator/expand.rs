//! Compressed instructions (the C extension, RV64 without floating point) as the 32-bit instructions they stand for.

/// What no valid instruction reads as: an encoding that is reserved, or needs an extension that is not here.
pub const ILLEGAL: u32 = 0;

/// The expansion of every 16-bit parcel, so that the interpreter looks it up instead of taking it apart each time.
pub fn table() -> Box<[u32]> {
    (0..=u16::MAX).map(expand).collect()
}

const fn r_type(funct7: u32, rs2: u32, rs1: u32, funct3: u32, rd: u32, opcode: u32) -> u32 {
    funct7 << 25 | rs2 << 20 | rs1 << 15 | funct3 << 12 | rd << 7 | opcode
}

const fn i_type(imm: u32, rs1: u32, funct3: u32, rd: u32, opcode: u32) -> u32 {
    imm << 20 | rs1 << 15 | funct3 << 12 | rd << 7 | opcode
}

const fn s_type(imm: u32, rs2: u32, rs1: u32, funct3: u32) -> u32 {
    r_type(imm >> 5 & 0x7f, rs2, rs1, funct3, imm & 0x1f, 0x23)
}

const fn b_type(imm: u32, rs1: u32, funct3: u32) -> u32 {
    let high = imm >> 12 & 1;
    let (middle, low, bit11) = (imm >> 5 & 0x3f, imm >> 1 & 0xf, imm >> 11 & 1);
    r_type(high << 6 | middle, 0, rs1, funct3, low << 1 | bit11, 0x63)
}

const fn j_type(imm: u32, rd: u32) -> u32 {
    (imm >> 20 & 1) << 31
        | (imm >> 1 & 0x3ff) << 21
        | (imm >> 11 & 1) << 20
        | (imm & 0xff000)
        | rd << 7
        | 0x6f
}

/// The value of bit `bit` of `parcel`, moved to bit `to`, for runs of `n` bits.
const fn take(parcel: u32, bit: u32, n: u32, to: u32) -> u32 {
    (parcel >> bit & ((1 << n) - 1)) << to
}

/// `value`'s low `bits` bits, sign-extended.
const fn signed(value: u32, bits: u32) -> u32 {
    ((value << (32 - bits)) as i32 >> (32 - bits)) as u32
}

/// The 32-bit instruction that `parcel` stands for, or [`ILLEGAL`].
pub fn expand(parcel: u16) -> u32 {
    let p = u32::from(parcel);
    let (rd, rs2) = (take(p, 7, 5, 0), take(p, 2, 5, 0));
    // The three-bit register fields name x8 to x15.
    let (low, high) = (8 + take(p, 2, 3, 0), 8 + take(p, 7, 3, 0));
    let imm6 = signed(take(p, 12, 1, 5) | take(p, 2, 5, 0), 6);
    let shift = imm6 & 0x3f;
    let word_offset = take(p, 10, 3, 3) | take(p, 6, 1, 2) | take(p, 5, 1, 6);
    let double_offset = take(p, 10, 3, 3) | take(p, 5, 2, 6);
    match (p & 3, p >> 13) {
        (0, 0) => {
            let imm = take(p, 11, 2, 4) | take(p, 7, 4, 6) | take(p, 6, 1, 2) | take(p, 5, 1, 3);
            if imm == 0 { ILLEGAL } else { i_type(imm, 2, 0, low, 0x13) } // c.addi4spn
        }
        (0, 2) => i_type(word_offset, high, 2, low, 0x03), // c.lw
        (0, 3) => i_type(double_offset, high, 3, low, 0x03), // c.ld
        (0, 6) => s_type(word_offset, low, high, 2),       // c.sw
        (0, 7) => s_type(double_offset, low, high, 3),     // c.sd
        (1, 0) => i_type(imm6, rd, 0, rd, 0x13),           // c.addi
        (1, 1) if rd != 0 => i_type(imm6, rd, 0, rd, 0x1b), // c.addiw
        (1, 2) => i_type(imm6, 0, 0, rd, 0x13),            // c.li
        (1, 3) if imm6 == 0 => ILLEGAL,
        (1, 3) if rd == 2 => {
            let imm =
                take(p, 12, 1, 9) | take(p, 6, 1, 4) | take(p, 5, 1, 6) | take(p, 3, 2, 7) | take(p, 2, 1, 5);
            i_type(signed(imm, 10), 2, 0, 2, 0x13) // c.addi16sp
        }
        (1, 3) => imm6 << 12 | rd << 7 | 0x37, // c.lui
        (1, 4) => match (take(p, 10, 2, 0), take(p, 12, 1, 0), take(p, 5, 2, 0)) {
            (0, _, _) => i_type(shift, high, 5, high, 0x13), // c.srli
            (1, _, _) => i_type(0x400 | shift, high, 5, high, 0x13), // c.srai
            (2, _, _) => i_type(imm6, high, 7, high, 0x13),  // c.andi
            (_, 0, 0) => r_type(0x20, low, high, 0, high, 0x33), // c.sub
            (_, 0, 1) => r_type(0, low, high, 4, high, 0x33), // c.xor
            (_, 0, 2) => r_type(0, low, high, 6, high, 0x33), // c.or
            (_, 0, _) => r_type(0, low, high, 7, high, 0x33), // c.and
            (_, _, 0) => r_type(0x20, low, high, 0, high, 0x3b), // c.subw
            (_, _, 1) => r_type(0, low, high, 0, high, 0x3b), // c.addw
            _ => ILLEGAL,
        },
        (1, 5) => {
            let imm = take(p, 12, 1, 11) | take(p, 11, 1, 4) | take(p, 9, 2, 8) | take(p, 8, 1, 10);
            let imm = imm | take(p, 7, 1, 6) | take(p, 6, 1, 7) | take(p, 3, 3, 1) | take(p, 2, 1, 5);
            j_type(signed(imm, 12), 0) // c.j
        }
        (1, funct3 @ (6 | 7)) => {
            let imm = take(p, 12, 1, 8)
                | take(p, 10, 2, 3)
                | take(p, 5, 2, 6)
                | take(p, 3, 2, 1)
                | take(p, 2, 1, 5);
            b_type(signed(imm, 9), high, funct3 - 6) // c.beqz, c.bnez
        }
        (2, 0) => i_type(shift, rd, 1, rd, 0x13), // c.slli
        (2, 2) if rd != 0 => i_type(take(p, 12, 1, 5) | take(p, 4, 3, 2) | take(p, 2, 2, 6), 2, 2, rd, 0x03),
        (2, 3) if rd != 0 => i_type(take(p, 12, 1, 5) | take(p, 5, 2, 3) | take(p, 2, 3, 6), 2, 3, rd, 0x03),
        (2, 4) => match (take(p, 12, 1, 0), rd, rs2) {
            (0, 0, 0) => ILLEGAL,
            (0, _, 0) => i_type(0, rd, 0, 0, 0x67),       // c.jr
            (0, _, _) => r_type(0, rs2, 0, 0, rd, 0x33),  // c.mv
            (_, 0, 0) => 0x0010_0073,                     // c.ebreak
            (_, _, 0) => i_type(0, rd, 0, 1, 0x67),       // c.jalr
            (_, _, _) => r_type(0, rs2, rd, 0, rd, 0x33), // c.add
        },
        (2, 6) => s_type(take(p, 9, 4, 2) | take(p, 7, 2, 6), rs2, 2, 2), // c.swsp
        (2, 7) => s_type(take(p, 10, 3, 3) | take(p, 7, 3, 6), rs2, 2, 3), // c.sdsp
        _ => ILLEGAL,
    }
}
