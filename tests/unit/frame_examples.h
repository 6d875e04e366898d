/* frame_examples.h: one frame of every kind and shape, the ones whose bytes FRAMES.md shows, under the names that it gives them. */
#ifndef YL_FRAME_EXAMPLES_H
#define YL_FRAME_EXAMPLES_H

#include "frames.h"

typedef struct frame_example {
    const char *name; /* of the block in FRAMES.md */
    frame f;
} frame_example;

/* A string literal, without its NUL, as a bin. */
#define EXAMPLE_BYTES(literal)                                                                                                     \
    {                                                                                                                              \
        (const uint8_t *)(literal), sizeof(literal) - 1                                                                            \
    }

/* SHA-256 of nothing in particular: bytes 0 to 31. */
#define EXAMPLE_ID                                                                                                                 \
    EXAMPLE_BYTES("\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f"                                               \
                  "\x10\x11\x12\x13\x14\x15\x16\x17\x18\x19\x1a\x1b\x1c\x1d\x1e\x1f")

/* The first one's hash is known. */
static const frame_tensor example_tensors[] = {
    {TENSOR_TOKEN_EMBD, 0, QUANT_Q8_0, 512, 64, true, {0,  1,  2,  3,  4,  5,  6,  7,  8,  9,  10, 11, 12, 13, 14, 15,
                                                       16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31}},
    {.role = TENSOR_ATTN_NORM, .type = QUANT_F32, .n_rows = 1, .n_cols = 64},
    {.role = TENSOR_ATTN_Q, .type = QUANT_Q8_0, .n_rows = 64, .n_cols = 64},
    {.role = TENSOR_ATTN_K, .type = QUANT_Q8_0, .n_rows = 32, .n_cols = 64},
    {.role = TENSOR_ATTN_V, .type = QUANT_Q8_0, .n_rows = 32, .n_cols = 64},
    {.role = TENSOR_ATTN_OUTPUT, .type = QUANT_Q8_0, .n_rows = 64, .n_cols = 64},
    {.role = TENSOR_FFN_NORM, .type = QUANT_F32, .n_rows = 1, .n_cols = 64},
    {.role = TENSOR_FFN_GATE, .type = QUANT_Q4_0, .n_rows = 192, .n_cols = 64},
    {.role = TENSOR_FFN_UP, .type = QUANT_Q4_0, .n_rows = 192, .n_cols = 64},
    {.role = TENSOR_FFN_DOWN, .type = QUANT_Q8_0, .n_rows = 64, .n_cols = 192},
};

static const frame_segment example_segments[] = {{.seq = 0, .step = 5, .pos = 17, .n_rows = 1},
                                                 {.seq = 2, .step = 1, .pos = 0, .n_rows = 2}};
static const frame_segment example_lone_segment[] = {{.seq = 1, .step = 3, .pos = 300, .n_rows = 2}};

/* Listed ids: 2 and 128009. */
static const frame_want example_wants[] = {
    {.row = 0, .kind = FRAME_WANT_TOP, .top = 40, .listed = EXAMPLE_BYTES("\x02\x00\x00\x00\x09\xf4\x01\x00")},
    {.row = 2, .kind = FRAME_WANT_ALL},
};
static const frame_want example_hidden_want[] = {{.row = 1, .kind = FRAME_WANT_HIDDEN}};
static const frame_fault example_faults[] = {{.row = 0, .layer = 3}};

/* Candidates (7, 2.5) and (1, -1.0); the listed id's logit is 0.5. */
static const frame_answer example_top[] = {
    {.row = 0,
     .seq = 0,
     .pos = 17,
     .kind = FRAME_WANT_TOP,
     .max = 2.5f,
     .sum_exp = 1.25f,
     .data = EXAMPLE_BYTES("\x07\x00\x00\x00\x00\x00\x20\x40\x01\x00\x00\x00\x00\x00\x80\xbf"),
     .listed = EXAMPLE_BYTES("\x00\x00\x00\x3f")},
    {.row = 2, .seq = 2, .pos = 1, .kind = FRAME_WANT_ALL, .is_fault = true, .fault_layer = 3},
};

/* Logits 262144 and 262145 of a row: -2.0 and 0.25. */
static const frame_answer example_all[] = {{.row = 2,
                                            .seq = 2,
                                            .pos = 1,
                                            .kind = FRAME_WANT_ALL,
                                            .first = 262144,
                                            .max = 2.5f,
                                            .sum_exp = 1.25f,
                                            .data = EXAMPLE_BYTES("\x00\x00\x00\xc0\x00\x00\x80\x3e")}};

