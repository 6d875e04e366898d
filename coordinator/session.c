/* session.c: from options to a model that answers. */
#include "session.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "interrupt.h"
#include "sequence_breakers.h"

/* --- the model ---------------------------------------------------------------------------------------------------------------- */

static uint64_t choose_seed(int64_t asked)
{
    if (asked >= 0) return (uint64_t)asked;
    uint32_t seed;
    if (getrandom(&seed, sizeof seed, 0) != (ssize_t)sizeof seed) seed = (uint32_t)time(NULL) ^ (uint32_t)getpid();
    return seed; /* 32 bits: short enough to be typed again */
}

static uint32_t choose_n_ctx(const options *o, const hparams *hp)
{
    uint32_t trained = hp->n_ctx_train ? hp->n_ctx_train : ENGINE_DEFAULT_CTX;
    if (o->n_ctx > 0) return (uint32_t)o->n_ctx;
    if (o->n_ctx == 0) return trained;
    return trained < ENGINE_DEFAULT_CTX ? trained : ENGINE_DEFAULT_CTX;
}

void session_name_model(const char *path, yl_error *err)
{
    if (strncmp(err->msg, path, strlen(path)) != 0) yl_error_context(err, "%s: ", path);
}

static yl_status make_tokenizer(session *s, yl_error *err)
{
    yl_status status = tokenizer_new(&s->t, s->g, err);
    if (status) session_name_model(s->o->model, err);
    return status;
}

yl_status session_read_key(cluster_key *key, bool *has_key, const options *o, yl_error *err)
{
    *has_key = false;
    if (!o->key && !o->key_file) return YL_OK;
    yl_status status = o->key ? cluster_key_parse(key, o->key, err) : cluster_key_read_file(key, o->key_file, err);
    if (o->key) cluster_key_wipe((char *)(uintptr_t)o->key, strlen(o->key));
    *has_key = !status;
    return status;
}

yl_status session_open_model(session *s, const options *o, console *con, yl_error *err)
{
    *s = (session){.o = o, .con = con};
    if (!o->model) return yl_fail(err, YL_EINVAL, "which model? Name its file: -m model.gguf");
    if (o->isa && !kernels_named(o->isa)) {
        char list[64];
        kernels_list(list, sizeof list);
        return yl_fail(err, YL_EINVAL, "--isa: this machine cannot run '%s'; it has %s", o->isa, list);
    }
    yl_status status = o->n_join ? session_read_key(&s->key, &s->has_key, o, err) : YL_OK;
    if (!status) status = gguf_open(&s->g, o->model, err);
    if (status) return status;
    status = hparams_read(&s->hp, s->g, err);
    if (status) {
        session_name_model(o->model, err);
        return status;
    }
    s->seed = choose_seed(o->seed);
    s->n_ctx = choose_n_ctx(o, &s->hp);
    return YL_OK;
}

yl_status session_open(session *s, const options *o, console *con, yl_error *err)
{
    yl_status status = session_open_model(s, o, con, err);
    return status ? status : make_tokenizer(s, err);
}

void session_stop(session *s)
{
    interrupt_set_engine(NULL); /* a second interrupt still ends the program at once */
    engine_close(s->e);
    s->e = NULL;
}

void session_close(session *s)
{
    session_stop(s);
    tokenizer_free(s->t);
    gguf_free(s->g);
    cluster_key_wipe(&s->key, sizeof s->key);
    *s = (session){0};
}

yl_status session_check_prompt(const session *s, size_t n, yl_error *err)
{
    if (n == 0)
        return yl_fail(err, YL_EINVAL, "the prompt is empty, and this model begins with no token of its own: give some text");
    if (n <= s->n_ctx) return YL_OK;
    return yl_fail(err, YL_ELIMIT, "the prompt has %zu tokens, the context %u positions: enlarge it with -c %zu", n,
                   (unsigned)s->n_ctx, n + 512);
}

/* --- workers ------------------------------------------------------------------------------------------------------------------ */

/* Joins a directory and the worker's name; true if such a program is there. */
static bool is_worker_in(char out[PATH_MAX], const char *dir, size_t n_dir)
{
    int n = snprintf(out, PATH_MAX, "%.*s/yllama-worker", (int)n_dir, dir);
    return n > 0 && n < PATH_MAX && access(out, X_OK) == 0;
}

