"""Writes random AArch64 cases for modes that no recorded corpus reaches, judged by a small model of translation.

The model follows the Arm ARM's pseudocode (DDI 0487: AArch64.S1Translate, AArch64.S2Translate) one access at a time. It
knows no TLB and shares no code with the crate. With corpora as arguments it judges those instead, which is how it was
found to read the manual as the recorded machine does:

    aarch64_random.py                     writes aarch64-manual-random-*.jsonl.gz into this folder
    aarch64_random.py CORPUS.jsonl.gz...  compares the model with recorded cases
"""

import gzip
import json
import random
import sys

IDS = {
    "id_aa64mmfr0_el1": "0x2100032310201126",
    "id_aa64mmfr1_el1": "0x110112010312122",
    "id_aa64mmfr2_el1": "0x1221011112011011",
}
AF = 1 << 10


def bits(value, high, low):
    return value >> low & (1 << (high - low + 1)) - 1


class Fault(Exception):
    def __init__(self, kind, level, stage=1, ipa=None, s1ptw=False):
        self.kind, self.level, self.stage, self.ipa, self.s1ptw = kind, level, stage, ipa, s1ptw

    def fsc(self):
        base, minus = {"size": (0, 0x29), "trans": (4, 0x2B), "af": (8, 0), "perm": (12, 0), "walk": (0x14, 0x13)}.get(self.kind, (0, 0))
        if self.kind == "bus":
            return 0x10
        if self.kind == "align":
            return 0x21
        return minus if self.level < 0 else base + self.level

    def spell(self, va):
        fault = {"fsc": self.fsc(), "stage": self.stage, "s1ptw": self.s1ptw, "far": hex(va)}
        reported = self.kind in ("trans", "af", "size") or self.kind == "perm" and self.s1ptw
        if self.stage == 2 and reported:
            fault["hpfar"] = hex(self.ipa >> 12 << 4)
        return fault


