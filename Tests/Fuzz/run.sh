#!/bin/bash
# Feeds everything that reads bytes from outside with libFuzzer's inventions for SECONDS_TO_FUZZ (30), under the address
# sanitizer, after a build of a minute or two. A crash fails and leaves the input that made it in .build-fuzz/.
# Source: style.md sections 9 and 11.
set -euo pipefail
cd "$(dirname "$0")/../.."
seconds=${SECONDS_TO_FUZZ:-30}
build=.build-fuzz
mkdir -p "$build/corpus"
LAKEFUSE_FUZZ=1 swift build -c release --scratch-path "$build" --product Fuzz -Xswiftc -sanitize=fuzzer,address -Xswiftc -DFUZZING -Xswiftc -enable-testing -Xswiftc -Xclang-linker -Xswiftc -fuse-ld=lld \
    >"$build/build.log" 2>&1 || {
    tail -30 "$build/build.log"
    exit 1
}
export SWIFT_BACKTRACE=enable=no ASAN_OPTIONS=symbolize=0:detect_leaks=0 LAKEFUSE_FUZZ_CORPUS="$build/corpus"
"$build/release/Fuzz" -max_total_time="$seconds" -timeout=20 -rss_limit_mb=3000 -malloc_limit_mb=1000 -max_len=20000 -artifact_prefix="$build/" -print_final_stats=1 "$build/corpus" >"$build/log" 2>&1 || {
    tail -40 "$build/log"
    exit 1
}
grep -E "stat::number_of_executed_units|stat::peak_rss_mb" "$build/log"
