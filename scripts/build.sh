#!/usr/bin/env bash
# Builds the server and the components of models/.
. "$(dirname "$0")/lib.sh"
check_platform

if compgen -G "$TARGET/release/deps/libwasmtime-*.rlib" >/dev/null; then
    say "building the server (1 to 3 minutes where it changed)"
else
    say "building the server and all it depends on (about 15 minutes on 2 cores, once)"
fi
cargo build --release --locked -p tms
say "building the models' components (1 to 2 minutes the first time)"
"$TMS" build models