class Machine:
    def __init__(self, ctl, ram, mem):
        self.r = {k: int(v, 16) for k, v in ctl.items()}
        self.base, self.size = ram
        self.mem = dict(mem)
        self.changed = {}

    def reg(self, name):
        return self.r.get(name, 0)

    def inside(self, pa, size=8):
        return self.base <= pa and pa + size <= self.base + self.size

    # -- one stage's parameters --------------------------------------------------------------------------------------

    def stage1(self, el, upper):
        hcr = self.reg("hcr_el2")
        host = hcr >> 34 & 1
        regime = "el1" if el == 1 or el == 0 and not (host and hcr >> 27 & 1) else "el2"
        tcr = self.reg("tcr_" + regime)
        two = regime == "el1" or bool(host)
        p = {"regime": regime, "two": two, "sctlr": self.reg("sctlr_" + regime), "mair": self.reg("mair_" + regime)}
        pick = lambda low, high, one: bits(tcr, *(((high if upper else low) if two else one)))
        code = pick((15, 14), (31, 30), (15, 14))
        names = {0: 12, 1: 16, 2: 14} if not (two and upper) else {1: 14, 2: 12, 3: 16}
        p["g"] = names.get(code, 12)
        p["ds"] = bool(pick((59, 59), (59, 59), (32, 32))) and p["g"] != 16
        p["tsz"] = pick((5, 0), (21, 16), (5, 0))
        p["ps"] = pick((34, 32), (34, 32), (18, 16))
        p["ha"] = pick((39, 39), (39, 39), (21, 21))
        p["hd"] = p["ha"] and pick((40, 40), (40, 40), (22, 22))
        p["hpd"] = pick((41, 41), (42, 42), (24, 24))
        p["epd"] = two and pick((7, 7), (23, 23), (0, 0)) or two and el == 0 and pick((55, 55), (56, 56), (0, 0))
        p["tbi"] = pick((37, 37), (38, 38), (20, 20))
        p["tbid"] = pick((51, 51), (52, 52), (29, 29))
        p["ttbr"] = self.reg(("ttbr1_" if upper and two else "ttbr0_") + regime)
        return p

    def stage2(self):
        vtcr = self.reg("vtcr_el2")
        p = {"g": {0: 12, 1: 16, 2: 14}.get(bits(vtcr, 15, 14), 12)}
        p["ds"] = bool(vtcr >> 32 & 1) and p["g"] != 16
        p["tsz"], p["ps"] = bits(vtcr, 5, 0), bits(vtcr, 18, 16)
        p["ha"] = vtcr >> 21 & 1
        p["hd"] = p["ha"] and vtcr >> 22 & 1
        p["ttbr"], p["sl0"], p["sl2"] = self.reg("vttbr_el2"), bits(vtcr, 7, 6), vtcr >> 33 & 1
        return p

    @staticmethod
    def sizes(p):
        """Input bits (None: out of range) and output bits."""
        low = 12 if p["ds"] or p["g"] == 16 else 16
        high = 47 if p["g"] == 16 else 48
        out = [32, 36, 40, 42, 44, 48, 52, 52][p["ps"]]
        if not p["ds"] and p["g"] != 16:
            out = min(out, 48)
        return (64 - p["tsz"] if low <= p["tsz"] <= high else None), out

    # -- the walk ----------------------------------------------------------------------------------------------------

    def walk(self, p, address, level, n, out, fetch, fail):
        """The leaf: (level, descriptor, its address, output base, size in bits, table attributes)."""
        g, stride = p["g"], p["g"] - 3
        table = p["ttbr"] & (1 << 48) - 1
        if out > 48:
            table |= bits(p["ttbr"], 5, 2) << 48
        elif table >> out:
            raise fail("size", 0)
        shift = lambda level: g + (3 - level) * stride
        first = n - shift(level)
        table &= ~((1 << first + 3) - 1)
        attributes = 0
        width = first
        while True:
            at = table + (address >> shift(level) & (1 << width) - 1) * 8
            d = fetch(at, level)
            block = d & 3 == 1
            if p["ds"]:
                blocks = {12: (0, 1, 2), 14: (1, 2)}[g]
            else:
                blocks = {12: (1, 2), 14: (2,), 16: (1, 2)}[g]
            if d & 1 == 0 or block and level not in blocks:
                raise fail("trans", level)
            oa = d & (1 << (50 if p["ds"] else 48)) - 1 & ~((1 << g) - 1)
            if out > 48 and p["ds"]:
                oa |= bits(d, 9, 8) << 50
            elif out > 48:
                oa |= bits(d, 15, 12) << 48
            elif oa >> out:
                raise fail("size", level)
            if level == 3 or block:
                size = shift(level)
                return level, d, at, oa & ~((1 << size) - 1), size, attributes
            attributes |= d >> 59
            table, level, width = oa, level + 1, stride

    def load(self, pa, level, fail):
        if not self.inside(pa):
            raise fail("walk", level)
        return self.mem.get(pa, 0)

    def update(self, pa, value):
        if self.mem.get(pa, 0) != value:
            self.mem[pa] = value
            self.changed[pa] = value

    def translate2(self, ipa, op, el0, s1ptw):
        p = self.stage2()
        fail = lambda kind, level: Fault(kind, level, 2, ipa, s1ptw)
        n, out = self.sizes(p)
        level = self.start2(p)
        if n is None or ipa >> n or level is None:
            raise fail("trans", 0)
        left = n - (p["g"] + (3 - level) * (p["g"] - 3))
        if left < 1 or left > p["g"] - 3 + 4:
            raise fail("trans", 0)
        level, d, at, base, size, _ = self.walk(p, ipa, level, n, out, lambda at, level: self.load(at, level, fail), fail)
        new = d
        if not d & AF:
            if not p["ha"]:
                raise fail("af", level)
            new |= AF
        if p["hd"] and d >> 51 & 1 and op == "write":
            new |= 1 << 7
        xn = bits(d, 54, 53)
        allowed = {"read": new >> 6 & 1, "write": new >> 7 & 1, "execute": xn in ((0, 1) if el0 else (0, 3))}[op]
        if not allowed:
            raise fail("perm", level)
        self.update(at, new)
        return base | ipa & (1 << size) - 1

    @staticmethod
    def start2(p):
        sl0 = p["sl0"]
        if p["g"] == 12:
            if p["ds"] and p["sl2"]:
                return -1 if sl0 == 0 else None
            return 3 if sl0 == 3 else 2 - sl0
        if sl0 == 3 and not (p["g"] == 14 and p["ds"]):
            return None
        return 3 - sl0

    def translate1(self, va, op, el, pan, nested):
        p = self.stage1(el, va >> 55 & 1)
        if p["tbi"] and not (op == "execute" and p["tbid"]):
            top = 0xFF if p["two"] and va >> 55 & 1 and p["sctlr"] & 1 else 0
            va = va & (1 << 56) - 1 | top << 56
        fail = lambda kind, level: Fault(kind, level)
        if not p["sctlr"] & 1:
            if va >> 52:
                raise fail("size", 0)
            return va
        n, out = self.sizes(p)
        want = (1 << 64 - n) - 1 if n and p["two"] and va >> 55 & 1 else 0
        if n is None or va >> n != want or p["epd"]:
            raise fail("trans", 0)

        def fetch(at, level):
            pa = self.translate2(at, "read", False, True) if nested else at
            return self.load(pa, level, fail)

        start = 4 - (n - p["g"] + p["g"] - 4) // (p["g"] - 3)
        level, d, at, base, size, table = self.walk(p, va, start, n, out, fetch, fail)
        new = d
        if not d & AF:
            if not p["ha"]:
                raise fail("af", level)
            new |= AF
        if p["hd"] and d >> 51 & 1 and op == "write":
            new &= ~(1 << 7)
        limits = 0 if p["hpd"] else table
        user = new >> 6 & 1 and not limits >> 2 & 1
        write = not (new >> 7 & 1 or limits >> 3 & 1)
        xn = bool(d >> 54 & 1 or limits >> 1 & 1)
        pxn = bool(d >> 53 & 1 or limits & 1)
        wxn, epan = p["sctlr"] >> 19 & 1, p["sctlr"] >> 57 & 1
        if not p["two"]:
            rights = {"read": True, "write": write, "execute": not xn and not (wxn and write)}
        elif el == 0:
            rights = {"read": user, "write": user and write, "execute": not xn and not (wxn and user and write)}
        else:
            closed = pan and (user or epan and not xn)
            # WXN looks at the stores that are allowed now, PAN included.
            stores = write and not closed
            rights = {"read": not closed, "write": stores, "execute": not pxn and not (user and write) and not (wxn and stores)}
        if not rights[op]:
            raise fail("perm", level)
        if new != d:
            self.update(self.translate2(at, "write", False, True) if nested else at, new)
        return base | va & (1 << size) - 1

    def access(self, step):
        va, op, el = int(step["va"], 16), step["op"], int(step["priv"][2])
        hcr = self.reg("hcr_el2")
        nested = hcr & 1 and el < 2 and not (el == 0 and hcr >> 34 & 1 and hcr >> 27 & 1)
        try:
            pa = self.translate1(va, op, el, step.get("pan", False), nested)
            if nested:
                pa = self.translate2(pa, op, el == 0, False)
            if not self.inside(pa, step["size"]):
                raise Fault("bus", 0)
            return {"pa": hex(pa)}
        except Fault as fault:
            return {"fault": fault.spell(va)}


