/* option_help.c: the table of flags as text for a person, in two columns. */
#include <string.h>

#include "option_table.h"
#include "options.h"

enum { N_COLUMNS = 100, HELP_COLUMN = 34 };

static const char *const group_titles[GROUP_END] = {
    [GROUP_INPUT] = "Input",       [GROUP_OUTPUT] = "Output",
    [GROUP_SAMPLING] = "Sampling", [GROUP_MODEL] = "Context and memory",
    [GROUP_WORKERS] = "Workers",   [GROUP_BENCH] = "What to measure: all combinations of the values",
    [GROUP_OTHER] = "Other",
};

/* Columns that UTF-8 text takes, when every character takes one. */
static int n_columns_of(const char *text)
{
    int n = 0;
    for (; *text; text++) n += ((unsigned char)*text & 0xc0) != 0x80;
    return n;
}

/* Prints text from HELP_COLUMN on, broken at blanks; the cursor is at `column`. */
static void print_wrapped(FILE *f, const char *text, int column)
{
    if (column + 2 > HELP_COLUMN) {
        fputc('\n', f);
        column = 0;
    }
    fprintf(f, "%*s", HELP_COLUMN - column, "");
    for (int at = HELP_COLUMN; *text; text += strspn(text, " ")) {
        int n = (int)strcspn(text, " ");
        bool is_first = at == HELP_COLUMN;
        if (!is_first && at + 1 + n > N_COLUMNS) {
            fprintf(f, "\n%*s", HELP_COLUMN, "");
            at = HELP_COLUMN;
            is_first = true;
        }
        fprintf(f, "%s%.*s", is_first ? "" : " ", n, text);
        at += n + !is_first;
        text += n;
    }
    fputc('\n', f);
}

static void print_flag(FILE *f, const option_spec *spec)
{
    char names[N_COLUMNS + 1];
    size_t n = 0;
    n += (size_t)snprintf(names, sizeof names, "  ");
    for (size_t i = 0; i < OPTION_MAX_NAMES && spec->names[i]; i++)
        n += (size_t)snprintf(names + n, sizeof names - n, "%s%s%s", i ? ", " : "",
                              option_name_is_short(spec->names[i]) ? "-" : "--", spec->names[i]);
    if (spec->negative) n += (size_t)snprintf(names + n, sizeof names - n, ", --%s", spec->negative);
    if (spec->value) snprintf(names + n, sizeof names - n, " %s", spec->value);
    fputs(names, f);
    print_wrapped(f, spec->help, n_columns_of(names));
}

void options_print_flags(FILE *f, command_id command)
{
    for (option_group group = 0; group < GROUP_END; group++) {
        bool has_title = false;
        for (size_t i = 0; i < option_table_n; i++) {
            const option_spec *spec = &option_table[i];
            if (spec->group != group || !(spec->commands & 1u << command)) continue;
            if (!has_title) fprintf(f, "\n%s\n", group_titles[group]);
            has_title = true;
            print_flag(f, spec);
        }
    }
}
