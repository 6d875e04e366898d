/* test_frames.c: what goes in comes out, and what is not a frame is refused.
 *
 * Each frame is decoded from a heap block of its exact size, so that AddressSanitizer sees one byte too far. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "frame_examples.h"
#include "msgpack_cursor.h"

typedef struct rig {
    frame_scratch *scratch;
    frame_bytes encoded, again;
    uint8_t *block; /* exact copy of what was decoded last */
    frame decoded;
    yl_error err;
} rig;

static int set_up(void **state)
{
    rig *r = calloc(1, sizeof *r);
    *state = r;
    return r && frame_scratch_new(&r->scratch, NULL) == YL_OK ? 0 : -1;
}

static int tear_down(void **state)
{
    rig *r = *state;
    frame_scratch_free(r->scratch);
    frame_bytes_clear(&r->encoded);
    frame_bytes_clear(&r->again);
    free(r->block);
    free(r);
    return 0;
}

static yl_status decode(rig *r, const uint8_t *bytes, size_t n)
{
    free(r->block);
    r->block = malloc(n ? n : 1);
    assert_non_null(r->block);
    if (n) memcpy(r->block, bytes, n);
    memset(&r->err, 0, sizeof r->err);
    return frame_decode(&r->decoded, r->scratch, n ? r->block : NULL, n, &r->err);
}

/* Encodes, decodes, encodes again: the same bytes, so the same values. */
static void assert_round_trip(rig *r, const frame *f)
{
    assert_int_equal(frame_encode(&r->encoded, f, &r->err), YL_OK);
    if (decode(r, r->encoded.data, r->encoded.n)) fail_msg("%s", r->err.msg);
    assert_int_equal(r->decoded.kind, f->kind);
    assert_true(r->decoded.epoch == f->epoch);
    assert_int_equal(frame_encode(&r->again, &r->decoded, &r->err), YL_OK);
    assert_int_equal(r->again.n, r->encoded.n);
    assert_memory_equal(r->again.data, r->encoded.data, r->encoded.n);
}

static void every_example_survives_a_round_trip(void **state)
{
    rig *r = *state;
    for (size_t i = 0; i < N_FRAME_EXAMPLES; i++) assert_round_trip(r, &frame_examples[i].f);
}

/* The decoder alone is looked at here: a mistake that encoder and decoder share would survive a round trip. */
static void a_forward_is_decoded_field_by_field(void **state)
{
    static const uint8_t bytes[] = {0x9a, 0x01, 0x06, 0x03, 0x07, 0x03, 0x92, 0x94, 0x00, 0x05, 0x11, 0x01, 0x94, 0x02, 0x01, 0x00,
                                    0x02, 0x91, 0x94, 0x02, 0x01, 0x28, 0xc4, 0x04, 0x02, 0x00, 0x00, 0x00, 0x91, 0x92, 0x01, 0x04,
                                    0xc3, 0xc4, 0x0c, 0x0d, 0x00, 0x00, 0x00, 0xff, 0xff, 0xff, 0xff, 0x2a, 0x00, 0x00, 0x80};
    rig *r = *state;
    assert_int_equal(decode(r, bytes, sizeof bytes), YL_OK);
    const frame_forward *f = &r->decoded.forward;
    assert_int_equal(r->decoded.kind, FRAME_FORWARD);
    assert_int_equal(r->decoded.epoch, 3);
    assert_int_equal(f->id, 7);
    assert_int_equal(f->n_rows, 3);
    assert_int_equal(f->n_segments, 2);
    assert_int_equal(f->segments[0].step, 5);
    assert_int_equal(f->segments[0].pos, 17);
    assert_int_equal(f->segments[1].seq, 2);
    assert_int_equal(f->segments[1].n_rows, 2);
    assert_int_equal(f->n_wants, 1);
    assert_int_equal(f->wants[0].row, 2);
    assert_int_equal(f->wants[0].kind, FRAME_WANT_TOP);
    assert_int_equal(f->wants[0].top, 40);
    assert_int_equal(frame_i32_at(f->wants[0].listed, 0), 2);
    assert_int_equal(f->n_faults, 1);
    assert_int_equal(f->faults[0].row, 1);
    assert_int_equal(f->faults[0].layer, 4);
    assert_true(f->is_tokens);
    assert_int_equal(frame_i32_at(f->payload, 0), 13);
    assert_int_equal(frame_i32_at(f->payload, 1), -1);
    assert_int_equal(frame_i32_at(f->payload, 2), INT32_MIN + 0x2a);
    assert_true(frame_f32_at(f->payload, 0) == 0x1.ap-146f);
}

