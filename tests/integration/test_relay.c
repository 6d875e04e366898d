/* test_relay.c: the slow link that other tests and benches use is as slow as it says, and loses nothing. */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <netinet/tcp.h>
#include <poll.h>

#include "expect_child.h"

#define RELAY YLLAMA_BIN_DIR "/relay"

/* A relay, and a connection through it: ours is the near end, `far` the one that it made. */
typedef struct rig {
    child relay;
    int listening, near, far;
    uint16_t port; /* of the relay */
} rig;

static double now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec * 1e-6;
}

static struct sockaddr_in local(uint16_t port)
{
    return (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
}

static int connect_to(uint16_t port)
{
    struct sockaddr_in a = local(port);
    int yes = 1, fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    return fd;
}

static void start(rig *r, const char *delay, const char *rate)
{
    struct sockaddr_in a = local(0);
    socklen_t n = sizeof a;
    char from[32], to[32];
    r->listening = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(r->listening, (struct sockaddr *)&a, n), 0);
    assert_int_equal(listen(r->listening, 8), 0);
    assert_int_equal(getsockname(r->listening, (struct sockaddr *)&a, &n), 0);
    r->port = free_port();
    snprintf(from, sizeof from, "127.0.0.1:%u", r->port);
    snprintf(to, sizeof to, "127.0.0.1:%u", ntohs(a.sin_port));
    const char *argv[] = {RELAY, "--delay", delay, "--rate", rate, "--jitter", "1ms", "--listen", from, "--to", to, NULL};
    assert_true(child_start(&r->relay, argv, NULL, "/tmp"));
    expect_words(&r->relay, "ready");
    r->near = connect_to(r->port);
    r->far = accept(r->listening, NULL, NULL);
    assert_true(r->far >= 0);
}

static int set_up(void **state)
{
    *state = calloc(1, sizeof(rig));
    return *state ? 0 : -1;
}

static int tear_down(void **state)
{
    rig *r = *state;
    child_end(&r->relay);
    close(r->near);
    close(r->far);
    close(r->listening);
    free(r);
    return 0;
}

/* Does something come within ms? */
static bool comes(int fd, int ms)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    return poll(&p, 1, ms) == 1;
}

static void send_byte(int fd, char byte)
{
    assert_int_equal(write(fd, &byte, 1), 1);
}

static char receive_byte(int fd)
{
    char byte;
    assert_true(comes(fd, PATIENCE_MS));
    assert_int_equal(read(fd, &byte, 1), 1);
    return byte;
}

static void both_ways_take_their_time(void **state)
{
    rig *r = *state;
    start(r, "20ms", "0");
    double least = 1e9;
    for (int i = 0; i < 5; i++) {
        double begin = now_ms();
        send_byte(r->near, 'a');
        assert_int_equal(receive_byte(r->far), 'a');
        double there = now_ms() - begin;
        assert_true(there >= 18.9); /* 20 ms less jitter of one */
        send_byte(r->far, 'b');
        assert_int_equal(receive_byte(r->near), 'b');
        double both = now_ms() - begin;
        assert_true(both >= there + 18.9);
        if (both < least) least = both;
    }
    assert_true(least < 400); /* the best of five, on a machine that does other things, too */
}

/* Sends a megabyte, and reads and checks it at the other end as it comes. Returns how long that took. */
static double carry_a_megabyte(rig *r)
{
    enum { N = 1 << 20 };
    static unsigned char out[N], in[N];
    for (size_t i = 0; i < N; i++) out[i] = (unsigned char)(i * 31 + i / 251);
    double begin = now_ms();
    for (size_t sent = 0, got = 0; got < N;) {
        ssize_t n = sent < N ? send(r->near, out + sent, N - sent, MSG_DONTWAIT) : 0;
        assert_true(n >= 0 || errno == EAGAIN);
        if (n > 0) sent += (size_t)n;
        while (got < N && comes(r->far, sent < N ? 1 : PATIENCE_MS)) {
            n = read(r->far, in + got, N - got);
            assert_true(n > 0);
            got += (size_t)n;
        }
    }
    double ms = now_ms() - begin;
    assert_memory_equal(in, out, N);
    return ms;
}

static void bytes_take_their_time_and_keep_their_order(void **state)
{
    rig *r = *state;
    start(r, "5ms", "40mbit"); /* 5 MB/s: 210 ms */
    double ms = carry_a_megabyte(r);
    assert_true(ms > 190);
    assert_true(ms < 10000);
}

static void without_a_rate_they_take_none(void **state)
{
    rig *r = *state;
    start(r, "0", "0");
    assert_true(carry_a_megabyte(r) < 10000);
}

/* Who sends to somebody that does not read is held up before the relay's memory grows without end. */
static void what_nobody_reads_is_not_read(void **state)
{
    rig *r = *state;
    static const char bytes[1 << 16];
    start(r, "0", "0");
    size_t sent = 0;
    for (struct pollfd p = {.fd = r->near, .events = POLLOUT}; poll(&p, 1, 500) == 1;) {
        ssize_t n = send(r->near, bytes, sizeof bytes, MSG_DONTWAIT);
        assert_true(n > 0);
        sent += (size_t)n;
        assert_true(sent < 64u << 20); /* 8 MiB, and what the system's sockets hold */
    }
}

static void a_cut_link_keeps_what_it_has_and_a_restored_one_delivers_it(void **state)
{
    rig *r = *state;
    start(r, "1ms", "0");
    send_byte(r->near, 'a');
    assert_int_equal(receive_byte(r->far), 'a');
    kill(r->relay.pid, SIGUSR1);
    pause_ms(50);
    send_byte(r->near, 'b');
    assert_false(comes(r->far, 200)); /* neither the byte nor an end */
    kill(r->relay.pid, SIGUSR2);
    assert_int_equal(receive_byte(r->far), 'b');
}

static void connections_close_when_it_is_told_to_and_new_ones_come(void **state)
{
    rig *r = *state;
    char byte;
    start(r, "1ms", "0");
    kill(r->relay.pid, SIGHUP);
    assert_true(comes(r->near, PATIENCE_MS) && comes(r->far, PATIENCE_MS));
    assert_true(read(r->near, &byte, 1) <= 0 && read(r->far, &byte, 1) <= 0);
    close(r->near);
    close(r->far);
    r->near = connect_to(r->port);
    r->far = accept(r->listening, NULL, NULL);
    send_byte(r->far, 'c');
    assert_int_equal(receive_byte(r->near), 'c');
}

static void an_end_comes_after_the_bytes_before_it(void **state)
{
    rig *r = *state;
    char byte;
    start(r, "20ms", "0");
    send_byte(r->near, 'a');
    shutdown(r->near, SHUT_WR);
    assert_int_equal(receive_byte(r->far), 'a');
    assert_true(comes(r->far, PATIENCE_MS));
    assert_int_equal(read(r->far, &byte, 1), 0);
    send_byte(r->far, 'b'); /* the way back is still open */
    assert_int_equal(receive_byte(r->near), 'b');
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(both_ways_take_their_time, set_up, tear_down),
        cmocka_unit_test_setup_teardown(bytes_take_their_time_and_keep_their_order, set_up, tear_down),
        cmocka_unit_test_setup_teardown(without_a_rate_they_take_none, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_nobody_reads_is_not_read, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_cut_link_keeps_what_it_has_and_a_restored_one_delivers_it, set_up, tear_down),
        cmocka_unit_test_setup_teardown(connections_close_when_it_is_told_to_and_new_ones_come, set_up, tear_down),
        cmocka_unit_test_setup_teardown(an_end_comes_after_the_bytes_before_it, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