/* The worker that was installed with this program, else the first in PATH. */
static yl_status find_worker_program(char out[PATH_MAX], yl_error *err)
{
    char self[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    if (n > 0) {
        self[n] = 0;
        const char *slash = strrchr(self, '/');
        if (slash && is_worker_in(out, self, (size_t)(slash - self))) return YL_OK;
    }
    const char *path = getenv("PATH");
    for (const char *dir = path ? path : ""; *dir;) {
        size_t n_dir = strcspn(dir, ":");
        if (n_dir > 0 && is_worker_in(out, dir, n_dir)) return YL_OK;
        dir += n_dir + (dir[n_dir] == ':');
    }
    return yl_fail(err, YL_EIO, "yllama-worker is neither beside this program nor in PATH: say where with --worker-program");
}

static void log_line(void *ctx, engine_log_level level, const char *line)
{
    console_log(ctx, level, "%s", line);
}

static void show_note(void *ctx, const char *line)
{
    console_note(ctx, "%s", line);
}

static void show_progress(void *ctx, const char *what, double fraction)
{
    console_progress(ctx, what, fraction);
    if (fraction >= 1) console_end_progress(ctx);
}

static bool is_interrupted(void *ctx)
{
    (void)ctx;
    return interrupt_came();
}

static engine_options engine_options_of(const session *s, const char *worker_program)
{
    const options *o = s->o;
    return (engine_options){
        .model_path = o->model,
        .model = s->g,
        .n_local = o->n_local,
        .n_join = o->n_join,
        .listen = o->listen,
        .announce = o->discover,
        .dial = o->dial,
        .result_port = (uint16_t)o->result_port,
        .key = s->has_key ? &s->key : NULL,
        .is_insecure = o->is_insecure,
        .layers = o->layers,
        .worker_program = worker_program,
        .n_threads = o->n_threads > 0 ? (uint32_t)o->n_threads : 0,
        .n_ctx = s->n_ctx,
        .n_seq = s->n_seq,
        .n_batch = o->n_batch,
        .n_ubatch = o->n_ubatch,
        .type_k = o->type_k,
        .type_v = o->type_v,
        .wire = o->wire,
        .load = o->mlock   ? FRAME_LOAD_MLOCK
                : !o->mmap ? FRAME_LOAD_HEAP
                : o->cache ? FRAME_LOAD_CACHE
                           : FRAME_LOAD_MMAP,
        .no_cache = !o->cache,
        .cache_dir = o->cache_dir,
        .cache_size = o->cache_size,
        .stream_weights = o->stream_weights,
        .isa = o->isa,
        .pin = o->pin,
        .timeout_ms = (uint32_t)(o->timeout_s * 1000),
        .verbose = o->verbose > 0,
        .log_path = o->log_file,
        .on_log = log_line,
        .on_progress = show_progress,
        .on_note = show_note,
        .is_interrupted = is_interrupted,
        .ctx = s->con,
    };
}

static yl_status begin(session *s, yl_error *err)
{
    char found[PATH_MAX] = "";
    yl_status status = s->o->worker_program || s->o->n_join ? YL_OK : find_worker_program(found, err);
    if (status) return status;
    engine_options o = engine_options_of(s, s->o->worker_program ? s->o->worker_program : found);
    if (s->n_ctx == ENGINE_DEFAULT_CTX && s->hp.n_ctx_train > s->n_ctx && s->o->n_ctx < 0)
        console_log(s->con, ENGINE_LOG_INFO, "the context has %u positions, the model was trained for %u: -c sets another number",
                    (unsigned)s->n_ctx, (unsigned)s->hp.n_ctx_train);
    interrupt_set_mode(INTERRUPT_CANCELS);
    status = engine_begin(&s->e, &o, err);
    console_end_progress(s->con);
    return status;
}

yl_status session_begin(session *s, yl_error *err)
{
    yl_status status = begin(s, err);
    return status ? status : make_tokenizer(s, err);
}

yl_status session_start(session *s, yl_error *err)
{
    yl_status status = s->e ? YL_OK : begin(s, err);
    if (!status) status = engine_wait(s->e, err);
    console_end_progress(s->con);
    if (!status) interrupt_set_engine(s->e);
    if (!status && interrupt_came()) return yl_fail(err, YL_ECANCELED, "interrupted");
    return status;
}

/* --- sampling ----------------------------------------------------------------------------------------------------------------- */

static yl_status read_biases(const options *o, sampler_logit_bias **out, yl_error *err)
{
    *out = NULL;
    if (o->logit_bias.n == 0) return YL_OK;
    *out = calloc(o->logit_bias.n, sizeof **out);
    if (!*out) return yl_fail(err, YL_ENOMEM, "no memory for %zu logit biases", o->logit_bias.n);
    for (size_t i = 0; i < o->logit_bias.n; i++)
        options_parse_logit_bias(o->logit_bias.items[i], &(*out)[i].token, &(*out)[i].bias);
    return YL_OK;
}

yl_status session_new_sampler(const session *s, sampler **out, yl_error *err)
{
    sampler_settings settings = s->o->sampling;
    settings.seed = s->seed;
    settings.n_logit_bias = s->o->logit_bias.n;
    if (s->o->ignore_eos) settings.banned = tokenizer_ends(s->t, &settings.n_banned);
    sampler_logit_bias *biases = NULL;
    sequence_breakers breakers = {0};
    yl_status status = read_biases(s->o, &biases, err);
    if (!status && settings.dry_multiplier > 0)
        status = sequence_breakers_find(&breakers, s->t, &s->o->dry_breakers, s->o->escape, err);
    settings.logit_bias = biases;
    settings.dry_breakers = breakers.sequences;
    settings.dry_breaker_lens = breakers.lens;
    settings.n_dry_breakers = breakers.n;
    if (!status) status = sampler_new(out, &settings, tokenizer_n_vocab(s->t), s->n_ctx, err);
    sequence_breakers_clear(&breakers);
    free(biases);
    return status;
}

yl_status session_new_drafter(const session *s, drafter **out, yl_error *err)
{
    const options *o = s->o;
    *out = NULL;
    if (strcmp(o->draft, "none") == 0) return YL_OK;
    if (strcmp(o->draft, "ngram") != 0) return yl_fail(err, YL_EINVAL, "--draft: '%s' is neither ngram nor none", o->draft);
    return drafter_new(out, s->n_ctx, o->draft_max, err);
}