# --- recorded corpora judge the model -------------------------------------------------------------------------------

def judge(path):
    rows = [json.loads(line) for line in gzip.open(path, "rt")]
    bad = 0
    for case in rows[1:]:
        mem = {int(a, 16): int(w, 16) for a, w in case["mem"].items()}
        m = Machine(case["ctl"], [int(x, 16) for x in case["ram"]], mem)
        for step in case["steps"]:
            if step["op"] == "poke":
                m.mem[int(step["pa"], 16)] = int(step["value"], 16)
                m.changed.pop(int(step["pa"], 16), None)
            elif step["op"] == "set":
                m.r.update({k: int(v, 16) for k, v in step["ctl"].items()})
            elif step["op"] != "invalidate":
                got = m.access(step)
                if any(step.get(k) != v for k, v in got.items()):
                    bad += 1
                    if bad < 6:
                        print(case["id"], step, got)
    print(path, len(rows) - 1, "cases,", bad, "disagreements")


# --- random cases -----------------------------------------------------------------------------------------------------

class Maker:
    def __init__(self, rng, mode):
        self.rng, self.mode = rng, mode
        granule, rest = mode.split("-", 1)
        self.g = {"4k": 12, "16k": 14, "64k": 16}[granule]
        self.ds = rest.endswith("-lpa2")
        self.what = rest.removesuffix("-lpa2")
        wide = self.ds or self.g == 16
        high = rng.choice([0, 0, 0xD << 48, 0x5 << 48, 0xF << 48]) if wide else 0
        self.base, self.size = high | rng.choice([0x4800_0000, 0x1_2800_0000]), 0x400_0000
        self.mem, self.ctl, self.used = {}, {}, 0
        self.wide = wide

    def chance(self, percent):
        return self.rng.randrange(100) < percent

    def table(self):
        """A free 64 KiB-aligned place for a table (or, at stage 2's start, for sixteen)."""
        self.used += 1
        return self.base + self.used * 0x1_0000

    def data(self):
        return self.base + 0x200_0000 + self.rng.randrange(0x200_0000) & ~((1 << self.g) - 1)

    def word(self, address, ds, kind, low):
        """A descriptor for an address, its high bits where the format keeps them."""
        if ds:
            d = address & (1 << 50) - 1 | (address >> 50) << 8
        elif self.g == 16:
            d = address & (1 << 48) - 1 | (address >> 48) << 12
        else:
            d = address
        return d | kind | low

    def flags(self, second):
        rng = self.rng
        f = AF if self.chance(80) else 0
        if second:
            f |= (3 << 6 if self.chance(70) else rng.randrange(4) << 6) | 0xF << 2
            f |= (rng.randrange(4) << 53 if self.chance(30) else 0) | (1 << 51 if self.chance(30) else 0)
        else:
            f |= (1 << 6 if self.chance(70) else rng.randrange(4) << 6) | rng.randrange(2) << 11
            f |= (rng.randrange(4) << 53 if self.chance(30) else 0) | (1 << 51 if self.chance(30) else 0)
        if self.chance(10):
            f |= 1 << 52
        return f

    def descend(self, table, address, level, n, place, target, second, ds, good):
        """Entries for `address` from `table` (as stored; `place` says where that is in memory) to `target`."""
        stride = self.g - 3
        width = n - (self.g + (3 - level) * stride)
        while True:
            shift = self.g + (3 - level) * stride
            at = place(table + (address >> shift & (1 << width) - 1) * 8)
            if at in self.mem and self.mem[at] & 3 == 3 and level < 3:
                # Somebody's table already.
                d = self.mem[at]
                table = d & (1 << (50 if ds else 48)) - 1 & ~((1 << self.g) - 1)
                table |= bits(d, 9, 8) << 50 if ds else bits(d, 15, 12) << 48 if self.g == 16 else 0
                level, width = level + 1, stride
                continue
            stop = self.chance(2 if good else 8)
            leaf = level == 3 or not good and level > 0 and self.chance(20) or good and level in (1, 2) and self.chance(4)
            if stop:
                self.mem[at] = self.rng.getrandbits(64) & ~self.rng.choice([1, 1, 0])
                return
            if leaf:
                out = target & ~((1 << shift) - 1) if not self.chance(4) else self.rng.getrandbits(52)
                out &= ~((1 << self.g) - 1)
                flags = (3 << 6 | AF | 0xF << 2 if second else AF | 1 << 6) if good else self.flags(second)
                self.mem[at] = self.word(out if self.wide else out & (1 << 48) - 1, ds, 3 if level == 3 else 1, flags)
                return
            table = self.new(target, second)
            above = self.rng.randrange(16) << 59 if not second and self.chance(15) else 0
            self.mem[at] = self.word(table, ds, 3, above)
            level, width = level + 1, stride

    def new(self, target, second):
        return self.table()

    def ttbr(self, base):
        return base & (1 << 48) - 1 | ((base >> 48) << 2 if self.wide else 0)

    def tsz(self):
        low = 12 if self.wide else 16
        if self.chance(6):
            return self.rng.randrange(64)
        return self.rng.choice([low, low, low + 4, 16, 25, self.rng.randrange(low, 48)])

    def ps(self):
        # As many bits as RAM needs, mostly.
        return 6 if self.base >> 48 or self.chance(70) else self.rng.choice([2, 3, 4, 5, 5])


