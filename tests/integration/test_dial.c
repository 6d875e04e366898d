/* test_dial.c: workers that listen, and a coordinator that calls them; workers that look for a coordinator that announces itself:
 * real processes on loopback, with and without a key. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include <zmq.h>

#include "beacon.h"
#include "expect_child.h"
#include "frames.h"
#include "key_file.h"
#include "model_maker.h"
#include "scratch_dir.h"

#define YLLAMA YLLAMA_BIN_DIR "/yllama"
#define WORKER YLLAMA_BIN_DIR "/yllama-worker"

enum { N_WORKERS = 3 };

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define IS_SLOW 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define IS_SLOW 1
#endif
#endif
#ifdef IS_SLOW
static const char SOME_SECONDS[] = "300", TIMEOUT[] = "4";
#else
static const char SOME_SECONDS[] = "3000", TIMEOUT[] = "2";
#endif

typedef struct rig {
    scratch_dir dir;
    char model[SCRATCH_PATH_BYTES], key[SCRATCH_PATH_BYTES], other_key[SCRATCH_PATH_BYTES];
    uint16_t ports[N_WORKERS];
    char list[256]; /* the workers' addresses */
    char text[CHILD_OUTPUT_BYTES];
    child coordinator, second, workers[N_WORKERS];
} rig;

/* Worker i, "a" and so on, listens at its port; further flags follow. */
static void start_worker(rig *r, int i, const char *host, ...)
{
    char address[64];
    const char name[] = {(char)('a' + i), 0};
    snprintf(address, sizeof address, "tcp://%s:%u", host, r->ports[i]);
    const char *const first[] = {"--listen", address, "--name", name, "-t", "1", NULL};
    va_list args;
    va_start(args, host);
    start_child(&r->workers[i], r->dir.path, WORKER, first, args);
    va_end(args);
    expect_words(&r->workers[i], "waits for a coordinator that calls tcp://");
}

/* Continues a text, sampled: one other bit would make another text soon. */
static void start_answer(rig *r, child *c, const char *n_tokens, ...)
{
    const char *const first[] = {"run",          "-m",     r->model, "-p", "abc",  "-n", n_tokens,
                                 "--ignore-eos", "--seed", "7",      "-c", "4096", NULL};
    va_list args;
    va_start(args, n_tokens);
    start_child(c, r->dir.path, YLLAMA, first, args);
    va_end(args);
}

/* Once for all tests: the text that they must not change. */
static int set_up(void **state)
{
    rig *r = calloc(1, sizeof *r);
    *state = r;
    if (!scratch_dir_init(&r->dir)) return -1;
    model_spec spec = model_spec_default();
    spec.hp.n_layer = 4;
    spec.hp.n_ctx_train = 4096;
    yl_error err = {0};
    if (model_maker_write(scratch_dir_path(&r->dir, r->model, "m.gguf"), &spec, &err)) fail_msg("%s", err.msg);
    write_key(scratch_dir_path(&r->dir, r->key, "key"));
    write_key(scratch_dir_path(&r->dir, r->other_key, "other"));
    start_answer(r, &r->coordinator, SOME_SECONDS, "--local", "2", NULL);
    expect_end(&r->coordinator, 0, NULL);
    memcpy(r->text, r->coordinator.out, sizeof r->text);
    return 0;
}

static int choose_ports(void **state)
{
    rig *r = *state;
    for (int i = 0; i < N_WORKERS; i++) r->ports[i] = free_port();
    snprintf(r->list, sizeof r->list, "127.0.0.1:%u,tcp://localhost:%u", r->ports[0], r->ports[1]);
    return 0;
}

static int end_children(void **state)
{
    rig *r = *state;
    child *all[] = {&r->coordinator, &r->second, &r->workers[0], &r->workers[1], &r->workers[2]};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) child_end(all[i]);
    return 0;
}

static int tear_down(void **state)
{
    rig *r = *state;
    end_children(state);
    scratch_dir_clear(&r->dir);
    free(r);
    return 0;
}

/* The whole text, or its beginning. */
static void expect_same_text(rig *r, child *c)
{
    expect_end(c, 0, "tokens/s");
    assert_true(c->n_out > 5);
    assert_memory_equal(c->out, r->text, c->n_out - 1); /* but for the last line end */
}

