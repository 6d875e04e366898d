/* main.c: yllama-worker: options, log, signals. */
#include "byte_size.h"
#include "cpus.h"
#include "native_shell.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

enum { EXIT_OK = 0, EXIT_FAILED = 1, EXIT_USAGE = 2, EXIT_PEER = 3, EXIT_INTERRUPTED = 130 };

static const char HELP[] =
    "usage: yllama-worker --connect ADDRESS | --discover | --listen ADDRESS [options]\n"
    "\n"
    "One stage of a pipeline: holds a slice of a model's layers and passes activations on. The coordinator\n"
    "(yllama) tells it which layers. 'yllama run --local 2' starts two of these by itself; on other machines\n"
    "start one each, and 'yllama run --workers 3' waits for them; or they wait, and\n"
    "'yllama run --workers hostA,hostB' calls them.\n"
    "\n"
    "  -C, --connect ADDRESS   the coordinator's control address: tcp://host:7620 or ipc:///path\n"
    "      --listen ADDRESS    instead, wait there for a coordinator that calls, such as tcp://*:7620; one is served at a time\n"
    "      --discover          instead, look for a coordinator that was started with --discover on the local network;\n"
    "                          with a key for one of its own cluster only\n"
    "      --key-file FILE     the cluster's key, which 'yllama keygen' makes: the coordinator lets in who has it,\n"
    "                          and links are encrypted\n"
    "      --key KEY           the key itself; a file or $YLLAMA_KEY stays out of the list of processes\n"
    "      --insecure          go without a key even where other machines can listen, or join in\n"
    "  -d, --data ADDRESS      where to listen for activations (default: tcp://*, at the first free port from 7621;\n"
    "                          without a key, this machine only)\n"
    "      --advertise HOST    the name or address by which other machines reach this one (default: the address\n"
    "                          that the coordinator sees)\n"
    "      --name NAME         unique among a coordinator's workers (default: host name and data port)\n"
    "  -m, --model FILE        take weights from this GGUF file when it is the coordinator's model;\n"
    "                          without it they come from the coordinator, and are kept (below) for the next start\n"
    "  -t, --threads N         threads to compute with (default: one for each core that may be used)\n"
    "      --cpus LIST         run on these cores only, such as 0-3,8 (default: the system decides)\n"
    "      --memory MIB        memory that weights, KV cache and scratch may take (default: what is available)\n"
    "      --no-cache          do not keep weights in the kernels' layout on disk\n"
    "      --cache-dir DIR     where they are kept (default: $YLLAMA_CACHE_DIR, $XDG_CACHE_HOME/yllama or ~/.cache/yllama)\n"
    "      --cache-size SIZE   what may be kept, like 20G (default: half of the free disk)\n"
    "      --isa NAME          instruction set of the kernels (default: the best of this machine)\n"
    "      --once              leave when the coordinator is gone (default: wait for it to come back)\n"
    "      --timeout SECONDS   a coordinator or next stage silent this long is gone (default 10)\n"
    "      --log-file FILE     append the log there (default: stderr)\n"
    "  -v, --verbose           log what happens, not only what goes wrong\n"
    "  -h, --help              this text\n"
    "      --version           the version\n"
    "\n"
    "exit codes: 0 told to stop, 1 failed, 2 usage, 3 the coordinator is gone or refuses, 130 interrupted\n";

static volatile sig_atomic_t stop_signal;
static int verbosity;
static char log_name[FRAME_MAX_NAME + 1] = "worker";

static void on_signal(int number)
{
    stop_signal = number;
}

/* One write a line, so that lines of several workers do not mix. */
static void log_line(int level, const char *line)
{
    if (level > verbosity) return;
    char text[1280];
    int n = snprintf(text, sizeof text, "[%s] %s\n", log_name, line);
    if (n < 0) return;
    size_t length = (size_t)n < sizeof text ? (size_t)n : sizeof text - 1;
    if (write(STDERR_FILENO, text, length) < 0) return; /* nowhere left to say it */
}

static int usage_error(const char *message, const char *value)
{
    fprintf(stderr, "yllama-worker: %s%s%s (see --help)\n", message, value ? ": " : "", value ? value : "");
    return EXIT_USAGE;
}

static int isa_error(const char *isa)
{
    char list[64], message[128];
    kernels_list(list, sizeof list);
    snprintf(message, sizeof message, "--isa: this machine has %s, and not", list);
    return usage_error(message, isa);
}

static bool parse_number(const char *text, unsigned long long min, unsigned long long max, unsigned long long *out)
{
    char *end;
    errno = 0;
    *out = strtoull(text, &end, 10);
    return *text >= '0' && *text <= '9' && !*end && !errno && *out >= min && *out <= max;
}

