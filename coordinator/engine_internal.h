/* engine_internal.h: the state of an engine, shared by engine.c (calls), engine_open.c (from options to a chain that is ready),
 * engine_join.c (workers of other machines), engine_place.c (which of them gets what), engine_failover.c (workers that are lost)
 * and engine_replay.c (a chain that lost what it held). */
#ifndef YL_ENGINE_INTERNAL_H
#define YL_ENGINE_INTERNAL_H

#include <stdatomic.h>

#include "cluster.h"
#include "credit.h"
#include "engine.h"
#include "local_workers.h"
#include "model_costs.h"
#include "pipeline.h"
#include "weight_hashes.h"

enum { ENGINE_MAX_REPLAYS = 3 }; /* within a minute */

/* A stage of the chain. */
typedef struct stage {
    char name[FRAME_MAX_NAME + 1];
    int worker; /* its place in the cluster, -1: it has not said HELLO, or is lost */
    char why_lost[CLUSTER_WHY_BYTES];
    slice_range range;
    frame_tensor *tensors;       /* [n_tensors] of its slice, as ASSIGN lists them */
    const gguf_tensor **sources; /* [n_tensors] the same, in the model file */
    uint32_t n_tensors;
    uint64_t weight_bytes, sent_bytes;
    bool is_ready;
    frame_ready ready;
    uint64_t stats_id; /* of the STATS that it owes us; 0: none */
    frame_stats stats;
    uint64_t stats_ms, stats_asked_ms; /* when they came (0: never in this wiring), and when they were asked for */
} stage;

/* A FORWARD that is on its way. */
typedef struct turn {
    uint64_t id, sent_ns;
} turn;

/* Who hears the answers of a request. */
typedef struct listener {
    engine_answer_fn *on_answer; /* NULL: nobody */
    void *ctx;
} listener;

struct engine {
    engine_options o;
    const gguf *model;
    gguf *own_model; /* the same, if the engine opened it */
    hparams hp;
    uint8_t model_id[FRAME_ID_BYTES];
    uint32_t n_ctx;
    local_workers *locals; /* NULL: workers join */
    weight_hashes *hashes; /* of the model, for those that join; NULL: none */
    cluster *cluster;
    pipeline *pipeline;
    credit credit;
    uint64_t epoch;
    uint64_t assigned_ms; /* when it began */
    model_costs costs;    /* where workers join: for their placement */
    stage *stages;        /* [max_stages] */
    uint32_t n_stages;    /* 0: workers are still waited for */
    uint32_t max_stages;
    bool was_ready; /* the chain has worked once: what a worker then refuses is its own fault */
    atomic_bool is_canceled;
    yl_error broken;     /* status YL_OK while the chain works; else why it does not */
    uint64_t checked_ms; /* when local processes were last looked at */

    bool is_lost;                         /* the chain must be wired anew before it is used */
    yl_error loss;                        /* why, until it was told */
    uint64_t lost_ms[ENGINE_MAX_REPLAYS]; /* ring: when the last losses were */
    uint32_t n_losses;

    listener *listeners; /* [n_seq] of the requests */
    listener awaiting;   /* of a LOGITS */
    uint64_t awaited_id; /* of a LOGITS or SEQ; 0: none, or it came back */
    yl_error unheard;    /* the first failure of a listener, until the call that waits returns it; the chain is whole */
    uint64_t n_results;  /* handled, ever */
    uint64_t moved_ms;   /* when rows last left, or came back */
    float *row;          /* [n_vocab or n_embd, the larger] an answer that comes in pieces */

    turn *turns; /* [n_turns_kept] at id % n_turns_kept; one that another has overwritten is not timed */
    uint32_t n_turns_kept;
    uint64_t n_turns, turn_ns;  /* that came back, and how long they were away in all */
    frame_chain_stage *watched; /* [max_stages] of the last answer to a CHAIN */
};

