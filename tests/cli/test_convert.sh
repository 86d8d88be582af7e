#!/bin/sh
# test_convert.sh - convert, inspect and verify as a user meets them: exit codes, messages, and a
# folder that appears whole or not at all. Runs from the project root against DOPPLER, by default
# the sanitized program.
DOPPLER=${DOPPLER:-build/san/doppler}
FIXTURE=tests/fixtures/micro/llama3
T=$(mktemp -d) || exit 1
trap 'rm -rf "$T"' EXIT
passed=0
failed=0

# expect NAME CODE PATTERN COMMAND...: the exit code, and a line of its output (both streams).
expect() {
    name=$1 code=$2 pattern=$3
    shift 3
    "$@" > "$T/log" 2>&1
    got=$?
    if [ $got -eq "$code" ] && grep -q -e "$pattern" "$T/log"; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "not ok: $name: exit $got, wanted $code and \"$pattern\""
        head -5 "$T/log"
    fi
}

# check NAME COMMAND...: the command succeeds.
check() {
    name=$1
    shift
    if "$@" > "$T/log" 2>&1; then passed=$((passed + 1)); else
        failed=$((failed + 1))
        echo "not ok: $name"
        head -5 "$T/log"
    fi
}

# A fresh copy of the package $T/p in $T/b.
copy() {
    rm -rf "$T/b"
    cp -r "$T/p" "$T/b"
}

# Another byte at offset $2 of file $1.
flip() {
    byte=$(od -An -tu1 -j "$2" -N 1 "$1" | tr -d ' ')
    printf "\\$(printf %03o $((255 - byte)))" | dd of="$1" bs=1 seek="$2" conv=notrunc 2> "$T/dd"
}

expect 'keep' 0 '^package id [0-9a-f]*$' "$DOPPLER" convert $FIXTURE "$T/k"
expect 'options name the ends too' 0 'in 11 shards' "$DOPPLER" convert --input $FIXTURE \
    --output "$T/p" --quantize bf16 --shard-size 32KiB
expect 'a mixture' 0 'of q4_k_m' "$DOPPLER" convert $FIXTURE "$T/q" --quantize q4_k_m
expect 'mxfp4' 0 'of mxfp4' "$DOPPLER" convert $FIXTURE "$T/m" --quantize mxfp4
check 'rows of 64 are q4_k' grep -q '"dtype": "q4_k", .*"shape": \[128, 64\], "bytes": 18432' \
    "$T/q/manifest.json"
check 'and mxfp4' grep -q '"dtype": "mxfp4", .*"shape": \[128, 64\], "bytes": 6144' \
    "$T/m/manifest.json"
expect 'an embedding in a format of its own' 0 'of keep' "$DOPPLER" convert $FIXTURE "$T/e" \
    --embeddings q8_0
check 'which is that' grep -q '"role": "embedding".*"dtype": "q8_0"' "$T/e/manifest.json"
expect 'a tied head has none' 1 'BAD_ARGUMENT: a head in f16, but .* is its embedding' \
    "$DOPPLER" convert $FIXTURE "$T/c" --head f16
expect 'mirrors' 0 'in 11 shards' "$DOPPLER" convert $FIXTURE "$T/w" --quantize bf16 \
    --shard-size 32KiB --mirror https://a.example/m --mirror http://b.example:8080/
urls='"https://a.example/m/shard_00010.bin", "http://b.example:8080/shard_00010.bin"'
check 'are folders that hold the shards' grep -q "\"urls\": \\[$urls\\]}\$" "$T/w/manifest.json"
check 'and change nothing else' cmp "$T/p/hashes.bin" "$T/w/hashes.bin"
check 'verify passes them over' "$DOPPLER" verify "$T/w" --quiet
for mirror in file:///tmp a.example '' 'https://a.example/?m=' https://me@a.example; do
    expect "a mirror is a URL of a folder: '$mirror'" 1 'BAD_ARGUMENT: mirror "' \
        "$DOPPLER" convert $FIXTURE "$T/c" --mirror "$mirror"