static void workers_that_are_called_compute_the_same(void **state)
{
    rig *r = *state;
    static const struct {
        const char *host, *flags[3];
    } CASES[] = {{"127.0.0.1", {NULL}}, {"*", {"--key-file", "KEY"}}, {"*", {"--insecure", NULL}}};
    for (size_t k = 0; k < sizeof CASES / sizeof *CASES; k++) {
        const char *flag = CASES[k].flags[0], *key = CASES[k].flags[1] ? r->key : NULL;
        for (int i = 0; i < 2; i++) start_worker(r, i, CASES[k].host, flag, key, NULL);
        /* Two coordinators, one after the other. */
        for (int i = 0; i < 2; i++) {
            start_answer(r, &r->coordinator, "100", "--workers", r->list, flag, key, NULL);
            expect_same_text(r, &r->coordinator);
            assert_non_null(strstr(r->coordinator.err, "calling 2 workers"));
            assert_non_null(strstr(r->coordinator.err, "2 of 2 workers are here"));
        }
    }
    expect_words(&r->workers[0], "has left: waiting for the next one");
    kill(r->workers[0].pid, SIGTERM);
    expect_end(&r->workers[0], 0, NULL);
}

static void a_worker_may_come_after_it_was_called(void **state)
{
    rig *r = *state;
    start_answer(r, &r->coordinator, "100", "--workers", r->list, NULL);
    expect_words(&r->coordinator, "nobody listens at tcp://127.0.0.1:");
    for (int i = 0; i < 2; i++) start_worker(r, i, "127.0.0.1", NULL);
    expect_same_text(r, &r->coordinator);
}

static void a_busy_worker_says_so_and_serves_later(void **state)
{
    rig *r = *state;
    for (int i = 0; i < 2; i++) start_worker(r, i, "127.0.0.1", NULL);
    start_answer(r, &r->coordinator, "-1", "--workers", r->list, NULL);
    assert_true(child_wait_for_output(&r->coordinator, 20, PATIENCE_MS));
    start_answer(r, &r->second, "5", "--workers", r->list, "--timeout", TIMEOUT, NULL);
    expect_end(&r->second, 3, "refuses: worker 'a' serves another coordinator, at 127.0.0.1");
    assert_non_null(strstr(r->second.err, "2 of 2 workers that were called did not come"));
    /* Who has patience gets them when they are free. */
    start_answer(r, &r->second, "5", "--workers", r->list, "--timeout", "60", NULL);
    expect_words(&r->second, "refuses: worker 'b' serves another coordinator");
    size_t n_out = r->coordinator.n_out;
    assert_true(child_wait_for_output(&r->coordinator, n_out + 10, PATIENCE_MS));
    kill(r->coordinator.pid, SIGKILL);
    expect_same_text(r, &r->second);
}

static void who_does_not_come_is_named_with_the_reason(void **state)
{
    rig *r = *state;
    char one[64], words[128];
    snprintf(one, sizeof one, "127.0.0.1:%u", r->ports[0]);
    const struct {
        const char *host, *worker[2], *coordinator[2], *words, *worker_words;
    } CASES[] = {
        {NULL, {NULL}, {NULL}, "nobody listens at tcp://%s", NULL},
        {"*",
         {"--key-file", r->other_key},
         {"--key-file", r->key},
         "the worker at tcp://%s does not let this coordinator in: it has another key",
         "127.0.0.1 was refused: it does not know this cluster's key"},
        {"127.0.0.1", {NULL}, {"--key-file", r->key}, "the worker at tcp://%s ", "127.0.0.1 was refused: it comes with a key"},
        {"*", {"--key-file", r->key}, {NULL}, "tcp://%s wants its cluster's key", NULL},
    };
    for (size_t k = 0; k < sizeof CASES / sizeof *CASES; k++) {
        child_end(&r->workers[0]);
        if (CASES[k].host) start_worker(r, 0, CASES[k].host, CASES[k].worker[0], CASES[k].worker[1], NULL);
        start_answer(r, &r->coordinator, "5", "--workers", one, "--timeout", TIMEOUT, CASES[k].coordinator[0],
                     CASES[k].coordinator[1], NULL);
        snprintf(words, sizeof words, CASES[k].words, one);
        expect_end(&r->coordinator, 3, words);
        if (CASES[k].worker_words) expect_words(&r->workers[0], CASES[k].worker_words);
    }
    /* Strangers did the worker no harm. */
    start_answer(r, &r->coordinator, "5", "--workers", one, "--key-file", r->key, NULL);
    expect_end(&r->coordinator, 0, "tokens/s");
}

