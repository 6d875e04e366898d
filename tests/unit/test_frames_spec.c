/* test_frames_spec.c: proto/FRAMES.md says what the code does.
 *
 * The examples in it were not made by our encoder. Each must decode, encode to the same bytes again, and be what our encoder makes
 * of the same frame written as C (frame_examples.h): so neither the document, the decoder nor the encoder can have a field
 * elsewhere. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "frame_examples.h"
#include "msgpack_cursor.h"

static char *spec; /* the whole document */

static int read_spec(void **state)
{
    (void)state;
    FILE *f = fopen(YLLAMA_SOURCE_DIR "/proto/FRAMES.md", "rb");
    if (!f) return -1;
    size_t capacity = 1 << 20;
    spec = malloc(capacity);
    size_t n = spec ? fread(spec, 1, capacity - 1, f) : 0;
    fclose(f);
    if (!n || n == capacity - 1) return -1;
    spec[n] = 0;
    return 0;
}

static int free_spec(void **state)
{
    (void)state;
    free(spec);
    return 0;
}

static int hex_digit(char c)
{
    const char *digits = "0123456789abcdef", *at = c ? strchr(digits, c) : NULL;
    return at ? (int)(at - digits) : -1;
}

/* The bytes of one line: pairs of digits with a space between, up to the first thing that is none. Returns the next line. */
static const char *read_hex_line(const char *line, uint8_t *bytes, size_t *n)
{
    const char *at = line;
    while (hex_digit(at[0]) >= 0 && hex_digit(at[1]) >= 0) {
        assert_true(*n < 512);
        bytes[(*n)++] = (uint8_t)(16 * hex_digit(at[0]) + hex_digit(at[1]));
        at += 2;
        if (*at != ' ') break;
        at++;
    }
    assert_true(at > line && (*at == ' ' || *at == '\n')); /* a second space: the comment */
    return strchr(at, '\n') + 1;
}

/* The bytes of the example with this name; fails if the document has none, or two. */
static size_t read_example(const char *name, uint8_t bytes[512])
{
    char head[64];
    snprintf(head, sizeof head, "\n```hex %s\n", name);
    const char *at = strstr(spec, head);
    if (!at) fail_msg("FRAMES.md has no example '%s'", name);
    at += strlen(head);
    assert_null(strstr(at, head));
    size_t n = 0;
    while (strncmp(at, "```\n", 4)) at = read_hex_line(at, bytes, &n);
    return n;
}

static void every_example_is_the_frame_that_it_says(void **state)
{
    (void)state;
    frame_scratch *scratch;
    frame_bytes encoded = {0};
    yl_error err = {0};
    assert_int_equal(frame_scratch_new(&scratch, &err), YL_OK);
    for (size_t i = 0; i < N_FRAME_EXAMPLES; i++) {
        uint8_t bytes[512];
        size_t n = read_example(frame_examples[i].name, bytes);
        uint8_t *block = malloc(n); /* of its exact size, for AddressSanitizer */
        assert_non_null(block);
        memcpy(block, bytes, n);

        assert_int_equal(frame_encode(&encoded, &frame_examples[i].f, &err), YL_OK);
        assert_int_equal(encoded.n, n);
        assert_memory_equal(encoded.data, block, n);

        frame f;
        if (frame_decode(&f, scratch, block, n, &err)) fail_msg("%s: %s", frame_examples[i].name, err.msg);
        assert_int_equal(f.kind, frame_examples[i].f.kind);
        assert_int_equal(f.epoch, frame_examples[i].f.epoch);
        assert_int_equal(frame_encode(&encoded, &f, &err), YL_OK);
        assert_int_equal(encoded.n, n);
        assert_memory_equal(encoded.data, block, n);
        free(block);
    }
    frame_bytes_clear(&encoded);
    frame_scratch_free(scratch);
}

