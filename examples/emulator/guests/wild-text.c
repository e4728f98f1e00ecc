/* Writes to its own code. */
#include "guest.h"

int main(void)
{
    volatile u32 *volatile code = (volatile u32 *)(u64)&main;
    print("writing to my own code\n");
    *code = 0x00100073;
    print("wrote to code\n");
    return 1;
}
