/* What placement is told by others: numbers that nobody means, sizes beyond all limits, and placements written by hand. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "placement.h"

enum { MAX_NODES = 3, MAX_LAYERS = 32 };

typedef struct rig {
    placement_model m;
    placement_unit layers[MAX_LAYERS];
    placement_node nodes[MAX_NODES];
    placement_link links[(MAX_NODES + 1) * (MAX_NODES + 1)];
    placement_spec spec;
} rig;

/* Pieces of the rig point at each other, so it is filled in place. */
static void connect_rig(rig *r, uint32_t n_nodes, uint32_t n_layer)
{
    r->m.n_layer = n_layer;
    r->m.layers = r->layers;
    r->spec.model = &r->m;
    r->spec.nodes = r->nodes;
    r->spec.links = r->links;
    r->spec.n_nodes = n_nodes;
}

/* A case where every number is round: layers of 1 MB, machines of 1 GB/s, links that cost nothing to speak of. */
static void plain_rig(rig *r, uint32_t n_nodes, uint32_t n_layer)
{
    *r = (rig){.m = {.n_embd = 1, .embd = {1000, 0, 0}, .head = {1000000, 1000000, 1}}, .spec = {.n_seq = 1}};
    connect_rig(r, n_nodes, n_layer);
    static const char *const names[] = {"a", "b", "c"};
    for (uint32_t i = 0; i < n_layer; i++) r->layers[i] = (placement_unit){1000000, 1000000, 1};
    for (uint32_t i = 0; i < n_nodes; i++)
        r->nodes[i] = (placement_node){.name = names[i], .bytes_per_s = 1e9, .macs_per_s = 1e9, .free_bytes = 1u << 30};
    for (uint32_t i = 0; i < (n_nodes + 1) * (n_nodes + 1); i++) r->links[i] = (placement_link){.bytes_per_s = 1e12};
}

/* Every layer once, in order, the embedding first and the head last. */
static void check_whole(const placement *p)
{
    uint32_t next = 0;
    hparams hp = {.n_layer = MAX_LAYERS};
    for (uint32_t i = 0; i < p->n_stages; i++) {
        const slice_range *range = &p->stages[i].range;
        assert_int_equal(slice_range_check(range, &hp, NULL), YL_OK);
        assert_true(range->has_embd == (i == 0) && range->has_head == (i == p->n_stages - 1));
        assert_int_equal(range->layer_begin, next);
        next = range->layer_end;
    }
    assert_int_equal(next, MAX_LAYERS);
}

/* ---- hostile numbers ---- */

static void refuse(const rig *r, yl_status status, const char *part)
{
    placement p;
    yl_error err = {0};
    assert_int_equal(placement_find(&p, &r->spec, &err), status);
    if (!strstr(err.msg, part)) fail_msg("'%s' does not say '%s'", err.msg, part);
    assert_int_equal(p.n_stages, 0);
}

static void numbers_that_nobody_means_are_refused(void **state)
{
    (void)state;
    static const double bad[] = {NAN, INFINITY, -INFINITY, -1, 0};
    for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++) {
        rig r;
        plain_rig(&r, 2, 3);
        r.nodes[1].bytes_per_s = bad[i];
        refuse(&r, YL_EINVAL, "'b'");
        plain_rig(&r, 2, 3);
        r.nodes[1].macs_per_s = bad[i];
        refuse(&r, YL_EINVAL, "'b'");
        plain_rig(&r, 2, 3);
        r.links[2].bytes_per_s = bad[i]; /* a to the coordinator */
        refuse(&r, YL_EINVAL, "from a to the coordinator");
        if (bad[i] == 0) continue;
        plain_rig(&r, 2, 3);
        r.links[1].rtt_ms = bad[i];
        refuse(&r, YL_EINVAL, "from a to b");
        plain_rig(&r, 2, 3);
        r.nodes[0].layer_ms[0] = r.nodes[0].layer_ms[1] = r.nodes[0].layer_ms[2] = bad[i];
        refuse(&r, YL_EINVAL, "'a'");
    }
    rig r;
    plain_rig(&r, 2, 3);
    r.nodes[0].layer_ms[1] = 1; /* one of three */
    refuse(&r, YL_EINVAL, "'a'");
    plain_rig(&r, 2, 3);
    for (int k = 0; k < 3; k++) r.nodes[0].head_ms[k] = 1;
    refuse(&r, YL_EINVAL, "'a'");
    plain_rig(&r, 2, 3);
    r.nodes[0].bytes_per_s = 5e-324;
    refuse(&r, YL_EINVAL, "'a' would take");
    plain_rig(&r, 2, 3);
    r.links[1].bytes_per_s = 5e-324;
    refuse(&r, YL_EINVAL, "from a to b");
}

