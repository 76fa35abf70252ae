"""Several servers on one PostgreSQL and one S3 store: nothing is lost, whoever is killed, stopped or away.

Run by `run.sh` under `engines.py`, which starts the engines."""
import base64
import http.client
import json
import os
import pathlib
import random
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import unittest
import urllib.parse
import uuid

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "EndToEnd"))
import engines as parts  # noqa: E402
import lake as lakes  # noqa: E402
from lake import wait_until  # noqa: E402

FOLDER = None


def engine(name):
    return os.environ["ENGINE_" + name]


def settings(**more):
    """What all servers of the lake have in common."""
    common = {
        "DATABASE_TYPE": "postgres", "DATABASE_POSTGRES_CONNECTION_STRING": engine("POSTGRES"),
        "AUTH_ENCRYPT_SECRET_KEY": "the secret of all servers", "BLOCKSTORE_TYPE": "s3",
        "BLOCKSTORE_S3_ENDPOINT": engine("SEAWEEDFS"),
        "BLOCKSTORE_S3_CREDENTIALS_ACCESS_KEY_ID": engine("SEAWEEDFS_KEY"),
        "BLOCKSTORE_S3_CREDENTIALS_SECRET_ACCESS_KEY": engine("SEAWEEDFS_SECRET"),
    }
    return {"LAKEFUSE_" + name: value for name, value in (common | more).items()}


def server(name, program=(), **more):
    made = lakes.Lake(FOLDER, name, **settings(**more))
    if program:
        made.environment |= dict(program)
    return made.start()


def repository(made):
    name = "r" + uuid.uuid4().hex[:12]
    made.ask("POST", "/repositories", 201, json_body={"name": name, "storage_namespace": f"s3://lake/{name}"})
    return name


def upload(made, repo, path, text, branch="main"):
    return made.rest(
        "POST", f"/repositories/{repo}/branches/{branch}/objects", body=text.encode(), path=path,
        headers={"Content-Type": "application/octet-stream"})