def start1(g, n):
    return 4 - (n - g + g - 4) // (g - 3)


def single(mk, el2):
    """One stage 1 regime: TCR_EL1's layout, or that of EL2 alone."""
    rng, g = mk.rng, mk.g
    one = mk.what == "el2"
    t0, t1 = mk.tsz(), mk.tsz()
    sizes = lambda t: max(16 if g != 16 else 17, min(64 - t, 52 if mk.wide else 48))
    tg0, tg1 = {12: (0, 2), 14: (2, 1), 16: (1, 3)}[g]
    ha, hd = mk.chance(50), mk.chance(50)
    extra = rng.getrandbits(64)
    if one:
        tcr = t0 | tg0 << 14 | mk.ps() << 16 | (1 << 20 if extra & 1 else 0) | ha << 21 | hd << 22
        tcr |= (1 << 24 if extra & 6 == 6 else 0) | (1 << 29 if extra & 8 else 0) | mk.ds << 32
    else:
        tcr = t0 | t1 << 16 | tg0 << 14 | tg1 << 30 | mk.ps() << 32 | ha << 39 | hd << 40 | mk.ds << 59 | 1 << 36
        tcr |= (extra & 3) << 37 | (extra & 3 << 51) | ((extra >> 3 & 3) << 41 if extra & 0x60 == 0 else 0)
        tcr |= (extra >> 8 & 3) << 55 if extra & 0xC00 == 0 else 0
    roots = [mk.table(), mk.table()]
    mk.used += 32
    suffix = "el2" if el2 else "el1"
    sctlr = 0x30D0_0805 | (1 << 19 if mk.chance(15) else 0) | (1 << 57 if mk.chance(30) else 0)
    mk.ctl.update({"sctlr_" + suffix: sctlr, "tcr_" + suffix: tcr, "mair_" + suffix: 0x4444_4444_4444_FFFF,
                   "ttbr0_" + suffix: mk.ttbr(roots[0]) | rng.randrange(256) << 48})
    if not one:
        mk.ctl["ttbr1_" + suffix] = mk.ttbr(roots[1]) | rng.randrange(256) << 48
    spots = []
    for _ in range(rng.randrange(1, 4)):
        upper = not one and mk.chance(40)
        n = sizes(t1 if upper else t0)
        va = rng.getrandbits(n)
        if mk.chance(40) and spots:
            va = spots[-1][0] & (1 << n) - 1 ^ 1 << rng.randrange(g, n)
        mk.descend(roots[upper], va, start1(g, n), n, lambda pa: pa, mk.data(), False, mk.ds, False)
        spots.append((va | ((1 << 64) - (1 << n) if upper else 0), n))
    return spots


