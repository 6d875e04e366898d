/* forward_attention.c: attention of a tile of rows, cut into jobs for the threads.
 *
 * A job is one KV head and a group of rows: rows of one sequence that follow each other share every key and value that is loaded,
 * so as many as the kernels can use stay together. In a prompt there are plenty of jobs. In decoding there are as many as KV heads
 * and sequences, and those of long contexts are long: a job that is a large part of a thread's share is called long here, and of
 * the long jobs so many are worked on by all threads together that the rest goes evenly among them. All threads compute scores of
 * pages of positions, then exponentials of queries, then elements of values: wherever a job is cut, no sum is (N11).
 *
 * Heads are the outer loop, so that equal pieces of all jobs take about equally long although rows see different numbers of
 * positions. */
#include <assert.h>

#include "forward_internal.h"

enum {
    LONG_POSITIONS = 256, /* below, waking the threads twice more costs what cutting a job gains */
    LONG_SHARE = 4        /* a job of more than a fourth of a thread's share is long */
};

/* Rows [first, first + n) of the tile: one sequence, consecutive positions. */
typedef struct row_group {
    uint32_t first, n;
} row_group;

/* Attention of a tile: what the threads are handed. */
typedef struct attention_step {
    const tile *t;
    row_group groups[FORWARD_TILE_ROWS]; /* long ones first */
    size_t n_groups, n_long;
    size_t first_group, n_of; /* the jobs that are being done: groups [first_group, first_group + n_of) at each KV head */
    size_t first_job;         /* job i of the loop is that of this number + i */
    uint32_t n_shares;        /* parts that a job is cut into */
} attention_step;

static uint32_t heads_that_share(const hparams *hp)
{
    return hp->n_head / hp->n_head_kv;
}

/* Multiplications of a group's rows, in units that are the same for all groups. */
static uint64_t group_cost(const tile *t, row_group g)
{
    return (uint64_t)g.n * ((uint64_t)t->rows[g.first].pos + 1);
}

static void find_groups(attention_step *s)
{
    const tile *t = s->t;
    uint32_t n_most = attention_rows(heads_that_share(t->f->hp));
    for (uint32_t i = 0; i < t->n; i++) {
        row_group *last = s->n_groups > 0 ? &s->groups[s->n_groups - 1] : NULL;
        if (last && last->n < n_most && t->rows[i].seq == t->rows[i - 1].seq && t->rows[i].pos == t->rows[i - 1].pos + 1)
            last->n++;
        else
            s->groups[s->n_groups++] = (row_group){i, 1};
    }
}

/* Moves the long groups to the front. */
static void find_long_groups(attention_step *s, uint32_t n_threads)
{
    const tile *t = s->t;
    uint64_t total = 0;
    for (size_t i = 0; i < s->n_groups; i++) total += group_cost(t, s->groups[i]) * t->f->hp->n_head_kv;
    for (size_t i = 0; i < s->n_groups; i++) {
        row_group g = s->groups[i];
        if (t->rows[g.first].pos < LONG_POSITIONS || group_cost(t, g) * n_threads * LONG_SHARE <= total) continue;
        s->groups[i] = s->groups[s->n_long];
        s->groups[s->n_long++] = g;
    }
}

/* The job's attention in one thread's scratch; its queries are not packed yet. */
static attention attention_of_job(const attention_step *s, size_t job, size_t scratch)
{
    const tile *t = s->t;
    const forward *f = t->f;
    row_group g = s->groups[s->first_group + job % s->n_of];
    uint32_t head = (uint32_t)(job / s->n_of), n_head = heads_that_share(f->hp);
    uint32_t layer = t->layer - slice_range_of(f->slice)->layer_begin;
    attention a = {.kv = kv_cache_head(f->cache, t->rows[g.first].seq, layer, head),
                   .n_query = (size_t)g.n * n_head,
                   .n_head = n_head,
                   .n_pos = (size_t)t->rows[g.first].pos + 1,
                   .n_embd_head = f->hp->n_embd_head,
                   .out = f->attn + g.first * f->n_q + (size_t)head * n_head * f->hp->n_embd_head,
                   .out_stride = f->n_q};
    attention_use_scratch(&a, f->scores + scratch * f->n_scores);
    return a;
}

