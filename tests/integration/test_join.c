/* test_join.c: workers that join by TCP, as on other machines: real processes on loopback, with and without a key. */
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

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <zmq.h>

#include "expect_child.h"
#include "frames.h"
#include "key_file.h"
#include "model_maker.h"
#include "prng.h"
#include "scratch_dir.h"

#define YLLAMA YLLAMA_BIN_DIR "/yllama"
#define WORKER YLLAMA_BIN_DIR "/yllama-worker"

enum { N_WORKERS = 3 };

/* Tokens that take some seconds. */
#ifdef __SANITIZE_THREAD__
static const char SOME_SECONDS[] = "300";
#else
static const char SOME_SECONDS[] = "3000";
#endif

typedef struct rig {
    scratch_dir dir;
    char model[SCRATCH_PATH_BYTES], key[SCRATCH_PATH_BYTES], other_key[SCRATCH_PATH_BYTES];
    char address[64], wildcard[64]; /* of control */
    child coordinator, workers[N_WORKERS];
} rig;

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
    uint16_t port = free_port();
    snprintf(r->address, sizeof r->address, "tcp://127.0.0.1:%u", port);
    snprintf(r->wildcard, sizeof r->wildcard, "tcp://*:%u", port);
    return 0;
}

static int tear_down(void **state)
{
    rig *r = *state;
    child_end(&r->coordinator);
    for (int i = 0; i < N_WORKERS; i++) child_end(&r->workers[i]);
    scratch_dir_clear(&r->dir);
    free(r);
    return 0;
}

static void start(rig *r, child *c, const char *program, ...)
{
    va_list args;
    va_start(args, program);
    start_child(c, r->dir.path, program, NULL, args);
    va_end(args);
}

/* A worker with a name, which listens where the system likes; without a model file. */
static void start_worker(rig *r, int i, const char *address, const char *name, ...)
{
    const char *const first[] = {"--connect", address, "--name", name, "-t", "1", NULL};
    va_list args;
    va_start(args, name);
    start_child(&r->workers[i], r->dir.path, WORKER, first, args);
    va_end(args);
}

static size_t read_file(const char *path, uint8_t *out, size_t capacity)
{
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    size_t n = fread(out, 1, capacity, f);
    fclose(f);
    return n;
}

enum { LOGIT_BYTES = 7 * 320 * 4 };

/* The logits of the same tokens, however they are computed: the coordinator's arguments follow. */
static void compute_logits(rig *r, uint8_t logits[LOGIT_BYTES], ...)
{
    char path[SCRATCH_PATH_BYTES];
    scratch_dir_path(&r->dir, path, "logits");
    const char *const first[] = {"logits", "-m", r->model, "--tokens", "1 5 9 200 31 7 300", "-o", path, NULL};
    va_list args;
    va_start(args, logits);
    start_child(&r->coordinator, r->dir.path, YLLAMA, first, args);
    va_end(args);
    expect_end(&r->coordinator, 0, NULL);
    assert_int_equal(read_file(path, logits, LOGIT_BYTES), LOGIT_BYTES);
}

static void joined_workers_compute_the_same_bits(void **state)
{
    rig *r = *state;
    static uint8_t local[LOGIT_BYTES], joined[LOGIT_BYTES];
    compute_logits(r, local, "--local", "2", NULL);

    start_worker(r, 0, r->address, "a", NULL);
    start_worker(r, 1, r->address, "b", NULL);
    compute_logits(r, joined, "--workers", "2", "--listen", r->address, NULL);
    assert_memory_equal(local, joined, LOGIT_BYTES);
    expect_words(&r->coordinator, "worker 'a' has joined: 1 threads");
    expect_words(&r->coordinator, "2 of 2 workers are here");

    start_worker(r, 0, r->address, "a", "--key-file", r->key, NULL);
    start_worker(r, 1, r->address, "b", "--key-file", r->key, NULL);
    compute_logits(r, joined, "--workers", "2", "--listen", r->wildcard, "--key-file", r->key, NULL);
    assert_memory_equal(local, joined, LOGIT_BYTES);

    start_worker(r, 0, r->address, "a", "--insecure", NULL);
    start_worker(r, 1, r->address, "b", "--insecure", "-m", r->model, NULL);
    compute_logits(r, joined, "--workers", "2", "--listen", r->wildcard, "--insecure", NULL);
    assert_memory_equal(local, joined, LOGIT_BYTES);
}