def two_stages(mk, stage1):
    """Stage 2, with stage 1 in front of it or off."""
    rng, g = mk.rng, mk.g
    stride = g - 3
    low = 12 if mk.wide else 16
    # A start level, and an input size that goes with it.
    levels = [3, 2, 1] + ([0] if g == 12 or g == 14 and mk.ds else []) + ([-1] if g == 12 and mk.ds else [])
    level = rng.choice(levels)
    below = g + (3 - level) * stride
    n = min(below + rng.randrange(1, stride + 5), 64 - low)
    if n <= below or n < 17:
        return two_stages(mk, stage1)
    if g == 12:
        sl0, sl2 = {3: (3, 0), 2: (0, 0), 1: (1, 0), 0: (2, 0), -1: (0, 1)}[level]
    else:
        sl0, sl2 = 3 - level, 0
    tg = {12: 0, 14: 2, 16: 1}[g]
    ha, hd = mk.chance(50), mk.chance(50)
    vtcr = 64 - n | sl0 << 6 | tg << 14 | mk.ps() << 16 | 1 << 31 | ha << 21 | hd << 22 | mk.ds << 32 | sl2 << 33
    if mk.chance(4):
        vtcr ^= 1 << rng.choice([0, 1, 2, 3, 4, 5, 6, 7])
    # Up to sixteen start tables in a row, aligned to their sum.
    root = mk.base + 0x100_0000
    mk.used += 1
    mk.ctl.update({"vtcr_el2": vtcr, "hcr_el2": 0x8000_0001, "vttbr_el2": mk.ttbr(root) | rng.randrange(256) << 48})

    def map2(ipa, pa, good):
        mk.descend(root, ipa, level, n, lambda at: at, pa, True, mk.ds, good)

    if not stage1:
        mk.ctl.update({"sctlr_el1": 0x30D0_0804, "tcr_el1": 0x25_8019_0019, "ttbr0_el1": 0, "ttbr1_el1": 0, "mair_el1": 0xFF})
        spots = []
        for _ in range(rng.randrange(1, 4)):
            ipa = rng.getrandbits(n)
            map2(ipa, mk.data(), False)
            spots.append((ipa, n))
        return spots
    n1 = rng.choice([25, 39, 42, 48] if not mk.wide else [25, 42, 48, 52])
    tg0, tg1 = {12: (0, 2), 14: (2, 1), 16: (1, 3)}[g]
    ha, hd = mk.chance(50), mk.chance(50)
    tcr = 64 - n1 | (64 - n1) << 16 | tg0 << 14 | tg1 << 30 | mk.ps() << 32 | ha << 39 | hd << 40 | mk.ds << 59 | 1 << 36
    # Stage 1's tables: intermediate addresses, each backed by a place of its own.
    backing = {}

    def intermediate(good=True):
        ipa = rng.getrandbits(n) & ~((1 << g) - 1)
        if not mk.wide:
            ipa &= (1 << 48) - 1
        pa = mk.table()
        backing[ipa] = pa
        map2(ipa, pa, good or mk.chance(50))
        return ipa

    def place(ipa):
        page = ipa & ~((1 << g) - 1)
        return backing[page] | ipa & (1 << g) - 1 if page in backing else mk.base + 0x1F0_0000

    first = intermediate()
    mk.new = lambda target, second: mk.table() if second else intermediate(mk.chance(80))
    mk.ctl.update({"sctlr_el1": 0x30D0_0805, "tcr_el1": tcr, "mair_el1": 0x4444_4444_4444_FFFF, "ttbr0_el1": mk.ttbr(first), "ttbr1_el1": mk.ttbr(first)})
    spots = []
    for _ in range(rng.randrange(1, 3)):
        va = rng.getrandbits(n1)
        ipa = rng.getrandbits(n) & ~((1 << g) - 1)
        mk.descend(first, va, start1(g, n1), n1, place, ipa, False, mk.ds, False)
        map2(ipa | va & (1 << g) - 1, mk.data(), mk.chance(50))
        spots.append((va, n1))
    return spots


