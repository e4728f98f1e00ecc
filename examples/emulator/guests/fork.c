/* Parent and child write the same pages, turn by turn, and each must see its own: fork [PAGES] */
#include "guest.h"

static u64 check(const u64 *memory, u64 words, u64 mark)
{
    u64 wrong = 0;
    for (u64 i = 0; i < words; i++) wrong += memory[i] != mark + i;
    return wrong;
}

static u64 play(u64 *memory, u64 words, u64 mark)
{
    u64 wrong = check(memory, words, 0);
    for (u64 round = 1; round <= 4; round++) {
        for (u64 i = 0; i < words; i++) {
            memory[i] = mark * round + i;
            if (i % 1024 == 0) yield();
        }
        wrong += check(memory, words, mark * round);
    }
    return wrong;
}

int main(int argc, char **argv)
{
    u64 pages = argument(argc, argv, 1, 24), words = pages * 512;
    u64 *memory = grow(pages * 4096);
    for (u64 i = 0; i < words; i++) memory[i] = i;
    int parent = getpid(), child = fork();
    if (child < 0) {
        print("could not fork\n");
        return 2;
    }
    if (child == 0) {
        u64 wrong = play(memory, words, 1000000007) + (getpid() == parent);
        print_number("child wrote ", pages, 10, 1, wrong ? " pages: WRONG\n" : " pages: right\n");
        return wrong ? 1 : 42;
    }
    int status = -1;
    u64 wrong = play(memory, words, 2000000011);
    wrong += wait_for(child, &status) != child;
    wrong += status != 42 << 8;
    wrong += check(memory, words, 2000000011ul * 4);
    print_number("parent wrote ", pages, 10, 1, wrong ? " pages: WRONG\n" : " pages: right\n");
    return wrong != 0;
}
