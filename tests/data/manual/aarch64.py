"""Writes the AArch64 cases that no recorded corpus reaches, each derived by hand from the Arm ARM (DDI 0487).

Nothing is computed by a model of translation here: tables are laid out entry by entry, and every outcome is written
down beside the rule that it follows from. Run it in this folder; it writes aarch64-manual-*.jsonl.gz.
"""

import gzip
import json

IDS = {
    "id_aa64mmfr0_el1": "0x2100032310201126",  # PA 52 bits, LPA2 for 4K and 16K at both stages
    "id_aa64mmfr1_el1": "0x110112010312122",  # HAFDBS, VMID16, VHE, HPDS2, PAN3, XNX
    "id_aa64mmfr2_el1": "0x1221011112011011",  # UAO, LVA, TTST, S2FWB, E0PD
}
SIZE = 0x400_0000
LOW = 0x4800_0000  # where RAM is, unless a case needs it high up
TABLE, PAGE, BLOCK = 3, 3, 1
AF, NG, DBM, CONT, PXN, UXN = 1 << 10, 1 << 11, 1 << 51, 1 << 52, 1 << 53, 1 << 54
USER, RO = 1 << 6, 1 << 7
S2R, S2W = 1 << 6, 1 << 7
S2NORMAL = 0xF << 2
SCTLR = 0x30D0_0801  # M
MAIR = 0xFF  # entry 0 Normal Write-Back; entry 1 Device-nGnRnE

cases = {}


def hexed(value):
    if isinstance(value, bool):
        return value
    return hex(value) if isinstance(value, int) else value


def case(corpus, mode, ctl, mem, steps, after=None, ram=LOW):
    """One case; `mem` is a list of (address, word)."""
    rows = cases.setdefault(corpus, [])
    rows.append({
        "id": f"a64-{corpus[len('aarch64-'):]}-{len(rows) + 1:06}",
        "arch": "aarch64",
        "mode": mode,
        "ctl": {k: hexed(v) for k, v in ctl.items()},
        "ram": [hex(ram), hex(SIZE)],
        "mem": {hex(a): hex(w) for a, w in mem},
        "steps": steps,
        "after": {hex(a): hex(w) for a, w in (after or {}).items()},
    })


def access(op, va, priv="EL1", size=8, pa=None, pa2=None, fault=None, **more):
    step = {"op": op, "va": hex(va), "size": size, "priv": priv, **more}
    if fault is not None:
        step["fault"] = fault
    else:
        step["pa"] = hex(pa)
        if pa2 is not None:
            step["pa2"] = hex(pa2)
    return step


def s1(fsc, far):
    return {"fsc": fsc, "stage": 1, "s1ptw": False, "far": hex(far)}


def s2(fsc, far, ipa=None, s1ptw=False):
    fault = {"fsc": fsc, "stage": 2, "s1ptw": s1ptw, "far": hex(far)}
    if ipa is not None:
        fault["hpfar"] = hex(ipa >> 12 << 4)
    return fault


def poke(pa, value):
    return {"op": "poke", "pa": hex(pa), "value": hex(value)}


def tlbi(kind, **operands):
    return {"op": "invalidate", "kind": "tlbi " + kind, **{k: v if k in ("pages", "asid") else hex(v) for k, v in operands.items()}}


def el1(tcr, ttbr0=0, ttbr1=0, sctlr=SCTLR):
    return {"sctlr_el1": sctlr, "tcr_el1": tcr, "ttbr0_el1": ttbr0, "ttbr1_el1": ttbr1, "mair_el1": MAIR}


def guest(vtcr, vttbr, **stage1):
    """Stage 2 on; stage 1 as given or off."""
    stage1 = stage1 or el1(0x5_8019_0019, sctlr=0x30D0_0800)
    return {"vtcr_el2": vtcr | 1 << 31, "hcr_el2": 0x8000_0001, "vttbr_el2": vttbr, **stage1}


def tcr(t0sz=25, t1sz=25, tg="4k", ips=6, ds=False, **bits):
    """TCR_EL1: TG0 and TG1 number the granules differently."""
    tg0, tg1 = {"4k": (0, 2), "64k": (1, 3), "16k": (2, 1)}[tg]
    value = t0sz | t1sz << 16 | tg0 << 14 | tg1 << 30 | ips << 32 | ds << 59 | 1 << 36
    for name, on in bits.items():
        value |= on << {"ha": 39, "hd": 40, "hpd0": 41, "tbi0": 37, "tbi1": 38, "e0pd0": 55, "e0pd1": 56, "epd0": 7}[name]
    return value


def vtcr(t0sz, sl0, tg="4k", ps=6, ds=False, sl2=0, ha=0, hd=0):
    return t0sz | sl0 << 6 | {"4k": 0, "64k": 1, "16k": 2}[tg] << 14 | ps << 16 | ha << 21 | hd << 22 | ds << 32 | sl2 << 33


def lpa2(base, low=0):
    """An LPA2 descriptor's address: OA[49:12] in place, OA[51:50] in bits 9:8 (D8.3.1)."""
    return base & ((1 << 50) - 1) | (base >> 50) << 8 | low


def lpa(base, low=0):
    """A 64K descriptor's address with FEAT_LPA: OA[47:16] in place, OA[51:48] in bits 15:12."""
    return base & ((1 << 48) - 1) | (base >> 48) << 12 | low