def make(seed, mode):
    rng = random.Random(f"{mode} {seed}")
    mk = Maker(rng, mode)
    if mk.what in ("el2", "el20"):
        mk.ctl["hcr_el2"] = 0x8000_0000 if mk.what == "el2" else 1 << 34 | 1 << 31 | 1 << 27
        spots = single(mk, True)
    elif mk.what == "s1":
        spots = single(mk, False)
    else:
        spots = two_stages(mk, mk.what == "s1+s2")
    mk.mem = {a: w for a, w in mk.mem.items() if mk.base <= a < mk.base + mk.size}
    start = dict(mk.mem)
    m = Machine({k: hex(v) for k, v in mk.ctl.items()}, (mk.base, mk.size), mk.mem)
    steps = []
    for _ in range(rng.randrange(2, 6)):
        va, n = rng.choice(spots)
        op = rng.choice(["read", "read", "write", "execute"])
        size = 4 if op == "execute" else rng.choice([1, 2, 4, 8])
        va = va & ~0xFFF | rng.randrange(0x1000) & ~(size - 1)
        if mk.chance(8):
            va ^= 1 << rng.randrange(12, 64)
        if mk.chance(8):
            va ^= rng.randrange(256) << 56
        el = {"el2": ["EL2"], "el20": ["EL2", "EL0"]}.get(mk.what, ["EL1", "EL1", "EL0"])
        step = {"op": op, "va": hex(va), "size": size, "priv": rng.choice(el)}
        if step["priv"] != "EL0" and mk.chance(15):
            step["pan"] = True
        step.update(m.access(step))
        steps.append(step)
    return {"arch": "aarch64", "mode": mode, "ctl": {k: hex(v) for k, v in mk.ctl.items()}, "ram": [hex(mk.base), hex(mk.size)],
            "mem": {hex(a): hex(w) for a, w in sorted(start.items())}, "steps": steps,
            "after": {hex(a): hex(w) for a, w in sorted(m.changed.items())}}


