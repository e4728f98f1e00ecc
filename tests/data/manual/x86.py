"""Writes x86 cases for what no recorded corpus reaches: 5-level paging, protection keys, PCID, #SS, accesses that
cross pages, nested paging under every guest mode. What a case expects comes from the little machine below, which
knows no TLB and follows the manuals step by step (Intel SDM Vol. 3A ch. 4, AMD APM Vol. 2 ch. 5 and 15.25). Run in
this folder; the output depends on the seed alone."""

import gzip
import json
import random

RAM = 0x1000000
P, W, U, A, D, PS, G, NX = 1, 2, 4, 0x20, 0x40, 0x80, 0x100, 1 << 63
ADDR = 0x000FFFFFFFFFF000
PG, WP, PSE, PAE, PGE = 1 << 31, 1 << 16, 1 << 4, 1 << 5, 1 << 7
LA57, PCIDE, SMEP, SMAP, PKE, PKS = 1 << 12, 1 << 17, 1 << 20, 1 << 21, 1 << 22, 1 << 24
NXE = 0x800


class Stop(Exception):
    """An access ends in a fault; `marks` are entries on the way whose accessed bit the manuals leave open."""


def ones(low, high):
    return (1 << (high + 1)) - (1 << low) if high >= low else 0


class Machine:
    def __init__(self, ctl, mem):
        self.ctl, self.mem = dict(ctl), dict(mem)
        self.latitude = set()

    # Memory: 64-bit words.

    def load(self, pa, size):
        assert pa + size <= RAM, hex(pa)
        return self.mem.get(pa & ~7, 0) >> (8 * (pa & 7)) & ((1 << (8 * size)) - 1)

    def store(self, pa, size, value):
        mask = ((1 << (8 * size)) - 1) << (8 * (pa & 7))
        word = self.mem.get(pa & ~7, 0)
        self.mem[pa & ~7] = word & ~mask | value << (8 * (pa & 7))

    # One radix tree: (entry's place, its value) of each level down to the leaf.

    def shape(self, cr0, cr4, efer):
        if not cr4 & PAE:
            return "legacy32", [22, 12], 10, 4
        if not efer & 0x400:
            return "pae", [30, 21, 12], 9, 8
        return "long", [48, 39, 30, 21, 12] if cr4 & LA57 else [39, 30, 21, 12], 9, 8

    def reserved(self, kind, shift, entry, cr4, efer):
        c, m = self.ctl, self.ctl["maxphyaddr"]
        if kind == "legacy32":
            large = shift == 22 and entry & PS and cr4 & PSE
            return entry & ones(min(m, 40) - 19, 21) if large else 0
        if kind == "pae" and shift == 30:
            return entry & (ones(1, 2) | ones(5, 8) | ones(m, 63))
        bad = ones(m, 62 if kind == "pae" else 51)
        if not efer & NXE:
            bad |= NX
        if shift >= 39:
            bad |= PS | (G if c["vendor"] == "amd" else 0)
        if shift == 30 and not c["page1gb"]:
            bad |= PS
        if shift in (21, 30) and entry & PS:
            bad |= ones(13, shift - 1)
        return entry & bad

    def walk(self, root, address, cr4, efer, place, fetch_pdpte=None):
        """Yields (entry's physical place, width, entry, shift, is it the leaf), root first."""
        kind, shifts, bits, width = self.shape(0, cr4, efer)
        table = root & (0xFFFFFFE0 if kind == "pae" else 0xFFFFF000 if kind == "legacy32" else ADDR)
        for shift in shifts:
            index = address >> shift & (3 if kind == "pae" and shift == 30 else (1 << bits) - 1)
            if kind == "pae" and shift == 30 and fetch_pdpte:
                at, entry = None, fetch_pdpte[index]
            else:
                at = place(table + index * width)
                entry = self.load(at, width)
            if not entry & P:
                raise Stop("absent")
            if self.reserved(kind, shift, entry, cr4, efer):
                raise Stop("reserved")
            large = shift in (21, 30) and entry & PS and kind == "long"
            large |= shift == 21 and entry & PS and kind == "pae"
            large |= shift == 22 and entry & PS and cr4 & PSE
            leaf = bool(shift == 12 or large)
            yield at, width, entry, shift, leaf
            if leaf:
                return
            table = entry & (0xFFFFF000 if kind == "legacy32" else ADDR)

    def collect(self, kind, path):
        """Combined rights, page base and shift, protection key; PDPTEs of PAE paging have no rights."""
        user = write = True
        nx = False
        for _, _, entry, shift, _ in path:
            if kind == "pae" and shift == 30:
                continue
            user &= bool(entry & U)
            write &= bool(entry & W)
            nx |= bool(entry & NX)
        _, _, entry, shift, _ = path[-1]
        base = entry & (0xFFFFF000 if kind == "legacy32" else ADDR) & ~((1 << shift) - 1)
        if kind == "legacy32" and shift == 22:
            base |= (entry >> 13 & 0xFF) << 32
        return user, write, nx, base, shift, (entry >> 59 & 15 if kind == "long" else 0)

    def mark(self, kind, path, write):
        for at, width, entry, shift, leaf in path:
            if kind == "pae" and shift == 30:
                continue
            new = entry | A | (D if leaf and write else 0)
            if new != entry:
                self.store(at, width, new)

    # The two stages.

    def nested(self, gpa, write, fetch, final):
        """APM 15.25: user access, guest tables count as written."""
        c = self.ctl
        code = (W if write else 0) | U | (0x10 if fetch else 0) | (1 << 32 if final else 1 << 33)
        fail = lambda why: Stop({"npf": True, "error_code": hex(code | why), "gpa": hex(gpa)})
        kind, shifts, bits, _ = self.shape(0, c["ncr4"], c["nefer"])
        if gpa >> (32 if kind != "long" else shifts[0] + bits):
            raise fail(0)  # Wider than the nested tables can index: not mapped.
        path = []
        try:
            for step in self.walk(c["ncr3"], gpa, c["ncr4"], c["nefer"], lambda pa: pa):
                path.append(step)
        except Stop as stop:
            self.open(kind, path)
            raise fail(0 if stop.args[0] == "absent" else P | 8)
        user, writable, nx, base, shift, _ = self.collect(kind, path)
        if not user or write and not writable or fetch and nx:
            self.open(kind, path)
            raise fail(P)
        self.mark(kind, path, write)
        return base | gpa & ((1 << shift) - 1)

    def open(self, kind, path):
        """A faulting walk may have set accessed bits."""
        for at, _, entry, _, _ in path:
            if at is not None and not entry & A:
                self.latitude.add(at)

    def translate(self, va, op, user, stack):
        c = self.ctl
        write, fetch = op == "write", op == "execute"
        kind, shifts, _, _ = self.shape(c["cr0"], c["cr4"], c["efer"])
        code = (W if write else 0) | (U if user else 0)
        if fetch and (c["cr4"] & SMEP or c["cr4"] & PAE and c["efer"] & NXE):
            code |= 0x10
        fail = lambda why: Stop({"vector": 14, "error_code": code | why, "cr2": hex(va)})
        place = (lambda pa: self.nested(pa, True, False, False)) if "ncr3" in c else lambda pa: pa
        path = []
        registers = c.get("pdptes") if "ncr3" not in c else None
        try:
            for step in self.walk(c["cr3"], va, c["cr4"], c["efer"], place, registers):
                path.append(step)
        except Stop as stop:
            self.open(kind, path)
            raise fail({"absent": 0, "reserved": P | 8}[stop.args[0]]) if isinstance(stop.args[0], str) else stop
        is_user, writable, nx, base, shift, key = self.collect(kind, path)
        denied = 0
        if kind == "long" and not fetch:
            register = c["pkru"] if is_user else c["pkrs"]
            if c["cr4"] & (PKE if is_user else PKS):
                if register >> (2 * key) & 1 or write and register >> (2 * key + 1) & 1 and (user or c["cr0"] & WP):
                    denied = 0x20
        refused = user and not is_user
        refused |= bool(write and not writable and (user or c["cr0"] & WP))
        refused |= fetch and nx
        if not user and is_user:
            refused |= bool(fetch and c["cr4"] & SMEP)
            refused |= bool(not fetch and c["cr4"] & SMAP and not c["rflags"] & 1 << 18)
        if refused or denied:
            self.open(kind, path)
            raise fail(P | denied)
        self.mark(kind, path, write)
        gpa = base | va & ((1 << shift) - 1)
        return self.nested(gpa, write, fetch, True) if "ncr3" in c else gpa

    def canonical(self, va):
        c = self.ctl
        if self.shape(c["cr0"], c["cr4"], c["efer"])[0] != "long":
            return True
        bits = 57 if c["cr4"] & LA57 else 48
        return va >> (bits - 1) in (0, (1 << (65 - bits)) - 1)

    def access(self, step):
        va, size = int(step["va"], 16), step["size"]
        wrap = (1 << 64) - 1 if self.ctl["efer"] & 0x400 else 0xFFFFFFFF
        user, stack = step["priv"] == "user", step.get("stack", False)
        if not self.canonical(va) or not self.canonical(va + size - 1 & wrap):
            step["fault"] = {"vector": 12 if stack else 13, "error_code": 0}
            return
        first = min(size, 0x1000 - va % 0x1000)
        before = set(self.mem.items())
        try:
            pa = self.translate(va, step["op"], user, stack)
        except Stop as stop:
            step["fault"] = stop.args[0]
            return
        if pa >= RAM:
            step["bus"], step["bus_pa"] = True, hex(pa)
            return
        if first == size:
            step["pa"] = hex(pa)
            return
        try:
            second = self.translate(va + first & wrap, step["op"], user, stack)
        except Stop as stop:
            # Whether the first part's marks stand is open.
            self.latitude |= {at for at, _ in set(self.mem.items()) - before}
            step["fault"] = stop.args[0]
            return
        if second >= RAM:
            step["bus"], step["bus_pa"] = True, hex(second)
            return
        step["pa"], step["pa2"] = hex(pa), hex(second)

    def load_pdptes(self, cr3):
        """MOV to CR3 in PAE mode; false for #GP."""
        values = [self.load((cr3 & 0xFFFFFFE0) + 8 * i, 8) for i in range(4)]
        if any(v & P and v & (ones(1, 2) | ones(5, 8) | ones(self.ctl["maxphyaddr"], 63)) for v in values):
            return False
        self.ctl["pdptes"] = values
        return True