static void every_number_goes_to_its_extremes(void **state)
{
    rig *r = *state;
    frame f = {.kind = FRAME_HEARTBEAT, .epoch = UINT64_MAX, .heartbeat = {UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX}};
    assert_round_trip(r, &f);
    f = (frame){.kind = FRAME_STATS,
                .epoch = UINT64_MAX,
                .stats = {UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX,
                          UINT64_MAX}};
    assert_round_trip(r, &f);
    f = (frame){.kind = FRAME_READY, .ready = {UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX}};
    assert_round_trip(r, &f);
    f = (frame){.kind = FRAME_SEQ,
                .seq = {.id = UINT64_MAX,
                        .op = FRAME_SEQ_FORK,
                        .seq = FRAME_MAX_SEQ - 1,
                        .other = FRAME_MAX_SEQ - 2,
                        .pos = HPARAMS_MAX_CTX}};
    assert_round_trip(r, &f);
    assert_int_equal(r->decoded.seq.pos, HPARAMS_MAX_CTX);
    f = (frame){.kind = FRAME_ERROR, .error = {.about = FRAME_MAX_KIND, .id = UINT64_MAX, .status = FRAME_MAX_STATUS}};
    assert_round_trip(r, &f);
}

/* Every integer at which MessagePack changes its form comes back, from the form that the encoder takes and from all longer ones. */
static void integers_are_taken_in_any_width(void **state)
{
    static const struct {
        uint8_t format;
        size_t n_bytes;
        bool is_signed;
    } forms[] = {{0xcc, 1, false}, {0xcd, 2, false}, {0xce, 4, false}, {0xcf, 8, false},
                 {0xd0, 1, true},  {0xd1, 2, true},  {0xd2, 4, true},  {0xd3, 8, true}};
    static const uint64_t values[] = {1,       0x7f,       0x80,       0xff,       0x100,       0x7fff,    0x8000,    0xffff,
                                      0x10000, 0x7fffffff, 0x80000000, 0xffffffff, 0x100000000, INT64_MAX, UINT64_MAX};
    rig *r = *state;
    for (size_t v = 0; v < sizeof values / sizeof values[0]; v++) {
        frame f = {.kind = FRAME_SHUTDOWN, .epoch = values[v]};
        assert_round_trip(r, &f);
        for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++) {
            unsigned n_bits = 8 * (unsigned)forms[i].n_bytes - forms[i].is_signed;
            if (n_bits < 64 && values[v] >> n_bits) continue;
            uint8_t bytes[4 + 8] = {0x93, 0x01, FRAME_SHUTDOWN, forms[i].format};
            for (size_t k = 0; k < forms[i].n_bytes; k++) bytes[4 + k] = (uint8_t)(values[v] >> 8 * (forms[i].n_bytes - 1 - k));
            assert_int_equal(decode(r, bytes, 4 + forms[i].n_bytes), YL_OK);
            assert_true(r->decoded.epoch == values[v]);
        }
    }
}

/* An encoder may take the shortest form only: other people's caches and signatures over frames rely on it. */
static void integers_are_written_in_their_shortest_form(void **state)
{
    static const struct {
        uint64_t value;
        size_t n_bytes;
    } sizes[] = {{0, 1},      {0x7f, 1},    {0x80, 2},       {0xff, 2},        {0x100, 3},
                 {0xffff, 3}, {0x10000, 5}, {0xffffffff, 5}, {0x100000000, 9}, {UINT64_MAX, 9}};
    rig *r = *state;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        frame f = {.kind = FRAME_SHUTDOWN, .epoch = sizes[i].value};
        assert_int_equal(frame_encode(&r->encoded, &f, &r->err), YL_OK);
        assert_int_equal(r->encoded.n, 3 + sizes[i].n_bytes);
    }
}

