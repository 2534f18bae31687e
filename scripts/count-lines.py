#!/usr/bin/env python3
"""Counts the host's lines of code: without tests, comments and blank lines.

A fact, not a bound (docs/decisions/003-size.md). Prints one line a folder and the sum.
"""

import pathlib
import re

HOST = pathlib.Path(__file__).parent.parent / "host"


def code(path):
    """Lines of code of one file, up to its module of unit tests."""
    text = path.read_text()
    text = re.split(r"#\[cfg\(test\)\]\nmod tests \{", text)[0]
    lines = (line.strip() for line in text.splitlines())
    return sum(1 for line in lines if line and not line.startswith("//"))


def main():
    files = [HOST / "build.rs", *sorted((HOST / "src").rglob("*.rs"))]
    files = [f for f in files if not f.stem.endswith("tests")]
    folders = {}
    for file in files:
        parts = file.relative_to(HOST).parts
        folder = "/".join(parts[:2]) if len(parts) > 2 else parts[0]
        folders[folder] = folders.get(folder, 0) + code(file)
    for folder, count in folders.items():
        print(f"{count:6} {folder}")
    print(f"{sum(folders.values()):6} in {len(files)} files")


main()
