/* interrupt.h: Ctrl-C, and a polite request to end.
 *
 * What a first SIGINT, SIGTERM or SIGHUP does depends on what the program is doing: without workers it ends at once; while an
 * engine works, the engine's call returns YL_ECANCELED and the program ends in order; while a person types, SIGINT is remembered
 * and ends the read. A second one before the first was dealt with ends the program at once, and local workers with it. */
#ifndef YL_INTERRUPT_H
#define YL_INTERRUPT_H

#include <stdbool.h>

#include "engine.h"

enum { EXIT_INTERRUPTED = 130 };

/* Installs the handlers, and ignores SIGPIPE (writes then fail with EPIPE). Before a program does anything else. */
void interrupt_install(void);

typedef enum interrupt_mode {
    INTERRUPT_ENDS,         /* the program ends at once; the mode at the beginning */
    INTERRUPT_CANCELS,      /* the engine (if there is one already) is canceled */
    INTERRUPT_IS_REMEMBERED /* SIGINT: nothing but that; the others as in INTERRUPT_CANCELS */
} interrupt_mode;
void interrupt_set_mode(interrupt_mode mode);

/* The engine to be canceled from now on; NULL: none. */
void interrupt_set_engine(engine *e);

/* Was there an interrupt since the last interrupt_forget? Was there ever a SIGTERM or SIGHUP, which are meant for the whole
 * program? */
bool interrupt_came(void);
bool interrupt_is_final(void);
void interrupt_forget(void);

#endif