static void a_float_is_taken_in_either_width(void **state)
{
    rig *r = *state;
    frame f = frame_examples[1].f;
    assert_int_equal(f.kind, FRAME_ASSIGN);
    assert_int_equal(frame_encode(&r->encoded, &f, &r->err), YL_OK);
    static const uint8_t eps32[] = {0xca, 0x37, 0x00, 0x00, 0x00};
    static const uint8_t eps64[] = {0xcb, 0x3e, 0xe0, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00};
    uint8_t *at = memmem(r->encoded.data, r->encoded.n, eps32, sizeof eps32);
    assert_non_null(at);
    uint8_t bytes[512];
    size_t n_before = (size_t)(at - r->encoded.data), n_after = r->encoded.n - n_before - sizeof eps32;
    memcpy(bytes, r->encoded.data, n_before);
    memcpy(bytes + n_before, eps64, sizeof eps64);
    memcpy(bytes + n_before + sizeof eps64, at + sizeof eps32, n_after);
    assert_int_equal(decode(r, bytes, n_before + sizeof eps64 + n_after), YL_OK);
    assert_true(r->decoded.assign.hp.rms_eps == 0x1p-17f);
    /* 2^1000 is a double, and no float. */
    bytes[n_before + 1] = 0x7e;
    bytes[n_before + 2] = 0x70;
    assert_int_equal(decode(r, bytes, n_before + sizeof eps64 + n_after), YL_EFORMAT);
    assert_string_equal(r->err.msg, "ASSIGN: rms_eps: too large for 32 bits");
}

static void every_truncation_is_refused(void **state)
{
    rig *r = *state;
    for (size_t i = 0; i < N_FRAME_EXAMPLES; i++) {
        assert_int_equal(frame_encode(&r->encoded, &frame_examples[i].f, &r->err), YL_OK);
        for (size_t n = 0; n < r->encoded.n; n++) {
            assert_int_equal(decode(r, r->encoded.data, n), YL_EFORMAT);
            assert_true(strlen(r->err.msg) > 0);
        }
    }
}

/* Fewer elements in the array, and no bytes for them either: the first field that is not there is named. */
static void a_frame_with_too_few_fields_is_refused_by_name(void **state)
{
    static const uint8_t heartbeat[] = {0x95, 0x01, 0x0b, 0x03, 0x07, 0x08};
    static const uint8_t nothing[] = {0x90}, only_version[] = {0x91, 0x01}, no_epoch[] = {0x92, 0x01, 0x0b};
    rig *r = *state;
    assert_int_equal(decode(r, heartbeat, sizeof heartbeat), YL_EFORMAT);
    assert_string_equal(r->err.msg, "HEARTBEAT: pending: missing");
    assert_int_equal(r->decoded.kind, FRAME_HEARTBEAT);
    assert_int_equal(r->decoded.epoch, 3);
    assert_int_equal(decode(r, nothing, sizeof nothing), YL_EFORMAT);
    assert_string_equal(r->err.msg, "frame: version: missing");
    assert_int_equal(decode(r, only_version, sizeof only_version), YL_EFORMAT);
    assert_string_equal(r->err.msg, "frame: kind: missing");
    assert_int_equal(decode(r, no_epoch, sizeof no_epoch), YL_EFORMAT);
    assert_string_equal(r->err.msg, "frame: epoch: missing");
    assert_int_equal(r->decoded.kind, 0);
}