static void pack_queries(const attention_step *s, const attention *a)
{
    const forward *f = s->t->f;
    attention_pack_queries(a, f->q + (a->out - f->attn), f->n_q, f->attn_scale); /* queries lie as results do */
}

static void step_whole_jobs(void *arg, size_t begin, size_t end, uint32_t thread)
{
    const attention_step *s = arg;
    const kernels *k = s->t->f->kernels;
    for (size_t job = begin; job < end; job++) {
        attention a = attention_of_job(s, job, thread);
        pack_queries(s, &a);
        k->attention_scores(&a, 0, attention_n_pages(&a));
        k->attention_softmax(&a, 0, a.n_query);
        k->attention_values(&a, 0, a.n_embd_head);
    }
}

/* Where share i of n things begins. */
static size_t share_begin(const attention_step *s, size_t i, size_t n)
{
    return n * i / s->n_shares;
}

/* In these three, piece p is share p mod n_shares of job p / n_shares, which lies in the scratch of that number. */
static void step_scores(void *arg, size_t begin, size_t end, uint32_t thread)
{
    const attention_step *s = arg;
    (void)thread;
    for (size_t p = begin; p < end; p++) {
        size_t slot = p / s->n_shares, share = p % s->n_shares;
        attention a = attention_of_job(s, s->first_job + slot, slot);
        size_t n = attention_n_pages(&a);
        s->t->f->kernels->attention_scores(&a, share_begin(s, share, n), share_begin(s, share + 1, n));
    }
}

static void step_softmax(void *arg, size_t begin, size_t end, uint32_t thread)
{
    const attention_step *s = arg;
    (void)thread;
    for (size_t p = begin; p < end; p++) {
        size_t slot = p / s->n_shares, share = p % s->n_shares;
        attention a = attention_of_job(s, s->first_job + slot, slot);
        s->t->f->kernels->attention_softmax(&a, share_begin(s, share, a.n_query), share_begin(s, share + 1, a.n_query));
    }
}

static void step_values(void *arg, size_t begin, size_t end, uint32_t thread)
{
    const attention_step *s = arg;
    (void)thread;
    for (size_t p = begin; p < end; p++) {
        size_t slot = p / s->n_shares, share = p % s->n_shares;
        attention a = attention_of_job(s, s->first_job + slot, slot);
        size_t n = (a.n_embd_head + 15) / 16, d_begin = 16 * share_begin(s, share, n), d_end = 16 * share_begin(s, share + 1, n);
        if (d_end > a.n_embd_head) d_end = a.n_embd_head;
        if (d_begin < d_end) s->t->f->kernels->attention_values(&a, d_begin, d_end);
    }
}

/* The n jobs from `first` on, fewer than threads, each by all threads. */
static void run_shared(attention_step *s, size_t first, size_t n)
{
    thread_pool *pool = s->t->f->pool;
    s->first_job = first;
    for (size_t slot = 0; slot < n; slot++) {
        attention a = attention_of_job(s, first + slot, slot);
        pack_queries(s, &a);
    }
    thread_pool_run(pool, n * s->n_shares, 1, step_scores, s);
    thread_pool_run(pool, n * s->n_shares, 1, step_softmax, s);
    thread_pool_run(pool, n * s->n_shares, 1, step_values, s);
}

void forward_attention(tile *t)
{
    const forward *f = t->f;
    uint32_t n_threads = thread_pool_n_threads(f->pool);
    attention_step s = {.t = t, .n_shares = n_threads};
    find_groups(&s);
    find_long_groups(&s, n_threads);

    size_t n_long_jobs = s.n_long * f->hp->n_head_kv, n_shared = n_long_jobs % n_threads;
    s.n_of = s.n_long;
    if (n_shared > 0) run_shared(&s, n_long_jobs - n_shared, n_shared);
    thread_pool_run(f->pool, n_long_jobs - n_shared, 1, step_whole_jobs, &s);

    s.first_group = s.n_long;
    s.n_of = s.n_groups - s.n_long;
    thread_pool_run(f->pool, s.n_of * f->hp->n_head_kv, 1, step_whole_jobs, &s);
}
