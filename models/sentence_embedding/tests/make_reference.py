"""Makes reference.json: the pieces of texts as the tokenizer's own library has them.

    pip install tokenizers && python make_reference.py
"""

import json

from tokenizers import Tokenizer

TEXTS = [
    "A cat sits on the windowsill.",
    "",
    "   \t\n  ",
    "Héllo, WÖRLD!  naïve café — it's \"ok\"…",
    "unaffable supercalifragilisticexpialidocious antidisestablishmentarianism",
    "你好,世界。こんにちは 안녕하세요 مرحبا Привет, мир",
    "😀 👩‍👩‍👧‍👦 ½ ﬁ Ａ ™ ①",
    "cafe\u0301 and caf\u00e9; \u0130stanbul; stra\u00dfe",
    "a\u200bb\u00adc\x00d\x07e\ufffdf",
    "e-mail: someone+tag@example.com, https://example.com/a?b=c&d=%20",
    "[CLS] hello [MASK] world [SEP] [UNK]",
    "1,234.56 $99 C++ #hashtag @name ~`^_|\\<>",
    "x" * 101 + " " + "y" * 100,
    "the quick brown fox " * 100,
]

tokenizer = Tokenizer.from_file("../tokenizer.json")
tokenizer.no_padding()
tokenizer.enable_truncation(256)
cases = [{"text": text, "pieces": tokenizer.encode(text).ids} for text in TEXTS]
with open("reference.json", "w") as file:
    json.dump(cases, file, separators=(",", ":"))
    file.write("\n")
