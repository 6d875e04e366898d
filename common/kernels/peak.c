/* peak.c: which loops go with which table of kernels. */
#include "peak.h"

#include <string.h>

const peak_loops *peak_loops_for(const char *isa)
{
#if defined(__x86_64__)
    if (strcmp(isa, "avx512") == 0) return &peak_loops_avx512;
    if (strcmp(isa, "avx2") == 0) return &peak_loops_avx2;
#endif
    (void)isa;
    return &peak_loops_scalar;
}
