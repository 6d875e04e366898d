/* kernels.c: the list of tables, best first, and whether this machine can run them.
 *
 * The compiler's builtin asks an x86 processor and, for vector registers, whether the operating system saves them; for ARM, Linux
 * says it at a program's start. */
#include "kernels.h"

#include <stdio.h>
#include <string.h>

#include "scalar.h"
#if defined(__x86_64__)
#include <cpuid.h>

#include "avx2.h"
#include "avx512.h"
#elif defined(__aarch64__)
#include <sys/auxv.h>

#include "neon.h"
#elif defined(__wasm_simd128__)
#include "wasm.h"
#endif

static bool can_always(void)
{
    return true;
}

#if defined(__x86_64__)
/* Not among the names that clang 14 knows. */
static bool has_f16c(void)
{
    unsigned eax, ebx, ecx, edx;
    return __get_cpuid(1, &eax, &ebx, &ecx, &edx) && (ecx & bit_F16C);
}

static bool can_avx2(void)
{
    return __builtin_cpu_supports("avx2") && has_f16c();
}

static bool can_avx512(void)
{
    return can_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vnni");
}
#elif defined(__aarch64__)
static bool can_dotprod(void)
{
    enum { HAS_DOTPROD = 1 << 20 }; /* HWCAP_ASIMDDP of Linux; headers of old C libraries do not name it */
    return (getauxval(AT_HWCAP) & HAS_DOTPROD) != 0;
}
#endif

/* A table, and a question that is asked before anything of it is run. */
typedef struct candidate {
    const kernels *table;
    bool (*can_run)(void);
} candidate;

static const candidate candidates[] = {
#if defined(__x86_64__)
    {&kernels_avx512, can_avx512},
    {&kernels_avx2, can_avx2},
#elif defined(__aarch64__)
    {&kernels_dotprod, can_dotprod},
    {&kernels_neon, can_always},
#elif defined(__wasm_simd128__)
    {&kernels_wasm, can_always},
#endif
    {&kernels_scalar, can_always},
};
enum { N_CANDIDATES = sizeof candidates / sizeof candidates[0] };

const kernels *kernels_best(void)
{
    const candidate *c = candidates;
    while (!c->can_run()) c++; /* the last one can */
    return c->table;
}

const kernels *kernels_named(const char *isa)
{
    for (size_t i = 0; i < N_CANDIDATES; i++) {
        if (strcmp(candidates[i].table->isa, isa) == 0) return candidates[i].can_run() ? candidates[i].table : NULL;
    }
    return NULL;
}

void kernels_list(char *list, size_t n_bytes)
{
    size_t used = 0;
    list[0] = 0;
    for (size_t i = 0; i < N_CANDIDATES && used < n_bytes; i++) {
        if (!candidates[i].can_run()) continue;
        int n = snprintf(list + used, n_bytes - used, "%s%s", used ? ", " : "", candidates[i].table->isa);
        if (n > 0) used += (size_t)n;
    }
}