class Builder:
    """Fills memory with tables that are nearly right."""

    def __init__(self, rng, mode):
        self.rng = rng
        self.guest, _, nested = mode.partition("+")
        self.nested = bool(nested)
        self.frames = rng.sample(range(16, RAM >> 12), 600)
        self.used_gpa = {}
        rnd = rng.random
        maxphyaddr = rng.choice([36, 39, 40, 46, 48, 52])
        cr4 = {"legacy32": 0, "pae": PAE, "4level": PAE, "5level": PAE | LA57}[self.guest]
        for bit, chance in ((PGE, 0.5), (SMEP, 0.4), (SMAP, 0.4)):
            cr4 |= bit if rnd() < chance else 0
        if self.guest == "legacy32" and rnd() < 0.8:
            cr4 |= PSE
        long = self.guest in ("4level", "5level")
        if long:
            cr4 |= (PKE if rnd() < 0.6 else 0) | (PKS if rnd() < 0.6 else 0) | (PCIDE if rnd() < 0.5 else 0)
        self.ctl = {
            "cr0": 0x80000031 | (WP if rnd() < 0.6 else 0),
            "cr3": 0,
            "cr4": cr4,
            "efer": (0x500 if long else 0) | (NXE if rnd() < 0.8 else 0),
            "pkru": rng.getrandbits(32) & rng.getrandbits(32),
            "pkrs": rng.getrandbits(32) & rng.getrandbits(32),
            "pat": 0x0007040600070406,
            "rflags": 0x2 | (1 << 18 if rnd() < 0.3 else 0),
            "maxphyaddr": maxphyaddr,
            "vendor": "amd" if self.nested or rnd() < 0.5 else "intel",
            "page1gb": rnd() < 0.7,
        }
        if self.nested:
            host = rng.choice(["long", "long", "pae", "legacy32"])
            self.ctl["ncr4"] = {"long": PAE, "pae": PAE, "legacy32": PSE if rnd() < 0.7 else 0}[host]
            self.ctl["nefer"] = (0x500 if host == "long" else 0) | (NXE if rnd() < 0.8 else 0)
            if host == "long" and rnd() < 0.3:
                self.ctl["ncr4"] |= LA57
        self.machine = Machine(self.ctl, {})
        if self.nested:
            self.ctl["ncr3"] = self.machine.ctl["ncr3"] = self.frame()
        self.entries = []
        # PCIDs are told apart from the root by 12 bits.
        pcid = rng.randrange(4) if cr4 & PCIDE else 0
        self.root = self.frame_for_guest() | (rng.randrange(128) << 5 if self.guest == "pae" else 0)
        self.ctl["cr3"] = self.machine.ctl["cr3"] = self.root | pcid

    def frame(self):
        return self.frames.pop() << 12

    def frame_for_guest(self):
        """A page for a guest table: its guest-physical address."""
        if not self.nested:
            return self.frame()
        gpa = self.rng.randrange(1, 1 << 20) << 12
        self.used_gpa[gpa] = self.frame()
        self.map(self.ctl["ncr3"], gpa, self.used_gpa[gpa], 12, nested=True)
        return gpa

    def flags(self, leaf, nested):
        rnd = self.rng.random
        flags = P if rnd() < (0.997 if nested else 0.985) else 0
        flags |= W if rnd() < (0.99 if nested else 0.85) else 0
        flags |= U if rnd() < (0.997 if nested else 0.8) else 0
        flags |= A if rnd() < 0.5 else 0
        flags |= D if leaf and rnd() < 0.5 else 0
        flags |= G if leaf and rnd() < 0.3 else 0
        flags |= self.rng.randrange(4) << 3 if rnd() < 0.2 else 0
        return flags

    def map(self, root, va, pa, size, nested):
        c, rng = self.machine.ctl, self.rng
        cr4, efer = (c["ncr4"], c["nefer"]) if nested else (c["cr4"], c["efer"])
        kind, shifts, bits, width = self.machine.shape(0, cr4, efer)
        translate = (lambda gpa: self.used_gpa[gpa & ~0xFFF] | gpa & 0xFFF) if self.nested and not nested else lambda x: x
        table = root & (0xFFFFFFE0 if kind == "pae" else ADDR)
        for shift in shifts:
            index = va >> shift & (3 if kind == "pae" and shift == 30 else (1 << bits) - 1)
            at = translate(table + index * width)
            leaf = shift == size
            entry = self.machine.load(at, width)
            if leaf or not entry:
                below = pa if leaf else self.frame() if nested else self.frame_for_guest()
                if kind == "pae" and shift == 30:
                    entry = below | P | (2 << rng.randrange(7) if rng.random() < 0.01 and (nested or self.nested) else 0)
                    entry &= ~PS
                else:
                    entry = below | self.flags(leaf, nested) | (PS if leaf and shift > 12 else 0)
                    if kind != "legacy32":
                        entry |= NX if rng.random() < (0.15 if leaf else 0.01 if nested else 0.04) else 0
                        entry |= rng.randrange(16) << 59 if kind == "long" else 0
                        if rng.random() < (0.003 if nested else 0.02):
                            entry |= 1 << rng.randrange(self.ctl["maxphyaddr"], 53)
                    elif shift == 22 and rng.random() < 0.05:
                        entry |= 1 << rng.randrange(12, 22)
                    if shift >= 39 and rng.random() < (0.003 if nested else 0.03):
                        entry |= rng.choice([PS, G])
                self.machine.store(at, width, entry)
                self.entries.append((at, width))
            if leaf:
                return
            table = entry & (0xFFFFF000 if kind == "legacy32" else ADDR)

    def sizes(self):
        kind = self.guest
        if kind == "legacy32":
            return [12, 22] if self.ctl["cr4"] & PSE else [12]
        return [12, 21] if kind == "pae" or not self.ctl["page1gb"] else [12, 21, 30]

    def populate(self):
        rng, top = self.rng, {"legacy32": 32, "pae": 32, "4level": 48, "5level": 57}[self.guest]
        pages = []
        while len(pages) < 4:
            size = rng.choice([12, 12, 12] + self.sizes())
            va = rng.getrandbits(top) & ~((1 << size) - 1)
            for page in (va, va + (1 << size) & (1 << top) - 1) if rng.random() < 0.6 and len(pages) < 3 else (va,):
                if self.nested:
                    base = rng.getrandbits(31) & ~((1 << size) - 1)
                else:
                    base = self.frame() if size == 12 else rng.choice([0, 1 << size if size < 24 else 0])
                try:
                    self.map(self.root, page, base, size, nested=False)
                except (AssertionError, KeyError):
                    continue  # Runs into a damaged or large entry on the way.
                pages.append((page, size))
        if top > 32:
            pages = [(va | ones(top, 63) if va >> top - 1 else va, size) for va, size in pages]
        self.pages = pages
        if self.nested:
            self.back(pages)

    def back(self, pages):
        """Nested mappings for the places that accesses will reach."""
        self.spots = []
        nested = self.machine.shape(0, self.ctl["ncr4"], self.ctl["nefer"])[0]
        for va, size in pages:
            offset = self.rng.getrandbits(size) & ~0xFFF
            for offset in (offset, offset + 0x1000 & (1 << size) - 1):
                self.spots.append((va + offset, 12))
                machine = Machine(self.machine.ctl, self.machine.mem)
                gpa = []
                machine.nested = lambda address, w, f, final: gpa.append(address) or self.used_gpa.get(address & ~0xFFF, 0) | address & 0xFFF
                machine.ctl.update(cr0=self.ctl["cr0"] | WP)
                try:
                    machine.translate(va + offset, "read", False, False)
                    machine.translate(va + offset, "read", True, False)
                except Stop:
                    pass
                if gpa and gpa[-1] & ~0xFFF not in self.used_gpa:
                    page = gpa[-1] & ~0xFFF
                    large = 22 if nested == "legacy32" and self.ctl["ncr4"] & PSE else 21 if nested != "legacy32" else 12
                    try:
                        if self.rng.random() < 0.3:
                            self.map(self.ctl["ncr3"], page, self.rng.randrange(3) << large, large, nested=True)
                        elif self.rng.random() < 0.95:
                            self.map(self.ctl["ncr3"], page, self.frame(), 12, nested=True)
                    except (AssertionError, KeyError):
                        pass


