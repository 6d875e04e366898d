/* expect_child.h: what tests expect of the processes that they start, and how long they wait for it. */
#ifndef YL_EXPECT_CHILD_H
#define YL_EXPECT_CHILD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "child.h"

enum { PATIENCE_MS = 60000, CHILD_MAX_ARGS = 64 };

/* Ends what the child was, and starts a program with these arguments (the last one NULL; none: NULL) and then those of the list
 * (the last one NULL). */
static inline void start_child(child *c, const char *tmp_dir, const char *program, const char *const *first, va_list more)
{
    const char *argv[CHILD_MAX_ARGS + 1] = {program};
    size_t n = 1;
    for (; first && *first && n < CHILD_MAX_ARGS; first++) argv[n++] = *first;
    while (n < CHILD_MAX_ARGS && (argv[n] = va_arg(more, const char *))) n++;
    assert_null(argv[n]); /* else there are more */
    child_end(c);
    assert_true(child_start(c, argv, NULL, tmp_dir));
}

/* It ends with this exit code, and has said these words (NULL: any). */
static inline void expect_end(child *c, int code, const char *words)
{
    if (!child_wait(c, PATIENCE_MS)) fail_msg("it does not end: %s", c->err);
    if (c->exit_code != code) fail_msg("exit code %d, not %d: %s", c->exit_code, code, c->err);
    if (words && !strstr(c->err, words)) fail_msg("'%s' does not say '%s'", c->err, words);
}

static inline void expect_words(child *c, const char *words)
{
    if (!child_wait_for_words(c, words, PATIENCE_MS)) fail_msg("'%s' does not say '%s'", c->err, words);
}

static inline void pause_ms(long ms)
{
    struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L};
    nanosleep(&t, NULL);
}

/* A port of 127.0.0.1 where nobody listens just now. */
static inline uint16_t free_port(void)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t n = sizeof a;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&a, n), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &n), 0);
    close(fd);
    return ntohs(a.sin_port);
}

#endif
