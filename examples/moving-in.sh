#!/bin/bash
# moving-in.sh [REPOSITORY]: a repository moves from one server that speaks lakeFS's API to another: branches, tags and the last commit's
# objects through the API, each checked by its checksum. (Whole installations move without copying: docs/scale.md, `lakefuse kv load`.)
# FROM_ENDPOINT, FROM_ACCESS_KEY_ID and FROM_SECRET_ACCESS_KEY name the other server; without them it is tried on one lake.
. "$(dirname "$0")/common.sh"
repository=${1:-}
from() {
    if [ -n "${FROM_ENDPOINT-}" ]; then
        LAKECTL_SERVER_ENDPOINT_URL=$FROM_ENDPOINT LAKECTL_CREDENTIALS_ACCESS_KEY_ID=$FROM_ACCESS_KEY_ID \
            LAKECTL_CREDENTIALS_SECRET_ACCESS_KEY=$FROM_SECRET_ACCESS_KEY lake "$@"
    else
        lake "$@"
    fi
}
if [ -z "$repository" ]; then
    repository=old-$RANDOM
    from repo create "lakefs://$repository" "local://$repository" >/dev/null
    for name in one two three; do echo "$name" >"$work/$name.txt"; done
    for name in one two three; do from fs upload "lakefs://$repository/main/texts/$name.txt" -s "$work/$name.txt" >/dev/null; done
    from commit "lakefs://$repository/main" -m "Texts" >/dev/null
    from tag create "lakefs://$repository/v1" "lakefs://$repository/main" >/dev/null
    from branch create "lakefs://$repository/dev" -s "lakefs://$repository/main" >/dev/null
    echo four >"$work/four.txt"
    from fs upload "lakefs://$repository/dev/texts/four.txt" -s "$work/four.txt" >/dev/null
    from commit "lakefs://$repository/dev" -m "A fourth" >/dev/null
fi
target=$repository-moved

say "the objects of main"
lake repo create "lakefs://$target" "local://$target" >/dev/null
from fs download "lakefs://$repository/main/" "$work/main" -r --no-progress | tail -4
lake fs upload "lakefs://$target/main/" -s "$work/main" -r --no-progress >/dev/null
lake commit "lakefs://$target/main" -m "Moved in from $repository" >/dev/null

say "each other branch: what differs from main"
for branch in $(from branch list "lakefs://$repository" --amount 1000 | cut -f1); do
    [ "$branch" = main ] && continue
    lake branch create "lakefs://$target/$branch" -s "lakefs://$target/main" >/dev/null
    from fs download "lakefs://$repository/$branch/" "$work/$branch" -r --no-progress >/dev/null
    lake fs upload "lakefs://$target/$branch/" -s "$work/$branch" -r --no-progress >/dev/null
    from diff "lakefs://$repository/main" "lakefs://$repository/$branch" --two-way | sed -n 's/^- removed //p' |
        while read -r path; do lake fs rm "lakefs://$target/$branch/$path"; done
    lake commit "lakefs://$target/$branch" -m "Moved in from $repository" >/dev/null 2>&1 || true # It may be as main is.
    echo "$branch"
done

say "both have the same"
for branch in $(lake branch list "lakefs://$target" --amount 1000 | cut -f1); do
    list() { "$1" fs ls "lakefs://$2/$branch/" -r --output json | sed -n 's/.*"checksum":"\([^"]*\)".*"path":"\([^"]*\)".*/\1 \2/p'; }
    diff <(list from "$repository") <(list lake "$target")
    echo "$branch: $(list lake "$target" | wc -l) objects"
done