class ManyServers(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.servers = [server(f"server-{n}") for n in range(3)]

    @classmethod
    def tearDownClass(cls):
        for made in cls.servers:
            made.stop()

    def test_what_one_does_the_others_show_at_once(self):
        a, b, c = self.servers
        repo = repository(a)
        self.assertEqual(200, b.rest("GET", f"/repositories/{repo}").status)
        for number in range(60):
            writer, reader = random.sample(self.servers, 2)
            self.assertEqual(201, upload(writer, repo, "same/path", f"{number}").status)
            self.assertEqual(f"{number}".encode(), reader.get(repo, "main", "same/path"))
            if number % 10 == 0:
                writer.commit(repo, "main", f"{number}")
                self.assertEqual([], reader.uncommitted(repo, "main"))
        head = b.ask("GET", f"/repositories/{repo}/branches/main").json["commit_id"]
        a.ask("POST", f"/repositories/{repo}/branches", 201, json_body={"name": "side", "source": "main"})
        self.assertEqual(head, c.ask("GET", f"/repositories/{repo}/branches/side").json["commit_id"])
        # A rule is seen within a second or so.
        a.ask("PUT", f"/repositories/{repo}/settings/branch_protection", 204, json_body=[{"pattern": "main"}])
        wait_until(lambda: upload(b, repo, "no", "x").status == 403, 3, "the rule")
        b.ask("DELETE", f"/repositories/{repo}", 204)
        wait_until(lambda: c.rest("GET", f"/repositories/{repo}").status == 404, 2, "the deletion")

    def test_writers_committers_and_mergers_lose_nothing(self):
        repo = repository(self.servers[0])
        self.servers[0].ask("POST", f"/repositories/{repo}/branches", 201, json_body={"name": "side", "source": "main"})
        acknowledged, failures, stop = {}, [], threading.Event()

        def write(worker):
            number = 0
            while not stop.is_set():
                number += 1
                made = self.servers[(worker + number) % 3]
                path = f"w{worker}/{number % 50}"
                branch = "side" if worker % 2 else "main"
                answer = upload(made, repo, path, f"{number}", branch)
                if answer.status == 201:
                    acknowledged[branch, path] = number
                elif answer.status != 429:
                    failures.append(answer)

        def commit(worker):
            while not stop.wait(0.05):
                made = self.servers[worker % 3]
                branch = random.choice(["main", "side"])
                answer = made.rest("POST", f"/repositories/{repo}/branches/{branch}/commits",
                                   json_body={"message": "c"})
                if answer.status not in (201, 400, 429):
                    failures.append(answer)

        def merge():
            while not stop.wait(0.3):
                answer = random.choice(self.servers).rest(
                    "POST", f"/repositories/{repo}/refs/side/merge/main", json_body={})
                if answer.status not in (200, 400, 409, 429):
                    failures.append(answer)

        threads = ([threading.Thread(target=write, args=(n,)) for n in range(4)]
                   + [threading.Thread(target=commit, args=(n,)) for n in range(2)] + [threading.Thread(target=merge)])
        for thread in threads:
            thread.start()
        time.sleep(8)
        stop.set()
        for thread in threads:
            thread.join()
        self.assertEqual([], failures[:3])
        self.assertGreater(len(acknowledged), 100)
        for made in self.servers:
            for (branch, path), number in random.sample(sorted(acknowledged.items()), 60):
                self.assertGreaterEqual(int(made.get(repo, branch, path)), number, f"{branch} {path}")
        log = self.servers[1].ask("GET", f"/repositories/{repo}/refs/main/commits", amount=1000).json["results"]
        self.assertEqual(len(log), len({commit["id"] for commit in log}))

    def test_mounts_see_what_other_servers_change(self):
        a, b, _ = self.servers
        repo = repository(a)
        upload(a, repo, "dir/x", "1")
        there = b.mount(f"lakefs://{repo}/main", FOLDER / f"mount-{repo}")
        try:
            self.assertEqual("1", (there / "dir/x").read_text())
            for number in range(5):
                upload(a, repo, "dir/x", f"new {number}")
                upload(a, repo, f"dir/y{number}", "y")
                begun = time.monotonic()
                wait_until(lambda: (there / "dir/x").read_text() == f"new {number}"
                           and (there / f"dir/y{number}").exists(), 2, "the change in the mount")
                self.assertLess(time.monotonic() - begun, 1.5)
            (there / "dir/from-mount").write_text("m")
            # A file that is closed is published when it has been quiet for a moment: no other server can ask for it.
            wait_until(lambda: "dir/from-mount" in a.list(repo, "main"), 2, "the file of the mount")
            self.assertEqual(b"m", a.get(repo, "main", "dir/from-mount"))
        finally:
            b.unmount(there)


class Killed(unittest.TestCase):
    def test_whoever_is_killed_loses_nothing(self):
        servers = [server(f"killed-{n}") for n in range(3)]
        repo = repository(servers[0])
        hook = """name: told
on: {post-commit: {branches: [main]}}
hooks: [{id: note, type: lua, properties: {script: "print('ran')"}}]
"""
        self.assertEqual(201, upload(servers[0], repo, "_lakefs_actions/a.yaml", hook).status)
        servers[0].commit(repo, "main")
        acknowledged, commits, stop = {}, [], threading.Event()

        def write(worker):
            number = 0
            while not stop.is_set():
                number += 1
                made = servers[(worker + number) % 3]
                try:
                    if upload(made, repo, f"w{worker}/{number}", f"{number}").status == 201:
                        acknowledged[f"w{worker}/{number}"] = number
                    if number % 7 == 0:
                        answer = made.rest("POST", f"/repositories/{repo}/branches/main/commits",
                                           json_body={"message": f"{worker} {number}"})
                        if answer.status == 201:
                            commits.append(answer.json["id"])
                except (OSError, http.client.HTTPException):
                    pass  # killed meanwhile: another one is asked next

        threads = [threading.Thread(target=write, args=(n,)) for n in range(4)]
        for thread in threads:
            thread.start()
        for round in range(6):
            time.sleep(0.7)
            victim = servers[round % 3]
            victim.kill()
            time.sleep(0.2)
            victim.start()
        stop.set()
        for thread in threads:
            thread.join()
        servers[2].kill()  # for good: the others take over what it left
        for path, number in acknowledged.items():
            self.assertEqual(f"{number}".encode(), servers[0].get(repo, "main", path), path)
        log = servers[1].ask("GET", f"/repositories/{repo}/refs/main/commits", amount=1000).json["results"]
        self.assertLessEqual(set(commits), {commit["id"] for commit in log})

        def runs():
            found, after = [], ""
            while True:
                page = servers[0].ask("GET", f"/repositories/{repo}/actions/runs", amount=1000, after=after).json
                found += [run for run in page["results"] if run["event_type"] == "post-commit"]
                if not page["pagination"]["has_more"]:
                    return found
                after = page["pagination"]["next_offset"]
        wanted = {commit["id"] for commit in log if commit["message"][:1].isdigit()}
        wait_until(lambda: wanted <= {run["commit_id"] for run in runs()}, 60, "a run of each commit's hooks")
        told = [run["commit_id"] for run in runs()]
        self.assertEqual(len(told), len(set(told)), "no hook ran twice")
        for made in servers[:2]:
            made.stop()

    def test_one_that_was_stopped_overwrites_nothing_when_it_wakes(self):
        sleeper, other = server("sleeper"), server("awake")
        repo = repository(other)
        upload(sleeper, repo, "a", "0")
        answers, threads = [], []

        def put(number):
            try:
                answers.append(upload(sleeper, repo, f"late/{number}", "late").status)
                answers.append(upload(sleeper, repo, "a", "late").status)
            except (OSError, http.client.HTTPException):
                pass

        def commit():
            try:
                answers.append(sleeper.rest("POST", f"/repositories/{repo}/branches/main/commits",
                                            json_body={"message": "late"}).status)
            except (OSError, http.client.HTTPException):
                pass
        for number in range(8):
            threads.append(threading.Thread(target=put, args=(number,)))
        threads.append(threading.Thread(target=commit))
        for thread in threads:
            thread.start()
        time.sleep(0.01)
        sleeper.process.send_signal(signal.SIGSTOP)
        time.sleep(0.5)
        upload(other, repo, "b", "1")
        head = other.commit(repo, "main", "while it sleeps")["id"]
        pause = float(os.environ.get("PAUSE_SECONDS", "20"))
        time.sleep(pause)
        upload(other, repo, "b", "2")
        head = other.commit(repo, "main", "again")["id"]
        expected = {path: other.get(repo, head, path) for path in other.list(repo, head)}
        sleeper.process.send_signal(signal.SIGCONT)
        for thread in threads:
            thread.join()
        wait_until(lambda: sleeper.rest("GET", f"/repositories/{repo}").status == 200, 10, "it answers")
        # What others committed is as it was, and the branch leads to it.
        self.assertEqual(expected, {path: other.get(repo, head, path) for path in other.list(repo, head)})
        log = [commit["id"] for commit in
               other.ask("GET", f"/repositories/{repo}/refs/main/commits", amount=100).json["results"]]
        self.assertIn(head, log)
        self.assertEqual(b"2", sleeper.get(repo, "main", "b"))
        self.assertTrue(set(answers) <= {201, 400, 429, 503}, answers)
        for made in (sleeper, other):
            made.stop()

    @unittest.skipUnless(shutil.which("faketime"), "faketime is not installed")
    def test_clocks_that_differ_do_no_harm(self):
        library = next(pathlib.Path("/usr/lib").rglob("libfaketime.so.1"))
        late = server("late", {"LD_PRELOAD": str(library), "FAKETIME": "-4m", "DONT_FAKE_MONOTONIC": "1"}.items())
        early = server("early", {"LD_PRELOAD": str(library), "FAKETIME": "+4m", "DONT_FAKE_MONOTONIC": "1"}.items())
        repo = repository(late)
        for number in range(30):
            a, b = (late, early) if number % 2 else (early, late)
            self.assertEqual(201, upload(a, repo, "k", f"{number}").status)
            self.assertEqual(f"{number}".encode(), b.get(repo, "main", "k"))
            b.commit(repo, "main", f"{number}")
        log = early.ask("GET", f"/repositories/{repo}/refs/main/commits", amount=100).json["results"]
        self.assertEqual([f"{number}" for number in reversed(range(30))], [c["message"] for c in log[:30]])
        for made in (late, early):
            made.stop()


class Proxy:
    """What stands between a server and an engine, and can be cut."""

    def __init__(self, port):
        self.target, self.port = port, parts.free_port()
        self.sockets, self.listener = [], None
        self.mend()

    def mend(self):
        self.listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self.accept, args=(self.listener,), daemon=True).start()

    def accept(self, listener):
        while True:
            try:
                near, _ = listener.accept()
            except OSError:
                return
            far = socket.create_connection(("127.0.0.1", self.target))
            self.sockets += [near, far]
            for one, other in ((near, far), (far, near)):
                threading.Thread(target=self.pump, args=(one, other), daemon=True).start()

    @staticmethod
    def pump(one, other):
        try:
            while piece := one.recv(1 << 16):
                other.sendall(piece)
        except OSError:
            pass
        for end in (one, other):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def cut(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for end in self.sockets:
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        self.sockets = []


class Away(unittest.TestCase):
    def check_comes_back(self, made, repo, away, back):
        self.assertEqual(201, upload(made, repo, "before", "1").status)
        ready = made.send("GET", "/_health/ready")
        self.assertEqual(200, ready.status, ready)
        away()
        answer = None

        def is_told():
            nonlocal answer
            answer = upload(made, repo, "meanwhile", "x")
            return answer.status == 503
        wait_until(is_told, 20, "503")
        self.assertEqual("1", answer.headers.get("retry-after"))
        self.assertNotIn(b"\n", answer.body.strip())
        self.assertEqual(200, made.send("GET", "/_health").status)
        back()
        wait_until(lambda: upload(made, repo, "after", "2").status == 201, 30, "it works again")
        self.assertEqual(b"1", made.get(repo, "main", "before"))
        self.assertEqual(200, made.send("GET", "/_health/ready").status)

    def test_records_that_go_away(self):
        made = server("records-away")
        repo = repository(made)
        data = engine("POSTGRES_DATA")
        pid = int(pathlib.Path(data, "postmaster.pid").read_text().split()[0])

        def away():
            os.kill(pid, signal.SIGSTOP)
            for process in subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True).stdout.split():
                try:
                    os.kill(int(process), signal.SIGKILL)
                except ProcessLookupError:
                    pass

        def back():
            os.kill(pid, signal.SIGCONT)
        self.check_comes_back(made, repo, away, back)
        made.stop()

    def test_either_engine_cut_off(self):
        address = urllib.parse.urlsplit(engine("POSTGRES"))
        records = Proxy(address.port)
        objects = Proxy(urllib.parse.urlsplit(engine("SEAWEEDFS")).port)
        made = server(
            "cut-off", BLOCKSTORE_S3_ENDPOINT=f"http://127.0.0.1:{objects.port}", BLOCKSTORE_S3_MAX_RETRIES="1",
            DATABASE_POSTGRES_CONNECTION_STRING=engine("POSTGRES").replace(str(address.port), str(records.port)))
        repo = repository(made)
        for proxy in (records, objects):
            self.check_comes_back(made, repo, proxy.cut, proxy.mend)
        # What was read before is there while the store is away.
        large = "x" * 100_000
        upload(made, repo, "kept", large)
        self.assertEqual(large.encode(), made.get(repo, "main", "kept"))
        objects.cut()
        self.assertEqual(large.encode(), made.get(repo, "main", "kept"))
        objects.mend()
        made.stop()

    def test_rolling_restarts_lose_no_answered_request(self):
        servers = [server(f"rolling-{n}") for n in range(2)]
        repo = repository(servers[0])
        acknowledged, unanswered, stop = [], [], threading.Event()

        def write(worker):
            number = 0
            while not stop.is_set():
                number += 1
                for attempt in range(40):
                    made = servers[(worker + attempt) % 2]
                    try:
                        answer = upload(made, repo, f"{worker}/{number}", "x")
                    except (OSError, http.client.HTTPException):
                        time.sleep(0.02)
                        continue
                    if answer.status == 201:
                        acknowledged.append(f"{worker}/{number}")
                        break
                    time.sleep(0.02)
                else:
                    unanswered.append(number)
        threads = [threading.Thread(target=write, args=(n,)) for n in range(4)]
        for thread in threads:
            thread.start()
        for round in range(4):
            time.sleep(0.8)
            status, _ = servers[round % 2].stop()
            self.assertEqual(0, status)
            servers[round % 2].start()
        stop.set()
        for thread in threads:
            thread.join()
        self.assertEqual([], unanswered)
        there = set(servers[0].list(repo, "main"))
        self.assertLessEqual(set(acknowledged), there)
        self.assertGreater(len(acknowledged), 100)
        for made in servers:
            made.stop()

    def test_a_server_stops_while_answers_are_read(self):
        made = server("reading")
        repo = repository(made)
        self.assertEqual(201, upload(made, repo, "large", "x" * (32 << 20)).status)
        login = base64.b64encode(":".join(made.keys).encode()).decode()
        begun, short = threading.Barrier(9), []

        def read():
            connection = made.connection()
            connection.request(
                "GET", f"/api/v1/repositories/{repo}/refs/main/objects?path=large", headers={"Authorization": "Basic " + login})
            answer = connection.getresponse()
            begun.wait(30)
            count = 0
            try:
                while piece := answer.read(1 << 16):
                    count += len(piece)
                    time.sleep(0.002)
            except OSError:
                pass
            connection.close()
            if count < 32 << 20:
                short.append(count)
        threads = [threading.Thread(target=read) for _ in range(8)]
        for thread in threads:
            thread.start()
        begun.wait(30)
        time.sleep(0.1)
        status, _ = made.stop()
        for thread in threads:
            thread.join()
        self.assertEqual(0, status, made.log_tail())
        self.assertEqual(8, len(short), "the answers had ended before the server stopped")


