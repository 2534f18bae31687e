#!/usr/bin/env bash
# Cargo's RUSTC_WORKSPACE_WRAPPER where fuzz.sh builds: adds libFuzzer's coverage and the checks of a
# debug build to the library `tms`, and to nothing else: what it depends on is not compiled again.
rustc=$1
shift
case " $* " in
*" --crate-name tms "*)
    exec "$rustc" "$@" -C debug-assertions=on -C passes=sancov-module \
        -C llvm-args=-sanitizer-coverage-level=4 \
        -C llvm-args=-sanitizer-coverage-inline-8bit-counters \
        -C llvm-args=-sanitizer-coverage-pc-table \
        -C llvm-args=-sanitizer-coverage-trace-compares
    ;;
*) exec "$rustc" "$@" ;;
esac
