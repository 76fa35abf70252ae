#!/bin/bash
# ci-for-data.sh [REPOSITORY]: what a pipeline does for each change of data: a branch of its own, tests on it, and a merge if they pass.
# `main` never sees what failed, and the branch of a failure stays for who looks into it.
. "$(dirname "$0")/common.sh"
repository=${1:-ci-$RANDOM}
lake repo create "lakefs://$repository" "local://$repository" >/dev/null
printf 'id,amount\n1,10\n2,20\n' >"$work/orders.csv"
lake fs upload "lakefs://$repository/main/orders.csv" -s "$work/orders.csv" >/dev/null
lake commit "lakefs://$repository/main" -m "Orders" >/dev/null

# The tests: here every amount is a number.
test_data() { lake fs cat "$1/orders.csv" | awk -F, 'NR > 1 && $2 !~ /^[0-9]+$/ { print "line " NR ": " $0; bad = 1 } END { exit bad }'; }

run() {  # NAME FILE: one run of the pipeline
    local branch="lakefs://$repository/ci-$1"
    lake branch create "$branch" -s "lakefs://$repository/main" >/dev/null
    lake fs upload "$branch/orders.csv" -s "$2" >/dev/null
    lake commit "$branch" -m "Run $1" --meta "run=$1" >/dev/null
    if test_data "$branch"; then
        lake merge "$branch" "lakefs://$repository/main" >/dev/null
        lake branch delete "$branch" --yes >/dev/null
        echo "run $1: passed, merged"
    else
        echo "run $1: failed, $branch is kept"
    fi
}

say "two runs"
printf 'id,amount\n1,10\n2,20\n3,30\n' >"$work/good.csv"
printf 'id,amount\n1,10\n2,lots\n' >"$work/bad.csv"
run 1 "$work/good.csv"
run 2 "$work/bad.csv"
say "what main has"
lake fs cat "lakefs://$repository/main/orders.csv"
[ "$(lake fs cat "lakefs://$repository/main/orders.csv" | wc -l)" = 4 ]
say "what the failed run would have changed"
lake diff "lakefs://$repository/main" "lakefs://$repository/ci-2"
