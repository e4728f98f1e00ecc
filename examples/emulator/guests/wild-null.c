/* Reads through a null pointer, and a field's offset behind it. */
#include "guest.h"

struct node { u64 key; struct node *next; };

int main(void)
{
    volatile struct node *volatile head = 0;
    print("following a null pointer\n");
    print_number("read ", (u64)head->next, 10, 1, " through a null pointer\n");
    return 1;
}
