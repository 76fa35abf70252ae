"""A lakefuse server of the caller's own, and plain ways to talk to it. Standard library only.

Used by the end-to-end test and by the benchmarks.
"""
import atexit
import base64
import concurrent.futures
import ctypes
import http.client
import json
import os
import pathlib
import re
import select
import shutil
import signal
import socket
import subprocess
import threading
import time
import urllib.parse

ROOT = pathlib.Path(__file__).resolve().parents[2]
BINARY = os.environ.get("LAKEFUSE_BINARY") or str(ROOT / ".build-release/release/lakefuse")
KEY, SECRET = "AKIAJENDTOENDTESTS0Q", "end/to/end+secret0123456789ABCDEFGHIJKLM"
READY = re.compile(r"lakefuse is ready at (https?://127\.0\.0\.1:(\d+))\n")


# -- the folder everything happens in -----------------------------------------------------------------------

def work_folder(label):
    """A new folder in the project's, so on a real disk; emptied of mounts and removed when the process ends.

    Its name carries our process id: what a killed run left behind is cleaned up by the next one.
    """
    for old in ROOT.glob(f".lakefuse-{label}-*"):
        if not pathlib.Path("/proc", old.name.rsplit("-", 1)[1]).exists():
            _remove(old)
    folder = ROOT / f".lakefuse-{label}-{os.getpid()}"
    folder.mkdir()
    atexit.register(_remove, folder)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as by Ctrl-C, so that atexit runs
    return folder


def mounts_below(folder):
    """Mount points at or below `folder`, the innermost first."""
    lines = pathlib.Path("/proc/self/mounts").read_text().splitlines()
    points = [re.sub(r"\\(\d{3})", lambda octal: chr(int(octal[1], 8)), line.split(" ")[1]) for line in lines]
    return [p for p in reversed(points) if p == str(folder) or p.startswith(f"{folder}/")]


def is_mounted(folder):
    """Whether `folder` is a mount point, a dead one too (os.path.ismount says no to those)."""
    return str(folder) in mounts_below(folder)


def _remove(folder):
    for point in mounts_below(folder):
        subprocess.run(["umount", "-l", point], check=False)
    shutil.rmtree(folder, ignore_errors=True)


# -- the server ------------------------------------------------------------------------------------------------

class Answer:
    """One HTTP answer; header names in lower case."""

    def __init__(self, status, headers, body):
        self.status, self.body = status, body
        self.headers = {name.lower(): value for name, value in headers}

    @property
    def json(self):
        return json.loads(self.body)

    def __repr__(self):
        return f"{self.status} {self.body[:300]!r}"


