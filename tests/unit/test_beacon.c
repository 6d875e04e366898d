/* test_beacon.c: beacons as bytes, from hostile bytes, and over multicast on loopback. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <dirent.h>
#include <poll.h>

#include "beacon.h"
#include "prng.h"

static beacon example(const char *host)
{
    beacon b = {.frame_version = 1, .port = 7620};
    for (size_t i = 0; i < sizeof b.tag; i++) b.tag[i] = (uint8_t)(16 + i);
    snprintf(b.host, sizeof b.host, "%s", host);
    return b;
}

static void a_beacon_is_these_bytes(void **state)
{
    (void)state;
    static const uint8_t EXPECTED[BEACON_BYTES] = {'Y',  'L',  'B',  'E',  'A',  'C',  'O',  'N',  1,    1,    0x1d, 0xc4,
                                                   0x10, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18, 0x19, 0x1a, 0x1b,
                                                   0x1c, 0x1d, 0x1e, 0x1f, 4,    192,  0,    2,    1,    0,    0,    0,
                                                   0,    0,    0,    0,    0,    0,    0,    0,    0};
    uint8_t bytes[BEACON_BYTES];
    beacon b = example("192.0.2.1");
    assert_int_equal(beacon_encode(bytes, &b, NULL), YL_OK);
    assert_memory_equal(bytes, EXPECTED, BEACON_BYTES);
    static const char *const HOSTS[] = {"", "192.0.2.1", "127.0.0.1", "2001:db8::7", "::1", "::ffff:192.0.2.1"};
    for (size_t i = 0; i < sizeof HOSTS / sizeof *HOSTS; i++) {
        beacon again;
        b = example(HOSTS[i]);
        assert_int_equal(beacon_encode(bytes, &b, NULL), YL_OK);
        assert_int_equal(beacon_decode(&again, bytes, sizeof bytes, NULL), YL_OK);
        assert_string_equal(again.host, HOSTS[i]);
        assert_int_equal(again.port, 7620);
        assert_memory_equal(again.tag, b.tag, sizeof b.tag);
    }
}

static void what_is_no_address_is_not_announced(void **state)
{
    (void)state;
    static const char *const HOSTS[] = {"box", "*", "0.0.0.0", "::", "224.0.0.1", "255.255.255.255", "ff02::1", "1.2.3", "[::1]"};
    uint8_t bytes[BEACON_BYTES];
    yl_error err;
    for (size_t i = 0; i < sizeof HOSTS / sizeof *HOSTS; i++) {
        beacon b = example(HOSTS[i]);
        if (!beacon_encode(bytes, &b, &err)) fail_msg("'%s' was taken", HOSTS[i]);
        assert_int_equal(err.status, YL_EINVAL);
    }
    beacon b = example("");
    b.port = 0;
    assert_int_equal(beacon_encode(bytes, &b, NULL), YL_EINVAL);
}

/* What is taken encodes to the same bytes; what cannot be is refused. */
static bool take(const uint8_t *bytes, size_t n)
{
    beacon b;
    yl_error err = {0};
    uint8_t again[BEACON_BYTES];
    if (beacon_decode(&b, bytes, n, &err)) {
        assert_int_equal(err.status, YL_EFORMAT);
        assert_true(strlen(err.msg) > 10);
        return false;
    }
    assert_int_equal(n, BEACON_BYTES);
    assert_int_equal(beacon_encode(again, &b, NULL), YL_OK);
    assert_memory_equal(again, bytes, BEACON_BYTES);
    return true;
}

static void hostile_bytes_are_refused(void **state)
{
    (void)state;
    uint8_t bytes[2 * BEACON_BYTES] = {0};
    beacon b = example("192.0.2.1");
    for (size_t n = 0; n < sizeof bytes; n++) {
        assert_int_equal(beacon_encode(bytes, &b, NULL), YL_OK);
        assert_int_equal(take(bytes, n), n == BEACON_BYTES);
    }
    static const struct {
        size_t at;
        uint8_t value;
    } CASES[] = {{0, 'X'}, {7, 0},    {8, 0},    {8, 2},  {28, 1}, {28, 5}, {28, 255},
                 {29, 0},  {29, 224}, {29, 255}, {33, 1}, {44, 1}, {28, 0}};
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        assert_int_equal(beacon_encode(bytes, &b, NULL), YL_OK);
        bytes[CASES[i].at] = CASES[i].value;
        if (take(bytes, BEACON_BYTES)) fail_msg("byte %zu as %u was taken", CASES[i].at, CASES[i].value);
    }
    prng p = prng_stream(5, 0, 0);
    size_t n_taken = 0;
    for (int i = 0; i < 100000; i++) {
        assert_int_equal(beacon_encode(bytes, &b, NULL), YL_OK);
        for (int k = prng_int(&p, 1, 3); k > 0; k--) bytes[prng_int(&p, 0, BEACON_BYTES - 1)] = (uint8_t)prng_u64(&p);
        n_taken += take(bytes, BEACON_BYTES);
    }
    assert_true(n_taken > 100); /* versions, ports, tags, addresses */
}

