// tokenizers.mjs: our tokenizer against others, on thousands of texts.
//
//     node tokenizers.mjs TOKENIZE_LINES [--modules DIR] [--texts N] [--seed N] [--show N]
//
// TOKENIZE_LINES is the built program of tests/tools/tokenize_lines.c. DIR is a node_modules folder with node-llama-cpp,
// @node-llama-cpp/linux-x64, llama3-tokenizer-js and llama-tokenizer-js; without it node looks where it always does. Exit code 0: no
// difference that is not explained below; 1: differences; 77: a package is missing (skipped). Nothing is downloaded. Vocabulary files
// go to a temporary folder and are removed.
//
// Who is compared with whom:
//   - Llama 3's vocabulary: llama.cpp (with and without parsing special tokens), llama3-tokenizer-js; every single token's bytes too;
//   - the same vocabulary under the other pre-tokenizers' names: llama.cpp;
//   - Llama 2's 32,000 tokens: llama.cpp (with and without parsing special tokens), llama-tokenizer-js;
//   - which tokens begin a text, end it, end a turn, end generation: llama.cpp.
//
// Where they differ from each other we follow llama.cpp. Known, and left out of the count:
//   - U+FEFF is a blank for JavaScript's \s, U+0085 is not; Unicode and llama.cpp have it the other way round (llama3-tokenizer-js);
//   - JavaScript's letters are those of node's Unicode version, llama.cpp's are Unicode 15.1's (unassigned characters are left out);
//   - llama-tokenizer-js has merges where SentencePiece has scores, and knows no special tokens in a text.
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { importPackage, llama2Entries, llama3Entries, writeGguf } from "../tools/vocab_gguf.mjs";
import { SPECIALS, texts } from "./texts.mjs";

function option(name, fallback) {
    const i = process.argv.indexOf(name);
    return i < 0 ? fallback : process.argv[i + 1];
}

const program = process.argv[2];
const modules = option("--modules");
const nTexts = Number(option("--texts", 3000));
const seed = Number(option("--seed", 1));
const nShown = Number(option("--show", 3));
if (!program || program.startsWith("--")) {
    console.error("usage: node tokenizers.mjs TOKENIZE_LINES [--modules DIR] [--texts N] [--seed N] [--show N]");
    process.exit(2);
}

let llama, llama3, llama2;
try {
    const { getLlama } = await importPackage("node-llama-cpp", modules);
    llama = await getLlama({ gpu: false, build: "never", skipDownload: true, maxThreads: 1, logLevel: "error" });
    llama3 = (await importPackage("llama3-tokenizer-js", modules)).default;
    llama2 = (await importPackage("llama-tokenizer-js", modules)).default;
} catch (e) {
    console.log(`skipped: ${e.message.split("\n")[0]}`);
    process.exit(77);
}

const folder = mkdtempSync(join(tmpdir(), "yllama-tokenizers-"));
let nCompared = 0;
let nDifferent = 0;
const runs = [];

function ours(file, list, ...flags) {
    const parts = [];
    for (const text of list) {
        const bytes = Buffer.from(text, "utf8");
        parts.push(Buffer.from(`${bytes.length}\n`), bytes);
    }
    const done = spawnSync(program, [file, ...flags], { input: Buffer.concat(parts), maxBuffer: 1 << 30 });
    if (done.status !== 0) throw new Error(`${program} ${flags.join(" ")}: ${done.stderr}`);
    return done.stdout.toString().split("\n").slice(0, -1);
}

function compare(what, list, mine, theirs) {
    let n = 0;
    for (let i = 0; i < list.length; i++) {
        if (mine[i] === theirs[i]) continue;
        if (n++ < nShown) console.log(`  ${what}: ${JSON.stringify(list[i]).slice(0, 300)}\n    ours   ${mine[i]?.slice(0, 300)}\n    theirs ${theirs[i].slice(0, 300)}`);
    }
    nCompared += list.length;
    nDifferent += n;
    runs.push({ what, texts: list.length, different: n });
    console.log(`${what}: ${list.length} texts, ${n} different`);
}

async function withModel(name, entries, work) {
    const file = join(folder, `${name}.gguf`);
    writeGguf(file, entries);
    const model = await llama.loadModel({ modelPath: file, gpuLayers: 0, vocabOnly: true });
    try {
        await work(file, model);
    } finally {
        await model.dispose();
        rmSync(file);
    }
}

const ids = (tokens) => tokens.join(" ");

function compareRoles(what, file, model, nVocab) {
    const t = model.tokens;
    const ends = [];
    for (let id = 0; id < nVocab; id++) if (model.isEogToken(id)) ends.push(id);
    const none = (id) => id ?? -1;
    const theirs = `bos ${none(t.bos)} eos ${none(t.eos)} eot ${none(t.eot)} newline ${none(t.nl)} adds_bos ${Number(t.shouldPrependBosToken)} ends ${ids(ends)}`;
    const mine = ours(file, [], "--info")[0].replace(/ eom -?\d+/, "").replace(/ adds_eos \d/, "");
    compare(`${what}, roles`, ["roles"], [mine], [theirs]);
}