static bool has_ipv6(void)
{
    struct sockaddr_in6 a = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    int fd = socket(AF_INET6, SOCK_STREAM, 0);
    bool has = fd >= 0 && bind(fd, (struct sockaddr *)&a, sizeof a) == 0;
    if (fd >= 0) close(fd);
    return has;
}

static void workers_join_by_ipv6(void **state)
{
    rig *r = *state;
    if (!has_ipv6()) {
        print_message("left out: this machine has no address ::1\n");
        skip();
    }
    static uint8_t local[LOGIT_BYTES], joined[LOGIT_BYTES];
    char address[64];
    snprintf(address, sizeof address, "tcp://[::1]:%u", free_port());
    compute_logits(r, local, "--local", "2", NULL);
    start_worker(r, 0, address, "a", NULL);
    start_worker(r, 1, address, "b", NULL);
    compute_logits(r, joined, "--workers", "2", "--listen", address, NULL);
    assert_memory_equal(local, joined, LOGIT_BYTES);
    start_worker(r, 0, address, "a", "--key-file", r->key, NULL);
    start_worker(r, 1, address, "b", "--key-file", r->key, NULL);
    compute_logits(r, joined, "--workers", "2", "--listen", address, "--key-file", r->key, NULL);
    assert_memory_equal(local, joined, LOGIT_BYTES);
}

/* Everybody finds the others at 127.0.0.2, where a relay listens at the ports that they have at 127.0.0.1: results, too, go to the
 * host by which a worker knows the coordinator. */
static void workers_join_through_a_relay(void **state)
{
    enum { N_PORTS = 4, CONTROL = 0, RESULTS, DATA };
    rig *r = *state;
    static uint8_t local[LOGIT_BYTES], joined[LOGIT_BYTES];
    char near[N_PORTS][32], far[N_PORTS][32], connect[32], listen[32], port[8], data[2][32];
    const char *argv[4 * N_PORTS + 4] = {YLLAMA_BIN_DIR "/relay", "--delay", "5ms"};
    compute_logits(r, local, "--local", "2", NULL);
    for (int i = 0; i < N_PORTS; i++) {
        uint16_t p = free_port();
        snprintf(near[i], sizeof near[i], "127.0.0.2:%u", p);
        snprintf(far[i], sizeof far[i], "127.0.0.1:%u", p);
        const char *const pair[] = {"--listen", near[i], "--to", far[i]};
        memcpy(argv + 3 + 4 * i, pair, sizeof pair);
        if (i == RESULTS) snprintf(port, sizeof port, "%u", p);
        if (i == CONTROL) snprintf(connect, sizeof connect, "tcp://127.0.0.2:%u", p);
        if (i == CONTROL) snprintf(listen, sizeof listen, "tcp://127.0.0.1:%u", p);
        if (i >= DATA) snprintf(data[i - DATA], sizeof data[0], "tcp://127.0.0.1:%u", p);
    }
    child *relay = &r->workers[2];
    assert_true(child_start(relay, argv, NULL, r->dir.path));
    expect_words(relay, "ready");
    start_worker(r, 0, connect, "a", "--data", data[0], "--advertise", "127.0.0.2", NULL);
    start_worker(r, 1, connect, "b", "--data", data[1], "--advertise", "127.0.0.2", NULL);
    compute_logits(r, joined, "--workers", "2", "--listen", listen, "--result-port", port, NULL);
    assert_memory_equal(local, joined, LOGIT_BYTES);

    child_end(relay); /* and nothing goes another way */
    *relay = (child){0};
    start(r, &r->coordinator, YLLAMA, "logits", "-m", r->model, "--tokens", "1 5", "-o", "/dev/null", "--workers", "2", "--listen",
          listen, "--result-port", port, NULL);
    assert_false(child_wait_for_words(&r->coordinator, "has joined", 1500));
}

