/* test_link.c: addresses, keys, and who gets through an encrypted link. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <time.h>
#include <zmq.h>

#include "link.h"
#include "prng.h"
#include "scratch_dir.h"

/* ---- addresses ---- */

static void addresses_are_read_and_written(void **state)
{
    (void)state;
    static const struct {
        const char *text, *host;
        uint16_t port;
        const char *again; /* NULL: as it was */
    } CASES[] = {
        {"tcp://127.0.0.1:7620", "127.0.0.1", 7620, NULL},
        {"tcp://box-1.lan:1", "box-1.lan", 1, NULL},
        {"tcp://box", "box", 7620, "tcp://box:7620"},
        {"tcp://*:*", "*", 0, NULL},
        {"tcp://[::1]:65535", "::1", 65535, NULL},
        {"tcp://[fe80::1%eth0]:9", "fe80::1%eth0", 9, NULL},
        {"tcp://[::]", "::", 7620, "tcp://[::]:7620"},
        {"tcp://[::ffff:192.0.2.1]:5", "192.0.2.1", 5, "tcp://192.0.2.1:5"},
        {"tcp://[::ffff:::ffff:0.0.]:5", "::ffff:::ffff:0.0.", 5, NULL}, /* what it is is the resolver's to say */
        {"ipc:///tmp/x/control", "/tmp/x/control", 0, NULL},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        endpoint e;
        char text[ENDPOINT_BYTES];
        yl_error err = {0};
        if (endpoint_parse(&e, CASES[i].text, 7620, &err)) fail_msg("%s", err.msg);
        assert_string_equal(e.host, CASES[i].host);
        assert_int_equal(e.port, CASES[i].port);
        endpoint_format(text, &e);
        assert_string_equal(text, CASES[i].again ? CASES[i].again : CASES[i].text);
    }
}

static void what_is_no_address_is_refused(void **state)
{
    (void)state;
    static const char *const CASES[] = {"",
                                        "tcp://",
                                        "tcp://:7620",
                                        "tcp://host:",
                                        "tcp://host:0",
                                        "tcp://host:65536",
                                        "tcp://host:99999999999999999999",
                                        "tcp://host:-1",
                                        "tcp://host:+1",
                                        "tcp://host: 1",
                                        "tcp://host:1x",
                                        "tcp://ho st:1",
                                        "tcp://-host:1",
                                        "tcp://h\xc3\xb6st:1",
                                        "tcp://host;tcp://other:1",
                                        "tcp://a/b:1",
                                        "tcp://::1:1",
                                        "tcp://[::1:1",
                                        "tcp://[::1]1",
                                        "tcp://[]:1",
                                        "tcp://[host]:1",
                                        "tcp://**:1",
                                        "tcp://[::1]:1:1",
                                        "udp://host:1",
                                        "host:1",
                                        "inproc://x",
                                        "ipc://",
                                        "TCP://host:1"};
    char long_text[4000] = "tcp://";
    endpoint e;
    yl_error err;
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        if (!endpoint_parse(&e, CASES[i], 7620, &err)) fail_msg("'%s' was taken", CASES[i]);
        assert_int_equal(err.status, YL_EINVAL);
        assert_true(strlen(err.msg) > 10);
    }
    for (size_t n = 7; n < sizeof long_text; n = n * 2 + 1) {
        memset(long_text + 6, 'a', n - 6);
        long_text[n] = 0;
        yl_status status = endpoint_parse(&e, long_text, 7620, &err);
        assert_int_equal(status, n - 6 > 200 ? YL_EINVAL : YL_OK);
    }
    assert_int_equal(endpoint_parse(&e, "tcp://host", 0, &err), YL_EINVAL);
    assert_non_null(strstr(err.msg, "the port is missing"));
}

/* Any bytes: taken or refused, what is taken can be written and read again. */
static void random_texts_do_no_harm(void **state)
{
    (void)state;
    static const char LETTERS[] = "tcpi:/[].*%-0123456789abf\x01\xff";
    prng p = prng_stream(3, 0, 0);
    size_t n_taken = 0;
    for (int i = 0; i < 200000; i++) {
        char text[48], again[ENDPOINT_BYTES];
        size_t n = (size_t)prng_int(&p, 0, 40), begin = i % 3 ? 6 : 0;
        memcpy(text, "tcp://", 6);
        for (size_t k = begin; k < begin + n; k++) text[k] = LETTERS[prng_int(&p, 0, (int)sizeof LETTERS - 1)];
        text[begin + n < 47 ? begin + n : 47] = 0;
        endpoint e, e2;
        if (endpoint_parse(&e, text, 1, NULL)) continue;
        n_taken++;
        endpoint_format(again, &e);
        assert_int_equal(endpoint_parse(&e2, again, 1, NULL), YL_OK);
        assert_string_equal(e.host, e2.host);
        assert_int_equal(e.port, e2.port);
    }
    assert_true(n_taken > 100);
}

