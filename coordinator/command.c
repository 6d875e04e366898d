/* command.c: the list of commands, and what help says of each. */
#include "command.h"

#include <string.h>

const command command_table[COMMAND_END] = {
    {"run", COMMAND_RUN, cmd_run, "-m MODEL [flags] [PROMPT]", "continue a prompt",
     "The model continues the prompt. Text appears as it is made, and stops where the model says so. The\n"
     "prompt is the argument, or comes from -p, from a file or through a pipe. At the end standard error\n"
     "tells how fast it was, and what each worker did.",
     "  yllama run -m model.gguf \"In the beginning\" -n 64\n"
     "  yllama run -m model.gguf -p \"Fourth of July jokes?\" --temp 0 --local 2\n"
     "  cat letter.txt | yllama run -m model.gguf --no-display-prompt -s 1 > rest.txt\n"},
    {"chat", COMMAND_CHAT, cmd_chat, "-m MODEL [flags]", "converse",
     "A conversation, in the form that the model was trained for: its chat template. At the terminal,\n"
     "Ctrl-C stops an answer, Ctrl-D leaves, /help lists commands. Without a terminal every line of\n"
     "standard input is a message.",
     "  yllama chat -m llama3.gguf -sys \"You are brief.\"\n"
     "  printf 'Hello\\nWhat did I say?\\n' | yllama chat -m llama3.gguf\n"},
    {"tokenize", COMMAND_TOKENIZE, cmd_tokenize, "-m MODEL [flags] [TEXT]", "show the tokens of a text",
     "What the model's tokenizer makes of a text, one token a line, as llama-tokenize prints it.",
     "  yllama tokenize -m model.gguf \"Hello world\"\n"
     "  yllama tokenize -m model.gguf --ids --no-bos < text.txt\n"},
    {"inspect", COMMAND_INSPECT, cmd_inspect, "MODEL [flags]", "describe a model file",
     "What is in a GGUF file: architecture and dimensions, number formats, tokenizer, chat template,\n"
     "metadata, and the memory that it will need.",
     "  yllama inspect model.gguf --tensors\n"
     "  yllama inspect model.gguf --json | jq .hparams\n"
     "  yllama inspect model.gguf --template\n"},
    {"logits", COMMAND_LOGITS, cmd_logits, "-m MODEL --tokens \"1 2 3\" -o FILE [flags]", "write all logits of a text",
     "The logits of every position as raw little-endian f32, [n_tokens, n_vocab]: for comparing with other\n"
     "programs. They are the same bits for any number of workers, threads and batch rows.",
     "  yllama logits -m model.gguf --tokens \"1 15043 3186\" -o out.f32\n"
     "  yllama logits -m model.gguf -p \"Hello world\" -o out.f32 --local 3\n"},
    {"perplexity", COMMAND_PERPLEXITY, cmd_perplexity, "-m MODEL -f TEXT [flags]", "measure how well a text is foreseen",
     "Perplexity as llama-perplexity defines it: windows of 512 tokens (-c), the second half of each\n"
     "scored. Lower is better.",
     "  yllama perplexity -m model.gguf -f wiki.test.raw\n"
     "  yllama perplexity -m model.gguf -f text.txt -c 256 --chunks 10\n"},
    {"cache", COMMAND_CACHE, cmd_cache, "[ls | rm NAME... | verify] [flags]", "look after the weights that are kept on disk",
     "Workers keep weights in the kernels' layout, so that the next start copies nothing: a file a layer,\n"
     "used by all models and workers that have that layer. `ls` lists them; `rm` removes some, by the first\n"
     "digits of their names or by the model's file name, or --all (what is in use stays); `verify` reads\n"
     "them all and fails when one is damaged.",
     "  yllama cache ls\n"
     "  yllama cache rm model.gguf\n"
     "  yllama cache verify --cache-dir /data/yllama\n"},
    {"bench", COMMAND_BENCH, cmd_bench, "-m MODEL [flags]", "measure speed, beside what the machine could do",
     "How fast prompts are read (pp) and tokens generated (tg), as llama-bench measures it: each test is\n"
     "run once to warm up, then a few times. Before and after, in the same minute and on as many threads,\n"
     "the bandwidth of memory and the peak rate of multiply-adds are measured, too: the share is what the\n"
     "model reached of them. Peak memory is that of all processes.",
     "  yllama bench -m model.gguf\n"
     "  yllama bench -m model.gguf -p 512 -n 64 -t 1,2 --local 1,2\n"
     "  yllama bench -m model.gguf -p 0 -n 64 -d 0,4096 -np 1,8 -o jsonl\n"},
    {"plan", COMMAND_PLAN, cmd_plan, "-m MODEL [flags]", "foresee how fast machines would be together",
     "Which machine would hold which layers, what each stage and link takes, how many tokens a second to\n"
     "expect, what the bottleneck is, and whether one machine alone would be faster. Nothing is started:\n"
     "machines are described (--assume), or local workers on this one, whose memory is measured.",
     "  yllama plan -m model.gguf --assume 8GB:50GB/s,16GB:80GB/s --link 1gbit,0.3ms\n"
     "  yllama plan -m model.gguf --assume a=8GB:50GB/s,b=16GB:80GB/s --layers b=0-21,a=22-31\n"
     "  yllama plan -m model.gguf --local 2 -np 8\n"},
    {"keygen", COMMAND_KEYGEN, cmd_keygen, "[flags]", "make a key for workers on other machines",
     "Prints a new random key, one line. Coordinator and workers that were given the same key trust each\n"
     "other, and what they say is encrypted; nobody else is let in. Keep it secret.",
     "  yllama keygen > cluster.key && chmod 600 cluster.key\n"
     "  yllama-worker --connect tcp://HOST:7620 --key-file cluster.key     on each machine\n"
     "  yllama run -m model.gguf --workers 3 --key-file cluster.key \"Once upon a time\"\n"},
    {"top", COMMAND_TOP, cmd_top, "[flags]", "watch a chain at work",
     "What each stage of a running chain does, once a second until Ctrl-C: time to compute a row, time that\n"
     "it waits there, time that the stage has nothing to do, rows a second, bytes in and out, the round trip\n"
     "between coordinator and worker, and memory; below, what micro-batches spend on the links.",
     "  yllama top                                             your chain on this machine\n"
     "  yllama top --connect tcp://HOST:7620 --key-file cluster.key\n"
     "  yllama top --once --json | jq '.stages[].compute_ms'\n"},
};

