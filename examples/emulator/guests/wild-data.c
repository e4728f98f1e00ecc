/* Jumps to instructions that lie in data. */
#include "guest.h"

/* li a0, 1; ret */
static u32 instructions[] = { 0x00100513, 0x00008067 };

int main(void)
{
    int (*volatile function)(void) = (int (*)(void))(u64)instructions;
    print("jumping into data\n");
    int got = function();
    print_number("data returned ", (u64)got, 10, 1, "\n");
    return 1;
}