/* A socket that says nothing, one that says something else, a worker's data port, another coordinator. */
static void what_is_no_worker_is_told(void **state)
{
    rig *r = *state;
    char one[64], words[128];
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(r->ports[0]), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    int fd = socket(AF_INET, SOCK_STREAM, 0), yes = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof a), 0);
    assert_int_equal(listen(fd, 5), 0);
    snprintf(one, sizeof one, "127.0.0.1:%u", r->ports[0]);
    snprintf(words, sizeof words, "what listens at tcp://%s is no yllama-worker", one);
    start_answer(r, &r->coordinator, "5", "--workers", one, "--timeout", TIMEOUT, NULL);
    expect_end(&r->coordinator, 3, words);
    start_answer(r, &r->coordinator, "5", "--workers", one, "--timeout", TIMEOUT, NULL);
    for (int i = 0; i < 5; i++) {
        int connection = accept(fd, NULL, NULL);
        static const char BANNER[] = "SSH-2.0-OpenSSH_9.2p1\r\n";
        if (connection >= 0 && send(connection, BANNER, sizeof BANNER - 1, MSG_NOSIGNAL) < 0) print_message("closed already\n");
        if (i < 4 && connection >= 0) close(connection);
    }
    expect_end(&r->coordinator, 3, one);
    close(fd);

    char data[64];
    snprintf(data, sizeof data, "tcp://127.0.0.1:%u", r->ports[2]);
    start_worker(r, 0, "127.0.0.1", "--data", data, NULL);
    start_answer(r, &r->coordinator, "5", "--workers", data, "--timeout", TIMEOUT, NULL);
    expect_end(&r->coordinator, 3, "is no yllama-worker that was started with --listen");

    snprintf(data, sizeof data, "tcp://127.0.0.1:%u", r->ports[1]);
    start_answer(r, &r->second, "5", "--workers", "1", "--listen", data, NULL);
    expect_words(&r->second, "waiting for 1 workers");
    start_answer(r, &r->coordinator, "5", "--workers", data, "--timeout", TIMEOUT, NULL);
    expect_end(&r->coordinator, 3, "refuses: ");
    assert_false(child_wait(&r->second, 0));
}

static void lists_and_addresses_that_cannot_be_used(void **state)
{
    rig *r = *state;
    static const struct {
        const char *list, *flag, *value;
        int code;
        const char *words;
    } CASES[] = {
        {"192.0.2.1:7620", NULL, NULL, 2, "yllama keygen"},
        {"127.0.0.1,box", NULL, NULL, 2, "yllama keygen"},
        {"127.0.0.1:1,127.0.0.1:1", NULL, NULL, 2, "'127.0.0.1:1' is there twice"},
        {"127.0.0.1:1,", NULL, NULL, 2, "is no address"},
        {"*:7620", NULL, NULL, 2, "names no machine and port"},
        {"ipc:///tmp/x", NULL, NULL, 2, "names no machine and port"},
        {"::1:7620", NULL, NULL, 2, "stands in brackets"},
        {"127.0.0.1:0", NULL, NULL, 2, "ports are 1 to 65535"},
        {"0", NULL, NULL, 2, "--workers: 0 is not between 1 and 256"},
        {"257", NULL, NULL, 2, "--workers: 257 is not between 1 and 256"},
        {"127.0.0.1:1", "--listen", "tcp://127.0.0.1:7620", 2, "--workers N"},
        {"127.0.0.1:1", "--local", "2", 2, "one of them"},
        {"no-such-machine.invalid", "--insecure", NULL, 1, "there is no machine 'no-such-machine.invalid'"},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        start_answer(r, &r->coordinator, "5", "--workers", CASES[i].list, CASES[i].flag, CASES[i].value, NULL);
        expect_end(&r->coordinator, CASES[i].code, CASES[i].words);
    }
    static const struct {
        const char *flags[5], *words;
    } WORKERS[] = {{{"--listen", "tcp://*:7620"}, "yllama keygen"},
                   {{"--listen", "ipc:///tmp/x"}, "tcp://HOST:PORT"},
                   {{"--listen", "tcp://127.0.0.1:1", "--connect", "tcp://127.0.0.1:1"}, "one of them"},
                   {{"-v"}, "--connect is missing"}};
    for (size_t i = 0; i < sizeof WORKERS / sizeof *WORKERS; i++) {
        const char *const *f = WORKERS[i].flags;
        const char *argv[] = {WORKER, f[0], f[1], f[2], f[3], NULL};
        child_end(&r->second);
        assert_true(child_start(&r->second, argv, NULL, r->dir.path));
        expect_end(&r->second, 2, WORKERS[i].words);
    }
}

