#!/bin/bash
# backfill.sh [REPOSITORY]: a year of files is written anew after a fault in the program that made them. Readers see the old year until
# the merge, and the new one at once then; if it is wrong after all, one revert brings the old one back.
. "$(dirname "$0")/common.sh"
repository=${1:-backfill-$RANDOM}
lake repo create "lakefs://$repository" "local://$repository" >/dev/null
make() {  # FOLDER FACTOR: a file a day
    mkdir -p "$1"
    for day in $(seq -w 1 30); do echo "day,total
$day,$((10#$day * $2))" >"$1/2024-01-$day.csv"; done
}
make "$work/wrong" 10
lake fs upload "lakefs://$repository/main/daily/" -s "$work/wrong" -r >/dev/null
lake commit "lakefs://$repository/main" -m "January" >/dev/null

say "the backfill on a branch"
lake branch create "lakefs://$repository/backfill" -s "lakefs://$repository/main" >/dev/null
make "$work/right" 11
lake fs rm "lakefs://$repository/backfill/daily/" -r
lake fs upload "lakefs://$repository/backfill/daily/" -s "$work/right" -r >/dev/null
lake commit "lakefs://$repository/backfill" -m "January, with the right factor" >/dev/null
lake diff "lakefs://$repository/main" "lakefs://$repository/backfill" | tail -1

say "readers still have the old month"
lake fs cat "lakefs://$repository/main/daily/2024-01-30.csv"
say "and the new one at once"
lake merge "lakefs://$repository/backfill" "lakefs://$repository/main"
lake fs cat "lakefs://$repository/main/daily/2024-01-30.csv"
[ "$(lake fs cat "lakefs://$repository/main/daily/2024-01-30.csv" | tail -1)" = "30,330" ]

say "taken back"
lake branch revert "lakefs://$repository/main" main -m 1 --yes
[ "$(lake fs cat "lakefs://$repository/main/daily/2024-01-30.csv" | tail -1)" = "30,300" ] && echo "the old month is there again"
