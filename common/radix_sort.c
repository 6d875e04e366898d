/* radix_sort.c: least significant byte first, eight counting passes that keep the order of equals.
 *
 * One walk counts all eight bytes. A byte that is the same in every number needs no pass, and most are: a vocabulary of 128,256
 * has ids of 17 bits. A handful of numbers is cheaper to insert one by one than to count. */
#include "radix_sort.h"

#include <string.h>

enum { N_BYTES = 8, N_VALUES = 256, INSERTION_MAX = 48 };

static unsigned byte_of(uint64_t v, int i)
{
    return (unsigned)(v >> (8 * i)) & 0xff;
}

static void insertion_sort(uint64_t *v, size_t n)
{
    for (size_t i = 1; i < n; i++) {
        uint64_t x = v[i];
        size_t j = i;
        for (; j > 0 && v[j - 1] > x; j--) v[j] = v[j - 1];
        v[j] = x;
    }
}

/* Moves each number to the place that the count of smaller bytes gives it; count becomes those places. */
static void scatter(const uint64_t *from, uint64_t *to, size_t n, int byte, size_t count[N_VALUES])
{
    size_t place = 0;
    for (int i = 0; i < N_VALUES; i++) {
        size_t here = count[i];
        count[i] = place;
        place += here;
    }
    for (size_t i = 0; i < n; i++) to[count[byte_of(from[i], byte)]++] = from[i];
}

static void sort_from_byte(uint64_t *v, uint64_t *tmp, size_t n, int first)
{
    if (n <= INSERTION_MAX) {
        insertion_sort(v, n);
        return;
    }
    size_t count[N_BYTES][N_VALUES];
    memset(count, 0, sizeof count);
    for (size_t i = 0; i < n; i++) {
        for (int b = 0; b < N_BYTES; b++) count[b][byte_of(v[i], b)]++;
    }
    uint64_t *from = v, *to = tmp;
    for (int b = first; b < N_BYTES; b++) {
        if (count[b][byte_of(from[0], b)] == n) continue;
        scatter(from, to, n, b, count[b]);
        uint64_t *swap = from;
        from = to;
        to = swap;
    }
    if (from != v) memcpy(v, from, n * sizeof *v);
}

void radix_sort(uint64_t *v, uint64_t *tmp, size_t n)
{
    sort_from_byte(v, tmp, n, 0);
}

void radix_sort_high_halves(uint64_t *v, uint64_t *tmp, size_t n)
{
    sort_from_byte(v, tmp, n, N_BYTES / 2);
}