def case(rng, mode, number):
    try:
        b = Builder(rng, mode)
        b.populate()
    except AssertionError:
        return None  # A damaged entry leads out of RAM.
    machine = b.machine
    if b.guest == "pae" and not b.nested and not machine.load_pdptes(b.ctl["cr3"]):
        return None
    ctl = dict(b.ctl)
    mem = {hex(at): hex(word) for at, word in sorted(machine.mem.items()) if word}
    initial = dict(machine.mem)  # As it would be if walks marked nothing.
    places = b.spots if b.nested else b.pages
    steps, touched = [], set()
    for _ in range(rng.randrange(2, 7)):
        va, size = rng.choice(places)
        offset = rng.getrandbits(size)
        width = rng.choice([1, 2, 4, 8])
        if rng.random() < 0.25:
            width = rng.choice([4, 8])
            offset = (1 << size) - rng.randrange(1, 8)
        elif offset % 0x1000 + width > 0x1000:
            offset -= 8
        top = (1 << 64) - 1 if ctl["efer"] & 0x400 else 0xFFFFFFFF
        va = va + offset & top
        if top >> 32 and rng.random() < 0.05:
            va ^= 1 << rng.randrange(46, 64)
        step = {"op": rng.choice(["read", "write", "execute"]), "va": hex(va), "size": width,
                "priv": rng.choice(["user", "supervisor"])}
        if rng.random() < 0.2 and step["op"] != "execute":
            step["stack"] = True
        if step["op"] == "execute" and va % 0x1000 + width > 0x1000:
            step["size"] = 1
        machine.access(step)
        steps.append(step)
        if step["op"] == "write" and "pa" in step:
            pa = int(step["pa"], 16)
            first = min(step["size"], 0x1000 - pa % 0x1000) if "pa2" in step else step["size"]
            words = {pa & ~7, pa + first - 1 & ~7}
            if "pa2" in step:
                words.add(int(step["pa2"], 16) & ~7)
            if words & {at & ~7 for at, _ in b.entries}:
                return None  # The store would change the tables.
            touched |= words
        start = len(steps)
        change(rng, b, machine, steps)
        initial |= {int(s["pa"], 16): int(s["value"], 16) for s in steps[start:] if s["op"] == "poke"}
    after = {hex(at): hex(word) for at, word in sorted(machine.mem.items())
             if word != initial.get(at, 0) and at not in touched}
    out = {"id": f"x86-{mode}-{number:06}", "arch": "x86", "mode": mode, "ctl": shown(ctl), "ram": ["0x0", hex(RAM)],
           "mem": mem, "steps": steps, "after": after}
    if machine.latitude:
        out["a_latitude"] = [hex(at) for at in sorted(machine.latitude)]
    return out


