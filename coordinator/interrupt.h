/* interrupt.h: Ctrl-C, and a polite request to end, while an engine works.
 *
 * A first SIGINT or SIGTERM asks the engine to stop: its call returns YL_ECANCELED, and the program ends in order. A second one
 * ends the program at once; local workers end with it. Before there is an engine, the first one ends it, too. */
#ifndef YL_INTERRUPT_H
#define YL_INTERRUPT_H

#include <stdbool.h>

#include "engine.h"

enum { EXIT_INTERRUPTED = 130 };

/* Installs the handlers, and ignores SIGPIPE (writes then fail with EPIPE). Before a program does anything else. */
void interrupt_install(void);

/* The engine to be canceled from now on; NULL: none, an interrupt ends the program. */
void interrupt_set_engine(engine *e);

/* What an interrupt does when there is an engine, but a person is typing: nothing but being remembered (and ending a read). */
typedef enum interrupt_mode { INTERRUPT_CANCELS, INTERRUPT_IS_REMEMBERED } interrupt_mode;
void interrupt_set_mode(interrupt_mode mode);

/* Was there a SIGINT since the last interrupt_forget? And was it, ever, SIGTERM, which is meant for the whole program? */
bool interrupt_came(void);
bool interrupt_is_final(void);
void interrupt_forget(void);

#endif
