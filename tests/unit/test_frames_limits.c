/* test_frames_limits.c: numbers one beyond their limit, fields that contradict each other, and items of the wrong type.
 *
 * A case takes an example, breaks one thing in it, and names the sentence that must come of it. The encoder believes its caller, so
 * broken frames can be made with it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "frame_examples.h"
#include "msgpack_cursor.h"

static frame_scratch *scratch;
static frame_bytes encoded;

static int set_up(void **state)
{
    (void)state;
    return frame_scratch_new(&scratch, NULL) == YL_OK ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    frame_scratch_free(scratch);
    frame_bytes_clear(&encoded);
    return 0;
}

static frame example(const char *name)
{
    for (size_t i = 0; i < N_FRAME_EXAMPLES; i++) {
        if (!strcmp(frame_examples[i].name, name)) return frame_examples[i].f;
    }
    fail_msg("no example %s", name);
    return (frame){0};
}

/* Decodes a copy on the heap of its exact size. */
static yl_status decode(const uint8_t *bytes, size_t n, yl_error *err)
{
    static frame f;
    uint8_t *block = malloc(n);
    assert_non_null(block);
    memcpy(block, bytes, n);
    yl_status status = frame_decode(&f, scratch, block, n, err);
    free(block);
    return status;
}

static void assert_taken(const frame *f)
{
    yl_error err = {0};
    assert_int_equal(frame_encode(&encoded, f, &err), YL_OK);
    if (decode(encoded.data, encoded.n, &err)) fail_msg("refused: %s", err.msg);
}

/* Refused, and the sentence begins with `start`. */
static void assert_refused(const frame *f, const char *start)
{
    yl_error err = {0};
    assert_int_equal(frame_encode(&encoded, f, &err), YL_OK);
    assert_int_equal(decode(encoded.data, encoded.n, &err), YL_EFORMAT);
    assert_int_equal(err.status, YL_EFORMAT);
    if (strncmp(err.msg, start, strlen(start))) fail_msg("wanted \"%s...\", got \"%s\"", start, err.msg);
}

/* Texts and ids of any length. */
static uint8_t many_bytes[FRAME_CHUNK_BYTES + 64];
static uint8_t many_letters[FRAME_MAX_MESSAGE + 1];

static frame_bin letters(size_t n)
{
    memset(many_letters, 'x', sizeof many_letters);
    return (frame_bin){many_letters, n};
}

static frame_bin zeros(size_t n)
{
    assert_true(n <= sizeof many_bytes);
    return (frame_bin){many_bytes, n};
}

static void hello_keeps_its_limits(void **state)
{
    (void)state;
    frame f = example("HELLO");
    f.hello.name = letters(FRAME_MAX_NAME);
    f.hello.data_endpoint = letters(FRAME_MAX_ENDPOINT);
    f.hello.n_threads = FRAME_MAX_THREADS;
    f.hello.isa = letters(FRAME_MAX_NAME);
    f.hello.version = letters(FRAME_MAX_NAME);
    f.hello.bytes_per_s = f.hello.macs_per_s = FRAME_MAX_SPEED;
    assert_taken(&f);
    f.hello.bytes_per_s = f.hello.macs_per_s = 0;
    assert_taken(&f);
    f.hello.data_endpoint.n_bytes = f.hello.isa.n_bytes = f.hello.version.n_bytes = f.hello.model_id.n_bytes = 0;
    assert_taken(&f);

    f = example("HELLO");
    f.hello.name.n_bytes = 0;
    assert_refused(&f, "HELLO: name: 0 bytes");
    f.hello.name = letters(FRAME_MAX_NAME + 1);
    assert_refused(&f, "HELLO: name: 129 bytes");
    f = example("HELLO");
    f.hello.data_endpoint = letters(FRAME_MAX_ENDPOINT + 1);
    assert_refused(&f, "HELLO: data_endpoint: ");
    f = example("HELLO");
    f.hello.n_threads = 0;
    assert_refused(&f, "HELLO: n_threads: 0 is not in [1, 65536]");
    f.hello.n_threads = FRAME_MAX_THREADS + 1;
    assert_refused(&f, "HELLO: n_threads: ");
    f = example("HELLO");
    f.hello.isa = letters(FRAME_MAX_NAME + 1);
    assert_refused(&f, "HELLO: isa: ");
    f = example("HELLO");
    f.hello.version = letters(FRAME_MAX_NAME + 1);
    assert_refused(&f, "HELLO: version: ");
    f = example("HELLO");
    f.hello.bytes_per_s = FRAME_MAX_SPEED + 1;
    assert_refused(&f, "HELLO: bytes_per_s: 1125899906842625 is not in [0, 1125899906842624]");
    f = example("HELLO");
    f.hello.macs_per_s = UINT64_MAX;
    assert_refused(&f, "HELLO: macs_per_s: ");
    f = example("HELLO");
    f.hello.model_id = zeros(31);
    assert_refused(&f, "HELLO: model_id: ");
    f.hello.model_id = zeros(33);
    assert_refused(&f, "HELLO: model_id: ");
}

