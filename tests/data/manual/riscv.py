#!/usr/bin/env python3
"""Writes riscv-manual-*.jsonl.gz: cases that no recorded corpus reaches, each derived by hand from the privileged manual.

A case is a function whose docstring quotes the rule and names the manual's section; what it expects is written out in
it, never computed by anything that could be wrong in the same way as the crate. The helpers below only place entries
in memory and spell JSON. Run it in this folder after a change; the output is committed.
"""
import gzip
import json

V, R, W, X, U, G, A, D = (1 << i for i in range(8))
RW, RX, RWX, AD = R | W, R | X, R | W | X, A | D
SUM, MXR, MPRV, MPV = 1 << 18, 1 << 19, 1 << 17, 1 << 39
SSE, ADUE, PBMTE = 1 << 3, 1 << 61, 1 << 62
PMM7, PMM16 = 2 << 32, 3 << 32
HUPMM7, SPVP, HU = 2 << 48, 1 << 8, 1 << 9
MML, MMWP = 1, 2
OFF, TOR, NA4, NAPOT, LOCK = 0, 1 << 3, 2 << 3, 3 << 3, 1 << 7
PR, PW, PX = 1, 2, 4  # of pmpcfg: one bit below their places in a page-table entry
PRW, PRX, PRWX = PR | PW, PR | PX, PR | PW | PX
RAM, SIZE = 0x80000000, 0x100000


def mpp(mode):
    return {"U": 0, "S": 1, "M": 3}[mode] << 11


