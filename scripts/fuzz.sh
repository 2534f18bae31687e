#!/usr/bin/env bash
# Builds the fuzz targets, replays the kept inputs, and looks for new ones for FUZZ_SECONDS a target.
# A finding fails it and lies in target/fuzz/TARGET/. TARGET is grpc, load or child, and all unless named.
#
#   fuzz.sh [TARGET...]            replays and looks for new ones
#   fuzz.sh add TARGET FILE NAME   keeps an input, such as a finding's, under a name that says what it is
#   fuzz.sh keep [TARGET...]       keeps what earlier runs found to reach new code
#   fuzz.sh minimise [TARGET...]   drops kept inputs that reach no code which others do not; those with
#                                  a name stay
#
# The kept inputs of a target are one file, fuzz/corpus/TARGET.tar.gz: `tar tzf` lists them.
. "$(dirname "$0")/lib.sh"
check_platform

verb=run
case ${1:-} in
add | keep | minimise)
    verb=$1
    shift
    ;;
esac

# unpack TARGET FOLDER: the kept inputs, and nothing else, in the folder.
unpack() {
    rm -rf "$2"
    mkdir -p "$2"
    tar -xzf "fuzz/corpus/$1.tar.gz" -C "$2"
}

# pack FOLDER TARGET: the same inputs make the same file.
pack() {
    local to=fuzz/corpus/$2.tar.gz
    (cd "$1" && LC_ALL=C find . -type f -printf '%P\0' | LC_ALL=C sort -z |
        tar -c --null --no-recursion --files-from - --format ustar --mtime @0 --mode 644 \
            --owner 0 --group 0 --numeric-owner) | gzip -9 -n >"$to.new"
    mv "$to.new" "$to"
    say "$to: $(tar -tzf "$to" | wc -l) inputs, $(stat -c %s "$to") bytes"
}

if [ "$verb" = add ]; then
    [ $# = 3 ] || die "fuzz.sh add TARGET FILE NAME"
    unpack "$1" "$TARGET/fuzz/$1/kept"
    cp -- "$2" "$TARGET/fuzz/$1/kept/$3"
    pack "$TARGET/fuzz/$1/kept" "$1"
    exit 0
fi

seconds=${FUZZ_SECONDS:-60}
targets=("$@")
if [ $# = 0 ]; then targets=(grpc load child); fi
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
    mkdir -p "$work/tmp" "$work/corpus"
    export TMPDIR=$work/tmp
    unpack "$target" "$work/kept"
    options=(-rss_limit_mb=6144 -timeout=60 -artifact_prefix="$work/")
    case $verb in
    keep)
        "$TARGET/release/fuzz-$target" -merge=1 "${options[@]}" "$work/kept" "$work/corpus"
        pack "$work/kept" "$target"
        continue
        ;;
    minimise)
        # Those that libFuzzer named have forty hexadecimal digits.
        rm -rf "$work/least"
        mkdir "$work/least"
        find "$work/kept" -type f -regextype egrep -not -regex '.*/[0-9a-f]{40}' \
            -exec cp -t "$work/least" {} +
        "$TARGET/release/fuzz-$target" -merge=1 "${options[@]}" "$work/least" "$work/kept"
        pack "$work/least" "$target"
        continue
        ;;
    esac
    say "fuzzing $target for $seconds s"
    "$TARGET/release/fuzz-$target" -max_total_time="$seconds" -max_len=16384 -print_final_stats=1 \
        -dict="fuzz/$target.dict" "${options[@]}" "$work/corpus" "$work/kept" \
        >"$work/log" 2>&1 || {
        tail -n 40 "$work/log" >&2
        die "$target has a finding: fix it, and keep its input: scripts/fuzz.sh add $target FILE NAME"
    }
    grep -E 'DONE|^stat::number_of_executed_units' "$work/log"
done
