/* test_notify.c: what the service manager hears from a real worker while a coordinator comes and goes. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>

#include "child.h"
#include "model_maker.h"
#include "scratch_dir.h"

enum { PATIENCE_MS = 60000 };

static long now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000L + t.tv_nsec / 1000000L;
}

/* The next message, at most so late. False: none came. */
static bool hear(int fd, char message[512], int ms)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    if (poll(&p, 1, ms) <= 0) return false;
    ssize_t n = recv(fd, message, 511, 0);
    assert_true(n > 0);
    message[n] = 0;
    return true;
}

/* The next message that is no sign of life begins with this. */
static void expect(int fd, const char *words)
{
    char message[512];
    for (long deadline = now_ms() + PATIENCE_MS; now_ms() < deadline;) {
        if (!hear(fd, message, PATIENCE_MS)) break;
        if (!strcmp(message, "WATCHDOG=1")) continue;
        if (strncmp(message, words, strlen(words)) != 0) fail_msg("'%s' came, and not '%s'", message, words);
        return;
    }
    fail_msg("'%s' did not come", words);
}

static void expect_sign_of_life(int fd)
{
    char message[512];
    if (!hear(fd, message, PATIENCE_MS)) fail_msg("no sign of life came");
    assert_string_equal(message, "WATCHDOG=1");
}

static void a_worker_tells_its_service_manager_how_it_is(void **state)
{
    (void)state;
    scratch_dir dir;
    assert_true(scratch_dir_init(&dir));
    char model[SCRATCH_PATH_BYTES], control[SCRATCH_PATH_BYTES], address[SCRATCH_PATH_BYTES + 8];
    snprintf(address, sizeof address, "tcp://127.0.0.1:%d", 20000 + getpid() % 20000);
    model_spec spec = model_spec_default();
    spec.hp.n_layer = 4;
    yl_error err = {0};
    if (model_maker_write(scratch_dir_path(&dir, model, "m.gguf"), &spec, &err)) fail_msg("%s", err.msg);

    struct sockaddr_un a = {.sun_family = AF_UNIX};
    snprintf(a.sun_path, sizeof a.sun_path, "%s", scratch_dir_path(&dir, control, "notify"));
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof a), 0);
    setenv("NOTIFY_SOCKET", control, 1);
    setenv("WATCHDOG_USEC", "2000000", 1);
    static child worker, coordinator;
    const char *worker_args[] = {YLLAMA_BIN_DIR "/yllama-worker", "--connect", address, "-t", "1", NULL};
    assert_true(child_start(&worker, worker_args, NULL, dir.path));
    unsetenv("NOTIFY_SOCKET");
    unsetenv("WATCHDOG_USEC");
    expect(fd, "READY=1");
    expect(fd, "STATUS=waiting for tcp://127.0.0.1:");
    expect_sign_of_life(fd);
    expect_sign_of_life(fd);

    const char *run_args[] = {
        YLLAMA_BIN_DIR "/yllama", "run", "-m", model, "--workers", "1", "--listen", address, "-p", "abc", "-n", "-1",
        "--ignore-eos",           NULL};
    assert_true(child_start(&coordinator, run_args, NULL, dir.path));
    expect(fd, "STATUS=joined tcp://127.0.0.1:");
    expect(fd, "STATUS=loading embedding, layers 0-3, head for tcp://127.0.0.1:");
    expect(fd, "STATUS=serving embedding, layers 0-3, head for tcp://127.0.0.1:");
    assert_true(child_wait_for_output(&coordinator, 20, PATIENCE_MS));
    kill(coordinator.pid, SIGINT);
    assert_true(child_wait(&coordinator, PATIENCE_MS));
    expect(fd, "STATUS=waiting for tcp://127.0.0.1:");
    kill(worker.pid, SIGTERM);
    expect(fd, "STOPPING=1");
    assert_true(child_wait(&worker, PATIENCE_MS));
    assert_int_equal(worker.exit_code, 0);
    child_end(&worker);
    child_end(&coordinator);
    close(fd);
    scratch_dir_clear(&dir);
}

/* Without a manager's socket there, it works all the same. */
static void a_manager_that_is_gone_is_told_in_the_log(void **state)
{
    (void)state;
    scratch_dir dir;
    assert_true(scratch_dir_init(&dir));
    static child worker;
    setenv("NOTIFY_SOCKET", "/nowhere/notify", 1);
    const char *args[] = {YLLAMA_BIN_DIR "/yllama-worker", "--connect", "tcp://127.0.0.1:1", NULL};
    assert_true(child_start(&worker, args, NULL, dir.path));
    unsetenv("NOTIFY_SOCKET");
    assert_true(child_wait_for_words(&worker, "/nowhere/notify (in $NOTIFY_SOCKET)", PATIENCE_MS));
    assert_true(child_wait_for_words(&worker, "looks for the coordinator", PATIENCE_MS));
    child_end(&worker);
    scratch_dir_clear(&dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_worker_tells_its_service_manager_how_it_is),
        cmocka_unit_test(a_manager_that_is_gone_is_told_in_the_log),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
