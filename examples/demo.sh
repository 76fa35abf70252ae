#!/bin/bash
# demo.sh start|stop: a lake of one's own under .lakefuse/, with sample data and its main branch mounted on lake/.
# LAKEFUSE_DEMO_DATA, LAKEFUSE_DEMO_MOUNT and LAKEFUSE_DEMO_LISTEN choose other places.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
binary=${LAKEFUSE_BINARY:-$root/.build-release/release/lakefuse}
data=${LAKEFUSE_DEMO_DATA:-$root/.lakefuse}
mount=${LAKEFUSE_DEMO_MOUNT:-$root/lake}
listen=${LAKEFUSE_DEMO_LISTEN:-127.0.0.1:8000}
pid_file=$data/demo.pid

# The process of the file, if it still is a lakefuse of ours. One that died and nobody waited for has no program any more.
running() {
    [ -f "$pid_file" ] && pid=$(cat "$pid_file") && [[ $(readlink "/proc/$pid/exe" 2>/dev/null) == */lakefuse* ]]
}

if [ "${1-}" = stop ]; then
    if running; then
        kill "$pid"
        while running; do sleep 0.1; done
        echo "stopped, $mount is unmounted; everything is kept in $data"
    else
        echo "nothing is running"
    fi
    rm -f "$pid_file"
    exit 0
fi

mkdir -p "$data" "$mount" 2>/dev/null || true  # A dead mount cannot be made or looked at: `mount` below clears it away.
if ! running; then
    start() {
        setsid nohup "$binary" run --data "$data" --listen "$1" >"$data/ready" 2>>"$data/log" </dev/null &
        echo $! >"$pid_file"
        for _ in $(seq 300); do
            grep -q '^lakefuse is ready' "$data/ready" && return 0
            kill -0 "$(cat "$pid_file")" 2>/dev/null || return 1
            sleep 0.1
        done
        return 1
    }
    # Another program may have the usual port: any free one will do.
    start "$listen" || start 127.0.0.1:0 || { echo "the lake did not start:"; tail -3 "$data/log"; rm -f "$pid_file"; exit 1; }
fi
address=$(sed -n 's/^lakefuse is ready at //p' "$data/ready")
lakefuse() { LAKECTL_SERVER_ENDPOINT_URL=$address "$binary" -c "$data/credentials" "$@"; }

lakefuse mounts | grep -qF "	$mount	" || {
    lakefuse branch show lakefs://demo/main >/dev/null 2>&1 || lakefuse repo create lakefs://demo local://demo >/dev/null
    lakefuse mount lakefs://demo/main "$mount" >/dev/null
}
if [ ! -e "$mount/README.md" ]; then
    mkdir -p "$mount/temperatures"
    cat >"$mount/README.md" <<'TEXT'
# A small lake
`temperatures/` holds a made-up year of daily temperatures of three stations, a file a station.
Change what you like: it is a branch, `git`-like, and nothing committed is ever lost.
TEXT
    for station in harbour hill valley; do
        awk -v station=$station 'BEGIN {
            srand(length(station) * 7); print "station,day,celsius"
            for (day = 1; day <= 365; day++) printf "%s,%d,%.1f\n", station, day, 10 - 9 * cos(day / 58.1) + rand() * 4 - (station == "hill" ? 5 : 0)
        }' >"$mount/temperatures/$station.csv"
    done
    lakefuse commit lakefs://demo/main -m "Sample data" >/dev/null
fi

key=$(sed -n 's/^ *access_key_id: //p' "$data/credentials")
secret=$(sed -n 's/^ *secret_access_key: //p' "$data/credentials")
run="$binary -c $data/credentials"
cat <<TEXT

LakeFUSE is running at $address
  web page           $(lakefuse web || echo "$address")
                     (signed in, once; then by the key pair)
  access key id      $key
  secret access key  $secret
  files              $mount   (the branch main of the repository demo)

Five things to try:
  1. look around          ls -l $mount/temperatures
  2. change, see, commit  echo more >> $mount/README.md
                          $run diff lakefs://demo/main
                          $run commit lakefs://demo/main -m "more"
  3. a branch of its own  $run branch create lakefs://demo/try -s lakefs://demo/main
                          mkdir -p $mount-try && $run mount lakefs://demo/try $mount-try
  4. S3                   AWS_ACCESS_KEY_ID=$key AWS_SECRET_ACCESS_KEY=$secret aws --endpoint-url $address s3 ls s3://demo/main/temperatures/
  5. the day before       $run fs cat lakefs://demo/main~1/README.md

Stop: make demo-stop (unmounts; everything is kept in $data)
TEXT