def shown(ctl):
    return {key: value if isinstance(value, (str, bool)) else hex(value) for key, value in ctl.items() if key != "pdptes"}


def change(rng, b, machine, steps):
    """Sometimes the guest edits a table and invalidates, or writes a control register."""
    c, roll = machine.ctl, rng.random()
    if roll < 0.3 and not b.nested:
        at, width = rng.choice(b.entries)
        flip = rng.choice([P, W, U, A, D, G] + ([NX, 1 << 59, 1 << 62] if width == 8 else []))
        if b.guest == "pae" and at & ~0x1F == c["cr3"] & 0xFFFFFFE0:
            flip = rng.choice([P, P, 2, 1 << 8])
        word = machine.mem.get(at & ~7, 0) ^ flip << (8 * (at & 7))
        machine.mem[at & ~7] = word
        steps.append({"op": "poke", "pa": hex(at & ~7), "value": hex(word)})
        invalidate(rng, b, machine, steps)
    elif roll < 0.5:
        name = rng.choice(["cr0", "rflags", "pkru", "pkrs", "cr4", "efer"])
        flips = {"cr0": [WP], "rflags": [1 << 18], "cr4": [SMEP, SMAP, PGE], "efer": [NXE],
                 "pkru": [1 << i for i in range(32)], "pkrs": [1 << i for i in range(32)]}
        if c["efer"] & 0x400:
            flips["cr4"] += [PKE, PKS]
        value = c[name] ^ rng.choice(flips[name])
        pae = b.guest == "pae" and not b.nested and name == "cr4" and (value ^ c["cr4"]) & (SMEP | PGE)
        if pae and not machine.load_pdptes(c["cr3"]):
            return
        c[name] = value
        steps.append({"op": "set", "ctl": {name: hex(value)}})
    elif roll < 0.6:
        invalidate(rng, b, machine, steps)