static void no_example_is_left_out(void **state)
{
    (void)state;
    size_t n = 0;
    for (const char *at = spec; (at = strstr(at, "\n```hex ")); at++) n++;
    assert_int_equal(n, N_FRAME_EXAMPLES);
}

static void assert_says(const char *row)
{
    if (!strstr(spec, row)) fail_msg("FRAMES.md does not say \"%s\"", row);
}

/* The table of section 6. */
static void every_limit_is_the_one_of_the_code(void **state)
{
    static const struct {
        const char *what;
        int limit;
    } limits[] = {
        {"bytes of a frame", FRAME_MAX_BYTES},
        {"depth of appended fields", MSGPACK_CURSOR_MAX_DEPTH},
        {"rows of a FORWARD, wants, faults, answers of a RESULT", FRAME_MAX_ROWS},
        {"segments of a FORWARD", FRAME_MAX_SEGMENTS},
        {"candidates of a row (top)", FRAME_MAX_TOP},
        {"listed ids of a row", FRAME_MAX_LISTED},
        {"bytes of data and listed in a RESULT", FRAME_RESULT_BYTES},
        {"tensors of an ASSIGN", FRAME_MAX_TENSORS},
        {"bytes of a chunk (WANT, TENSOR)", FRAME_CHUNK_BYTES},
        {"stages", FRAME_MAX_STAGES},
        {"sequences", FRAME_MAX_SEQ},
        {"positions of a sequence", HPARAMS_MAX_CTX},
        {"threads", FRAME_MAX_THREADS},
        {"bytes of a name, isa or version", FRAME_MAX_NAME},
        {"bytes of an address", FRAME_MAX_ENDPOINT},
        {"bytes of an ERROR's message", FRAME_MAX_MESSAGE},
        {"milliseconds between heartbeats", FRAME_MAX_HEARTBEAT_MS},
    };
    (void)state;
    for (size_t i = 0; i < sizeof limits / sizeof limits[0]; i++) {
        char row[128];
        snprintf(row, sizeof row, "\n| %s | %d |\n", limits[i].what, limits[i].limit);
        assert_says(row);
    }
}

static void every_kind_has_its_number(void **state)
{
    (void)state;
    for (unsigned kind = 1; kind <= FRAME_CHAIN; kind++) {
        char row[64];
        bool is_kept = !strcmp(frame_kind_name(kind), "unknown");
        snprintf(row, sizeof row, "\n| %u | %s%s", kind, is_kept ? "" : frame_kind_name(kind), is_kept ? "|" : " |");
        assert_says(row);
        if (is_kept) continue;
        snprintf(row, sizeof row, "\n### %s (%u)\n", frame_kind_name(kind), kind);
        assert_says(row);
    }
}

static void every_tensor_role_has_its_number(void **state)
{
    (void)state;
    for (unsigned role = 0; role < TENSOR_ROLE_END; role++) {
        char name[TENSOR_NAME_BYTES], cell[TENSOR_NAME_BYTES + 32];
        tensor_role_name(name, role, 0);
        const char *short_name = strncmp(name, "blk.0.", 6) ? name : name + 6;
        snprintf(cell, sizeof cell, "| %u | %s |", role, short_name);
        assert_says(cell);
    }
}

static void every_element_type_has_its_number(void **state)
{
    (void)state;
    for (uint32_t type = 0; type < QUANT_TYPE_END; type++) {
        const quant_traits *traits = quant_traits_of(type);
        if (!traits) continue;
        char entry[64];
        snprintf(entry, sizeof entry, " %u %s", type, traits->name);
        assert_says(entry);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_example_is_the_frame_that_it_says), cmocka_unit_test(no_example_is_left_out),
        cmocka_unit_test(every_limit_is_the_one_of_the_code),      cmocka_unit_test(every_kind_has_its_number),
        cmocka_unit_test(every_tensor_role_has_its_number),        cmocka_unit_test(every_element_type_has_its_number),
    };
    return cmocka_run_group_tests(tests, read_spec, free_spec);
}
