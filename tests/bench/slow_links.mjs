// slow_links.mjs: chains of real workers joined over TCP, every edge of which (coordinator to first stage, stage to stage, last stage
// to coordinator, and control) goes through a relay that makes it as slow as a link between distant machines.
//
//   node tests/bench/slow_links.mjs --bin build/bin --model deploy/local/model/kingjames.gguf [--rtt 0,1,5,25,75] [--stages 1,2,4]
//       [--streams 1,8] [--rate 1gbit] [--wire f32] [--threads 1] [--n 48] [--prompt 512] [--reps 3] [--texts yes|no] [--json FILE]
//   node tests/bench/slow_links.mjs --model M --from FILE        the tables of lines that earlier runs wrote to FILE
//
// --rtt: there and back, in ms; each way takes half. For each chain: `yllama bench` reads a prompt and makes tokens of one stream and
// of several; `yllama run` continues a text that quotes its prompt and two that do not, with and without drafts. `yllama plan` then says
// what it would have foreseen, for machines as fast as one stage is at the first round trip (the least of --rtt) of 1 stage: --stages begins with 1 for that.
//
// Addresses: programs listen at 127.0.0.1, and are told to find each other at 127.0.0.2, where the relay listens at the same ports.
// A line of JSON for each chain goes to standard output (and to FILE), the tables behind them.
import {execFileSync, spawn} from 'node:child_process';
import {appendFileSync, readFileSync} from 'node:fs';
import {basename, join, resolve} from 'node:path';
import {parseArgs} from 'node:util';

const {values: args} = parseArgs({options: {
    bin: {type: 'string', default: 'build/bin'}, model: {type: 'string'}, rtt: {type: 'string', default: '0,1,5,25,75'},
    stages: {type: 'string', default: '1,2,4'}, streams: {type: 'string', default: '1,8'}, rate: {type: 'string', default: '0'},
    wire: {type: 'string', default: 'f32'}, threads: {type: 'string', default: '1'}, n: {type: 'string', default: '48'},
    prompt: {type: 'string', default: '512'}, reps: {type: 'string', default: '3'}, texts: {type: 'string', default: 'yes'},
    port: {type: 'string', default: '17620'}, json: {type: 'string'}, from: {type: 'string'}}});
const numbers = (text) => text.split(',').map(Number);
const bin = (name) => join(resolve(args.bin), name), port = Number(args.port), streams = numbers(args.streams);

// A psalm with a refrain, and two that have none: these are sampled, as likeliest words of a small model soon repeat themselves.
const QUOTING = 'Give thanks unto the LORD; for he is good: for his mercy endureth for ever. Give thanks unto the God of gods: ' +
    'for his mercy endureth for ever. Give thanks to the Lord of lords: for his mercy endureth for ever. To him';
const OTHER = ['And it came to pass in those days, that', 'The words of the Preacher, the son of David, king in Jerusalem.'];
const TEXT_TOKENS = 128;

// --- a chain ---

const started = [];
for (const signal of ['SIGTERM', 'SIGINT']) process.on(signal, () => stopAll().then(() => process.exit(1)));

function start(name, list) {
    const child = spawn(bin(name), list.map(String), {stdio: ['ignore', 'ignore', 'pipe']});
    child.said = '';
    child.stderr.on('data', (text) => (child.said += text));
    child.ended = new Promise((done) => child.on('close', done));
    started.push(child);
    return child;
}

async function stopAll() {
    for (const child of started.splice(0)) {
        child.kill('SIGTERM');
        await child.ended;
    }
}