/* One is killed: the other takes all layers; it comes back at its address and stands by, and takes over when the other dies. */
static void a_lost_worker_comes_back_at_its_address(void **state)
{
    rig *r = *state;
    for (int i = 0; i < 2; i++) start_worker(r, i, "*", "--key-file", r->key, NULL);
    start_answer(r, &r->coordinator, SOME_SECONDS, "--workers", r->list, "--key-file", r->key, NULL);
    assert_true(child_wait_for_output(&r->coordinator, 20, PATIENCE_MS));
    kill(r->workers[0].pid, SIGKILL);
    expect_words(&r->coordinator, "worker 'a' was lost (its connection was closed): the layers are shared out over 1 worker");
    start_worker(r, 0, "*", "--key-file", r->key, NULL);
    expect_words(&r->coordinator, "it stands by");
    kill(r->workers[1].pid, SIGKILL);
    expect_words(&r->coordinator, "worker 'b' was lost (its connection was closed): its layers go to 'a'");
    expect_same_text(r, &r->coordinator);
}

/* A worker that hangs is taken out, and taken in again when it answers. */
static void a_worker_that_hung_stands_by(void **state)
{
    rig *r = *state;
    for (int i = 0; i < 2; i++) start_worker(r, i, "127.0.0.1", NULL);
    start_answer(r, &r->coordinator, "-1", "--workers", r->list, "--timeout", TIMEOUT, NULL);
    assert_true(child_wait_for_output(&r->coordinator, 20, PATIENCE_MS));
    kill(r->workers[0].pid, SIGSTOP);
    expect_words(&r->coordinator, "worker 'a' was lost (it has been silent for");
    kill(r->workers[0].pid, SIGCONT);
    expect_words(&r->coordinator, "it stands by");
    kill(r->coordinator.pid, SIGINT);
    expect_end(&r->coordinator, 130, NULL);
}

/* A coordinator that stops is given up after a while; and one whose HELLO is refused is not the end of a worker. */
static void a_worker_outlives_its_callers(void **state)
{
    rig *r = *state;
    char port[16];
    for (int i = 0; i < 2; i++) start_worker(r, i, "127.0.0.1", "--timeout", TIMEOUT, NULL);
    start_answer(r, &r->coordinator, "-1", "--workers", r->list, NULL);
    assert_true(child_wait_for_output(&r->coordinator, 20, PATIENCE_MS));
    kill(r->coordinator.pid, SIGSTOP);
    expect_words(&r->workers[0], "the coordinator at 127.0.0.1 is silent");
    expect_words(&r->workers[1], "the coordinator at 127.0.0.1 is silent");
    start_answer(r, &r->second, "5", "--workers", r->list, NULL);
    expect_end(&r->second, 0, "tokens/s");

    /* Somebody who speaks another version. */
    static const uint8_t REFUSAL[] = {0x97, 2, FRAME_ERROR, 0, FRAME_HELLO, 0, YL_EUNSUPPORTED, 0xa1, 'x'};
    void *zmq = zmq_ctx_new(), *socket = zmq_socket(zmq, ZMQ_DEALER);
    int linger_ms = 0, wait_ms = 100;
    char address[64];
    snprintf(port, sizeof port, "%u", r->ports[0]);
    snprintf(address, sizeof address, "tcp://127.0.0.1:%s", port);
    zmq_setsockopt(socket, ZMQ_LINGER, &linger_ms, sizeof linger_ms);
    zmq_setsockopt(socket, ZMQ_RCVTIMEO, &wait_ms, sizeof wait_ms);
    assert_int_equal(zmq_connect(socket, address), 0);
    zmq_send(socket, "", 0, 0); /* a call */
    int n_hellos = 0;
    for (int i = 0; i < 100 && !strstr(r->workers[0].err, "version 2"); i++) {
        uint8_t hello[1024];
        if (zmq_recv(socket, hello, sizeof hello, 0) <= 0) {
            child_wait(&r->workers[0], 0); /* reads what it says */
            continue;
        }
        n_hellos++;
        zmq_send(socket, REFUSAL, sizeof REFUSAL, 0);
    }
    assert_true(n_hellos > 2);
    expect_words(&r->workers[0], "version 2");
    zmq_close(socket);
    zmq_ctx_term(zmq);
    start_answer(r, &r->second, "5", "--workers", r->list, NULL);
    expect_end(&r->second, 0, "tokens/s");
}

/* ---- workers that look for their coordinator ---- */

static void start_looking(rig *r, int i, ...)
{
    const char name[] = {(char)('a' + i), 0};
    const char *const first[] = {"--discover", "--name", name, "-t", "1", NULL};
    va_list args;
    va_start(args, i);
    start_child(&r->workers[i], r->dir.path, WORKER, first, args);
    va_end(args);
}

