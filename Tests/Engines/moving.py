"""Lakes on every engine: lakeFS's own database opens and is handed back, records move between engines, stores have ids,
clients read and write by addresses that the stores signed.

Run by `run.sh` under `engines.py`, which starts the engines."""
import gzip
import hashlib
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tarfile
import threading
import time
import unittest
import urllib.parse
import urllib.request
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from unittest import mock

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "EndToEnd"))
import lake as lakes  # noqa: E402
from lake import wait_until  # noqa: E402

FOLDER = None
SHARED = pathlib.Path(__file__).resolve().parents[3] / "shared"


def engine(name):
    return os.environ["ENGINE_" + name]


RECORDS = {
    "sqlite": lambda: {},
    "postgres": lambda: {"database": {"type": "postgres", "postgres": {
        "connection_string": engine("POSTGRES") + "&lakefskv_table=t" + uuid.uuid4().hex[:12]}}},
    "dynamodb": lambda: {"database": {"type": "dynamodb", "dynamodb": {
        "endpoint": engine("MINISTACK"), "aws_access_key_id": engine("MINISTACK_KEY"), "aws_region": "us-east-1",
        "aws_secret_access_key": engine("MINISTACK_SECRET"), "table_name": "t" + uuid.uuid4().hex[:12]}}},
    "cosmosdb": lambda: {"database": {"type": "cosmosdb", "cosmosdb": {
        "endpoint": engine("COSMOS"), "key": engine("COSMOS_KEY"), "database": "lakedatabase",
        "container": "c" + uuid.uuid4().hex[:12]}}},
}


def s3(name):
    return {"type": "s3", "s3": {
        "endpoint": engine(name), "region": "us-east-1", "credentials": {
            "access_key_id": engine(name + "_KEY"), "secret_access_key": engine(name + "_SECRET")}}}


def gcs(key_file):
    return {"type": "gs", "gs": {"endpoint": engine("GCS"), "credentials_file": str(key_file)}}


def azure():
    return {"type": "azure", "azure": {
        "storage_account": engine("AZURE_ACCOUNT"), "storage_access_key": engine("AZURE_KEY"),
        "test_endpoint_url": f"{engine('AZURE')}/{engine('AZURE_ACCOUNT')}"}}


def azure_namespace(name):
    return f"https://{engine('AZURE_ACCOUNT')}.blob.core.windows.net/lake/{name}"


class Server:
    """A lakefuse with a configuration file of its own."""

    def __init__(self, name, *sections, secret="the secret"):
        configuration = {"auth": {"encrypt": {"secret_key": secret}}}
        for section in sections:
            configuration |= section
        self.lake = lakes.Lake(FOLDER, f"{name}-{uuid.uuid4().hex[:8]}")
        configuration["data"] = str(self.lake.data)
        self.file = FOLDER / f"{self.lake.data.name}.yaml"
        self.file.write_text(json.dumps(configuration))  # JSON is YAML

    def start(self):
        self.lake.start("--config", self.file)
        return self.lake


def command(*words, expect=0):
    done = subprocess.run(
        [lakes.BINARY, *map(str, words)], capture_output=True, text=True, timeout=120,
        env={"PATH": os.environ["PATH"], "HOME": str(FOLDER)})
    if done.returncode != expect:
        raise AssertionError(f"lakefuse {words}: {done.returncode} {done.stdout} {done.stderr}")
    return done


def create(made, namespace, **more):
    name = "r" + uuid.uuid4().hex[:12]
    made.ask("POST", "/repositories", 201, json_body={"name": name, "storage_namespace": namespace + name, **more})
    return name


def fetch(url, method="GET", body=None, headers=()):
    request = urllib.request.Request(url, data=body, method=method, headers=dict(headers))
    with urllib.request.urlopen(request, timeout=30) as answer:
        return answer.status, answer.read(), dict(answer.headers)