// Ports: control, results, and one a worker.
async function startChain(nStages, rtt) {
    const pairs = Array.from({length: nStages + 2}, (_, i) => ['--listen', `127.0.0.2:${port + i}`, '--to', `127.0.0.1:${port + i}`]).flat();
    const relay = start('relay', ['--delay', rtt ? `${rtt / 2}ms` : '0', '--rate', args.rate, ...pairs]);
    while (!relay.said.includes('ready')) {
        if (relay.exitCode !== null) throw new Error(`relay: ${relay.said}`);
        await new Promise((done) => setTimeout(done, 20));
    }
    for (let i = 0; i < nStages; i++)
        start('yllama-worker', ['--connect', `tcp://127.0.0.2:${port}`, '--data', `tcp://127.0.0.1:${port + 2 + i}`, '--advertise', '127.0.0.2',
            '--name', `stage-${i}`, '-m', args.model, '-t', args.threads]);
}

// A command of yllama over the chain: what it printed.
async function run(command, nStages, list) {
    const child = spawn(bin('yllama'), [command, '-m', args.model, '--workers', nStages, '--layers', 'even', '--listen', `tcp://127.0.0.1:${port}`,
        '--result-port', port + 1, '--wire', args.wire, ...list].map(String), {stdio: ['ignore', 'pipe', 'pipe']});
    let out = '', said = '';
    child.stdout.on('data', (text) => (out += text));
    child.stderr.on('data', (text) => (said += text));
    const code = await new Promise((done) => child.on('close', done));
    if (code) throw new Error(`yllama ${command} ${list.join(' ')} ended with code ${code}: ${said}`);
    return {out, said};
}

// --- what is measured ---

async function speed(nStages, list) {
    const {out} = await run('bench', nStages, ['-o', 'jsonl', '-r', args.reps, ...list]);
    const r = JSON.parse(out.trim().split('\n').at(-1));
    return {tokens_s: r.tokens_s, min: r.tokens_s_min, max: r.tokens_s_max};
}

async function text(nStages, prompt, sampling, draft) {
    const {said, out} = await run('run', nStages, ['-p', prompt, '-n', TEXT_TOKENS, '--ignore-eos', '--draft', draft, ...sampling]);
    const m = said.match(/answer: (\d+) tokens, ([\d.]+) tokens\/s, seed \d+(?:; (\d+) of (\d+) drafted)?/);
    if (!m) throw new Error(`no speed in: ${said}`);
    return {tokens_s: Number(m[2]), extra_rows: (Number(m[4] ?? 0) - Number(m[3] ?? 0)) / Number(m[1]), out};
}

async function texts(nStages) {
    const result = {quoting: [], other: []};
    const cases = [['quoting', QUOTING, ['--temp', 0]], ...OTHER.map((p, i) => ['other', p, ['--temp', 0.8, '--seed', i + 1]])];
    for (const [kind, prompt, sampling] of cases) {
        const plain = await text(nStages, prompt, sampling, 'none'), drafted = await text(nStages, prompt, sampling, 'ngram');
        if (plain.out !== drafted.out) throw new Error('drafts changed the text');
        result[kind].push({plain: plain.tokens_s, drafted: drafted.tokens_s, extra_rows: drafted.extra_rows});
    }
    return result;
}

async function measure(nStages, rtt) {
    const r = {model: basename(args.model), stages: nStages, rtt, rate: args.rate, wire: args.wire, threads: Number(args.threads), streams: {}};
    try {
        await startChain(nStages, rtt);
        if (Number(args.prompt)) r.prefill = await speed(nStages, ['-p', args.prompt, '-n', 0]);
        for (const n of streams) r.streams[n] = await speed(nStages, ['-p', 0, '-n', args.n, '-np', n]);
        if (args.texts === 'yes') r.texts = await texts(nStages);
    } finally {
        await stopAll();
    }
    return r;
}

// --- what was foreseen ---

