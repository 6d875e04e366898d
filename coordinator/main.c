/* main.c: `yllama`: finds the command, reads its flags, runs it, and says in one sentence what went wrong. */
#include <locale.h>
#include <stdio.h>
#include <string.h>

#include "command.h"
#include "interrupt.h"
#include "options.h"

static int fail(yl_status status, const yl_error *err)
{
    if (status != YL_ECANCELED) fprintf(stderr, "yllama: %s\n", err->msg);
    return command_exit_code(status);
}

static int run(const command *c, int argc, char **argv)
{
    yl_error err = {0};
    options o;
    yl_status status = options_parse(&o, c->id, argc, argv, &err);
    if (status) {
        fail(status, &err);
        fprintf(stderr, "`yllama help %s` tells its flags.\n", c->name);
        return COMMAND_EXIT_USAGE;
    }
    if (o.help || o.version) {
        if (o.help)
            command_print_help(stdout, c);
        else
            printf("yllama %s\n", YLLAMA_VERSION);
        options_clear(&o);
        return COMMAND_EXIT_OK;
    }
    console con;
    status = console_init(&con, o.verbose, o.log_file, &err);
    if (!status) {
        interrupt_install();
        status = c->run(&o, &con, &err);
        if (status && status != YL_ECANCELED && con.log) fprintf(con.log, "yllama: %s\n", err.msg);
        console_clear(&con);
    }
    options_clear(&o);
    return status ? fail(status, &err) : COMMAND_EXIT_OK;
}

static int unknown_command(const char *name)
{
    const char *names[COMMAND_END];
    for (size_t i = 0; i < COMMAND_END; i++) names[i] = command_table[i].name;
    const char *near = options_nearest(name, names, COMMAND_END);
    if (near)
        fprintf(stderr, "yllama: '%s' is not a command: did you mean %s?\n", name, near);
    else
        fprintf(stderr, "yllama: '%s' is not a command: `yllama help` lists them\n", name);
    return COMMAND_EXIT_USAGE;
}

static int help(const char *name)
{
    const command *c = name ? command_find(name) : NULL;
    if (name && !c) return unknown_command(name);
    if (c)
        command_print_help(stdout, c);
    else
        command_print_usage(stdout);
    return COMMAND_EXIT_OK;
}

int main(int argc, char **argv)
{
    setlocale(LC_CTYPE, ""); /* so that libedit knows UTF-8 */
    if (argc < 2) {
        command_print_usage(stderr);
        return COMMAND_EXIT_USAGE;
    }
    const char *name = argv[1];
    const command *c = command_find(name);
    if (c) return run(c, argc - 1, argv + 1);
    if (strcmp(name, "help") == 0 || strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0) return help(argc > 2 ? argv[2] : NULL);
    if (strcmp(name, "--version") == 0 || strcmp(name, "version") == 0) {
        printf("yllama %s\n", YLLAMA_VERSION);
        return COMMAND_EXIT_OK;
    }
    return unknown_command(name);
}