class Refused(unittest.TestCase):
    """Each fault is told at start, in one line that says what to do."""

    def refusal(self, environment=None, **more):
        made = lakes.Lake(FOLDER, "refused-" + uuid.uuid4().hex[:8], **settings(**more))
        made.environment |= environment or {}
        done = subprocess.run(
            [lakes.BINARY, "run", "--data", str(made.data), "--listen", "127.0.0.1:0"], env=made.server_environment(),
            capture_output=True, text=True, timeout=60)
        self.assertEqual(1, done.returncode, done)
        self.assertEqual(1, len(done.stderr.strip().splitlines()), done.stderr)
        for secret in (engine("SEAWEEDFS_SECRET"), "guessed-password"):
            self.assertNotIn(secret, done.stderr)
        return done.stderr

    def test_postgres(self):
        address = engine("POSTGRES")
        self.assertIn("connection_string", self.refusal(DATABASE_POSTGRES_CONNECTION_STRING=""))
        self.assertIn("password", self.refusal(
            DATABASE_POSTGRES_CONNECTION_STRING=address.replace("engine-tests-secret-key", "guessed-password")))
        self.assertIn("refused", self.refusal(DATABASE_POSTGRES_CONNECTION_STRING="postgres://a:b@127.0.0.1:9/x"))
        self.assertIn("nowhere", self.refusal(DATABASE_POSTGRES_CONNECTION_STRING=address.replace(
            "/postgres?", "/nowhere?")))
        self.assertIn("encrypt.secret_key", self.refusal(AUTH_ENCRYPT_SECRET_KEY=""))

    def test_store(self):
        self.assertIn("key pair", self.refusal(BLOCKSTORE_S3_CREDENTIALS_SECRET_ACCESS_KEY="guessed"))
        self.assertIn("reached", self.refusal(BLOCKSTORE_S3_ENDPOINT="http://127.0.0.1:9",
                                              BLOCKSTORE_S3_MAX_RETRIES="0"))

    def test_certificates_that_cannot_be_verified(self):
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost", "-days", "1", "-keyout",
             FOLDER / "key.pem", "-out", FOLDER / "cert.pem"], check=True, capture_output=True)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(FOLDER / "cert.pem", FOLDER / "key.pem")
        listener = socket.create_server(("127.0.0.1", 0))

        def serve():
            while True:
                try:
                    end, _ = listener.accept()
                    with context.wrap_socket(end, server_side=True):
                        pass
                except (ssl.SSLError, ConnectionError):
                    continue
                except OSError:
                    return
        threading.Thread(target=serve, daemon=True).start()
        said = self.refusal(BLOCKSTORE_S3_ENDPOINT=f"https://127.0.0.1:{listener.getsockname()[1]}")
        self.assertIn("certificate", said)
        listener.close()
        self.assertIn("SSL", self.refusal(
            DATABASE_POSTGRES_CONNECTION_STRING=engine("POSTGRES").replace("sslmode=disable", "sslmode=verify-full")))

    @unittest.skipUnless(shutil.which("faketime"), "faketime is not installed")
    def test_a_clock_that_is_off_by_an_hour(self):
        library = next(pathlib.Path("/usr/lib").rglob("libfaketime.so.1"))
        said = self.refusal({"LD_PRELOAD": str(library), "FAKETIME": "+1h", "DONT_FAKE_MONOTONIC": "1"})
        self.assertIn("clock", said)

    def test_a_lake_of_a_newer_schema(self):
        made = server("newer", DATABASE_POSTGRES_CONNECTION_STRING=engine("POSTGRES") + "&lakefskv_table=newer")
        made.stop()
        address = urllib.parse.urlsplit(engine("POSTGRES"))
        subprocess.run(
            ["psql", "-q", "-h", "127.0.0.1", "-p", str(address.port), "-U", "lake", "postgres", "-c",
             "update newer set value = '5' where partition_key = 'kv-internal-metadata'"], check=True,
            env={**os.environ, "PGPASSWORD": address.password})
        self.assertIn("newer lakefuse", self.refusal(
            DATABASE_POSTGRES_CONNECTION_STRING=engine("POSTGRES") + "&lakefskv_table=newer"))


