/* test_native_notify.c: what a service manager hears, on sockets like its own; and that a compute thread which hangs is told apart
 * from one that waits. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include <semaphore.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>

#include "native_compute.h"
#include "native_notify.h"
#include "scratch_dir.h"

/* ---- a manager ---- */

static int listen_at(const char *name)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    size_t n = strlen(name);
    memcpy(a.sun_path, name, n);
    if (*name == '@') a.sun_path[0] = 0;
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    socklen_t n_bytes = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n + (*name == '/'));
    assert_int_equal(bind(fd, (struct sockaddr *)&a, n_bytes), 0);
    return fd;
}

/* The next datagram is this text; NULL: there is none. */
static void expect(int fd, const char *text)
{
    char got[1024] = {0};
    ssize_t n = recv(fd, got, sizeof got - 1, 0);
    if (!text) {
        if (n >= 0) fail_msg("'%s' was sent", got);
        return;
    }
    assert_true(n > 0);
    assert_string_equal(got, text);
}

static void set_watchdog(const char *usec, const char *pid)
{
    unsetenv("WATCHDOG_USEC");
    unsetenv("WATCHDOG_PID");
    if (usec) setenv("WATCHDOG_USEC", usec, 1);
    if (pid) setenv("WATCHDOG_PID", pid, 1);
}

static const char *abstract_name(void)
{
    static char name[64];
    snprintf(name, sizeof name, "@yllama-test-notify-%ld", (long)getpid());
    return name;
}

/* A manager at an abstract name, which the environment tells. */
static int begin_managing(void)
{
    setenv("NOTIFY_SOCKET", abstract_name(), 1);
    return listen_at(abstract_name());
}

/* One that waits for a sign of life every two seconds, and who gives it. */
static int begin_watching(native_notify *n)
{
    int fd = begin_managing();
    set_watchdog("2000000", NULL);
    assert_int_equal(native_notify_open(n, NULL), YL_OK);
    return fd;
}

static int forget_manager(void **state)
{
    (void)state;
    unsetenv("NOTIFY_SOCKET");
    set_watchdog(NULL, NULL);
    return 0;
}

static void messages_arrive(const char *socket_name)
{
    int fd = listen_at(socket_name);
    setenv("NOTIFY_SOCKET", socket_name, 1);
    native_notify n;
    yl_error err = {0};
    if (native_notify_open(&n, &err)) fail_msg("%s", err.msg);
    native_notify_ready(&n);
    native_notify_status(&n, "serving layers 0-3");
    native_notify_stopping(&n);
    native_notify_close(&n);
    native_notify_ready(&n); /* nobody hears it */
    expect(fd, "READY=1");
    expect(fd, "STATUS=serving layers 0-3");
    expect(fd, "STOPPING=1");
    expect(fd, NULL);
    close(fd);
}

static void messages_arrive_at_a_path_and_at_an_abstract_name(void **state)
{
    (void)state;
    scratch_dir dir;
    char path[SCRATCH_PATH_BYTES];
    assert_true(scratch_dir_init(&dir));
    messages_arrive(scratch_dir_path(&dir, path, "notify"));
    scratch_dir_clear(&dir);
    messages_arrive(abstract_name());
}

static void without_a_manager_nothing_is_sent(void **state)
{
    (void)state;
    static const char *const NAMES[] = {NULL, ""};
    for (size_t i = 0; i < sizeof NAMES / sizeof *NAMES; i++) {
        if (NAMES[i]) setenv("NOTIFY_SOCKET", NAMES[i], 1);
        native_notify n;
        assert_int_equal(native_notify_open(&n, NULL), YL_OK);
        native_notify_ready(&n);
        native_notify_watchdog(&n, 0, true);
        native_notify_close(&n);
    }
}

static void a_socket_that_cannot_be_used_is_told(void **state)
{
    (void)state;
    char long_name[200];
    memset(long_name, 'x', sizeof long_name);
    long_name[0] = '/';
    long_name[sizeof long_name - 1] = 0;
    const struct {
        const char *name;
        yl_status status;
    } CASES[] = {{"vsock:2:1", YL_EINVAL}, {"notify", YL_EINVAL}, {long_name, YL_EINVAL}, {"/nowhere/notify", YL_EIO}};
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        setenv("NOTIFY_SOCKET", CASES[i].name, 1);
        native_notify n;
        yl_error err = {0};
        assert_int_equal(native_notify_open(&n, &err), CASES[i].status);
        assert_non_null(strstr(err.msg, "NOTIFY_SOCKET"));
        native_notify_ready(&n);
        native_notify_close(&n);
    }
}

static void the_interval_is_half_of_what_the_manager_waits(void **state)
{
    (void)state;
    char own_pid[32];
    snprintf(own_pid, sizeof own_pid, "%ld", (long)getpid());
    const struct {
        const char *usec, *pid;
        uint64_t interval_ms;
    } CASES[] = {{NULL, NULL, 0},
                 {"30000000", NULL, 15000},
                 {"30000000", own_pid, 15000},
                 {"30000000", "1", 0},
                 {"30000000", "", 0},
                 {"0", NULL, 0},
                 {"1", NULL, 1},
                 {"-5", NULL, 0},
                 {"5x", NULL, 0},
                 {"", NULL, 0},
                 {"99999999999999999999999", NULL, 0}};
    int fd = begin_managing();
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        set_watchdog(CASES[i].usec, CASES[i].pid);
        native_notify n;
        assert_int_equal(native_notify_open(&n, NULL), YL_OK);
        if (n.interval_ms != CASES[i].interval_ms) fail_msg("case %zu: every %lu ms", i, (unsigned long)n.interval_ms);
        native_notify_close(&n);
    }
    close(fd);
}

