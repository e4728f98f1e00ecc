/* Quick-sorts an array of 32-bit numbers, 2 MB of them unless told otherwise: sort [COUNT] */
#include "guest.h"

static void quick_sort(u32 *first, u32 *last)
{
    while (last - first > 16) {
        u32 *low = first, *high = last - 1, pivot = first[(last - first) / 2];
        for (;;) {
            while (*low < pivot) low++;
            while (*high > pivot) high--;
            if (low >= high) break;
            u32 swap = *low;
            *low++ = *high;
            *high-- = swap;
        }
        /* The smaller side by recursion, so that the stack stays small. */
        if (low - first < last - low) {
            quick_sort(first, low);
            first = low;
        } else {
            quick_sort(low, last);
            last = low;
        }
    }
    for (u32 *next = first + 1; next < last; next++) {
        u32 value = *next, *hole = next;
        for (; hole > first && hole[-1] > value; hole--) *hole = hole[-1];
        *hole = value;
    }
}

int main(int argc, char **argv)
{
    u64 count = argument(argc, argv, 1, 2 * 1024 * 1024 / sizeof(u32));
    u32 *numbers = grow(count * sizeof(u32));
    u64 state = 0x9e3779b97f4a7c15, sum = 0, sorted_sum = 0, wrong = 0;
    for (u64 i = 0; i < count; i++) sum += numbers[i] = (u32)(next_random(&state) >> 16);
    quick_sort(numbers, numbers + count);
    for (u64 i = 0; i < count; i++) {
        sorted_sum += numbers[i];
        if (i && numbers[i - 1] > numbers[i]) wrong++;
    }
    print_number("sorted ", count, 10, 1, " numbers, sum ");
    print_number("", sorted_sum, 16, 1, sum == sorted_sum && !wrong ? ": right\n" : ": WRONG\n");
    return sum != sorted_sum || wrong;
}
