// vocab_gguf.mjs: GGUF files that hold a vocabulary and nothing else, from the vocabularies that npm packages bring along.
//
// The vocabularies are Meta's: files made here are for tests on this machine, never to be committed or shipped.
import { createRequire } from "node:module";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

// Imports an npm package, from the folder `modules` (a node_modules folder) or, without it, from where this file would find it.
export async function importPackage(name, modules) {
    const from = modules ? join(modules, "anchor.js") : import.meta.url;
    return import(pathToFileURL(createRequire(from).resolve(name)).href);
}

const TYPE = { u32: 4, i32: 5, f32: 6, bool: 7, string: 8, array: 9 };

class Writer {
    constructor() {
        this.chunks = [];
    }
    u32(x) {
        const b = Buffer.alloc(4);
        b.writeUInt32LE(x);
        this.chunks.push(b);
    }
    u64(x) {
        const b = Buffer.alloc(8);
        b.writeBigUInt64LE(BigInt(x));
        this.chunks.push(b);
    }
    string(s) {
        const b = Buffer.isBuffer(s) ? s : Buffer.from(s, "utf8");
        this.u64(b.length);
        this.chunks.push(b);
    }
    array(type, values) {
        this.u32(TYPE[type]);
        this.u64(values.length);
        if (type === "string") for (const v of values) this.string(v);
        else if (type === "i32") this.chunks.push(Buffer.from(Int32Array.from(values).buffer));
        else if (type === "f32") this.chunks.push(Buffer.from(Float32Array.from(values).buffer));
        else throw new Error(`no arrays of ${type}`);
    }
    value(type, v) {
        if (type.startsWith("array:")) {
            this.u32(TYPE.array);
            this.array(type.slice("array:".length), v);
            return;
        }
        this.u32(TYPE[type]);
        if (type === "string") this.string(v);
        else if (type === "bool") this.chunks.push(Buffer.from([v ? 1 : 0]));
        else if (type === "f32") this.chunks.push(Buffer.from(Float32Array.of(v).buffer));
        else this.u32(v);
    }
}

// entries: [[key, type, value], ...], type as in TYPE or "array:<type>". No tensors.
export function writeGguf(path, entries) {
    const w = new Writer();
    w.chunks.push(Buffer.from("GGUF"));
    w.u32(3);
    w.u64(0);
    w.u64(entries.length);
    for (const [key, type, value] of entries) {
        w.string(key);
        w.value(type, value);
    }
    const head = Buffer.concat(w.chunks);
    writeFileSync(path, Buffer.concat([head, Buffer.alloc((32 - (head.length % 32)) % 32)]));
}

// What a reader asks of any model, though there are no tensors it could be true of.
const HEAD = [
    ["general.architecture", "string", "llama"],
    ["llama.context_length", "u32", 512],
    ["llama.embedding_length", "u32", 64],
    ["llama.block_count", "u32", 1],
    ["llama.feed_forward_length", "u32", 128],
    ["llama.attention.head_count", "u32", 2],
    ["llama.attention.layer_norm_rms_epsilon", "f32", 1e-5],
];

// Llama 3: 128,000 tokens and 256 special ones, 280,147 merges. `changes` replaces or adds entries; a value of undefined removes one.
export function llama3Entries(tokenizer, changes = []) {
    const merges = [...tokenizer.merges].sort((a, b) => a[1] - b[1]).map((e) => e[0]);
    return change(
        [
            ...HEAD,
            ["tokenizer.ggml.model", "string", "gpt2"],
            ["tokenizer.ggml.pre", "string", "llama-bpe"],
            ["tokenizer.ggml.tokens", "array:string", tokenizer.vocabById],
            ["tokenizer.ggml.token_type", "array:i32", tokenizer.vocabById.map((_, id) => (id < 128000 ? 1 : 3))],
            ["tokenizer.ggml.merges", "array:string", merges],
            ["tokenizer.ggml.bos_token_id", "u32", 128000],
            ["tokenizer.ggml.eos_token_id", "u32", 128009],
            ["tokenizer.ggml.eot_token_id", "u32", 128009],
        ],
        changes,
    );
}

// Llama 1 and 2: 32,000 tokens. SentencePiece's BPE trainer scores a token by its place: the later it was found, the lower; runs of
// blanks come last of all.
export function llama2Entries(tokenizer, changes = []) {
    const tokens = tokenizer.vocabById;
    const isByte = (id) => id >= 3 && id < 259;
    const score = (text, id) => (id < 259 ? 0 : /^▁▁+$/.test(text) ? -1e9 : 259 - id);
    return change(
        [
            ...HEAD,
            ["tokenizer.ggml.model", "string", "llama"],
            ["tokenizer.ggml.tokens", "array:string", tokens],
            ["tokenizer.ggml.scores", "array:f32", tokens.map(score)],
            ["tokenizer.ggml.token_type", "array:i32", tokens.map((_, id) => (id === 0 ? 2 : id < 3 ? 3 : isByte(id) ? 6 : 1))],
            ["tokenizer.ggml.bos_token_id", "u32", 1],
            ["tokenizer.ggml.eos_token_id", "u32", 2],
            ["tokenizer.ggml.unknown_token_id", "u32", 0],
        ],
        changes,
    );
}

function change(entries, changes) {
    const changed = new Map(entries.map((e) => [e[0], e]));
    for (const c of changes) {
        if (c[2] === undefined) changed.delete(c[0]);
        else changed.set(c[0], c);
    }
    return [...changed.values()];
}
