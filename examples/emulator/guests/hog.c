/* Touches and verifies more memory than there may be, 4 MB unless told otherwise: hog [BYTES] */
#include "guest.h"

static u64 expected(u64 page, u64 word, u64 round) { return (page * 512 + word) * 0x9e3779b97f4a7c15 + round; }

int main(int argc, char **argv)
{
    u64 pages = argument(argc, argv, 1, 4 * 1024 * 1024) / 4096, wrong = 0, random = 88172645463325252;
    u64 *memory = grow(pages * 4096);
    for (u64 page = 0; page < pages; page++)
        for (u64 word = 0; word < 512; word++) {
            wrong += memory[page * 512 + word] != 0;
            memory[page * 512 + word] = expected(page, word, 1);
        }
    /* A second time in no order, half of the pages read only: those need not be written out again. */
    for (u64 i = 0; i < pages; i++) {
        u64 page = next_random(&random) % pages, *start = memory + page * 512;
        u64 round = start[0] - expected(page, 0, 0);
        for (u64 word = 0; word < 512; word++) wrong += start[word] != expected(page, word, round);
        if (page & 1)
            for (u64 word = 0; word < 512; word++) start[word]++;
    }
    for (u64 page = 0; page < pages; page++) {
        u64 round = memory[page * 512] - expected(page, 0, 0);
        wrong += round < 1 || round > pages;
        for (u64 word = 1; word < 512; word++) wrong += memory[page * 512 + word] != expected(page, word, round);
    }
    print_number("touched and verified ", pages, 10, 1, " pages");
    print(wrong ? ": WRONG\n" : ": right\n");
    return wrong != 0;
}