static void a_byte_after_the_array_is_refused(void **state)
{
    rig *r = *state;
    for (size_t i = 0; i < N_FRAME_EXAMPLES; i++) {
        assert_int_equal(frame_encode(&r->encoded, &frame_examples[i].f, &r->err), YL_OK);
        uint8_t bytes[512];
        assert_true(r->encoded.n < sizeof bytes);
        memcpy(bytes, r->encoded.data, r->encoded.n);
        bytes[r->encoded.n] = 0xc0;
        assert_int_equal(decode(r, bytes, r->encoded.n + 1), YL_EFORMAT);
        assert_non_null(strstr(r->err.msg, "1 bytes follow the array"));
    }
}

/* What a newer sender appends is stepped over, in the frame as in the elements of its lists. */
static void appended_fields_are_ignored(void **state)
{
    static const uint8_t shutdown[] = {0x96, 0x01, 0x0e, 0x03, 0xa2, 'h', 'i', 0x81, 0x01, 0x92, 0xc0, 0xd6, 0x05,
                                       1,    2,    3,    4,    0xcb, 0,   0,   0,    0,    0,    0,    0,    0};
    static const uint8_t forward[] = {0x9a, 0x01, 0x06, 0x03, 0x07, 0x01, 0x91, 0x95, 0x00, 0x01, 0x00,
                                      0x01, 0xc0, 0x90, 0x90, 0xc3, 0xc4, 0x04, 0x0d, 0x00, 0x00, 0x00};
    rig *r = *state;
    assert_int_equal(decode(r, shutdown, sizeof shutdown), YL_OK);
    assert_int_equal(r->decoded.kind, FRAME_SHUTDOWN);
    if (decode(r, forward, sizeof forward)) fail_msg("%s", r->err.msg);
    assert_int_equal(frame_i32_at(r->decoded.forward.payload, 0), 13);
}

/* SHUTDOWN with one appended field: arrays inside arrays. */
static yl_status decode_nested(rig *r, size_t depth)
{
    uint8_t *bytes = malloc(5 + depth);
    assert_non_null(bytes);
    memcpy(bytes, "\x94\x01\x0e\x03", 4);
    memset(bytes + 4, 0x91, depth);
    bytes[4 + depth] = 0xc0;
    yl_status status = decode(r, bytes, 5 + depth);
    free(bytes);
    return status;
}

static void a_bomb_of_nested_arrays_is_refused(void **state)
{
    rig *r = *state;
    assert_int_equal(decode_nested(r, MSGPACK_CURSOR_MAX_DEPTH), YL_OK);
    assert_int_equal(decode_nested(r, MSGPACK_CURSOR_MAX_DEPTH + 1), YL_EFORMAT);
    assert_int_equal(decode_nested(r, 10 << 20), YL_EFORMAT);
    assert_non_null(strstr(r->err.msg, "nested too deeply"));
}

/* Bytes that claim four billion elements or bytes are looked at, not worked on: nothing is allocated, nothing is walked. */
static void claims_beyond_the_bytes_are_refused(void **state)
{
    static const struct {
        size_t n;
        uint8_t bytes[24];
    } claims[] = {
        {5, {0xdd, 0xff, 0xff, 0xff, 0xff}}, /* the frame */
        {3, {0xdc, 0xff, 0xff}},
        {9, {0x94, 0x01, 0x0e, 0x03, 0xdd, 0xff, 0xff, 0xff, 0xff}},                                     /* an appended array */
        {9, {0x94, 0x01, 0x0e, 0x03, 0xdf, 0xff, 0xff, 0xff, 0xff}},                                     /* a map */
        {9, {0x94, 0x01, 0x0e, 0x03, 0xc6, 0xff, 0xff, 0xff, 0xff}},                                     /* a bin */
        {9, {0x94, 0x01, 0x0e, 0x03, 0xdb, 0xff, 0xff, 0xff, 0xff}},                                     /* a string */
        {9, {0x94, 0x01, 0x0e, 0x03, 0xc9, 0xff, 0xff, 0xff, 0xff}},                                     /* an extension */
        {15, {0x9a, 0x01, 0x06, 0x03, 0x07, 0x01, 0xdd, 0xff, 0xff, 0xff, 0xff, 0x90, 0x90, 0xc3, 0xc0}} /* segments */
    };
    rig *r = *state;
    for (size_t i = 0; i < sizeof claims / sizeof claims[0]; i++)
        assert_int_equal(decode(r, claims[i].bytes, claims[i].n), YL_EFORMAT);
}

