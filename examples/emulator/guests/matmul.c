/* Multiplies two matrices of 64-bit integers, 192 by 192 unless told otherwise: matmul [N]
   Checked as Freivalds did: (A B) x = A (B x) for a random vector x, exactly, modulo 2^64. */
#include "guest.h"

static void times_vector(const u64 *matrix, const u64 *vector, u64 *result, u64 n)
{
    for (u64 i = 0; i < n; i++) {
        u64 sum = 0;
        for (u64 j = 0; j < n; j++) sum += matrix[i * n + j] * vector[j];
        result[i] = sum;
    }
}

int main(int argc, char **argv)
{
    u64 n = argument(argc, argv, 1, 192), random = 0x853c49e6748fea9b, trace = 0;
    u64 *a = grow(n * n * 8), *b = grow(n * n * 8), *c = grow(n * n * 8), *x = grow(n * 8 * 4);
    u64 *bx = x + n, *abx = bx + n, *cx = abx + n;
    for (u64 i = 0; i < n * n; i++) {
        a[i] = next_random(&random);
        b[i] = next_random(&random);
    }
    for (u64 i = 0; i < n; i++) x[i] = next_random(&random);
    /* Row by row: the order that pages love. */
    for (u64 i = 0; i < n; i++)
        for (u64 k = 0; k < n; k++) {
            u64 factor = a[i * n + k], *row = b + k * n, *out = c + i * n;
            for (u64 j = 0; j < n; j++) out[j] += factor * row[j];
        }
    times_vector(b, x, bx, n);
    times_vector(a, bx, abx, n);
    times_vector(c, x, cx, n);
    int wrong = 0;
    for (u64 i = 0; i < n; i++) {
        wrong |= abx[i] != cx[i];
        trace += c[i * n + i];
    }
    print_number("multiplied ", n, 10, 1, " squared, trace ");
    print_number("", trace, 16, 1, wrong ? ": WRONG\n" : ": right\n");
    return wrong;
}
