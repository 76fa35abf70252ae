"""Settings of the server: where they come from, what is said of them; TLS, pages of other origins."""
import concurrent.futures
import http.client
import os
import signal
import socket
import ssl
import subprocess

import boto3
import lakefs_sdk

from clients import LakeTest
from lake import BINARY, Lake, wait_until


class ConfigurationTest(LakeTest):
    def show(self, text=None, expect=0, *arguments, **environment):
        file = self.scratch / "config.yaml"
        file.write_text(text or "")
        done = subprocess.run([BINARY, "config", "show", *(["--config", file] if text else []), *arguments],
                              env={"PATH": os.environ["PATH"], **environment}, capture_output=True, text=True)
        self.assertEqual(done.returncode, expect, done.stdout + done.stderr)
        return done.stdout if expect == 0 else done.stderr

    def test_show(self):
        """Every setting with its value and where that is from: a flag before the environment before the file; no secrets."""
        file = "listen_address: 127.0.0.1:1\nlogging:\n  level: DEBUG\n  format: json\nauth:\n  encrypt:\n    secret_key: hush\n  login_duration: 1h30m\n"
        shown = self.show(file, 0, "--listen", "127.0.0.1:3", LAKEFS_LOGGING_FORMAT="text", LAKEFUSE_LISTEN_ADDRESS="127.0.0.1:2")
        name = str(self.scratch / "config.yaml")
        for line in (f"logging.level: debug  # {name}", "logging.format: text  # LAKEFS_LOGGING_FORMAT", "listen_address: 127.0.0.1:3  # --listen",
                     f"auth.encrypt.secret_key: (secret)  # {name}", f"auth.login_duration: 5400s  # {name}", 'blockstore.signing.secret_key: ""  # default'):
            self.assertIn(line, shown.splitlines())
        self.assertNotIn("hush", shown)

    def test_wrong(self):
        """What is not known is an error that names it; what only lakeFS has a meaning for is passed over, and told."""
        self.assertIn("configuration key 'loging.level' is not known", self.show("loging:\n  level: info\n", 1))
        self.assertIn("'soon' is no duration", self.show("auth:\n  login_duration: soon\n", 1))
        self.assertIn("limits.connections: '3' is not a number of at least 16", self.show("limits:\n  connections: 3\n", 1))
        text = "stats:\n  enabled: false\nui:\n  snippets:\n  - id: a\n    code: b\ndatabase:\n  postgres:\n    metrics: true\n"
        shown = self.show(text, 0, LAKEFS_STATS_ENABLED="false")
        for key in ("stats.enabled", "ui.snippets", "database.postgres.metrics", "STATS_ENABLED"):
            self.assertIn(f"# {key} has no meaning here", shown.replace("ui.snippets[0].id", "ui.snippets"))


class TLSTest(LakeTest):
    def certificate(self, name):
        """A certificate for 127.0.0.1 that nobody but itself vouches for, in the server's files; its path."""
        for file, old in (("server.crt", name + ".crt"), ("server.key", name + ".key")):
            made = self.scratch / old
            if not made.exists():
                subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={name}",
                                "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", self.scratch / f"{name}.key", "-out", self.scratch / f"{name}.crt"],
                               check=True, capture_output=True)
            (self.scratch / file).write_bytes(made.read_bytes())
        return self.scratch / f"{name}.crt"

    def shown(self, port):
        """The name in the certificate that the server shows."""
        context = ssl.create_default_context(cafile=self.scratch / "one.crt")
        context.load_verify_locations(self.scratch / "two.crt")
        with socket.create_connection(("127.0.0.1", port)) as plain, context.wrap_socket(plain, server_hostname="127.0.0.1") as secured:
            return dict(pair[0] for pair in secured.getpeercert()["subject"])["commonName"]

    def test_tls(self):
        """REST, S3 and presigned addresses over HTTPS; a new certificate without a stop."""
        self.certificate("two")
        trusted = self.certificate("one")
        server = Lake(self.scratch, "tls", LAKEFUSE_TLS_ENABLED="true", LAKEFUSE_TLS_CERT_FILE=str(self.scratch / "server.crt"),
                      LAKEFUSE_TLS_KEY_FILE=str(self.scratch / "server.key")).start()
        self.addCleanup(server.kill)
        self.assertTrue(server.endpoint.startswith("https://"), server.endpoint)
        self.assertEqual(self.shown(server.port), "one")
        client = lakefs_sdk.ApiClient(lakefs_sdk.Configuration(
            host=f"{server.endpoint}/api/v1", username=server.keys[0], password=server.keys[1], ssl_ca_cert=str(trusted)))
        lakefs_sdk.RepositoriesApi(client).create_repository(lakefs_sdk.RepositoryCreation(name="safe", storage_namespace="local://safe"))
        s3 = boto3.client("s3", endpoint_url=server.endpoint, aws_access_key_id=server.keys[0], aws_secret_access_key=server.keys[1],
                          region_name="us-east-1", verify=str(trusted))
        body = os.urandom(3 << 20)
        s3.put_object(Bucket="safe", Key="main/a", Body=body)
        self.assertEqual(s3.get_object(Bucket="safe", Key="main/a")["Body"].read(), body)
        objects = lakefs_sdk.ObjectsApi(client)
        self.assertEqual(bytes(objects.get_object("safe", "main", "a")), body)
        self.assertTrue(objects.stat_object("safe", "main", "a", presign=True).physical_address.startswith("https://"))
        # In the clear it is no HTTP.
        with self.assertRaises((http.client.HTTPException, OSError)):
            server.send("GET", "/_health")
        self.certificate("two")
        os.kill(server.process.pid, signal.SIGHUP)
        wait_until(lambda: self.shown(server.port) == "two", 5, "the new certificate is shown")
        # One that is none is not taken, and the server goes on with what it has.
        (self.scratch / "server.key").write_text("nonsense")
        os.kill(server.process.pid, signal.SIGHUP)
        wait_until(lambda: "the old certificate is shown further" in server.log.read_text(), 5, "the bad key is told")
        self.assertEqual(self.shown(server.port), "two")
        self.assertEqual(server.stop()[0], 0)

    def test_wrong_certificate(self):
        """A key that is not the certificate's, or no file at all: the server does not start, and says why."""
        self.certificate("two")
        self.certificate("one")
        for key, said in (("two.key", "cannot use"), ("none.key", "cannot use"), ("", "tls.enabled needs")):
            done = subprocess.run([BINARY, "run", "--data", self.scratch / "bad", "--listen", "127.0.0.1:0"], capture_output=True, text=True, timeout=30, env={
                "PATH": os.environ["PATH"], "LAKEFUSE_TLS_ENABLED": "true", "LAKEFUSE_TLS_CERT_FILE": str(self.scratch / "one.crt"),
                "LAKEFUSE_TLS_KEY_FILE": str(self.scratch / key) if key else ""})
            self.assertEqual(done.returncode, 1)
            self.assertIn(said, done.stderr)