class Example(unittest.TestCase):
    """`examples/scale-out.sh`, as its page says."""

    def test_it_starts_survives_a_server_and_stops(self):
        script = lakes.ROOT / "examples/scale-out.sh"
        data = pathlib.Path(tempfile.mkdtemp(prefix="lakefuse-scale-out-"))
        os.chmod(data, 0o755)
        port = parts.free_port()
        environment = {**os.environ, "LAKEFUSE_SCALE_DATA": str(data), "LAKEFUSE_SCALE_PORT": str(port),
                       "LAKEFUSE_BINARY": lakes.BINARY, "WEED": str(parts.ENGINES / "weed")}
        try:
            said = subprocess.run([script, "start"], check=True, env=environment, capture_output=True, text=True,
                                  timeout=120).stdout
            made = lakes.Lake(FOLDER, "through-the-balancer")
            made.port, made.endpoint = port, f"http://127.0.0.1:{port}"
            made.keys = re.search(r"key (\S+), secret (\S+)\)", said).groups()
            name = "r" + uuid.uuid4().hex[:8]
            exports = dict(re.findall(r"(LAKECTL_\w+)=(\S+)", said))
            made.command("repo", "create", f"lakefs://{name}", f"s3://lake/{name}", environment=exports)
            for number in range(20):
                made.upload(name, "main", f"{number}", f"{number}".encode())
            os.kill(int((data / "server-1.pid").read_text()), signal.SIGKILL)
            for number in range(20):
                self.assertEqual(f"{number}".encode(), made.get(name, "main", f"{number}"))
                made.upload(name, "main", f"more {number}", b"x")
            made.commit(name, "main", "through one server")
            said = subprocess.run([script, "stop"], check=True, env=environment, capture_output=True, text=True,
                                  timeout=60).stdout
            self.assertIn("stopped", said)
            # Again: the same lake.
            subprocess.run([script, "start"], check=True, env=environment, capture_output=True, timeout=120)
            self.assertEqual(40, len(made.list(name, "main")))
        finally:
            subprocess.run([script, "stop"], env=environment, capture_output=True, timeout=60)
            shutil.rmtree(data, ignore_errors=True)


if __name__ == "__main__":
    FOLDER = lakes.work_folder("scale")
    unittest.main(verbosity=2)