static void lists_of_addresses(void **state)
{
    (void)state;
    endpoint list[3];
    size_t n;
    yl_error err;
    assert_int_equal(endpoint_parse_list(list, 3, &n, "hostA,tcp://hostB:1,[::1]:2", 7620, NULL), YL_OK);
    assert_int_equal(n, 3);
    static const char *const HOSTS[] = {"hostA", "hostB", "::1"};
    static const uint16_t PORTS[] = {7620, 1, 2};
    for (size_t i = 0; i < n; i++) {
        assert_true(list[i].is_tcp);
        assert_string_equal(list[i].host, HOSTS[i]);
        assert_int_equal(list[i].port, PORTS[i]);
    }
    assert_int_equal(endpoint_parse_list(NULL, 3, &n, "a,a:1", 7620, NULL), YL_OK);
    assert_int_equal(n, 2);
    static const char *const BAD[] = {"",          ",",         "a,",  "a,,b",    "a,b,c,d",      "a,tcp://a:7620",
                                      "a:1,b,a:1", "*",         "a:*", "0.0.0.0", "ipc:///tmp/x", "::1:7620",
                                      "a b",       "udp://a:1", "a:0", "[::]:1"};
    for (size_t i = 0; i < sizeof BAD / sizeof *BAD; i++) {
        if (!endpoint_parse_list(list, 3, &n, BAD[i], 7620, &err)) fail_msg("'%s' was taken", BAD[i]);
        assert_int_equal(err.status, YL_EINVAL);
    }
}

static endpoint parsed(const char *text)
{
    endpoint e;
    assert_int_equal(endpoint_parse(&e, text, 1, NULL), YL_OK);
    return e;
}

static void whose_machine_an_address_is(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool is_local, is_wildcard;
    } CASES[] = {{"tcp://127.0.0.1", true, false},
                 {"tcp://127.9.9.9", true, false},
                 {"tcp://[::1]", true, false},
                 {"tcp://localhost", true, false},
                 {"ipc:///x", true, false},
                 {"tcp://*", false, true},
                 {"tcp://0.0.0.0", false, true},
                 {"tcp://[::]", false, true},
                 {"tcp://192.0.2.1", false, false},
                 {"tcp://box", false, false},
                 {"tcp://127.0.0.1.evil", false, false},
                 {"tcp://localhost.evil", false, false},
                 {"tcp://[::ffff:127.0.0.1]", true, false},
                 {"tcp://[2001:db8::1]", false, false}};
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        endpoint e = parsed(CASES[i].text);
        if (endpoint_is_local(&e) != CASES[i].is_local) fail_msg("%s is_local", CASES[i].text);
        if (endpoint_is_wildcard(&e) != CASES[i].is_wildcard) fail_msg("%s is_wildcard", CASES[i].text);
        yl_error err;
        assert_int_equal(link_check_guarded(NULL, false, &e, &err), CASES[i].is_local ? YL_OK : YL_EINVAL);
        if (!CASES[i].is_local) assert_non_null(strstr(err.msg, "yllama keygen"));
        assert_int_equal(link_check_guarded(NULL, true, &e, &err), YL_OK);
    }
}

/* ---- keys ---- */

static void new_key(cluster_key *key, char text[CLUSTER_KEY_TEXT_BYTES])
{
    yl_error err = {0};
    if (cluster_key_generate(text, &err) || cluster_key_parse(key, text, &err)) fail_msg("%s", err.msg);
}

static void keys_say_what_is_wrong_with_them(void **state)
{
    (void)state;
    char text[CLUSTER_KEY_TEXT_BYTES], other_text[CLUSTER_KEY_TEXT_BYTES], wrapped[128];
    cluster_key a, b, c;
    new_key(&a, text);
    new_key(&b, other_text);
    assert_string_not_equal(text, other_text);
    assert_string_not_equal(a.listening_secret, b.listening_secret);
    assert_string_not_equal(a.listening_secret, a.connecting_secret);
    snprintf(wrapped, sizeof wrapped, " \t%s\r\n", text);
    assert_int_equal(cluster_key_parse(&c, wrapped, NULL), YL_OK);
    assert_memory_equal(&a, &c, sizeof a);

    yl_error err;
    for (size_t i = 0; i < CLUSTER_KEY_TEXT_BYTES - 1; i++) {
        char damaged[CLUSTER_KEY_TEXT_BYTES];
        memcpy(damaged, text, sizeof damaged);
        damaged[i] = damaged[i] == '1' ? '2' : '1';
        assert_int_equal(cluster_key_parse(&c, damaged, &err), YL_EINVAL); /* one mistyped digit */
        assert_null(strstr(err.msg, damaged + 8));
        damaged[i] = 'g';
        assert_int_equal(cluster_key_parse(&c, damaged, &err), YL_EINVAL);
        damaged[i] = 0;
        assert_int_equal(cluster_key_parse(&c, damaged, &err), YL_EINVAL);
    }
    snprintf(wrapped, sizeof wrapped, "%s0", text);
    assert_int_equal(cluster_key_parse(&c, wrapped, &err), YL_EINVAL);
    assert_int_equal(cluster_key_parse(&c, "", &err), YL_EINVAL);
}