/* Waits for two workers and continues a text. */
static void start_answer(rig *r, const char *n_tokens, ...)
{
    const char *const first[] = {"run",    "-m",           r->model, "--workers", "2",  "-p",   "abc", "-n",
                                 n_tokens, "--ignore-eos", "--seed", "7",         "-c", "4096", NULL};
    va_list args;
    va_start(args, n_tokens);
    start_child(&r->coordinator, r->dir.path, YLLAMA, first, args);
    va_end(args);
    expect_words(&r->coordinator, "waiting for 2 workers");
}

static void who_does_not_know_the_key_is_refused(void **state)
{
    rig *r = *state;
    start_answer(r, "5", "--listen", r->wildcard, "--key-file", r->key, NULL);
    start_worker(r, 0, r->address, "a", "--key-file", r->other_key, NULL);
    expect_end(&r->workers[0], 3, "it has another key, or none");
    expect_words(&r->coordinator, "127.0.0.1 was refused: it does not know this cluster's key");
    start_worker(r, 0, r->address, "a", NULL);
    expect_end(&r->workers[0], 3, "wants its cluster's key");
    start_worker(r, 0, r->address, "a", "--key-file", r->key, NULL);
    start_worker(r, 1, r->address, "b", "--key-file", r->key, NULL);
    expect_end(&r->coordinator, 0, "tokens/s");

    start_answer(r, "5", "--listen", r->address, NULL);
    start_worker(r, 0, r->address, "a", "--key-file", r->key, NULL);
    expect_end(&r->workers[0], 3, NULL);
    expect_words(&r->workers[0], "key");
    expect_words(&r->coordinator, "127.0.0.1 was refused: it ");
}

static bool command_line_shows(const char *text)
{
    pid_t pid;
    return processes_with(text, &pid, 1) > 0;
}

static void keys_are_read_from_anywhere_and_shown_nowhere(void **state)
{
    rig *r = *state;
    char text[128] = {0};
    read_file(r->key, (uint8_t *)text, sizeof text - 1);
    text[CLUSTER_KEY_TEXT_BYTES - 1] = 0;
    start_worker(r, 0, r->address, "a", "--key", text, NULL);
    setenv("YLLAMA_KEY", text, 1);
    start_worker(r, 1, r->address, "b", NULL);
    unsetenv("YLLAMA_KEY");
    start_answer(r, "-1", "--listen", r->wildcard, "--key", text, NULL);
    assert_true(child_wait_for_output(&r->coordinator, 20, PATIENCE_MS));
    assert_false(command_line_shows(text));
    kill(r->coordinator.pid, SIGINT);
    expect_end(&r->coordinator, 130, NULL);
    for (int i = 0; i < 2; i++) {
        expect_words(&r->workers[i], "has left");
        assert_null(strstr(r->workers[i].err, text + 8));
    }
    assert_null(strstr(r->coordinator.err, text + 8));

    start(r, &r->coordinator, YLLAMA, "keygen", NULL);
    expect_end(&r->coordinator, 0, NULL);
    cluster_key key;
    assert_int_equal(cluster_key_parse(&key, r->coordinator.out, NULL), YL_OK);
    assert_int_equal(r->coordinator.n_out, CLUSTER_KEY_TEXT_BYTES);
}

static void two_workers_of_one_name(void **state)
{
    rig *r = *state;
    start_answer(r, "5", "--listen", r->address, NULL);
    start_worker(r, 0, r->address, "same", NULL);
    expect_words(&r->workers[0], "has joined");
    start_worker(r, 1, r->address, "same", NULL);
    expect_end(&r->workers[1], 3, "two workers are named 'same'");
    /* One that died and was started again is itself. */
    kill(r->workers[0].pid, SIGKILL);
    start_worker(r, 0, r->address, "same", NULL);
    expect_words(&r->workers[0], "has joined");
    start_worker(r, 1, r->address, "b", NULL);
    expect_end(&r->coordinator, 0, "tokens/s");
}