static bool redirect_log(const char *path)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (fd < 0) return false;
    bool done = dup2(fd, STDERR_FILENO) >= 0;
    close(fd);
    return done;
}

static void handle_signals(bool once)
{
    struct sigaction act = {.sa_handler = on_signal};
    sigaction(SIGTERM, &act, NULL);
    /* A local worker belongs to its coordinator, which gets the terminal's Ctrl-C and decides. */
    if (once) act.sa_handler = SIG_IGN;
    sigaction(SIGINT, &act, NULL);
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    sigaction(SIGPIPE, &ignore, NULL);
    sigaction(SIGXFSZ, &ignore, NULL); /* a cache file that may not grow is an error of its writer's */
}

enum {
    OPT_LISTEN = 256,
    OPT_DISCOVER,
    OPT_NAME,
    OPT_KEY,
    OPT_KEY_FILE,
    OPT_INSECURE,
    OPT_ADVERTISE,
    OPT_CPUS,
    OPT_MEMORY,
    OPT_NO_CACHE,
    OPT_CACHE_DIR,
    OPT_CACHE_SIZE,
    OPT_ISA,
    OPT_ONCE,
    OPT_TIMEOUT,
    OPT_LOG_FILE,
    OPT_VERSION
};

/* Where the key comes from. A later place replaces an earlier one. */
typedef struct key_source {
    char *text;
    const char *path;
} key_source;

/* Reads the key, if there is one. Returns -1 to go on, or an exit code. Its text is wiped: the list of processes shows it no
 * longer.
 */
static int read_key(const key_source *from, cluster_key *key, native_shell_options *o)
{
    yl_error err;
    yl_status status = YL_OK;
    if (from->text)
        status = cluster_key_parse(key, from->text, &err);
    else if (from->path)
        status = cluster_key_read_file(key, from->path, &err);
    else
        return -1;
    if (from->text) cluster_key_wipe(from->text, strlen(from->text));
    o->key = key;
    if (!status) return -1;
    fprintf(stderr, "yllama-worker: %s\n", err.msg);
    return status == YL_EINVAL ? EXIT_USAGE : EXIT_FAILED;
}

/* Parses the command line into o. Returns -1 to go on, or an exit code. */
static int parse_options(int argc, char **argv, native_shell_options *o, key_source *key)
{
    static const struct option LONG[] = {{"connect", required_argument, NULL, 'C'},
                                         {"listen", required_argument, NULL, OPT_LISTEN},
                                         {"discover", no_argument, NULL, OPT_DISCOVER},
                                         {"data", required_argument, NULL, 'd'},
                                         {"key", required_argument, NULL, OPT_KEY},
                                         {"key-file", required_argument, NULL, OPT_KEY_FILE},
                                         {"insecure", no_argument, NULL, OPT_INSECURE},
                                         {"advertise", required_argument, NULL, OPT_ADVERTISE},
                                         {"name", required_argument, NULL, OPT_NAME},
                                         {"model", required_argument, NULL, 'm'},
                                         {"threads", required_argument, NULL, 't'},
                                         {"cpus", required_argument, NULL, OPT_CPUS},
                                         {"memory", required_argument, NULL, OPT_MEMORY},
                                         {"no-cache", no_argument, NULL, OPT_NO_CACHE},
                                         {"cache-dir", required_argument, NULL, OPT_CACHE_DIR},
                                         {"cache-size", required_argument, NULL, OPT_CACHE_SIZE},
                                         {"isa", required_argument, NULL, OPT_ISA},
                                         {"once", no_argument, NULL, OPT_ONCE},
                                         {"timeout", required_argument, NULL, OPT_TIMEOUT},
                                         {"log-file", required_argument, NULL, OPT_LOG_FILE},
                                         {"verbose", no_argument, NULL, 'v'},
                                         {"help", no_argument, NULL, 'h'},
                                         {"version", no_argument, NULL, OPT_VERSION},
                                         {0}};
    unsigned long long n;
    for (int c; (c = getopt_long(argc, argv, "C:d:m:t:vh", LONG, NULL)) != -1;) {
        switch (c) {
        case 'C': o->coordinator = optarg; break;
        case OPT_LISTEN: o->listen = optarg; break;
        case OPT_DISCOVER: o->discover = true; break;
        case 'd': o->data_endpoint = optarg; break;
        case 'm': o->model_path = optarg; break;
        case OPT_NAME: o->name = optarg; break;
        case OPT_KEY: *key = (key_source){.text = optarg}; break;
        case OPT_KEY_FILE: *key = (key_source){.path = optarg}; break;
        case OPT_INSECURE: o->is_insecure = true; break;
        case OPT_ADVERTISE: o->advertise = optarg; break;
        case OPT_ONCE: o->once = true; break;
        case OPT_NO_CACHE: o->no_cache = true; break;
        case OPT_CACHE_DIR: o->cache_dir = optarg; break;
        case OPT_CACHE_SIZE:
            if (!byte_size_parse(optarg, &o->cache_bytes) || !o->cache_bytes)
                return usage_error("--cache-size takes a number of bytes, like 20G", optarg);
            break;
        case 'v': verbosity = 2; break;
        case 't':
            if (!parse_number(optarg, 1, THREAD_POOL_MAX, &n)) return usage_error("-t takes 1 to 256 threads", optarg);
            o->n_threads = (uint32_t)n;
            break;
        case OPT_CPUS: {
            yl_error err;
            if (cpus_bind(optarg, &err)) return usage_error("--cpus", err.msg);
            break;
        }
        case OPT_MEMORY:
            if (!parse_number(optarg, 1, 1ull << 30, &n)) return usage_error("--memory takes a number of MiB", optarg);
            o->memory_bytes = n << 20;
            break;
        case OPT_TIMEOUT: {
            char *end;
            double seconds = strtod(optarg, &end);
            if (end == optarg || *end || !(seconds >= 0.1 && seconds <= 86400))
                return usage_error("--timeout takes 0.1 to 86400 seconds", optarg);
            o->silence_ms = (uint32_t)(seconds * 1000);
            break;
        }
        case OPT_ISA:
            o->kernels = kernels_named(optarg);
            if (!o->kernels) return isa_error(optarg);
            break;
        case OPT_LOG_FILE:
            if (!redirect_log(optarg)) return usage_error("the log file cannot be written", optarg);
            break;
        case 'h': return fputs(HELP, stdout) < 0 ? EXIT_FAILED : EXIT_OK;
        case OPT_VERSION: return puts("yllama-worker " YLLAMA_VERSION) < 0 ? EXIT_FAILED : EXIT_OK;
        default: return EXIT_USAGE;
        }
    }
    if (optind < argc) return usage_error("unknown argument", argv[optind]);
    int n_ways = (o->coordinator != NULL) + (o->listen != NULL) + o->discover;
    if (!n_ways)
        return usage_error("--connect is missing: the address of the coordinator (or --discover, or --listen, where it calls)",
                           NULL);
    if (n_ways > 1)
        return usage_error("--connect knows the coordinator, --discover looks for it, --listen waits for it: one of them", NULL);
    return -1;
}

