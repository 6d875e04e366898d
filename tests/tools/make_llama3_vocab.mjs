// make_llama3_vocab.mjs: Llama 3's vocabulary as a GGUF file without tensors.
//
//     node make_llama3_vocab.mjs OUT.gguf [--pre NAME] [--modules DIR]
//
// From the npm package llama3-tokenizer-js, found as node finds packages or in the node_modules folder DIR. NAME is written as
// tokenizer.ggml.pre instead of "llama-bpe". The vocabulary is Meta's: do not commit or ship the file.
import { importPackage, llama3Entries, writeGguf } from "./vocab_gguf.mjs";

function option(name) {
    const i = process.argv.indexOf(name);
    return i < 0 ? undefined : process.argv[i + 1];
}

const out = process.argv[2];
if (!out || out.startsWith("--")) {
    console.error("usage: node make_llama3_vocab.mjs OUT.gguf [--pre NAME] [--modules DIR]");
    process.exit(2);
}
const { default: tokenizer } = await importPackage("llama3-tokenizer-js", option("--modules"));
const pre = option("--pre") ?? "llama-bpe";
writeGguf(out, llama3Entries(tokenizer, [["tokenizer.ggml.pre", "string", pre]]));