/* Names come to terminals and C strings. */
static void strings_are_utf8_without_control_characters(void **state)
{
    static const char *const bad[] = {"a\nb", "\x7f", "\x1b[2J", "\xff", "\xc3", "\xc0\xaf", "\xed\xa0\x80", "\xf4\x90\x80\x80"};
    (void)state;
    frame f = example("HELLO");
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        f.hello.name = (frame_bin){(const uint8_t *)bad[i], strlen(bad[i])};
        assert_refused(&f, "HELLO: name: not UTF-8");
    }
    f.hello.name = (frame_bin)EXAMPLE_BYTES("nul\0inside");
    assert_refused(&f, "HELLO: name: not UTF-8");
    f.hello.name = (frame_bin)EXAMPLE_BYTES("B\xc3\xbcro \xe2\x82\xac \xf0\x9f\xa6\x99");
    assert_taken(&f);
}

static void assign_keeps_its_limits(void **state)
{
    static const struct {
        size_t offset;
        uint32_t value;
        const char *start;
    } cases[] = {
        {offsetof(frame, assign.stage), 2, "ASSIGN: stage: 2 of 2"},
        {offsetof(frame, assign.stage), FRAME_MAX_STAGES, "ASSIGN: stage: "},
        {offsetof(frame, assign.n_stages), 0, "ASSIGN: n_stages: "},
        {offsetof(frame, assign.n_stages), FRAME_MAX_STAGES + 1, "ASSIGN: n_stages: "},
        {offsetof(frame, assign.range.layer_begin), HPARAMS_MAX_LAYER + 1, "ASSIGN: layer_begin: "},
        {offsetof(frame, assign.range.layer_end), HPARAMS_MAX_LAYER + 1, "ASSIGN: layer_end: "},
        {offsetof(frame, assign.range.layer_begin), 2, "ASSIGN: a slice of layers [2, 1)"},
        {offsetof(frame, assign.range.layer_end), 3, "ASSIGN: a slice of layers [0, 3)"},
        {offsetof(frame, assign.hp.n_head_kv), 3, "ASSIGN: "},
        {offsetof(frame, assign.hp.n_layer), HPARAMS_MAX_LAYER + 1, "ASSIGN: "},
        {offsetof(frame, assign.hp.n_vocab), 0, "ASSIGN: "},
        {offsetof(frame, assign.hp.n_embd), HPARAMS_MAX_EMBD + 1, "ASSIGN: "},
        {offsetof(frame, assign.hp.n_rot), 15, "ASSIGN: "},
        {offsetof(frame, assign.hp.rope_type), ROPE_SCALING_YARN + 1, "ASSIGN: rope_type: "},
        {offsetof(frame, assign.n_ctx), 0, "ASSIGN: n_ctx: "},
        {offsetof(frame, assign.n_ctx), HPARAMS_MAX_CTX + 1, "ASSIGN: n_ctx: "},
        {offsetof(frame, assign.n_seq), 0, "ASSIGN: n_seq: "},
        {offsetof(frame, assign.n_seq), FRAME_MAX_SEQ + 1, "ASSIGN: n_seq: "},
        {offsetof(frame, assign.max_rows), 0, "ASSIGN: max_rows: "},
        {offsetof(frame, assign.max_rows), FRAME_MAX_ROWS + 1, "ASSIGN: max_rows: "},
        {offsetof(frame, assign.kv_type_k), KV_TYPE_LAST + 1, "ASSIGN: kv_type_k: "},
        {offsetof(frame, assign.kv_type_k), KV_Q8_0, "ASSIGN: kv_type_k: q8_0 has blocks of 32 elements, heads of 16 "},
        {offsetof(frame, assign.kv_type_v), KV_Q8_0, "ASSIGN: kv_type_v: q8_0 has blocks of 32 elements, heads of 16 "},
        {offsetof(frame, assign.kv_type_v), KV_TYPE_LAST + 1, "ASSIGN: kv_type_v: "},
        {offsetof(frame, assign.wire), WIRE_TYPE_LAST + 1, "ASSIGN: wire: "},
        {offsetof(frame, assign.load), FRAME_LOAD_CACHE + 1, "ASSIGN: load: "},
        {offsetof(frame, assign.heartbeat_ms), FRAME_MAX_HEARTBEAT_MS + 1, "ASSIGN: heartbeat_ms: "},
        {offsetof(frame, assign.n_tensors), 0, "ASSIGN: tensors: 0 elements"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        frame f = example("ASSIGN");
        memcpy((uint8_t *)&f + cases[i].offset, &cases[i].value, sizeof cases[i].value); /* enums are 32 bits wide */
        assert_refused(&f, cases[i].start);
    }
    frame f = example("ASSIGN");
    f.assign.heartbeat_ms = 0;
    f.assign.n_seq = FRAME_MAX_SEQ;
    f.assign.n_ctx = HPARAMS_MAX_CTX;
    f.assign.max_rows = FRAME_MAX_ROWS;
    f.assign.next_endpoint = letters(FRAME_MAX_ENDPOINT);
    assert_taken(&f);
    f.assign.next_endpoint = letters(FRAME_MAX_ENDPOINT + 1);
    assert_refused(&f, "ASSIGN: next_endpoint: ");
    f = example("ASSIGN");
    f.assign.model_id.n_bytes = 0;
    assert_refused(&f, "ASSIGN: model_id: ");
}

static void assign_refuses_numbers_that_are_not_finite(void **state)
{
    (void)state;
    frame f = example("ASSIGN");
    f.assign.hp.rms_eps = 1.0f / 0.0f;
    assert_refused(&f, "ASSIGN: rms_eps: not a finite number");
    f = example("ASSIGN");
    f.assign.hp.rope_freq_base = 0.0 / 0.0;
    assert_refused(&f, "ASSIGN: rope_freq_base: not a finite number");
    f = example("ASSIGN");
    f.assign.hp.rope_beta_slow = -1.0 / 0.0;
    assert_refused(&f, "ASSIGN: rope_beta_slow: not a finite number");
}

static void assign_refuses_tensors_that_no_slice_has(void **state)
{
    static const struct {
        frame_tensor tensor;
        const char *start;
    } cases[] = {
        {{TENSOR_ROLE_END, 0, QUANT_F32, 1, 1}, "ASSIGN: tensors[1].role: "},
        {{TENSOR_ATTN_Q, 1, QUANT_F32, 1, 1}, "ASSIGN: tensors[1].layer: 1 is not in [0, 0]"},
        {{TENSOR_OUTPUT, 1, QUANT_F32, 1, 1}, "ASSIGN: tensors[1].layer: "},
        {{TENSOR_OUTPUT, 0, 16, 1, 1}, "ASSIGN: tensors[1].type: 16 (IQ2_XXS)"},
        {{TENSOR_OUTPUT, 0, 4000000000, 1, 1}, "ASSIGN: tensors[1].type: 4000000000"},
        {{TENSOR_OUTPUT, 0, QUANT_F32, 0, 1}, "ASSIGN: tensors[1].n_rows: "},
        {{TENSOR_OUTPUT, 0, QUANT_F32, (1 << 22) + 1, 1}, "ASSIGN: tensors[1].n_rows: "},
        {{TENSOR_OUTPUT, 0, QUANT_F32, 1, 0}, "ASSIGN: tensors[1].n_cols: "},
        {{TENSOR_OUTPUT, 0, QUANT_F32, 1, UINT64_MAX}, "ASSIGN: tensors[1].n_cols: "},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        frame_tensor tensors[2] = {{TENSOR_TOKEN_EMBD, 0, QUANT_F32, 1 << 22, 1 << 22}, cases[i].tensor};
        frame f = example("ASSIGN");
        f.assign.n_tensors = 2;
        f.assign.tensors = tensors;
        assert_refused(&f, cases[i].start);
    }
    /* A slice without layers has no tensor of a layer. */
    frame f = example("ASSIGN");
    f.assign.range.layer_end = 0;
    assert_refused(&f, "ASSIGN: tensors[1].role: ");
}

static void assign_takes_as_many_tensors_as_fit(void **state)
{
    (void)state;
    frame_tensor *tensors = calloc(FRAME_MAX_TENSORS + 1, sizeof *tensors);
    assert_non_null(tensors);
    for (size_t i = 0; i <= FRAME_MAX_TENSORS; i++)
        tensors[i] = (frame_tensor){.role = TENSOR_ATTN_Q, .type = QUANT_Q8_0, .n_rows = 64, .n_cols = 64};
    frame f = example("ASSIGN");
    f.assign.tensors = tensors;
    f.assign.n_tensors = FRAME_MAX_TENSORS;
    assert_taken(&f);
    f.assign.n_tensors++;
    assert_refused(&f, "ASSIGN: tensors: 65537 elements");
    free(tensors);
}

static void chunks_keep_their_limits(void **state)
{
    (void)state;
    frame f = {.kind = FRAME_WANT, .want = {FRAME_MAX_TENSORS - 1, UINT64_C(1) << 46, FRAME_CHUNK_BYTES}};
    assert_taken(&f);
    f.want.n_bytes++;
    assert_refused(&f, "WANT: n_bytes: ");
    f.want.n_bytes = 0;
    assert_refused(&f, "WANT: n_bytes: ");
    f = (frame){.kind = FRAME_WANT, .want = {FRAME_MAX_TENSORS, 0, 1}};
    assert_refused(&f, "WANT: tensor: ");
    f = (frame){.kind = FRAME_WANT, .want = {0, (UINT64_C(1) << 46) + 1, 1}};
    assert_refused(&f, "WANT: offset: ");

    f = (frame){.kind = FRAME_TENSOR, .tensor = {FRAME_MAX_TENSORS - 1, UINT64_C(1) << 46, zeros(FRAME_CHUNK_BYTES)}};
    assert_taken(&f);
    f.tensor.data.n_bytes++;
    assert_refused(&f, "TENSOR: data: ");
    f.tensor.data.n_bytes = 0;
    assert_refused(&f, "TENSOR: data: ");
    f = (frame){.kind = FRAME_TENSOR, .tensor = {FRAME_MAX_TENSORS, 0, zeros(1)}};
    assert_refused(&f, "TENSOR: tensor: ");
    f = (frame){.kind = FRAME_TENSOR, .tensor = {0, (UINT64_C(1) << 46) + 1, zeros(1)}};
    assert_refused(&f, "TENSOR: offset: ");
}

/* A FORWARD of tokens with one segment. */
static frame forward_of(uint32_t n_rows, const frame_segment *segments, uint32_t n_segments)
{
    return (frame){.kind = FRAME_FORWARD,
                   .forward = {.n_rows = n_rows,
                               .segments = segments,
                               .n_segments = n_segments,
                               .is_tokens = true,
                               .payload = zeros(4 * (size_t)n_rows)}};
}

static void forward_takes_as_many_rows_and_segments_as_fit(void **state)
{
    (void)state;
    frame_segment segments[FRAME_MAX_SEGMENTS + 1];
    for (uint32_t i = 0; i <= FRAME_MAX_SEGMENTS; i++) {
        segments[i] = (frame_segment){.seq = FRAME_MAX_SEQ - 1 - i, .step = UINT64_MAX, .pos = HPARAMS_MAX_CTX - 8, .n_rows = 8};
    }
    frame f = forward_of(FRAME_MAX_ROWS, segments, FRAME_MAX_SEGMENTS);
    frame_want wants[FRAME_MAX_ROWS + 1];
    frame_fault faults[FRAME_MAX_ROWS + 1];
    for (uint32_t i = 0; i <= FRAME_MAX_ROWS; i++) {
        wants[i] = (frame_want){.row = i, .kind = FRAME_WANT_TOP, .top = FRAME_MAX_TOP, .listed = zeros(4 * FRAME_MAX_LISTED)};
        faults[i] = (frame_fault){.row = i, .layer = HPARAMS_MAX_LAYER};
    }
    f.forward.wants = wants;
    f.forward.n_wants = FRAME_MAX_ROWS;
    f.forward.faults = faults;
    f.forward.n_faults = FRAME_MAX_ROWS;
    assert_taken(&f);
    f.forward.n_wants++;
    assert_refused(&f, "FORWARD: wants: 2049 elements");
    f.forward.n_wants = 0;
    f.forward.n_faults++;
    assert_refused(&f, "FORWARD: faults: 2049 elements");

    f = forward_of(FRAME_MAX_ROWS + 1, segments, FRAME_MAX_SEGMENTS);
    assert_refused(&f, "FORWARD: n_rows: ");
    for (uint32_t i = 0; i <= FRAME_MAX_SEGMENTS; i++) segments[i].n_rows = 1;
    f = forward_of(FRAME_MAX_SEGMENTS + 1, segments, FRAME_MAX_SEGMENTS + 1);
    assert_refused(&f, "FORWARD: segments: 257 elements");
}

static void forward_refuses_segments_that_do_not_add_up(void **state)
{
    static const struct {
        uint32_t n_rows, n_segments;
        frame_segment segments[3];
        const char *start;
    } cases[] = {
        {0, 1, {{0, 1, 0, 1}}, "FORWARD: n_rows: "},
        {1, 0, {{0, 1, 0, 1}}, "FORWARD: segments: 0 elements"},
        {2, 1, {{0, 1, 0, 1}}, "FORWARD: segments: 1 rows in all, the frame has 2"},
        {1, 1, {{0, 1, 0, 2}}, "FORWARD: segments[0].n_rows: "},
        {2, 2, {{0, 1, 0, 2}, {1, 1, 0, 1}}, "FORWARD: segments: 3 rows in all, the frame has 2"},
        {1, 2, {{0, 1, 0, 1}, {1, 1, 0, 0}}, "FORWARD: segments[1].n_rows: "},
        {2, 2, {{7, 1, 0, 1}, {7, 2, 1, 1}}, "FORWARD: segments[1].seq: 7 is in this frame already"},
        {3, 3, {{7, 1, 0, 1}, {9, 1, 0, 1}, {7, 2, 1, 1}}, "FORWARD: segments[2].seq: 7"},
        {3, 3, {{9, 1, 0, 1}, {7, 1, 0, 1}, {7, 2, 1, 1}}, "FORWARD: segments[2].seq: 7"},
        {2, 2, {{0, 1, 0, 1}, {0, 1, 1, 1}}, "FORWARD: segments[1].seq: 0"},
        {1, 1, {{FRAME_MAX_SEQ, 1, 0, 1}}, "FORWARD: segments[0].seq: "},
        {1, 1, {{0, 0, 0, 1}}, "FORWARD: segments[0].step: "},
        {1, 1, {{0, 1, HPARAMS_MAX_CTX, 1}}, "FORWARD: segments[0].pos: "},
        {2, 1, {{0, 1, HPARAMS_MAX_CTX - 1, 2}}, "FORWARD: segments[0].pos: "},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        frame f = forward_of(cases[i].n_rows, cases[i].segments, cases[i].n_segments);
        assert_refused(&f, cases[i].start);
    }
    static const frame_segment falling[] = {{9, 1, 0, 1}, {7, 1, 0, 1}, {8, 2, 1, 1}};
    frame f = forward_of(3, falling, 3);
    assert_taken(&f);
}

static void forward_refuses_wants_out_of_order_or_range(void **state)
{
    static const struct {
        frame_want wants[2];
        const char *start;
    } cases[] = {
        {{{.row = 1, .kind = FRAME_WANT_ALL}, {.row = 1, .kind = FRAME_WANT_ALL}}, "FORWARD: wants[1].row: 1 after 1"},
        {{{.row = 1, .kind = FRAME_WANT_ALL}, {.row = 0, .kind = FRAME_WANT_ALL}}, "FORWARD: wants[1].row: 0 after 1"},
        {{{.row = 0, .kind = FRAME_WANT_ALL}, {.row = 2, .kind = FRAME_WANT_ALL}}, "FORWARD: wants[1].row: 2 is not in [0, 1]"},
        {{{.row = 0, .kind = 0}, {.row = 1, .kind = FRAME_WANT_ALL}}, "FORWARD: wants[0].kind: "},
        {{{.row = 0, .kind = FRAME_WANT_ALL}, {.row = 1, .kind = FRAME_WANT_HIDDEN + 1}}, "FORWARD: wants[1].kind: "},
        {{{.row = 0, .kind = FRAME_WANT_TOP, .top = FRAME_MAX_TOP + 1}}, "FORWARD: wants[0].top: "},
        {{{.row = 0, .kind = FRAME_WANT_ALL, .top = 1}}, "FORWARD: wants[0].top: "},
        {{{.row = 0, .kind = FRAME_WANT_TOP, .listed = EXAMPLE_BYTES("123")}}, "FORWARD: wants[0].listed: 3 bytes"},
        {{{.row = 0, .kind = FRAME_WANT_HIDDEN, .listed = EXAMPLE_BYTES("1234")}}, "FORWARD: wants[0].listed: "},
        {{{.row = 0, .kind = FRAME_WANT_TOP, .listed = {many_bytes, 4 * FRAME_MAX_LISTED + 4}}}, "FORWARD: wants[0].listed: "},
    };
    static const frame_segment segment = {0, 1, 0, 2};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        frame f = forward_of(2, &segment, 1);
        f.forward.wants = cases[i].wants;
        f.forward.n_wants = 2;
        assert_refused(&f, cases[i].start);
    }
}

