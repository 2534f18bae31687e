#!/usr/bin/env bash
# Puts the Python client and what the Python tests need into .venv/. `python.sh bench` adds what the
# benches' Python server needs.
. "$(dirname "$0")/lib.sh"
check_platform

# install STAMP REQUIREMENTS WHAT PIP-OPTION...: unless the same was installed before.
install() {
    local file=.venv/$1 requirements=$2 what=$3 stamp
    stamp=$(cat "$requirements" clients/python/pyproject.toml <("$PYTHON" --version) | sha256sum)
    if [ "$(cat "$file" 2>/dev/null)" = "$stamp" ]; then return; fi
    say "$what, once"
    "$PYTHON" -m pip install --quiet --disable-pip-version-check --requirement "$requirements" "${@:4}"
    echo "$stamp" >"$file"
}

ensure_venv
install .stamp scripts/requirements/test.txt \
    "Python packages of the tests into .venv/ (150 MB to download)" --editable clients/python
if [ "${1:-}" = bench ]; then
    install .stamp-bench scripts/requirements/bench.txt \
        "Python packages of the benches into .venv/ (35 MB to download)"
fi
