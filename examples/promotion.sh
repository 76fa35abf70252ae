#!/bin/bash
# promotion.sh [REPOSITORY]: data goes from a branch of its own to `staging`, and from there to `main` only by a merge that a check
# lets pass. `main` is protected: nobody writes to it otherwise.
. "$(dirname "$0")/common.sh"
repository=${1:-promotion-$RANDOM}

say "a repository whose main takes merges alone"
lake repo create "lakefs://$repository" "local://$repository" >/dev/null
mkdir -p "$work/actions"
cat >"$work/actions/check.yaml" <<'YAML'
name: no empty files
on:
  pre-merge:
    branches: [main]
hooks:
  - id: no_empty_files
    type: lua
    properties:
      script: |
        local lakefs = require("lakefs")
        local after = ""
        repeat
          local code, page = lakefs.list_objects(action.repository_id, action.source_ref, after, "data/")
          for _, object in pairs(page.results) do
            if object.size_bytes == 0 then error(object.path .. " is empty") end
          end
          after = page.pagination.next_offset
        until not page.pagination.has_more
YAML
lake actions validate "$work/actions/check.yaml"
lake fs upload "lakefs://$repository/main/_lakefs_actions/check.yaml" -s "$work/actions/check.yaml" >/dev/null
lake commit "lakefs://$repository/main" -m "The check" >/dev/null
lake branch-protect add "lakefs://$repository" main
lake branch create "lakefs://$repository/staging" -s "lakefs://$repository/main" >/dev/null

say "work on a branch"
lake branch create "lakefs://$repository/prices" -s "lakefs://$repository/staging" >/dev/null
mkdir -p "$work/data"
printf 'day,price\n1,10\n2,11\n' >"$work/data/prices.csv"
: >"$work/data/broken.csv"
lake fs upload "lakefs://$repository/prices/data/" -s "$work/data" -r
lake commit "lakefs://$repository/prices" -m "Prices" >/dev/null
lake merge "lakefs://$repository/prices" "lakefs://$repository/staging"

say "main refuses: a file is empty"
if lake merge "lakefs://$repository/staging" "lakefs://$repository/main"; then
    echo "the check let it pass" >&2
    exit 1
fi

say "mended, promoted"
lake fs rm "lakefs://$repository/staging/data/broken.csv"
lake commit "lakefs://$repository/staging" -m "Without the empty file" >/dev/null
lake merge "lakefs://$repository/staging" "lakefs://$repository/main" -m "Prices of this week"
lake fs cat "lakefs://$repository/main/data/prices.csv"
lake tag create "lakefs://$repository/week-1" "lakefs://$repository/main"