def invalidate(rng, b, machine, steps):
    """Something that drops at least what a poke made stale: global pages survive all but these."""
    c = machine.ctl
    if b.guest == "pae":
        steps.append({"op": "invalidate", "kind": "mov-cr3", "cr3": hex(c["cr3"])})
        if not b.nested and not machine.load_pdptes(c["cr3"]):
            steps[-1]["fault"] = {"vector": 13, "error_code": 0}
    if c["cr4"] & PCIDE and rng.random() < 0.3:
        # To another PCID and back: the old one's entries are dropped by name, or stay.
        other = c["cr3"] ^ 1
        steps.append({"op": "invalidate", "kind": "mov-cr3", "cr3": hex(other | 1 << 63)})
        steps.append({"op": "invalidate", "kind": "mov-cr3", "cr3": hex(c["cr3"] | 1 << 63)})
    steps.append(rng.choice([
        {"op": "invalidate", "kind": "invpcid", "type": 2},
        {"op": "invalidate", "kind": "invpcid", "type": 2, "pcid": "0x0", "va": "0x0"},
    ]))
    if rng.random() < 0.3:
        steps.append({"op": "invalidate", "kind": "invlpg", "va": hex(rng.choice(b.pages)[0])})
    if rng.random() < 0.1:
        steps.append({"op": "invalidate", "kind": "invpcid", "type": rng.choice([0, 1]), "pcid": hex(1 << 12), "va": "0x0",
                      "fault": {"vector": 13, "error_code": 0}})


for mode, count in {"legacy32": 150, "pae": 150, "4level": 200, "5level": 300,
                    "legacy32+npt": 150, "pae+npt": 150, "4level+npt": 250, "5level+npt": 100}.items():
    rng = random.Random(f"x86 {mode}")
    cases = []
    while len(cases) < count:
        made = case(rng, mode, len(cases))
        if made:
            cases.append(made)
    name = f"x86-manual-{mode}"
    header = {"corpus": name, "oracle": "the manuals, by x86.py in this folder", "oracle_version": "1", "arch": "x86",
              "seed": 0, "cases": count}
    text = "".join(json.dumps(line, separators=(",", ":")) + "\n" for line in [header, *cases])
    with open(f"{name}.jsonl.gz", "wb") as out:
        out.write(gzip.compress(text.encode(), 9, mtime=0))