/* Changing how pairs are derived would lock out every program of another version. */
static void a_key_stands_for_the_same_pairs_for_ever(void **state)
{
    (void)state;
    cluster_key key;
    yl_error err = {0};
    if (cluster_key_parse(&key, "yl1_000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f630dcd29", &err))
        fail_msg("%s", err.msg);
    assert_string_equal(key.listening_public, ".U+yd6-5aM23x?]C@fZp+Jt#sVQXBEhAk<?tPuHM");
    assert_string_equal(key.connecting_public, "^njF!zWF3W3F=J*1Ec$.AExtSZsRH<YM7IO8GMS=");
}

static void keys_are_read_from_files(void **state)
{
    (void)state;
    scratch_dir dir;
    assert_true(scratch_dir_init(&dir));
    char path[SCRATCH_PATH_BYTES], text[CLUSTER_KEY_TEXT_BYTES];
    cluster_key key, again;
    yl_error err;
    scratch_dir_path(&dir, path, "key");
    assert_int_equal(cluster_key_read_file(&again, path, &err), YL_EIO);
    assert_non_null(strstr(err.msg, path));
    assert_int_equal(cluster_key_read_file(&again, dir.path, &err), YL_EIO);
    new_key(&key, text);
    FILE *f = fopen(path, "w");
    fprintf(f, "%s\n", text);
    fclose(f);
    assert_int_equal(cluster_key_read_file(&again, path, &err), YL_OK);
    assert_memory_equal(&key, &again, sizeof key);
    f = fopen(path, "w");
    for (int i = 0; i < 10000; i++) fputc(i % 256, f);
    fclose(f);
    assert_int_equal(cluster_key_read_file(&again, path, &err), YL_EINVAL);
    assert_non_null(strstr(err.msg, path));
    scratch_dir_clear(&dir);
}

/* ---- links ---- */

typedef struct ends {
    link_hub *here;
    void *listening;
    link_watch *watch;
    endpoint bound;
    char refused[64]; /* who was refused last, of those that were still there to be looked at */
} ends;

static void listen_with(ends *e, const cluster_key *key)
{
    yl_error err = {0};
    endpoint any = parsed("tcp://127.0.0.1:*");
    if (link_hub_new(&e->here, key, 1 << 20, &err)) fail_msg("%s", err.msg);
    e->listening = link_socket(e->here, ZMQ_PULL, 10, 0);
    if (link_watch_new(&e->watch, e->here, e->listening, &err)) fail_msg("%s", err.msg);
    if (link_bind(e->here, e->listening, &any, &e->bound, &err)) fail_msg("%s", err.msg);
    assert_true(e->bound.port > 0);
}

static void stop(ends *e)
{
    zmq_close(e->listening);
    link_watch_free(e->watch);
    link_hub_free(e->here);
}

/* Answers at the door for a while. True: a message came through. */
static bool hears(ends *e, int ms, link_event *event)
{
    char bytes[16];
    *event = LINK_NOTHING;
    for (int i = 0; i < ms / 10; i++) {
        zmq_pollitem_t items[] = {{.socket = e->listening, .events = ZMQ_POLLIN},
                                  {.socket = link_watch_socket(e->watch), .events = ZMQ_POLLIN},
                                  {.socket = link_hub_door(e->here), .events = ZMQ_POLLIN}};
        zmq_poll(items, link_hub_door(e->here) ? 3 : 2, 10);
        link_hub_answer_door(e->here);
        for (link_event next; (next = link_watch_next(e->watch)) != LINK_NOTHING;) {
            const char *peer = link_watch_peer(e->watch);
            if (next == LINK_REFUSED && strcmp(peer, "somebody") != 0) snprintf(e->refused, sizeof e->refused, "%s", peer);
            *event = next;
        }
        if (zmq_recv(e->listening, bytes, sizeof bytes, ZMQ_DONTWAIT) >= 0) return true;
    }
    return false;
}

