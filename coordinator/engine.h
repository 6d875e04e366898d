/* engine.h: a model, opened over a chain of workers.
 *
 * What a command needs: open a model (workers start or join, get their slices, load them), feed tokens of a sequence, get answers
 * for the rows it wants. The engine owns sockets, worker processes and the pipeline's schedule; it holds no weights. One sequence
 * is fed by engine_eval, which blocks; many at a time by engine_submit and engine_poll. One thread calls; engine_cancel may come
 * from anywhere.
 *
 * A worker that says that it lost what it held (YL_EREPLAY) gets its slice again, and whatever sequences it had is fed again: every
 * call that waits may take longer then, and a line in the log says so, but answers stay the same bits, each given once. When that
 * happens a fourth time within a minute it is final.
 *
 * The same goes for a worker of another machine that is lost: silent for timeout_ms, gone, standing still, or sending what nobody
 * can use. Who stands by and has the memory (a worker that was given nothing, or came later) gets its layers; is nobody there the
 * model is placed anew on those that are left; is none left, one is waited for, 6 x timeout_ms. Losses of this kind are never too
 * many. A worker that comes back stands by. A local worker that is lost is final. */
#ifndef YL_ENGINE_H
#define YL_ENGINE_H

#include "cluster_key.h"
#include "frames.h"
#include "gguf.h"
#include "hparams.h"
#include "status.h"

typedef struct engine engine;

enum { ENGINE_DEFAULT_CTX = 4096, ENGINE_MAX_WORKERS = 256, ENGINE_MAX_STANDBY = 64 };
#define ENGINE_LAYERS_EVEN "even"

/* Severity of a line for the log. */
typedef enum engine_log_level { ENGINE_LOG_ERROR, ENGINE_LOG_WARN, ENGINE_LOG_INFO, ENGINE_LOG_DEBUG } engine_log_level;

typedef struct engine_options {
    const char *model_path; /* for the workers, and for messages */
    const gguf *model;      /* the same file, if it is open already; borrowed until engine_close. NULL: the engine opens it */
    uint32_t n_local;       /* local workers to start; 0: 1 */
    uint32_t n_join;        /* instead, wait for so many workers of other machines; what is said of local ones below is then moot.
                             * At most ENGINE_MAX_STANDBY more stand by */
    const char *listen;     /* where they come to: a tcp address (endpoint.h) */
    bool announce;          /* tell that on the local network (beacon.h) */
    const char *dial;       /* or where they are called: n_join addresses (endpoint_parse_list). Who does not come within timeout_ms
                             * makes engine_begin fail. NULL: they come */
    uint16_t result_port;   /* where the last one sends results, at the same host; 0: any */
    const cluster_key *key; /* that they must know; NULL: none, which only local addresses do without is_insecure */
    bool is_insecure;
    /* Who of them gets what: by their names, as placement_parse takes it; ENGINE_LAYERS_EVEN: equal parts in the order of their
     * names; NULL: what is fastest (of several sequences, n_seq > 1, together) by what they measured, in the memory that they have.
     * One that does not help stands by. After a loss that nobody can fill it is what is fastest. */
    const char *layers;
    const char *worker_program; /* path of yllama-worker */
    uint32_t n_threads;         /* of each local worker; 0: cores / n_local, at least 1 */
    uint32_t n_ctx;             /* positions a sequence; 0: the smaller of the model's and ENGINE_DEFAULT_CTX */
    uint32_t n_seq;             /* sequences at a time; 0: 1 */
    uint32_t n_batch;           /* rows on their way at most (-b) */
    uint32_t n_ubatch;          /* rows of a micro-batch at most (-ub) */
    kv_type type_k, type_v;
    wire_type wire; /* how activations travel between workers */
    frame_load load;
    bool no_cache;         /* local workers keep no weights on disk; with n_join we keep no hashes of the model there */
    const char *cache_dir; /* where that is done; NULL: the default (tile_cache_open) */
    uint64_t cache_size;   /* bytes that they may keep; 0: the default */
    bool stream_weights;   /* workers are not told where the model file is: weights travel to them */
    const char *isa;       /* kernels that local workers use; NULL: the best */
    bool pin;              /* each local worker stays on cores of its own, n_threads of them */
    uint32_t timeout_ms;   /* a worker silent, or standing still, this long is lost; 0: 10,000 */
    bool verbose;          /* workers log what they do */
    const char *log_path;  /* workers' stderr goes there (appended), NULL: to ours */
    /* Lines for the log, and progress of loading in [0, 1] (what: "loading weights", say), also when a worker that lost its weights
     * loads them again; may be NULL. */
    void (*on_log)(void *ctx, engine_log_level level, const char *line);
    void (*on_progress)(void *ctx, const char *what, double fraction);
    void (*on_note)(void *ctx, const char *line); /* who joined, and who is waited for; may be NULL */
    bool (*is_interrupted)(void *ctx); /* asked while workers load: true makes the call fail with YL_ECANCELED; may be NULL */
    void *ctx;
} engine_options;

/* Opens the model, starts workers, gives out slices and waits until all are ready: engine_begin and engine_wait. */
yl_status engine_open(engine **out, const engine_options *options, yl_error *err);

