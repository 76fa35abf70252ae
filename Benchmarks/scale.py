"""One lake on real engines, beside the embedded default, in one run: PostgreSQL and an S3 store on this machine.

`Benchmarks/run.sh --only scale [--delay MILLISECONDS]`. With a delay both engines are that far away (tc netem in a network
namespace, needs root). README.md tells what the rows are."""
import argparse
import base64
import json
import os
import pathlib
import re
import statistics
import subprocess
import sys
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "Tests/EndToEnd"), str(ROOT / "Tests/Engines")]
import lake as lakes  # noqa: E402
import engines as parts  # noqa: E402

HERE = pathlib.Path(__file__).resolve().parent


def say(text):
    print(text, file=sys.stderr, flush=True)


class Side:
    """A server under measurement."""

    def __init__(self, folder, name, **settings):
        self.name = name
        self.lake = lakes.Lake(folder, name, **{"LAKEFUSE_" + key: value for key, value in settings.items()}).start()
        scheme = "s3://lake/" if settings else "local://"
        self.repository = f"bench{name}{int(time.time())}"
        self.lake.ask("POST", "/repositories", 201, json_body={
            "name": self.repository, "storage_namespace": scheme + self.repository})
        self.namespace = scheme + self.repository

    def calls(self):
        """Calls of the key-value store and of the object store so far, by name."""
        text = self.lake.send("GET", "/metrics").body.decode()
        return {f"{kind} {name}": float(value) for kind, name, value in re.findall(
            r'lakefuse_(kv_request|object_store_call)s?_total\{[^}]*?(?:operation|call|name)="(\w+)"[^}]*\} ([\d.]+)',
            text)}


