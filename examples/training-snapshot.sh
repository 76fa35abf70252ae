#!/bin/bash
# training-snapshot.sh [REPOSITORY]: a model is trained on a commit, not on a branch, so that it can be trained again on the very same data
# however that branch goes on; what came of it is committed beside the commit that it was made of.
. "$(dirname "$0")/common.sh"
repository=${1:-training-$RANDOM}
lake repo create "lakefs://$repository" "local://$repository" >/dev/null
mkdir -p "$work/data"
for index in 1 2 3 4 5; do echo "$index,$((3 * index + 1))" >"$work/data/part-$index.csv"; done
lake fs upload "lakefs://$repository/main/data/" -s "$work/data" -r >/dev/null
lake commit "lakefs://$repository/main" -m "Measurements" >/dev/null

say "the snapshot"
commit=$(lake branch show "lakefs://$repository/main" | sed -n 's/^Commit ID: //p')
lake local clone "lakefs://$repository/$commit/data/" "$work/snapshot" >/dev/null
ls "$work/snapshot"

train() { cat "$1"/*.csv | awk -F, '{ n++; sx += $1; sy += $2; xy += $1 * $2; xx += $1 * $1 } END { printf "slope %.2f\n", (n * xy - sx * sy) / (n * xx - sx * sx) }'; }
train "$work/snapshot" | tee "$work/model.txt"

say "the branch goes on, the snapshot does not"
echo "6,100" >"$work/data/part-6.csv"
lake fs upload "lakefs://$repository/main/data/" -s "$work/data" -r >/dev/null
lake commit "lakefs://$repository/main" -m "More measurements" >/dev/null
lake fs upload "lakefs://$repository/main/models/slope.txt" -s "$work/model.txt" >/dev/null
lake commit "lakefs://$repository/main" -m "A model" --meta "trained_on=$commit" >/dev/null
lake log "lakefs://$repository/main" --amount 1

say "trained again from what the commit says"
trained_on=$(lake show commit "lakefs://$repository/main" --output json | sed -n 's/.*"trained_on":"\([0-9a-f]*\)".*/\1/p')
lake fs download "lakefs://$repository/$trained_on/data/" "$work/again" -r --no-progress >/dev/null
train "$work/again" >"$work/again.txt"
cmp "$work/model.txt" "$work/again.txt" && echo "the same model"
