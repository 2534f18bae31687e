#!/usr/bin/env bash
# Puts what a machine needs to serve the example models into a folder: DIR/tms (the binary, ONNX
# Runtime beside it, licences) and DIR/models (components, graphs, settings, licences; no source).
. "$(dirname "$0")/../scripts/lib.sh"

[ $# = 1 ] || die "usage: collect.sh DIR"
out=$(realpath -m "$1")
mkdir -p "$out/tms/onnxruntime" "$out/models"
install -s "$TMS" "$out/tms/tms"
install -m 644 LICENSE NOTICE "$out/tms/"
install -m 644 .onnxruntime/libonnxruntime.so.* .onnxruntime/LICENSE .onnxruntime/ThirdPartyNotices.txt \
    "$out/tms/onnxruntime/"
cd models
find . -mindepth 2 -maxdepth 2 -type f \
    \( -name model.wasm -o -name '*.onnx' -o -name model.toml -o -name 'LICENSE*' \) -print0 |
    tar --null --files-from=- --create | tar --extract --directory "$out/models"
