#!/usr/bin/env bash
# Builds the fuzz targets, replays the kept inputs, and looks for new ones for FUZZ_SECONDS a target.
# A finding fails it and lies in target/fuzz/TARGET/.
#
#   fuzz.sh [TARGET...]    grpc and load, unless named
#   fuzz.sh keep           adds to fuzz/corpus/ what earlier runs found to reach new code
. "$(dirname "$0")/lib.sh"
check_platform

seconds=${FUZZ_SECONDS:-60}
targets=("$@")
if [ $# = 0 ] || [ "$1" = keep ]; then targets=(grpc load); fi
command -v c++ >/dev/null || die "a C++ compiler is needed for libFuzzer: apt-get install -y g++"

# It says in JSON where its library lies.
say "building libFuzzer (1 minute, once)"
engine=$(cargo build --release --locked --message-format json --manifest-path fuzz/engine/Cargo.toml |
    sed -n 's/.*"reason":"build-script-executed".*libfuzzer-sys.*"out_dir":"\([^"]*\)".*/\1/p')
say "building the fuzz targets (2 minutes where the server changed)"
RUSTC_WORKSPACE_WRAPPER=$ROOT/scripts/fuzz-rustc.sh FUZZ_ENGINE=$engine \
    cargo build --release --locked -p tms-fuzz --features engine
for group in models tests/guests; do
    for source in "$group"/*/Cargo.toml; do
        [ -e "${source%Cargo.toml}model.wasm" ] || "$TMS" build "$group"
    done
done

for target in "${targets[@]}"; do
    work=$TARGET/fuzz/$target
    # What earlier runs left of their folders of models.
    rm -rf "$work/tmp"
    mkdir -p "$work/tmp" "$work/corpus" "fuzz/corpus/$target"
    export TMPDIR=$work/tmp
    options=(-rss_limit_mb=6144 -timeout=60 -artifact_prefix="$work/")
    if [ "${1:-}" = keep ]; then
        "$TARGET/release/fuzz-$target" -merge=1 "${options[@]}" "fuzz/corpus/$target" "$work/corpus"
        continue
    fi
    say "fuzzing $target for $seconds s"
    "$TARGET/release/fuzz-$target" -max_total_time="$seconds" -max_len=16384 -print_final_stats=1 \
        -dict="fuzz/$target.dict" "${options[@]}" "$work/corpus" "fuzz/corpus/$target" \
        >"$work/log" 2>&1 || {
        tail -n 40 "$work/log" >&2
        die "$target has a finding: fix it, and put its input into fuzz/corpus/$target/"
    }
    grep -E 'DONE|^stat::number_of_executed_units' "$work/log"
done