static void signs_of_life_are_sent_while_the_work_moves(void **state)
{
    (void)state;
    native_notify n;
    int fd = begin_watching(&n);
    const struct {
        uint64_t now_ms;
        bool has_moved, is_sent;
    } CALLS[] = {{5000, true, true},   {5500, true, false},  {5999, false, false}, {6000, false, true}, /* it moved at 5500 */
                 {6500, false, false}, {7000, false, false}, {9000, false, false}, {9500, true, true},  {10000, false, false}};
    for (size_t i = 0; i < sizeof CALLS / sizeof *CALLS; i++) {
        native_notify_watchdog(&n, CALLS[i].now_ms, CALLS[i].has_moved);
        expect(fd, CALLS[i].is_sent ? "WATCHDOG=1" : NULL);
    }
    native_notify_close(&n);
    close(fd);
}

/* A manager that does not read must not stop the worker for long, and hears of it once it reads again. */
static void a_manager_that_does_not_read(void **state)
{
    (void)state;
    native_notify n;
    int fd = begin_watching(&n);
    int flags = MSG_DONTWAIT, n_queued = 0;
    while (n_queued < 10000 && send(n.fd, "X=1", 3, flags) == 3) n_queued++;
    assert_in_range(n_queued, 1, 9999);
    struct timespec from, to;
    clock_gettime(CLOCK_MONOTONIC, &from);
    native_notify_watchdog(&n, 5000, true);
    clock_gettime(CLOCK_MONOTONIC, &to);
    assert_true((double)(to.tv_sec - from.tv_sec) + (double)(to.tv_nsec - from.tv_nsec) * 1e-9 < 5);
    while (n_queued--) expect(fd, "X=1");
    expect(fd, NULL);
    native_notify_watchdog(&n, 5001, false);
    expect(fd, "WATCHDOG=1");
    native_notify_close(&n);
    close(fd);
}

/* ---- the compute thread ---- */

typedef struct gate {
    sem_t entered, open;
} gate;

/* Called on the compute thread by a STATS frame: hangs there until the gate opens. */
static uint64_t hang(void *ctx, uint64_t *peak)
{
    gate *g = ctx;
    sem_post(&g->entered);
    sem_wait(&g->open);
    *peak = 0;
    return 0;
}

static uint64_t count(void *ctx)
{
    (void)ctx;
    return 0;
}

/* Within ten seconds has_moved says this, and then again. */
static void expect_moved(native_compute *c, bool moved)
{
    for (int i = 0; i < 10000; i++) {
        if (native_compute_has_moved(c) == moved && native_compute_has_moved(c) == moved) return;
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
    fail_msg("the thread %s", moved ? "seems to hang" : "seems to move");
}

static void a_thread_that_hangs_does_not_move(void **state)
{
    (void)state;
    gate g;
    sem_init(&g.entered, 0, 0);
    sem_init(&g.open, 0, 0);
    letter_pool *letters;
    mailbox *in, *out;
    native_compute *c;
    assert_int_equal(letter_pool_new(&letters, NULL), YL_OK);
    assert_int_equal(mailbox_new(&in, MAILBOX_WAITED_FOR, NULL), YL_OK);
    assert_int_equal(mailbox_new(&out, MAILBOX_POLLED, NULL), YL_OK);
    worker_env env = {.alloc = allocator_heap(), .kernels = kernels_best(), .counter = count, .counter_ctx = &g, .resident = hang};
    assert_int_equal(native_compute_start(&c, &env, letters, in, out, NULL), YL_OK);
    expect_moved(c, true); /* it has nothing to do */

    frame_bytes bytes = {0};
    assert_int_equal(frame_encode(&bytes, &(frame){.kind = FRAME_STATS}, NULL), YL_OK);
    letter *l = letter_new(letters, LETTER_MESSAGE);
    assert_non_null(l);
    assert_int_equal(zmq_msg_init_size(&l->msg, bytes.n), 0);
    memcpy(zmq_msg_data(&l->msg), bytes.data, bytes.n);
    l->has_msg = true;
    frame_bytes_clear(&bytes);
    mailbox_push(in, l);
    sem_wait(&g.entered);
    expect_moved(c, false);
    sem_post(&g.open);
    expect_moved(c, true);

    native_compute_stop(c);
    mailbox_free(in);
    mailbox_free(out);
    letter_pool_free(letters);
    sem_destroy(&g.entered);
    sem_destroy(&g.open);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(messages_arrive_at_a_path_and_at_an_abstract_name, forget_manager),
        cmocka_unit_test_setup(without_a_manager_nothing_is_sent, forget_manager),
        cmocka_unit_test_setup(a_socket_that_cannot_be_used_is_told, forget_manager),
        cmocka_unit_test_setup(the_interval_is_half_of_what_the_manager_waits, forget_manager),
        cmocka_unit_test_setup(signs_of_life_are_sent_while_the_work_moves, forget_manager),
        cmocka_unit_test_setup(a_manager_that_does_not_read, forget_manager),
        cmocka_unit_test(a_thread_that_hangs_does_not_move),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
