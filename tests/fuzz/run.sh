#!/bin/sh
# run.sh - one fuzz target under libFuzzer, from the committed seeds and what earlier runs found.
#
#   sh tests/fuzz/run.sh fuzz_json          FUZZ_SECONDS=30
#
# New inputs go to build/fuzz/corpus/, what breaks the target to build/fuzz/crashes/: copy that file
# to tests/fuzz/seeds/TARGET/ under a name that says what was wrong, and fix it.
set -u
cd "$(dirname "$0")/../.." || exit 1
target=$1
corpus=build/fuzz/corpus/$target
log=build/fuzz/$target.log
mkdir -p "$corpus" build/fuzz/crashes
make --no-print-directory -s "build/fuzz/$target" || exit 1
if "build/fuzz/$target" -max_total_time="${FUZZ_SECONDS:-30}" -timeout=5 -rss_limit_mb=1024 \
        -print_final_stats=1 -artifact_prefix="build/fuzz/crashes/$target-" \
        "$corpus" "tests/fuzz/seeds/$target" >"$log" 2>&1; then
    echo "$target: $(sed -n 's/^stat::number_of_executed_units: *//p' "$log") inputs"
    echo "1 passed, 0 failed"
else
    tail -n 40 "$log"
    echo "0 passed, 1 failed"
    exit 1
fi