def ttbr52(base, asid=0):
    """TTBR with a 52-bit address: bits 51:48 in bits 5:2 (D24.2.203)."""
    return base & ((1 << 48) - 1) | (base >> 48) << 2 | asid << 48


# --- LPA2, stage 1 -------------------------------------------------------------------------------------------------

C = "aarch64-4k-s1-lpa2"
HIGH = 0xD_0000_4800_0000  # bits 51:48 = 0b1101: OA[51:50] = 3, OA[49:48] = 1
# T0SZ = 12: 52 bits, four of which the start level -1 resolves. VA[51:48] = 5, then 9 bits a level.
va = 0x5_0080_4020_1abc & ~7
t = [HIGH + i * 0x1000 for i in range(5)]
tree = [
    (t[0] + 5 * 8, lpa2(t[1], TABLE)),
    (t[1] + 1 * 8, lpa2(t[2], TABLE)),
    (t[2] + 1 * 8, lpa2(t[3], TABLE)),
    (t[3] + 1 * 8, lpa2(t[4], TABLE)),
    (t[4] + 1 * 8, lpa2(HIGH + 0x20_0000, PAGE | AF)),
]
case(C, "4k-s1-lpa2", el1(tcr(12, ds=True), ttbr52(t[0])), tree, [
    access("read", va, pa=HIGH + 0x20_0ab8),
    # D8.16: the level of the entry that stops the walk; -1 is 0b101011.
    access("read", va | 1 << 48 << 1, fault=s1(0x2B, va | 1 << 49)),  # VA[51:48] = 7: entry invalid
    access("read", va ^ 1 << 39, fault=s1(0x04, va ^ 1 << 39)),  # level 0 entry 0 invalid
    access("write", va ^ 1 << 52, fault=s1(0x04, va ^ 1 << 52)),  # beyond 52 bits: level 0 translation fault
], ram=HIGH)
# A level -1 table beyond the output size: 0b101001. IPS = 48 bits, entry says bit 48.
case(C, "4k-s1-lpa2", el1(tcr(12, ips=5, ds=True), LOW), [(LOW + 5 * 8, LOW + 0x1000 | 1 << 48 | TABLE)],
     [access("read", va, fault=s1(0x29, va))])
# The start table is not there: an abort on a level -1 walk is 0b010011.
case(C, "4k-s1-lpa2", el1(tcr(12, ds=True), ttbr52(0x8000_0000)), [], [access("read", va, fault=s1(0x13, va))])
# A 512 GB block at level 0, which DS = 1 allows; OA[51:39] with OA[51:50] in bits 9:8.
flat = LOW | 0x0_0000_0000_0123
block = lpa2(0xC_0000_0000_0000, BLOCK | AF)
case(C, "4k-s1-lpa2", el1(tcr(16, ds=True), ttbr52(0xC_0000_4800_0000)),
     [(0xC_0000_4800_0000 + 0, block)],
     [access("read", 0x4812_3450, pa=0xC_0000_4812_3450),
      access("execute", 0x4812_3454, size=4, pa=0xC_0000_4812_3454),
      access("read", 0x4812_3450, "EL0", fault=s1(0x0C, 0x4812_3450)),  # permission fault, level 0
      ], ram=0xC_0000_4800_0000)
# Its Access flag clear: access flag fault, level 0 (0b001000).
case(C, "4k-s1-lpa2", el1(tcr(16, ds=True), ttbr52(LOW)), [(LOW, lpa2(0, BLOCK))],
     [access("read", 0x4812_3450, fault=s1(0x08, 0x4812_3450))])
# Without DS the same block is reserved: translation fault, level 0.
case(C, "4k-s1", el1(tcr(16), LOW), [(LOW, BLOCK | AF)], [access("read", 0x4812_3450, fault=s1(0x04, 0x4812_3450))])
# The upper half, T1SZ = 12.
up = 0xFFF0_0000_0000_0000 | 0x3_0000_0000_1000
case(C, "4k-s1-lpa2", el1(tcr(t1sz=12, ds=True), 0, ttbr52(HIGH)), [
    (HIGH + 3 * 8, lpa2(HIGH + 0x1000, TABLE)), (HIGH + 0x1000, lpa2(HIGH + 0x2000, TABLE)),
    (HIGH + 0x2000, lpa2(HIGH + 0x3000, TABLE)), (HIGH + 0x3000, lpa2(HIGH + 0x4000, TABLE)),
    (HIGH + 0x4008, lpa2(HIGH + 0x5000, PAGE | AF | USER)),
], [access("write", up | 0x40, "EL0", pa=HIGH + 0x5040),
    access("write", up & ~(1 << 52), fault=s1(0x04, up & ~(1 << 52)))], ram=HIGH)
# Without DS, T0SZ = 12 is below the minimum of 16: level 0 translation fault (D8.2.1).
case(C, "4k-s1", el1(tcr(12), LOW), [(LOW + 5 * 8, LOW + 0x1000 | TABLE)], [access("read", va, fault=s1(0x04, va))])

C = "aarch64-16k-s1-lpa2"
# 16K, T0SZ = 12: level 0 resolves VA[51:47], levels 1 and 2 eleven bits each.
va = 9 << 47 | 3 << 36 | 5 << 25 | 7 << 14 | 0x1230
case(C, "16k-s1-lpa2", el1(tcr(12, tg="16k", ds=True), ttbr52(HIGH)), [
    (HIGH + 9 * 8, lpa2(HIGH + 0x4000, TABLE)), (HIGH + 0x4000 + 3 * 8, lpa2(HIGH + 0x8000, TABLE)),
    (HIGH + 0x8000 + 5 * 8, lpa2(HIGH + 0xC000, TABLE)), (HIGH + 0xC000 + 7 * 8, lpa2(HIGH + 0x1_0000, PAGE | AF)),
], [access("read", va, pa=HIGH + 0x1_1230),
    access("read", va ^ 1 << 47, fault=s1(0x04, va ^ 1 << 47)),
    access("read", va ^ 1 << 25, fault=s1(0x06, va ^ 1 << 25))], ram=HIGH)