static void another_version_is_named_with_ours(void **state)
{
    static const uint8_t newer[] = {0x94, 0x02, 0x0d, 0x05, 0xc0}, zero[] = {0x93, 0x00, 0x0e, 0x03};
    static const uint8_t strange[] = {0x92, 0x02, 0xc0};
    rig *r = *state;
    assert_int_equal(decode(r, newer, sizeof newer), YL_EUNSUPPORTED);
    assert_non_null(strstr(r->err.msg, "version 2"));
    assert_non_null(strstr(r->err.msg, "version 1"));
    assert_int_equal(r->decoded.kind, FRAME_ERROR); /* so that it is not answered by an ERROR */
    assert_int_equal(r->decoded.epoch, 5);
    assert_int_equal(decode(r, zero, sizeof zero), YL_EUNSUPPORTED);
    assert_int_equal(decode(r, strange, sizeof strange), YL_EUNSUPPORTED);
    assert_int_equal(r->decoded.kind, 0);
}

static void an_unknown_kind_is_refused_by_number(void **state)
{
    static const uint8_t kv[] = {0x93, 0x01, 0x0a, 0x03}, zero[] = {0x93, 0x01, 0x00, 0x03};
    rig *r = *state;
    assert_int_equal(decode(r, kv, sizeof kv), YL_EFORMAT);
    assert_string_equal(r->err.msg, "frame: kind: 10 is none that version 1 knows");
    assert_int_equal(r->decoded.kind, 10);
    assert_int_equal(decode(r, zero, sizeof zero), YL_EFORMAT);
    assert_int_equal(r->decoded.kind, 0);
}

static void what_is_no_array_is_refused(void **state)
{
    static const uint8_t items[] = {0x01, 0xff, 0xc0, 0xc1, 0xc3, 0x80, 0xa0};
    rig *r = *state;
    for (size_t i = 0; i < sizeof items; i++) assert_int_equal(decode(r, &items[i], 1), YL_EFORMAT);
    assert_int_equal(decode(r, NULL, 0), YL_EFORMAT);
    assert_int_equal(frame_decode(&r->decoded, r->scratch, NULL, 0, NULL), YL_EFORMAT); /* nobody asks for the sentence */
}

static void a_frame_longer_than_the_limit_is_not_looked_at(void **state)
{
    rig *r = *state;
    size_t n = (size_t)FRAME_MAX_BYTES + 1;
    uint8_t *bytes = calloc(n, 1);
    assert_non_null(bytes);
    memcpy(bytes, "\x93\x01\x0e\x03", 4);
    assert_int_equal(frame_decode(&r->decoded, r->scratch, bytes, n, &r->err), YL_EFORMAT);
    assert_non_null(strstr(r->err.msg, "67108864"));
    free(bytes);
}

static void a_forward_can_be_encoded_around_a_payload_written_later(void **state)
{
    rig *r = *state;
    for (size_t i = 0; i < N_FRAME_EXAMPLES; i++) {
        frame f = frame_examples[i].f;
        if (f.kind != FRAME_FORWARD) continue;
        assert_int_equal(frame_encode(&r->encoded, &f, &r->err), YL_OK);
        frame_bin payload = f.forward.payload;
        f.forward.payload.data = NULL;
        uint8_t *place;
        assert_int_equal(frame_encode_forward(&r->again, &f, &place, &r->err), YL_OK);
        memcpy(place, payload.data, payload.n_bytes);
        assert_int_equal(r->again.n, r->encoded.n);
        assert_memory_equal(r->again.data, r->encoded.data, r->encoded.n);
    }
}