/* On loopback only, where nobody else's beacons have our key. False: there is no multicast here. */
static bool has_multicast(void)
{
    beacon_listener *l;
    yl_error err;
    if (!beacon_listener_new(&l, true, &err)) {
        beacon_listener_free(l);
        return true;
    }
    print_message("left out: %s\n", err.msg);
    return false;
}

static void workers_find_their_coordinator(void **state)
{
    rig *r = *state;
    if (!has_multicast()) skip();
    char listen[64];
    for (int i = 0; i < 2; i++) start_looking(r, i, "--key-file", r->key, NULL);
    start_looking(r, 2, "--key-file", r->other_key, NULL); /* of another cluster */
    expect_words(&r->workers[2], "looks for a coordinator on this network");
    for (int i = 0; i < 2; i++) { /* the second one at another port */
        snprintf(listen, sizeof listen, "tcp://127.0.0.1:%u", r->ports[i]);
        start_answer(r, &r->coordinator, "100", "--workers", "2", "--discover", "--listen", listen, "--key-file", r->key, NULL);
        expect_same_text(r, &r->coordinator);
        assert_non_null(strstr(r->coordinator.err, "2 of 2 workers are here"));
    }
    expect_words(&r->workers[0], "found the coordinator at tcp://127.0.0.1:");
    if (child_wait(&r->workers[2], 0)) fail_msg("it ended with %d: %s", r->workers[2].exit_code, r->workers[2].err);
    expect_words(&r->workers[2], "no coordinator is found");
    assert_null(strstr(r->workers[2].err, "found the coordinator"));
}

/* Somebody repeats our tag, and leads to a stranger: the worker says so, goes on looking, and serves who is right. */
static void a_false_beacon_leads_nowhere(void **state)
{
    rig *r = *state;
    if (!has_multicast()) skip();
    char listen[64];
    cluster_key key;
    beacon_sender *sender;
    uint8_t bytes[BEACON_BYTES];
    beacon b = {.frame_version = FRAME_VERSION, .port = r->ports[0]};
    assert_int_equal(cluster_key_read_file(&key, r->key, NULL), YL_OK);
    assert_int_equal(cluster_key_tag(b.tag, &key, NULL), YL_OK);
    assert_int_equal(beacon_encode(bytes, &b, NULL), YL_OK);
    assert_int_equal(beacon_sender_new(&sender, true, NULL), YL_OK);
    snprintf(listen, sizeof listen, "tcp://127.0.0.1:%u", r->ports[0]);
    start_answer(r, &r->second, "5", "--workers", "1", "--listen", listen, "--key-file", r->other_key, NULL);
    expect_words(&r->second, "waiting for 1 workers");
    start_looking(r, 0, "--key-file", r->key, NULL);
    expect_words(&r->workers[0], "looks for a coordinator on this network");
    for (int i = 0; i < 200 && !strstr(r->workers[0].err, "does not let this worker in"); i++) {
        beacon_send(sender, bytes);
        child_wait(&r->workers[0], 50);
    }
    beacon_sender_free(sender);
    expect_words(&r->workers[0], "does not let this worker in: it has another key");
    snprintf(listen, sizeof listen, "tcp://127.0.0.1:%u", r->ports[1]);
    start_answer(r, &r->coordinator, "100", "--workers", "1", "--discover", "--listen", listen, "--key-file", r->key, NULL);
    expect_same_text(r, &r->coordinator);
}

int main(void)
{
    setenv("YLLAMA_LAYERS", "even", 1); /* these models are so small that one worker alone would be fastest */
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(workers_that_are_called_compute_the_same, choose_ports, end_children),
        cmocka_unit_test_setup_teardown(a_worker_may_come_after_it_was_called, choose_ports, end_children),
        cmocka_unit_test_setup_teardown(a_busy_worker_says_so_and_serves_later, choose_ports, end_children),
        cmocka_unit_test_setup_teardown(who_does_not_come_is_named_with_the_reason, choose_ports, end_children),
        cmocka_unit_test_setup_teardown(what_is_no_worker_is_told, choose_ports, end_children),
        cmocka_unit_test_setup_teardown(lists_and_addresses_that_cannot_be_used, choose_ports, end_children),
        cmocka_unit_test_setup_teardown(a_lost_worker_comes_back_at_its_address, choose_ports, end_children),
        cmocka_unit_test_setup_teardown(a_worker_that_hung_stands_by, choose_ports, end_children),
        cmocka_unit_test_setup_teardown(a_worker_outlives_its_callers, choose_ports, end_children),
        cmocka_unit_test_setup_teardown(workers_find_their_coordinator, choose_ports, end_children),
        cmocka_unit_test_setup_teardown(a_false_beacon_leads_nowhere, choose_ports, end_children),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