# A 64 GB block at level 1, with DS only.
blk = 0xC_0010_0000_0000
for ds in (True, False):
    ctl = el1(tcr(17 if ds else 17, tg="16k", ds=ds), ttbr52(LOW) if ds else LOW)
    outcome = dict(fault=s1(0x10, 0x1_2345_6780)) if ds else dict(fault=s1(0x05, 0x1_2345_6780))
    # T0SZ = 17: 47 bits, start level 1. The block is fine (an external abort on the access: nothing is there) or reserved.
    case(C, "16k-s1-lpa2" if ds else "16k-s1", ctl, [(LOW, lpa2(blk, BLOCK | AF) if ds else BLOCK | AF)],
         [access("read", 0x1_2345_6780, **outcome)])

# --- Sizes: FEAT_TTST, FEAT_LVA ------------------------------------------------------------------------------------

C = "aarch64-4k-s1-tsz"
# T0SZ = 48: 16 bits, the start level is 3 and resolves four of them.
case(C, "4k-s1", el1(tcr(48), LOW), [(LOW + 10 * 8, LOW + 0x1000 | PAGE | AF)],
     [access("read", 0xA128, pa=LOW + 0x1128), access("read", 0x1_A128, fault=s1(0x04, 0x1_A128)),
      access("read", 0xB128, fault=s1(0x07, 0xB128))])
# The table of 16 entries is aligned to 128 bytes, not more.
case(C, "4k-s1", el1(tcr(48), LOW + 0x1080), [(LOW + 0x1080 + 8, LOW | PAGE | AF)], [access("read", 0x1128, pa=LOW + 0x128)])
for t0sz in (49, 55, 15, 0):
    case(C, "4k-s1", el1(tcr(t0sz), LOW), [(LOW, LOW + 0x1000 | PAGE | AF)], [access("read", 0x128, fault=s1(0x04, 0x128))])
case(C, "4k-s1", el1(tcr(t1sz=48), 0, LOW), [(LOW + 15 * 8, LOW + 0x1000 | PAGE | AF)],
     [access("read", 0xFFFF_FFFF_FFFF_F128, pa=LOW + 0x1128),
      access("read", 0xFFFF_FFFF_FFFE_F128, fault=s1(0x04, 0xFFFF_FFFF_FFFE_F128))])
C = "aarch64-64k-s1-tsz"
# T0SZ = 47 is the largest for 64K: 17 bits, one of which level 3 resolves.
case(C, "64k-s1", el1(tcr(47, tg="64k"), LOW), [(LOW + 8, LOW + 0x1_0000 | PAGE | AF)], [access("read", 0x1_2340, pa=LOW + 0x1_2340)])
case(C, "64k-s1", el1(tcr(48, tg="64k"), LOW), [(LOW, LOW + 0x1_0000 | PAGE | AF)], [access("read", 0x340, fault=s1(0x04, 0x340))])
# FEAT_LVA: T0SZ = 12, level 1 resolves VA[51:42]; FEAT_LPA: 4 TB blocks at level 1, OA[51:48] in bits 15:12.
va = 0x3FF << 42 | 0x4812_3450
case(C, "64k-s1", el1(tcr(12, tg="64k"), ttbr52(0xC_0000_4800_0000)), [(0xC_0000_4800_0000 + 0x3FF * 8, lpa(0xC_0000_0000_0000, BLOCK | AF))],
     [access("read", va, pa=0xC_0000_4812_3450), access("read", va ^ 1 << 42, fault=s1(0x05, va ^ 1 << 42))], ram=0xC_0000_4800_0000)
# 42-bit space: start level 2, blocks of 512 MB with high address bits.
case(C, "64k-s1", el1(tcr(22, tg="64k"), ttbr52(0xC_0000_4800_0000)), [(0xC_0000_4800_0000 + 2 * 8, lpa(0xC_0000_4000_0000, BLOCK | AF))],
     [access("read", 2 << 29 | 0x812_3450, pa=0xC_0000_4812_3450)], ram=0xC_0000_4800_0000)

# --- Stage 2 with 16K and 64K granules ------------------------------------------------------------------------------