static void forward_refuses_faults_out_of_order_or_range(void **state)
{
    static const struct {
        frame_fault faults[2];
        const char *start;
    } cases[] = {
        {{{0, 1}, {0, 1}}, "FORWARD: faults[1].row: 0 after 0"},
        {{{1, 1}, {0, 1}}, "FORWARD: faults[1].row: "},
        {{{0, 1}, {2, 1}}, "FORWARD: faults[1].row: "},
        {{{0, HPARAMS_MAX_LAYER + 1}, {1, 1}}, "FORWARD: faults[0].layer: "},
    };
    static const frame_segment segment = {0, 1, 0, 2};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        frame f = forward_of(2, &segment, 1);
        f.forward.faults = cases[i].faults;
        f.forward.n_faults = 2;
        assert_refused(&f, cases[i].start);
    }
}

static void forward_refuses_a_payload_of_another_size(void **state)
{
    static const frame_segment segment = {0, 1, 0, 2};
    (void)state;
    frame f = forward_of(2, &segment, 1);
    assert_taken(&f);
    static const size_t bad_tokens[] = {4, 7, 9, 12, 16};
    for (size_t i = 0; i < sizeof bad_tokens / sizeof bad_tokens[0]; i++) {
        f.forward.payload = zeros(bad_tokens[i]);
        assert_refused(&f, "FORWARD: payload: ");
    }
    f.forward.payload = zeros(0);
    assert_refused(&f, "FORWARD: payload: 0 bytes");
    f.forward.is_tokens = false;
    assert_refused(&f, "FORWARD: payload: 0 bytes");
    f.forward.payload = zeros(13);
    assert_refused(&f, "FORWARD: payload: 13 bytes are not 2 rows");
    f.forward.payload = zeros(12);
    assert_taken(&f); /* three f16 a row, say: which type it is, ASSIGN told */
    f.forward.payload = zeros(8 * HPARAMS_MAX_EMBD);
    assert_taken(&f);
    f.forward.payload = zeros(8 * HPARAMS_MAX_EMBD + 8);
    assert_refused(&f, "FORWARD: payload: ");
}