/* Waits up to wait_ms for frames and handles them; notices workers that ended. YL_EREPLAY: engine_recover is due. */
yl_status engine_pump(engine *e, uint32_t wait_ms, yl_error *err);

/* The stage whose worker this is; NULL: none (worker < 0: nobody's). */
stage *engine_stage_of_worker(engine *e, int worker);

/* A line for the user (on_note), and one for the caller's log. */
void engine_note(const engine *e, const char *format, ...) __attribute__((format(printf, 2, 3)));
void engine_log(const engine *e, engine_log_level level, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* engine_watch.c: what `yllama top` sees. Room for it; clocks for FORWARDs; the answer to a CHAIN (cluster_handlers.on_question).
 */
yl_status engine_watch_init(engine *e, yl_error *err);
void engine_watch_clear(engine *e);
void engine_watch_sent(engine *e, uint64_t id, uint64_t now_ns);
void engine_watch_returned(engine *e, uint64_t id, uint64_t now_ns);
void engine_watch_answer(void *ctx, const frame *question, frame *answer);

/* engine_replay.c: YL_EPEER when this is one loss too many within a minute. */
yl_status engine_count_loss(engine *e, const yl_error *cause, yl_error *err);
/* Notes that a stage lost what it held. YL_EREPLAY; or YL_EPEER, when that happens too often. */
yl_status engine_lose(engine *e, const yl_error *cause, yl_error *err);
/* Wires the chain anew if it must be; the pipeline then feeds again what was lost. YL_ECANCELED: the next call tries again. */
yl_status engine_recover(engine *e, yl_error *err);

/* engine_failover.c: a worker is out of the cluster. YL_EREPLAY when it was a stage; YL_EPEER, final, when it was a local one. */
yl_status engine_lose_worker(engine *e, uint32_t worker, const char *why, yl_error *err);
/* A stage does what it must not: it is out, too, or (local workers, or the chain never worked) that is final. Counts as a loss. */
yl_status engine_lose_stage(engine *e, stage *s, const yl_error *cause, yl_error *err);
/* Every stage gets a worker again. May wait, and may change n_stages. */
yl_status engine_fill_chain(engine *e, yl_error *err);

/* engine_open.c: begins a new epoch: gives every stage its slice; then waits until all are ready. */
yl_status engine_assign(engine *e, yl_error *err);
yl_status engine_wait_until_ready(engine *e, yl_error *err);
/* Handles frames for a moment. YL_ECANCELED: the user has enough. */
yl_status engine_wait_a_moment(engine *e, yl_error *err);
/* Cuts the model into n equal parts, ranges: [n]. */
yl_status engine_cut_evenly(const engine *e, slice_range *ranges, uint32_t n, yl_error *err);
/* Writes the tensors of its slice into a stage. */
yl_status engine_list_tensors(const engine *e, stage *s, yl_error *err);
/* Answers WANT. */
yl_status engine_send_chunk(engine *e, stage *s, const frame_want_chunk *want, yl_error *err);

/* engine_join.c: waits until o.n_join workers have joined, and makes stages of them. */
yl_status engine_gather(engine *e, yl_error *err);

/* engine_place.c: what can be said before a worker is there: the model's costs, and what is wrong with o.layers. */
yl_status engine_places_prepare(engine *e, yl_error *err);
/* Who of the workers that are here gets which part. is_first: o.layers holds. YL_ENOMEM: the model does not fit them. Valid until
 * the next poll; free with engine_places_free. */
typedef struct engine_places engine_places;
yl_status engine_places_find(engine_places **out, const engine *e, bool is_first, yl_error *err);
void engine_places_free(engine_places *p);
uint32_t engine_places_n_stages(const engine_places *p);
/* Makes them the stages, and says who stands by and why. */
yl_status engine_places_take(engine *e, const engine_places *p, yl_error *err);
/* Has the worker at this place of the cluster the memory for a slice? */
bool engine_worker_fits(const engine *e, uint32_t worker, const slice_range *r);

#endif
