/* SHA-256 (FIPS 180-4) of a message of pseudo-random bytes, 4 MB unless told otherwise: sha256 [BYTES]
   The digests of the sizes in `known` come from another implementation (Python's hashlib). */
#include "guest.h"

static const u32 K[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

static const struct { u64 bytes; u32 digest[8]; } known[] = {
    { 0, { 0xe3b0c442, 0x98fc1c14, 0x9afbf4c8, 0x996fb924, 0x27ae41e4, 0x649b934c, 0xa495991b, 0x7852b855 } },
    { 1000, { 0xa7e83b1f, 0x3eafbe3b, 0xc4bdec04, 0x47b6cf8f, 0x55823c43, 0x7770a840, 0xf28e4302, 0x7a8cd351 } },
    { 65536, { 0x35b46379, 0x8719ead5, 0x04c86e69, 0x53849c6d, 0xb8558e0b, 0xd6f8266f, 0x8aa966e8, 0xcbf2e702 } },
    { 1048576, { 0x2f1460dc, 0xdf2c259a, 0xd0b080c6, 0x707e802f, 0xe3ef2f9d, 0x96f574b8, 0x4d4cb825, 0xf15dff09 } },
    { 4194304, { 0x1cf0351e, 0xc7d25ff6, 0x2aa51f46, 0xeb698794, 0xfdaf3c5a, 0x69cc444d, 0x37b07cc5, 0xfc587013 } },
};

static u32 rotate(u32 x, u32 n) { return x >> n | x << (32 - n); }

static void compress(u32 state[8], const u8 *block)
{
    u32 w[64];
    for (u32 t = 0; t < 16; t++)
        w[t] = (u32)block[4 * t] << 24 | (u32)block[4 * t + 1] << 16 | (u32)block[4 * t + 2] << 8 | block[4 * t + 3];
    for (u32 t = 16; t < 64; t++) {
        u32 a = w[t - 15], b = w[t - 2];
        w[t] = w[t - 16] + w[t - 7] + (rotate(a, 7) ^ rotate(a, 18) ^ a >> 3) + (rotate(b, 17) ^ rotate(b, 19) ^ b >> 10);
    }
    u32 a = state[0], b = state[1], c = state[2], d = state[3], e = state[4], f = state[5], g = state[6], h = state[7];
    for (u32 t = 0; t < 64; t++) {
        u32 t1 = h + (rotate(e, 6) ^ rotate(e, 11) ^ rotate(e, 25)) + (g ^ (e & (f ^ g))) + K[t] + w[t];
        u32 t2 = (rotate(a, 2) ^ rotate(a, 13) ^ rotate(a, 22)) + ((a & b) | (c & (a | b)));
        h = g, g = f, f = e, e = d + t1;
        d = c, c = b, b = a, a = t1 + t2;
    }
    state[0] += a, state[1] += b, state[2] += c, state[3] += d;
    state[4] += e, state[5] += f, state[6] += g, state[7] += h;
}

/* `message` has room for the padding. */
static void digest(u8 *message, u64 bytes, u32 state[8])
{
    static const u32 start[8] = { 0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                  0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19 };
    u64 padded = (bytes + 9 + 63) & ~63ul;
    message[bytes] = 0x80;
    for (u64 i = bytes + 1; i < padded - 8; i++) message[i] = 0;
    for (u64 i = 0; i < 8; i++) message[padded - 1 - i] = (u8)(bytes * 8 >> (8 * i));
    for (u32 i = 0; i < 8; i++) state[i] = start[i];
    for (u64 at = 0; at < padded; at += 64) compress(state, message + at);
}

int main(int argc, char **argv)
{
    u64 bytes = argument(argc, argv, 1, 4 * 1024 * 1024), random = 0x2545f4914f6cdd1d;
    u8 *message = grow(bytes + 128);
    u32 state[8];
    for (u64 i = 0; i < bytes; i++) message[i] = (u8)(next_random(&random) >> 32);
    digest(message, bytes, state);
    print_number("sha256 of ", bytes, 10, 1, " bytes: ");
    for (u32 i = 0; i < 8; i++) print_number("", state[i], 16, 8, "");
    for (u32 i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        if (known[i].bytes != bytes) continue;
        int wrong = 0;
        for (u32 j = 0; j < 8; j++) wrong |= known[i].digest[j] != state[j];
        print(wrong ? ": WRONG\n" : ": right\n");
        return wrong;
    }
    print(": no digest on record\n");
    return 0;
}
