// texts.mjs: texts that tell tokenizers apart. Written ones for what is known to go wrong, and random ones from a seed.

// A small generator of 32-bit numbers (xorshift), so that a seed names the same texts everywhere.
export function generator(seed) {
    let x = seed >>> 0 || 1;
    const next = () => {
        x ^= x << 13;
        x >>>= 0;
        x ^= x >>> 17;
        x ^= x << 5;
        x >>>= 0;
        return x;
    };
    const below = (n) => next() % n;
    return { below, pick: (list) => list[below(list.length)], chance: (percent) => below(100) < percent };
}

const BLANKS = [..."\t\n\v\f\r \u001c\u001f\u0085\u00a0\u1680\u180e\u2000\u2003\u200a\u200b\u2028\u2029\u202f\u205f\u2060\u3000\ufeff"];
const ENDINGS = ["'s", "'S", "'t", "'T", "'re", "'RE", "'rE", "'ve", "'Ve", "'m", "'M", "'ll", "'LL", "'lL", "'d", "'D", "'ſ", "'", "''", "’s", "'x", "'r", "'l"];
const WORDS = [
    "hello", "World", "CamelCaseWord", "XMLHttpRequest", "naïve", "café", "Ünïcödé", "straße", "ΑΒΓ", "αβγδ", "Привет", "мир", "שלום", "مرحبا",
    "नमस्ते", "क्षत्रिय", "สวัสดีครับ", "こんにちは", "カタカナ", "漢字仮名交じり文", "안녕하세요", "ქართული", "ᏣᎳᎩ", "ᠮᠣᠩᠭᠣᠯ", "ไทย", "ខ្មែរ", "မြန်မာ",
    "తెలుగు", "ಕನ್ನಡ", "Ελλάδα", "İstanbul", "ıI", "ǅ", "ﬁ", "ª", "º", "ʰ", "ℵ", "𝕳𝖊𝖑𝖑𝖔", "𐐀𐐨", "𠀀𠀁", "ꙮ", "ⅷ", "Ⅻ", "ß", "ẞ", "a\u0301e\u0308", "\u0301",
];
const NUMBERS = ["0", "7", "42", "123", "1234", "12345", "1234567", "3.14159", "1,000,000", "0x1F", "1e-9", "²", "½", "⅓", "٣٤٥٦", "१२३४", "๑๒๓", "①②③④", "𝟘𝟙𝟚𝟛", "一二三", "〇"];
const SIGNS = [
    ".", ",", "!", "?!", "...", "…", "-", "--", "—", "(", ")", "()", "[]", "{}", "<", ">", "</", "/>", "==", "!=", "=>", "->", "&&", "||", "::", ";", "#", "##", "@", "$", "€", "£",
    "%", "^", "~", "~~", "`", "```", "*", "**", "_", "__", "\\", "/", "//", "/*", "*/", "|", "\"", "“", "”", "«", "»", "¿", "¡", "§", "©", "™", "°", "±", "×", "÷", "√", "∞", "→", "▁", "▁▁", "、", "。", "，", "！", "　", "・", "।", "۔", "،",
];
const EMOJI = ["😀", "👍🏽", "👨‍👩‍👧‍👦", "🇩🇪", "🏳️‍🌈", "❤️", "☃", "🤷‍♀️", "🫠", "🪿", "🛜"];
const INVISIBLE = ["\0", "\x01", "\x07", "\x1b[31m", "\x7f", "\u200d", "\u200e", "\u202e", "\u00ad", "\ufe0f", "\ufffd", "\uffff", "\ue000", "\u{f0000}", "\u{10ffff}"];
export const SPECIALS = [
    "<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>", "<|eom_id|>", "<|start_header_id|>", "<|end_header_id|>", "<|python_tag|>", "<|reserved_special_token_0|>",
    "<|reserved_special_token_1|>", "<|reserved_special_token_10|>", "<|reserved_special_token_247|>", "<|finetune_right_pad_id|>", "<|", "|>", "<|eot_id", "<|eot_id|", "<<|eot_id|>>",
    "<s>", "</s>", "<unk>", "<0x0A>", "<0x41>",
];
const POOLS = [BLANKS, BLANKS, [" ", " ", "  ", "\n", "\n\n", "\r\n", "\t"], ENDINGS, WORDS, WORDS, WORDS, NUMBERS, SIGNS, SIGNS, EMOJI, INVISIBLE, SPECIALS];