static void claims_that_cannot_be(void **state)
{
    rig *r = *state;
    start_answer(r, "5", "--listen", r->address, NULL);
    start_worker(r, 0, r->address, "a", "--memory", "1073741824", NULL);
    expect_end(&r->workers[0], 3, "1125899906842624 bytes of memory: that cannot be");
    start_worker(r, 0, r->address, "a", NULL);
    expect_words(&r->workers[0], "has joined");
    assert_null(strstr(r->coordinator.err, "2 of 2"));
}

/* Workers outlive their coordinator, however it ends, and serve the next one the same. */
static void workers_wait_for_the_next_coordinator(void **state)
{
    rig *r = *state;
    char first[CHILD_OUTPUT_BYTES];
    for (int i = 0; i < 2; i++) start_worker(r, i, r->address, i ? "b" : "a", "--key-file", r->key, NULL);
    start_answer(r, "20", "--listen", r->wildcard, "--key-file", r->key, NULL);
    expect_end(&r->coordinator, 0, "tokens/s");
    memcpy(first, r->coordinator.out, sizeof first);
    static const int SIGNALS[] = {SIGKILL, SIGINT};
    for (int i = 0; i < 2; i++) {
        start_answer(r, "-1", "--listen", r->wildcard, "--key-file", r->key, NULL);
        assert_true(child_wait_for_output(&r->coordinator, 20, PATIENCE_MS));
        kill(r->coordinator.pid, SIGNALS[i]);
        assert_true(child_wait(&r->coordinator, PATIENCE_MS));
        start_answer(r, "20", "--listen", r->wildcard, "--key-file", r->key, NULL);
        expect_end(&r->coordinator, 0, "tokens/s");
        assert_string_equal(first, r->coordinator.out);
    }
    expect_words(&r->workers[0], "has left: waiting for the next one");
    kill(r->workers[0].pid, SIGTERM);
    expect_end(&r->workers[0], 0, NULL);
}

static void one_worker_too_many_stands_by(void **state)
{
    rig *r = *state;
    start_worker(r, 0, r->address, "a", NULL);
    start_worker(r, 1, r->address, "b", NULL);
    start_answer(r, "-1", "--listen", r->address, NULL);
    assert_true(child_wait_for_output(&r->coordinator, 20, PATIENCE_MS));
    start_worker(r, 2, r->address, "c", NULL);
    expect_words(&r->coordinator, "it stands by");
    kill(r->coordinator.pid, SIGINT);
    expect_end(&r->coordinator, 130, NULL);
    kill(r->workers[0].pid, SIGTERM);
    expect_end(&r->workers[0], 0, NULL);
    start_answer(r, "5", "--listen", r->address, NULL);
    expect_end(&r->coordinator, 0, "worker 'c' has joined");
}

static void waiting_ends_when_the_user_has_enough(void **state)
{
    rig *r = *state;
    start_answer(r, "5", "--listen", r->address, NULL);
    kill(r->coordinator.pid, SIGINT);
    expect_end(&r->coordinator, 130, NULL);
    start_worker(r, 0, r->address, "a", NULL);
    expect_words(&r->workers[0], "nobody answers at tcp://127.0.0.1:");
}