static void a_result_is_held_to_what_its_kind_has(void **state)
{
    static const struct {
        frame_answer answer;
        const char *start;
    } cases[] = {
        {{.kind = 0, .sum_exp = 1}, "RESULT: answers[0].kind: "},
        {{.kind = FRAME_WANT_HIDDEN + 1, .sum_exp = 1}, "RESULT: answers[0].kind: "},
        {{.kind = FRAME_WANT_TOP, .sum_exp = 1, .row = FRAME_MAX_ROWS}, "RESULT: answers[0].row: "},
        {{.kind = FRAME_WANT_TOP, .sum_exp = 1, .seq = FRAME_MAX_SEQ}, "RESULT: answers[0].seq: "},
        {{.kind = FRAME_WANT_TOP, .sum_exp = 1, .pos = HPARAMS_MAX_CTX}, "RESULT: answers[0].pos: "},
        {{.kind = FRAME_WANT_TOP, .sum_exp = 1, .first = 1}, "RESULT: answers[0].first: "},
        {{.kind = FRAME_WANT_TOP, .sum_exp = 0}, "RESULT: answers[0].sum_exp: "},
        {{.kind = FRAME_WANT_TOP, .sum_exp = -1}, "RESULT: answers[0].sum_exp: "},
        {{.kind = FRAME_WANT_TOP, .sum_exp = 1.0f / 0.0f}, "RESULT: answers[0].sum_exp: not a finite number"},
        {{.kind = FRAME_WANT_TOP, .sum_exp = 1, .max = -1.0f / 0.0f}, "RESULT: answers[0].max: not a finite number"},
        {{.kind = FRAME_WANT_TOP, .sum_exp = 1, .data = EXAMPLE_BYTES("1234")}, "RESULT: answers[0].data: 4 bytes"},
        {{.kind = FRAME_WANT_TOP, .sum_exp = 1, .data = {many_bytes, 8 * FRAME_MAX_TOP + 8}}, "RESULT: answers[0].data: "},
        {{.kind = FRAME_WANT_TOP, .sum_exp = 1, .listed = EXAMPLE_BYTES("12")}, "RESULT: answers[0].listed: 2 bytes"},
        {{.kind = FRAME_WANT_TOP, .sum_exp = 1, .listed = {many_bytes, 4 * FRAME_MAX_LISTED + 4}}, "RESULT: answers[0].listed: "},
        {{.kind = FRAME_WANT_ALL, .sum_exp = 1}, "RESULT: answers[0].data: 0 bytes"},
        {{.kind = FRAME_WANT_ALL, .sum_exp = 1, .data = EXAMPLE_BYTES("12345")}, "RESULT: answers[0].data: 5 bytes"},
        {{.kind = FRAME_WANT_ALL, .data = EXAMPLE_BYTES("1234")}, "RESULT: answers[0].sum_exp: "},
        {{.kind = FRAME_WANT_ALL, .sum_exp = 1, .data = {many_bytes, FRAME_RESULT_BYTES + 4}}, "RESULT: answers[0].data: "},
        {{.kind = FRAME_WANT_ALL, .sum_exp = 1, .data = EXAMPLE_BYTES("1234"), .listed = EXAMPLE_BYTES("1234")},
         "RESULT: answers[0].listed: "},
        {{.kind = FRAME_WANT_ALL, .sum_exp = 1, .first = HPARAMS_MAX_VOCAB - 1, .data = EXAMPLE_BYTES("12345678")},
         "RESULT: answers[0].first: values beyond"},
        {{.kind = FRAME_WANT_ALL, .sum_exp = 1, .first = HPARAMS_MAX_VOCAB, .data = EXAMPLE_BYTES("1234")},
         "RESULT: answers[0].first: "},
        {{.kind = FRAME_WANT_HIDDEN, .sum_exp = 1, .data = EXAMPLE_BYTES("1234")}, "RESULT: answers[0].max: "},
        {{.kind = FRAME_WANT_HIDDEN}, "RESULT: answers[0].data: 0 bytes"},
        {{.kind = FRAME_WANT_ALL, .is_fault = true, .data = EXAMPLE_BYTES("1234")}, "RESULT: answers[0].data: a fault"},
        {{.kind = FRAME_WANT_ALL, .is_fault = true, .listed = EXAMPLE_BYTES("1234")}, "RESULT: answers[0].data: a fault"},
        {{.kind = FRAME_WANT_ALL, .is_fault = true, .sum_exp = 1}, "RESULT: answers[0].max: a fault"},
        {{.kind = FRAME_WANT_ALL, .is_fault = true, .first = 1}, "RESULT: answers[0].max: a fault"},
        {{.kind = FRAME_WANT_ALL, .is_fault = true, .fault_layer = HPARAMS_MAX_LAYER + 1}, "RESULT: answers[0].fault_layer: "},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        frame f = {.kind = FRAME_RESULT, .result = {.n_answers = 1, .answers = &cases[i].answer}};
        assert_refused(&f, cases[i].start);
    }
}

