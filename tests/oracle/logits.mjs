// logits.mjs: our logits against llama.cpp's, for every number format, on random models.
//
//   node tests/oracle/logits.mjs --bin build/bin [--modules DIR] [--types F16,Q4_K] [--tokens 128]
//
// DIR is a node_modules folder with node-llama-cpp and @node-llama-cpp/linux-x64 (see package.json here); without it node looks
// where it always does. Exit code 77: a package is missing.
// For each format: makes a model (512 wide, 4 layers, logits spread by 1), computes the probabilities of every position with both, and prints the
// mean Kullback-Leibler divergence, how often the likeliest token is the same where llama.cpp's own margin is beyond the noise,
// and llama.cpp's divergence from itself (the same tokens in one batch and one by one). Exit code 0: all within the limits.
import {execFileSync} from 'node:child_process';
import {mkdtempSync, readFileSync, rmSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join, resolve} from 'node:path';
import {parseArgs} from 'node:util';
import {importPackage} from '../tools/vocab_gguf.mjs';

const {values: args} = parseArgs({options: {
    bin: {type: 'string', default: 'build/bin'}, modules: {type: 'string'}, tokens: {type: 'string', default: '128'},
    types: {type: 'string', default: 'F32,F16,BF16,Q8_0,Q4_0,Q4_1,Q5_0,Q5_1,Q2_K,Q3_K,Q4_K,Q5_K,Q6_K,IQ4_NL,IQ4_XS,Q4_K_M'}}});
const bin = resolve(args.bin);
const n_tokens = Number(args.tokens);
const types = args.types.split(',');
// A divergence of d is noise of about sqrt(2 d) on a logit: 0.03 at the limit. NOISE is for a difference of two, with room for its tails.
const MAX_KL = 5e-4, MIN_SAME_TOP = 0.99, NOISE = 0.15;

let llama;
try {
    const {getLlama} = await importPackage('node-llama-cpp', args.modules);
    llama = await getLlama({gpu: false, build: 'never', skipDownload: true, maxThreads: 2, logLevel: 'error'});
} catch (e) {
    console.log(`skipped: ${e.message.split('\n')[0]}`);
    process.exit(77);
}

// [n_tokens][n_vocab] probabilities by llama.cpp
async function theirs(path, tokens, n_vocab, batchSize) {
    const model = await llama.loadModel({modelPath: path, gpuLayers: 0});
    const context = await model.createContext({contextSize: tokens.length + 8, batchSize, sequences: 1});
    const answers = await context.getSequence().controlledEvaluate(
        tokens.map(t => [t, {generateNext: {probabilities: true, options: {temperature: 0}}}]));
    const rows = answers.map(a => {
        const row = new Float64Array(n_vocab);
        for (const [token, p] of a.next.probabilities) row[token] = p;
        return row;
    });
    await context.dispose();
    await model.dispose();
    return rows;
}

// the same by us, from raw logits
function ours(path, tokens, n_vocab, dir) {
    const out = join(dir, 'logits.f32');
    execFileSync(join(bin, 'yllama'), ['logits', '-m', path, '--tokens', tokens.join(' '), '-o', out, '--local', '2'], {stdio: ['ignore', 'ignore', 'inherit']});
    const bytes = readFileSync(out);
    const logits = new Float32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
    return tokens.map((_, i) => {
        const row = Float64Array.from(logits.subarray(i * n_vocab, (i + 1) * n_vocab));
        const max = row.reduce((a, b) => Math.max(a, b), -Infinity);
        const sum = row.reduce((a, b) => a + Math.exp(b - max), 0);
        return row.map(v => Math.exp(v - max) / sum);
    });
}

// Rows whose two likeliest tokens are closer than `margin` (a difference of logits) are not counted for the top-1.
function compare(p_rows, q_rows, margin) {
    let kl = 0, same = 0, decided = 0;
    p_rows.forEach((p, i) => {
        const q = q_rows[i];
        let best = 0, second = -1, best_q = 0;
        for (let t = 0; t < p.length; t++) {
            if (p[t] > 0) kl += p[t] * Math.log(p[t] / Math.max(q[t], 1e-30));
            if (p[t] > p[best]) { second = best; best = t; } else if (t !== best && (second < 0 || p[t] > p[second])) second = t;
            if (q[t] > q[best_q]) best_q = t;
        }
        if (Math.log(p[best] / p[second]) < margin) return; // llama.cpp itself is undecided
        decided++;
        same += best === best_q;
    });
    return {kl: kl / p_rows.length, same: decided ? same / decided : 1, decided};
}

const dir = mkdtempSync(join(tmpdir(), 'yllama-oracle-'));
let failed = 0;
console.log('format   mean KL     same top-1 (of)    llama.cpp against itself');
try {
    for (const type of types) {
        const path = join(dir, `${type}.gguf`), n_vocab = 2048;
        execFileSync(join(bin, 'make_model'), ['--out', path, '--type', type, '--n-vocab', n_vocab, '--n-embd', 512, '--n-layer', 4,
            '--n-head', 8, '--n-head-kv', 2, '--n-ff', 1536, '--n-ctx', 512, '--logit-spread', 1, '--seed', 7].map(String));
        const tokens = Array.from({length: n_tokens}, (_, i) => (i * 7919 + 13) % (n_vocab - 300) + 300);
        const q = ours(path, tokens, n_vocab, dir);
        const p = await theirs(path, tokens, n_vocab, 256);
        const self = compare(p, await theirs(path, tokens, n_vocab, 1), 0);
        const r = compare(p, q, NOISE);
        const ok = r.kl < MAX_KL && r.same >= MIN_SAME_TOP;
        failed += !ok;
        console.log(`${type.padEnd(8)} ${r.kl.toExponential(2).padEnd(11)} ${(100 * r.same).toFixed(1).padStart(5)} % (${r.decided})`.padEnd(42) +
            `${self.kl.toExponential(2)}${ok ? '' : '   BEYOND THE LIMIT'}`);
        console.log(JSON.stringify({oracle: 'llama.cpp', type, kl: r.kl, same_top: r.same, decided: r.decided, self_kl: self.kl}));
        rmSync(path);
    }
} finally {
    rmSync(dir, {recursive: true});
}
console.log(`${types.length - failed} passed, ${failed} failed`);
process.exit(failed ? 1 : 0);
