// llama_side.mjs: llama.cpp's side of a comparison, a process of its own so that its memory is its own.
//
//   node llama_side.mjs '{"model": "m.gguf", "threads": 2, "flash": true, "test": {"kind": "tg", "n": 64, "depth": 0, "parallel": 1}, "modules": DIR}'
//
// It loads the model, fills the context, warms up, and says so in a line of JSON; then every line on standard input is a repetition,
// answered by a line of JSON with its milliseconds.
//
// llama.cpp is given its best. Its library is called through the objects beneath node-llama-cpp's sequences: fill a batch, decode it.
// No token is sampled, and no generator of JavaScript stands between two batches: on a model so small that hardly anything else is
// left, a token takes 0.50 ms this way and 0.70 by `sequence.evaluate`; prompts take the same either way. UV_THREADPOOL_SIZE=1, which
// versus.mjs sets, makes one and the same thread call it each time: with two threads on two cores that is a fourth faster. A batch
// holds 512 rows, and so does a micro-batch: node-llama-cpp gives llama.cpp one number for both, and one number of threads.
import {readFileSync} from 'node:fs';
import {createInterface} from 'node:readline';
import {importPackage} from '../../tools/vocab_gguf.mjs';

const job = JSON.parse(process.argv[2]), {test} = job, BATCH = 512;
const say = (message) => process.stdout.write(JSON.stringify(message) + '\n');
const statusBytes = (name) => 1024 * Number(readFileSync('/proc/self/status', 'utf8').match(new RegExp(`${name}:\\s*(\\d+)`))[1]);

let getLlama, LlamaLogLevel;
try {
    ({getLlama, LlamaLogLevel} = await importPackage('node-llama-cpp', job.modules));
} catch (e) {
    say({missing: e.message.split('\n')[0]});
    process.exit(77);
}
const nodeBytes = statusBytes('VmRSS'); // what JavaScript takes without llama.cpp: not counted against it
const llama = await getLlama({gpu: false, build: 'never', skipDownload: true, maxThreads: job.threads, logLevel: LlamaLogLevel.error})
    .catch((e) => {
        say({missing: e.message.split('\n')[0]});
        process.exit(77);
    });

const begun = performance.now();
const model = await llama.loadModel({modelPath: job.model, gpuLayers: 0});
const context = await model.createContext({contextSize: test.depth + test.n + 8, sequences: test.parallel, batchSize: BATCH,
    threads: job.threads, flashAttention: job.flash});
const sequences = Array.from({length: test.parallel}, () => context.getSequence());
const ctx = context._ctx;

// Numbers without meaning, as on the other side: which token it is costs nothing.
let state = 1;
const nextToken = () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state % (model.fileInfo.metadata.tokenizer.ggml.tokens?.length ?? 256);
};
const tokens = Uint32Array.from({length: test.depth + test.n}, nextToken), none = new Uint32Array(0);

// Positions [begin, end) of every sequence in as few batches as may be; logits of the last one.
async function read(begin, end) {
    for (let at = begin; at < end;) {
        const n = Math.min(end - at, Math.max(1, Math.floor(BATCH / test.parallel)));
        ctx.initBatch(n * test.parallel);
        for (const s of sequences) {
            const isLast = at + n === end;
            ctx.addToBatch(s._sequenceId, at, tokens.subarray(at, at + n), isLast ? Uint32Array.of(n - 1) : none);
        }
        await ctx.decodeBatch();
        at += n;
    }
}

async function generate(begin, end) {
    for (let at = begin; at < end; at++) {
        ctx.initBatch(test.parallel);
        for (const s of sequences) ctx.addToBatch(s._sequenceId, at, tokens.subarray(at, at + 1), Uint32Array.of(0));
        await ctx.decodeBatch();
    }
}

const work = test.kind === 'pp' ? read : generate, end = test.depth + test.n;
function forget(from) {
    for (const s of sequences) ctx.removeTokenCellsFromSequence(s._sequenceId, from, -1);
}

if (test.kind === 'start') {
    await read(0, test.n);
    say({ms: performance.now() - begun, peak: statusBytes('VmHWM') - nodeBytes});
    process.exit(0);
}
await read(0, test.depth);
for (let i = 0; i < 2 && performance.now() - begun < 20000; i++) {
    await work(test.depth, end);
    forget(test.depth);
    await new Promise((resolve) => setTimeout(resolve, 300)); // what node does after it started is over, too
}
say({ready: true, threads: ctx.getThreads(), release: llama.llamaCppRelease.release});
for await (const _ of createInterface({input: process.stdin})) {
    const start = performance.now();
    await work(test.depth, end);
    say({ms: performance.now() - start, peak: statusBytes('VmHWM') - nodeBytes});
    forget(test.depth);
}
process.exit(0);