/* More threads than cores is allowed. (The coordinator of a local worker has said it already.) */
static void choose_threads(native_shell_options *o)
{
    uint32_t cores = cpus_usable();
    if (!o->n_threads) o->n_threads = cores < THREAD_POOL_MAX ? cores : THREAD_POOL_MAX;
    if (o->n_threads <= cores || o->once) return;
    char line[128];
    snprintf(line, sizeof line, "%u threads, but only %u cores may be used: fewer threads (-t) are faster", o->n_threads, cores);
    log_line(0, line);
}

int main(int argc, char **argv)
{
    native_shell_options o = {.kernels = kernels_best(), .silence_ms = 10000, .log = log_line, .stop = &stop_signal};
    key_source from = {.text = getenv("YLLAMA_KEY"), .path = getenv("YLLAMA_KEY_FILE")};
    cluster_key key;
    if (from.text && !*from.text) from.text = NULL; /* an empty one counts as unset */
    if (from.path && !*from.path) from.path = NULL;
    int code = parse_options(argc, argv, &o, &from);
    if (code < 0 && (!o.coordinator || strncmp(o.coordinator, "ipc://", 6) != 0))
        code = read_key(&from, &key, &o); /* ipc has none */
    if (code >= 0) return code;
    if (o.name && (!*o.name || strlen(o.name) > FRAME_MAX_NAME)) return usage_error("--name takes 1 to 128 bytes", o.name);
    if (o.name)
        snprintf(log_name, sizeof log_name, "%s", o.name);
    else
        gethostname(log_name, sizeof log_name - 1);
    /* A local worker's coordinator tells its user what happens; another's own user wants to know. */
    if (!o.once && !verbosity) verbosity = 1;
    choose_threads(&o);
    if (o.once) prctl(PR_SET_PDEATHSIG, SIGTERM);
    handle_signals(o.once);

    yl_error err;
    yl_status status = native_shell_run(&o, &err);
    cluster_key_wipe(&key, sizeof key);
    if (status) log_line(0, err.msg);
    if (status) return status == YL_EPEER ? EXIT_PEER : status == YL_EINVAL ? EXIT_USAGE : EXIT_FAILED;
    return stop_signal ? (stop_signal == SIGINT ? EXIT_INTERRUPTED : EXIT_OK) : EXIT_OK;
}