static void a_frame_that_grows_beyond_the_limit_is_not_encoded(void **state)
{
    rig *r = *state;
    static const frame_segment segment = {.seq = 0, .step = 1, .n_rows = 1};
    frame f = {.kind = FRAME_FORWARD,
               .forward = {.n_rows = 1, .n_segments = 1, .segments = &segment, .payload = {NULL, FRAME_MAX_BYTES}}};
    uint8_t *place;
    assert_int_equal(frame_encode_forward(&r->encoded, &f, &place, &r->err), YL_ELIMIT);
    assert_null(place);
    assert_int_equal(r->encoded.n, 0);
    assert_non_null(strstr(r->err.msg, "FORWARD"));
    f.forward.payload.n_bytes = SIZE_MAX;
    assert_int_equal(frame_encode_forward(&r->encoded, &f, &place, &r->err), YL_ELIMIT);
    f.forward.payload.n_bytes = FRAME_MAX_BYTES - 64;
    assert_int_equal(frame_encode_forward(&r->encoded, &f, &place, &r->err), YL_OK);
    assert_true(r->encoded.n <= FRAME_MAX_BYTES);
}

/* Any sentence fits: bytes that are not UTF-8 and a cut in the middle of a character are mended. */
static void an_error_frame_carries_any_sentence(void **state)
{
    rig *r = *state;
    yl_error cause = {.status = YL_ELIMIT};
    memset(cause.msg, 'a', sizeof cause.msg - 1);
    memcpy(cause.msg, "\xff\tok", 4);
    memcpy(cause.msg + FRAME_MAX_MESSAGE - 1, "\xc3\xa9", 2); /* the last byte that fits is half a character */
    assert_int_equal(frame_encode_error(&r->encoded, 9, FRAME_ASSIGN, 77, &cause, &r->err), YL_OK);
    assert_int_equal(decode(r, r->encoded.data, r->encoded.n), YL_OK);
    const frame_error *e = &r->decoded.error;
    assert_int_equal(r->decoded.kind, FRAME_ERROR);
    assert_int_equal(r->decoded.epoch, 9);
    assert_int_equal(e->about, FRAME_ASSIGN);
    assert_int_equal(e->id, 77);
    assert_int_equal(e->status, YL_ELIMIT);
    assert_int_equal(e->message.n_bytes, FRAME_MAX_MESSAGE - 1);
    assert_memory_equal(e->message.data, "??okaaaa", 8);
}

static void every_kind_has_a_name(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_FRAME_EXAMPLES; i++) {
        const char *name = frame_kind_name(frame_examples[i].f.kind);
        assert_memory_equal(frame_examples[i].name, name, strlen(name));
    }
    assert_string_equal(frame_kind_name(0), "unknown");
    assert_string_equal(frame_kind_name(10), "unknown");
    assert_string_equal(frame_kind_name(4000000000u), "unknown");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_example_survives_a_round_trip),
        cmocka_unit_test(a_forward_is_decoded_field_by_field),
        cmocka_unit_test(every_number_goes_to_its_extremes),
        cmocka_unit_test(integers_are_taken_in_any_width),
        cmocka_unit_test(integers_are_written_in_their_shortest_form),
        cmocka_unit_test(a_float_is_taken_in_either_width),
        cmocka_unit_test(every_truncation_is_refused),
        cmocka_unit_test(a_frame_with_too_few_fields_is_refused_by_name),
        cmocka_unit_test(a_byte_after_the_array_is_refused),
        cmocka_unit_test(appended_fields_are_ignored),
        cmocka_unit_test(a_bomb_of_nested_arrays_is_refused),
        cmocka_unit_test(claims_beyond_the_bytes_are_refused),
        cmocka_unit_test(another_version_is_named_with_ours),
        cmocka_unit_test(an_unknown_kind_is_refused_by_number),
        cmocka_unit_test(what_is_no_array_is_refused),
        cmocka_unit_test(a_frame_longer_than_the_limit_is_not_looked_at),
        cmocka_unit_test(a_forward_can_be_encoded_around_a_payload_written_later),
        cmocka_unit_test(a_frame_that_grows_beyond_the_limit_is_not_encoded),
        cmocka_unit_test(an_error_frame_carries_any_sentence),
        cmocka_unit_test(every_kind_has_a_name),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
