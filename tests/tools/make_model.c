/* make_model.c: writes a Llama model with random weights as a GGUF file. */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model_maker.h"

static const char usage[] =
    "usage: make_model --out FILE.gguf [options]\n"
    "Writes a Llama model with random weights. The same options give the same file.\n"
    "\n"
    "  --shape NAME        dimensions of llama-3.2-1b, llama-3.2-3b, llama-3-8b or tinyllama-1.1b (default: a tiny model);\n"
    "                      options of single dimensions change it, wherever they stand\n"
    "  --type NAME         F32 F16 BF16 Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 Q2_K Q3_K Q4_K Q5_K Q6_K IQ4_NL IQ4_XS,\n"
    "                      or a mix: Q3_K_M Q4_K_M Q5_K_M (default F32)\n"
    "  --embd-type NAME    of the token embedding, if another\n"
    "  --output-type NAME  of the output matrix, if another\n"
    "  --n-vocab N --n-ctx N --n-embd N --n-layer N --n-ff N --n-head N --n-head-kv N --n-embd-head N --n-rot N\n"
    "  --rms-eps X --rope-freq-base X --rope-factor X --rope-orig-ctx N\n"
    "  --rope-scaling NAME none, linear or yarn\n"
    "  --rope-freqs        with a tensor rope_freqs.weight, as Llama 3.1\n"
    "  --tied              the output matrix is the token embedding\n"
    "  --untied            it is not, whatever the shape says\n"
    "  --biases            with a bias behind every matrix of a layer\n"
    "  --logit-spread X    standard deviation of the logits, about (default 2.5)\n"
    "  --seed N            (default 1)\n"
    "  --split N           write N files FILE-00001-of-0000N.gguf ...\n"
    "  --alignment N       of tensors in the file (default 32)\n";

typedef enum option_id {
    OPT_OUT = 256,
    OPT_SHAPE,
    OPT_TYPE,
    OPT_EMBD_TYPE,
    OPT_OUTPUT_TYPE,
    OPT_N_VOCAB,
    OPT_N_CTX,
    OPT_N_EMBD,
    OPT_N_LAYER,
    OPT_N_FF,
    OPT_N_HEAD,
    OPT_N_HEAD_KV,
    OPT_N_EMBD_HEAD,
    OPT_N_ROT,
    OPT_RMS_EPS,
    OPT_ROPE_FREQ_BASE,
    OPT_ROPE_FACTOR,
    OPT_ROPE_ORIG_CTX,
    OPT_ROPE_SCALING,
    OPT_ROPE_FREQS,
    OPT_TIED,
    OPT_UNTIED,
    OPT_BIASES,
    OPT_LOGIT_SPREAD,
    OPT_SEED,
    OPT_SPLIT,
    OPT_ALIGNMENT,
    OPT_HELP
} option_id;

static const struct option options[] = {
    {"out", required_argument, NULL, OPT_OUT},
    {"shape", required_argument, NULL, OPT_SHAPE},
    {"type", required_argument, NULL, OPT_TYPE},
    {"embd-type", required_argument, NULL, OPT_EMBD_TYPE},
    {"output-type", required_argument, NULL, OPT_OUTPUT_TYPE},
    {"n-vocab", required_argument, NULL, OPT_N_VOCAB},
    {"n-ctx", required_argument, NULL, OPT_N_CTX},
    {"n-embd", required_argument, NULL, OPT_N_EMBD},
    {"n-layer", required_argument, NULL, OPT_N_LAYER},
    {"n-ff", required_argument, NULL, OPT_N_FF},
    {"n-head", required_argument, NULL, OPT_N_HEAD},
    {"n-head-kv", required_argument, NULL, OPT_N_HEAD_KV},
    {"n-embd-head", required_argument, NULL, OPT_N_EMBD_HEAD},
    {"n-rot", required_argument, NULL, OPT_N_ROT},
    {"rms-eps", required_argument, NULL, OPT_RMS_EPS},
    {"rope-freq-base", required_argument, NULL, OPT_ROPE_FREQ_BASE},
    {"rope-factor", required_argument, NULL, OPT_ROPE_FACTOR},
    {"rope-orig-ctx", required_argument, NULL, OPT_ROPE_ORIG_CTX},
    {"rope-scaling", required_argument, NULL, OPT_ROPE_SCALING},
    {"rope-freqs", no_argument, NULL, OPT_ROPE_FREQS},
    {"tied", no_argument, NULL, OPT_TIED},
    {"untied", no_argument, NULL, OPT_UNTIED},
    {"biases", no_argument, NULL, OPT_BIASES},
    {"logit-spread", required_argument, NULL, OPT_LOGIT_SPREAD},
    {"seed", required_argument, NULL, OPT_SEED},
    {"split", required_argument, NULL, OPT_SPLIT},
    {"alignment", required_argument, NULL, OPT_ALIGNMENT},
    {"help", no_argument, NULL, OPT_HELP},
    {NULL, 0, NULL, 0},
};

