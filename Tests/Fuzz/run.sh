#!/bin/bash
# Feeds the decoders of stored data with libFuzzer's inventions for SECONDS (20) after a build of a minute.
# A crash fails and leaves the input that made it in .build-fuzz/. Source: style.md sections 9 and 11.
set -euo pipefail
cd "$(dirname "$0")/../.."
seconds=${SECONDS_TO_FUZZ:-20}
build=.build-fuzz
mkdir -p "$build/corpus"
includes=()
for module in CCrypto CSodium CChecksum CZstd; do includes+=(-I "Sources/$module"); done
sources=$(find Sources/Versioning Tests/Fuzz -name '*.swift')
newest=$(stat -c %Y $sources | sort -n | tail -1)
if [ ! -x "$build/fuzz" ] || [ "$(stat -c %Y "$build/fuzz")" -lt "$newest" ]; then
    # shellcheck disable=SC2086
    swiftc -O -swift-version 6 -package-name lakefuse -module-name Fuzz -parse-as-library -sanitize=fuzzer -D FUZZING -suppress-warnings \
        -enable-upcoming-feature ExistentialAny -enable-upcoming-feature InternalImportsByDefault -enable-upcoming-feature MemberImportVisibility \
        "${includes[@]}" $sources -o "$build/fuzz"
fi
export SWIFT_BACKTRACE=enable=no ASAN_OPTIONS=symbolize=0 LAKEFUSE_FUZZ_CORPUS="$build/corpus"
"$build/fuzz" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=1024 -max_len=200000 -artifact_prefix="$build/" -print_final_stats=1 "$build/corpus" >"$build/log" 2>&1 || {
    tail -40 "$build/log"
    exit 1
}
grep -E "stat::number_of_executed_units|stat::peak_rss_mb" "$build/log"