static void addresses_that_cannot_be_used(void **state)
{
    rig *r = *state;
    static const struct {
        const char *program, *args[6];
        int code;
        const char *words;
    } CASES[] = {
        {WORKER, {"--connect", "tcp://192.0.2.1:7620"}, 2, "yllama keygen"},
        {WORKER, {"--connect", "tcp://127.0.0.1:7620", "--data", "tcp://*:7621"}, 2, "yllama keygen"},
        {WORKER,
         {"--connect", "tcp://no-such-machine.invalid:7620", "--insecure"},
         1,
         "there is no machine 'no-such-machine.invalid'"},
        {WORKER, {"--connect", "tcp://127.0.0.1:65536"}, 2, "ports are 1 to 65535"},
        {WORKER, {"--connect", "tcp://::1:7620"}, 2, "stands in brackets"},
        {WORKER, {"--connect", "127.0.0.1:7620"}, 2, "is no address"},
        {WORKER, {"--connect", "tcp://*:7620"}, 2, "name the machine"},
        {WORKER, {"--connect", "tcp://127.0.0.1:7620", "--key", "secret"}, 2, "that is no key"},
        {WORKER, {"--connect", "tcp://127.0.0.1:7620", "--key-file", "/nowhere/key"}, 1, "/nowhere/key"},
        {WORKER, {"--connect", "tcp://127.0.0.1:7620", "--advertise", "a b"}, 2, "is no host"},
        {YLLAMA, {"--workers", "2"}, 2, "yllama keygen"},
        {YLLAMA, {"--workers", "2", "--listen", "tcp://0.0.0.0:7620"}, 2, "yllama keygen"},
        {YLLAMA, {"--workers", "2", "--listen", "ipc:///tmp/x"}, 2, "tcp://HOST:PORT"},
        {YLLAMA, {"--workers", "2", "--listen", "tcp://127.0.0.1:0"}, 2, "ports are 1 to 65535"},
        {YLLAMA, {"--workers", "2", "--local", "2"}, 2, "one of them"},
        {YLLAMA, {"--listen", "tcp://127.0.0.1:7620"}, 2, "--workers N"},
        {YLLAMA, {"--workers", "2", "--key", "yl1_0"}, 2, "that is no key"},
        {YLLAMA, {"--workers", "9", "--listen", "tcp://127.0.0.1:*"}, 2, "take at most 5"},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        const char *const *a = CASES[i].args;
        bool is_worker = !strcmp(CASES[i].program, WORKER);
        if (is_worker)
            start(r, &r->coordinator, WORKER, a[0], a[1], a[2], a[3], a[4], NULL);
        else
            start(r, &r->coordinator, YLLAMA, "run", "-m", r->model, "-p", "abc", a[0], a[1], a[2], a[3], a[4], NULL);
        expect_end(&r->coordinator, CASES[i].code, CASES[i].words);
    }
    start_answer(r, "5", "--listen", r->address, NULL);
    start(r, &r->workers[0], YLLAMA, "run", "-m", r->model, "-p", "abc", "--workers", "2", "--listen", r->address, NULL);
    expect_end(&r->workers[0], 1, "Address already in use");
}

/* ---- strangers ---- */

/* Bytes that are not ZeroMQ's, and connections that say nothing. */
static void send_raw(uint16_t port)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    prng p = prng_stream(11, port, 0);
    for (int i = 0; i < 12; i++) {
        uint8_t bytes[300];
        for (size_t k = 0; k < sizeof bytes; k++) bytes[k] = (uint8_t)prng_u64(&p);
        static const uint8_t GREETING[] = {0xff, 0, 0, 0, 0, 0, 0, 0, 1, 0x7f, 3, 1, 'C', 'U', 'R', 'V', 'E'};
        if (i % 2) memcpy(bytes, GREETING, sizeof GREETING); /* speaks CURVE, and then does not */
        int fd = socket(AF_INET, SOCK_STREAM, 0);
        assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
        if (i % 3 && send(fd, bytes, sizeof bytes - (size_t)i, MSG_NOSIGNAL) < 0) print_message("closed already\n");
        if (i % 4) pause_ms(5);
        close(fd);
    }
}

