"""The training text: the King James Bible of Debian's package bible-kjv-text, chapter by chapter.

The package holds one file, /usr/lib/bible.data. Its header ends where the first stream of compress(1) begins (bytes
1f 9d); the stream is LZW, which gzip reads, and inside is one verse a line:

    Ge1:1 In the beginning God created the heaven and the earth.

A chapter becomes one document. Verse numbers are dropped; verses are joined to paragraphs, and a paragraph ends with
the first sentence that ends at a verse's end once the paragraph is PARAGRAPH characters long.
"""

import re
import subprocess

DATA = "/usr/lib/bible.data"
PARAGRAPH = 400
HELD_OUT_EVERY, HELD_OUT_FIRST = 20, 10


def read_raw(path=DATA):
    """The text inside the package's data file, as one string of numbered verses."""
    with open(path, "rb") as file:
        data = file.read()
    start = data.index(b"\x1f\x9d")
    done = subprocess.run(["gzip", "-dc"], input=data[start:], stdout=subprocess.PIPE, check=True)
    return done.stdout.decode("ascii")


def read_chapters(path=DATA):
    """All chapters in order, each a pair of its name ("Ge1") and its list of verses."""
    chapters = []
    for line in read_raw(path).splitlines():
        match = re.match(r"(\d?[A-Z][A-Za-z]*\d+):\d+ (.*)", line)
        if not match:
            continue
        name, verse = match.group(1), re.sub(r"\s+", " ", match.group(2)).strip()
        if not chapters or chapters[-1][0] != name:
            chapters.append((name, []))
        chapters[-1][1].append(verse)
    return chapters


def lay_out(verses):
    """One chapter's text, and the place in it where each verse starts."""
    text, starts, paragraph = "", [], 0
    for verse in verses:
        if text:
            ended = text[-1] in ".?!" and len(text) - paragraph >= PARAGRAPH
            text += "\n\n" if ended else " "
            if ended:
                paragraph = len(text)
        starts.append(len(text))
        text += verse
    return text, starts


def is_held_out(index):
    """Whether the chapter of this number is kept from training, to measure on."""
    return index % HELD_OUT_EVERY == HELD_OUT_FIRST