/* The first half: the model is looked at, workers start and are told their slices. They load while the caller does something else;
 * before any other call but engine_close it must call engine_wait. The message of an error names worker and cause; whatever was
 * started is stopped again. */
yl_status engine_begin(engine **out, const engine_options *options, yl_error *err);
/* The second: waits until all workers are ready. Not later than the workers' timeout after engine_begin: they hear nothing in
 * between. After an error only engine_close is left. */
yl_status engine_wait(engine *e, yl_error *err);

/* Shuts local workers down (SHUTDOWN, then SIGTERM, then SIGKILL) and leaves nothing behind. NULL: nothing. */
void engine_close(engine *e);

const hparams *engine_hparams(const engine *e);
uint32_t engine_n_ctx(const engine *e);

/* Called for every answer, in order of rows; views are valid during the call. `row` in the answer counts from the first token of
 * the request. Anything but YL_OK gives the request up: the call that waits returns that status, and *err as the callback left it.
 * It must not call the engine. */
typedef yl_status engine_answer_fn(void *ctx, const frame_answer *answer, yl_error *err);

/* Tokens to be fed at positions [pos, pos + n) of sequence seq, after truncating it to pos. The arrays are borrowed until the
 * request is done. */
typedef struct engine_request {
    uint32_t seq, pos;
    const int32_t *tokens; /* [n] */
    size_t n;
    const frame_want *wants; /* [n_wants] rows ascending, counted within `tokens` */
    size_t n_wants;
    engine_answer_fn *on_answer; /* NULL: answers are of no interest */
    void *ctx;
} engine_request;

/* Queues a request and returns at once; nothing leaves before engine_poll. What is queued between two polls travels together, so
 * submit for all sequences that are ready, then poll. One request a sequence at a time. YL_EINVAL: it has one already; pos
 * beyond what was fed, pos + n beyond n_ctx, a sequence beyond n_seq, a token beyond n_vocab; then nothing changed. */
yl_status engine_submit(engine *e, const engine_request *r, yl_error *err);

/* Was every answer of the sequence's last request given (or the request given up)? True if it never had one. */
bool engine_is_done(const engine *e, uint32_t seq);

/* Sends what there is credit for, waits for frames and handles them; callbacks run inside it (and inside the other calls that
 * block, while requests are under way). Returns when a RESULT was handled or wait_ms have passed. YL_EPEER: a worker was lost and
 * could not be replaced, which is final for the engine; YL_ECANCELED: engine_cancel, all requests were given up (positions from
 * their pos on are then undefined: feed them again). A row that became non-finite is YL_EPEER, "position 17 became infinite ...",
 * and like a callback's failure ends its own request only. */
yl_status engine_poll(engine *e, uint32_t wait_ms, yl_error *err);

/* Submits a request and polls until it is done. Errors as of both; the request is given up then. */
yl_status engine_eval(engine *e, uint32_t seq, uint32_t pos, const int32_t *tokens, size_t n, const frame_want *wants,
                      size_t n_wants, engine_answer_fn *on_answer, void *ctx, yl_error *err);

/* Asks again, differently, for the last row of the sequence's last request that had a want. pos: its position. Blocks. */
yl_status engine_again(engine *e, uint32_t seq, uint32_t pos, const frame_want *want, engine_answer_fn *on_answer, void *ctx,
                       yl_error *err);

/* Forgets a sequence, and gives its request up. Blocks. */
yl_status engine_release(engine *e, uint32_t seq, yl_error *err);

/* Makes a running or the next call return YL_ECANCELED soon. Safe in a signal handler. engine_resume makes calls work again. */
void engine_cancel(engine *e);
void engine_resume(engine *e);

/* What a stage is and did. Strings are valid until engine_close. */
typedef struct engine_stage {
    const char *name;
    slice_range range;
    uint64_t weight_bytes, kv_bytes, scratch_bytes; /* from READY */
    uint64_t load_ns;
    uint64_t wiring;   /* which one: another after a worker was lost, and stats begin anew */
    frame_stats stats; /* since then */
} engine_stage;
/* As they are now; when a worker is lost they may become others, and more. */
uint32_t engine_n_stages(const engine *e);
/* No more than these, ever. */
uint32_t engine_max_stages(const engine *e);
/* Asks every stage. stages: [engine_max_stages]; as many are written as there are after the call. */
yl_status engine_stages(engine *e, engine_stage *stages, yl_error *err);

/* What was to be expected of a stage: milliseconds a token, of a prompt of 512 tokens and of an answer. */
typedef struct engine_stage_outlook {
    double prompt_ms, answer_ms;
} engine_stage_outlook;
/* What was to be expected of the chain as it is now, by what its workers measured of their machines (prediction.h). */
typedef struct engine_outlook {
    double prompt_rate, answer_rate; /* tokens a second: of such a prompt, of one answer */
    const char *alone; /* the worker that would answer faster with the whole model; NULL: none. Valid until the next call */
    double alone_rate;
    engine_stage_outlook *stages; /* [engine_n_stages], the caller's */
} engine_outlook;
/* Fills all but out->stages, which it writes to. False: nothing is known, as of local workers. */
bool engine_look_ahead(const engine *e, engine_outlook *out);

#endif
