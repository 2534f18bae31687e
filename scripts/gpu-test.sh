#!/usr/bin/env bash
# Runs the classifier on the first NVIDIA GPU and compares its answers with the CPU's. Fails where
# there is no GPU: whoever asks wants to know.
. "$(dirname "$0")/lib.sh"
check_platform

if [ ! -e /dev/nvidia0 ]; then
    die "no NVIDIA GPU here (no /dev/nvidia0): nothing was tested"
fi
scripts/onnxruntime.sh gpu
# CUDA's own libraries: the system's where they are, else those of PyPI.
if ! ldconfig -p | grep -q 'libcudart\.so\.13' || ! ldconfig -p | grep -q 'libcudnn\.so\.9'; then
    libraries=$ROOT/.venv/cuda
    if [ ! -e "$libraries/.stamp" ]; then
        say "CUDA 13 and cuDNN from PyPI into .venv/cuda/ (about 2 GB, once)"
        ensure_venv
        "$PYTHON" -m pip install --quiet --disable-pip-version-check --target "$libraries" \
            --requirement scripts/requirements/cuda.txt
        touch "$libraries/.stamp"
    fi
    paths=$(find "$libraries/nvidia" -name 'lib*.so*' -printf '%h\n' | sort -u | paste -sd:)
    export LD_LIBRARY_PATH=$paths${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
fi
export TMS_ONNXRUNTIME=$ROOT/.onnxruntime/gpu TMS_BIN=$TMS
"$PYTHON" tests/clients/gpu_compare.py