class Lake:
    """A server process on `data`, at a free port. `keys=None` lets the server make up a key pair."""

    def __init__(self, folder, name="lake", keys=(KEY, SECRET), **more_environment):
        self.data, self.log, self.keys = folder / name, folder / f"{name}.log", keys
        # Nobody's own configuration gets in: no AWS_, LAKECTL_, LAKEFS_ variables, an empty home.
        home = folder / f"{name}-home"
        home.mkdir()
        self.environment = {"PATH": os.environ["PATH"], "HOME": str(home), "LANG": "C.UTF-8", **more_environment}
        self.process = None
        atexit.register(self.kill)

    def objects(self, folder="data", repository=""):
        """The files of objects (or `_lakefs`: of tables), once small ones are files: for some seconds they are in a log."""
        root = self.data / "objects"
        wait_until(lambda: not any((root / ".log").glob("*")), 20, "small objects are files")
        return [path for path in (root / repository).rglob("*") if path.is_file() and f"/{folder}/" in str(path)]

    def server_environment(self):
        if not self.keys:
            return self.environment
        return self.environment | {"LAKEFUSE_INSTALLATION_ACCESS_KEY_ID": self.keys[0],
                                   "LAKEFUSE_INSTALLATION_SECRET_ACCESS_KEY": self.keys[1]}

    def start(self, *arguments):
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                [BINARY, "run", "--data", str(self.data), "--listen", "127.0.0.1:0", *map(str, arguments)], text=True,
                env=self.server_environment(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log,
                preexec_fn=die_with_parent)
        if not select.select([self.process.stdout], [], [], 30)[0]:
            self.kill()
            raise RuntimeError(f"the server was not ready within 30 s\n{self.log_tail()}")
        line = self.process.stdout.readline()
        ready = READY.fullmatch(line)
        if not ready:
            self.kill()
            raise RuntimeError(f"the server's first line is {line!r}\n{self.log_tail()}")
        self.endpoint, self.port = ready[1], int(ready[2])
        return self

    def stop(self):
        """SIGTERM and wait: the exit status, and what it printed after the line that says ready."""
        self.process.send_signal(signal.SIGTERM)
        rest, _ = self.process.communicate(timeout=30)
        return self.process.returncode, rest

    def kill(self):
        """SIGKILL; harmless if the server isn't running."""
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        if self.process and self.process.stdout:
            self.process.stdout.close()

    def log_tail(self, lines=15):
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return "\n".join(["the server's log ends:"] + ["  " + line for line in text.splitlines()[-lines:]])

    def resident(self):
        """Resident memory of the server in MiB."""
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]) / 1024

    # -- REST -----------------------------------------------------------------------------------------------------

    def connection(self, timeout=60):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        connection.connect()
        connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def send(self, method, target, body=None, headers=(), connection=None):
        """A request as it is; on a connection of its own unless one is given."""
        used = connection or self.connection()
        try:
            used.request(method, target, body, dict(headers))
            response = used.getresponse()
            return Answer(response.status, response.getheaders(), response.read())
        finally:
            if not connection:
                used.close()

    def rest(self, method, path, /, body=None, json_body=None, headers=(), connection=None, keys=(), **query):
        """A REST call under /api/v1 with basic login (`keys=None`: without)."""
        headers = dict(headers)
        pair = self.keys if keys == () else keys
        if pair:
            headers["Authorization"] = "Basic " + base64.b64encode(":".join(pair).encode()).decode()
        if json_body is not None:
            body, headers["Content-Type"] = json.dumps(json_body), "application/json"
        target = "/api/v1" + urllib.parse.quote(path, safe="/~") + (
            "?" + urllib.parse.urlencode(query, quote_via=urllib.parse.quote) if query else "")
        return self.send(method, target, body, headers, connection)

    def ask(self, method, path, expect=200, /, **more):
        """A REST call that must succeed."""
        answer = self.rest(method, path, **more)
        if answer.status != expect:
            raise AssertionError(f"{method} {path} {more}: expected {expect}, got {answer}"[:1000])
        return answer

    def create_repository(self, name):
        self.ask("POST", "/repositories", 201, json_body={"name": name, "storage_namespace": f"local://{name}"})
        return name

    def upload(self, repository, branch, path, body, connection=None):
        return self.ask("POST", f"/repositories/{repository}/branches/{branch}/objects", 201, body=body, path=path,
                        headers={"Content-Type": "application/octet-stream"}, connection=connection)

    def get(self, repository, ref, path, connection=None):
        return self.ask("GET", f"/repositories/{repository}/refs/{ref}/objects", path=path, connection=connection).body

    def list(self, repository, ref, prefix=""):
        """Every path under `prefix`, page by page."""
        paths, after = [], ""
        while True:
            page = self.ask("GET", f"/repositories/{repository}/refs/{ref}/objects/ls", prefix=prefix, after=after,
                            amount=1000).json
            paths += [entry["path"] for entry in page["results"]]
            if not page["pagination"]["has_more"]:
                return paths
            after = page["pagination"]["next_offset"]

    def uncommitted(self, repository, branch, amount=1000):
        """The branch's diff, its first page, as (type, path) pairs."""
        page = self.ask("GET", f"/repositories/{repository}/branches/{branch}/diff", amount=amount).json
        return [(entry["type"], entry["path"]) for entry in page["results"]]

    def commit(self, repository, branch, message="commit", expect=201, connection=None, **more):
        return self.ask("POST", f"/repositories/{repository}/branches/{branch}/commits", expect, connection=connection,
                        json_body={"message": message, **more}).json

    def for_each(self, items, work, threads=8):
        """Calls `work(connection, item)` for all items, on `threads` connections that are kept alive."""
        items, lock = iter(items), threading.Lock()

        def run():
            connection = self.connection()
            try:
                while True:
                    with lock:
                        item = next(items, run)  # `run` stands for the end
                    if item is run:
                        return
                    work(connection, item)
            finally:
                connection.close()

        with concurrent.futures.ThreadPoolExecutor(threads) as pool:
            for done in [pool.submit(run) for _ in range(threads)]:
                done.result()

    # -- the command line ----------------------------------------------------------------------------------------

    @property
    def client(self):
        """What tells a client command where the server is."""
        return {"LAKECTL_SERVER_ENDPOINT_URL": self.endpoint, "LAKECTL_CREDENTIALS_ACCESS_KEY_ID": self.keys[0],
                "LAKECTL_CREDENTIALS_SECRET_ACCESS_KEY": self.keys[1]}

    def run(self, *arguments, input=None, timeout=60, environment=None):
        """A client command of the binary, told by environment where the server is."""
        if environment is None:
            environment = self.client
        return subprocess.run([BINARY, *map(str, arguments)], env=self.environment | environment, input=input,
                              capture_output=True, text=True, timeout=timeout)

    def command(self, *arguments, **more):
        """A client command that must succeed: its standard output."""
        done = self.run(*arguments, **more)
        if done.returncode != 0:
            raise AssertionError(f"lakefuse {' '.join(map(str, arguments))}: exit {done.returncode}\n"
                                 f"{done.stdout}{done.stderr}{self.log_tail()}")
        return done.stdout

    def mount(self, uri, folder, *options):
        folder.mkdir(parents=True, exist_ok=True)
        self.command("mount", *options, uri, folder)
        if not is_mounted(folder):
            raise AssertionError(f"lakefuse mount {uri} {folder} said all is well, but nothing is mounted there")
        return folder

    def wait_for_mounts(self, count):
        """Those of the last start come back in the background."""
        wait_until(lambda: len(self.command("mounts").splitlines()) == count, 10, f"{count} mounts")

    def unmount(self, folder):
        self.command("umount", folder)
        if is_mounted(folder):
            raise AssertionError(f"lakefuse umount {folder} said all is well, but it is still mounted")


_libc = ctypes.CDLL(None)


def die_with_parent():
    """For `preexec_fn`: PR_SET_PDEATHSIG, so that not even a killed test leaves a server running."""
    _libc.prctl(1, signal.SIGKILL)


def wait_until(condition, seconds=10, what="the condition"):
    """For what no answer announces, such as the progress of other threads."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not come within {seconds} s")
        time.sleep(0.005)