static void a_result_has_rising_rows_and_bounded_data(void **state)
{
    static const frame_answer twice[] = {{.row = 3, .kind = FRAME_WANT_TOP, .sum_exp = 1},
                                         {.row = 3, .kind = FRAME_WANT_TOP, .sum_exp = 1}};
    (void)state;
    frame f = {.kind = FRAME_RESULT, .result = {.n_answers = 2, .answers = twice}};
    assert_refused(&f, "RESULT: answers[1].row: 3 after 3");

    frame_answer *answers = calloc(FRAME_MAX_ROWS + 1, sizeof *answers);
    assert_non_null(answers);
    for (uint32_t i = 0; i <= FRAME_MAX_ROWS; i++) answers[i] = (frame_answer){.row = i, .kind = FRAME_WANT_TOP, .sum_exp = 1};
    f.result.answers = answers;
    f.result.n_answers = FRAME_MAX_ROWS;
    assert_taken(&f);
    f.result.n_answers++;
    assert_refused(&f, "RESULT: answers: 2049 elements");

    f.result.n_answers = 2;
    for (uint32_t i = 0; i < 2; i++) {
        answers[i] = (frame_answer){.row = i, .kind = FRAME_WANT_ALL, .sum_exp = 1, .data = zeros(FRAME_RESULT_BYTES / 2)};
    }
    assert_taken(&f);
    answers[1].data = zeros(FRAME_RESULT_BYTES / 2 + 4);
    assert_refused(&f, "RESULT: answers[1].data: more than 1048576 bytes");
    free(answers);
}