leaf2 = S2R | S2W | AF | S2NORMAL
C = "aarch64-16k-s2"
# T0SZ = 24: 40 bits; SL0 = 1 starts at level 2, where 15 bits are resolved: sixteen tables of 2048 entries in a row.
ipa = 0x7FFF << 25 | 6 << 14 | 0x2340
base2 = LOW + 0x4_0000
case(C, "16k-s2", guest(vtcr(24, 1, "16k"), base2 | 7 << 48), [
    (base2 + 0x7FFF * 8, LOW + 0x10_0000 | TABLE), (LOW + 0x10_0000 + 6 * 8, LOW + 0x20_0000 | PAGE | leaf2),
    (LOW + 0x10_0000 + 7 * 8, LOW + 0x20_4000 | PAGE | AF | S2R | S2NORMAL),
    (LOW + 0x10_0000 + 8 * 8, LOW + 0x20_8000 | PAGE | S2R | S2NORMAL),
], [access("read", ipa, pa=LOW + 0x20_2340), access("write", ipa, pa=LOW + 0x20_2340),
    access("write", ipa + 0x4000, fault=s2(0x0F, ipa + 0x4000)),  # read-only: permission, HPFAR UNKNOWN
    access("read", ipa + 0x8000, fault=s2(0x0B, ipa + 0x8000, ipa + 0x8000)),  # Access flag
    access("read", ipa + 0xC000, fault=s2(0x07, ipa + 0xC000, ipa + 0xC000)),
    access("read", ipa - (1 << 25), fault=s2(0x06, ipa - (1 << 25), ipa - (1 << 25))),
    access("read", 1 << 40, fault=s2(0x04, 1 << 40, 1 << 40))])  # beyond the input size: level 0
# SL0 = 0 starts at level 3; 14 + 11 + 4 bits are the most that it can resolve.
for t0sz, good in ((35, True), (34, False)):
    outcome = dict(pa=LOW + 0x2340) if good else dict(fault=s2(0x04, 0x2340, 0x2340))
    case(C, "16k-s2", guest(vtcr(t0sz, 0, "16k"), base2), [(base2, LOW | PAGE | leaf2)], [access("read", 0x2340, **outcome)])
# SL0 = 2 starts at level 1; SL0 = 3 is reserved without LPA2.
case(C, "16k-s2", guest(vtcr(17, 2, "16k"), base2), [(base2 + 8, LOW + 0x8_0000 | TABLE), (LOW + 0x8_0000 + 3 * 8, (LOW & ~0x1FF_FFFF) | BLOCK | leaf2)],
     [access("read", 1 << 36 | 3 << 25 | 0x40, pa=(LOW & ~0x1FF_FFFF) + 0x40)])
case(C, "16k-s2", guest(vtcr(17, 3, "16k"), base2), [(base2 + 8, LOW + 0x8_0000 | TABLE)], [access("read", 1 << 36, fault=s2(0x04, 1 << 36, 1 << 36))])
# An update of dirty state: HA and HD, DBM set, S2AP[1] clear (D8.5.4).
clean = LOW + 0x20_0000 | PAGE | S2R | S2NORMAL | DBM
case(C, "16k-s2", guest(vtcr(24, 1, "16k", ha=1, hd=1), base2), [(base2, LOW + 0x10_0000 | TABLE), (LOW + 0x10_0000, clean)],
     [access("read", 0x10, pa=LOW + 0x20_0010), access("write", 0x10, pa=LOW + 0x20_0010)],
     after={LOW + 0x10_0000: clean | AF | S2W})

C = "aarch64-16k-s2-lpa2"
# SL0 = 3 with DS: start level 0; T0SZ = 12.
ipa = 0x1F << 47 | 1 << 36 | 2 << 25 | 3 << 14 | 0x10
case(C, "16k-s2-lpa2", guest(vtcr(12, 3, "16k", ds=True), ttbr52(HIGH)), [
    (HIGH + 0x1F * 8, lpa2(HIGH + 0x4000, TABLE)), (HIGH + 0x4008, lpa2(HIGH + 0x8000, TABLE)),
    (HIGH + 0x8010, lpa2(HIGH + 0xC000, TABLE)), (HIGH + 0xC018, lpa2(HIGH + 0x1_0000, PAGE | S2R | S2W | AF | S2NORMAL)),
], [access("read", ipa, pa=HIGH + 0x1_0010), access("read", ipa ^ 1 << 47, fault=s2(0x04, ipa ^ 1 << 47, ipa ^ 1 << 47))], ram=HIGH)

C = "aarch64-64k-s2"
# T0SZ = 18: 46 bits; SL0 = 1 starts at level 2 with 17 bits: sixteen tables.
ipa = 0x1_FFFF << 29 | 9 << 16 | 0x8_000
base2 = LOW + 0x100_0000
case(C, "64k-s2", guest(vtcr(18, 1, "64k"), ttbr52(base2)), [
    (base2 + 0x1_FFFF * 8, LOW + 0x20_0000 | TABLE), (LOW + 0x20_0000 + 9 * 8, LOW + 0x30_0000 | PAGE | leaf2),
], [access("read", ipa, pa=LOW + 0x30_8000), access("execute", ipa, size=4, pa=LOW + 0x30_8000),
    access("read", ipa ^ 1 << 16, fault=s2(0x07, ipa ^ 1 << 16, ipa ^ 1 << 16)),
    access("read", ipa ^ 1 << 29, fault=s2(0x06, ipa ^ 1 << 29, ipa ^ 1 << 29))])
# 52-bit output addresses, and level 1 from SL0 = 2.
case(C, "64k-s2", guest(vtcr(12, 2, "64k"), ttbr52(0xC_0000_4800_0000)), [(0xC_0000_4800_0000 + 0x3FF * 8, lpa(0xC_0000_0000_0000, BLOCK | leaf2))],
     [access("read", 0x3FF << 42 | 0x4812_3450, pa=0xC_0000_4812_3450)], ram=0xC_0000_4800_0000)
