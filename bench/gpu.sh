#!/bin/sh
# gpu.sh - the figures of the table in docs/SPEED.md, on this machine's GPU: random weights at real
# shapes, about two minutes.
#
#   bench/gpu.sh OUT       writes OUT/*.json and OUT/gpu.txt; needs build/doppler and npm webgpu
#
# Where the system has a folder in memory the weights are kept there, 6 GB of it, until the end.
set -eu
out=$(mkdir -p "$1" && cd "$1" && pwd)
cd "$(dirname "$0")/.."
weights=$(mktemp -d "$([ -d /dev/shm ] && echo /dev/shm || echo /tmp)/doppler-XXXXXX")
trap 'rm -rf "$weights"' EXIT

bench() { # NAME SHAPE OPTIONS...
    name=$1 shape=$2
    shift 2
    [ -d "$weights/$shape" ] ||
        build/doppler synth "$shape" "$weights/$shape" --format rdrr --quiet
    node doppler bench inference --model "$weights/$shape" --device gpu --json "$out/$name.json" "$@"
}
{
    date -u
    bench mistral-7b-fast mistral-7b --precision fast
    bench mistral-7b-exact mistral-7b --precision exact --kernels decode
    bench llama-3.2-1b-fast llama-3.2-1b --precision fast --rounds 5
    bench llama-3.2-1b-exact llama-3.2-1b --precision exact --kernels no
    bench gemma-3-1b-fast gemma-3-1b --precision fast --kernels decode
} 2>&1 | tee "$out/gpu.txt"
