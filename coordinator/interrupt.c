/* interrupt.c: the one place with process-wide state, because signals are process-wide. */
#include "interrupt.h"

#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

static engine *_Atomic current;
static volatile sig_atomic_t mode, n_interrupts, is_final;

static void on_signal(int number)
{
    if (number == SIGTERM) is_final = 1;
    n_interrupts++;
    engine *e = atomic_load(&current);
    bool is_patient = mode == INTERRUPT_IS_REMEMBERED && number == SIGINT;
    if (is_patient) return;
    if (!e || n_interrupts > 1) {
        static const char newline = '\n';
        if (isatty(STDERR_FILENO) && write(STDERR_FILENO, &newline, 1) < 0) _exit(EXIT_INTERRUPTED);
        _exit(EXIT_INTERRUPTED);
    }
    engine_cancel(e);
}

void interrupt_install(void)
{
    struct sigaction action;
    memset(&action, 0, sizeof action);
    sigemptyset(&action.sa_mask);
    action.sa_handler = on_signal; /* without SA_RESTART: a read from the terminal ends */
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    action.sa_handler = SIG_IGN;
    sigaction(SIGPIPE, &action, NULL);
}

void interrupt_set_engine(engine *e)
{
    atomic_store(&current, e);
}

void interrupt_set_mode(interrupt_mode m)
{
    mode = (sig_atomic_t)m;
}

bool interrupt_came(void)
{
    return n_interrupts > 0;
}

bool interrupt_is_final(void)
{
    return is_final != 0;
}

void interrupt_forget(void)
{
    n_interrupts = 0;
}