# SL0 = 3 is reserved.
case(C, "64k-s2", guest(vtcr(18, 3, "64k"), ttbr52(base2)), [], [access("read", 0, fault=s2(0x04, 0, 0))])
# XN with FEAT_XNX (D8.5.2): 01 lets EL0 execute, 11 EL1.
for xn, el0, el1_ in ((0, True, True), (1, True, False), (2, False, False), (3, False, True)):
    leaf = LOW + 0x30_0000 | PAGE | leaf2 | xn << 53
    def run(priv, ok):
        return access("execute", 0x40, priv, 4, **(dict(pa=LOW + 0x30_0040) if ok else dict(fault=s2(0x0F, 0x40))))
    case(C, "64k-s2", guest(vtcr(22, 1, "64k"), base2), [(base2, LOW + 0x20_0000 | TABLE), (LOW + 0x20_0000, leaf)],
         [run("EL0", el0), run("EL1", el1_), run("EL0", el0)])

C = "aarch64-4k-s2-lpa2"
# SL2 = 1, SL0 = 0: start level -1. With any other SL0 it is reserved.
ipa = 0xF_0000_0000_1238
case(C, "4k-s2-lpa2", guest(vtcr(12, 0, ds=True, sl2=1), ttbr52(HIGH)), [
    (HIGH + 15 * 8, lpa2(HIGH + 0x1000, TABLE)), (HIGH + 0x1000, lpa2(HIGH + 0x2000, TABLE)), (HIGH + 0x2000, lpa2(HIGH + 0x3000, TABLE)),
    (HIGH + 0x3000, lpa2(HIGH + 0x4000, TABLE)), (HIGH + 0x4008, lpa2(HIGH + 0x6000, PAGE | S2R | AF | S2NORMAL)),
], [access("read", ipa, pa=HIGH + 0x6238),
    access("read", 0xE_0000_0000_1238, fault=s2(0x2B, 0xE_0000_0000_1238, 0xE_0000_0000_1238)),
    access("write", ipa, fault=s2(0x0F, ipa))], ram=HIGH)
case(C, "4k-s2-lpa2", guest(vtcr(12, 1, ds=True, sl2=1), ttbr52(LOW)), [], [access("read", ipa, fault=s2(0x04, ipa, ipa))])
case(C, "4k-s2-lpa2", guest(vtcr(12, 0, ps=5, ds=True, sl2=1), LOW), [(LOW + 15 * 8, LOW | 1 << 49 | TABLE)],
     [access("read", ipa, fault=s2(0x29, ipa, ipa))])
case(C, "4k-s2-lpa2", guest(vtcr(12, 0, ds=True, sl2=1), 0x8000_0000), [], [access("read", ipa, fault=s2(0x13, ipa))])
# SL0 = 2 starts at level 0, which resolves 16 bits at most for 52: 48 + 4 joined tables... only up to 52 bits do fit.
case(C, "4k-s2-lpa2", guest(vtcr(12, 2, ds=True), ttbr52(LOW + 0x1_0000)), [(LOW + 0x1_0000 + 0x1FFF * 8, lpa2(0, BLOCK | leaf2 & ~0x300))],
     [access("read", 0xF_FF80_4812_3450, pa=0x4812_3450)])

# --- Both stages, other granules ------------------------------------------------------------------------------------

for g, bits, shift3 in (("16k", 14, 11), ("64k", 16, 13)):
    C = f"aarch64-{g}-s1+s2"
    page = 1 << bits
    # Stage 2: 2^(bits+shift3) bytes in one table at level 3, identity from IPA 0 upwards into RAM.
    s2table, s1table, data, data2 = LOW + 0x100_0000, LOW + 0x1_0000 * 3, LOW + 0x1_0000 * 8, LOW + 0x1_0000 * 12
    span = bits + shift3
    two = vtcr(64 - span, 0, g)
    two_ha = vtcr(64 - span, 0, g, ha=1, hd=1)
    one = tcr(64 - span, tg=g)
    one_ha = tcr(64 - span, tg=g, ha=1, hd=1)
    t1 = 5 << bits  # the stage 1 table's IPA
    ent2 = lambda index: s2table + index * 8
    def both(two, one, mem, steps, after=None):
        case(C, f"{g}-s1+s2", guest(two, s2table, **el1(one, t1)), mem, steps, after)
    va = 2 << bits | 0x128
    map1 = (s1table + 2 * 8, 9 << bits | PAGE | AF)
    both(two, one, [(ent2(5), s1table | PAGE | leaf2), (ent2(9), data | PAGE | leaf2), map1], [
        access("write", va, pa=data + 0x128),
        access("read", va, "EL0", fault=s1(0x0F, va)),
        access("read", va ^ 1 << bits, fault=s1(0x07, va ^ 1 << bits)),
    ])
    # The stage 1 table is not mapped at stage 2: S1PTW, HPFAR of the descriptor.
    both(two, one, [(ent2(9), data | PAGE | leaf2), map1], [access("write", va, fault=s2(0x07, va, t1, True))])
    # Nor is its page readable: a permission fault with S1PTW has HPFAR.
    both(two, one, [(ent2(5), s1table | PAGE | AF | S2W | S2NORMAL), (ent2(9), data | PAGE | leaf2), map1],
         [access("read", va, fault=s2(0x0F, va, t1, True))])
    # The result is not mapped at stage 2.
    both(two, one, [(ent2(5), s1table | PAGE | leaf2), map1], [access("read", va, fault=s2(0x07, va, 9 << bits))])
    # Hardware sets the Access flag of the stage 1 leaf: its table must be writable at stage 2 (D8.5.5).
    young = 9 << bits | PAGE
    readonly = s1table | PAGE | AF | S2R | S2NORMAL
    both(two, one_ha, [(ent2(5), readonly), (ent2(9), data | PAGE | leaf2), (s1table + 16, young)],
         [access("read", va, fault=s2(0x0F, va, t1, True))])
    # Where stage 2 manages dirty state itself, that store makes the table's page dirty as well.
    both(two_ha, one_ha, [(ent2(5), readonly | DBM), (ent2(9), data | PAGE | S2R | S2NORMAL), (s1table + 16, young)],
         [access("read", va, pa=data + 0x128)],
         after={ent2(5): readonly | DBM | S2W, ent2(9): data | PAGE | S2R | S2NORMAL | AF, s1table + 16: young | AF})
    # Stage 1 stays as it is when its own permission refuses, and has been updated when stage 2 refuses the result.
    both(two_ha, one_ha, [(ent2(5), s1table | PAGE | leaf2), (ent2(9), data | PAGE | AF | S2R | S2NORMAL), (s1table + 16, young)],
         [access("write", va, fault=s2(0x0F, va))], after={s1table + 16: young | AF})
    # A stage 2 page moves: IPAS2E1 and then VMALLE1 (D8.17.6).
    both(two, one, [(ent2(5), s1table | PAGE | leaf2), (ent2(9), data | PAGE | leaf2), map1], [
        access("read", va, pa=data + 0x128), poke(ent2(9), data2 | PAGE | leaf2), tlbi("ipas2e1", ipa=9 << bits), tlbi("vmalle1"),
        access("read", va, pa=data2 + 0x128), access("write", va, pa=data2 + 0x128)])

