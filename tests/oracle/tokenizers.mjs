// tokenizers.mjs: our tokenizer against others, on thousands of texts.
//
//     node tokenizers.mjs TOKENIZE_LINES [--modules DIR] [--texts N] [--seed N] [--show N] [--pre NAME,NAME] [--all]
//
// TOKENIZE_LINES is the built program of tests/tools/tokenize_lines.c. DIR is a node_modules folder with node-llama-cpp,
// @node-llama-cpp/linux-x64, llama3-tokenizer-js and llama-tokenizer-js; without it node looks where it always does. --pre: only these
// pre-tokenizers besides Llama 3's. --all: every name that a pre-tokenizer has, and every character of Unicode between others, under
// one name of each family (an hour). Exit code 0: no difference that is not explained below; 1: differences; 77: a package is missing
// (skipped). Nothing is downloaded. Vocabulary files go to a temporary folder and are removed.
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
import { generator, SPECIALS, texts } from "./texts.mjs";

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
    console.error("usage: node tokenizers.mjs TOKENIZE_LINES [--modules DIR] [--texts N] [--seed N] [--show N] [--pre NAMES] [--all]");
    process.exit(2);
}

let llama, llama3, llama2;
try {
    const { getLlama } = await importPackage("node-llama-cpp", modules);
    llama = await getLlama({ gpu: false, build: "never", skipDownload: true, maxThreads: 1, logLevel: "disabled" });
    llama3 = (await importPackage("llama3-tokenizer-js", modules)).default;
    llama2 = (await importPackage("llama-tokenizer-js", modules)).default;
} catch (e) {
    console.log(`skipped: ${e.message.split("\n")[0]}`);
    process.exit(77);
}

const folder = mkdtempSync(join(tmpdir(), "yllama-tokenizers-"));
let nCompared = 0;
let nDifferent = 0;

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
    // node-llama-cpp does not tell the end-of-message token, nor a BOS that is no control token (11 is what GPT-2 models fall back to).
    const mine = ours(file, [], "--info")[0].replace(/ eom -?\d+/, "").replace(/ adds_eos \d/, "").replace(/^bos 11 /, "bos -1 ");
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

// A family is the names that stand for the same expressions; what llama.cpp makes of each name may differ in other ways.
const families = [
    ["default"], ["smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b"],
    ["gpt-2", "phi-2", "mpt", "olmo", "jais", "jina-es", "jina-de", "jina-v2-es", "jina-v2-de", "gigachat", "a.x-4.0", "mellum", "exaone4", "trillion", "granite-docling"],
    ["qwen2", "deepseek-r1-qwen", "megrez", "stablelm2", "hunyuan", "solar-open", "grok-2", "kormo"], ["qwen35"], ["tekken"],
    ["gpt-4o", "llama4", "kanana2", "minimax-m2"], ["falcon"], ["deepseek-llm"], ["deepseek-coder"], ["bloom", "gpt3-finnish", "poro-chat"], ["viking"],
    ["bailingmoe"], ["seed-coder"], ["minicpm5"], ["llama3", "llama-v3", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2", "dbrx", "smaug-bpe", "glm4", "chatglm-bpe"],
];
const all = process.argv.includes("--all");
const asked = option("--pre")?.split(",");
const pres = asked ?? families.flatMap((names) => (all ? names : names.slice(0, 1)));

// Every character between others of all kinds, 48 to a text.
function everyCharacter() {
    const out = [];
    let text = "";
    for (let c = 0; c < 0x110000; c++) {
        if (c >= 0xd800 && c < 0xe000) continue;
        const s = String.fromCodePoint(c);
        text += `a${s}b ${s}1 .${s}. ${s}${s}A`;
        if (c % 48 === 47) {
            out.push(text);
            text = "";
        }
    }
    return out;
}

for (const pre of pres) {
    const changes = [["tokenizer.ggml.pre", "string", pre], ["tokenizer.ggml.eot_token_id", "u32", undefined]];
    // Where a text begins with BOS by default, token 11 would be a surprise.
    if (!/^(llama|falcon|pixtral|midm|lfm2|tekken)/.test(pre)) changes.push(["tokenizer.ggml.bos_token_id", "u32", undefined]);
    await withModel("other-pre", llama3Entries(llama3, changes), async (file, model) => {
        compare(`${pre}, llama.cpp`, list, ours(file, list), list.map((s) => ids(model.tokenize(s, false))));
        compareRoles(pre, file, model, 128256);
        if (!all || !families.some((names) => names[0] === pre)) return;
        const every = everyCharacter();
        compare(`${pre}, every character, llama.cpp`, every, ours(file, every), every.map((s) => ids(model.tokenize(s, false))));
    });
}

// User-defined tokens are read even where control tokens are not: runs of blanks, and texts that overlap.
const userDefined = ["abc", "bcde", "cd", "  ", "    ", "\n\n", "\n\n\n", "hello", "llo W", "é", " <|", "ab", "bc"];
const withUserDefined = [...llama3.vocabById];
userDefined.forEach((text, i) => (withUserDefined[128100 + i] = text));
const g = generator(seed);
const overlapping = [...list];
for (let i = 0; i < 1000; i++) {
    let text = "";
    for (let n = 1 + g.below(12); n > 0; n--) text += g.pick(g.chance(70) ? userDefined : SPECIALS) + g.pick(["", "", "", " ", "\n", "e", "W"]);
    overlapping.push(text);
}
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

// Phi-3, known by its name: special tokens swallow the blanks behind them, but for three of them.
const phi3Tokens = [...llama2.vocabById];
["<|endoftext|>", "<|user|>", "<|end|>", "<|assistant|>"].forEach((text, i) => (phi3Tokens[31990 + i] = text));
const phi3Texts = [];
for (let i = 0; i < 1000; i++) {
    let text = "";
    for (let n = 1 + g.below(8); n > 0; n--) text += g.pick(["<|endoftext|>", "<|user|>", "<|end|>", "<|assistant|>", "<s>", "</s>", "<unk>", "Hi", "a b"]) + g.pick(["", " ", "\n", "  ", " \t\n ", "\u00a0", "x"]);
    phi3Texts.push(text);
}
const phi3Changes = [
    ["general.name", "string", "Phi-3-mini"],
    ["tokenizer.ggml.tokens", "array:string", phi3Tokens],
    ["tokenizer.ggml.token_type", "array:i32", phi3Tokens.map((_, id) => (id === 0 ? 2 : id < 3 || (id >= 31990 && id < 31994) ? 3 : id < 259 ? 6 : 1))],
];
await withModel("phi-3", llama2Entries(llama2, phi3Changes), async (file, model) => {
    compare("phi-3, special true, llama.cpp", phi3Texts, ours(file, phi3Texts, "--parse-special"), phi3Texts.map((s) => ids(model.tokenize(s, true))));
    compareRoles("phi-3", file, model, 32000);
});

// A file that names no pre-tokenizer.
await withModel("no-pre", llama3Entries(llama3, [["tokenizer.ggml.pre", "string", undefined]]), async (file, model) => {
    compare("no pre-tokenizer, llama.cpp", list, ours(file, list), list.map((s) => ids(model.tokenize(s, false))));
});

rmSync(folder, { recursive: true });
await llama.dispose();
console.log(`${nCompared} comparisons, ${nDifferent} different`);
process.exit(nDifferent > 0 ? 1 : 0);
