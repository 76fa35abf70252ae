#!/usr/bin/env python3
"""Measures a lakefuse server of its own beside what this machine does without it. README.md tells what each figure is.

    run.sh [--quick] [--only get,put,cpu,lists,large,commit,hooks,files]

Progress goes to standard error, one markdown table to standard output.
"""
import argparse
import base64
import datetime
import hashlib
import hmac
import itertools
import json
import os
import pathlib
import random
import re
import shutil
import socket
import statistics
import subprocess
import sys
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.dont_write_bytecode = True
sys.path.insert(0, str(HERE.parent / "Tests/EndToEnd"))
import lake as lakes  # noqa: E402

NGINX = shutil.which("nginx") or "/usr/sbin/nginx"


def say(text):
    print(text, file=sys.stderr, flush=True)


def run(*command, **more):
    return subprocess.run([str(part) for part in command], check=True, text=True, **more)


class Table:
    """Rows of a measure, its unit, ours, the baseline's and the target."""

    def __init__(self):
        self.rows = []

    def add(self, measure, unit, ours, baseline=None, target=""):
        self.rows.append((measure, unit, ours, baseline, target))
        say(f"  {measure}: {number(ours)} {unit}" + (f", baseline {number(baseline)}" if baseline else ""))

    def markdown(self):
        lines = ["| measure | unit | LakeFUSE | baseline | LakeFUSE / baseline | target |", "|---|---|---:|---:|---:|---|"]
        for measure, unit, ours, baseline, target in self.rows:
            ratio = f"{ours / baseline:.2f}" if baseline else ""
            lines.append(f"| {measure} | {unit} | {number(ours)} | {number(baseline)} | {ratio} | {target} |")
        return "\n".join(lines)


def number(value):
    if value is None:
        return ""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


