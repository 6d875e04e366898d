/* option_table.c: every flag there is. */
#include "option_table.h"

#include <string.h>

enum {
    RUN = 1 << COMMAND_RUN,
    CHAT = 1 << COMMAND_CHAT,
    TOKENIZE = 1 << COMMAND_TOKENIZE,
    INSPECT = 1 << COMMAND_INSPECT,
    LOGITS = 1 << COMMAND_LOGITS,
    PERPLEXITY = 1 << COMMAND_PERPLEXITY,
    PLAN = 1 << COMMAND_PLAN,
    ANSWERS = RUN | CHAT,
    ENGINE = ANSWERS | LOGITS | PERPLEXITY, /* commands that start workers */
    ALL = (1 << COMMAND_END) - 1
};

#define AT(field) offsetof(options, field)

/* In the order in which help shows them; two lines a flag. */
/* clang-format off */
const option_spec option_table[] = {
    {{"m", "model"}, NULL, OPTION_STRING, AT(model), {0, 0}, "FILE",
     "the model, a GGUF file (of a split model: any of its parts)", GROUP_INPUT, ALL},
    {{"p", "prompt"}, NULL, OPTION_STRING, AT(prompt), {0, 0}, "TEXT",
     "the prompt; of a conversation, the first message", GROUP_INPUT, ANSWERS | TOKENIZE | LOGITS},
    {{"f", "file"}, NULL, OPTION_STRING, AT(file), {0, 0}, "FILE",
     "read the text from a file; - is standard input", GROUP_INPUT, RUN | TOKENIZE | PERPLEXITY},
    {{"tokens"}, NULL, OPTION_STRING, AT(tokens), {0, 0}, "IDS",
     "token ids, separated by blanks or commas", GROUP_INPUT, LOGITS},
    {{"sys", "system-prompt"}, NULL, OPTION_STRING, AT(system_prompt), {0, 0}, "TEXT",
     "what the model is told before the conversation", GROUP_INPUT, CHAT},
    {{"chat-template"}, NULL, OPTION_STRING, AT(chat_template), {0, 0}, "NAME",
     "llama3, llama2 or chatml (default: as the model file says)", GROUP_INPUT, CHAT},
    {{"e", "escape"}, "no-escape", OPTION_FLAG, AT(escape), {0, 0}, NULL,
     "read \\n, \\r, \\t, \\', \\\", \\\\ and \\x41 in texts as in C (default: on)", GROUP_INPUT, ANSWERS | TOKENIZE | LOGITS},
    {{"no-bos"}, NULL, OPTION_FLAG, AT(no_bos), {0, 0}, NULL,
     "do not put the token for the beginning of a text in front", GROUP_INPUT, TOKENIZE},
    {{"no-parse-special"}, NULL, OPTION_FLAG, AT(no_parse_special), {0, 0}, NULL,
     "take text such as <|eot_id|> as text, not as that token", GROUP_INPUT, TOKENIZE},

    {{"sp", "special"}, NULL, OPTION_FLAG, AT(special), {0, 0}, NULL,
     "show special tokens", GROUP_OUTPUT, ANSWERS},
    {{"display-prompt"}, "no-display-prompt", OPTION_FLAG, AT(display_prompt), {0, 0}, NULL,
     "repeat the prompt before the answer (default: on)", GROUP_OUTPUT, RUN},
    {{"o", "output"}, NULL, OPTION_STRING, AT(output), {0, 0}, "FILE",
     "where logits go: raw little-endian f32, [n_tokens, n_vocab]; - is standard output", GROUP_OUTPUT, LOGITS},
    {{"ids"}, NULL, OPTION_FLAG, AT(ids), {0, 0}, NULL,
     "print ids alone, as [1, 2, 3]", GROUP_OUTPUT, TOKENIZE},
    {{"show-count"}, NULL, OPTION_FLAG, AT(show_count), {0, 0}, NULL,
     "print the number of tokens behind them", GROUP_OUTPUT, TOKENIZE},
    {{"tensors"}, NULL, OPTION_FLAG, AT(tensors), {0, 0}, NULL,
     "list every tensor with its type, shape and size", GROUP_OUTPUT, INSPECT},
    {{"template"}, NULL, OPTION_FLAG, AT(show_template), {0, 0}, NULL,
     "print the whole chat template and nothing else", GROUP_OUTPUT, INSPECT},
    {{"json"}, NULL, OPTION_FLAG, AT(json), {0, 0}, NULL,
     "print JSON", GROUP_OUTPUT, INSPECT | PLAN},
    {{"chunks"}, NULL, OPTION_I32, AT(n_chunks), {-1, INT32_MAX}, "N",
     "windows of text to look at, from the beginning (default: -1, all)", GROUP_OUTPUT, PERPLEXITY},

    {{"n", "predict", "n-predict"}, NULL, OPTION_I32, AT(n_predict), {-2, INT32_MAX}, "N",
     "tokens to make at most (default: -1, until the model ends or the context is full)", GROUP_SAMPLING, ANSWERS},
    {{"s", "seed"}, NULL, OPTION_I64, AT(seed), {-1, 9007199254740991.0}, "N",
     "the same seed, prompt and flags give the same text (default: -1, a random one)", GROUP_SAMPLING, ANSWERS},
    {{"temp", "temperature"}, NULL, OPTION_F32, AT(sampling.temp), {-1e6, 1e6}, "T",
     "temperature; 0 takes the likeliest token always (default: 0.8)", GROUP_SAMPLING, ANSWERS},
    {{"top-k"}, NULL, OPTION_I32, AT(sampling.top_k), {INT32_MIN, INT32_MAX}, "N",
     "choose among the N likeliest tokens (default: 40; 0: all)", GROUP_SAMPLING, ANSWERS},
    {{"top-p"}, NULL, OPTION_F32, AT(sampling.top_p), {0, 1}, "P",
     "choose among the likeliest tokens that have probability P together (default: 0.95; 1: off)", GROUP_SAMPLING, ANSWERS},
    {{"min-p"}, NULL, OPTION_F32, AT(sampling.min_p), {0, 1}, "P",
     "leave out tokens less likely than P times the likeliest (default: 0.05; 0: off)", GROUP_SAMPLING, ANSWERS},
    {{"typical", "typical-p"}, NULL, OPTION_F32, AT(sampling.typical_p), {0, 1}, "P",
     "locally typical sampling (default: 1, off)", GROUP_SAMPLING, ANSWERS},
    {{"top-nsigma", "top-n-sigma"}, NULL, OPTION_F32, AT(sampling.top_n_sigma), {-1e6, 1e6}, "N",
     "leave out logits more than N standard deviations below the largest (default: -1, off)", GROUP_SAMPLING, ANSWERS},
    {{"repeat-last-n"}, NULL, OPTION_I32, AT(sampling.repeat_last_n), {-1, INT32_MAX}, "N",
     "penalties look at the last N tokens (default: 64; 0: off; -1: the context)", GROUP_SAMPLING, ANSWERS},
    {{"repeat-penalty"}, NULL, OPTION_F32, AT(sampling.repeat_penalty), {0, 1e6}, "X",
     "make tokens that occurred less likely (default: 1, off)", GROUP_SAMPLING, ANSWERS},
    {{"presence-penalty"}, NULL, OPTION_F32, AT(sampling.presence_penalty), {-1e6, 1e6}, "X",
     "take X from the logit of a token that occurred (default: 0)", GROUP_SAMPLING, ANSWERS},
    {{"frequency-penalty"}, NULL, OPTION_F32, AT(sampling.frequency_penalty), {-1e6, 1e6}, "X",
     "take X from it for each time that it occurred (default: 0)", GROUP_SAMPLING, ANSWERS},
    {{"dry-multiplier"}, NULL, OPTION_F32, AT(sampling.dry_multiplier), {0, 1e6}, "X",
     "DRY: penalize the continuation of repeated sequences (default: 0, off)", GROUP_SAMPLING, ANSWERS},
    {{"dry-base"}, NULL, OPTION_F32, AT(sampling.dry_base), {1, 1e6}, "X",
     "by multiplier * base ^ (length - allowed length) (default: 1.75)", GROUP_SAMPLING, ANSWERS},
    {{"dry-allowed-length"}, NULL, OPTION_I32, AT(sampling.dry_allowed_length), {0, INT32_MAX}, "N",
     "repetitions up to so many tokens are fine (default: 2)", GROUP_SAMPLING, ANSWERS},
    {{"dry-penalty-last-n"}, NULL, OPTION_I32, AT(sampling.dry_penalty_last_n), {-1, INT32_MAX}, "N",
     "DRY looks at the last N tokens (default: -1, the context; 0: off)", GROUP_SAMPLING, ANSWERS},
    {{"dry-sequence-breaker"}, NULL, OPTION_LIST, AT(dry_breakers), {0, 0}, "TEXT",
     "a repetition ends at this text; repeatable, \"none\" for no such text (default: \\n : \" *)", GROUP_SAMPLING, ANSWERS},
    {{"xtc-probability"}, NULL, OPTION_F32, AT(sampling.xtc_probability), {0, 1}, "P",
     "XTC: with this probability leave out all likely tokens but the last (default: 0, off)", GROUP_SAMPLING, ANSWERS},
    {{"xtc-threshold"}, NULL, OPTION_F32, AT(sampling.xtc_threshold), {0, 1}, "P",
     "likely is a token of at least this probability (default: 0.1; above 0.5: off)", GROUP_SAMPLING, ANSWERS},
    {{"dynatemp-range"}, NULL, OPTION_F32, AT(sampling.dynatemp_range), {0, 1e6}, "X",
     "let the temperature move this far up and down with the entropy (default: 0, off)", GROUP_SAMPLING, ANSWERS},
    {{"dynatemp-exp"}, NULL, OPTION_F32, AT(sampling.dynatemp_exponent), {0, 1e6}, "X",
     "exponent of that movement (default: 1)", GROUP_SAMPLING, ANSWERS},
    {{"mirostat"}, NULL, OPTION_I32, AT(sampling.mirostat), {0, 2}, "N",
     "hold the text's surprise steady: 1 or 2, instead of the samplers above (default: 0, off)", GROUP_SAMPLING, ANSWERS},
    {{"mirostat-lr"}, NULL, OPTION_F32, AT(sampling.mirostat_eta), {0, 1e6}, "X",
     "Mirostat's learning rate, eta (default: 0.1)", GROUP_SAMPLING, ANSWERS},
    {{"mirostat-ent"}, NULL, OPTION_F32, AT(sampling.mirostat_tau), {0, 1e6}, "X",
     "Mirostat's target entropy, tau (default: 5)", GROUP_SAMPLING, ANSWERS},
    {{"l", "logit-bias"}, NULL, OPTION_LIST, AT(logit_bias), {0, 0}, "ID(+/-)BIAS",
     "add to a token's logit: 15043+1; 15043-inf forbids it; repeatable", GROUP_SAMPLING, ANSWERS},
    {{"ignore-eos"}, NULL, OPTION_FLAG, AT(ignore_eos), {0, 0}, NULL,
     "never sample a token that ends the text", GROUP_SAMPLING, ANSWERS},

    {{"c", "ctx-size"}, NULL, OPTION_I32, AT(n_ctx), {0, 1 << 24}, "N",
     "positions of the context; 0: as many as the model was trained for", GROUP_MODEL, ENGINE | INSPECT | PLAN},
    {{"t", "threads"}, NULL, OPTION_I32, AT(n_threads), {-1, 256}, "N",
     "threads of each local worker (default: cores / workers)", GROUP_MODEL, ENGINE | PLAN},
    {{"b", "batch-size"}, NULL, OPTION_U32, AT(n_batch), {1, 1 << 24}, "N",
     "rows of a prompt that are on their way at a time (default: 2048)", GROUP_MODEL, ENGINE},
    {{"ub", "ubatch-size"}, NULL, OPTION_U32, AT(n_ubatch), {1, 2048}, "N",
     "rows that a worker computes at a time (default: 512)", GROUP_MODEL, ENGINE | PLAN},
    {{"ctk", "cache-type-k"}, NULL, OPTION_KV_TYPE, AT(type_k), {0, 0}, "TYPE",
     "number format of cached keys: f16 or f32 (default: f16)", GROUP_MODEL, ENGINE | PLAN},
    {{"ctv", "cache-type-v"}, NULL, OPTION_KV_TYPE, AT(type_v), {0, 0}, "TYPE",
     "number format of cached values: f16 or f32 (default: f16)", GROUP_MODEL, ENGINE | PLAN},
    {{"mmap"}, "no-mmap", OPTION_FLAG, AT(mmap), {0, 0}, NULL,
     "use weights where the file is mapped: takes no memory, but is slower (default: off)", GROUP_MODEL, ENGINE},
    {{"mlock"}, NULL, OPTION_FLAG, AT(mlock), {0, 0}, NULL,
     "as --mmap, and keep weights from being swapped out", GROUP_MODEL, ENGINE},

    {{"w", "local"}, NULL, OPTION_U32, AT(n_local), {1, 256}, "N",
     "start N workers on this machine and cut the model between them (default: 1)", GROUP_WORKERS, ENGINE | PLAN},
    {{"worker-program"}, NULL, OPTION_STRING, AT(worker_program), {0, 0}, "FILE",
     "the worker (default: yllama-worker beside this program, else in PATH)", GROUP_WORKERS, ENGINE},
    {{"stream-weights"}, NULL, OPTION_FLAG, AT(stream_weights), {0, 0}, NULL,
     "send weights to workers instead of having them read the file", GROUP_WORKERS, ENGINE},
    {{"isa"}, NULL, OPTION_STRING, AT(isa), {0, 0}, "NAME",
     "instruction set of local workers' kernels (default: the best this machine has)", GROUP_WORKERS, ENGINE},
    {{"timeout"}, NULL, OPTION_F32, AT(timeout_s), {0.1, 86400}, "SECONDS",
     "a worker that is silent or stands still for so long is lost (default: 10)", GROUP_WORKERS, ENGINE},

    {{"assume"}, NULL, OPTION_STRING, AT(assume), {0, 0}, "MACHINE,...",
     "plan for these: [NAME=]free memory:bandwidth[:multiply-adds], such as 8GB:50GB/s,desk=16GB:80GB/s:300GMAC/s; the first "
     "one also runs the coordinator (default: local workers on this machine, measured)", GROUP_WORKERS, PLAN},
    {{"link"}, NULL, OPTION_STRING, AT(link), {0, 0}, "RATE,ROUNDTRIP",
     "between any two of them (default: 1gbit,0.3ms)", GROUP_WORKERS, PLAN},
    {{"layers"}, NULL, OPTION_STRING, AT(layers), {0, 0}, "NAME=FIRST-LAST,...",
     "place by hand: desk=0-9,A=10-31; also NAME=embedding first, NAME=head last", GROUP_WORKERS, PLAN},
    {{"objective"}, NULL, OPTION_STRING, AT(objective), {0, 0}, "NAME",
     "latency of one stream, or throughput of all (-np) together (default: latency)", GROUP_WORKERS, PLAN},
    {{"np", "parallel"}, NULL, OPTION_U32, AT(n_parallel), {1, 1 << 16}, "N",
     "sequences at the same time, each with a context of its own (default: 1)", GROUP_MODEL, PLAN},

    {{"v", "verbose"}, NULL, OPTION_COUNT, AT(verbose), {0, 9}, NULL,
     "say what is done; twice: in detail", GROUP_OTHER, ALL},
    {{"log-file"}, NULL, OPTION_STRING, AT(log_file), {0, 0}, "FILE",
     "append what is done, and what workers say, to a file", GROUP_OTHER, ALL},
    {{"h", "help"}, NULL, OPTION_FLAG, AT(help), {0, 0}, NULL,
     "print this", GROUP_OTHER, ALL},
    {{"version"}, NULL, OPTION_FLAG, AT(version), {0, 0}, NULL,
     "print the version", GROUP_OTHER, ALL},
};
/* clang-format on */
const size_t option_table_n = sizeof option_table / sizeof *option_table;
_Static_assert(sizeof option_table / sizeof *option_table <= OPTIONS_MAX_FLAGS, "options.source has a place for each flag");

bool option_name_is_short(const char *name)
{
    static const char *const customary[] = {"ub", "ctk", "ctv", "sp", "sys", "np"};
    if (strlen(name) == 1) return true;
    for (size_t i = 0; i < sizeof customary / sizeof *customary; i++)
        if (strcmp(name, customary[i]) == 0) return true;
    return false;
}

const char *option_long_name(const option_spec *spec)
{
    for (size_t i = 0; i < OPTION_MAX_NAMES && spec->names[i]; i++)
        if (!option_name_is_short(spec->names[i])) return spec->names[i];
    return spec->names[0];
}
