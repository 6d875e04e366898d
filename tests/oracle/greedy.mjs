// greedy.mjs: the likeliest continuation of a prompt, by us over several workers and by llama.cpp: the same tokens.
//
//   node tests/oracle/greedy.mjs --bin build/bin --model FILE.gguf [--prompt TEXT] [--n 60] [--modules DIR]
//
// Both continue the same tokens step by step. Where they part, llama.cpp's own margin between its two likeliest tokens is printed: a
// difference counts only where that margin is beyond the noise of rounding (0.15 of a logit). Exit code 0: no such difference;
// 77: a package is missing.
import {execFileSync} from 'node:child_process';
import {resolve, join} from 'node:path';
import {parseArgs} from 'node:util';
import {importPackage} from '../tools/vocab_gguf.mjs';

const {values: args} = parseArgs({options: {
    bin: {type: 'string', default: 'build/bin'}, model: {type: 'string'}, prompt: {type: 'string', default: 'Once upon a time'},
    n: {type: 'string', default: '60'}, modules: {type: 'string'}}});
const NOISE = 0.15, n = Number(args.n), yllama = join(resolve(args.bin), 'yllama');

let llama;
try {
    const {getLlama} = await importPackage('node-llama-cpp', args.modules);
    llama = await getLlama({gpu: false, build: 'never', skipDownload: true, maxThreads: 1, logLevel: 'error'});
} catch (e) {
    console.log(`skipped: ${e.message.split('\n')[0]}`);
    process.exit(77);
}
const model = await llama.loadModel({modelPath: args.model, gpuLayers: 0});
const context = await model.createContext({contextSize: 512, sequences: 1});
const sequence = context.getSequence();

// Prompt tokens by us, so that the tokenizers are compared too.
const ids = execFileSync(yllama, ['tokenize', '-m', args.model, '-p', args.prompt, '--ids'], {encoding: 'utf8'});
const prompt = JSON.parse(ids.trim().startsWith('[') ? ids : `[${ids.trim().split(/[\s,]+/).join(',')}]`);
const theirs = [...(model.tokens.shouldPrependBosToken ? [model.tokens.bos] : []), ...model.tokenize(args.prompt, true)];
if (JSON.stringify(prompt) !== JSON.stringify(theirs)) {
    console.log(`the prompt's tokens differ: ours ${prompt}, llama.cpp's ${theirs}`);
    process.exit(1);
}

// Our text as tokens: the answer without the prompt, tokenized again, may be cut otherwise; so compare texts.
const ours = execFileSync(yllama, ['run', '-m', args.model, '--local', '2', '-p', args.prompt, '-n', String(n), '--temp', '0', '--ignore-eos',
    '--no-display-prompt'], {stdio: ['ignore', 'pipe', 'ignore']});

let text = Buffer.alloc(0), last = prompt, agreed = 0, verdict = 0;
for (; agreed < n; agreed++) {
    const answers = await sequence.controlledEvaluate(last.map((t, i) => i === last.length - 1
        ? [t, {generateNext: {probabilities: true, options: {temperature: 0}}}] : t));
    const [[token, p], [, second]] = [...answers.at(-1).next.probabilities].slice(0, 2);
    const piece = Buffer.from(model.detokenize([token], false, [...prompt, ...last].slice(-1)));
    const next = Buffer.concat([text, piece]);
    if (!ours.subarray(0, next.length).equals(next)) {
        const margin = Math.log(p / second);
        console.log(`token ${agreed + 1} differs: llama.cpp has ${JSON.stringify(piece.toString())}, its margin is ${margin.toFixed(3)}`);
        verdict = margin > NOISE ? 1 : 0;
        break;
    }
    text = next;
    last = [token];
}
console.log(`${agreed} of ${n} greedy tokens are llama.cpp's: ${JSON.stringify(text.toString())}`);
console.log(JSON.stringify({oracle: 'greedy', model: args.model, agreed, n}));
process.exit(verdict);
