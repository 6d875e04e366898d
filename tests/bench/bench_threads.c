/* bench_threads.c: what a team of threads makes of the short loops of a decode step, alone and beside another program.
 *
 * Three loops, shaped like a matmul of one row: `nothing` (what a loop costs in itself), `arithmetic` (some 100 microseconds of one
 * thread, all in registers: bound by cores) and `memory` (rows of weights that are in no cache: bound by bandwidth). A thread of
 * another program, bound to one core, then takes half of that core: the team has 1.5 of 2 cores left, so `alone / beside` should be
 * at most 2 / 1.5. All are measured in turn, round by round; medians. Usage: bench_threads [threads at most] [rounds] */
#include "thread_pool.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { N_ROWS = 2048, GRAIN = 16, ROW_BYTES = 1152, N_MATRICES = 96, MAX_ROUNDS = 64, MAX_THREADS = 64 };

typedef struct loop_kind {
    const char *name;
    thread_pool_fn *fn;
    int n_loops; /* a pass: some 100 ms, many turns of a system's scheduler */
} loop_kind;

/* What a loop is handed. */
typedef struct job {
    const uint8_t *matrix; /* [N_ROWS, ROW_BYTES] */
    uint64_t out[N_ROWS];
} job;

static void do_nothing(void *arg, size_t begin, size_t end, uint32_t thread)
{
    job *j = arg;
    (void)thread;
    (void)end;
    j->out[begin] = begin;
}

static void multiply_and_add(void *arg, size_t begin, size_t end, uint32_t thread)
{
    job *j = arg;
    (void)thread;
    for (size_t row = begin; row < end; row++) {
        uint64_t x = row;
        for (int i = 0; i < 40; i++) x = x * 6364136223846793005u + 1442695040888963407u;
        j->out[row] = x;
    }
}

static void add_up_rows(void *arg, size_t begin, size_t end, uint32_t thread)
{
    job *j = arg;
    (void)thread;
    for (size_t row = begin; row < end; row++) {
        const uint8_t *bytes = j->matrix + row * ROW_BYTES;
        uint64_t sum = 0;
        for (size_t i = 0; i < ROW_BYTES / 8; i++) {
            uint64_t x;
            memcpy(&x, bytes + 8 * i, sizeof x);
            sum += x;
        }
        j->out[row] = sum;
    }
}

static const loop_kind KINDS[] = {
    {"nothing", do_nothing, 50000},
    {"arithmetic", multiply_and_add, 2000},
    {"memory", add_up_rows, 1000},
};
enum { N_KINDS = sizeof KINDS / sizeof *KINDS };

static double now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

/* Microseconds a loop. */
static double run(thread_pool *pool, const loop_kind *kind, const uint8_t *weights)
{
    static job j;
    double begin = now_us();
    for (int i = 0; i < kind->n_loops; i++) {
        j.matrix = weights + (size_t)(i % N_MATRICES) * N_ROWS * ROW_BYTES;
        thread_pool_run(pool, N_ROWS, GRAIN, kind->fn, &j);
    }
    return (now_us() - begin) / kind->n_loops;
}

static atomic_bool quiet;

/* The other program: computes for ever on the last core that we may use. */
static void *keep_busy(void *arg)
{
    cpu_set_t all, one;
    (void)arg;
    if (!sched_getaffinity(0, sizeof all, &all)) {
        int last = CPU_SETSIZE - 1;
        while (last > 0 && !CPU_ISSET(last, &all)) last--;
        CPU_ZERO(&one);
        CPU_SET(last, &one);
        pthread_setaffinity_np(pthread_self(), sizeof one, &one);
    }
    while (!atomic_load_explicit(&quiet, memory_order_relaxed)) continue;
    return NULL;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *x, int n)
{
    qsort(x, (size_t)n, sizeof *x, by_value);
    return x[n / 2];
}

enum { ALONE, BESIDE, N_COMPANIES };

static double us[N_KINDS][MAX_THREADS][N_COMPANIES][MAX_ROUNDS];

/* All teams and loops once. */
static void measure(thread_pool *const *pools, int n_pools, const uint8_t *weights, int company, int round)
{
    pthread_t other;
    atomic_store(&quiet, false);
    if (company == BESIDE && pthread_create(&other, NULL, keep_busy, NULL)) exit(1);
    for (int p = 0; p < n_pools; p++) {
        for (int k = 0; k < N_KINDS; k++) us[k][p][company][round] = run(pools[p], &KINDS[k], weights);
    }
    atomic_store(&quiet, true);
    if (company == BESIDE) pthread_join(other, NULL);
}

static void print(int kind, int n_threads, int n_rounds, double one_us)
{
    double alone = median(us[kind][n_threads - 1][ALONE], n_rounds), beside = median(us[kind][n_threads - 1][BESIDE], n_rounds);
    double gb_s = kind == N_KINDS - 1 ? (double)N_ROWS * ROW_BYTES / alone / 1e3 : 0;
    printf("%-10s  %7d  %9.2f  %8.2f  %6.1f  %9.2f  %14.2f\n", KINDS[kind].name, n_threads, alone, one_us / alone, gb_s, beside,
           beside / alone);
    printf(
        "{\"bench\":\"threads\",\"loop\":\"%s\",\"threads\":%d,\"us_loop\":%.3f,\"speedup\":%.3f,\"gb_s\":%.2f,\"us_loop_busy\":%."
        "3f}\n",
        KINDS[kind].name, n_threads, alone, one_us / alone, gb_s, beside);
}

int main(int argc, char **argv)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    int n_pools = argc > 1 ? atoi(argv[1]) : (int)cores, n_rounds = argc > 2 ? atoi(argv[2]) : 7;
    if (n_pools < 1 || n_pools > MAX_THREADS || n_rounds < 1 || n_rounds > MAX_ROUNDS) return 2;
    size_t n_bytes = (size_t)N_MATRICES * N_ROWS * ROW_BYTES;
    uint8_t *weights = malloc(n_bytes);
    if (!weights) return 1;
    memset(weights, 1, n_bytes);
    thread_pool *pools[MAX_THREADS];
    for (int p = 0; p < n_pools; p++) {
        yl_error err;
        if (!thread_pool_new(&pools[p], (uint32_t)p + 1, &err)) continue;
        fprintf(stderr, "bench_threads: %s\n", err.msg);
        return 1;
    }
    for (int round = 0; round < n_rounds; round++) {
        measure(pools, n_pools, weights, ALONE, round);
        measure(pools, n_pools, weights, BESIDE, round);
    }
    puts("loop        threads    us/loop   speedup    GB/s  us beside  beside / alone");
    for (int k = 0; k < N_KINDS; k++) {
        double one[MAX_ROUNDS];
        memcpy(one, us[k][0][ALONE], sizeof one);
        for (int p = 0; p < n_pools; p++) print(k, p + 1, n_rounds, median(one, n_rounds));
    }
    for (int p = 0; p < n_pools; p++) thread_pool_free(pools[p]);
    free(weights);
    return 0;
}
