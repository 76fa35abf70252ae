#!/usr/bin/env python3
"""Measures the versioning core of a lakefuse server of its own over REST, beside what lakeFS does.

    run.sh --only versioning [--entries N] [--loads N] [--json FILE]

Rates come from load.c: 32 connections that are kept alive, each waiting for its answer, three rounds of 5 s (staging: all
entries once). Times of single calls come from one connection of this process, five calls, each after the server has come
to rest; what a commit or merge takes up was staged before. Answers are checked outside of the times.

lakeFS's figures are those of version 1.84 with 300,000 entries on a machine of 2 cores like the one this is made for; of
a span, the better end counts. Progress goes to standard error, markdown tables to standard output.
"""
import argparse
import base64
import hashlib
import json
import os
import pathlib
import random
import re
import resource
import statistics
import subprocess
import sys
import time
import urllib.parse

from bench import HERE, lakes, number, run, say

ROUNDS, SECONDS, CONNECTIONS = 3, 5, 32
REPETITIONS = 5
TABLES = 30  # the common prefixes that a listing with a delimiter finds
BATCH = 1_000_000  # entries staged before each commit of the load
TICKS = os.sysconf("SC_CLK_TCK")


class Entries:
    """Paths in byte order, and the message that stages the entry of one. The same in every run."""

    def __init__(self, count):
        self.count, self.per_table = count, -(-count // TABLES)
        self.digits = max(5, len(str(self.per_table - 1)))

    def path(self, index):
        return f"tables/t{index // self.per_table:04}/part-{index % self.per_table:0{self.digits}}.parquet"

    def quoted(self, index):
        return self.path(index).replace("/", "%2F")

    def message(self, index, version, repository):
        digest = hashlib.md5(b"%d/%d" % (index, version)).hexdigest()
        return json.dumps({
            "physical_address": f"local://{repository}/data/{digest[:20]}/{digest[12:]}", "checksum": digest,
            "size_bytes": int(digest[:6], 16), "mtime": 1_700_000_000 + index % 1_000_000,
            "content_type": "application/octet-stream"}, separators=(",", ":"))


class Table:
    """Figures beside lakeFS's, if it has one, and the goal: three times as good, or what is given."""

    def __init__(self):
        self.rows = []

    def add(self, measure, unit, samples, lakefs=None, goal=None):
        """`lakefs`: the figure or the span's (better, worse) end. Rates (`1/s`) are better when high, others when low."""
        is_rate = unit == "1/s"
        span = lakefs if isinstance(lakefs, tuple) else (lakefs,)
        median = statistics.median(samples)
        best = (max if is_rate else min)(samples)
        row = {"measure": measure, "unit": unit, "lakefs": span[0], "lakefs_span": span, "median": median, "best": best,
               "samples": samples, "times_better": None, "goal": goal, "met": None}
        if span[0]:
            row["times_better"] = median / span[0] if is_rate else span[0] / median
            row["goal"] = goal or (span[0] * 3 if is_rate else span[0] / 3)
        if row["goal"]:
            row["met"] = median >= row["goal"] if is_rate else median <= row["goal"]
        self.rows.append(row)
        say(f"  {measure}: {number(median)} {unit}, best {number(best)}"
            + (f", lakeFS {number(span[0])}, {row['times_better']:.2f} times as good" if span[0] else ""))

    def markdown(self):
        lines = ["| measure | unit | lakeFS | LakeFUSE | best | times as good | goal | met |",
                 "|---|---|---:|---:|---:|---:|---:|---|"]
        for row in self.rows:
            times = f"{row['times_better']:.2f}" if row["times_better"] else ""
            sign = "" if row["goal"] is None else "≥ " if row["unit"] == "1/s" else "≤ "
            met = {None: "", True: "yes", False: "no"}[row["met"]]
            lakefs = " - ".join(map(number, row["lakefs_span"]))
            lines.append(f"| {row['measure']} | {row['unit']} | {lakefs} | {number(row['median'])} | {number(row['best'])} "
                         f"| {times} | {sign}{number(row['goal'])} | {met} |")
        return "\n".join(lines)


class Bench:
    def __init__(self, entries):
        self.folder = lakes.work_folder("versioning")
        self.entries, self.table, self.machine = Entries(entries), Table(), {}
        self.random = random.Random(4)  # the same choices in every run
        self.version = 0  # of the messages: what is staged is always new
        self.memory = {}
        self.program = self.folder / "load"
        run("cc", "-O2", "-o", self.program, HERE / "load.c")
        self.measure_machine()
        self.lake = lakes.Lake(self.folder).start()
        login = base64.b64encode(":".join(self.lake.keys).encode()).decode()
        self.headers = {"Authorization": f"Basic {login}", "Content-Type": "application/json"}
        self.login = f"Authorization: Basic {login}"
        self.connection = None
        self.reconnect()
        self.began, self.others_before = time.monotonic(), self.others_seconds()
        self.machine["an empty REST call from this process, ms"] = statistics.median(
            self.timed("GET", "/healthcheck", 204)[0] for _ in range(200))
        self.remember_memory("at start")

    # -- the machine ----------------------------------------------------------------------------------------------

    def measure_machine(self):
        say("the machine's floor")
        path, block = self.folder / "floor", os.urandom(1 << 20)
        file = os.open(path, os.O_RDWR | os.O_CREAT)
        try:
            os.pwrite(file, block[:4096], 0)
            os.fsync(file)
            began, count = time.monotonic(), 0
            while time.monotonic() - began < 2:
                os.pwrite(file, block[:4096], 0)
                os.fdatasync(file)
                count += 1
            self.machine["fdatasync of a file of 4 KiB, 1/s"] = count / (time.monotonic() - began)
            began = time.monotonic()
            for n in range(512):
                os.pwrite(file, block, n << 20)
            os.fdatasync(file)
            self.machine["sequential write of 512 MiB and fdatasync, MB/s"] = (512 << 20) / 1e6 / (time.monotonic() - began)
        finally:
            os.close(file)
            path.unlink()
        began = time.monotonic()
        for _ in range(256):
            hashlib.sha256(block).digest()
        self.machine["SHA-256 on one core, MB/s"] = (256 << 20) / 1e6 / (time.monotonic() - began)
        for what, figure in self.machine.items():
            say(f"  {what}: {number(figure)}")

    def server_cpu(self):
        """Processor seconds of the server so far."""
        fields = pathlib.Path(f"/proc/{self.lake.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def rest_a_while(self):
        """Waits until the server does nothing in the background."""
        began, last = time.monotonic(), self.server_cpu()
        while time.monotonic() - began < 120:
            time.sleep(0.2)
            current = self.server_cpu()
            if current - last <= 0.01:
                break
            last = current
        waited = time.monotonic() - began
        if waited > 2:
            say(f"  (waited {waited:.1f} s for the server to come to rest)")

    def remember_memory(self, when):
        status = pathlib.Path(f"/proc/{self.lake.process.pid}/status").read_text()
        now = {name: int(re.search(rf"{name}:\s+(\d+) kB", status)[1]) * 1024 / 1e6 for name in ("VmRSS", "VmHWM", "RssAnon")}
        self.memory[when] = now
        say(f"  memory {when}: {now['VmRSS']:.0f} MB resident ({now['RssAnon']:.0f} anonymous), highest {now['VmHWM']:.0f}")

    def others_seconds(self):
        """Processor seconds since the machine was started that neither the server nor this process and its children took."""
        user, nice, system, _, _, irq, softirq, steal = map(int, pathlib.Path("/proc/stat").read_text().split()[1:9])
        own = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        return ((user + nice + system + irq + softirq + steal) / TICKS
                - sum(usage.ru_utime + usage.ru_stime for usage in own) - self.server_cpu())

    def others_cores(self):
        """Cores that other processes took since the server was started, on average."""
        return max(self.others_seconds() - self.others_before, 0) / (time.monotonic() - self.began)

    # -- calls ----------------------------------------------------------------------------------------------------

    def reconnect(self):
        """After long work on other connections: the server closes idle ones."""
        if self.connection:
            self.connection.close()
        self.connection = self.lake.connection(timeout=600)
        self.timed("GET", "/healthcheck", 204)

    def timed(self, method, path, expect, /, body=None, **query):
        """One call's milliseconds, and the answer's body."""
        target = "/api/v1" + path + ("?" + urllib.parse.urlencode(query) if query else "")
        body = json.dumps(body).encode() if body is not None else None
        began = time.monotonic()
        answer = self.lake.send(method, target, body, self.headers, self.connection)
        took = (time.monotonic() - began) * 1000
        if answer.status != expect:
            sys.exit(f"{method} {target}: {answer}\n{self.lake.log_tail()}")
        return took, answer.body

    def ask(self, method, path, expect=200, /, **more):
        return json.loads(self.timed(method, path, expect, **more)[1])

    def load(self, requests, seconds=0):
        """Requests per second of `load.c`, all of them once or random ones for a time; tells of latency and processors."""
        cpu = self.server_cpu()
        process = subprocess.Popen([self.program, str(self.lake.port), str(CONNECTIONS), str(seconds), self.login],
                                   text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, preexec_fn=lakes.die_with_parent)
        process.stdin.writelines(line + "\n" for line in requests)
        output, _ = process.communicate()
        if process.returncode:
            sys.exit(f"load failed\n{self.lake.log_tail()}")
        result = json.loads(output)
        cpu = self.server_cpu() - cpu
        rate = result["requests"] / result["seconds"]
        if result["requests"] >= 10_000 or seconds:
            say(f"    {rate:,.0f}/s; median {result['p50_us']} µs, 99th percentile {result['p99_us']} µs; server "
                f"{cpu / result['seconds']:.2f} cores, {cpu / result['requests'] * 1e6:.0f} µs a request; "
                f"load {result['cpu_seconds'] / result['seconds']:.2f} cores")
        return rate

    def stage(self, indices, branch="main"):
        """Stages a new version of every entry; the rate."""
        self.version += 1
        target = f"PUT /api/v1/repositories/{self.repository}/branches/{branch}/objects?path="
        return self.load(f"{target}{self.entries.quoted(n)} {self.entries.message(n, self.version, self.repository)}"
                         for n in indices)

    def commit(self, branch="main"):
        """Milliseconds, and the commit's id."""
        took, body = self.timed("POST", f"/repositories/{self.repository}/branches/{branch}/commits", 201,
                                body={"message": "benchmark"})
        return took, json.loads(body)["id"]

    def check(self, page, count, what):
        """That a diff tells of `count` changed entries, at most a page of them."""
        page = json.loads(page)
        kinds = {entry["type"] for entry in page["results"]}
        if len(page["results"]) != min(count, 1000) or page["pagination"]["has_more"] != (count > 1000) or kinds - {"changed"}:
            sys.exit(f"{what}: {len(page['results'])} results of {kinds}, expected {count}")

    def scattered(self, count):
        return sorted(self.random.sample(range(self.entries.count), min(count, self.entries.count)))

    def neighbouring(self, count, first=0, last=None):
        """Consecutive entries somewhere in first..<last."""
        last = last or self.entries.count
        count = min(count, last - first)
        start = self.random.randint(first, last - count)
        return list(range(start, start + count))

    # -- the measures -----------------------------------------------------------------------------------------------

    def fill(self, loads):
        """Loads all entries into so many repositories; the last one is worked with from then on."""
        count, rates, times, later = self.entries.count, [], [], []
        say(f"staging and commit of {count:,} entries")
        for load in range(loads):
            self.repository = f"versioning-{load + 1}"
            self.lake.create_repository(self.repository)
            for first in range(0, count, BATCH):
                rates.append(self.stage(range(first, min(first + BATCH, count))))
                if load == 0 and first == 0:
                    self.remember_memory("with the first staged entries")
                self.rest_a_while()
                self.reconnect()
                took, _ = self.commit()
                (later if first else times).append(took)
                say(f"    committed in {took:,.0f} ms")
            if load == 0:
                self.remember_memory("after the load")
        self.table.add("staging", "1/s", rates, 7000)
        self.table.add(f"commit of {min(count, BATCH):,} entries, all new", "ms", times, (1000, 1400))
        if later:
            self.table.add(f"commit of {BATCH:,} more, each time", "ms", later)
        if len(self.lake.list(self.repository, "main@")) != count:
            sys.exit("the commit does not hold what was staged")
        self.reconnect()

    def reads(self):
        say("reads of the committed branch")
        objects, count = f"/repositories/{self.repository}/refs/main/objects", self.entries.count
        found = self.ask("GET", objects + "/stat", path=self.entries.path(count - 1))
        expected = json.loads(self.entries.message(count - 1, self.version, self.repository))
        if any(found[name] != value for name, value in expected.items()):
            sys.exit(f"stat tells {found}, staged was {expected}")
        page = self.ask("GET", objects + "/ls", amount=1000, after=self.entries.path(9))
        if [entry["path"] for entry in page["results"]] != [self.entries.path(n) for n in range(10, 1010)]:
            sys.exit("a listing is not what was staged")
        folders = {"prefix": "tables/", "delimiter": "/", "amount": 1000}
        page = self.ask("GET", objects + "/ls", **folders)
        if [entry["path"] for entry in page["results"]] != [f"tables/t{n:04}/" for n in range(TABLES)]:
            sys.exit("a listing with a delimiter is not what was staged")

        objects = "GET /api/v1" + objects
        places = [self.random.randrange(count) for _ in range(min(count, 100_000))]
        # Anywhere but in the last page, which would be shorter.
        pages = [self.random.randrange(max(count - 1000, 1)) for _ in range(10_000)]
        for measure, lakefs, requests in (
                ("stat of a random entry", 6700, [f"{objects}/stat?path={self.entries.quoted(n)}" for n in places]),
                ("listing of 1,000 at a random place", 476, [f"{objects}/ls?amount=1000&after={self.entries.quoted(n)}" for n in pages]),
                (f"listing of {TABLES} prefixes by delimiter", 382, [f"{objects}/ls?{urllib.parse.urlencode(folders)}"])):
            self.rest_a_while()
            self.table.add(measure, "1/s", [self.load(requests, SECONDS) for _ in range(ROUNDS)], lakefs)

    def changes(self):
        say("commits of few changes, and diffs")
        repository, uncommitted, rows = f"/repositories/{self.repository}", [], []
        for changes, count, choose, lakefs in (
                ("1 change", 1, self.scattered, 84), ("1,000 scattered changes", 1000, self.scattered, 590),
                ("10,000 scattered changes", 10_000, self.scattered, 670),
                ("10,000 neighbouring changes", 10_000, self.neighbouring, 340)):
            times, diffs = [], {"two_dot": [], "three_dot": []}
            for _ in range(REPETITIONS):
                indices = choose(count)
                self.stage(indices)
                if count == 1000:
                    self.rest_a_while()
                    took, page = self.timed("GET", f"{repository}/branches/main/diff", 200, amount=1000)
                    self.check(page, len(indices), "the uncommitted diff")
                    uncommitted.append(took)
                self.rest_a_while()
                took, commit = self.commit()
                times.append(took)
                for kind in diffs:
                    self.rest_a_while()
                    took, page = self.timed("GET", f"{repository}/refs/{commit}~1/diff/{commit}", 200, type=kind, amount=1000)
                    self.check(page, len(indices), f"the {kind} diff of {changes}")
                    diffs[kind].append(took)
            self.table.add(f"commit of {changes}", "ms", times, lakefs)
            if count > 1:
                first = "" if count == 1000 else ", the first 1,000"
                rows.append((f"diff of two commits, {changes}{first}", "ms", diffs["two_dot"], 69 if count == 1000 else None))
                rows.append((f"diff with three dots, {changes}{first}", "ms", diffs["three_dot"]))
        self.table.add("uncommitted diff of 1,000 changes", "ms", uncommitted, 34)
        for row in rows:
            self.table.add(*row)

    def merges(self):
        say("merges")
        count, third = self.entries.count, self.entries.count // 3
        self.time_merges("merge of disjoint changes, 100 neighbouring ones a side", (2, 5), lambda: (
            self.neighbouring(100, 0, third), self.neighbouring(100, count - third)))

        def in_turn():
            both = self.scattered(2000)
            return both[::2], both[1::2]
        self.time_merges("merge of 1,000 scattered changes a side", None, in_turn)

    def time_merges(self, measure, lakefs, choose):
        repository, times = f"/repositories/{self.repository}", []
        for _ in range(REPETITIONS):
            sides, changes = [f"side-{self.version}-{side}" for side in "ab"], choose()
            for side, indices in zip(sides, changes):
                self.timed("POST", f"{repository}/branches", 201, body={"name": side, "source": "main"})
                self.stage(indices, side)
                self.commit(side)
            self.rest_a_while()
            took, _ = self.timed("POST", f"{repository}/refs/{sides[0]}/merge/{sides[1]}", 200, body={})
            times.append(took)
            page = self.timed("GET", f"{repository}/refs/main/diff/{sides[1]}", 200, type="two_dot", amount=1000)[1]
            self.check(page, sum(map(len, changes)), measure)
        self.table.add(measure, "ms", times, lakefs)

    def run(self, loads):
        self.fill(loads)
        self.remember_memory("after all loads")
        self.reads()
        self.remember_memory("after the reads")
        self.changes()
        self.remember_memory("after commits and diffs")
        self.merges()
        self.remember_memory("after all")
        self.table.add("resident memory after the load", "MB", [self.memory["after the load"]["VmRSS"]], (1700, 2100), goal=300)
        self.table.add("resident memory after all", "MB", [self.memory["after all"]["VmRSS"]], (1700, 2100), goal=300)
        self.table.add("resident memory, highest", "MB", [self.memory["after all"]["VmHWM"]], (1700, 2100), goal=300)

    def markdown(self):
        lines = [f"{self.entries.count:,} entries (lakeFS's figures: 300,000); "
                 f"other processes took {self.others_cores():.2f} of {os.cpu_count()} cores on average.", "",
                 self.table.markdown(), "", "| the machine | figure |", "|---|---:|"]
        lines += [f"| {what} | {number(figure)} |" for what, figure in self.machine.items()]
        lines += ["", "| the server's memory in MB | resident | anonymous | highest |", "|---|---:|---:|---:|"]
        lines += [f"| {when} | {now['VmRSS']:.0f} | {now['RssAnon']:.0f} | {now['VmHWM']:.0f} |" for when, now in self.memory.items()]
        return "\n".join(lines)

    def json(self):
        return json.dumps({"entries": self.entries.count, "others_cores": self.others_cores(), "cores": os.cpu_count(),
                           "rows": self.table.rows, "machine": self.machine, "memory": self.memory},
                          indent=1, ensure_ascii=False) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--entries", type=int, default=300_000,
                        help="of the repository; more than a million are loaded in several commits")
    parser.add_argument("--loads", type=int, default=3, help="how often all entries are loaded, each time into a new repository")
    parser.add_argument("--json", metavar="FILE", help="also writes all figures and samples there")
    parser.add_argument("--only", choices=["versioning"], help=argparse.SUPPRESS)  # what run.sh chose this program by
    options = parser.parse_args()
    if options.entries < 3000 or options.loads < 1:
        parser.error("at least 3,000 entries and one load")
    if not os.access(lakes.BINARY, os.X_OK):
        sys.exit(f"{lakes.BINARY} is not there: run `make build`, or name the binary in LAKEFUSE_BINARY")
    bench = Bench(options.entries)
    bench.run(options.loads)
    tables, figures = bench.markdown(), bench.json()
    status, _ = bench.lake.stop()
    print(tables)
    if options.json:
        pathlib.Path(options.json).write_text(figures)
    return 0 if status == 0 else f"the server ended with {status}"


if __name__ == "__main__":
    sys.exit(main())
