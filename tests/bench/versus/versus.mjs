// versus.mjs: llama.cpp, as its users get it from npm, and this program in turn, on the same file with as many threads.
//
//   node tests/bench/versus/versus.mjs --bin build/bin --modules DIR/node_modules --models a.gguf,b.gguf [--threads 1,2] [--rounds 5]
//       [--tests pp512,tg64,tg64@4096,tg64x8,start,tg64+busy] [--flash best|on|off] [--flags="--no-mmap"] [--cache-dir DIR] [--json FILE]
//
// Tests: pp512 reads a prompt of 512 tokens; tg64 makes 64 tokens; @4096 with so many in the context before; x8 for so many sequences
// at the same time; +busy while another program keeps one core busy; start is a short prompt's first token, from nothing (start!first:
// with our cache empty).
//
// Both programs hold the model in memory and do one repetition after the other, so that the two of a pair meet the same weather:
// memory bandwidth on a shared machine changes within minutes. It is read before, between and after. A ratio is that of a pair; the
// table has the median of them and the extremes. llama.cpp gets the better of its two ways of attention (--flash best), and what
// llama_side.mjs says. Of a start, llama.cpp's clock begins when Node and the library are loaded, ours when the process is made.
//
// The table goes to standard output, behind it a line of JSON a result. Exit code 77: node-llama-cpp is not installed.
import {spawn, execFileSync} from 'node:child_process';
import {mkdtempSync, rmSync, appendFileSync} from 'node:fs';
import {cpus, tmpdir} from 'node:os';
import {basename, dirname, join, resolve} from 'node:path';
import {fileURLToPath} from 'node:url';
import {parseArgs} from 'node:util';
import {Side} from './side.mjs';

const {values: args} = parseArgs({options: {
    bin: {type: 'string', default: 'build/bin'}, modules: {type: 'string'}, models: {type: 'string'}, threads: {type: 'string', default: '1,2'},
    rounds: {type: 'string', default: '5'}, tests: {type: 'string', default: 'pp512,tg64,tg64@4096,tg64x8,start!first,start,tg64+busy'},
    flash: {type: 'string', default: 'best'}, flags: {type: 'string', default: ''}, 'cache-dir': {type: 'string'}, json: {type: 'string'}}});
const here = dirname(fileURLToPath(import.meta.url)), yllama = join(resolve(args.bin), 'yllama'), rounds = Number(args.rounds);
const smallModel = join(here, '../../../deploy/local/model/kingjames.gguf'), START_PROMPT = 'a b c d e f g';
const flags = args.flags.split(' ').filter((f) => f);
const cacheDir = args['cache-dir'] ?? mkdtempSync(join(tmpdir(), 'yllama-versus-')), ours = {YLLAMA_CACHE_DIR: cacheDir};

const median = (list) => {
    const s = list.toSorted((a, b) => a - b);
    return (s[(s.length - 1) >> 1] + s[s.length >> 1]) / 2;
};
const spread = (list) => ({median: median(list), min: Math.min(...list), max: Math.max(...list)});

function parseTest(text) {
    const m = text.match(/^(pp|tg)(\d+)(?:x(\d+))?(?:@(\d+))?(\+busy)?$/);
    if (m) return {text, kind: m[1], n: Number(m[2]), parallel: Number(m[3] ?? 1), depth: Number(m[4] ?? 0), busy: !!m[5]};
    if (text === 'start' || text === 'start!first') return {text, kind: 'start', first: text !== 'start', parallel: 1, depth: 0};
    throw new Error(`--tests: '${text}' is not like pp512, tg64@4096, tg64x8, tg64+busy, start or start!first`);
}

// --- the two sides ---

const llamaSide = (model, threads, test, flash) => new Side(process.execPath,
    [join(here, 'llama_side.mjs'), JSON.stringify({model, threads, flash, test, modules: args.modules && resolve(args.modules)})],
    {UV_THREADPOOL_SIZE: '1'});

const oursSide = (model, threads, test) => new Side(yllama, ['bench', '-m', model, '-t', threads, '-r', rounds, '-o', 'jsonl', '--paced',
    '-p', test.kind === 'pp' ? test.n : 0, '-n', test.kind === 'tg' ? test.n : 0, '-d', test.depth, '-np', test.parallel, ...flags]
    .map(String), ours);