static const frame_answer example_hidden[] = {
    {.row = 1, .seq = 1, .pos = 301, .kind = FRAME_WANT_HIDDEN, .data = EXAMPLE_BYTES("\x00\x00\x80\x3f\x00\x00\x00\x80")}};

static const frame_example frame_examples[] = {
    {"HELLO",
     {.kind = FRAME_HELLO,
      .epoch = 0,
      .hello = {.name = EXAMPLE_BYTES("worker-1"),
                .instance = 0x0123456789abcdef,
                .data_endpoint = EXAMPLE_BYTES("tcp://*:7621"),
                .n_threads = 8,
                .memory_bytes = UINT64_C(16) << 30,
                .isa = EXAMPLE_BYTES("avx2"),
                .model_id = EXAMPLE_ID,
                .version = EXAMPLE_BYTES("0.1.0"),
                .bytes_per_s = UINT64_C(25000000000),
                .macs_per_s = UINT64_C(400000000000)}}},
    {"ASSIGN",
     {.kind = FRAME_ASSIGN,
      .epoch = 3,
      .assign = {.coordinator = 0xfedcba9876543210,
                 .stage = 0,
                 .n_stages = 2,
                 .hp = {.n_vocab = 512,
                        .n_ctx_train = 256,
                        .n_embd = 64,
                        .n_layer = 2,
                        .n_ff = 192,
                        .n_head = 4,
                        .n_head_kv = 2,
                        .n_embd_head = 16,
                        .n_rot = 16,
                        .rms_eps = 0x1p-17f,
                        .rope_freq_base = 10000,
                        .rope_type = ROPE_SCALING_NONE,
                        .rope_factor = 1,
                        .rope_orig_ctx = 256,
                        .rope_attn_factor = 1,
                        .rope_ext_factor = 1,
                        .rope_beta_fast = 32,
                        .rope_beta_slow = 1,
                        .tied_embeddings = false},
                 .range = {.has_embd = true, .has_head = false, .layer_begin = 0, .layer_end = 1},
                 .n_ctx = 256,
                 .n_seq = 4,
                 .max_rows = 64,
                 .kv_type_k = KV_F16,
                 .kv_type_v = KV_F16,
                 .load = FRAME_LOAD_MMAP,
                 .model_id = EXAMPLE_ID,
                 .next_endpoint = EXAMPLE_BYTES("tcp://192.0.2.7:7622"),
                 .heartbeat_ms = 1000,
                 .n_tensors = 10,
                 .tensors = example_tensors,
                 .wire = WIRE_F16}}},
    {"WANT", {.kind = FRAME_WANT, .epoch = 3, .want = {.tensor = 7, .offset = 1048576, .n_bytes = 65536}}},
    {"TENSOR",
     {.kind = FRAME_TENSOR,
      .epoch = 3,
      .tensor = {.tensor = 1, .offset = 0, .data = EXAMPLE_BYTES("\x00\x00\x80\x3f\x00\x00\x00\x40")}}},
    {"READY",
     {.kind = FRAME_READY,
      .epoch = 3,
      .ready = {.weight_bytes = 1234567, .kv_bytes = 65536, .scratch_bytes = 300, .load_ns = 5000000000}}},
    {"FORWARD of tokens",
     {.kind = FRAME_FORWARD,
      .epoch = 3,
      .forward = {.id = 7,
                  .n_rows = 3,
                  .n_segments = 2,
                  .segments = example_segments,
                  .n_wants = 2,
                  .wants = example_wants,
                  .n_faults = 0,
                  .faults = NULL,
                  .is_tokens = true,
                  .payload = EXAMPLE_BYTES("\x0d\x00\x00\x00\x00\xf4\x01\x00\x2a\x00\x00\x00")}}},
    {"FORWARD of activations",
     {.kind = FRAME_FORWARD,
      .epoch = 3,
      .forward = {.id = 8,
                  .n_rows = 2,
                  .n_segments = 1,
                  .segments = example_lone_segment,
                  .n_wants = 1,
                  .wants = example_hidden_want,
                  .n_faults = 1,
                  .faults = example_faults,
                  .is_tokens = false,
                  .payload = EXAMPLE_BYTES("\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x80\x3f\x00\x00\x00\xbf")}}},
    {"RESULT of candidates",
     {.kind = FRAME_RESULT, .epoch = 3, .result = {.id = 7, .more = true, .n_answers = 2, .answers = example_top}}},
    {"RESULT of logits",
     {.kind = FRAME_RESULT, .epoch = 3, .result = {.id = 7, .more = false, .n_answers = 1, .answers = example_all}}},
    {"RESULT of a hidden row",
     {.kind = FRAME_RESULT, .epoch = 3, .result = {.id = 8, .more = false, .n_answers = 1, .answers = example_hidden}}},
    {"RESULT of nothing", {.kind = FRAME_RESULT, .epoch = 3, .result = {.id = 9, .more = false, .n_answers = 0, .answers = NULL}}},
    {"LOGITS",
     {.kind = FRAME_LOGITS,
      .epoch = 3,
      .logits = {.id = 10,
                 .seq = 0,
                 .pos = 17,
                 .want = {.kind = FRAME_WANT_TOP, .top = 320, .listed = EXAMPLE_BYTES("\x02\x00\x00\x00")}}}},
    {"SEQ release", {.kind = FRAME_SEQ, .epoch = 3, .seq = {.id = 11, .op = FRAME_SEQ_RELEASE, .seq = 2}}},
    {"SEQ truncate", {.kind = FRAME_SEQ, .epoch = 3, .seq = {.id = 12, .op = FRAME_SEQ_TRUNCATE, .seq = 1, .pos = 128}}},
    {"SEQ fork", {.kind = FRAME_SEQ, .epoch = 3, .seq = {.id = 13, .op = FRAME_SEQ_FORK, .seq = 1, .other = 3, .pos = 300}}},
    {"HEARTBEAT",
     {.kind = FRAME_HEARTBEAT,
      .epoch = 3,
      .heartbeat = {.instance = 0x0123456789abcdef, .steps = 4096, .pending = 2, .loaded = 1000000000}}},
    {"STATS",
     {.kind = FRAME_STATS,
      .epoch = 3,
      .stats = {.id = 14,
                .n_frames = 1000,
                .n_rows = 70000,
                .compute_ns = 5000000000,
                .queue_ns = 300,
                .bytes_in = 200,
                .bytes_out = 65535,
                .rss_bytes = 1 << 20,
                .peak_rss_bytes = 1 << 21,
                .loss = {.power = 100, .error = 0x1p-10}}}},
    {"ERROR",
     {.kind = FRAME_ERROR,
      .epoch = 3,
      .error = {.about = FRAME_FORWARD,
                .id = 15,
                .status = YL_EFORMAT,
                .message = EXAMPLE_BYTES("sequence 2: step 9, after 4 it must be 5 (or 4 again)")}}},
    {"SHUTDOWN", {.kind = FRAME_SHUTDOWN, .epoch = 3}},
    {"CHAIN question", {.kind = FRAME_CHAIN, .epoch = 0, .chain = {.id = 16}}},
    {"CHAIN answer",
     {.kind = FRAME_CHAIN,
      .epoch = 3,
      .chain = {.id = 16,
                .now_ms = 70000,
                .n_ctx = 4096,
                .n_seq = 1,
                .frames_in_flight = 1,
                .rows_in_flight = 24,
                .n_turns = 1000,
                .turn_ns = 5000000000,
                .n_standby = 1,
                .n_stages = 1,
                .stages = (const frame_chain_stage[]){{.name = EXAMPLE_BYTES("worker-1"),
                                                       .state = FRAME_STAGE_SERVING,
                                                       .range = {.has_embd = true, .has_head = true, .layer_end = 2},
                                                       .isa = EXAMPLE_BYTES("avx2"),
                                                       .n_threads = 8,
                                                       .memory_bytes = UINT64_C(1) << 34,
                                                       .loaded = 1234567,
                                                       .weight_bytes = 1234567,
                                                       .kv_bytes = 65536,
                                                       .scratch_bytes = 300,
                                                       .pending = 1,
                                                       .rtt_us = 250,
                                                       .at_ms = 69000,
                                                       .stats = {.n_frames = 1000,
                                                                 .n_rows = 70000,
                                                                 .compute_ns = 5000000000,
                                                                 .queue_ns = 300,
                                                                 .bytes_in = 200,
                                                                 .bytes_out = 65535,
                                                                 .rss_bytes = 1 << 20,
                                                                 .peak_rss_bytes = 1 << 21}}}}}},
};

enum { N_FRAME_EXAMPLES = sizeof frame_examples / sizeof frame_examples[0] };

#endif