class Bench:
    def __init__(self, quick, engine, delay):
        self.folder = lakes.work_folder("scale-bench")
        self.load = self.folder / "load"
        subprocess.run(["cc", "-O2", "-o", self.load, HERE / "load.c"], check=True)
        self.seconds = 2 if quick else 5
        self.entries = 20_000 if quick else 100_000
        environment = engine.environment
        far = dict(
            DATABASE_TYPE="postgres", DATABASE_POSTGRES_CONNECTION_STRING=environment["ENGINE_POSTGRES"],
            AUTH_ENCRYPT_SECRET_KEY="bench", BLOCKSTORE_TYPE="s3",
            BLOCKSTORE_S3_ENDPOINT=environment["ENGINE_SEAWEEDFS"],
            BLOCKSTORE_S3_CREDENTIALS_ACCESS_KEY_ID=environment["ENGINE_SEAWEEDFS_KEY"],
            BLOCKSTORE_S3_CREDENTIALS_SECRET_ACCESS_KEY=environment["ENGINE_SEAWEEDFS_SECRET"])
        self.engine = engine
        self.delay = delay
        self.sides = [Side(self.folder, "far", **far)]
        if not delay:
            self.sides.insert(0, Side(self.folder, "near"))
        self.rows = []

    def row(self, what, unit, values, target=""):
        self.rows.append((what, unit, values, target))
        say(f"{what}: " + ", ".join(f"{side.name} {value}" for side, value in zip(self.sides, values)) + f" {unit}"
            + (f" (target {target})" if target else ""))

    def rate(self, side, lines, connections=32, once=False):
        header = "Authorization: Basic " + base64.b64encode(":".join(side.lake.keys).encode()).decode()
        done = subprocess.run(
            [self.load, str(side.lake.port), str(connections), "0" if once else str(self.seconds), header],
            input="\n".join(lines) + "\n", text=True, capture_output=True)
        if done.returncode:
            sys.exit(f"load: {done.stdout}{done.stderr}{side.lake.log_tail()}")
        result = json.loads(done.stdout)
        return result.get("rate") or result["requests"] / result["seconds"]

    def stagings(self, side, prefix, count):
        for number in range(count):
            body = json.dumps({"physical_address": f"{side.namespace}/data/bench/{prefix}{number:07}",
                               "checksum": f"{number:032x}", "size_bytes": number}, separators=(",", ":"))
            yield (f"PUT /api/v1/repositories/{side.repository}/branches/main/objects"
                   f"?path={prefix}/{number % 100:03}/{number:07} {body}")

    def measure(self):
        staging, commits, stats, lists, merges = [], [], [], [], []
        for side in self.sides:
            lake, repository = side.lake, side.repository
            lines = list(self.stagings(side, "a", self.entries))
            begun = time.monotonic()
            self.rate(side, lines, once=True)
            staging.append(round(self.entries / (time.monotonic() - begun)))
            begun = time.monotonic()
            lake.commit(repository, "main", "many")
            commits.append(round(time.monotonic() - begun, 3))
            base = f"GET /api/v1/repositories/{repository}/refs/main/objects"
            stats.append(round(self.rate(side, [
                f"{base}/stat?path=a/{number % 100:03}/{number:07}" for number in range(0, self.entries, 7)])))
            lists.append(round(self.rate(side, [
                f"{base}/ls?prefix=a/{number:03}/&amount=100" for number in range(100)])))
            times = []
            for number in range(5):
                branch = f"side{number}"
                lake.ask("POST", f"/repositories/{repository}/branches", 201,
                         json_body={"name": branch, "source": "main"})
                for more in range(10):
                    lake.upload(repository, branch, f"a/{more:03}/new{number}", b"x")
                lake.commit(repository, branch, "side")
                begun = time.monotonic()
                lake.ask("POST", f"/repositories/{repository}/refs/{branch}/merge/main", 200, json_body={})
                times.append(time.monotonic() - begun)
            merges.append(round(statistics.median(times) * 1000, 1))
        count = f"{self.entries:,}"
        self.row(f"staging of {count}, 32 connections", "/s", staging, "≥ 8,000")
        self.row(f"commit of {count}", "s", commits, "≤ 1.5 of 100,000")
        self.row("stat of committed objects, 32 connections", "/s", stats, "≥ 15,000")
        self.row("list of 100 of a prefix, 32 connections", "/s", lists)
        self.row("merge of 10 changes into them", "ms", merges)

    def measure_objects(self):
        """PUT and GET through the S3 gateway beside the store alone, in turns."""
        script = HERE / "scale_objects.py"
        environment = self.engine.environment
        far = self.sides[-1]
        done = subprocess.run(
            [str(ROOT / ".venv-engines/bin/python"), script, far.lake.endpoint, far.repository, *far.lake.keys,
             environment["ENGINE_SEAWEEDFS"], environment["ENGINE_SEAWEEDFS_KEY"],
             environment["ENGINE_SEAWEEDFS_SECRET"]], check=True, capture_output=True, text=True).stdout
        for line in done.splitlines():
            say(line)

    def show(self):
        print("| | " + " | ".join(side.name for side in self.sides) + " | unit | target |")
        print("|---" * (len(self.sides) + 3) + "|")
        for what, unit, values, target in self.rows:
            print(f"| {what} | " + " | ".join(f"{value:,}" for value in values) + f" | {unit} | {target} |")

    def stop(self):
        for side in self.sides:
            side.lake.stop()


def main():
    options = argparse.ArgumentParser()
    options.add_argument("--only")
    options.add_argument("--quick", action="store_true")
    options.add_argument("--delay", type=float, default=0, help="milliseconds that each engine is away")
    chosen = options.parse_args()
    if chosen.delay and not os.environ.get("SCALE_INSIDE"):
        # In a namespace of its own: its loopback is as slow as it is told to be.
        command = (f"ip link set lo up && tc qdisc add dev lo root netem delay {chosen.delay / 2}ms && "
                   f"exec env SCALE_INSIDE=1 {sys.executable} {' '.join(sys.argv)}")
        sys.exit(subprocess.run(["unshare", "--net", "sh", "-c", command]).returncode)
    engine = parts.Engines()
    try:
        engine.postgres()
        engine.seaweedfs()
        bench = Bench(chosen.quick, engine, chosen.delay)
        bench.measure()
        if not chosen.delay:
            bench.measure_objects()
        bench.show()
        bench.stop()
    finally:
        engine.stop()


if __name__ == "__main__":
    main()