const CODE = [
    "int main(int argc, char **argv)\n{\n\tfor (size_t i = 0; i < n; i++) printf(\"%zu\\n\", i);\n\treturn 0;\n}\n",
    "def f(x):\n    \"\"\"Doc.\"\"\"\n    return {k: v for k, v in x.items() if v is not None}\n\n\nclass A(B):\n        pass\n",
    "<!DOCTYPE html>\r\n<html lang=\"en\">\r\n  <body class='a b'>it's &amp; they're</body>\r\n</html>\r\n",
    "SELECT a.b, COUNT(*) FROM t AS a WHERE x >= 10 AND y LIKE '%z_' GROUP BY 1;",
    "{\"key\": [1, 2.5, -3e10, true, null], \"ünï\": \"\\u00e9\"}",
    "fn main() -> Result<(), Box<dyn Error>> { let x: &'static str = \"a\"; Ok(()) }",
    "#!/bin/sh\nset -eu\nfor f in *.c; do gcc -O2 -o \"${f%.c}\" \"$f\" || exit 1; done\n",
    "https://example.org/a/b?c=d&e=%20f#g user@example.org 192.168.0.1 2026-11-24T12:34:56Z",
    "| a | b |\n|---|:-:|\n| 1 | **2** |\n\n- [ ] item\n  1. sub\n\n> quote\n\n```c\nx\n```\n",
    "$$\\int_0^\\infty e^{-x^2}\\,dx = \\frac{\\sqrt{\\pi}}{2}$$",
];

const WRITTEN = [
    "", " ", "  ", "   ", "\n", "\n\n", " \n", "\n ", "\r\n", "\t", " \t ", "a", " a", "a ", " a ", "  a", "a  b", "a   b", "a\n b", "a \n b", "a\n\n  b", "a\r\n\r\n b", "\n \n", " \n \n ", "a  ", "a \n", "a\u3000b", "a\u3000\u3000b",
    "Hello, world!", "I'm you're he's we'll they'd I've don't", "I'M YOU'RE HE'S WE'LL", "'s", " 's", "s's's", "o'clock", "rock'n'roll", "''''s", "123456789", "1 23 456 7890", "a1b2c3", "3.14", "1,234,567.89", "０１２３",
    "The quick brown fox jumps over the lazy dog.", "    indented\n        more\n\tand tabs\n", "end with blanks    ", "\n\n\n\n\n\n", "...!!!???", "a.b.c", "a/b\\c", "x=1;y=2", "foo_bar__baz", "éèêë", "e\u0301", "\u0301\u0301",
    "日本語のテキスト、そして句読点。", "中文没有空格，但有标点。", "한국어 텍스트", "Русский текст", "नमस्ते दुनिया", "مرحبا بالعالم", "שלום עולם", "👨‍👩‍👧‍👦 family", "mixed日本語andEnglish123", "▁ ▁▁ a▁b", "\ufeffbom", "nul\0inside",
    "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nHi!<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n",
    "<|eot_id|><|eot_id|>", " <|eot_id|> ", "a<|eot_id|>b", "<|eot_id|", "<|reserved_special_token_1|>0|>", "<s>[INST] Hi [/INST] Hello </s><s>[INST] More [/INST]", "<s> <s>", "<unk>", "<0x0A>",
];

// A code point of any plane that is no surrogate; mostly of the blocks where scripts are.
function codePoint(g) {
    const ranges = [[0, 0x7f], [0x80, 0x24f], [0x250, 0x52f], [0x530, 0x10ff], [0x1100, 0x1fff], [0x2000, 0x2bff], [0x2c00, 0x33ff], [0x3400, 0xd7ff], [0xe000, 0xffff], [0x10000, 0x11fff], [0x12000, 0x16fff], [0x17000, 0x1bfff], [0x1c000, 0x1ffff], [0x20000, 0x323af], [0x323b0, 0x10ffff]];
    const [first, last] = g.pick(ranges);
    return first + g.below(last - first + 1);
}

function mixed(g) {
    let s = "";
    for (let n = 1 + g.below(24); n > 0; n--) {
        s += g.pick(g.pick(POOLS));
        if (g.chance(35)) s += " ";
    }
    return s;
}

function anyCharacters(g) {
    const points = [];
    for (let n = 1 + g.below(40); n > 0; n--) points.push(g.chance(25) ? g.pick([0x20, 0x0a, 0x61, 0x41, 0x31, 0x2e, 0x27]) : codePoint(g));
    return String.fromCodePoint(...points);
}

function run(g) {
    const unit = g.pick([...BLANKS, "a", "A", "aA", "0", "1", ".", "'", "'s", "é", "漢", "😀", "\u0301", " a", "ab ", "\n ", " \n", "<|", "=", "-", String.fromCodePoint(codePoint(g))]);
    return (g.chance(50) ? g.pick(WORDS) : "") + unit.repeat(1 + g.below(g.chance(10) ? 600 : 70)) + (g.chance(50) ? g.pick(WORDS) : "");
}

// The written texts, then random ones, n in all.
export function texts(seed, n) {
    const g = generator(seed);
    const list = [...WRITTEN, ...CODE, ...WORDS, ...NUMBERS, ...SIGNS, ...EMOJI, ...INVISIBLE, ...BLANKS.map((b) => `a${b}${b}b`), ...ENDINGS.map((e) => `it${e} ok`)];
    while (list.length < n) list.push([mixed, mixed, mixed, anyCharacters, anyCharacters, run][g.below(6)](g));
    return list;
}