def work(made, repository, rounds=6):
    """Some of everything that a lake keeps records of."""
    for number in range(rounds):
        made.upload(repository, "main", f"dir {number}/x", f"{number}".encode())
        made.upload(repository, "main", "same", f"same {number}".encode())
        if number % 2:
            made.commit(repository, "main", f"commit {number}")
    made.ask("POST", f"/repositories/{repository}/branches", 201, json_body={"name": "side", "source": "main"})
    made.upload(repository, "side", "on side", b"s")
    made.commit(repository, "side", "side")
    made.ask("POST", f"/repositories/{repository}/refs/side/merge/main", 200, json_body={})
    made.ask("POST", f"/repositories/{repository}/tags", 201, json_body={"id": "v1", "ref": "main"})
    made.upload(repository, "main", "uncommitted", b"u")


def shown(made, repository):
    everything = {}
    for ref in ("main", "side", "v1"):
        everything[ref] = {path: made.get(repository, ref, path) for path in made.list(repository, ref)}
    everything["log"] = [commit["id"] for commit in made.ask(
        "GET", f"/repositories/{repository}/refs/main/commits", amount=100).json["results"]]
    everything["diff"] = made.uncommitted(repository, "main")
    return everything


class Records(unittest.TestCase):
    def test_a_lake_on_every_engine_and_moved_to_every_other(self):
        here = Server("first", {"blockstore": s3("MINISTACK")})
        made = here.start()
        repository = create(made, "s3://lake/")
        work(made, repository)
        before = shown(made, repository)
        made.stop()
        for name in ("postgres", "dynamodb", "cosmosdb", "sqlite"):
            there = Server(name, RECORDS[name](), {"blockstore": s3("MINISTACK")})
            said = command("kv", "copy", "--from", here.file, "--to", there.file).stdout
            self.assertIn("copied", said)
            again = command("kv", "copy", "--from", here.file, "--to", there.file).stdout
            self.assertIn("copied 0 records", again)
            made = there.start()
            self.assertEqual(before, shown(made, repository), name)
            made.upload(repository, "main", "after", name.encode())
            made.commit(repository, "main", f"on {name}")
            self.assertEqual(name.encode(), made.get(repository, "main", "after"))
            before = shown(made, repository)
            made.stop()
            here = there

    def test_a_copy_does_not_write_over_another_lake(self):
        here, there = Server("one"), Server("other", RECORDS["postgres"]())
        made = here.start()
        create(made, "local://")
        made.stop()
        made = there.start()
        create(made, "local://")
        made.stop()
        said = command("kv", "copy", "--from", here.file, "--to", there.file, expect=1).stderr
        self.assertEqual(1, len(said.strip().splitlines()))
        self.assertIn("--force", said)
        command("kv", "copy", "--from", here.file, "--to", there.file, "--force")
        command("kv", "copy", "--from", there.file, "--to", here.file)


