#!/usr/bin/python3
"""Trains the small Llama model that this repository ships, deploy/local/model/kingjames.gguf.

    /usr/bin/python3 tests/tools/train_model.py --out X.gguf --minutes 80
    /usr/bin/python3 tests/tools/train_model.py --out X.gguf --steps 20 --work /tmp/smoke      (does it still run?)

Needs of Debian 12: python3-torch, libopenblas0-pthread, bible-kjv-text, and gzip. Debian's own Python must run it.

The idea: a language model small enough to lie in a repository (Q8_0, less than 4,000,000 bytes), yet with all the parts
of its big relatives: Llama's architecture with grouped-query attention, Llama 3's kind of tokenizer, tied embeddings.
There is one text, the King James Bible: 1.2 million tokens, read many times over, so dropout and weight decay
matter. train_text.py lays the text out, train_tokenizer.py makes its tokens, train_gguf.py writes the file.

Every row of a batch begins with begin-of-text at some verse, as a prompt does; rows grow longer as training goes on,
since short ones cost less. Every twentieth chapter is held out and only measured on. The schedule goes by wall time,
--minutes; a checkpoint is written to --work every two minutes, and the same command goes on from it. All draws have a
fixed seed, but how many steps fit into the time depends on the machine, and with it the exact weights.

The shipped file took 125.5 minutes (10,435 steps, 21.4 million tokens, 18 epochs) on one core of an AMD EPYC with
AVX512-BF16: 4,900 tokens a second while the machine was free, 2,837 on average because it was shared. The run was begun
with --minutes 100 and continued from minute 36 with --minutes 125.5. Over all 59 held-out chapters the loss is
2.610 nats a token (perplexity 13.6), 1.135 bits a byte; quantizing to Q8_0 costs 0.0002 of it.
"""

import argparse
import ctypes
import json
import math
import os
import random
import sys
import time

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import torch
import torch.nn.functional as F
from torch import nn

import train_gguf as gguf
import train_text
from train_tokenizer import PATTERN, SPECIAL, Tokenizer, train_merges

CONFIG = {
    "n_vocab": 1280, "n_embd": 256, "n_layer": 6, "n_head": 8, "n_head_kv": 2, "n_ff": 512,
    "n_ctx": 512, "rope_base": 10000.0, "norm_eps": 1e-5,
}
BATCH_TOKENS = 2048
ROWS = [(0.45, 128), (0.80, 256), (9.9, 512)]       # until which part of the schedule, how many tokens a row has
WARMUP = 0.02
PEAK_LR, LAST_LR = 2e-3, 2e-5
WEIGHT_DECAY = 0.3
DROPOUT = 0.1
SEED = 1611
MOST_BYTES = 4000000
PROMPTS = ["In the beginning", "And the LORD said unto Moses,", "The fear of the LORD is", "Blessed are"]


# ---------------------------------------------------------------------------------------------------------- the text

class Corpus:
    """The chapters as one stream of tokens for training and one to measure on."""

    def __init__(self, tokenizer, chapters):
        self.tokenizer = tokenizer
        train, held = [], []
        self.starts = []            # (position behind the verse's first word, that word's tokens without a space)
        self.held_bytes = 0
        for index, (_, verses) in enumerate(chapters):
            text, starts = train_text.lay_out(verses)
            if train_text.is_held_out(index):
                held += [tokenizer.bos] + tokenizer.encode(text) + [tokenizer.eos]
                self.held_bytes += len(text)
            else:
                self.add_chapter(train, text, set(starts))
        self.train = torch.tensor(train, dtype=torch.long)
        self.held = torch.tensor(held, dtype=torch.long)

    def add_chapter(self, stream, text, starts):
        """Appends a chapter's tokens and notes where its verses start."""
        stream.append(self.tokenizer.bos)
        for match in PATTERN.finditer(text):
            stream += self.tokenizer.encode_piece(match.group())
            word = match.group().strip()
            if word.isalpha() and match.end() - len(word) in starts:
                self.starts.append((len(stream), self.tokenizer.encode_piece(word)))
        stream.append(self.tokenizer.eos)

    def batch(self, rows, length, rng):
        """Random rows; each starts with begin-of-text at some verse, as a prompt does."""
        batch = torch.empty(rows, length + 1, dtype=torch.long)
        for row in batch:
            while True:
                place, word = self.starts[rng.randrange(len(self.starts))]
                rest = length - len(word)
                if place + rest <= len(self.train):
                    break
            row[:len(word) + 1] = torch.tensor([self.tokenizer.bos] + word)
            row[len(word) + 1:] = self.train[place:place + rest]
        return batch[:, :-1], batch[:, 1:]