function plan(nStages, rtt, rate, wire, np, machine) {
    const link = `${rate === '0' ? '100gbit' : rate},${rtt || 0.001}ms`, layers = Number(inspected.n_layer);
    const nodes = ['here=1GB:1GB/s'], parts = [];
    for (let i = 0; i < nStages; i++) {
        nodes.push(`m${i}=64GB:${machine.bytes.toFixed(9)}GB/s:${machine.macs.toFixed(9)}GMAC/s`);
        const from = Math.round((layers * i) / nStages), to = Math.round((layers * (i + 1)) / nStages) - 1;
        parts.push(from === to ? `m${i}=${from}` : `m${i}=${from}-${to}`);
    }
    return JSON.parse(execFileSync(bin('yllama'), ['plan', '-m', args.model, '--json', '--assume', nodes.join(','), '--link', link, '--wire', wire,
        '--layers', parts.join(','), '-np', String(np)], {encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe']}));
}

let inspected;

// The two rates of a machine with which the plan foresees what one stage did at the least round trip.
function machineOf(base) {
    const machine = {bytes: 20, macs: 100};
    for (let i = 0; i < 8; i++) {
        const p = plan(1, base.rtt, base.rate, base.wire, 1, machine);
        machine.bytes *= base.streams[1].tokens_s / p.one.tokens_per_s;
        if (base.prefill) machine.macs *= base.prefill.tokens_s / p.prefill.tokens_per_s;
    }
    return machine;
}

function foresee(results) {
    inspected = JSON.parse(execFileSync(bin('yllama'), ['inspect', args.model, '--json'], {encoding: 'utf8'})).hparams;
    const base = results.filter((r) => r.stages === 1 && r.streams[1]).toSorted((a, b) => a.rtt - b.rtt)[0];
    if (!base) return;
    const machine = machineOf(base);
    for (const r of results) {
        const many = Math.max(...Object.keys(r.streams)), p = plan(r.stages, r.rtt, r.rate, r.wire, many, machine);
        r.foreseen = {prefill: p.prefill.tokens_per_s, 1: p.one.tokens_per_s, [many]: many > 1 ? p.many.tokens_per_s : p.one.tokens_per_s};
    }
}

// --- tables ---

const show = (x) => (x === undefined ? '' : x >= 100 ? x.toFixed(0) : x.toFixed(1));

function printTables(results) {
    const counts = [...new Set(results.flatMap((r) => Object.keys(r.streams)))].map(Number).toSorted((a, b) => a - b);
    const columns = ['prefill', ...counts];
    const head = ['stages', 'round trip', 'wire', ...columns.map((c) => (c === 'prefill' ? 'prompt' : `${c} stream${c > 1 ? 's' : ''}`)),
        'quoting text, drafts / none', 'other text', 'rows more'];
    console.log(`| ${head.join(' | ')} |\n|${'---|'.repeat(head.length)}`);
    for (const r of results) {
        const cells = columns.map((c) => {
            const m = c === 'prefill' ? r.prefill : r.streams[c];
            return m ? `${show(m.tokens_s)} (${show(r.foreseen?.[c])})` : '';
        });
        const ratio = (list) => show(list.reduce((s, t) => s + t.drafted / t.plain, 0) / list.length);
        const t = r.texts, more = t && Math.max(...t.other.map((o) => o.extra_rows));
        console.log(`| ${r.stages} | ${r.rtt} ms | ${r.wire} | ${cells.join(' | ')} | ` + (t ? `${show(t.quoting[0].drafted)} / ${show(t.quoting[0].plain)}` +
            ` = ${ratio(t.quoting)} | ${ratio(t.other)} | ${(100 * more).toFixed(1)} % |` : '| | |'));
    }
}

// --- all of it ---

if (!args.model) throw new Error('--model FILE: what to measure with');
const results = [];
if (args.from) {
    const all = readFileSync(args.from, 'utf8').trim().split('\n').map((line) => JSON.parse(line));
    results.push(...all.filter((r) => r.model === basename(args.model)));
} else {
    for (const nStages of numbers(args.stages)) {
        for (const rtt of numbers(args.rtt)) {
            const r = await measure(nStages, rtt);
            results.push(r);
            console.log(JSON.stringify(r));
            if (args.json) appendFileSync(args.json, JSON.stringify(r) + '\n');
        }
    }
}
foresee(results);
printTables(results);