/* Does a message of a program with this key come through? */
static bool gets_through(ends *e, const cluster_key *key, link_event *event)
{
    link_hub *there;
    yl_error err = {0};
    if (link_hub_new(&there, key, 1 << 20, &err)) fail_msg("%s", err.msg);
    void *connecting = link_socket(there, ZMQ_PUSH, 10, 0);
    if (link_connect(there, connecting, &e->bound, &err)) fail_msg("%s", err.msg);
    assert_int_equal(zmq_send(connecting, "hello", 5, ZMQ_DONTWAIT), 5);
    bool came = hears(e, key || !link_hub_door(e->here) ? 500 : 200, event);
    zmq_close(connecting);
    link_hub_free(there);
    return came;
}

static void only_who_knows_the_key_gets_through(void **state)
{
    (void)state;
    char text[CLUSTER_KEY_TEXT_BYTES];
    cluster_key key, other;
    new_key(&key, text);
    new_key(&other, text);
    link_event event;
    ends e = {0};
    listen_with(&e, &key);
    assert_true(gets_through(&e, &key, &event));
    assert_false(gets_through(&e, &other, &event));
    assert_int_equal(event, LINK_REFUSED);
    assert_string_equal(e.refused, "127.0.0.1");
    assert_false(gets_through(&e, NULL, &event));
    assert_true(event == LINK_OTHER_SECURITY || event == LINK_REFUSED);
    /* Whoever has learned the public key of those that listen, and nothing else, is turned away at the door. */
    cluster_key thief = other;
    memcpy(thief.listening_public, key.listening_public, sizeof thief.listening_public);
    assert_false(gets_through(&e, &thief, &event));
    assert_int_equal(event, LINK_REFUSED);
    assert_true(gets_through(&e, &key, &event)); /* it still opens */
    stop(&e);

    listen_with(&e, NULL);
    assert_true(gets_through(&e, NULL, &event));
    assert_false(gets_through(&e, &key, &event));
    stop(&e);
}

/* A message above the limit closes its connection, and nothing else. */
static void large_messages_are_not_taken(void **state)
{
    (void)state;
    ends e = {0};
    link_event event;
    listen_with(&e, NULL);
    link_hub *there;
    assert_int_equal(link_hub_new(&there, NULL, 1 << 30, NULL), YL_OK);
    void *connecting = link_socket(there, ZMQ_PUSH, 10, 0);
    assert_int_equal(link_connect(there, connecting, &e.bound, NULL), YL_OK);
    void *large = calloc(1, (1 << 20) + 1);
    assert_int_equal(zmq_send(connecting, large, (1 << 20) + 1, 0), (1 << 20) + 1);
    assert_false(hears(&e, 300, &event));
    free(large);
    zmq_close(connecting);
    link_hub_free(there);
    assert_true(gets_through(&e, NULL, &event));
    stop(&e);
}

static void what_the_system_refuses_is_said(void **state)
{
    (void)state;
    ends e = {0};
    endpoint bound, nowhere = parsed("tcp://no-such-machine.invalid:1"), elsewhere = parsed("tcp://192.0.2.77:1");
    yl_error err;
    listen_with(&e, NULL);
    void *socket = link_socket(e.here, ZMQ_PULL, 10, 0);
    assert_int_equal(link_bind(e.here, socket, &e.bound, &bound, &err), YL_EIO);
    assert_non_null(strstr(err.msg, "another program listens there"));
    assert_int_equal(link_bind(e.here, socket, &elsewhere, &bound, &err), YL_EIO);
    assert_non_null(strstr(err.msg, "tcp://192.0.2.77:1"));
    assert_int_equal(link_connect(e.here, socket, &nowhere, &err), YL_EIO);
    assert_non_null(strstr(err.msg, "there is no machine 'no-such-machine.invalid'"));
    zmq_close(socket);
    stop(&e);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(addresses_are_read_and_written),
        cmocka_unit_test(what_is_no_address_is_refused),
        cmocka_unit_test(lists_of_addresses),
        cmocka_unit_test(random_texts_do_no_harm),
        cmocka_unit_test(whose_machine_an_address_is),
        cmocka_unit_test(keys_say_what_is_wrong_with_them),
        cmocka_unit_test(a_key_stands_for_the_same_pairs_for_ever),
        cmocka_unit_test(keys_are_read_from_files),
        cmocka_unit_test(only_who_knows_the_key_gets_through),
        cmocka_unit_test(large_messages_are_not_taken),
        cmocka_unit_test(what_the_system_refuses_is_said),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