# --- TLB range invalidation ---------------------------------------------------------------------------------------

C = "aarch64-4k-s1-range"
tree = [(LOW + 0x1000, LOW + 0x2000 | TABLE)]
l3 = LOW + 0x2000
old = [(l3 + i * 8, LOW + 0x10_0000 + i * 0x1000 | PAGE | AF | NG) for i in range(8)]
for kind, operands in (("rvae1", dict(asid=3)), ("rvaae1", {}), ("rvale1", dict(asid=3)), ("rvaale1", {}), ("rvae1is", dict(asid=3))):
    steps = [access("read", i * 0x1000 | 8, pa=LOW + 0x10_0008 + i * 0x1000) for i in range(8)]
    steps += [poke(l3 + i * 8, LOW + 0x20_0000 + i * 0x1000 | PAGE | AF | NG) for i in range(2, 6)]
    steps += [tlbi(kind, va=0x2000, pages=4, **operands)]
    steps += [access("read", i * 0x1000 | 8, pa=(LOW + (0x20_0008 if 2 <= i < 6 else 0x10_0008)) + i * 0x1000) for i in range(8)]
    case(C, "4k-s1", el1(tcr(34, t1sz=34), LOW + 0x1000 | 3 << 48), tree + old, steps)
# A range that holds part of a block drops the block.
case(C, "4k-s1", el1(tcr(34, t1sz=34), LOW + 0x1000 | 3 << 48), [(LOW + 0x1000 + 8, 0x4820_0000 | BLOCK | AF | NG)], [
    access("read", 0x20_0000, pa=0x4820_0000), access("read", 0x3F_F000, pa=0x483F_F000),
    poke(LOW + 0x1008, 0x4840_0000 | BLOCK | AF | NG), tlbi("rvae1", va=0x3F_E000, pages=2, asid=3),
    access("read", 0x20_0000, pa=0x4840_0000), access("read", 0x3F_F000, pa=0x485F_F000)])
# The upper half: addresses of TLBI operands are sign-extended from bit 55.
hi = 0xFFFF_FFFF_C000_0000
case(C, "4k-s1", el1(tcr(34, t1sz=34), 0, LOW + 0x1000), tree + old, [
    access("read", hi + 0x3008, pa=LOW + 0x10_3008), poke(l3 + 24, LOW + 0x20_3000 | PAGE | AF | NG),
    tlbi("rvaae1", va=hi + 0x2000, pages=2), access("read", hi + 0x3008, pa=LOW + 0x20_3008)])
C = "aarch64-4k-s2-range"
case(C, "4k-s2", guest(vtcr(34, 0), LOW + 0x1000), tree + [(l3 + i * 8, LOW + 0x10_0000 + i * 0x1000 | PAGE | leaf2) for i in range(4)],
     [access("read", i * 0x1000, pa=LOW + 0x10_0000 + i * 0x1000) for i in range(4)]
     + [poke(l3 + i * 8, LOW + 0x20_0000 | PAGE | leaf2) for i in (1, 2)]
     + [tlbi("ripas2e1", ipa=0x1000, pages=2), tlbi("vmalle1")]
     + [access("read", i * 0x1000, pa=LOW + (0x20_0000 if i in (1, 2) else 0x10_0000 + i * 0x1000)) for i in range(4)])

# --- The contiguous hint, page-crossing accesses ----------------------------------------------------------------------

C = "aarch64-4k-s1-runs"
run = [(l3 + i * 8, LOW + 0x10_0000 + i * 0x1000 | PAGE | AF | CONT) for i in range(16)]
moved = [poke(l3 + i * 8, LOW + 0x20_0000 + i * 0x1000 | PAGE | AF | CONT) for i in range(16)]
gone = [poke(l3 + i * 8, 0) for i in range(16)]
# Break-before-make of a run, with one TLBI for each of its pages: which page an entry was made for does not matter.
case(C, "4k-s1", el1(tcr(34, t1sz=34), LOW + 0x1000), tree + run,
     [access("read", 0x3010, pa=LOW + 0x10_3010)] + gone + [tlbi("vaae1", va=i * 0x1000) for i in range(16)] + moved
     + [access("read", i * 0x1000 | 8, pa=LOW + 0x20_0008 + i * 0x1000) for i in range(16)])