/* ZeroMQ without a key, and with another one: frames that would end a run. */
static void send_frames(void *zmq, uint16_t port, int type, const cluster_key *key)
{
    char address[64];
    snprintf(address, sizeof address, "tcp://127.0.0.1:%u", port);
    void *socket = zmq_socket(zmq, type);
    int linger_ms = 0;
    zmq_setsockopt(socket, ZMQ_LINGER, &linger_ms, sizeof linger_ms);
    if (key) {
        zmq_setsockopt(socket, ZMQ_CURVE_SERVERKEY, key->listening_public, CURVE_KEY_BYTES);
        zmq_setsockopt(socket, ZMQ_CURVE_PUBLICKEY, key->listening_public, CURVE_KEY_BYTES);
        zmq_setsockopt(socket, ZMQ_CURVE_SECRETKEY, key->listening_secret, CURVE_KEY_BYTES);
    }
    assert_int_equal(zmq_connect(socket, address), 0);
    frame_bytes bytes = {0};
    static const frame_kind KINDS[] = {FRAME_SHUTDOWN, FRAME_RESULT, FRAME_HEARTBEAT, FRAME_READY};
    for (size_t i = 0; i < sizeof KINDS / sizeof *KINDS; i++) {
        frame f = {.kind = KINDS[i], .epoch = 1};
        if (!frame_encode(&bytes, &f, NULL)) zmq_send(socket, bytes.data, bytes.n, ZMQ_DONTWAIT);
    }
    frame_bytes_clear(&bytes);
    zmq_send(socket, "rubbish", 7, ZMQ_DONTWAIT);
    pause_ms(150);
    zmq_close(socket);
}

static void strangers_change_nothing(void **state)
{
    rig *r = *state;
    char expected[CHILD_OUTPUT_BYTES];
    cluster_key other;
    assert_int_equal(cluster_key_read_file(&other, r->other_key, NULL), YL_OK);
    start(r, &r->coordinator, YLLAMA, "run", "-m", r->model, "--local", "2", "-p", "abc", "-n", SOME_SECONDS, "--ignore-eos",
          "--seed", "7", "-c", "4096", NULL);
    expect_end(&r->coordinator, 0, NULL);
    memcpy(expected, r->coordinator.out, sizeof expected);

    char results[16], data[2][64];
    uint16_t ports[4] = {0};
    sscanf(r->address, "tcp://127.0.0.1:%hu", &ports[0]);
    for (int i = 1; i < 4; i++) ports[i] = free_port();
    snprintf(results, sizeof results, "%u", ports[1]);
    for (int i = 0; i < 2; i++) {
        snprintf(data[i], sizeof data[i], "tcp://*:%u", ports[2 + i]);
        start_worker(r, i, r->address, i ? "b" : "a", "--key-file", r->key, "--data", data[i], NULL);
    }
    start_answer(r, SOME_SECONDS, "--listen", r->wildcard, "--result-port", results, "--key-file", r->key, NULL);
    assert_true(child_wait_for_output(&r->coordinator, 20, PATIENCE_MS));
    void *zmq = zmq_ctx_new();
    for (int i = 0; i < 4; i++) {
        int type = i ? ZMQ_PUSH : ZMQ_DEALER;
        send_raw(ports[i]);
        send_frames(zmq, ports[i], type, NULL);
        send_frames(zmq, ports[i], type, &other);
    }
    zmq_ctx_term(zmq);
    expect_end(&r->coordinator, 0, "tokens/s");
    assert_string_equal(expected, r->coordinator.out);
}

