/* session.h: what the commands that need a model have in common: a model file that is understood, and workers that answer.
 *
 * The model file and the text are read first, alone: whatever is wrong with them or with the flags is said before a worker starts
 * and before gigabytes are loaded. Then workers load while the tokenizer is made and the prompt is cut into tokens. */
#ifndef YL_SESSION_H
#define YL_SESSION_H

#include "console.h"
#include "drafter.h"
#include "engine.h"
#include "options.h"
#include "sampler.h"
#include "tokenizer.h"

typedef struct session {
    const options *o;
    console *con;
    gguf *g;
    hparams hp;
    tokenizer *t;
    uint32_t n_ctx;  /* positions that the engine has, or will have */
    uint32_t n_seq;  /* sequences likewise; 0: 1 */
    uint64_t seed;   /* the one asked for, or a random one */
    engine *e;       /* NULL before session_begin */
    cluster_key key; /* if has_key: that workers of other machines must know */
    bool has_key;
} session;

/* The cluster's key from --key or --key-file, wiped on the command line once it is read: the list of processes shows it no longer.
 * Wipe *key with cluster_key_wipe. */
yl_status session_read_key(cluster_key *key, bool *has_key, const options *o, yl_error *err);

/* Reads the model file that the options name: hyperparameters and tokenizer. Close with session_close, also after an error.
 * YL_EINVAL: no model is named. */
yl_status session_open(session *s, const options *o, console *con, yl_error *err);

/* The same in two steps, for commands that know their context by then: the model file without its tokenizer; then starts the
 * workers that the options ask for, with a context of s->n_ctx positions, and makes the tokenizer while they load. From here on an
 * interrupt cancels, and nothing may take longer than the workers' patience (--timeout) before session_start. */
yl_status session_open_model(session *s, const options *o, console *con, yl_error *err);
yl_status session_begin(session *s, yl_error *err);

/* Waits until the workers are ready; starts them first if session_begin did not. */
yl_status session_start(session *s, yl_error *err);

/* Stops the workers again: s->e is NULL then. */
void session_stop(session *s);

void session_close(session *s);

/* A sampler as the options want it. YL_EINVAL: settings that cannot be meant. Free with sampler_free. */
yl_status session_new_sampler(const session *s, sampler **out, yl_error *err);

/* A drafter as the options want it; *out is NULL if they want none. YL_EINVAL: a kind that there is not. Free with drafter_free. */
yl_status session_new_drafter(const session *s, drafter **out, yl_error *err);

/* YL_ELIMIT, with the way out, if a prompt of n tokens does not fit the context. YL_EINVAL if n is 0. */
yl_status session_check_prompt(const session *s, size_t n, yl_error *err);

/* Puts the model's path in front of an error's message, unless it is there already. */
void session_name_model(const char *path, yl_error *err);

#endif