done
expect 'and there are not too many' 2 'at most 16' "$DOPPLER" convert $FIXTURE "$T/c" \
    $(yes -- --mirror=https://a/b | head -17)
expect 'the file alone is enough' 0 'package id' "$DOPPLER" convert $FIXTURE/model.safetensors \
    "$T/f" --name llama3
check 'the file and its folder make the same package' cmp "$T/k/manifest.json" "$T/f/manifest.json"
"$DOPPLER" convert $FIXTURE "$T/silent" --quiet > "$T/out" 2>&1
check 'quiet prints nothing' test ! -s "$T/out"
check 'nothing is left half-named' test ! -e "$T/p.partial"

expect 'an existing package is not overwritten' 1 'IO: .*exists already' \
    "$DOPPLER" convert $FIXTURE "$T/k"
check 'and stays whole' "$DOPPLER" verify "$T/k" --quiet
mkdir "$T/g.partial"
: > "$T/g.partial/shard_00000.bin"
expect 'what a killed run left is replaced' 0 'package id' "$DOPPLER" convert $FIXTURE "$T/g"
mkdir "$T/h.partial"
: > "$T/h.partial/diary.txt"
expect 'but not a folder of somebody else' 1 'diary.txt' "$DOPPLER" convert $FIXTURE "$T/h"
check 'which keeps its files' test -e "$T/h.partial/diary.txt"

# The same weights behind an index, then an index that lies.
mkdir "$T/sharded"
cp $FIXTURE/*.json $FIXTURE/*.jinja "$T/sharded"
cp $FIXTURE/model.safetensors "$T/sharded/model-00001-of-00001.safetensors"
index() {
    "$DOPPLER" inspect $FIXTURE --tensors | awk -v extra="$1" '
        BEGIN { printf "{\"weight_map\": {" }
        /^  model\./ { printf "\"%s\": \"model-00001-of-00001.safetensors\", ", $1 }
        END { printf "\"%s\": \"model-00001-of-00001.safetensors\"}}", extra }'
}
index "model.norm.weight" | sed 's/"model.norm.weight": [^,]*, //' \
    > "$T/sharded/model.safetensors.index.json"
expect 'an index of shards' 0 'package id' "$DOPPLER" convert "$T/sharded" "$T/s" --name llama3
check 'makes the same weights' cmp "$T/k/shard_00000.bin" "$T/s/shard_00000.bin"
index "model.ghost.weight" > "$T/sharded/model.safetensors.index.json"
expect 'an index of more than there is' 1 'BAD_FILE: .*"model.ghost.weight" is not in' \
    "$DOPPLER" convert "$T/sharded" "$T/c"

mkdir "$T/cut"
cp $FIXTURE/*.json "$T/cut"
head -c 200000 $FIXTURE/model.safetensors > "$T/cut/model.safetensors"
expect 'a cut checkpoint is refused' 1 'BAD_FILE: model.safetensors: ' \
    "$DOPPLER" convert "$T/cut" "$T/c"
cp $FIXTURE/model.safetensors "$T/cut"
flip "$T/cut/model.safetensors" 20
expect 'a broken header is refused' 1 'model.safetensors' "$DOPPLER" convert "$T/cut" "$T/c"
rm "$T/cut/model.safetensors"
expect 'a folder without weights is refused' 1 'neither model.safetensors nor' \
    "$DOPPLER" convert "$T/cut" "$T/c"
expect 'a missing input is named' 1 'IO: .*nowhere' "$DOPPLER" convert "$T/nowhere" "$T/c"
check 'no failure leaves a folder' test ! -e "$T/c" -a ! -e "$T/c.partial"
expect 'an unwritable place is named' 1 'IO: /proc/x.partial' "$DOPPLER" convert $FIXTURE /proc/x
expect 'wrong usage' 2 'quantize' "$DOPPLER" convert $FIXTURE "$T/c" --quantize q3
expect 'shards are whole pages' 1 'multiple of 4096' "$DOPPLER" convert $FIXTURE "$T/c" \
    --shard-size 5000

for p in k p q m f g s; do
    check "package $p obeys the schema" node tests/schema.mjs "$T/$p"
done

expect 'verify' 0 '20 tensors in 11 shards, 11 blocks' "$DOPPLER" verify "$T/p"
copy
flip "$T/b/shard_00003.bin" 777
expect 'a flipped byte is found' 1 'BAD_FILE: shard_00003.bin: block 0 (offset 0): SHA-256' \
    "$DOPPLER" verify "$T/b"
copy
head -c 32764 "$T/p/shard_00001.bin" > "$T/b/shard_00001.bin"
expect 'a truncated shard is found' 1 'shard_00001.bin: 32764 bytes, manifest says 32768' \
    "$DOPPLER" verify "$T/b"
copy
rm "$T/b/shard_00010.bin"
expect 'a missing shard is found' 1 'IO: .*shard_00010.bin' "$DOPPLER" verify "$T/b"
copy
flip "$T/b/hashes.bin" 40
expect 'changed hashes are found' 1 'hashes.bin: SHA-256 differs' "$DOPPLER" verify "$T/b"
copy
flip "$T/b/tokenizer.bin" 400
expect 'a changed tokenizer is found' 1 'tokenizer.bin: SHA-256 differs' "$DOPPLER" verify "$T/b"
copy
sed 's/"kv_heads": 2/"kv_heads": 4/' "$T/p/manifest.json" > "$T/b/manifest.json"
expect 'a manifest that contradicts itself' 1 'manifest.json: tensors' "$DOPPLER" verify "$T/b"

expect 'inspect a package' 0 'llama: 2 layers, dim 64' "$DOPPLER" inspect "$T/p"
expect 'inspect as JSON' 0 '"role": "attn_q", "layer": 1, "dtype": "bf16", "shape": .128, 64.' \
    "$DOPPLER" inspect "$T/p" --json --tensors
expect 'inspect KV at a context' 0 '262 kB KV in f16 at 512 tokens' \
    "$DOPPLER" inspect "$T/p" --context 512
expect 'inspect a checkpoint' 0 'BF16 .* in 20 tensors' \
    "$DOPPLER" inspect $FIXTURE
expect 'inspect a tokenizer' 0 '512 tokens' "$DOPPLER" inspect $FIXTURE/tokenizer.json
expect 'inspect what is neither' 1 'BAD_FILE' "$DOPPLER" inspect tests/cli/test_convert.sh

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