/* What comes next must be readable by those who understand it; who does not is told why it is refused. */
static void a_worker_of_another_version_is_told(void **state)
{
    rig *r = *state;
    start_answer(r, "5", "--listen", r->address, NULL);
    void *zmq = zmq_ctx_new(), *socket = zmq_socket(zmq, ZMQ_DEALER);
    int linger_ms = 0, wait_ms = PATIENCE_MS;
    zmq_setsockopt(socket, ZMQ_LINGER, &linger_ms, sizeof linger_ms);
    zmq_setsockopt(socket, ZMQ_RCVTIMEO, &wait_ms, sizeof wait_ms);
    assert_int_equal(zmq_connect(socket, r->address), 0);
    static const uint8_t HELLO[] = {0x94, 2, 1, 0, 0xa1, 'x'}; /* version 2 */
    zmq_send(socket, HELLO, sizeof HELLO, 0);
    uint8_t answer[1024];
    int n = zmq_recv(socket, answer, sizeof answer, 0);
    assert_true(n > 0);
    frame f;
    frame_scratch *scratch;
    assert_int_equal(frame_scratch_new(&scratch, NULL), YL_OK);
    assert_int_equal(frame_decode(&f, scratch, answer, (size_t)n, NULL), YL_OK);
    assert_int_equal(f.kind, FRAME_ERROR);
    assert_int_equal(f.error.status, YL_EUNSUPPORTED);
    assert_non_null(memmem(f.error.message.data, f.error.message.n_bytes, "version 2", 9));
    frame_scratch_free(scratch);
    zmq_close(socket);
    zmq_ctx_term(zmq);
    /* And nobody else minds. */
    start_worker(r, 0, r->address, "a", NULL);
    start_worker(r, 1, r->address, "b", NULL);
    expect_end(&r->coordinator, 0, "tokens/s");
}

/* The other way round: a worker that a later coordinator refuses says so, and leaves. */
static void a_coordinator_of_another_version_is_left(void **state)
{
    rig *r = *state;
    static const uint8_t ANSWER[] = {0x97, 2, FRAME_ERROR, 0, FRAME_HELLO, 0, YL_EUNSUPPORTED, 0xa1, 'x'};
    void *zmq = zmq_ctx_new(), *socket = zmq_socket(zmq, ZMQ_ROUTER);
    int linger_ms = 0, wait_ms = 100;
    zmq_setsockopt(socket, ZMQ_LINGER, &linger_ms, sizeof linger_ms);
    zmq_setsockopt(socket, ZMQ_RCVTIMEO, &wait_ms, sizeof wait_ms);
    assert_int_equal(zmq_bind(socket, r->address), 0);
    start_worker(r, 0, r->address, "a", NULL);
    int n_hellos = 0;
    for (int i = 0; i < 100 && !child_wait(&r->workers[0], 0); i++) {
        uint8_t route[256], hello[1024];
        int n = zmq_recv(socket, route, sizeof route, 0);
        if (n <= 0 || zmq_recv(socket, hello, sizeof hello, 0) <= 0) continue;
        n_hellos++;
        zmq_send(socket, route, (size_t)n, ZMQ_SNDMORE);
        zmq_send(socket, ANSWER, sizeof ANSWER, 0);
    }
    zmq_close(socket);
    zmq_ctx_term(zmq);
    assert_true(n_hellos > 2);
    assert_int_equal(r->workers[0].exit_code, 3);
    expect_words(&r->workers[0], "version 2");
}

int main(void)
{
    setenv("YLLAMA_LAYERS", "even", 1); /* these models are so small that one worker alone would be fastest */
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(joined_workers_compute_the_same_bits, set_up, tear_down),
        cmocka_unit_test_setup_teardown(workers_join_through_a_relay, set_up, tear_down),
        cmocka_unit_test_setup_teardown(workers_join_by_ipv6, set_up, tear_down),
        cmocka_unit_test_setup_teardown(who_does_not_know_the_key_is_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(keys_are_read_from_anywhere_and_shown_nowhere, set_up, tear_down),
        cmocka_unit_test_setup_teardown(two_workers_of_one_name, set_up, tear_down),
        cmocka_unit_test_setup_teardown(claims_that_cannot_be, set_up, tear_down),
        cmocka_unit_test_setup_teardown(workers_wait_for_the_next_coordinator, set_up, tear_down),
        cmocka_unit_test_setup_teardown(one_worker_too_many_stands_by, set_up, tear_down),
        cmocka_unit_test_setup_teardown(waiting_ends_when_the_user_has_enough, set_up, tear_down),
        cmocka_unit_test_setup_teardown(addresses_that_cannot_be_used, set_up, tear_down),
        cmocka_unit_test_setup_teardown(strangers_change_nothing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_worker_of_another_version_is_told, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_coordinator_of_another_version_is_left, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
