#!/usr/bin/env bash
# Serves a folder of models in the foreground, and makes a first call as soon as it is ready.
# PORT, MODELS: as in `make help`.
. "$(dirname "$0")/lib.sh"
check_platform

picture=docs/pictures/chelsea.jpg
export TMS_ONNXRUNTIME=${TMS_ONNXRUNTIME:-$ROOT/.onnxruntime}

# Reads what the server says on stdout; calls it when it is ready.
first_call() {
    local line port address=() began ended
    while read -r line; do
        echo "$line"
        [[ $line =~ ^ready:\ grpc://[^\ ,]*:([0-9]+) ]] || continue
        port=${BASH_REMATCH[1]}
        [ "$port" = 50000 ] || address=(--address "127.0.0.1:$port")
        if [ ! -e "$MODELS/efficientnet_lite0/model.wasm" ]; then continue; fi
        call=("${TMS#"$ROOT"/}" call "${address[@]}" efficientnet_lite0 --image)
        echo
        echo "\$ ${call[*]} $picture"
        began=${EPOCHREALTIME/[^0-9]/}
        "${call[@]}" "$picture" || continue
        ended=${EPOCHREALTIME/[^0-9]/}
        echo "answered in $(((ended - began) / 1000)) ms, reading the picture and connecting included"
        echo
        echo "Now call it with your own, from another terminal:"
        echo "    ${call[*]} cat.jpg"
        echo "Ctrl-C stops the server."
    done
}

serve=("$TMS" serve --models "$MODELS" --port "$PORT")
read -r _ _ _ _ group _ _ foreground _ <"/proc/$$/stat"
if [ "$group" = "$foreground" ]; then
    # In a terminal the server alone gets Ctrl-C: it drains and ends with 0, and so does make.
    set -m
    "${serve[@]}" > >(first_call)
else
    exec "${serve[@]}" > >(first_call)
fi