class Bench:
    def __init__(self, quick):
        self.folder = lakes.work_folder("bench")
        self.table = Table()
        self.rounds, self.seconds = (1, 2) if quick else (3, 5)
        self.entries, self.folders = (10_000, 20) if quick else (100_000, 100)
        self.random = random.Random(4)  # the same bytes in every run
        self.lake = lakes.Lake(self.folder).start()
        self.remember_memory("at start", "≤ 40")

    def remember_memory(self, when, target="≤ 150"):
        self.table.add(f"resident memory {when}", "MiB", self.lake.resident(), target=target)

    # -- wrk ----------------------------------------------------------------------------------------------------

    def wrk(self, endpoint, method, targets, connections):
        """Requests per second, and the median and 99th percentile in microseconds."""
        file, threads = self.folder / "targets", min(connections, 2)
        file.write_text("\n".join(targets) + "\n")
        done = run("wrk", "-t", threads, "-c", connections, "-d", f"{self.seconds}s", "--latency", "-s",
                   HERE / "requests.lua", endpoint, "--", method, file, threads, capture_output=True)
        result = json.loads(re.search(r"^RESULT (.*)$", done.stdout, re.M)[1])
        if result["errors"] or not result["requests"]:
            sys.exit(f"wrk: {result['errors']} of {result['requests']} requests failed\n{done.stdout}{self.lake.log_tail()}")
        return result["requests"] / result["seconds"], result["p50_us"], result["p99_us"]

    def signer(self):
        """Key id, time and scope of SigV4 signatures, and what signs a canonical request with them."""
        key, secret = self.lake.keys
        stamp = datetime.datetime.now(datetime.timezone.utc).strftime("%Y%m%dT%H%M%SZ")
        scope = f"{stamp[:8]}/us-east-1/s3/aws4_request"
        signing = ("AWS4" + secret).encode()
        for part in scope.split("/"):
            signing = hmac.digest(signing, part.encode(), "sha256")

        def sign(canonical):
            text = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
            return hmac.digest(signing, text.encode(), "sha256").hex()
        return key, stamp, scope, sign

    def presigned(self, method, repository, keys):
        """Targets with a SigV4 signature in the query, good for an hour (Amazon S3 API reference, "query parameters")."""
        return self.presigned_paths(method, (f"/{repository}/main/{name}" for name in keys))

    def presigned_paths(self, method, paths, parameters=""):
        """The same for paths, with parameters of their own, which sort behind the signature's."""
        key, stamp, scope, sign = self.signer()
        query = (f"X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential={key}%2F{scope.replace('/', '%2F')}"
                 f"&X-Amz-Date={stamp}&X-Amz-Expires=3600&X-Amz-SignedHeaders=host{parameters}")
        for path in paths:
            canonical = f"{method}\n{path}\n{query}\nhost:127.0.0.1:{self.lake.port}\n\nhost\nUNSIGNED-PAYLOAD"
            yield f"{path}?{query}&X-Amz-Signature={sign(canonical)}"

    def signed(self, method, repository, keys):
        """Lines for wrk with a SigV4 signature in the header: good for 15 minutes."""
        key, stamp, scope, sign = self.signer()
        names = "host;x-amz-content-sha256;x-amz-date"
        for name in keys:
            path = f"/{repository}/main/{name}"
            canonical = (f"{method}\n{path}\n\nhost:127.0.0.1:{self.lake.port}\nx-amz-content-sha256:UNSIGNED-PAYLOAD\n"
                         f"x-amz-date:{stamp}\n\n{names}\nUNSIGNED-PAYLOAD")
            yield (f"{path}\tAuthorization: AWS4-HMAC-SHA256 Credential={key}/{scope}, SignedHeaders={names}, "
                   f"Signature={sign(canonical)}\tX-Amz-Date: {stamp}\tX-Amz-Content-Sha256: UNSIGNED-PAYLOAD")

    @staticmethod
    def processor_seconds(processes):
        """User and system time of processes so far (proc(5), stat)."""
        ticks = 0
        for process in processes:
            fields = pathlib.Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")

    def cost(self, processes, endpoint, method, targets):
        """Microseconds of processor time a request, at 32 connections."""
        before = self.processor_seconds(processes)
        rate, _, _ = self.wrk(endpoint, method, targets, 32)
        return (self.processor_seconds(processes) - before) / (rate * self.seconds) * 1e6

    def cpu(self):
        say("processor time a request, at 32 connections, beside nginx")
        repository, root = self.lake.create_repository("costs"), self.folder / "nginx-cpu"
        (root / "files").mkdir(parents=True)
        names = [f"{n:04}.bin" for n in range(1000)]
        for name in names:
            (root / "files" / name).write_bytes(self.random.randbytes(1024))
        self.lake.for_each(names, lambda connection, name: self.lake.upload(
            repository, "main", name, (root / "files" / name).read_bytes(), connection=connection))
        self.lake.commit(repository, "main")
        basic = base64.b64encode(":".join(self.lake.keys).encode()).decode()
        server, address = self.start_nginx(root)
        try:
            children = pathlib.Path(f"/proc/{server.pid}/task/{server.pid}/children")
            # It answers before its workers are all there: one that is not counted is time that is not.
            lakes.wait_until(lambda: len(children.read_text().split()) == 2, 10, "nginx has its two workers")
            theirs = [int(child) for child in children.read_text().split()]
            own, costs = [self.lake.process.pid], {}
            for round in range(self.rounds):
                new = (f"{round}/{n % 100}/{n}" for n in range(self.seconds * 25_000))
                for what, processes, endpoint, method, targets in (
                    ("nginx", theirs, address, "GET", [f"/{name}" for name in names]),
                    ("health", own, self.lake.endpoint, "GET", ["/_health"]),
                    ("S3 GET of 1 KiB", own, self.lake.endpoint, "GET", self.signed("GET", repository, names)),
                    ("REST stat", own, self.lake.endpoint, "GET",
                     [f"/api/v1/repositories/{repository}/refs/main/objects/stat?path={name}\tAuthorization: Basic {basic}" for name in names]),
                    ("S3 PUT of 1 KiB", own, self.lake.endpoint, "PUT", self.signed("PUT", repository, new)),
                ):
                    costs.setdefault(what, []).append(self.cost(processes, endpoint, method, targets))
        finally:
            server.terminate()
            server.wait()
        medians = {what: statistics.median(values) for what, values in costs.items()}
        for what, target in (("health", ""), ("S3 GET of 1 KiB", "≤ 3 times nginx"), ("REST stat", "≤ 2.5 times"), ("S3 PUT of 1 KiB", "≤ 10 times")):
            self.table.add(f"processor time, {what}", "µs", medians[what], medians["nginx"], target)

    def compare_rates(self, what, connections, baseline, ours, target):
        """Both in turn, round by round, because the machine's speed drifts; medians go to the table."""
        theirs, mine = [], []
        for round in range(self.rounds):
            theirs.append(baseline(connections, round))
            mine.append(ours(connections, round))
        rate, p50, p99 = (statistics.median(column) for column in zip(*mine))
        plural = f"{connections} connection{'s' if connections > 1 else ''}"
        self.table.add(f"{what}, {plural}", "1/s", rate, statistics.median(theirs), target)
        self.table.add(f"{what}, {plural}, median / 99th percentile", "ms", p50 / 1000, target=f"(99th: {p99 / 1000:.3g})")

    # -- the measures ---------------------------------------------------------------------------------------------

    def get(self):
        say("GET of 1 KiB beside nginx")
        repository, root = self.lake.create_repository("gets"), self.folder / "nginx"
        (root / "files").mkdir(parents=True)
        bodies = {f"{n:04}.bin": self.random.randbytes(1024) for n in range(1000)}
        for name, body in bodies.items():
            (root / "files" / name).write_bytes(body)
        self.lake.for_each(bodies, lambda connection, name: self.lake.upload(
            repository, "main", name, bodies[name], connection=connection))
        self.lake.commit(repository, "main")
        target = next(self.presigned("GET", repository, ["0007.bin"]))
        answer = self.lake.send("GET", target)
        if answer.body != bodies["0007.bin"]:
            sys.exit(f"a presigned GET does not give the object: {answer}")

        server, address = self.start_nginx(root)
        try:
            for connections in (1, 32):
                self.compare_rates(
                    "S3 GET of 1 KiB", connections,
                    lambda connections, _: self.wrk(address, "GET", [f"/{name}" for name in bodies], connections)[0],
                    lambda connections, _: self.wrk(
                        self.lake.endpoint, "GET", self.presigned("GET", repository, bodies), connections),
                    "≥ 0.5 of nginx")
        finally:
            server.terminate()
            server.wait()
        self.remember_memory("after the GETs")

    def start_nginx(self, root):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        (root / "nginx.conf").write_text(f"""
            {'user root;' if os.geteuid() == 0 else ''}
            daemon off;
            worker_processes 2;
            pid {root}/pid;
            error_log {root}/error.log;
            events {{ worker_connections 1024; }}
            http {{
                access_log off;
                sendfile on;
                keepalive_requests 1000000000;
                client_body_temp_path {root}/body; proxy_temp_path {root}/proxy; fastcgi_temp_path {root}/fastcgi;
                uwsgi_temp_path {root}/uwsgi; scgi_temp_path {root}/scgi;
                server {{ listen 127.0.0.1:{port}; root {root}/files; }}
            }}""")
        server = subprocess.Popen([NGINX, "-p", root, "-c", root / "nginx.conf", "-e", root / "error.log"],
                                  preexec_fn=lakes.die_with_parent)

        def is_up():
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", port)) == 0
        lakes.wait_until(is_up, what="nginx")
        return server, f"http://127.0.0.1:{port}"

    def put(self):
        say("PUT of 1 KiB beside one file and two syncs an object")
        repository, program = self.lake.create_repository("puts"), self.folder / "durable_writes"
        run("cc", "-O2", "-pthread", "-o", program, HERE / "durable_writes.c")

        def disk(connections, round):
            folder = self.folder / "durable"
            folder.mkdir()
            done = run(program, folder, connections, self.seconds, capture_output=True)
            shutil.rmtree(folder)
            return float(done.stdout)

        def ours(connections, round):
            # More keys than can be written, so that each is new.
            keys = (f"{connections}/{round}/{n % 100}/{n}" for n in range(self.seconds * (5_000 if connections == 1 else 25_000)))
            return self.wrk(self.lake.endpoint, "PUT", self.presigned("PUT", repository, keys), connections)

        for connections in (1, 32):
            self.compare_rates("S3 PUT of 1 KiB", connections, disk, ours, "")
        self.remember_memory("after the PUTs")

    def rest(self):
        say("REST's everyday calls, with basic login")
        repository = self.lake.create_repository("calls")
        at = f"/api/v1/repositories/{repository}"
        names = [f"folder/{n:04}" for n in range(1000)]
        self.lake.for_each(names, lambda connection, name: self.lake.upload(repository, "main", name, b"1", connection=connection))
        self.lake.commit(repository, "main")
        self.lake.for_each(range(150), lambda connection, n: self.lake.ask(
            "POST", f"/repositories/{repository}/branches", 201, connection=connection, json_body={"name": f"b-{n:03}", "source": "main"}))
        login = "\tAuthorization: Basic " + base64.b64encode(":".join(self.lake.keys).encode()).decode()
        made = itertools.count()

        def new_branches():
            return [f'{at}/branches{login}\tContent-Type: application/json\t\t{{"name": "new-{next(made)}", "source": "main"}}'
                    for _ in range(self.seconds * 25_000)]
        # Five times what lakeFS 1.84 does on such a machine (the figures).
        for what, method, targets, wanted in (
                ("stat", "GET", lambda: [f"{at}/refs/main/objects/stat?path={name}{login}" for name in names], 30_000),
                ("get a branch", "GET", lambda: [f"{at}/branches/b-{n:03}{login}" for n in range(100)], 39_000),
                ("list 100 branches", "GET", lambda: [f"{at}/branches?amount=100{login}"], 12_000),
                ("create a branch", "POST", new_branches, 5_500)):
            for connections in (1, 32):
                runs = [self.wrk(self.lake.endpoint, method, targets(), connections) for _ in range(self.rounds)]
                rate, p50, p99 = (statistics.median(column) for column in zip(*runs))
                plural = f"{connections} connection{'s' if connections > 1 else ''}"
                self.table.add(f"REST {what}, {plural}", "1/s", rate, target=f"≥ {wanted:,}" if connections > 1 else "")
                self.table.add(f"REST {what}, {plural}, median", "ms", p50 / 1000,
                               target=f"(99th: {p99 / 1000:.3g})" + (", < 0.2" if connections == 1 and method == "GET" else ""))
        # What asking a user's 50 statements costs: the same calls by one who has them, and by one with a single statement.
        for user, count in (("one", 1), ("fifty", 50)):
            object = f"arn:lakefs:fs:::repository/{repository}/object"
            others = [{"effect": "allow", "action": ["fs:ReadObject", "fs:WriteObject"], "resource": f"{object}/other-{n}/*"} for n in range(count - 1)]
            last = {"effect": "allow", "action": ["fs:ReadObject", "fs:List*"], "resource": f"{object}/folder/*"}
            self.lake.ask("POST", "/auth/users", 201, json_body={"id": user})
            self.lake.ask("POST", "/auth/policies", 201, json_body={"id": user, "statement": [*others, last]})
            self.lake.ask("PUT", f"/auth/users/{user}/policies/{user}", 201)
        own, costs = [self.lake.process.pid], {"one": [], "fifty": []}
        for _ in range(self.rounds):
            for user, found in costs.items():
                keys = self.lake.ask("POST", f"/auth/users/{user}/credentials", 201).json
                pair = base64.b64encode(f"{keys['access_key_id']}:{keys['secret_access_key']}".encode()).decode()
                found.append(self.cost(own, self.lake.endpoint, "GET", [
                    f"{at}/refs/main/objects/stat?path={name}\tAuthorization: Basic {pair}" for name in names]))
        asked = statistics.median(costs["fifty"]) - statistics.median(costs["one"])
        self.table.add("processor time of asking 49 more statements", "µs", max(asked, 0.01), target="< 10")
        connection, times = self.lake.connection(), []
        for n in range(100 * self.rounds):
            began = time.monotonic()
            self.lake.upload(repository, "main", f"up/{n}", bytes(1024), connection=connection)
            self.lake.commit(repository, "main", connection=connection)
            times.append((time.monotonic() - began) * 1000)
        connection.close()
        self.table.add("REST upload of 1 KiB and commit, median", "ms", statistics.median(times), target="≤ 4.4")

    def lists(self):
        say("listings and deletes of 32 connections")
        repository, count = self.lake.create_repository("lists"), self.entries
        names = [f"p/{n % 20:02}/{n:06}" for n in range(count)]
        self.lake.for_each(names, lambda connection, name: self.lake.upload(
            repository, "main", name, b"x", connection=connection), threads=16)
        self.lake.commit(repository, "main")
        for what, parameters, element, wanted, target in (
            ("list of 250 keys", "&list-type=2&max-keys=250&prefix=main%2Fp%2F", b"<Contents>", 250, "≥ 4,000"),
            ("list of 20 prefixes", "&delimiter=%2F&list-type=2&prefix=main%2Fp%2F", b"<CommonPrefixes>", 20, "≥ 6,000"),
        ):
            targets = list(self.presigned_paths("GET", [f"/{repository}"], parameters))
            answer = self.lake.send("GET", targets[0])
            if answer.body.count(element) != wanted:
                sys.exit(f"{what}: {answer}")
            rates = [self.wrk(self.lake.endpoint, "GET", targets, 32)[0] for _ in range(self.rounds)]
            self.table.add(f"{what} among {count:,}", "1/s", statistics.median(rates), target=target)
        rate, _, p99 = self.wrk(self.lake.endpoint, "DELETE", self.presigned("DELETE", repository, names), 32)
        self.table.add("delete of an object", "1/s", rate, target="≥ 10,000")

    def large(self):
        say("large objects beside nginx and the disk")
        repository, root, size = self.lake.create_repository("large"), self.folder / "nginx-large", 256 << 20
        (root / "files").mkdir(parents=True)
        body = self.random.randbytes(1 << 20) * (size >> 20)
        (root / "files/large").write_bytes(body)
        target = next(self.presigned("PUT", repository, ["large"]))
        times = {"disk": [], "put": []}
        for _ in range(self.rounds):
            began = time.monotonic()
            with open(self.folder / "written", "wb") as file:
                file.write(body)
                os.fsync(file.fileno())
            times["disk"].append(time.monotonic() - began)
            began = time.monotonic()
            answer = self.lake.send("PUT", target, body)
            times["put"].append(time.monotonic() - began)
            if answer.status != 200:
                sys.exit(f"PUT of a large object: {answer}")
        ours, disk = (size / 1e6 / statistics.median(times[what]) for what in ("put", "disk"))
        self.table.add("S3 PUT of 256 MiB, beside write and fsync", "MB/s", ours, disk, "600")
        server, address = self.start_nginx(root)
        try:
            rates = {"nginx": [], "ours": []}
            for _ in range(self.rounds):
                rates["nginx"].append(self.wrk(address, "GET", ["/large"], 4)[0])
                rates["ours"].append(self.wrk(self.lake.endpoint, "GET", self.presigned("GET", repository, ["large"]), 4)[0])
        finally:
            server.terminate()
            server.wait()
        ours, theirs = (statistics.median(rates[who]) * size / 1e6 for who in ("ours", "nginx"))
        self.table.add("S3 GET of 256 MiB, 4 connections", "MB/s", ours, theirs, "≥ 0.9 of nginx")
        small = "small"
        self.lake.upload(repository, "main", small, b"x" * 1024)
        self.wrk(self.lake.endpoint, "GET", self.presigned("GET", repository, [small]), 1000)
        self.remember_memory("after GETs of 1,000 connections")

    def commit(self):
        say(f"commit of {self.entries:,} staged entries")
        repository = self.lake.create_repository("commits")
        began = time.monotonic()
        self.lake.for_each(range(self.entries), lambda connection, n: self.lake.upload(
            repository, "main", f"part={n % 100:02}/{n:06}", b"%d" % n, connection=connection), threads=16)
        say(f"  staged in {time.monotonic() - began:.0f} s")
        self.remember_memory(f"with {self.entries:,} staged entries")

        def timed():
            began = time.monotonic()
            self.lake.commit(repository, "main")
            return (time.monotonic() - began) * 1000
        self.table.add(f"commit of {self.entries:,} entries", "ms", timed(), target="< 1,000")
        if len(self.lake.list(repository, "main@")) != self.entries:
            sys.exit("the commit does not hold what was staged")
        self.lake.upload(repository, "main", "part=50/050050", b"changed")
        self.table.add(f"commit of 1 change among {self.entries:,}", "ms", timed())
        self.remember_memory("after the commits")

    def hooks(self):
        say("hooks: what a script costs a commit, and what scripts that loop cost everybody else")
        script = """
            local code, page = require("lakefs").diff_branch(action.repository_id, action.branch_id, "", 100, "")
            assert(code == 200 and #page.results >= 10)
            for _, change in ipairs(page.results) do assert(change.path_type == "object") end"""

        def action(repository, script):
            self.lake.upload(repository, "main", "_lakefs_actions/a.yaml", json.dumps({
                "name": "act", "on": {"pre-commit": None},
                "hooks": [{"id": "script", "type": "lua", "properties": {"script": script}}]}).encode())
        plain, hooked = self.lake.create_repository("plain"), self.lake.create_repository("hooked")
        action(hooked, script.replace("#page.results >= 10", "true"))
        self.lake.commit(hooked, "main")
        action(hooked, script)
        times = {plain: [], hooked: []}
        for round in range(10 * self.rounds + 3):
            for repository, found in times.items():
                for n in range(10):
                    self.lake.upload(repository, "main", f"f{n}", b"%d" % round)
                began = time.monotonic()
                self.lake.commit(repository, "main")
                found.append((time.monotonic() - began) * 1000)
        without, with_hook = (statistics.median(found[3:]) for found in times.values())
        self.table.add("commit of 10 changes", "ms", without)
        self.table.add("the same with a Lua hook that diffs them", "ms", with_hook, without, "< 10 ms more")

        repository = self.lake.create_repository("beside")
        names = [f"{n:04}.bin" for n in range(1000)]
        self.lake.for_each(names, lambda connection, name: self.lake.upload(
            repository, "main", name, self.random.randbytes(1024), connection=connection))
        self.lake.commit(repository, "main")
        for what, script in (("loop", "while true do end"), ("backtrack", "('a'):rep(300):find(('.-'):rep(8) .. 'b')"),
                             ("eat memory", "while true do local t = {} pcall(function() while #t < 1e5 do t[#t + 1] = ('x'):rep(1000) .. #t end end) end")):
            busy = [self.lake.create_repository(f"busy-{what.replace(' ', '-')}-{n}") for n in range(4)]
            for name in busy:
                action(name, script)
            rates = {False: [], True: []}
            for _ in range(self.rounds):
                for is_busy in rates:
                    threads = [threading.Thread(target=self.lake.rest, args=("POST", f"/repositories/{name}/branches/main/commits"), kwargs={
                        "json_body": {"message": "m"}, "connection": self.lake.connection(600)}) for name in busy if is_busy]
                    for thread in threads:
                        thread.start()
                    time.sleep(0.2)
                    rates[is_busy].append(self.wrk(self.lake.endpoint, "GET", self.presigned("GET", repository, names), 32)[0])
                    # What still runs is ended: the next round is to begin alone.
                    subprocess.run(["pkill", "-KILL", "-P", str(self.lake.process.pid), "-f", "lua-process"], check=False)
                    for thread in threads:
                        thread.join()
            idle, beside = (statistics.median(found) for found in rates.values())
            self.table.add(f"S3 GET of 1 KiB while 4 scripts {what}, 32 connections", "1/s", beside, idle, "≥ 0.9 of alone")
        self.remember_memory("after the scripts")

    def files(self):
        count = self.folders * 100
        say(f"find and cat of {count:,} mounted files beside the local disk")
        repository, local, mounted = self.lake.create_repository("files"), self.folder / "tree", self.folder / "mounted"
        names = [f"folder-{n // 100:03}/file-{n % 100:03}.txt" for n in range(count)]
        for name in names:
            (local / name).parent.mkdir(parents=True, exist_ok=True)
            (local / name).write_bytes(self.random.randbytes(self.random.randint(1024, 4096)))
        self.lake.for_each(names, lambda connection, name: self.lake.upload(
            repository, "main", name, (local / name).read_bytes(), connection=connection))
        self.lake.commit(repository, "main")

        def timed(command, folder):
            began = time.monotonic()
            run("sh", "-c", command, "sh", folder, stdout=subprocess.DEVNULL)
            return (time.monotonic() - began) * 1000

        commands = {"find": 'find "$1" -printf "%p %s\\n"', "cat": 'find "$1" -type f -exec cat {} +'}
        times = {}
        for where, folder in (("disk", local), ("mount", mounted)):
            self.forget_caches()
            if where == "mount":
                self.lake.mount(f"lakefs://{repository}/main", mounted)
            for name, command in commands.items():
                times[where, name, "cold"] = timed(command, folder)
            for name, command in commands.items():
                times[where, name, "warm"] = min(timed(command, folder) for _ in range(5))
        for state in ("cold", "warm"):
            for name in commands:
                self.table.add(f"{name} of {count:,} mounted files, {state}", "ms", times["mount", name, state],
                               times["disk", name, state])
        run("diff", "-r", local, mounted)
        self.remember_memory("after the mount")
        self.lake.unmount(mounted)

    def forget_caches(self):
        """Page, inode and name caches, as after a boot; where that isn't allowed, cold is warm and both rows say so."""
        os.sync()
        try:
            pathlib.Path("/proc/sys/vm/drop_caches").write_text("3")
        except OSError:
            say("  caches could not be dropped: the cold rows are warm for the disk")


def main():
    steps = ["get", "put", "rest", "cpu", "lists", "large", "commit", "hooks", "files"]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one short round, a tenth of the entries: to see that it runs")
    parser.add_argument("--only", default=",".join(steps), help=f"comma-separated: {', '.join(steps)}")
    options = parser.parse_args()
    chosen = options.only.split(",")
    if set(chosen) - set(steps):
        parser.error(f"--only takes {', '.join(steps)}")
    if not os.access(lakes.BINARY, os.X_OK):
        sys.exit(f"{lakes.BINARY} is not there: run `make build`, or name the binary in LAKEFUSE_BINARY")
    bench = Bench(options.quick)
    for step in chosen:
        getattr(bench, step)()
    status, _ = bench.lake.stop()
    print(bench.table.markdown())
    return 0 if status == 0 else f"the server ended with {status}"


if __name__ == "__main__":
    sys.exit(main())