/* The fuzzer's seeds: what their names say. */
static void the_corpus_is_what_it_says(void **state)
{
    (void)state;
    static const char FOLDER[] = YLLAMA_SOURCE_DIR "/tests/fuzz/corpus/beacon";
    size_t n_taken = 0, n_refused = 0;
    DIR *d = opendir(FOLDER);
    assert_non_null(d);
    for (struct dirent *e; (e = readdir(d));) {
        char path[512];
        uint8_t bytes[256];
        if (e->d_name[0] == '.') continue;
        snprintf(path, sizeof path, "%s/%s", FOLDER, e->d_name);
        FILE *f = fopen(path, "rb");
        assert_non_null(f);
        size_t n = fread(bytes, 1, sizeof bytes, f);
        fclose(f);
        bool is_taken = take(bytes, n);
        if (is_taken != !strncmp(e->d_name, "at-", 3)) fail_msg("%s", e->d_name);
        n_taken += is_taken;
        n_refused += !is_taken;
    }
    closedir(d);
    assert_true(n_taken >= 3 && n_refused >= 3);
}

static void clusters_have_tags_of_their_own(void **state)
{
    (void)state;
    cluster_key a, b;
    char text[CLUSTER_KEY_TEXT_BYTES];
    uint8_t tags[3][CLUSTER_TAG_BYTES], again[CLUSTER_TAG_BYTES];
    assert_int_equal(cluster_key_generate(text, NULL), YL_OK);
    assert_int_equal(cluster_key_parse(&a, text, NULL), YL_OK);
    assert_int_equal(cluster_key_generate(text, NULL), YL_OK);
    assert_int_equal(cluster_key_parse(&b, text, NULL), YL_OK);
    assert_int_equal(cluster_key_tag(tags[0], &a, NULL), YL_OK);
    assert_int_equal(cluster_key_tag(tags[1], &b, NULL), YL_OK);
    assert_int_equal(cluster_key_tag(tags[2], NULL, NULL), YL_OK);
    assert_int_equal(cluster_key_tag(again, &a, NULL), YL_OK);
    assert_memory_equal(tags[0], again, sizeof again);
    for (int i = 0; i < 3; i++) assert_memory_not_equal(tags[i], tags[(i + 1) % 3], CLUSTER_TAG_BYTES);
}

/* ---- over the loopback interface ---- */

static bool hear(beacon_listener *l, const uint8_t tag[CLUSTER_TAG_BYTES], uint8_t version, int wait_ms, endpoint *e)
{
    struct pollfd fd = {.fd = beacon_listener_fd(l), .events = POLLIN};
    for (int ms = 0; ms <= wait_ms; ms += 20) {
        if (beacon_hear(l, tag, version, e)) return true;
        poll(&fd, 1, 20);
    }
    return false;
}

static void beacons_arrive(void **state)
{
    (void)state;
    beacon_sender *sender;
    beacon_listener *listeners[2];
    yl_error err;
    if (beacon_listener_new(&listeners[0], true, &err)) {
        print_message("left out: %s\n", err.msg);
        skip();
    }
    assert_int_equal(beacon_listener_new(&listeners[1], true, &err), YL_OK);
    assert_int_equal(beacon_sender_new(&sender, true, &err), YL_OK);
    beacon b = example("");
    prng p = prng_stream((uint64_t)(uintptr_t)sender, 0, 0); /* a cluster of our own */
    for (size_t i = 0; i < sizeof b.tag; i++) b.tag[i] = (uint8_t)prng_u64(&p);
    uint8_t bytes[BEACON_BYTES], rubbish[BEACON_BYTES] = "YLBEACON", other[CLUSTER_TAG_BYTES] = {1};
    endpoint e;
    assert_int_equal(beacon_encode(bytes, &b, NULL), YL_OK);
    beacon_send(sender, bytes);
    if (!hear(listeners[0], b.tag, 1, 1000, &e)) {
        print_message("left out: this machine's loopback interface takes no multicast\n");
        skip();
    }
    assert_true(e.is_tcp);
    assert_string_equal(e.host, "127.0.0.1");
    assert_int_equal(e.port, 7620);
    assert_true(hear(listeners[1], b.tag, 1, 1000, &e)); /* everybody hears it */

    for (int i = 0; i < 100; i++) beacon_send(sender, rubbish);
    beacon_send(sender, bytes);
    assert_false(hear(listeners[0], other, 1, 100, &e)); /* not of that cluster; rubbish is of none */
    beacon_send(sender, bytes);
    assert_false(hear(listeners[0], b.tag, 2, 100, &e)); /* not of that version */
    b = (beacon){.frame_version = 1, .port = 9, .host = "192.0.2.9"};
    memcpy(b.tag, other, sizeof b.tag);
    assert_int_equal(beacon_encode(bytes, &b, NULL), YL_OK);
    beacon_send(sender, bytes);
    assert_true(hear(listeners[0], other, 1, 1000, &e));
    assert_string_equal(e.host, "192.0.2.9");
    assert_int_equal(e.port, 9);
    beacon_sender_free(sender);
    for (int i = 0; i < 2; i++) beacon_listener_free(listeners[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_beacon_is_these_bytes),         cmocka_unit_test(what_is_no_address_is_not_announced),
        cmocka_unit_test(hostile_bytes_are_refused),       cmocka_unit_test(the_corpus_is_what_it_says),
        cmocka_unit_test(clusters_have_tags_of_their_own), cmocka_unit_test(beacons_arrive),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
