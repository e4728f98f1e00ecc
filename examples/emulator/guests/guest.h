/* What a guest has instead of a C library: Linux RISC-V system calls and the few functions written on them. */
#ifndef GUEST_H
#define GUEST_H

typedef unsigned char u8;
typedef unsigned int u32;
typedef unsigned long u64;

static inline long syscall4(long number, long a, long b, long c, long d)
{
    register long a7 asm("a7") = number;
    register long a0 asm("a0") = a;
    register long a1 asm("a1") = b;
    register long a2 asm("a2") = c;
    register long a3 asm("a3") = d;
    asm volatile("ecall" : "+r"(a0) : "r"(a7), "r"(a1), "r"(a2), "r"(a3) : "memory");
    return a0;
}

static inline void exit(int status) { for (;;) syscall4(93, status, 0, 0, 0); }
static inline void yield(void) { syscall4(124, 0, 0, 0, 0); }
static inline int getpid(void) { return (int)syscall4(172, 0, 0, 0, 0); }
/* clone(SIGCHLD, same stack address): what fork is on RISC-V Linux. */
static inline int fork(void) { return (int)syscall4(220, 17, 0, 0, 0); }
static inline int wait_for(int pid, int *status) { return (int)syscall4(260, pid, (long)status, 0, 0); }

static inline u64 length(const char *text)
{
    u64 n = 0;
    while (text[n]) n++;
    return n;
}

static inline void print(const char *text) { syscall4(64, 1, (long)text, (long)length(text), 0); }

/* `value` in the given base, at least `digits` of them, with text around it, in one write. */
static inline void print_number(const char *before, u64 value, u32 base, u32 digits, const char *after)
{
    char line[160], number[24];
    u64 at = 0, n = 0;
    while (*before) line[at++] = *before++;
    while (n < digits || value || !n) {
        number[n++] = "0123456789abcdef"[value % base];
        value /= base;
    }
    while (n) line[at++] = number[--n];
    while (*after) line[at++] = *after++;
    syscall4(64, 1, (long)line, (long)at, 0);
}

/* `bytes` more of heap, zeroed by the kernel; the guest ends if it cannot have them. */
static inline void *grow(u64 bytes)
{
    u64 start = (u64)syscall4(214, 0, 0, 0, 0);
    start = (start + 15) & ~15ul;
    if ((u64)syscall4(214, (long)(start + bytes), 0, 0, 0) != start + bytes) {
        print("no more heap\n");
        exit(2);
    }
    return (void *)start;
}

/* The argument at `index` as a decimal number, or `otherwise` where there is none. */
static inline u64 argument(int argc, char **argv, int index, u64 otherwise)
{
    u64 value = 0;
    if (index >= argc) return otherwise;
    for (const char *c = argv[index]; *c >= '0' && *c <= '9'; c++) value = value * 10 + (u64)(*c - '0');
    return value;
}

/* xorshift64: the same numbers everywhere. */
static inline u64 next_random(u64 *state)
{
    u64 x = *state;
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    return *state = x;
}

#endif
