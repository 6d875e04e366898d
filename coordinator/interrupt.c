/* interrupt.c: the one place with process-wide state, because signals are process-wide. */
#include "interrupt.h"

#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

static engine *_Atomic current;
static volatile sig_atomic_t mode, n_interrupts, is_final;

static void end_at_once(void)
{
    if (isatty(STDERR_FILENO)) (void)!write(STDERR_FILENO, "\n", 1);
    _exit(EXIT_INTERRUPTED);
}

static void on_signal(int number)
{
    n_interrupts++;
    if (number != SIGINT) is_final = 1;
    if (mode == INTERRUPT_IS_REMEMBERED && number == SIGINT) return;
    if (mode == INTERRUPT_ENDS || n_interrupts > 1) end_at_once();
    engine *e = atomic_load(&current);
    if (e) engine_cancel(e);
}

/* A signal that whoever started us had ignored (nohup, a job in the background) stays ignored. */
static void handle(int number, void (*handler)(int))
{
    struct sigaction action, before;
    if (sigaction(number, NULL, &before) == 0 && before.sa_handler == SIG_IGN) return;
    memset(&action, 0, sizeof action);
    sigemptyset(&action.sa_mask);
    action.sa_handler = handler; /* without SA_RESTART: a read from the terminal ends */
    sigaction(number, &action, NULL);
}

void interrupt_install(void)
{
    handle(SIGINT, on_signal);
    handle(SIGTERM, on_signal);
    handle(SIGHUP, on_signal);
    handle(SIGPIPE, SIG_IGN);
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