static void sizes_have_limits(void **state)
{
    (void)state;
    rig r;
    plain_rig(&r, 2, 3);
    r.spec.n_nodes = 0;
    refuse(&r, YL_ELIMIT, "0 machines");
    r.spec.n_nodes = PLACEMENT_MAX_NODES + 1;
    refuse(&r, YL_ELIMIT, "321 machines");
    plain_rig(&r, 2, 3);
    r.m.n_layer = 0;
    refuse(&r, YL_ELIMIT, "0 layers");
    plain_rig(&r, 2, 3);
    r.m.n_layer = HPARAMS_MAX_LAYER + 1;
    refuse(&r, YL_ELIMIT, "4097 layers");
    plain_rig(&r, 2, 3);
    r.spec.n_seq = 0;
    refuse(&r, YL_ELIMIT, "0 sequences");
    plain_rig(&r, 2, 3);
    r.m.kv_layer_bytes = UINT64_MAX / 2;
    refuse(&r, YL_ELIMIT, "more memory than can be counted");
    plain_rig(&r, 2, 3);
    r.layers[1].memory_bytes = r.layers[2].memory_bytes = UINT64_MAX;
    refuse(&r, YL_ELIMIT, "more memory than can be counted");
    plain_rig(&r, 2, 3);
    r.m.tied_embeddings = true;
    r.m.embd.memory_bytes = 2 * r.m.head.memory_bytes;
    refuse(&r, YL_EINVAL, "shares");
    plain_rig(&r, 2, 3);
    r.nodes[0].free_bytes = r.nodes[1].free_bytes = 0;
    refuse(&r, YL_ENOMEM, "0 GB");
    plain_rig(&r, 2, 3);
    r.layers[1].read_bytes = UINT64_MAX;
    refuse(&r, YL_EINVAL, "would take");
    placement p;
    plain_rig(&r, 2, 3);
    r.nodes[0].free_bytes = r.nodes[1].free_bytes = UINT64_MAX;
    r.nodes[1].bytes_per_s = 1e300;
    assert_int_equal(placement_find(&p, &r.spec, NULL), YL_OK);
    assert_int_equal(p.stages[0].node, 1);
}

/* ---- by hand ---- */

static void a_placement_by_hand_is_read(void **state)
{
    (void)state;
    rig r;
    placement p;
    plain_rig(&r, 3, 32);
    assert_int_equal(placement_parse(&p, &r.spec, "b=0-9,a=10-31", NULL), YL_OK);
    assert_int_equal(p.n_stages, 2);
    assert_true(p.stages[0].node == 1 && p.stages[1].node == 0);
    assert_true(p.stages[0].range.has_embd && !p.stages[0].range.has_head && p.stages[0].range.layer_end == 10);
    assert_true(!p.stages[1].range.has_embd && p.stages[1].range.has_head && p.stages[1].range.layer_end == 32);
    assert_int_equal(p.reasons[2], PLACEMENT_NOT_ASKED);
    check_whole(&p);
    assert_int_equal(placement_parse(&p, &r.spec, "a=embedding,b=0-31,c=head", NULL), YL_OK);
    assert_int_equal(p.n_stages, 3);
    check_whole(&p);
    assert_int_equal(placement_parse(&p, &r.spec, "a=0,c=1-31", NULL), YL_OK);
    check_whole(&p);
}

static void mistakes_by_hand_are_explained(void **state)
{
    (void)state;
    static const char *const bad[][2] = {
        {"", "is not NAME=FIRST-LAST"},
        {"a", "is not NAME=FIRST-LAST"},
        {"a=0-31,", "is not NAME=FIRST-LAST"},
        {"z=0-31", "no machine 'z', there is a, b, c"},
        {"=0-31", "no machine ''"},
        {"a=0-9,a=10-31", "comes twice"},
        {"a=0-9", "nobody has layers 10 to 31"},
        {"a=1-31", "the next layer is 0"},
        {"a=0-9,b=9-31", "the next layer is 10"},
        {"a=0-9,b=11-31", "the next layer is 10"},
        {"a=0-32", "the last one 31"},
        {"a=5-0", "is not FIRST-LAST"},
        {"a=-5", "is not FIRST-LAST"},
        {"a=0-", "is not FIRST-LAST"},
        {"a=0-9x", "is not FIRST-LAST"},
        {"a=0-99999999999999999999", "is not FIRST-LAST"},
        {"a=head", "is not FIRST-LAST"},
        {"a=0-31,b=embedding", "is not FIRST-LAST"},
        {"a=0-31,b=head,c=head", "nothing comes after the head"},
    };
    rig r;
    plain_rig(&r, 3, 32);
    for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++) {
        placement p;
        yl_error err = {0};
        assert_int_equal(placement_parse(&p, &r.spec, bad[i][0], &err), YL_EINVAL);
        if (!strstr(err.msg, bad[i][1])) fail_msg("'%s': '%s' does not say '%s'", bad[i][0], err.msg, bad[i][1]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_that_nobody_means_are_refused),
        cmocka_unit_test(sizes_have_limits),
        cmocka_unit_test(a_placement_by_hand_is_read),
        cmocka_unit_test(mistakes_by_hand_are_explained),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