class OriginsTest(LakeTest):
    def test_cors(self):
        """Pages of the origins that are named may call; others may not, and nobody by default."""
        ask = {"Origin": "https://tool.example.org", "Access-Control-Request-Method": "PUT", "Access-Control-Request-Headers": "authorization,x-amz-date"}
        self.assertNotIn("access-control-allow-origin", self.lake.send("OPTIONS", "/api/v1/config", headers=ask).headers)
        server = Lake(self.scratch, "cors", LAKEFUSE_CORS_ALLOWED_ORIGINS="https://tool.example.org, https://other.example.org").start()
        self.addCleanup(server.kill)
        for target in ("/api/v1/repositories", "/bucket/main/key"):
            answer = server.send("OPTIONS", target, headers=ask)
            self.assertEqual((answer.status, answer.headers["access-control-allow-origin"], answer.headers["access-control-allow-headers"]),
                             (204, "https://tool.example.org", "authorization,x-amz-date"))
            self.assertIn("PUT", answer.headers["access-control-allow-methods"])
            self.assertNotIn("access-control-allow-credentials", answer.headers)
            stranger = server.send("OPTIONS", target, headers=ask | {"Origin": "https://evil.example.org"})
            self.assertNotIn("access-control-allow-origin", stranger.headers)
        answer = server.rest("GET", "/repositories", headers={"Origin": "https://other.example.org"})
        self.assertEqual((answer.status, answer.headers["access-control-allow-origin"], answer.headers["vary"]), (200, "https://other.example.org", "Origin"))
        refused = server.rest("GET", "/repositories", keys=None, headers={"Origin": "https://other.example.org"})
        self.assertEqual((refused.status, refused.headers["access-control-allow-origin"]), (401, "https://other.example.org"))


class SetUpTest(LakeTest):
    def test_setup_at_once(self):
        """Of eight who set a new lake up at once one is its first user, and nobody else is anybody."""
        server = Lake(self.scratch, "fresh", keys=None, LAKEFUSE_INSTALLATION_MAKE_FIRST_USER="false").start()
        self.addCleanup(server.kill)
        self.assertEqual(server.ask("GET", "/setup_lakefs", keys=None).json["state"], "not_initialized")
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda n: server.rest("POST", "/setup_lakefs", keys=None, json_body={"username": f"user-{n}"}), range(8)))
        self.assertEqual(sorted(answer.status for answer in answers), [200] + [409] * 7)
        made = next(answer.json for answer in answers if answer.status == 200)
        keys = (made["access_key_id"], made["secret_access_key"])
        users = [user["id"] for user in server.ask("GET", "/auth/users", keys=keys).json["results"]]
        self.assertEqual(users, [server.ask("GET", "/user", keys=keys).json["user"]["id"]])
        self.assertEqual(server.ask("GET", "/setup_lakefs", keys=None).json["state"], "initialized")