@unittest.skipUnless(SHARED.exists(), "no ../shared beside this clone")
class LakeFSOwn(unittest.TestCase):
    """A database and a block store that a lakeFS 1.84 left behind when it was killed."""

    @classmethod
    def setUpClass(cls):
        cls.fixtures = SHARED / "fixtures"
        cls.database = "lakefs" + uuid.uuid4().hex[:8]
        address = urllib.parse.urlsplit(engine("POSTGRES"))
        cls.environment = {**os.environ, "PGPASSWORD": address.password}
        cls.psql = ["psql", "-q", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1", "-p", str(address.port), "-U", "lake"]
        subprocess.run([*cls.psql, "postgres", "-c", f"create database {cls.database}"], check=True,
                       env=cls.environment)
        dump = gzip.decompress((cls.fixtures / "kv/postgres/lakefs.sql.gz").read_bytes())
        subprocess.run([*cls.psql, cls.database], input=dump, check=True, env=cls.environment,
                       stdout=subprocess.DEVNULL)
        objects = FOLDER / "lakefs-objects"
        for archive in (cls.fixtures / "repositories").glob("*/namespace.tar.gz"):
            with tarfile.open(archive) as file:
                file.extractall(FOLDER / "unpacked" / archive.parent.name, filter="data")
        cls.objects = objects
        cls.address = engine("POSTGRES").replace("/postgres?", f"/{cls.database}?")

    def server(self, name):
        return Server(
            name, {"database": {"type": "postgres", "postgres": {"connection_string": self.address}},
                   "blockstore": {"type": "local", "local": {"path": str(self.objects)}}},
            secret="some-secret-for-tests")

    def place_objects(self):
        for folder in (FOLDER / "unpacked").iterdir():
            found = list(folder.rglob("_lakefs"))
            if found:
                target = self.objects / f"fx-{folder.name}"
                if not target.exists():
                    shutil.copytree(found[0].parent, target)

    def test_it_opens_and_is_handed_back(self):
        self.place_objects()
        rows = [json.loads(line) for line in (self.fixtures / "kv/postgres/kv.jsonl").read_text().splitlines()]
        made = self.server("lakefs-own")
        made.lake.keys = ("AKIAIOSFDNN7EXAMPLEQ", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
        running = made.start()
        names = {r["id"] for r in running.ask("GET", "/repositories", amount=100).json["results"]}
        self.assertLessEqual({"fx-graph", "fx-kv", "fx-readonly", "fx-bare"}, names)
        checked = 0
        for folder in (self.fixtures / "repositories").iterdir():
            expected = folder / "expected.json"
            repository = f"fx-{folder.name}"
            if not expected.exists() or repository not in names:
                continue
            for branch in json.loads(expected.read_text())["branches"]:
                told = running.ask("GET", f"/repositories/{repository}/branches/{branch['id']}").json
                self.assertEqual(branch["commit_id"], told["commit_id"])
                for path in running.list(repository, branch["id"]):
                    # A fault of lakeFS's (README.md of the fixture); entries without bytes, or of files outside.
                    if path != "linked" and folder.name not in ("ranges", "import"):
                        running.get(repository, branch["id"], path)
                checked += 1
        self.assertGreater(checked, 10)
        # What a killed server left is taken up: a commit of what was sealed and of what was open.
        answer = running.rest("POST", "/repositories/fx-kv/branches/sealed-1/commits", json_body={"message": "m"})
        self.assertIn(answer.status, (201, 412), answer)
        running.stop()
        # All other records are as they were, to the byte.
        select = "select encode(partition_key,'hex'), encode(key,'hex'), encode(value,'hex') from kv"
        done = subprocess.run([*self.psql, "-t", "-A", "-F", " ", self.database, "-c", select], check=True,
                              env=self.environment, capture_output=True, text=True).stdout
        now = {tuple(line.split(" ")[:2]): line.split(" ")[2] for line in done.splitlines() if line}
        same = different = 0
        for row in rows:
            key = (row["partition"].encode().hex(), row["key"].encode().hex() if isinstance(row["key"], str) else "")
            if now.get(key) == row["value"]:
                same += 1
            else:
                different += 1
        self.assertGreater(same, 180, f"{same} records are as they were, {different} are not")
        kind = subprocess.run([*self.psql, "-t", "-A", self.database, "-c",
                               "select count(*) from pg_inherits where inhparent = 'kv'::regclass"], check=True,
                              env=self.environment, capture_output=True, text=True).stdout.strip()
        self.assertEqual("100", kind)


class Stores(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.key_file = FOLDER / "google.json"
        pem = subprocess.run(["openssl", "genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"],
                             check=True, capture_output=True, text=True).stdout
        # Any token will do there: the double of this test gives one.

        class Tokens(BaseHTTPRequestHandler):
            def do_POST(self):
                self.rfile.read(int(self.headers["Content-Length"]))
                body = json.dumps({"access_token": "t", "expires_in": 3600, "token_type": "Bearer"}).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass
        cls.tokens = ThreadingHTTPServer(("127.0.0.1", 0), Tokens)
        threading.Thread(target=cls.tokens.serve_forever, daemon=True).start()
        cls.key_file.write_text(json.dumps({
            "type": "service_account", "client_email": "lake@project.iam.gserviceaccount.com", "private_key": pem,
            "private_key_id": "1", "token_uri": f"http://127.0.0.1:{cls.tokens.server_address[1]}/token"}))
        cls.made = Server("stores", {"blockstores": {"stores": [
            {"id": "files", "type": "local", "description": "on this disk"},
            {"id": "main", "backward_compatible": True} | s3("MINISTACK"),
            {"id": "fast"} | s3("SEAWEEDFS"), {"id": "google"} | gcs(cls.key_file), {"id": "azure"} | azure(),
        ]}}).start()

    @classmethod
    def tearDownClass(cls):
        cls.made.stop()
        cls.tokens.shutdown()

    NAMESPACES = {"files": "local://", "main": "s3://lake/", "fast": "s3://lake/", "google": "gs://lake/"}

    def create(self, store):
        namespace = azure_namespace("") if store == "azure" else self.NAMESPACES[store]
        return create(self.made, namespace, storage_id=store)

    def test_each_repository_is_in_its_store(self):
        made = self.made
        config = made.ask("GET", "/config").json
        self.assertEqual(["main", "files", "fast", "google", "azure"],
                         [store["blockstore_id"] for store in config["storage_config_list"]])
        for store in ("files", "main", "fast", "google", "azure"):
            with self.subTest(store):
                repository = self.create(store)
                self.assertEqual(store, made.ask("GET", f"/repositories/{repository}").json["storage_id"])
                work(made, repository)
                large = os.urandom(20 << 20)
                made.upload(repository, "main", "large", large)
                self.assertEqual(hashlib.sha256(large).digest(),
                                 hashlib.sha256(made.get(repository, "main", "large")).digest())
                made.commit(repository, "main", "large")
                self.assertEqual(b"same 5", made.get(repository, "main", "same"))
                made.ask("DELETE", f"/repositories/{repository}", 204)
        answer = made.rest("POST", "/repositories", json_body={
            "name": "nowhere", "storage_namespace": "s3://lake/nowhere", "storage_id": "other"})
        self.assertEqual(400, answer.status)
        self.assertIn(b"files", answer.body)
        self.assertEqual(400, made.rest("POST", "/repositories", json_body={
            "name": "wrong", "storage_namespace": "gs://lake/wrong", "storage_id": "fast"}).status)

    def test_copies_between_stores(self):
        made = self.made
        source = self.create("main")
        body = os.urandom(12 << 20)
        made.upload(source, "main", "a", body)
        for store in ("files", "fast", "google", "azure"):
            target = self.create(store)
            # A copy is of one repository over REST; S3 copies from any to any.
            environment = {**os.environ, "AWS_ACCESS_KEY_ID": lakes.KEY, "AWS_SECRET_ACCESS_KEY": lakes.SECRET}
            subprocess.run([sys.executable, "-c", f"""
import boto3
boto3.client("s3", endpoint_url="{made.endpoint}", region_name="us-east-1").copy_object(
    Bucket="{target}", Key="main/b", CopySource="{source}/main/a")
"""], check=True, env=environment)
            self.assertEqual(body, made.get(target, "main", "b"), store)

    def test_presigned_by_the_store(self):
        made = self.made
        hosts = {"main": engine("MINISTACK"), "fast": engine("SEAWEEDFS"), "azure": engine("AZURE"),
                 "files": made.endpoint}
        for store, host in hosts.items():
            with self.subTest(store):
                repository = self.create(store)
                made.upload(repository, "main", "a b", b"0123456789")
                base = f"/repositories/{repository}/branches/main"
                stat = made.ask("GET", f"/repositories/{repository}/refs/main/objects/stat", path="a b",
                                presign="true").json
                self.assertTrue(stat["physical_address"].startswith(host), stat)
                self.assertEqual(b"0123456789", fetch(stat["physical_address"])[1])
                redirect = made.rest("GET", f"/repositories/{repository}/refs/main/objects", path="a b",
                                     presign="true")
                self.assertEqual(302, redirect.status)
                self.assertEqual(b"0123456789", fetch(redirect.headers["location"])[1])
                place = made.ask("GET", f"{base}/staging/backing", path="direct", presign="true").json
                headers = {"x-ms-blob-type": "BlockBlob"} if store == "azure" else {}
                self.assertIn(fetch(place["presigned_url"], "PUT", b"by the client", headers)[0], (200, 201))
                made.ask("PUT", f"{base}/staging/backing", 200, path="direct", json_body={
                    "staging": place, "checksum": hashlib.md5(b"by the client").hexdigest(), "size_bytes": 13})
                self.assertEqual(b"by the client", made.get(repository, "main", "direct"))

    def test_presigned_parts(self):
        made = self.made
        for store in ("main", "fast", "files", "azure"):
            with self.subTest(store):
                repository = self.create(store)
                base = f"/repositories/{repository}/branches/main/staging/pmpu"
                begun = made.ask("POST", base, 201, path="parted", parts=2).json
                parts, tags = [os.urandom(5 << 20), b"last"], []
                for number, (url, part) in enumerate(zip(begun["presigned_urls"], parts), 1):
                    _, _, headers = fetch(url, "PUT", part)
                    tags.append({"part_number": number, "etag": {k.lower(): v for k, v in headers.items()}["etag"]})
                made.ask("PUT", f"{base}/{begun['upload_id']}", 200, path="parted", json_body={
                    "physical_address": begun["physical_address"], "parts": tags})
                self.assertEqual(parts[0] + parts[1], made.get(repository, "main", "parted"))
                begun = made.ask("POST", base, 201, path="dropped", parts=1).json
                made.ask("DELETE", f"{base}/{begun['upload_id']}", 204, path="dropped",
                         json_body={"physical_address": begun["physical_address"]})

    def test_google_signs_as_its_own_library(self):
        from google.cloud import storage
        from google.oauth2 import service_account
        made = self.made
        repository = self.create("google")
        made.upload(repository, "main", "a b+ä", b"x")
        stat = made.ask("GET", f"/repositories/{repository}/refs/main/objects/stat", path="a b+ä",
                        presign="true").json
        ours = urllib.parse.urlsplit(stat["physical_address"])
        query = dict(urllib.parse.parse_qsl(ours.query, keep_blank_values=True))
        credentials = service_account.Credentials.from_service_account_file(str(self.key_file))
        client = storage.Client(project="p", credentials=credentials,
                                client_options={"api_endpoint": engine("GCS")})
        path = urllib.parse.unquote(ours.path).removeprefix("/lake/")
        import datetime
        when = datetime.datetime.strptime(query["X-Goog-Date"], "%Y%m%dT%H%M%SZ").replace(
            tzinfo=datetime.timezone.utc)
        with mock.patch("google.cloud.storage._signing._NOW", return_value=when), \
                mock.patch("google.cloud.storage._signing.get_v4_now_dtstamps",
                           return_value=(query["X-Goog-Date"], query["X-Goog-Date"][:8])):
            theirs = client.bucket("lake").blob(path).generate_signed_url(
                version="v4", expiration=int(query["X-Goog-Expires"]), method="GET",
                api_access_endpoint=engine("GCS"), response_type=query.get("response-content-type"))
        expected = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(theirs).query, keep_blank_values=True))
        self.assertEqual(expected, query)

    def test_imports_from_the_store(self):
        made = self.made
        for store, source in (("main", "s3://lake/import-me/"), ("fast", "s3://lake/import-me/"),
                              ("google", "gs://lake/import-me/"), ("azure", azure_namespace("import-me/"))):
            with self.subTest(store):
                other = self.create(store)
                address = made.ask("GET", f"/repositories/{other}").json["storage_namespace"]
                for number in range(30):
                    made.upload(other, "main", f"f{number}", f"{number}".encode())
                repository = self.create(store)
                begun = made.ask("POST", f"/repositories/{repository}/branches/main/import", 202, json_body={
                    "paths": [{"path": f"{address}/data/", "destination": "in/", "type": "common_prefix"}],
                    "commit": {"message": "import"}}).json
                status = {}

                def is_over():
                    nonlocal status
                    status = made.ask("GET", f"/repositories/{repository}/branches/main/import", id=begun["id"]).json
                    return status["completed"] or status.get("error")
                wait_until(is_over, 30, "the import")
                self.assertTrue(status["completed"], status)
                paths = made.list(repository, "main", "in/")
                self.assertEqual(30, len(paths))
                self.assertEqual(sorted(f"{n}".encode() for n in range(30)),
                                 sorted(made.get(repository, "main", path) for path in paths))


class KeyPairs(unittest.TestCase):
    """Where a key pair of AWS may come from, and that it is fetched anew before it ends."""

    @classmethod
    def setUpClass(cls):
        cls.asked = asked = []
        key, secret = engine("MINISTACK_KEY"), engine("MINISTACK_SECRET")

        class Double(BaseHTTPRequestHandler):
            def reply(self, body):
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body.encode())

            @staticmethod
            def end():
                return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 303))

            def told(self):
                return json.dumps({"AccessKeyId": key, "SecretAccessKey": secret, "Token": "", "Expiration": self.end()})

            def do_GET(self):
                asked.append(self.path)
                if self.path.endswith("security-credentials/"):
                    return self.reply("the-role\n")
                if self.path == "/container" and self.headers["Authorization"] != "container token":
                    return self.send_error(401)
                self.reply(self.told())

            def do_PUT(self):
                asked.append(self.path)
                self.reply("machine token")

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                action = dict(urllib.parse.parse_qsl(body))["Action"]
                asked.append(action)
                self.reply(f"<{action}Response><{action}Result><Credentials><AccessKeyId>{key}</AccessKeyId>"
                           f"<SecretAccessKey>{secret}</SecretAccessKey><SessionToken></SessionToken>"
                           f"<Expiration>{self.end()}</Expiration></Credentials></{action}Result></{action}Response>")

            def log_message(self, *_):
                pass
        cls.double = ThreadingHTTPServer(("127.0.0.1", 0), Double)
        threading.Thread(target=cls.double.serve_forever, daemon=True).start()
        cls.address = f"http://127.0.0.1:{cls.double.server_address[1]}"

    @classmethod
    def tearDownClass(cls):
        cls.double.shutdown()

    def check(self, environment, wanted=None, seconds=0, **more):
        self.asked.clear()
        made = lakes.Lake(FOLDER, "keys-" + uuid.uuid4().hex[:8], **environment)
        file = FOLDER / f"{made.data.name}.yaml"
        file.write_text(json.dumps({
            "data": str(made.data), "blockstore": {"type": "s3", "s3": {
                "endpoint": engine("MINISTACK"), "region": "us-east-1"} | more}}))
        made.start("--config", file)
        repository = create(made, "s3://lake/")
        made.upload(repository, "main", "a", b"x" * 100_000)
        end = time.monotonic() + seconds
        number = 0
        while time.monotonic() < end:
            number += 1
            made.upload(repository, "main", f"a{number}", b"x")
            time.sleep(0.2)
        made.stop()
        if wanted:
            self.assertIn(wanted, self.asked)
        return list(self.asked)

    def test_environment_and_profiles(self):
        key, secret = engine("MINISTACK_KEY"), engine("MINISTACK_SECRET")
        self.check({"AWS_ACCESS_KEY_ID": key, "AWS_SECRET_ACCESS_KEY": secret})
        file = FOLDER / "profiles"
        file.write_text(f"[default]\naws_access_key_id = nobody\naws_secret_access_key=wrong\n# of the lake\n"
                        f"[lake]\naws_access_key_id={key}\naws_secret_access_key = {secret}\n"
                        f"[role]\nrole_arn = arn:aws:iam::1:role/r\nsource_profile = lake\n")
        self.check({}, credentials_file=str(file), profile="lake")
        self.check({}, "AssumeRole", credentials_file=str(file), profile="role", sts_endpoint=self.address)
        self.check({"AWS_SHARED_CREDENTIALS_FILE": str(file), "AWS_PROFILE": "lake"})

    def test_services(self):
        token = FOLDER / "token"
        token.write_text("a web identity")
        self.check({"AWS_WEB_IDENTITY_TOKEN_FILE": str(token), "AWS_ROLE_ARN": "arn:aws:iam::1:role/r",
                    "AWS_ENDPOINT_URL_STS": self.address}, "AssumeRoleWithWebIdentity")
        self.check({"AWS_CONTAINER_CREDENTIALS_FULL_URI": self.address + "/container",
                    "AWS_CONTAINER_AUTHORIZATION_TOKEN": "container token"}, "/container")
        asked = self.check({"AWS_EC2_METADATA_SERVICE_ENDPOINT": self.address},
                           "/latest/meta-data/iam/security-credentials/the-role", seconds=8)
        # It ends 303 seconds later, and is fetched anew 300 before that.
        self.assertGreaterEqual(asked.count("/latest/meta-data/iam/security-credentials/the-role"), 2, asked)


if __name__ == "__main__":
    FOLDER = lakes.work_folder("moving")
    unittest.main(verbosity=2)
