/* child.h: a program run by a test: its output, its end, and what it leaves behind. */
#ifndef YL_CHILD_H
#define YL_CHILD_H

#include <stdbool.h>
#include <sys/types.h>

enum { CHILD_OUTPUT_BYTES = 64 << 10 };

typedef struct child {
    pid_t pid;
    int out_fd, err_fd;
    char out[CHILD_OUTPUT_BYTES], err[CHILD_OUTPUT_BYTES]; /* what it wrote so far, NUL-terminated; more is thrown away */
    size_t n_out, n_err;
    int exit_code; /* once it ended: its exit code, or 128 + the signal that ended it */
} child;

/* Starts argv (NULL-terminated) with `input` on its standard input (NULL: none) and TMPDIR set to tmp_dir. False: it cannot be run.
 */
bool child_start(child *c, const char *const *argv, const char *input, const char *tmp_dir);

/* Reads until it has ended and closed its output, or until ms have passed. True: it ended. */
bool child_wait(child *c, int ms);

/* Reads until its standard output holds at least n bytes. False: it ended, or ms passed, before. */
bool child_wait_for_output(child *c, size_t n, int ms);

/* Reads until its standard error holds these words. False: ms passed before. */
bool child_wait_for_words(child *c, const char *words, int ms);

/* Kills it if it still runs. {0}: nothing. */
void child_end(child *c);

/* Process ids of running processes whose command line contains `text`; at most `capacity`. */
int processes_with(const char *text, pid_t *pids, int capacity);
/* Waits until there is none. False: ms passed. */
bool processes_gone(const char *text, int ms);

#endif