# An access over two pages: the second part's address, or the fault of the part that has one.
pair = [(l3, LOW + 0x10_0000 | PAGE | AF), (l3 + 8, LOW + 0x30_0000 | PAGE | AF), (l3 + 24, LOW + 0x30_0000 | PAGE | AF)]
case(C, "4k-s1", el1(tcr(34, t1sz=34), LOW + 0x1000), tree + pair, [
    access("read", 0xFFC, pa=LOW + 0x10_0FFC, pa2=LOW + 0x30_0000),
    access("write", 0xFFF, size=2, pa=LOW + 0x10_0FFF, pa2=LOW + 0x30_0000),
    access("read", 0x1FFC, fault=s1(0x07, 0x2000)),
    access("read", 0x2FFC, fault=s1(0x07, 0x2FFC))])
# Device memory takes aligned accesses only (D8.6.3); AttrIndx 1 is Device-nGnRnE. The alignment fault comes before the
# permission fault, and after the Access flag fault (D8.15).
dev = 1 << 2
case(C, "4k-s1", el1(tcr(34, t1sz=34), LOW + 0x1000), tree + [(l3, LOW + 0x10_0000 | PAGE | AF | dev), (l3 + 8, LOW + 0x10_0000 | PAGE | dev)], [
    access("read", 0x10, pa=LOW + 0x10_0010), access("read", 0x11, fault=s1(0x21, 0x11)), access("write", 0x12, size=4, fault=s1(0x21, 0x12)),
    access("read", 0x11, "EL0", fault=s1(0x21, 0x11)), access("read", 0x10, "EL0", fault=s1(0x0F, 0x10)),
    access("read", 0x1011, fault=s1(0x0B, 0x1011))])
# SCTLR_EL1.A asks for alignment everywhere, before any translation.
case(C, "4k-s1", el1(tcr(34, t1sz=34), LOW + 0x1000, sctlr=SCTLR | 2), tree, [access("read", 0x7FF1, fault=s1(0x21, 0x7FF1)), access("read", 0x7FF0, fault=s1(0x07, 0x7FF0))])

# --- EL2 and EL2&0 ---------------------------------------------------------------------------------------------------

C = "aarch64-4k-el2"


def el2(tcr, ttbr, sctlr=0x30C5_0801):
    return {"hcr_el2": 0x8000_0000, "sctlr_el2": sctlr, "tcr_el2": tcr, "ttbr0_el2": ttbr, "mair_el2": MAIR}


T2 = 34 | 5 << 16  # T0SZ, PS = 48 bits
root = LOW + 0x1000
leaves = [
    (l3 + 0, LOW + 0x10_0000 | PAGE | AF | USER),  # AP[1] is RES1 here
    (l3 + 8, LOW + 0x10_1000 | PAGE | AF | USER | RO | UXN),  # XN is bit 54
    (l3 + 16, LOW + 0x10_2000 | PAGE | AF | PXN),  # PXN is RES0, AP[1] clear makes no difference
    (l3 + 24, LOW + 0x10_3000 | PAGE),
]
two_steps = [
    access("write", 0x10, "EL2", pa=LOW + 0x10_0010), access("execute", 0x10, "EL2", 4, pa=LOW + 0x10_0010),
    access("write", 0x10, "EL2", pa=LOW + 0x10_0010, pan=True),  # PAN has no meaning in a regime of one privilege
    access("write", 0x1010, "EL2", fault=s1(0x0F, 0x1010)), access("execute", 0x1010, "EL2", 4, fault=s1(0x0F, 0x1010)),
    access("execute", 0x2010, "EL2", 4, pa=LOW + 0x10_2010), access("write", 0x2010, "EL2", pa=LOW + 0x10_2010),
    access("read", 0x3010, "EL2", fault=s1(0x0B, 0x3010)),
    access("read", 0xFFFF_FFFF_C000_0010, "EL2", fault=s1(0x04, 0xFFFF_FFFF_C000_0010)),  # there is no upper half
]
case(C, "4k-el2", el2(T2, root), tree + leaves, two_steps)
# WXN (SCTLR_EL2 bit 19).
case(C, "4k-el2", el2(T2, root, 0x30C5_0801 | 1 << 19), tree + leaves,
     [access("read", 0x10, "EL2", pa=LOW + 0x10_0010), access("execute", 0x10, "EL2", 4, fault=s1(0x0F, 0x10))])
# TBI is bit 20, TBID bit 29: a tagged address is good for data, with TBID not for fetches. FAR keeps the tag.
tag = 0x5A << 56
case(C, "4k-el2", el2(T2 | 1 << 20, root), tree + leaves, [access("read", tag | 0x10, "EL2", pa=LOW + 0x10_0010), access("execute", tag | 0x10, "EL2", 4, pa=LOW + 0x10_0010),
     access("read", tag | 0x7010, "EL2", fault=s1(0x07, tag | 0x7010))])