static void logits_and_seq_keep_their_limits(void **state)
{
    static const struct {
        frame f;
        const char *start;
    } cases[] = {
        {{.kind = FRAME_LOGITS, .logits = {.seq = FRAME_MAX_SEQ, .want = {.kind = FRAME_WANT_ALL}}}, "LOGITS: seq: "},
        {{.kind = FRAME_LOGITS, .logits = {.pos = HPARAMS_MAX_CTX, .want = {.kind = FRAME_WANT_ALL}}}, "LOGITS: pos: "},
        {{.kind = FRAME_LOGITS, .logits = {.want = {.kind = 0}}}, "LOGITS: kind: "},
        {{.kind = FRAME_LOGITS, .logits = {.want = {.kind = FRAME_WANT_TOP, .top = FRAME_MAX_TOP + 1}}}, "LOGITS: top: "},
        {{.kind = FRAME_LOGITS, .logits = {.want = {.kind = FRAME_WANT_HIDDEN, .top = 1}}}, "LOGITS: top: "},
        {{.kind = FRAME_LOGITS, .logits = {.want = {.kind = FRAME_WANT_TOP, .listed = EXAMPLE_BYTES("1")}}}, "LOGITS: listed: "},
        {{.kind = FRAME_SEQ, .seq = {.op = 0}}, "SEQ: op: "},
        {{.kind = FRAME_SEQ, .seq = {.op = FRAME_SEQ_FORK + 1}}, "SEQ: op: "},
        {{.kind = FRAME_SEQ, .seq = {.op = FRAME_SEQ_RELEASE, .seq = FRAME_MAX_SEQ}}, "SEQ: seq: "},
        {{.kind = FRAME_SEQ, .seq = {.op = FRAME_SEQ_RELEASE, .pos = 1}}, "SEQ: pos: "},
        {{.kind = FRAME_SEQ, .seq = {.op = FRAME_SEQ_RELEASE, .other = 1}}, "SEQ: other: "},
        {{.kind = FRAME_SEQ, .seq = {.op = FRAME_SEQ_TRUNCATE, .other = 1}}, "SEQ: other: "},
        {{.kind = FRAME_SEQ, .seq = {.op = FRAME_SEQ_TRUNCATE, .pos = HPARAMS_MAX_CTX + 1}}, "SEQ: pos: "},
        {{.kind = FRAME_SEQ, .seq = {.op = FRAME_SEQ_FORK, .seq = 4, .other = 4}}, "SEQ: other: 4 would become a copy of itself"},
        {{.kind = FRAME_SEQ, .seq = {.op = FRAME_SEQ_FORK, .seq = 4, .other = FRAME_MAX_SEQ}}, "SEQ: other: "},
        {{.kind = FRAME_ERROR, .error = {.about = FRAME_MAX_KIND + 1, .status = 1}}, "ERROR: about: "},
        {{.kind = FRAME_ERROR, .error = {.status = 0}}, "ERROR: status: "},
        {{.kind = FRAME_ERROR, .error = {.status = FRAME_MAX_STATUS + 1}}, "ERROR: status: "},
        {{.kind = FRAME_ERROR, .error = {.status = 1, .message = {many_letters, FRAME_MAX_MESSAGE + 1}}}, "ERROR: message: "},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) assert_refused(&cases[i].f, cases[i].start);
}