const list = texts(seed, nTexts);
const assigned = (s) => !/[\p{Cn}\ufeff\u0085]/u.test(s);

await withModel("llama-3", llama3Entries(llama3), async (file, model) => {
    for (const special of [false, true]) {
        const flags = special ? ["--parse-special"] : [];
        compare(`llama-bpe, special ${special}, llama.cpp`, list, ours(file, list, ...flags), list.map((s) => ids(model.tokenize(s, special))));
    }
    const known = list.filter(assigned);
    const theirs = known.map((s) => ids(llama3.encode(s, { bos: false, eos: false })));
    compare("llama-bpe, special true, llama3-tokenizer-js", known, ours(file, known, "--parse-special"), theirs);
    const every = llama3.vocabById.map((_, id) => String(id));
    const lossy = (hex) => new TextDecoder().decode(Buffer.from(hex, "hex")); // drops a leading U+FEFF, as theirs does
    compare("llama-bpe, bytes of every token, llama3-tokenizer-js", every, ours(file, every, "--pieces").map(lossy), every.map((id) => llama3.decode([Number(id)])));
    compareRoles("llama-bpe", file, model, 128256);
});

const pres = option("--pre", "default,smollm,gpt-2,qwen2,tekken,gpt-4o,qwen35,falcon,deepseek-llm,deepseek-coder,bloom,viking,bailingmoe,seed-coder,minicpm5,smaug-bpe,glm4,falcon3,command-r,stablelm2,olmo").split(",");
for (const pre of pres) {
    const changes = [["tokenizer.ggml.pre", "string", pre], ["tokenizer.ggml.eot_token_id", "u32", undefined], ["tokenizer.ggml.bos_token_id", "u32", undefined]];
    if (pre === "tekken" || pre === "falcon3") changes.pop();
    await withModel("other-pre", llama3Entries(llama3, changes), async (file, model) => {
        compare(`${pre}, llama.cpp`, list, ours(file, list), list.map((s) => ids(model.tokenize(s, false))));
    });
}

// User-defined tokens are read even where control tokens are not: runs of blanks, and texts that overlap.
const userDefined = ["abc", "bcde", "cd", "  ", "    ", "\n\n", "\n\n\n", "hello", "llo W", "é", " <|", "ab", "bc"];
const withUserDefined = [...llama3.vocabById];
userDefined.forEach((text, i) => (withUserDefined[128100 + i] = text));
const overlapping = [...list];
for (let i = 0; i < 500; i++) overlapping.push(texts(seed + i, 0).length ? [...userDefined, ...SPECIALS].sort((a, b) => ((a.length * 7919 + i * 31) % 13) - ((b.length * 104729 + i * 17) % 13)).slice(0, 6).join(i % 2 ? "" : " ") : "");
await withModel(
    "user-defined",
    llama3Entries(llama3, [
        // A token that is in the vocabulary already would be there twice.
        ["tokenizer.ggml.tokens", "array:string", withUserDefined.map((t, id) => (id < 128000 && userDefined.includes(t) ? `[moved ${id}]` : t))],
        ["tokenizer.ggml.token_type", "array:i32", withUserDefined.map((_, id) => (id < 128000 ? 1 : id >= 128100 && id < 128100 + userDefined.length ? 4 : 3))],
    ]),
    async (file, model) => {
        for (const special of [false, true]) {
            const flags = special ? ["--parse-special"] : [];
            compare(`llama-bpe with user-defined tokens, special ${special}, llama.cpp`, overlapping, ours(file, overlapping, ...flags), overlapping.map((s) => ids(model.tokenize(s, special))));
        }
    },
);

for (const prefix of [true, false]) {
    await withModel("llama-2", llama2Entries(llama2, [["tokenizer.ggml.add_space_prefix", "bool", prefix]]), async (file, model) => {
        for (const special of [false, true]) {
            const flags = special ? ["--parse-special"] : [];
            compare(`llama 2, space prefix ${prefix}, special ${special}, llama.cpp`, list, ours(file, list, ...flags), list.map((s) => ids(model.tokenize(s, special))));
        }
        if (!prefix) return;
        const plain = list.filter((s) => s.length > 0 && !/<(s|\/s|unk|0x..)>/.test(s));
        compare("llama 2, llama-tokenizer-js", plain, ours(file, plain), plain.map((s) => ids(llama2.encode(s, false, true))));
        compareRoles("llama 2", file, model, 32000);
    });
}

rmSync(folder, { recursive: true });
await llama.dispose();
console.log(`${nCompared} comparisons, ${nDifferent} different`);
process.exit(nDifferent > 0 ? 1 : 0);