class Missing extends Error {}

async function ready(side) {
    const answer = await side.answer();
    if (answer.missing) throw new Missing(answer.missing);
    return answer;
}

// llama.cpp, loaded and warm, with the way of attention that was faster in one repetition.
async function bestLlama(model, threads, test) {
    const open = async (flash) => {
        const side = llamaSide(model, threads, test, flash);
        return {side, flash, ...await ready(side)};
    };
    if (args.flash !== 'best') return open(args.flash === 'on');
    const off = await open(false), offMs = (await off.side.turn()).ms;
    await off.side.close();
    const on = await open(true);
    if ((await on.side.turn()).ms <= offMs) return on;
    await on.side.close();
    return open(false);
}

// Bytes a second that threads read from memory now, in pages of both sizes.
function readBandwidth(threads) {
    const text = execFileSync(yllama, ['bench', '-m', smallModel, '-t', threads, '-p', 1, '-n', 0, '-r', 1, '--no-warmup', '-o', 'jsonl']
        .map(String), {encoding: 'utf8', env: {...process.env, ...ours}});
    return JSON.parse(text);
}

// --- comparisons ---

// A process that never waits, on the first core.
function keepOneCoreBusy() {
    return spawn('taskset', ['-c', '0', process.execPath, '-e', 'for(;;);'], {stdio: 'ignore'});
}

async function takeTurns(model, threads, test) {
    const llama = await bestLlama(model, threads, test), our = oursSide(model, threads, test);
    const busy = test.busy ? keepOneCoreBusy() : undefined, pairs = [];
    try {
        for (let i = 0; i < rounds; i++) {
            const row = await our.turn(), answer = await llama.side.turn();
            pairs.push({ours: row, llama: answer});
        }
    } finally {
        busy?.kill('SIGKILL');
        await Promise.all([our.close(), llama.side.close()]);
    }
    const last = readBandwidth(threads), nTokens = test.n * test.parallel * 1e3;
    return pairs.map(({ours: row, llama: answer}, i) => ({
        ours: row.tokens_s, llama: nTokens / answer.ms, ratio: row.tokens_s * answer.ms / nTokens,
        read: [row.read_before, row.read_after, pairs[i + 1]?.ours.read_before ?? last[row.pages === 'huge' ? 'read_huge' : 'read_4k']],
        share: row.share, pages: row.pages, isa: row.isa, flash: llama.flash, release: llama.release,
        peak: row.coordinator_peak_bytes + row.workers_peak_bytes, llamaPeak: answer.peak}));
}

// Milliseconds from spawning `yllama run` to its first byte of an answer (or its end: a token may be a piece of a character).
function timeOurStart(model, threads) {
    const begun = performance.now();
    const child = spawn(yllama, ['run', '-m', model, '-t', String(threads), '-p', START_PROMPT, '-n', '1', '--temp', '0', '--ignore-eos',
        '--special', '--no-display-prompt', ...flags], {env: {...process.env, ...ours}, stdio: ['ignore', 'pipe', 'pipe']});
    let ms, stderr = '';
    child.stdout.on('data', () => (ms ??= performance.now() - begun));
    child.stderr.on('data', (text) => (stderr += text));
    return new Promise((resolve, reject) => child.on('close', (code) => {
        if (code !== 0) return reject(new Error(`yllama run ended with code ${code}: ${stderr}`));
        resolve(ms ?? performance.now() - begun);
    }));
}

async function compareStarts(model, threads, test) {
    const ids = execFileSync(yllama, ['tokenize', '-m', model, '-p', START_PROMPT, '--ids'], {encoding: 'utf8'});
    test.n = JSON.parse(ids).length;
    const pairs = [];
    if (!test.first) await timeOurStart(model, threads); // fills the cache
    for (let i = 0; i < rounds; i++) {
        if (test.first) rmSync(cacheDir, {recursive: true, force: true});
        const read = [readBandwidth(threads)], our = await timeOurStart(model, threads), side = llamaSide(model, threads, test, true);
        const answer = await ready(side);
        await side.close();
        read.push(readBandwidth(threads));
        pairs.push({ours: our, llama: answer.ms, ratio: answer.ms / our, read: read.map((r) => r.read_4k), flash: true, llamaPeak: answer.peak});
    }
    return pairs;
}