/* What the options say besides the spec. Types come after the shape, because a mix depends on tied embeddings. */
typedef struct arguments {
    const char *out, *shape, *type, *embd_type, *output_type;
} arguments;

static void fail(const char *what, const char *arg)
{
    fprintf(stderr, "make_model: %s '%s'. Try --help\n", what, arg);
    exit(2);
}

static uint64_t whole_number(const char *arg)
{
    char *end;
    errno = 0;
    unsigned long long v = strtoull(arg, &end, 10);
    if (errno || end == arg || *end || *arg == '-') fail("not a whole number:", arg);
    return v;
}

static uint32_t count(const char *arg)
{
    uint64_t v = whole_number(arg);
    if (v > UINT32_MAX) fail("too large:", arg);
    return (uint32_t)v;
}

static double number(const char *arg)
{
    char *end;
    double v = strtod(arg, &end);
    if (end == arg || *end) fail("not a number:", arg);
    return v;
}

static rope_scaling scaling(const char *arg)
{
    if (strcmp(arg, "none") == 0) return ROPE_SCALING_NONE;
    if (strcmp(arg, "linear") == 0) return ROPE_SCALING_LINEAR;
    if (strcmp(arg, "yarn") != 0) fail("unknown RoPE scaling", arg);
    return ROPE_SCALING_YARN;
}

static void apply(model_spec *spec, arguments *args, int id)
{
    hparams *hp = &spec->hp;
    switch ((option_id)id) {
    case OPT_OUT: args->out = optarg; break;
    case OPT_SHAPE: args->shape = optarg; break;
    case OPT_TYPE: args->type = optarg; break;
    case OPT_EMBD_TYPE: args->embd_type = optarg; break;
    case OPT_OUTPUT_TYPE: args->output_type = optarg; break;
    case OPT_N_VOCAB: hp->n_vocab = count(optarg); break;
    case OPT_N_CTX: hp->n_ctx_train = count(optarg); break;
    case OPT_N_EMBD: hp->n_embd = count(optarg); break;
    case OPT_N_LAYER: hp->n_layer = count(optarg); break;
    case OPT_N_FF: hp->n_ff = count(optarg); break;
    case OPT_N_HEAD: hp->n_head = count(optarg); break;
    case OPT_N_HEAD_KV: hp->n_head_kv = count(optarg); break;
    case OPT_N_EMBD_HEAD: hp->n_embd_head = count(optarg); break;
    case OPT_N_ROT: hp->n_rot = count(optarg); break;
    case OPT_RMS_EPS: hp->rms_eps = (float)number(optarg); break;
    case OPT_ROPE_FREQ_BASE: hp->rope_freq_base = number(optarg); break;
    case OPT_ROPE_FACTOR: hp->rope_factor = number(optarg); break;
    case OPT_ROPE_ORIG_CTX: hp->rope_orig_ctx = count(optarg); break;
    case OPT_ROPE_SCALING: hp->rope_type = scaling(optarg); break;
    case OPT_ROPE_FREQS: spec->rope_freqs = true; break;
    case OPT_TIED: hp->tied_embeddings = true; break;
    case OPT_UNTIED: hp->tied_embeddings = false; break;
    case OPT_BIASES: spec->biases = true; break;
    case OPT_LOGIT_SPREAD: spec->logit_spread = (float)number(optarg); break;
    case OPT_SEED: spec->seed = whole_number(optarg); break;
    case OPT_SPLIT: spec->n_parts = count(optarg); break;
    case OPT_ALIGNMENT: spec->alignment = count(optarg); break;
    case OPT_HELP: fputs(usage, stdout); exit(0);
    }
}

static void parse_all(model_spec *spec, arguments *args, int argc, char **argv)
{
    optind = 1;
    for (int id; (id = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        if (id == '?') exit(2); /* getopt has told why */
        apply(spec, args, id);
    }
    if (optind < argc) fail("unexpected argument", argv[optind]);
}

static void set_types(model_spec *spec, const arguments *args)
{
    if (args->type && !model_spec_parse_type(spec, args->type)) fail("unknown type", args->type);
    if (args->embd_type && !quant_type_parse(args->embd_type, &spec->types[TENSOR_TOKEN_EMBD]))
        fail("unknown type", args->embd_type);
    if (args->output_type && !quant_type_parse(args->output_type, &spec->types[TENSOR_OUTPUT]))
        fail("unknown type", args->output_type);
}

int main(int argc, char **argv)
{
    model_spec spec = model_spec_default();
    arguments args = {0};
    parse_all(&spec, &args, argc, argv);
    if (args.shape) { /* the shape first, then once more whatever changes it */
        if (!model_spec_parse_shape(&spec, args.shape)) fail("unknown shape", args.shape);
        parse_all(&spec, &args, argc, argv);
    }
    if (!args.out) {
        fputs(usage, stderr);
        return 2;
    }
    set_types(&spec, &args);
    yl_error err;
    if (model_maker_write(args.out, &spec, &err) == YL_OK) return 0;
    fprintf(stderr, "make_model: %s\n", err.msg);
    return 1;
}
