/* command.h: what the program can be told to do. Each command is a file, cmd_<name>.c. */
#ifndef YL_COMMAND_H
#define YL_COMMAND_H

#include <stdio.h>

#include "console.h"
#include "options.h"
#include "status.h"

/* How a command ends, as the exit code says it. */
enum {
    COMMAND_EXIT_OK = 0,
    COMMAND_EXIT_FAILURE = 1,
    COMMAND_EXIT_USAGE = 2,
    COMMAND_EXIT_WORKER = 3,
    COMMAND_EXIT_INTERRUPTED = 130
};
int command_exit_code(yl_status status);

/* Does what the options ask for. What is wrong is said in *err, not printed. */
typedef yl_status command_fn(const options *o, console *c, yl_error *err);
command_fn cmd_run, cmd_chat, cmd_tokenize, cmd_inspect, cmd_logits, cmd_perplexity, cmd_cache, cmd_bench, cmd_plan, cmd_keygen,
    cmd_top;

typedef struct command {
    const char *name;
    command_id id;
    command_fn *run;
    const char *arguments; /* behind the name in usage */
    const char *summary;   /* one line */
    const char *text;      /* help's paragraph */
    const char *examples;  /* one a line */
} command;

extern const command command_table[COMMAND_END];
/* NULL: there is no such command. */
const command *command_find(const char *name);

void command_print_usage(FILE *f);                  /* of the program */
void command_print_help(FILE *f, const command *c); /* of one command */

#endif
