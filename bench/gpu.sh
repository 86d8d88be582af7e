#!/bin/sh
# gpu.sh - the table of docs/SPEED.md, on this machine's GPU: random weights at real shapes, made
# there; about three minutes.
#
#   bench/gpu.sh OUT       writes OUT/*.json and OUT/gpu.txt; needs Node, npm webgpu and
#                          build/bench.wasm, no compiler and no file of weights
set -eu
out=$(mkdir -p "$1" && cd "$1" && pwd)
cd "$(dirname "$0")/.."
bench() { # NAME WHAT OPTIONS...
    name=$1 what=$2
    shift 2
    echo
    echo "== $name"
    timeout 100 node doppler bench "$what" --device gpu --json "$out/$name.json" "$@" ||
        echo "$name: failed"
}
{
    date -u
    bench 7b-fast inference --shape mistral-7b --full --context 512,16384 --prompt 512,8192
    bench 7b-exact inference --shape mistral-7b --full --precision exact --prompt '' \
        --kernels decode
    bench 7b-core inference --shape mistral-7b --full --without core --context '' \
        --prompt 512,8192
    bench 1b-fast inference --shape llama-3.2-1b --rounds 5
    bench gpt-oss inference --shape gpt-oss-20b --quantize mxfp4
    bench matvec kernels --prompt '' --matrices q4_k:14336x4096,q4_k:4096x14336,q4_k:4096x4096
    echo
    node bench/table.mjs "$out"
    bench 7b-kernels kernels --shape mistral-7b --full --prompt ''
    bench gemma-3-1b inference --shape gemma-3-1b --prompt ''
    bench matmul kernels --context '' --prompt 512 --matrices q4_k:14336x4096
} 2>&1 | tee "$out/gpu.txt"
