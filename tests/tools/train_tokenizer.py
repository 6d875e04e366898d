"""A byte-level BPE tokenizer in the manner of Llama 3: how it is trained, and how it encodes.

Token ids: the 256 bytes in order of their value, then one token a merge in order of the merges, then SPECIAL.
In a GGUF file every token is written in GPT-2's printable spelling, in which a space is the letter G with a dot.
"""

import re
from collections import Counter, defaultdict

SPECIAL = ["<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>", "<|start_header_id|>", "<|end_header_id|>"]

# Llama 3's pattern with \p{L} and \p{N} narrowed to ASCII: the training text has nothing else.
PATTERN = re.compile(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\nA-Za-z0-9]?[A-Za-z]+|[0-9]{1,3}"
    r"| ?[^\sA-Za-z0-9]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")


def printable_bytes():
    """GPT-2's spelling of each byte: itself where it is a visible Latin-1 character, else one from U+0100 on."""
    visible = set(range(0x21, 0x7F)) | set(range(0xA1, 0xAD)) | set(range(0xAE, 0x100))
    spare = (chr(0x100 + n) for n in range(256))
    return [chr(byte) if byte in visible else next(spare) for byte in range(256)]


def merge_pair(word, pair, token):
    """The word with every occurrence of the pair, left to right, replaced by the token."""
    out, i = [], 0
    while i < len(word):
        if i + 1 < len(word) and (word[i], word[i + 1]) == pair:
            out.append(token)
            i += 2
        else:
            out.append(word[i])
            i += 1
    return out


def train_merges(text, count):
    """The first `count` merges for the text: each time the most frequent pair, the lowest ids on a tie."""
    pieces = Counter(PATTERN.findall(text))
    words = [list(piece.encode()) for piece in pieces]
    weights = list(pieces.values())
    pairs, where = Counter(), defaultdict(set)
    for index, word in enumerate(words):
        for pair in zip(word, word[1:]):
            pairs[pair] += weights[index]
            where[pair].add(index)

    merges = []
    for token in range(256, 256 + count):
        best = max(pairs, key=lambda pair: (pairs[pair], (-pair[0], -pair[1])))
        merges.append(best)
        for index in where.pop(best):
            word, weight = words[index], weights[index]
            for pair in zip(word, word[1:]):
                pairs[pair] -= weight
            words[index] = word = merge_pair(word, best, token)
            for pair in zip(word, word[1:]):
                pairs[pair] += weight
                where[pair].add(index)
        del pairs[best]
    return merges


class Tokenizer:
    """Encodes and decodes with a given list of merges."""

    def __init__(self, merges):
        self.merges = [tuple(pair) for pair in merges]
        self.rank = {pair: 256 + n for n, pair in enumerate(self.merges)}
        self.bytes = [bytes([n]) for n in range(256)]
        for a, b in self.merges:
            self.bytes.append(self.bytes[a] + self.bytes[b])
        self.whole = {spelled: n for n, spelled in enumerate(self.bytes)}
        self.bos, self.eos, self.eot = (len(self.bytes) + n for n in range(3))
        self.size = len(self.bytes) + len(SPECIAL)
        self.cache = {}

    def encode_piece(self, piece):
        """The tokens of one piece of the pattern: itself if it is a token, else by merges, lowest rank first."""
        if piece not in self.cache:
            spelled = piece.encode()
            word = [self.whole[spelled]] if spelled in self.whole else list(spelled)
            while len(word) > 1:
                pair = min(zip(word, word[1:]), key=lambda pair: self.rank.get(pair, 1 << 30))
                if pair not in self.rank:
                    break
                word = merge_pair(word, pair, self.rank[pair])
            self.cache[piece] = word
        return self.cache[piece]

    def encode(self, text):
        """The tokens of a text, without special tokens."""
        return [token for piece in PATTERN.findall(text) for token in self.encode_piece(piece)]

    def decode(self, tokens):
        """The text of tokens; special tokens are left out."""
        spelled = b"".join(self.bytes[token] for token in tokens if token < len(self.bytes))
        return spelled.decode("utf-8", "replace")

    def printable(self):
        """All tokens and merges in GPT-2's spelling, as a GGUF file lists them."""
        table = printable_bytes()
        spelled = ["".join(table[byte] for byte in token) for token in self.bytes]
        return spelled + SPECIAL, [spelled[a] + " " + spelled[b] for a, b in self.merges]
