/* cmd_keygen.c: `yllama keygen`: a key for workers on other machines, and on a terminal what to do with it. */
#include "cluster_key.h"
#include "command.h"

yl_status cmd_keygen(const options *o, console *c, yl_error *err)
{
    (void)o;
    char key[CLUSTER_KEY_TEXT_BYTES];
    yl_status status = cluster_key_generate(key, err);
    if (status) return status;
    console_print(c, "%s\n", key);
    if (c->is_terminal_out && c->is_terminal_err)
        console_note(c,
                     "on each machine:  yllama-worker --connect tcp://HOST:7620 --key %s\n"
                     "on HOST:          yllama run -m model.gguf --workers N --key %s -p \"...\"",
                     key, key);
    cluster_key_wipe(key, sizeof key);
    return console_check(c, err);
}