async function compare(model, threads, test) {
    process.stderr.write(`${basename(model)}, ${threads} threads, ${test.text}\n`);
    const pairs = await (test.kind === 'start' ? compareStarts : takeTurns)(model, threads, test), last = pairs.at(-1);
    const [our, llama, ratio] = ['ours', 'llama', 'ratio'].map((k) => spread(pairs.map((p) => p[k])));
    return {bench: 'versus', model: basename(model), test: test.text, n_tokens: test.n, threads, unit: test.kind === 'start' ? 'ms' : 'tokens/s',
        ours: our, llama, ratio, read: spread(pairs.flatMap((p) => p.read)), share: last.share && median(pairs.map((p) => p.share)),
        peak_bytes: last.peak, llama_peak_bytes: last.llamaPeak, flash: last.flash, isa: last.isa, pages: last.pages, pairs, ...machine};
}

// --- the report ---

function describeMachine() {
    const git = (...words) => execFileSync('git', ['-C', here, ...words], {encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore']}).trim();
    let commit = '';
    try {
        commit = git('rev-parse', '--short', 'HEAD') + (git('status', '--porcelain') ? '+' : '');
    } catch { /* not a checkout */ }
    return {cpu: cpus()[0].model, cores: cpus().length, commit};
}

const machine = describeMachine();
const figure = (x) => (x >= 100 ? x.toFixed(0) : x >= 10 ? x.toFixed(1) : x.toFixed(2));
const range = (s, scale = 1) => `${figure(s.median / scale)} (${figure(s.min / scale)} to ${figure(s.max / scale)})`;
const gigabytes = (x) => (x === undefined ? '' : `${(x / 1e9).toFixed(2)} GB`);
const percent = (x) => (x === undefined ? '' : `${(100 * x).toFixed(0)} %`);

function tableRow(r) {
    const cells = [r.model, r.test, r.threads, `${range(r.ours)} ${r.unit}`, range(r.llama), `**${r.ratio.median.toFixed(2)}** (${r.ratio.min.toFixed(2)} to ${r.ratio.max.toFixed(2)})`,
        range(r.read, 1e9), r.share === undefined ? '' : `${percent(r.share)}, ${percent(r.share / r.ratio.median)}`,
        [gigabytes(r.peak_bytes), gigabytes(r.llama_peak_bytes)].filter((x) => x).join(', ')];
    return `| ${cells.join(' | ')} |`;
}

const results = [];
try {
    if (!args.models) throw new Error('--models is missing: which files?');
    const tests = args.tests.split(',').map(parseTest);
    for (const model of args.models.split(',').map((m) => resolve(m)))
        for (const threads of args.threads.split(',').map(Number))
            for (const test of tests) {
                const result = await compare(model, threads, test);
                results.push(result);
                if (args.json) appendFileSync(args.json, JSON.stringify(result) + '\n');
            }
} catch (e) {
    if (e instanceof Missing) console.log(`skipped: ${e.message}`);
    else console.error(`versus: ${e.message}`);
    process.exitCode = e instanceof Missing ? 77 : 1;
} finally {
    if (!args['cache-dir']) rmSync(cacheDir, {recursive: true, force: true});
}
if (results.length > 0) {
    console.log(`${machine.cpu}, ${machine.cores} cores; commit ${machine.commit}; llama.cpp ${results.find((r) => r.pairs[0].release)?.pairs[0].release ?? ''} by node-llama-cpp; ${rounds} rounds, medians (least to most)\n`);
    console.log('| model | test | threads | yllama | llama.cpp | ratio | read bandwidth, GB/s | share of the limit: yllama, llama.cpp | peak memory: yllama, llama.cpp |');
    console.log('|---|---|---:|---:|---:|---:|---:|---:|---:|');
    for (const r of results) console.log(tableRow(r));
    console.log('');
    for (const r of results) console.log(JSON.stringify(r));
}