case(C, "4k-el2", el2(T2 | 1 << 20 | 1 << 29, root), tree + leaves, [access("read", tag | 0x10, "EL2", pa=LOW + 0x10_0010), access("execute", tag | 0x10, "EL2", 4, fault=s1(0x04, tag | 0x10))])
# XNTable and APTable[1] bind unless HPD (bit 24) is set.
bound = [(root, LOW + 0x2000 | TABLE | 1 << 60 | 1 << 62)]
case(C, "4k-el2", el2(T2, root), bound + leaves, [access("read", 0x10, "EL2", pa=LOW + 0x10_0010), access("write", 0x10, "EL2", fault=s1(0x0F, 0x10)), access("execute", 0x10, "EL2", 4, fault=s1(0x0F, 0x10))])
case(C, "4k-el2", el2(T2 | 1 << 24, root), bound + leaves, [access("write", 0x10, "EL2", pa=LOW + 0x10_0010), access("execute", 0x10, "EL2", 4, pa=LOW + 0x10_0010)])
# HA and HD are bits 21 and 22.
clean = LOW + 0x10_3000 | PAGE | RO | DBM | USER
case(C, "4k-el2", el2(T2 | 3 << 21, root), tree + [(l3 + 24, clean)], [access("write", 0x3010, "EL2", pa=LOW + 0x10_3010)], after={l3 + 24: clean & ~RO | AF})
# TLBI VAE2, VALE2, ALLE2.
for kind, operands in (("vae2", dict(va=0)), ("vale2", dict(va=0)), ("alle2", {}), ("rvae2", dict(va=0, pages=2))):
    case(C, "4k-el2", el2(T2, root), tree + leaves, [access("read", 0x10, "EL2", pa=LOW + 0x10_0010), poke(l3, LOW + 0x20_0000 | PAGE | AF), tlbi(kind, **operands),
         access("read", 0x10, "EL2", pa=LOW + 0x20_0010), access("read", 0x1010, "EL2", pa=LOW + 0x10_1010)])
# DS is bit 32: level -1 for EL2 as well.
case(C, "4k-el2-lpa2", el2(12 | 6 << 16 | 1 << 32, ttbr52(LOW)), [], [access("read", 0x5_0000_0000_0000, "EL2", fault=s1(0x2B, 0x5_0000_0000_0000))])

C = "aarch64-4k-el20"


def el20(tcr, ttbr0=0, ttbr1=0, sctlr=0x30D0_0801):
    return {"hcr_el2": 1 << 34 | 1 << 31 | 1 << 27, "sctlr_el2": sctlr, "tcr_el2": tcr, "ttbr0_el2": ttbr0, "ttbr1_el2": ttbr1, "mair_el2": MAIR}


vhe = [(l3 + 0, LOW + 0x10_0000 | PAGE | AF | NG | USER), (l3 + 8, LOW + 0x10_1000 | PAGE | AF | NG), (l3 + 16, LOW + 0x10_2000 | PAGE | AF | NG | USER | UXN | RO)]
case(C, "4k-el20", el20(tcr(34, t1sz=34), root, root), tree + vhe, [
    access("read", 0x10, "EL0", pa=LOW + 0x10_0010), access("execute", 0x10, "EL0", 4, pa=LOW + 0x10_0010),
    access("execute", 0x10, "EL2", 4, fault=s1(0x0F, 0x10)),  # writable at EL0: never executed at EL2
    access("read", 0x10, "EL2", pa=LOW + 0x10_0010), access("read", 0x10, "EL2", pan=True, fault=s1(0x0F, 0x10)),
    access("read", 0x1010, "EL0", fault=s1(0x0F, 0x1010)), access("write", 0x1010, "EL2", pan=True, pa=LOW + 0x10_1010),
    access("execute", 0x2010, "EL0", 4, fault=s1(0x0F, 0x2010)), access("execute", 0x2010, "EL2", 4, pa=LOW + 0x10_2010),
    access("read", hi + 0x1010, "EL2", pa=LOW + 0x10_1010), access("read", hi + 0x10, "EL0", pa=LOW + 0x10_0010)])
# E0PD1 keeps EL0 out of the upper half, whatever the TLB holds.
case(C, "4k-el20", el20(tcr(34, t1sz=34, e0pd1=1), root, root), tree + vhe, [
    access("read", hi + 0x10, "EL2", pa=LOW + 0x10_0010), access("read", hi + 0x10, "EL0", fault=s1(0x04, hi + 0x10)), access("read", 0x10, "EL0", pa=LOW + 0x10_0010)])
# The ..E1 names act on EL2&0, with ASIDs.
for kind, operands in (("vae1", dict(va=0, asid=5)), ("vaae1", dict(va=0)), ("aside1", dict(asid=5)), ("vmalle1", {}), ("rvae1", dict(va=0, pages=2, asid=5))):
    case(C, "4k-el20", el20(tcr(34, t1sz=34), root | 5 << 48, root), tree + vhe, [
        access("read", 0x10, "EL0", pa=LOW + 0x10_0010), poke(l3, LOW + 0x20_0000 | PAGE | AF | NG | USER), tlbi(kind, **operands), access("read", 0x10, "EL0", pa=LOW + 0x20_0010)])

for corpus, rows in cases.items():
    corpus = corpus.replace("aarch64-", "aarch64-manual-")
    header = {"corpus": corpus, "oracle": "Arm ARM (DDI 0487), by hand", "oracle_version": "K.a", "arch": "aarch64", "seed": 0, "cases": len(rows), **IDS}
    text = "".join(json.dumps(row, separators=(",", ":")) + "\n" for row in [header, *rows])
    with open(corpus + ".jsonl.gz", "wb") as out:
        out.write(gzip.compress(text.encode(), mtime=0))