const command *command_find(const char *name)
{
    for (size_t i = 0; i < COMMAND_END; i++)
        if (strcmp(name, command_table[i].name) == 0) return &command_table[i];
    return NULL;
}

int command_exit_code(yl_status status)
{
    switch (status) {
    case YL_OK: return COMMAND_EXIT_OK;
    case YL_EINVAL: return COMMAND_EXIT_USAGE;
    case YL_EPEER: return COMMAND_EXIT_WORKER;
    case YL_ECANCELED: return COMMAND_EXIT_INTERRUPTED;
    default: return COMMAND_EXIT_FAILURE;
    }
}

static void print_exit_codes(FILE *f)
{
    fputs("\nExit codes: 0 done; 1 failed (a file, memory, the model); 2 called wrongly; 3 a worker was lost or\n"
          "refused; 130 interrupted.\n",
          f);
}

void command_print_usage(FILE *f)
{
    fputs("usage: yllama COMMAND [flags]\n\n"
          "Llama inference over a chain of workers. Each owns some layers of a model.\n\n"
          "Commands\n",
          f);
    for (size_t i = 0; i < COMMAND_END; i++) fprintf(f, "  %-12s %s\n", command_table[i].name, command_table[i].summary);
    fputs("\n  yllama help COMMAND tells the flags of a command; yllama --version the version.\n\n"
          "Examples\n"
          "  yllama run -m model.gguf \"Once upon a time\" -n 64\n"
          "  yllama inspect model.gguf\n",
          f);
    print_exit_codes(f);
}

void command_print_help(FILE *f, const command *c)
{
    fprintf(f, "usage: yllama %s %s\n\n%s\n", c->name, c->arguments, c->text);
    options_print_flags(f, c->id);
    fprintf(f, "\nExamples\n%s", c->examples);
    fputs("\nEvery flag is also an environment variable: --top-k 20 is YLLAMA_TOP_K=20. The command line wins.\n", f);
    print_exit_codes(f);
}
