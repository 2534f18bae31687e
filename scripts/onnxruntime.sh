#!/usr/bin/env bash
# Puts ONNX Runtime's library into .onnxruntime/, out of its PyPI package: pip fetches it, so that
# pip's mirrors and proxies count. `onnxruntime.sh gpu` puts the one for CUDA into .onnxruntime/gpu/.
. "$(dirname "$0")/lib.sh"
check_platform

variant=${1:-cpu}
case $variant in
cpu) folder=.onnxruntime size="24 MB" ;;
gpu) folder=.onnxruntime/gpu size="250 MB" ;;
*) die "usage: onnxruntime.sh [cpu|gpu]" ;;
esac
# Version and hash stand in one place: pip's requirements.
requirements=scripts/requirements/onnxruntime-$variant.txt
stamp=$(sha256sum <"$requirements")
if [ "$(cat "$folder/.stamp" 2>/dev/null)" = "$stamp" ] && compgen -G "$folder/libonnxruntime.so*" >/dev/null; then
    exit 0
fi

say "ONNX Runtime's library ($size) from PyPI into $folder/"
ensure_venv
mkdir -p "$folder"
work=$(mktemp -d "$folder/work.XXXXXX")
trap 'rm -rf "$work"' EXIT
# The same wheel for every Python: only its libraries are used.
"$PYTHON" -m pip download --quiet --disable-pip-version-check --require-hashes --no-deps \
    --only-binary=:all: --python-version 3.11 --implementation cp --abi cp311 \
    --platform manylinux_2_28_x86_64 --platform manylinux_2_27_x86_64 \
    --dest "$work" --requirement "$requirements" ||
    die "pip could not fetch ONNX Runtime; without it, \`cargo run --release -p tms -- serve\` serves with tract"
"$PYTHON" -m zipfile -e "$work"/*.whl "$work/wheel"
rm -f "$folder"/libonnxruntime*
mv "$work"/wheel/onnxruntime/capi/libonnxruntime* "$folder/"
mv "$work"/wheel/onnxruntime/{LICENSE,ThirdPartyNotices.txt} "$folder/"
echo "$stamp" >"$folder/.stamp"
