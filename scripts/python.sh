#!/usr/bin/env bash
# Puts the Python client and what the Python tests need into .venv/.
. "$(dirname "$0")/lib.sh"
check_platform

requirements=scripts/requirements/test.txt
ensure_venv
stamp=$(cat "$requirements" clients/python/pyproject.toml <("$PYTHON" --version) | sha256sum)
if [ "$(cat .venv/.stamp 2>/dev/null)" = "$stamp" ]; then exit 0; fi
say "Python packages of the tests into .venv/ (150 MB to download, once)"
"$PYTHON" -m pip install --quiet --disable-pip-version-check --requirement "$requirements" \
    --editable clients/python
echo "$stamp" >.venv/.stamp