/* Every item of every example, at any depth, replaced by one of each type: another type than the item's own is refused, with a
 * sentence that begins with the frame's name; the same type may be taken or not, but does no harm. */
static void an_item_of_another_type_is_refused(void **state)
{
    static const struct {
        msgpack_item_kind kind;
        size_t n;
        uint8_t bytes[10];
    } items[] = {
        {ITEM_UINT, 1, {0x05}},
        {ITEM_UINT, 9, {0xcf, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}},
        {ITEM_INT, 1, {0xff}},
        {ITEM_INT, 9, {0xd3, 0x80}},
        {ITEM_NIL, 1, {0xc0}},
        {ITEM_UNKNOWN, 1, {0xc1}},
        {ITEM_BOOL, 1, {0xc3}},
        {ITEM_FLOAT, 5, {0xca, 0x3f, 0x80}},
        {ITEM_STR, 2, {0xa1, 'x'}},
        {ITEM_BIN, 6, {0xc4, 0x04}},
        {ITEM_EXT, 3, {0xd4, 0x01, 0x02}},
        {ITEM_ARRAY, 1, {0x90}},
        {ITEM_MAP, 1, {0x80}},
    };
    (void)state;
    for (size_t e = 0; e < N_FRAME_EXAMPLES; e++) {
        frame_bytes whole = {0};
        assert_int_equal(frame_encode(&whole, &frame_examples[e].f, NULL), YL_OK);
        msgpack_cursor walk = {whole.data, whole.data + whole.n};
        while (walk.at < walk.end) {
            const uint8_t *begin = walk.at;
            msgpack_cursor over = walk;
            msgpack_item_kind own = msgpack_cursor_next(&walk).kind;
            assert_true(msgpack_cursor_skip(&over)); /* an array goes with all that is in it */
            for (size_t i = 0; i < sizeof items / sizeof items[0]; i++) {
                size_t n_before = (size_t)(begin - whole.data), n_after = (size_t)(over.end - over.at);
                uint8_t bytes[512];
                assert_true(n_before + items[i].n + n_after <= sizeof bytes);
                memcpy(bytes, whole.data, n_before);
                memcpy(bytes + n_before, items[i].bytes, items[i].n);
                memcpy(bytes + n_before + items[i].n, over.at, n_after);
                yl_error err = {0};
                yl_status status = decode(bytes, n_before + items[i].n + n_after, &err);
                if (items[i].kind == own) continue;
                assert_true(status == YL_EFORMAT || status == YL_EUNSUPPORTED);
                const char *name = frame_kind_name(frame_examples[e].f.kind);
                assert_true(!strncmp(err.msg, name, strlen(name)) || !strncmp(err.msg, "frame: ", 7));
            }
        }
        frame_bytes_clear(&whole);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hello_keeps_its_limits),
        cmocka_unit_test(strings_are_utf8_without_control_characters),
        cmocka_unit_test(assign_keeps_its_limits),
        cmocka_unit_test(assign_refuses_numbers_that_are_not_finite),
        cmocka_unit_test(assign_refuses_tensors_that_no_slice_has),
        cmocka_unit_test(assign_takes_as_many_tensors_as_fit),
        cmocka_unit_test(chunks_keep_their_limits),
        cmocka_unit_test(forward_takes_as_many_rows_and_segments_as_fit),
        cmocka_unit_test(forward_refuses_segments_that_do_not_add_up),
        cmocka_unit_test(forward_refuses_wants_out_of_order_or_range),
        cmocka_unit_test(forward_refuses_faults_out_of_order_or_range),
        cmocka_unit_test(forward_refuses_a_payload_of_another_size),
        cmocka_unit_test(a_result_is_held_to_what_its_kind_has),
        cmocka_unit_test(a_result_has_rising_rows_and_bounded_data),
        cmocka_unit_test(logits_and_seq_keep_their_limits),
        cmocka_unit_test(an_item_of_another_type_is_refused),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