def napot(base, size):
    """pmpaddr of a naturally aligned region."""
    return base >> 2 | (size // 8 - 1)


class Case:
    """One case: a machine whose tables lie from RAM + 0x10000 on."""

    corpora = {}

    def __init__(self, corpus, mode="sv39", ext=None, **ctl):
        self.mem, self.steps, self.after, self.ext = {}, [], {}, ext
        self.free = RAM + 0x10000
        self.mode = mode
        self.ctl = {"satp": 0, "mstatus": 0, "menvcfg": 0, **ctl}
        if "+" in mode:
            self.ctl = {"hgatp": 0, "vsatp": 0, "vsstatus": 0, "hstatus": 0, "henvcfg": 0, **self.ctl}
        cases = Case.corpora.setdefault(corpus, [])
        self.id = f"{corpus}-{len(cases):06}"
        cases.append(self)
        self.roots = {}

    # Tables. A register names whose tables: satp, vsatp (in guest-physical addresses equal to physical ones), hgatp.
    def table(self, size=0x1000):
        self.free = (self.free + size - 1) & -size
        self.free += size
        return self.free - size

    def root(self, register):
        if register not in self.roots:
            base = self.table(0x4000 if register == "hgatp" else 0x1000)
            self.roots[register] = base
            self.ctl[register] |= 8 << 60 | base >> 12
        return self.roots[register]

    def map(self, va, pa, flags, level=0, register="satp", high=0):
        """Maps an Sv39 (or Sv39x4) page and returns the address of its entry."""
        table = self.root(register)
        for at in (2, 1):
            bits = 0x7ff if at == 2 and register == "hgatp" else 0x1ff
            slot = table + 8 * (va >> 12 + 9 * at & bits)
            if at == level:
                break
            if slot not in self.mem:
                self.mem[slot] = self.table() >> 2 | V
            table = self.mem[slot] >> 10 << 12
        else:
            slot = table + 8 * (va >> 12 & 0x1ff)
        self.mem[slot] = pa >> 2 | flags | V | high
        return slot

    # Steps.
    def access(self, op, va, size, priv, insn, origin, outcome):
        step = {"op": op, "va": va, "size": size, "priv": priv}
        if insn:
            step["insn"] = insn
        if origin:
            step["from"] = origin
        self.steps.append({**step, **outcome})

    def ok(self, op, va, pa, size=8, priv="S", insn=None, origin=None, pa2=None):
        outcome = {"pa": pa} if pa2 is None else {"pa": pa, "pa2": pa2}
        self.access(op, va, size, priv, insn, origin, outcome)

    def fault(self, op, va, cause, size=8, priv="S", insn=None, origin=None, tval=None, gpa=0, gva=None, tinst=0):
        """`gva` defaults to what V = 1 (or HLV) gives; `gpa` is reported shifted right by two."""
        fault = {"cause": cause, "tval": va if tval is None else tval}
        if "+" in self.mode or "hstatus" in self.ctl:
            virtual = priv in ("VS", "VU") if gva is None else gva
            fault |= {"tval2": gpa >> 2, "gva": virtual}
        if tinst:
            fault["tinst"] = tinst
        self.access(op, va, size, priv, insn, origin, {"fault": fault})

    def set(self, **ctl):
        self.steps.append({"op": "set", "ctl": ctl})

    def fence(self, kind="sfence.vma", **operands):
        self.steps.append({"op": "invalidate", "kind": kind, **operands})

    def line(self):
        def spell(value, key=None):
            if isinstance(value, dict):
                return {spell_key(k): spell(v, k) for k, v in value.items()}
            if isinstance(value, (list, tuple)):
                return [spell(v) for v in value]
            if isinstance(value, (bool, str)) or key in ("cause", "size"):
                return value
            return hex(value)

        def spell_key(key):
            return hex(key) if isinstance(key, int) else key

        case = {"id": self.id, "arch": "riscv", "mode": self.mode, "ctl": self.ctl, "ram": [RAM, SIZE],
                "mem": self.mem, "steps": self.steps, "after": self.after}
        if self.ext is not None:
            case["ext"] = self.ext
        return json.dumps(spell(case), separators=(",", ":"))


CASES = []


def case(function):
    CASES.append(function)
    return function


ALL = [NAPOT | PRWX, (1 << 54) - 1]
PAGE = RAM + 0x4000


# Physical memory protection ------------------------------------------------------------------------------------

@case
def pmp_default():
    """"If no PMP entry matches an M-mode access, the access succeeds. If no PMP entry matches an S-mode or U-mode
    access, but at least one PMP entry is implemented, the access fails." (Priority and Matching Logic)"""
    c = Case("riscv-manual-pmp", pmp=[])
    c.ok("read", PAGE, PAGE, priv="M")
    c.ok("write", PAGE, PAGE, priv="M")
    c.ok("execute", PAGE, PAGE, size=4, priv="M")
    for priv in "SU":
        c.fault("read", PAGE, 5, priv=priv)
        c.fault("write", PAGE, 7, priv=priv)
        c.fault("execute", PAGE, 1, size=4, priv=priv)


@case
def pmp_rights():
    """R, W and X each grant their own kind of access; an AMO is a load and a store, and faults as a store."""
    c = Case("riscv-manual-pmp", pmp=[[NAPOT | PR, napot(RAM, 0x1000)], [NAPOT | PRW, napot(RAM + 0x1000, 0x1000)],
                               [NAPOT | PX, napot(RAM + 0x2000, 0x1000)], [NAPOT | PRWX, napot(RAM + 0x3000, 0x1000)]])
    ro, rw, xo, rwx = (RAM + 0x1000 * i for i in range(4))
    for page, rights in ((ro, "r"), (rw, "rw"), (xo, "x"), (rwx, "rwx")):
        for op, right, cause, size in (("read", "r", 5, 8), ("write", "w", 7, 8), ("execute", "x", 1, 4)):
            if right in rights:
                c.ok(op, page, page, size=size)
            else:
                c.fault(op, page, cause, size=size)
    c.fault("write", ro, 7, insn="amo")
    c.ok("write", rw, rw, insn="amo")
    c.ok("read", ro, ro, insn="lr")
    c.fault("write", ro, 7, insn="sc")
    # M-mode is not bound by entries that are not locked ("Locking and Privilege Mode").
    c.ok("write", ro, ro, priv="M")
    c.ok("execute", ro, ro, size=4, priv="M")


@case
def pmp_locked():
    """"When the L bit is set, these permissions are enforced for all privilege modes." (Locking and Privilege Mode)"""
    c = Case("riscv-manual-pmp", pmp=[[LOCK | NAPOT | PR, napot(PAGE, 0x1000)], ALL])
    c.ok("read", PAGE, PAGE, priv="M")
    c.fault("write", PAGE, 7, priv="M")
    c.fault("execute", PAGE, 1, size=4, priv="M")
    c.ok("write", PAGE + 0x1000, PAGE + 0x1000, priv="M")


@case
def pmp_tor():
    """TOR matches pmpaddr[i-1] <= y < pmpaddr[i]; entry 0 from address 0; an empty range matches nothing.
    (Address Matching)"""
    c = Case("riscv-manual-pmp", pmp=[[TOR | PR, PAGE >> 2], [TOR | PRW, PAGE + 0x10 >> 2], [TOR | PRWX, RAM >> 2]])
    c.ok("read", PAGE - 8, PAGE - 8)
    c.fault("write", PAGE - 8, 7)
    c.ok("write", PAGE, PAGE)
    c.ok("write", PAGE + 0xf, PAGE + 0xf, size=1)
    c.fault("write", PAGE + 0x10, 7, size=1)
    c.fault("read", PAGE + 0x10, 5, size=1)


@case
def pmp_partial():
    """"The lowest-numbered PMP entry that matches any byte of an access determines whether that access succeeds or
    fails. This matching PMP entry must match all bytes of an access, or the access fails, irrespective of the L, R, W,
    and X bits." M-mode is bound by that as well. (Priority and Matching Logic)"""
    spot = PAGE + 0x100
    c = Case("riscv-manual-pmp", pmp=[[NA4 | PRWX, spot >> 2], ALL])
    c.ok("read", spot, spot, size=4)
    c.fault("read", spot, 5, size=8)
    c.fault("write", spot, 7, size=8, priv="M")
    c.fault("read", spot - 4, 5, size=8)
    c.fault("read", spot - 1, 5, size=2)
    c.ok("read", spot + 4, spot + 4, size=4)
    c.ok("write", spot + 8, spot + 8, size=8)


@case
def pmp_priority():
    """"PMP entries are statically prioritized." (Priority and Matching Logic)"""
    c = Case("riscv-manual-pmp", pmp=[[NA4, PAGE + 8 >> 2], [NAPOT | PR, napot(PAGE, 16)], ALL])
    c.ok("read", PAGE, PAGE)
    c.fault("write", PAGE, 7)
    c.fault("read", PAGE + 8, 5, size=1)
    c.fault("read", PAGE + 11, 5, size=1)
    c.ok("read", PAGE + 12, PAGE + 12, size=4)
    c.ok("write", PAGE + 16, PAGE + 16)


@case
def pmp_sub_page():
    """Protection is exact to its granularity, whatever the size of the page that is cached."""
    c = Case("riscv-manual-pmp", pmp=[[NAPOT | PR, napot(PAGE, 0x800)], [NAPOT | PRW, napot(PAGE + 0x800, 0x400)],
                               [NAPOT | PRW, napot(RAM + 0x10000, 0x10000)]])
    c.map(0x1000, PAGE, RW | AD)
    c.ok("read", 0x1000, PAGE)
    c.fault("write", 0x1000, 7)
    c.ok("write", 0x1800, PAGE + 0x800)
    c.ok("read", 0x1bf8, PAGE + 0xbf8)
    c.fault("read", 0x1c00, 5)
    c.fault("read", 0x17fc, 5)
    c.ok("read", 0x17f8, PAGE + 0x7f8)


@case
def pmp_walk_read():
    """"If accessing pte violates a PMA or PMP check, raise an access-fault exception corresponding to the original
    access type." (Virtual Address Translation Process, step 2)"""
    c = Case("riscv-manual-pmp", pmp=[[NAPOT, napot(RAM + 0x10000, 0x10000)], ALL])
    c.map(0x1000, PAGE, RWX | AD)
    c.fault("read", 0x1000, 5)
    c.fault("write", 0x1000, 7)
    c.fault("execute", 0x1000, 1, size=4)
    c.fault("write", 0x1000, 7, insn="amo")


@case
def pmp_walk_update():
    """"If a store to pte would violate a PMA or PMP check, raise an access-fault exception corresponding to the original
    access type." (step 7). Nothing is written."""
    c = Case("riscv-manual-pmp", menvcfg=ADUE, pmp=[[NAPOT | PR, napot(RAM + 0x10000, 0x10000)], ALL])
    c.map(0x1000, PAGE, RW)
    c.map(0x2000, PAGE + 0x1000, RW | A)
    c.map(0x3000, PAGE + 0x2000, RW | AD)
    c.fault("read", 0x1000, 5)
    c.fault("write", 0x1000, 7)
    c.ok("read", 0x2000, PAGE + 0x1000)
    c.fault("write", 0x2000, 7)
    c.ok("write", 0x3000, PAGE + 0x2000)


@case
def pmp_walk_is_supervisor():
    """"The data and instruction accesses in S-mode page-table walks ... are checked" as S-mode's: an unlocked entry that
    would not bind M-mode binds the walk of an MPRV access. (Physical Memory Protection and Paging)"""
    c = Case("riscv-manual-pmp", mstatus=MPRV | mpp("S"), pmp=[[NAPOT, napot(RAM + 0x10000, 0x10000)], ALL])
    c.map(0x1000, PAGE, RW | AD)
    c.fault("read", 0x1000, 5, priv="M")
    c.fault("write", 0x1000, 7, priv="M")


@case
def pmp_mprv():
    """PMP checks M-mode's loads and stores with MPP's privilege under MPRV. (Physical Memory Protection)"""
    c = Case("riscv-manual-pmp", mstatus=MPRV | mpp("U"), pmp=[[NAPOT | PR, napot(PAGE, 0x1000)]])
    c.ok("read", PAGE, PAGE, priv="M")
    c.fault("write", PAGE, 7, priv="M")
    c.fault("read", PAGE + 0x1000, 5, priv="M")
    c.ok("execute", PAGE, PAGE, size=4, priv="M")
    c.set(mstatus=MPRV | mpp("M"))
    c.ok("write", PAGE, PAGE, priv="M")


@case
def pmp_change():
    """After a change of PMP and the fence that the manual asks for, the new rules hold."""
    c = Case("riscv-manual-pmp", pmp=[ALL])
    c.map(0x1000, PAGE, RW | AD)
    c.ok("read", 0x1000, PAGE)
    c.ok("write", 0x1000, PAGE)
    c.set(pmp=[[NAPOT | PR, napot(PAGE, 0x1000)], ALL])
    c.fence()
    c.ok("read", 0x1000, PAGE)
    c.fault("write", 0x1000, 7)
    c.set(pmp=[[OFF | PRWX, napot(PAGE, 0x1000)], ALL])
    c.fence()
    c.ok("write", 0x1000, PAGE)


@case
def pmp_gstage():
    """The G-stage's tables and the final access are checked alike; these are access faults, not guest-page faults, so
    tval2 is zero. "mem" of a refused table stays unread."""
    c = Case("riscv-manual-pmp", mode="bare+sv39x4", pmp=[[NAPOT, napot(RAM + 0x10000, 0x8000)], ALL])
    c.map(0x1000, PAGE, RWX | U | AD, register="hgatp")
    c.fault("read", 0x1000, 5, priv="VS")
    c.fault("write", 0x1000, 7, priv="VU")
    c.fault("execute", 0x1000, 1, size=4, priv="VS")
    c.set(pmp=[[NAPOT | PX, napot(PAGE, 0x1000)], ALL])
    c.fence("hfence.gvma")
    c.ok("execute", 0x1000, PAGE, size=4, priv="VS")
    c.fault("read", 0x1000, 5, priv="VS")


@case
def pmp_hlvx():
    """"HLVX cannot override machine-level physical memory protection (PMP) ... the supervisor physical memory attributes
    must grant both execute and read permissions." (Hypervisor Virtual-Machine Load and Store Instructions)"""
    pages = [PAGE + 0x1000 * i for i in range(3)]
    c = Case("riscv-manual-pmp", mode="bare+sv39x4", hstatus=SPVP,
             pmp=[[NAPOT | PX, napot(pages[0], 0x1000)], [NAPOT | PR, napot(pages[1], 0x1000)],
                  [NAPOT | PRX, napot(pages[2], 0x1000)], ALL])
    for i, page in enumerate(pages):
        c.map(0x1000 * i, page, X | U | AD, register="hgatp")
    c.fault("read", 0x0, 5, size=4, priv="VS", insn="hlvx")
    c.fault("read", 0x1000, 5, size=4, priv="VS", insn="hlvx")
    c.ok("read", 0x2000, pages[2], size=4, priv="VS", insn="hlvx")


# Smepmp ---------------------------------------------------------------------------------------------------------

def mml_case(flags, machine, other):
    """One row of Smepmp's truth table for mseccfg.MML = 1: what M-mode and S or U may do."""
    c = Case("riscv-manual-smepmp", mseccfg=MML, pmp=[[NAPOT | flags, napot(PAGE, 0x1000)]])
    for priv, rights in (("M", machine), ("S", other), ("U", other)):
        for op, right, cause, size in (("read", "r", 5, 8), ("write", "w", 7, 8), ("execute", "x", 1, 4)):
            if right in rights:
                c.ok(op, PAGE, PAGE, size=size, priv=priv)
            else:
                c.fault(op, PAGE, cause, size=size, priv=priv)


@case
def smepmp_table():
    """Smepmp, "Truth table when mseccfg.MML is set", all sixteen rows."""
    for flags, machine, other in (
            (0, "", ""), (PX, "", "x"), (PW, "rw", "r"), (PW | PX, "rw", "rw"),
            (PR, "", "r"), (PRX, "", "rx"), (PRW, "", "rw"), (PRWX, "", "rwx"),
            (LOCK, "", ""), (LOCK | PX, "x", ""), (LOCK | PW, "x", "x"), (LOCK | PW | PX, "rx", "x"),
            (LOCK | PR, "r", ""), (LOCK | PRX, "rx", ""), (LOCK | PRW, "rw", ""), (LOCK | PRWX, "r", "r")):
        mml_case(flags, machine, other)


@case
def smepmp_unmatched():
    """With MML, M-mode may still load and store what no entry matches, but not fetch it; with MMWP it may do nothing
    there. S and U never may."""
    c = Case("riscv-manual-smepmp", mseccfg=MML, pmp=[])
    c.ok("read", PAGE, PAGE, priv="M")
    c.ok("write", PAGE, PAGE, priv="M")
    c.fault("execute", PAGE, 1, size=4, priv="M")
    c.fault("read", PAGE, 5, priv="S")
    c = Case("riscv-manual-smepmp", mseccfg=MMWP, pmp=[])
    c.fault("read", PAGE, 5, priv="M")
    c.fault("write", PAGE, 7, priv="M")
    c.fault("execute", PAGE, 1, size=4, priv="M")
    c = Case("riscv-manual-smepmp", mseccfg=MMWP, pmp=[[NAPOT | PRWX, napot(PAGE, 0x1000)]])
    c.ok("write", PAGE, PAGE, priv="M")
    c.fault("write", PAGE + 0x1000, 7, priv="M")


@case
def smepmp_sticky():
    """"MML ... Once set, it cannot be cleared until a PMP reset", MMWP likewise."""
    c = Case("riscv-manual-smepmp", mseccfg=MML | MMWP, pmp=[[NAPOT | PRWX, napot(PAGE, 0x1000)]])
    c.set(mseccfg=0)
    c.fault("read", PAGE, 5, priv="M")
    c.fault("read", PAGE + 0x1000, 5, priv="M")
    c.ok("read", PAGE, PAGE, priv="U")


# MPRV -----------------------------------------------------------------------------------------------------------

@case
def mprv_data_only():
    """"When MPRV=1, load and store memory addresses are translated and protected ... as though the current privilege mode
    were set to MPP. Instruction address-translation and protection are unaffected." (Memory Privilege)"""
    c = Case("riscv-manual-sv39-mprv", mstatus=MPRV | mpp("S"))
    c.map(0x1000, PAGE, RWX | AD)
    c.map(PAGE, PAGE + 0x1000, RWX | AD)
    c.ok("read", 0x1000, PAGE, priv="M")
    c.ok("write", 0x1000, PAGE, priv="M")
    c.ok("write", 0x1000, PAGE, priv="M", insn="amo")
    c.ok("read", PAGE, PAGE + 0x1000, priv="M")
    c.ok("execute", PAGE, PAGE, size=4, priv="M")
    c.fault("execute", 0x1000, 1, size=4, priv="M")
    c.set(mstatus=mpp("S"))
    c.ok("read", PAGE, PAGE, priv="M")
    c.fault("read", 0x1000, 5, priv="M")


@case
def mprv_rights():
    """MPP = U needs U pages; MPP = S may not use them but under SUM; MPP = M does not translate."""
    c = Case("riscv-manual-sv39-mprv", mstatus=MPRV | mpp("U"))
    c.map(0x1000, PAGE, RW | AD)
    c.map(0x2000, PAGE + 0x1000, RW | U | AD)
    c.map(0x3000, PAGE + 0x2000, X | AD)
    c.fault("read", 0x1000, 13, priv="M")
    c.ok("write", 0x2000, PAGE + 0x1000, priv="M")
    c.set(mstatus=MPRV | mpp("S"))
    c.ok("read", 0x1000, PAGE, priv="M")
    c.fault("write", 0x2000, 15, priv="M")
    c.fault("read", 0x3000, 13, priv="M")
    c.set(mstatus=MPRV | mpp("S") | SUM | MXR)
    c.ok("write", 0x2000, PAGE + 0x1000, priv="M")
    c.ok("read", 0x3000, PAGE + 0x2000, priv="M")
    c.set(mstatus=MPRV | mpp("M") | SUM)
    c.fault("read", 0x1000, 5, priv="M")
    c.ok("read", PAGE, PAGE, priv="M")


@case
def mprv_virtual():
    """With MPV = 1 and MPP other than M, both stages apply, and vsstatus gives SUM. "An access made with MPRV ... explicit
    memory accesses are performed as though V=1" sets GVA. (mstatus in the hypervisor extension)"""
    c = Case("riscv-manual-sv39-mprv", mode="sv39+sv39x4", mstatus=MPRV | MPV | mpp("S"))
    for page in range(RAM, RAM + 0x40000, 0x1000):
        c.map(page, page, RWX | U | AD, register="hgatp")
    c.map(0x1000, PAGE, RW | AD, register="vsatp")
    c.map(0x2000, PAGE + 0x1000, RW | U | AD, register="vsatp")
    c.map(0x3000, 0x5000, RW | AD, register="vsatp")
    c.ok("read", 0x1000, PAGE, priv="M")
    c.fault("read", 0x2000, 13, priv="M", gva=True)
    c.fault("write", 0x3008, 23, priv="M", gpa=0x5008, gva=True)
    c.set(vsstatus=SUM)
    c.ok("read", 0x2000, PAGE + 0x1000, priv="M")
    # MPP = M: no translation, whatever MPV says.
    c.set(mstatus=MPRV | MPV | mpp("M"))
    c.ok("read", PAGE, PAGE, priv="M")
    c.fault("read", 0x1000, 5, priv="M", gva=False)
    # MPV = 0: satp, which is Bare.
    c.set(mstatus=MPRV | mpp("S"))
    c.ok("read", PAGE, PAGE, priv="M")


# Pointer masking ------------------------------------------------------------------------------------------------

TAG7, TAG16 = 0x54 << 56, 0x5432 << 48


@case
def masking_per_mode():
    """Smmpm masks M by mseccfg, Smnpm masks S by menvcfg, Ssnpm masks U by senvcfg; each its own mode alone. With a Bare
    satp (and in M) the upper bits become zeros. (Pointer masking, ISA Extensions)"""
    fields = {"M": ("mseccfg", PMM16), "S": ("menvcfg", PMM16), "U": ("senvcfg", PMM16)}
    for mode, (register, value) in fields.items():
        c = Case("riscv-manual-zpm", **({"senvcfg": 0, "mseccfg": 0} | {register: value}))
        for priv in "MSU":
            if priv == mode:
                c.ok("read", TAG16 | PAGE, PAGE, priv=priv)
                c.ok("write", TAG16 | PAGE, PAGE, priv=priv)
                c.ok("write", TAG16 | PAGE, PAGE, priv=priv, insn="amo")
                # stval and mtval get the transformed address.
                c.fault("read", TAG16 | 0x1000, 5, priv=priv, tval=0x1000)
            else:
                c.fault("read", TAG16 | PAGE, 5, priv=priv)
            # Fetches are never masked.
            c.fault("execute", TAG16 | PAGE, 1, size=4, priv=priv)


@case
def masking_sign():
    """Where translation is on, the upper PMLEN bits become copies of bit XLEN-PMLEN-1: with PMLEN = 7, bit 56."""
    c = Case("riscv-manual-zpm", menvcfg=PMM7)
    c.map(0x1000, PAGE, RW | AD)
    c.map(-0x1000 & 2**64 - 1, PAGE + 0x1000, RW | AD)
    c.ok("read", TAG7 | 0x1000, PAGE)
    c.ok("read", 0x1000, PAGE)
    # Bit 56 set and 55 to 39 set: the top page, whatever the seven bits above say.
    c.ok("write", 0x01ff_ffff_ffff_f000, PAGE + 0x1000)
    c.ok("write", 0xabff_ffff_ffff_f000, PAGE + 0x1000)
    # Bit 56 clear: bits 63 to 57 become 0, and 55 to 39 do not fit.
    c.fault("read", 0xfeff_ffff_ffff_f000, 13, tval=0x00ff_ffff_ffff_f000)
    # Bit 55 is not masked by PMLEN = 7.
    c.fault("read", 1 << 55 | 0x1000, 13)
    c.set(menvcfg=PMM16)
    c.ok("read", 0xffff << 48 | 0x1000, PAGE)
    c.ok("read", 1 << 55 | 0x1000, PAGE)
    c.fault("read", 1 << 47 | 0x1000, 13, tval=0xffff_8000_0000_1000)
    c.fault("read", TAG16 | 1 << 46, 13, tval=1 << 46)
    # No fence is needed when masking is switched off ("Interaction with SFENCE.VMA").
    c.set(menvcfg=0)
    c.fault("read", TAG7 | 0x1000, 13)


@case
def masking_mxr():
    """"When MXR is in effect at the effective privilege mode where explicit memory access is performed, pointer masking
    does not apply", also where nothing is translated. M-mode is not affected by MXR."""
    c = Case("riscv-manual-zpm", menvcfg=PMM16, senvcfg=PMM16, mseccfg=PMM16, mstatus=MXR)
    c.fault("read", TAG16 | PAGE, 5)
    c.fault("write", TAG16 | PAGE, 7, priv="U")
    c.ok("read", TAG16 | PAGE, PAGE, priv="M")
    c.set(mstatus=0)
    c.ok("read", TAG16 | PAGE, PAGE)


@case
def masking_mprv():
    """"MPRV and SPVP affect pointer masking as well, causing the pointer masking settings of the effective privilege mode
    to be applied." """
    c = Case("riscv-manual-zpm", mstatus=MPRV | mpp("U"), senvcfg=PMM16, mseccfg=0)
    c.map(0x1000, PAGE, RW | U | AD)
    c.ok("read", TAG16 | 0x1000, PAGE, priv="M")
    c.set(mstatus=MPRV | mpp("S") | SUM)
    c.fault("read", TAG16 | 0x1000, 13, priv="M")
    c.set(mstatus=0)
    c.fault("read", TAG16 | PAGE, 5, priv="M")


@case
def masking_reserved():
    """PMM = 01 is reserved: WARL, here read back as 00."""
    c = Case("riscv-manual-zpm", menvcfg=1 << 32)
    c.fault("read", TAG16 | PAGE, 5)


@case
def masking_virtual():
    """henvcfg masks VS, senvcfg masks VU (Ssnpm). "When running with virtualization in VS/VU mode with vsatp.MODE = Bare,
    physical address pointer masking (zero extension) applies." """
    c = Case("riscv-manual-zpm", mode="bare+sv39x4", henvcfg=PMM16, senvcfg=0)
    c.map(0x1000, PAGE, RWX | U | AD, register="hgatp")
    c.ok("read", TAG16 | 0x1000, PAGE, priv="VS")
    c.fault("read", TAG16 | 0x1000, 21, priv="VU", gpa=TAG16 | 0x1000)
    c.fault("execute", TAG16 | 0x1000, 20, size=4, priv="VS", gpa=TAG16 | 0x1000)
    # Bit 47 set: zeros above it all the same, and no guest-physical address has it.
    c.fault("read", 0x8000_0000_1000, 21, priv="VS", gpa=0x8000_0000_1000)
    # vsstatus.MXR and HS-level MXR both switch it off.
    c.set(vsstatus=MXR)
    c.fault("read", TAG16 | 0x1000, 21, priv="VS", gpa=TAG16 | 0x1000)
    c.set(vsstatus=0, mstatus=MXR)
    c.fault("read", TAG16 | 0x1000, 21, priv="VS", gpa=TAG16 | 0x1000)


@case
def masking_hlv():
    """"Setting hstatus.HUPMM enables or disables pointer masking for HLV.* and HSV.* instructions in U-mode ... when their
    explicit memory access is performed as though in VU-mode. In HS- and M-modes ... by senvcfg.PMM. Setting henvcfg.PMM
    ... when their explicit memory access is performed as though in VS-mode. ... HLVX.* are not subject to pointer
    masking." (Ssnpm)"""
    c = Case("riscv-manual-zpm", mode="bare+sv39x4", hstatus=HU | HUPMM7, senvcfg=0)
    c.map(0x1000, PAGE, RWX | U | AD, register="hgatp")
    far = TAG7 | 0x1000
    c.ok("read", far, PAGE, priv="VU", insn="hlv", origin="U")
    c.ok("write", far, PAGE, priv="VU", insn="hsv", origin="U")
    c.fault("read", far, 21, priv="VU", insn="hlv", gpa=far)
    c.fault("read", far, 21, size=4, priv="VU", insn="hlvx", origin="U", gpa=far)
    c.set(hstatus=HU | HUPMM7 | SPVP)
    c.fault("read", far, 21, priv="VS", insn="hlv", origin="U", gpa=far)
    c.set(henvcfg=PMM7)
    c.ok("read", far, PAGE, priv="VS", insn="hlv", origin="U")
    c.ok("read", far, PAGE, priv="VS", insn="hlv")
    c.set(hstatus=HU, henvcfg=0, senvcfg=PMM7)
    c.fault("read", far, 21, priv="VU", insn="hlv", origin="U", gpa=far)
    c.ok("read", far, PAGE, priv="VU", insn="hlv")


@case
def masking_fence():
    """"Pointer masking is not applied to SFENCE.*": a fence for a tagged address names another page."""
    c = Case("riscv-manual-zpm", menvcfg=PMM16)
    entry = c.map(0x1000, PAGE, RW | AD)
    c.ok("read", TAG16 | 0x1000, PAGE)
    c.steps.append({"op": "poke", "pa": entry, "value": PAGE + 0x1000 >> 2 | RW | AD | V})
    c.fence(va=0x1000)
    c.ok("read", TAG16 | 0x1000, PAGE + 0x1000)


# Shadow stacks --------------------------------------------------------------------------------------------------

@case
def zicfiss_pages():
    """Shadow Stack Memory Protection: xwr = 010 is a shadow-stack page; loads may read it; other stores raise a
    store/AMO access fault, fetches an instruction access fault."""
    c = Case("riscv-manual-zicfiss", menvcfg=SSE, ext=["zicfiss"])
    c.map(0x1000, PAGE, W | AD)
    c.ok("write", 0x1008, PAGE + 8, insn="sspush")
    c.ok("write", 0x1008, PAGE + 8, insn="ssamoswap")
    c.ok("read", 0x1008, PAGE + 8)
    c.ok("read", 0x1001, PAGE + 1, size=1)
    c.fault("write", 0x1008, 7)
    c.fault("write", 0x1008, 7, insn="amo")
    c.fault("execute", 0x1008, 1, size=4)
    c.ok("write", 0x1008, PAGE + 8, insn="sspush")


@case
def zicfiss_other_pages():
    """A shadow-stack instruction on a page that is no shadow-stack page raises a store/AMO access fault, unless the page is
    read-only (xwr = 001): then a store/AMO page fault."""
    c = Case("riscv-manual-zicfiss", menvcfg=SSE, ext=["zicfiss"])
    for i, flags in enumerate((RW, RWX, RX, X)):
        c.map(0x1000 * i, PAGE, flags | AD)
        c.fault("write", 0x1000 * i, 7, insn="sspush")
        c.fault("write", 0x1000 * i, 7, insn="ssamoswap")
    c.map(0x8000, PAGE, R | AD)
    c.fault("write", 0x8000, 15, insn="sspush")
    c.fault("write", 0x8000, 15, insn="ssamoswap")
    c.fault("write", 0x9000, 15, insn="sspush")


@case
def zicfiss_disabled():
    """"When menvcfg.SSE=0, this encoding remains reserved." "Changes to xSSE take effect immediately; address-translation
    caches need not be synchronized." """
    c = Case("riscv-manual-zicfiss", menvcfg=SSE, ext=["zicfiss"])
    c.map(0x1000, PAGE, W | AD)
    c.ok("read", 0x1000, PAGE)
    c.set(menvcfg=0)
    c.fault("read", 0x1000, 13)
    c.fault("write", 0x1000, 15)
    c.fault("execute", 0x1000, 12, size=4)
    c.set(menvcfg=SSE)
    c.ok("read", 0x1000, PAGE)
    # xwr = 110 stays reserved.
    c.map(0x2000, PAGE, W | X | AD)
    c.fault("read", 0x2000, 13)
    c.fault("write", 0x2000, 15, insn="sspush")


@case
def zicfiss_user():
    """"The U and SUM bit enforcement is performed normally"; MXR changes nothing."""
    c = Case("riscv-manual-zicfiss", menvcfg=SSE, senvcfg=SSE, ext=["zicfiss"])
    c.map(0x1000, PAGE, W | U | AD)
    c.map(0x2000, PAGE + 0x1000, W | AD)
    c.ok("write", 0x1000, PAGE, priv="U", insn="sspush")
    c.fault("write", 0x2000, 15, priv="U", insn="sspush")
    c.fault("read", 0x2000, 13, priv="U")
    c.fault("write", 0x2000, 15, priv="U")
    c.fault("write", 0x1000, 15, insn="ssamoswap")
    c.set(mstatus=SUM | MXR)
    c.ok("write", 0x1000, PAGE, insn="ssamoswap")
    c.ok("read", 0x1000, PAGE)
    c.fault("write", 0x1000, 7)


@case
def zicfiss_bare():
    """"If satp.MODE ... is set to Bare and the effective privilege mode is below M ... store/AMO access-fault exception.
    When the effective privilege mode is M, any memory access by an SSAMOSWAP.W/D instruction" likewise."""
    c = Case("riscv-manual-zicfiss", menvcfg=SSE, ext=["zicfiss"])
    c.fault("write", PAGE, 7, insn="sspush")
    c.fault("write", PAGE, 7, insn="ssamoswap")
    c.fault("write", PAGE, 7, priv="M", insn="ssamoswap")
    c.ok("write", PAGE, PAGE, priv="M")


@case
def zicfiss_misaligned():
    """"If the virtual address in ssp is not XLEN aligned, then the SSPUSH ... instructions cause a store/AMO access-fault
    exception." """
    c = Case("riscv-manual-zicfiss", menvcfg=SSE, ext=["zicfiss"])
    c.map(0x1000, PAGE, W | AD)
    c.fault("write", 0x1004, 7, insn="sspush")


@case
def zicfiss_marks():
    """Accessed and dirty bits as for any store; Svade raises store/AMO page faults."""
    c = Case("riscv-manual-zicfiss", menvcfg=SSE | ADUE, ext=["zicfiss"])
    entry = c.map(0x1000, PAGE, W)
    c.ok("read", 0x1000, PAGE)
    c.ok("write", 0x1000, PAGE, insn="sspush")
    c.after[entry] = c.mem[entry] | AD
    c = Case("riscv-manual-zicfiss", menvcfg=SSE, ext=["zicfiss"])
    c.map(0x1000, PAGE, W | A)
    c.ok("read", 0x1000, PAGE)
    c.fault("write", 0x1000, 15, insn="sspush")


@case
def zicfiss_gstage():
    """"The xwr == 010b encoding in the G-stage PTE remains reserved. ... the shadow stack instructions ... require the
    G-stage page table to have read-write permission ...; else a store/AMO guest-page fault exception is raised."
    "when V=1 and henvcfg.SSE=0, this encoding remains reserved at VS and VU levels." """
    c = Case("riscv-manual-zicfiss", mode="sv39+sv39x4", menvcfg=SSE, henvcfg=SSE, ext=["zicfiss"])
    for page in range(RAM + 0x10000, RAM + 0x40000, 0x1000):
        c.map(page, page, RWX | U | AD, register="hgatp")
    c.map(PAGE, PAGE, RW | U | AD, register="hgatp")
    c.map(PAGE + 0x1000, PAGE + 0x1000, R | U | AD, register="hgatp")
    c.map(PAGE + 0x2000, PAGE + 0x2000, W | U | AD, register="hgatp")
    for i in range(3):
        c.map(0x1000 * i, PAGE + 0x1000 * i, W | AD, register="vsatp")
    c.ok("write", 0x0, PAGE, priv="VS", insn="sspush")
    c.ok("write", 0x0, PAGE, priv="VS", insn="ssamoswap")
    c.fault("write", 0x0, 7, priv="VS")
    c.fault("write", 0x1000, 23, priv="VS", insn="sspush", gpa=PAGE + 0x1000)
    c.ok("read", 0x1000, PAGE + 0x1000, priv="VS")
    c.fault("write", 0x2000, 23, priv="VS", insn="sspush", gpa=PAGE + 0x2000)
    c.fault("read", 0x2000, 21, priv="VS", gpa=PAGE + 0x2000)
    c.set(henvcfg=0)
    c.fault("write", 0x0, 15, priv="VS", insn="sspush")
    c.fault("read", 0x0, 13, priv="VS")


@case
def zicfiss_pmp():
    """"The PMP checks are extended to require read-write permission for memory accessed by shadow stack instructions." """
    c = Case("riscv-manual-zicfiss", menvcfg=SSE, ext=["zicfiss"], pmp=[[NAPOT | PR, napot(PAGE, 0x1000)], ALL])
    c.map(0x1000, PAGE, W | AD)
    c.map(0x2000, PAGE + 0x1000, W | AD)
    c.fault("write", 0x1000, 7, insn="sspush")
    c.fault("write", 0x1000, 7, insn="ssamoswap")
    c.ok("read", 0x1000, PAGE)
    c.ok("write", 0x2000, PAGE + 0x1000, insn="sspush")


# Svrsw60t59b ----------------------------------------------------------------------------------------------------

@case
def rsw60t59b():
    """With Svrsw60t59b, bits 60 and 59 are for software; without, they "must be zeroed ..., or else a page-fault exception is
    raised" (Sv39). Bits 58 to 54 stay reserved."""
    for present in (True, False):
        c = Case("riscv-manual-svrsw60t59b", ext=["svrsw60t59b"] if present else None)
        for i, bit in enumerate((59, 60)):
            c.map(0x1000 * i, PAGE, RW | AD, high=1 << bit)
            if present:
                c.ok("write", 0x1000 * i, PAGE)
            else:
                c.fault("write", 0x1000 * i, 15)
        for i, bit in enumerate((54, 55, 56, 57, 58)):
            c.map(0x1000 * (i + 2), PAGE, RW | AD, high=1 << bit)
            c.fault("read", 0x1000 * (i + 2), 13)


@case
def rsw60t59b_kept():
    """A hardware update of A and D leaves the software bits as they are."""
    c = Case("riscv-manual-svrsw60t59b", menvcfg=ADUE, ext=["svrsw60t59b"])
    entry = c.map(0x1000, PAGE, RW | 3 << 8, high=3 << 59)
    c.ok("write", 0x1000, PAGE)
    c.after[entry] = c.mem[entry] | AD


# Accesses across pages ------------------------------------------------------------------------------------------

@case
def cross():
    """A misaligned access across a page boundary translates each part; "mtval is written with the virtual address of the
    portion of the access that caused the fault" (mtval)."""
    c = Case("riscv-manual-cross")
    c.map(0x1000, PAGE + 0x3000, RW | AD)
    c.map(0x2000, PAGE, RW | AD)
    c.map(0x4000, PAGE, R | AD)
    c.map(0x3000, PAGE + 0x1000, RW | AD)
    c.ok("read", 0x1ffc, PAGE + 0x3ffc, pa2=PAGE)
    c.ok("write", 0x1fff, PAGE + 0x3fff, size=2, pa2=PAGE)
    c.ok("read", 0x3ffd, PAGE + 0x1ffd, pa2=PAGE)
    c.fault("write", 0x3ffd, 15, tval=0x4000)
    c.fault("read", 0x4ffc, 13, tval=0x5000)
    c.fault("read", 0xffe, 13, size=4)


@case
def cross_marks():
    """The first part's marks are set though the second part faults."""
    c = Case("riscv-manual-cross", menvcfg=ADUE)
    entry = c.map(0x1000, PAGE, RW)
    c.fault("write", 0x1ffc, 15, tval=0x2000)
    c.after[entry] = c.mem[entry] | AD


@case
def cross_bus():
    """A part that no memory answers is an access fault at that part's address."""
    c = Case("riscv-manual-cross")
    c.map(0x1000, PAGE, RW | AD)
    c.map(0x2000, RAM + SIZE, RW | AD)
    c.map(0x3000, PAGE, RW | AD)
    c.fault("read", 0x1ffc, 5, tval=0x2000)
    c.fault("write", 0x1ffc, 7, tval=0x2000)
    c.fault("read", 0x2ffc, 5)


@case
def cross_guest():
    """Of a guest-page fault the second part's guest-physical address is reported."""
    c = Case("riscv-manual-cross", mode="bare+sv39x4")
    c.map(0x1000, PAGE, RW | U | AD, register="hgatp")
    c.fault("read", 0x1ffc, 21, priv="VS", tval=0x2000, gpa=0x2000)
    c.fault("write", 0xffe, 23, size=4, priv="VS", gpa=0xffe)


@case
def cross_masked():
    """"The accessed bytes should be identical to the bytes that would be accessed if the pointer masking transformation was
    individually applied to every byte of the access." """
    c = Case("riscv-manual-cross", menvcfg=PMM7)
    c.map(0x1000, PAGE, RW | AD)
    c.map(0x2000, PAGE + 0x2000, RW | AD)
    c.ok("read", TAG7 | 0x1ffc, PAGE + 0xffc, pa2=PAGE + 0x2000)
    c.fault("read", TAG7 | 0x2ffc, 13, tval=0x3000)


@case
def cross_pmp():
    """Each part is checked by itself."""
    c = Case("riscv-manual-cross", pmp=[[NAPOT | PR, napot(PAGE, 0x1000)], ALL])
    c.map(0x1000, PAGE, RW | AD)
    c.map(0x2000, PAGE + 0x1000, RW | AD)
    c.ok("read", 0x1ffc, PAGE + 0xffc, pa2=PAGE + 0x1000)
    c.fault("write", 0x1ffc, 7)
    c.map(0x3000, PAGE, RW | AD)
    c.fault("write", 0x2ffc, 7, tval=0x3000)


# Hypervisor loads and stores ------------------------------------------------------------------------------------

@case
def hlv_from_user():
    """HLV, HLVX and HSV in U-mode (hstatus.HU) access as VS or VU by hstatus.SPVP, like those in HS-mode."""
    c = Case("riscv-manual-hlv", mode="sv39+sv39x4", hstatus=HU | SPVP)
    for page in range(RAM + 0x4000, RAM + 0x40000, 0x1000):
        c.map(page, page, RWX | U | AD, register="hgatp")
    c.map(0x1000, PAGE, RWX | AD, register="vsatp")
    c.map(0x2000, PAGE + 0x1000, RWX | U | AD, register="vsatp")
    c.map(0x3000, PAGE + 0x2000, X | U | AD, register="vsatp")
    c.ok("read", 0x1000, PAGE, priv="VS", insn="hlv", origin="U")
    c.fault("write", 0x2000, 15, priv="VS", insn="hsv", origin="U")
    c.set(hstatus=HU)
    c.fault("read", 0x1000, 13, priv="VU", insn="hlv", origin="U")
    c.ok("write", 0x2000, PAGE + 0x1000, priv="VU", insn="hsv", origin="U")
    c.fault("read", 0x3000, 13, priv="VU", insn="hlv", origin="U")
    c.ok("read", 0x3000, PAGE + 0x2000, size=4, priv="VU", insn="hlvx", origin="U")


@case
def hlv_mprv():
    """"MPRV does not affect the virtual-machine load/store instructions, HLV, HLVX, and HSV." (mstatus in H)"""
    c = Case("riscv-manual-hlv", mode="bare+sv39x4", hstatus=SPVP, mstatus=MPRV | mpp("M"))
    c.map(0x1000, PAGE, RWX | U | AD, register="hgatp")
    c.ok("read", 0x1000, PAGE, priv="VS", insn="hlv", origin="M")
    c.ok("read", 0x1000, PAGE, size=4, priv="VS", insn="hlvx", origin="M")


for function in CASES:
    function()
for corpus, cases in Case.corpora.items():
    header = {"corpus": corpus, "oracle": "the privileged manual, by hand", "oracle_version": "riscv.py beside it",
              "arch": "riscv", "seed": 0, "cases": len(cases)}
    lines = [json.dumps(header, separators=(",", ":"))] + [c.line() for c in cases]
    with open(f"{corpus}.jsonl.gz", "wb") as out:
        out.write(gzip.compress("".join(line + "\n" for line in lines).encode(), 9, mtime=0))