MODES = ["4k-s1-lpa2", "16k-s1-lpa2", "64k-s1", "4k-s1", "16k-s1", "16k-s2", "64k-s2", "4k-s2-lpa2", "16k-s2-lpa2", "16k-s1+s2", "64k-s1+s2",
         "4k-s1+s2-lpa2", "16k-s1+s2-lpa2", "4k-el2", "4k-el2-lpa2", "16k-el2", "64k-el2", "4k-el20", "4k-el20-lpa2", "64k-el20"]


def main(count=40):
    tally = {}
    for mode in MODES:
        corpus = "aarch64-manual-random-" + mode
        rows = [{"id": f"a64-{mode}-{seed:06}", **make(seed, mode)} for seed in range(1, count + 1)]
        for row in rows:
            for step in row["steps"]:
                key = step["fault"]["fsc"] if "fault" in step else "pa"
                tally[mode, key] = tally.get((mode, key), 0) + 1
        header = {"corpus": corpus, "oracle": "aarch64_random.py, a model of the Arm ARM", "oracle_version": "1", "arch": "aarch64", "seed": 1, "cases": len(rows), **IDS}
        text = "".join(json.dumps(row, separators=(",", ":")) + "\n" for row in [header, *rows])
        with open(corpus + ".jsonl.gz", "wb") as out:
            out.write(gzip.compress(text.encode(), 9, mtime=0))
    for mode in MODES:
        print(mode, {k: v for (m, k), v in sorted(tally.items(), key=str) if m == mode})


if len(sys.argv) > 1:
    for path in sys.argv[1:]:
        judge(path)
else:
    main()