# --------------------------------------------------------------------------------------------------------- the model

class Norm(nn.Module):
    """RMSNorm."""

    def __init__(self, size, eps):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x):
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + self.eps) * self.weight


class Dropout(nn.Module):
    """Dropout whose masks are random stretches of a pool drawn once: drawing them anew takes a third of the time."""

    POOL = 1 << 24

    def __init__(self, part):
        super().__init__()
        self.part = part
        self.pool = (torch.rand(self.POOL) >= part).float() / (1 - part) if part else None

    def forward(self, x):
        if not self.training or not self.part:
            return x
        place = int(torch.randint(self.POOL - x.numel(), ()))
        return x * self.pool[place:place + x.numel()].view(x.shape)


class Block(nn.Module):
    """One layer: grouped-query attention with RoPE on adjacent pairs, then SwiGLU. Named as GGUF names the tensors."""

    def __init__(self, c):
        super().__init__()
        self.n_head, self.n_head_kv = c["n_head"], c["n_head_kv"]
        self.head = c["n_embd"] // c["n_head"]
        kv = self.head * self.n_head_kv
        self.attn_norm = Norm(c["n_embd"], c["norm_eps"])
        self.attn_q = nn.Linear(c["n_embd"], c["n_embd"], bias=False)
        self.attn_k = nn.Linear(c["n_embd"], kv, bias=False)
        self.attn_v = nn.Linear(c["n_embd"], kv, bias=False)
        self.attn_output = nn.Linear(c["n_embd"], c["n_embd"], bias=False)
        self.ffn_norm = Norm(c["n_embd"], c["norm_eps"])
        self.ffn_gate = nn.Linear(c["n_embd"], c["n_ff"], bias=False)
        self.ffn_up = nn.Linear(c["n_embd"], c["n_ff"], bias=False)
        self.ffn_down = nn.Linear(c["n_ff"], c["n_embd"], bias=False)

    def rotate(self, x, turn):
        """RoPE: each adjacent pair of x [batch, time, heads, head] is a complex number, turned by its position."""
        pairs = torch.view_as_complex(x.float().view(*x.shape[:-1], self.head // 2, 2))
        return torch.view_as_real(pairs * turn).flatten(-2)

    def attend(self, x, turn, mask):
        batch, time_, width = x.shape
        group = self.n_head // self.n_head_kv
        q = self.rotate(self.attn_q(x).view(batch, time_, self.n_head, self.head), turn / math.sqrt(self.head))
        k = self.rotate(self.attn_k(x).view(batch, time_, self.n_head_kv, self.head), turn)
        v = self.attn_v(x).view(batch, time_, self.n_head_kv, self.head)
        # Query heads that share a key head become one taller matrix: no copies of the keys.
        q = q.view(batch, time_, self.n_head_kv, group, self.head).permute(0, 2, 3, 1, 4)
        q = q.reshape(batch * self.n_head_kv, group * time_, self.head)
        k = k.permute(0, 2, 3, 1).reshape(batch * self.n_head_kv, self.head, time_)
        v = v.permute(0, 2, 1, 3).reshape(batch * self.n_head_kv, time_, self.head)
        y = torch.bmm(F.softmax(torch.bmm(q, k).float() + mask, dim=-1), v)
        y = y.view(batch, self.n_head_kv, group, time_, self.head).permute(0, 3, 1, 2, 4)
        return self.attn_output(y.reshape(batch, time_, width))

    def forward(self, x, turn, mask, dropout):
        x = x + dropout(self.attend(self.attn_norm(x), turn, mask))
        h = self.ffn_norm(x)
        return x + dropout(self.ffn_down(F.silu(self.ffn_gate(h)) * self.ffn_up(h)))


class Llama(nn.Module):
    """The model; its output matrix is its token embedding."""

    def __init__(self, c, dropout=0.0):
        super().__init__()
        self.c, self.dropout = c, Dropout(dropout)
        self.token_embd = nn.Embedding(c["n_vocab"], c["n_embd"])
        self.blk = nn.ModuleList(Block(c) for _ in range(c["n_layer"]))
        self.output_norm = Norm(c["n_embd"], c["norm_eps"])
        for name, weight in self.named_parameters():
            if weight.dim() == 2:
                last = name.endswith(("attn_output.weight", "ffn_down.weight"))
                nn.init.normal_(weight, std=0.02 / math.sqrt(2 * c["n_layer"]) if last else 0.02)
        head = c["n_embd"] // c["n_head"]
        speed = c["rope_base"] ** (-torch.arange(0, head, 2).double() / head)
        angle = torch.outer(torch.arange(c["n_ctx"]).double(), speed)
        self.turn = torch.polar(torch.ones_like(angle), angle).to(torch.complex64)[None, :, None, :]
        self.masks = {}

    def mask(self, time_):
        """The causal mask, once for each query head of a group."""
        if time_ not in self.masks:
            mask = torch.full((time_, time_), float("-inf")).triu(1)
            self.masks[time_] = mask.repeat(self.c["n_head"] // self.c["n_head_kv"], 1)[None]
        return self.masks[time_]

    def forward(self, tokens):
        time_ = tokens.shape[1]
        x = self.dropout(self.token_embd(tokens))
        for block in self.blk:
            x = block(x, self.turn[:, :time_], self.mask(time_), self.dropout)
        return F.linear(self.output_norm(x), self.token_embd.weight)


# ---------------------------------------------------------------------------------------------------------- training

def loss_of(model, tokens, targets, reduction="mean"):
    """Cross entropy, in nats. Training multiplies in bfloat16: twice as fast where the processor has it."""
    with torch.autocast("cpu", torch.bfloat16, enabled=model.training):
        logits = model(tokens)
    return F.cross_entropy(logits.flatten(0, 1).float(), targets.flatten(), reduction=reduction)


@torch.no_grad()
def held_out(model, corpus, length, rows=None):
    """Loss per token and bits per byte over the held-out chapters, cut to rows (all of them, or some spread evenly)."""
    model.eval()
    count = (len(corpus.held) - 1) // length
    picked = range(count) if rows is None else [n * count // rows for n in range(rows)]
    total = 0.0
    for n in picked:
        row = corpus.held[n * length:(n + 1) * length + 1][None]
        total += loss_of(model, row[:, :-1], row[:, 1:], "sum").item()
    model.train()
    loss = total / (len(picked) * length)
    return loss, loss * len(corpus.held) / corpus.held_bytes / math.log(2)


def learning_rate(progress):
    """Warmup, then half a cosine, over the schedule's 0..1."""
    if progress < WARMUP:
        return PEAK_LR * max(progress, 1e-4) / WARMUP
    part = min((progress - WARMUP) / (1 - WARMUP), 1.0)
    return LAST_LR + 0.5 * (PEAK_LR - LAST_LR) * (1 + math.cos(math.pi * part))


def make_optimizer(model):
    """AdamW; norms are not decayed."""
    groups = [
        {"params": [p for p in model.parameters() if p.dim() == 2], "weight_decay": WEIGHT_DECAY},
        {"params": [p for p in model.parameters() if p.dim() == 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=PEAK_LR, betas=(0.9, 0.99), foreach=True)


def save(path, model, optimizer, rng, state, merges):
    """Writes a checkpoint so that a stop in the middle leaves the older one."""
    torch.save({
        "config": model.c, "model": model.state_dict(), "optimizer": optimizer.state_dict(), "rng": rng.getstate(),
        "torch_rng": torch.get_rng_state(), "state": state, "merges": merges}, path + ".part")
    os.replace(path + ".part", path)


def train(args, corpus, merges):
    """Trains to the end of the schedule, going on from the checkpoint if there is one: the model, and its figures."""
    torch.manual_seed(SEED)
    rng = random.Random(SEED)
    model = Llama(CONFIG, args.dropout)
    optimizer = make_optimizer(model)
    state = {"step": 0, "seconds": 0.0, "tokens": 0, "log": []}
    path = os.path.join(args.work, "last.pt")
    if os.path.exists(path):
        saved = torch.load(path)
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        rng.setstate(saved["rng"])
        torch.set_rng_state(saved["torch_rng"])
        state = saved["state"]
        print("going on from step", state["step"], flush=True)

    model.train()
    mark, before = time.time(), state["seconds"]
    saved_at = checked_at = before
    running = None
    while True:
        state["seconds"] = before + time.time() - mark
        progress = state["step"] / args.steps if args.steps else state["seconds"] / (60 * args.minutes)
        done = args.now or progress >= 1
        length = next(length for until, length in ROWS if progress < until)
        if done or state["seconds"] - checked_at >= args.check_every:
            loss, bits = held_out(model, corpus, length, None if done else 10240 // length)
            checked_at = state["seconds"]
            state["log"].append((state["step"], state["seconds"], running, loss))
            print("%6.1f min  step %6d  %5.2f epochs  lr %.2e  train %.4f  held-out %.4f  bits/byte %.4f" % (
                state["seconds"] / 60, state["step"], state["tokens"] / len(corpus.train),
                learning_rate(progress), running or 0, loss, bits), flush=True)
        if (done and not args.now) or state["seconds"] - saved_at >= 120:
            save(path, model, optimizer, rng, state, merges)
            saved_at = state["seconds"]
        if done:
            return model, state

        for group in optimizer.param_groups:
            group["lr"] = learning_rate(progress)
        tokens, targets = corpus.batch(BATCH_TOKENS // length, length, rng)
        loss = loss_of(model, tokens, targets)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        running = loss.item() if running is None else 0.98 * running + 0.02 * loss.item()
        state["step"] += 1
        state["tokens"] += tokens.numel()


def tune_process(threads):
    """Keeps freed memory in the process, and takes numbers too small to matter for zero: both cost much otherwise."""
    m_trim_threshold, m_mmap_max = -1, -4
    libc = ctypes.CDLL(None)
    libc.mallopt(m_mmap_max, 0)
    libc.mallopt(m_trim_threshold, (1 << 31) - 1)
    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)


def load_merges(args, text):
    """The tokenizer's merges, kept beside the checkpoint."""
    path = os.path.join(args.work, "merges.json")
    if not os.path.exists(path):
        with open(path, "w") as file:
            json.dump(train_merges(text, CONFIG["n_vocab"] - 256 - 5), file)
    with open(path) as file:
        return json.load(file)


# ------------------------------------------------------------------------------------------------- the file it becomes

def export(path, model, tokenizer, minutes):
    """Writes the model as GGUF and returns the file's size."""
    c = model.c
    tokens, merges = tokenizer.printable()
    types = [1] * len(tokenizer.bytes) + [3] * len(SPECIAL)
    metadata = [
        ("general.architecture", gguf.STRING, "llama"),
        ("general.type", gguf.STRING, "model"),
        ("general.name", gguf.STRING, "King James"),
        ("general.description", gguf.STRING, "A small Llama model that continues text in the manner of the King James "
         "Bible. Trained by tests/tools/train_model.py of yllama.c in %.0f minutes on one processor core." % minutes),
        ("general.license", gguf.STRING, "public domain text"),
        ("general.source.text", gguf.STRING, "The King James Bible, from Debian's package bible-kjv-text."),
        ("general.file_type", gguf.U32, 7),
        ("general.quantization_version", gguf.U32, 2),
        ("general.alignment", gguf.U32, gguf.ALIGNMENT),
        ("llama.vocab_size", gguf.U32, c["n_vocab"]),
        ("llama.context_length", gguf.U32, c["n_ctx"]),
        ("llama.embedding_length", gguf.U32, c["n_embd"]),
        ("llama.block_count", gguf.U32, c["n_layer"]),
        ("llama.feed_forward_length", gguf.U32, c["n_ff"]),
        ("llama.attention.head_count", gguf.U32, c["n_head"]),
        ("llama.attention.head_count_kv", gguf.U32, c["n_head_kv"]),
        ("llama.attention.layer_norm_rms_epsilon", gguf.F32, c["norm_eps"]),
        ("llama.rope.dimension_count", gguf.U32, c["n_embd"] // c["n_head"]),
        ("llama.rope.freq_base", gguf.F32, c["rope_base"]),
        ("tokenizer.ggml.model", gguf.STRING, "gpt2"),
        ("tokenizer.ggml.pre", gguf.STRING, "llama-bpe"),
        ("tokenizer.ggml.tokens", (gguf.ARRAY, gguf.STRING), tokens),
        ("tokenizer.ggml.token_type", (gguf.ARRAY, gguf.I32), types),
        ("tokenizer.ggml.merges", (gguf.ARRAY, gguf.STRING), merges),
        ("tokenizer.ggml.bos_token_id", gguf.U32, tokenizer.bos),
        ("tokenizer.ggml.eos_token_id", gguf.U32, tokenizer.eos),
        ("tokenizer.ggml.eot_token_id", gguf.U32, tokenizer.eot),
        ("tokenizer.ggml.add_bos_token", gguf.BOOL, True),
    ]
    return gguf.write(path, metadata, [(name, weight.numpy()) for name, weight in model.state_dict().items()])


def load_gguf(path):
    """The model and tokenizer of a file that `export` wrote, taken from the file alone."""
    file = gguf.Reader(path)
    data = file.metadata
    model = Llama({
        "n_vocab": data["llama.vocab_size"], "n_embd": data["llama.embedding_length"],
        "n_layer": data["llama.block_count"], "n_head": data["llama.attention.head_count"],
        "n_head_kv": data["llama.attention.head_count_kv"], "n_ff": data["llama.feed_forward_length"],
        "n_ctx": data["llama.context_length"], "rope_base": data["llama.rope.freq_base"],
        "norm_eps": data["llama.attention.layer_norm_rms_epsilon"]})
    model.load_state_dict({name: torch.from_numpy(array) for name, array in file.tensors.items()})
    ids = {token: n for n, token in enumerate(data["tokenizer.ggml.tokens"])}
    return model, Tokenizer([[ids[half] for half in merge.split(" ")] for merge in data["tokenizer.ggml.merges"]])


@torch.no_grad()
def generate(model, tokenizer, prompt, count, temperature, seed=SEED):
    """The prompt and up to `count` more tokens; the most likely ones at temperature 0."""
    model.eval()
    generator = torch.Generator().manual_seed(seed)
    tokens = [tokenizer.bos] + tokenizer.encode(prompt)
    for _ in range(count):
        logits = model(torch.tensor(tokens[-model.c["n_ctx"]:])[None])[0, -1]
        if temperature:
            token = int(torch.multinomial(F.softmax(logits / temperature, dim=-1), 1, generator=generator))
        else:
            token = int(logits.argmax())
        if token == tokenizer.eos:
            break
        tokens.append(token)
    return tokenizer.decode(tokens)


def report(path, corpus):
    """Reads the file back and prints how good it is: its loss, and what it writes."""
    model, tokenizer = load_gguf(path)
    loss, bits = held_out(model, corpus, ROWS[-1][1])
    print("%s: %d bytes, %d parameters; held-out loss %.4f, perplexity %.2f a token, %.4f bits a byte" % (
        path, os.path.getsize(path), sum(p.numel() for p in model.parameters()), loss, math.exp(loss), bits))
    for prompt in PROMPTS:
        for temperature in (0, 0.8):
            print("\n--- temperature %.1f\n%s" % (temperature, generate(model, tokenizer, prompt, 100, temperature)))


def main():
    parser = argparse.ArgumentParser(description="Train the shipped model.")
    parser.add_argument("--out", required=True, help="the GGUF file to write")
    parser.add_argument("--minutes", type=float, default=80, help="wall time of the training")
    parser.add_argument("--steps", type=int, default=0, help="train this many steps instead (smoke test)")
    parser.add_argument("--now", action="store_true", help="train no further: write the file from the checkpoint")
    parser.add_argument("--work", default="/tmp/train", help="directory for checkpoints; training goes on from there")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--dropout", type=float, default=DROPOUT)
    parser.add_argument("--check-every", type=float, default=60, help="seconds between measurements")
    args = parser.parse_args()
    os.makedirs(args.work, exist_ok=True)
    tune_process(args.threads)
    chapters = train_text.read_chapters()
    merges = load_merges(args, "\n\n".join(train_text.lay_out(verses)[0] for _, verses in chapters))
    tokenizer = Tokenizer(merges)
    corpus = Corpus(tokenizer, chapters)
    print("%d chapters, %d verse starts, %d training tokens, %d held-out tokens, %.3f bytes a token" % (
        len(chapters), len(corpus.starts), len(corpus.train), len(corpus.held),
        corpus.held_bytes / len(corpus.held)), flush=True)
    model, state = train(args, corpus, merges)
    print("%d tokens a second" % (state["tokens"] / max(state["seconds"], 1e-3)))
    size = export(args.out, model, tokenizer, state["seconds"] / 60)
    if size > MOST_BYTES:
        sys.exit("%s: %d bytes, more than %d" % (args.out, size, MOST_BYTES))
    report(args.out, corpus)


if __name__ == "__main__":
    main()
