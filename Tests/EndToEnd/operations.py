"""What REST has beside the operations of lakeFS's open edition, and what all of it is described by."""
import base64
import http.client
import io
import os
import re
import subprocess
import sys
import tarfile
import time
import unittest
import urllib.request
import zipfile

import pyarrow.parquet

from clients import LakeTest
from lake import ROOT, wait_until

DESCRIPTION = ROOT.parent / "shared/reference/lakefs-openapi/swagger.yml"


class DescriptionTest(LakeTest):
    def test_generated(self):
        """The generated files are what the description makes; and that is lakeFS's, where it is at hand."""
        generator = ROOT / "Description/generate.py"
        done = subprocess.run([sys.executable, generator, "--check"], capture_output=True, text=True)
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "", ""))
        if not DESCRIPTION.exists():
            raise unittest.SkipTest(f"{DESCRIPTION} is not here: the project's own copy is not held against it")
        done = subprocess.run([sys.executable, generator, "--differs", DESCRIPTION], capture_output=True, text=True)
        self.assertEqual((done.returncode, done.stdout), (0, ""))

    def test_served(self):
        """/openapi.json has every operation, to anybody."""
        answer = self.lake.send("GET", "/openapi.json")
        self.assertEqual((answer.status, answer.headers["content-type"]), (200, "application/json"))
        operations = {operation["operationId"] for item in answer.json["paths"].values() for operation in item.values()
                      if isinstance(operation, dict)}
        self.assertLessEqual({"commit", "commitAsync", "getObjectsArchive", "mount"}, operations)
        self.assertEqual(answer.json["info"]["title"], "lakeFS API")

    def test_wrong_requests(self):
        """What the description does not allow is told with its place, before anything is looked up."""
        for method, path, body, more, said in (
                ("POST", "/repositories/none/branches", {"name": 1, "source": "main"}, {}, 'Error at "/name": value must be a string'),
                ("POST", "/repositories/none/branches", {"name": "a"}, {}, 'property "source" is missing'),
                ("PUT", "/repositories/none/branches/main", {"type": "all"}, {}, 'Error at "/type": value is not one of the allowed values'),
                ("POST", "/auth/policies", {"id": "p", "statement": []}, {}, 'Error at "/statement": minimum number of items is 1'),
                ("POST", "/statistics", {"events": [{"class": "c", "name": "n", "count": 1.5}]}, {}, "value must be an integer"),
                ("GET", "/repositories/none/branches", None, {"amount": 1001}, "number must be at most 1000"),
                ("GET", "/repositories/none/branches", None, {"show_hidden": "perhaps"}, "is not a boolean"),
                ("GET", "/repositories/none/pulls", None, {"status": "ajar"}, "value must be one of"),
                ("GET", "/repositories/none/refs/main/commits", None, {"since": "yesterday"}, "RFC 3339")):
            answer = self.lake.rest(method, path, json_body=body, **more)
            self.assertEqual(answer.status, 400, (path, answer))
            self.assertIn(said, answer.json["message"])


class NestedTest(LakeTest):
    def test_nested_deep(self):
        """Values within values, as deep as a stack can bear, from somebody nobody knows: refused, and the server lives on."""
        for opened, closed in (('{"a":', "}"), ("[", "]")):
            deep = opened * 500 + "1" + closed * 500
            for path, body in (("/auth/external/principal/login", f'{{"identityRequest":{{"x":{deep}}}}}'),
                               ("/sts/login", f'{{"code":"a","state":"b","redirect_uri":"c","ttl_seconds":1.5,"zz":{deep}}}')):
                answer = self.lake.rest("POST", path, keys=None, body=body, headers={"Content-Type": "application/json"})
                self.assertEqual(answer.status, 400)
                self.assertIn("nested deeper", answer.json["message"])
        twice = self.lake.rest("POST", "/auth/users", body='{"id":"a","id":"b"}', headers={"Content-Type": "application/json"})
        self.assertEqual((twice.status, "twice" in twice.json["message"]), (400, True))
        self.lake.ask("GET", "/user")


class MetricsTest(LakeTest):
    def test_metrics(self):
        """Prometheus' own tool is content, and what was done is counted."""
        def metrics():
            return self.lake.send("GET", "/metrics").body.decode()

        def value(name):
            return float(re.search(rf"^{re.escape(name)} (\S+)$", metrics(), re.M)[1])
        bucket = self.repository()
        before = value("lakefuse_staged_entries_total")
        for n in range(3):
            self.s3_put(bucket, f"main/{n}", b"1")
        self.assertEqual(value("lakefuse_staged_entries_total"), before + 3)
        done = subprocess.run(["promtool", "check", "metrics"], input=metrics(), capture_output=True, text=True)
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "", ""))


class TasksTest(LakeTest):
    def done(self, path):
        wait_until(lambda: self.lake.ask("GET", path).json["completed"], 20, path)
        return self.lake.ask("GET", path).json

    def test_commit(self):
        bucket = self.repository()
        at = f"/repositories/{bucket}/branches/main/commits/async"
        self.lake.upload(bucket, "main", "a", b"1")
        begun = self.lake.ask("POST", at, 202, json_body={"message": "later", "metadata": {"k": "v"}}).json["id"]
        status = self.done(f"{at}/{begun}/status")
        self.assertEqual((status["task_id"], status["result"]["message"], status["result"]["metadata"]), (begun, "later", {"k": "v"}))
        self.assertEqual(self.lake.ask("GET", f"/repositories/{bucket}/branches/main").json["commit_id"], status["result"]["id"])
        # Nothing to commit: it is told by the status, as the call itself would have.
        again = self.lake.ask("POST", at, 202, json_body={"message": "nothing"}).json["id"]
        status = self.done(f"{at}/{again}/status")
        self.assertEqual((status["status_code"], "result" in status), (400, False))
        self.assertTrue(status["error"]["message"])
        self.lake.ask("GET", f"{at}/none/status", 404)
        self.lake.ask("POST", f"/repositories/{bucket}/branches/none/commits/async", 404, json_body={"message": "m"})

    def test_merge(self):
        bucket = self.repository()
        self.lake.ask("POST", f"/repositories/{bucket}/branches", 201, json_body={"name": "work", "source": "main"})
        for branch, path in (("work", "a"), ("work", "both"), ("main", "both")):
            self.lake.upload(bucket, branch, path, branch.encode())
        for branch in ("work", "main"):
            self.lake.commit(bucket, branch)
        at = f"/repositories/{bucket}/refs/work/merge/main/async"
        conflict = self.done(f"{at}/{self.lake.ask('POST', at, 202).json['id']}/status")
        self.assertEqual(conflict["status_code"], 409)
        merged = self.done(f"{at}/{self.lake.ask('POST', at, 202, json_body={'strategy': 'source-wins'}).json['id']}/status")
        self.assertEqual(self.lake.ask("GET", f"/repositories/{bucket}/branches/main").json["commit_id"], merged["result"]["reference"])
        self.assertEqual(self.lake.get(bucket, "main", "both"), b"work")


class CommentsTest(LakeTest):
    def test_comments(self):
        """A thread: said, answered, changed, resolved, taken back; by others only read."""
        bucket = self.repository()
        self.lake.ask("POST", f"/repositories/{bucket}/branches", 201, json_body={"name": "work", "source": "main"})
        pull = self.lake.ask("POST", f"/repositories/{bucket}/pulls", 201, json_body={
            "title": "t", "source_branch": "work", "destination_branch": "main"}).json["id"]
        at = f"/repositories/{bucket}/pulls/{pull}/comments"
        first = self.lake.ask("POST", at, 201, json_body={"body": "why?"}).json["id"]
        reply = self.lake.ask("POST", at, 201, json_body={"body": "because", "parent_id": first}).json["id"]
        found = self.lake.ask("GET", at).json["results"]
        self.assertEqual([(c["id"], c["body"], c.get("parent_id"), c["author"]) for c in found],
                         [(first, "why?", None, "admin"), (reply, "because", first, "admin")])
        self.lake.ask("PATCH", f"{at}/{reply}", 204, json_body={"body": "therefore"})
        self.lake.ask("PATCH", f"{at}/{reply}", 400, json_body={"resolved": True})
        self.lake.ask("PATCH", f"{at}/{first}", 204, json_body={"resolved": True})
        self.assertEqual(self.lake.ask("GET", f"{at}/{first}").json["resolved_by"], "admin")
        self.lake.ask("DELETE", f"{at}/{first}", 204)
        gone = self.lake.ask("GET", f"{at}/{first}").json
        self.assertEqual((gone["deleted"], gone["body"]), (True, ""))
        self.assertEqual(self.lake.ask("GET", f"{at}/{reply}").json["body"], "therefore")
        for body, status in (({"body": ""}, 400), ({"body": "x", "parent_id": "none"}, 400), ({"body": "x" * 20_000}, 400)):
            self.lake.ask("POST", at, status, json_body=body)
        self.lake.ask("GET", f"{at}/none", 404)
        page = self.lake.ask("GET", at, amount=1).json
        self.assertEqual((len(page["results"]), page["pagination"]["has_more"]), (1, True))


class MailboxTest(LakeTest):
    def test_login_by_a_browser(self):
        """A program gets the token that somebody who is logged in releases for it: once, and nobody else."""
        begun = self.lake.rest("GET", "/auth/get-token/start", keys=None)
        self.assertEqual(begun.status, 303)
        mailbox, address = begun.headers["x-lakefs-mailbox"], begun.headers["location"]
        self.lake.ask("GET", f"/auth/get-token/mailboxes/{mailbox}", 404, keys=None)
        self.assertEqual(self.lake.send("GET", address).status, 401)
        self.lake.ask("GET", address.removeprefix("/api/v1"), 204)
        token = self.lake.ask("GET", f"/auth/get-token/mailboxes/{mailbox}", keys=None).json["token"]
        bearer = {"Authorization": f"Bearer {token}"}
        self.assertEqual(self.lake.ask("GET", "/user", keys=None, headers=bearer).json["user"]["id"], "admin")
        self.lake.ask("GET", f"/auth/get-token/mailboxes/{mailbox}", 404, keys=None)
        self.lake.ask("GET", "/auth/get-token/release-token/nonsense", 400)
        # The token of a session is no login request, nor the other way round.
        self.lake.ask("GET", f"/auth/get-token/release-token/{token}", 400)
        wrong = {"Authorization": f"Bearer {address.rsplit('/', 1)[1]}"}
        self.assertEqual(self.lake.rest("GET", "/user", keys=None, headers=wrong).status, 401)
        self.assertNotIn(mailbox, self.lake.log.read_text())

    def test_a_person_is_asked(self):
        """Who follows a link in a browser lets nobody in by that; a page of ours asks, and its form does."""
        begun = self.lake.rest("GET", "/auth/get-token/start", keys=None)
        mailbox, address = f"/auth/get-token/mailboxes/{begun.headers['x-lakefs-mailbox']}", begun.headers["location"]
        login = self.lake.ask("POST", "/auth/login", keys=None, json_body=dict(zip(("access_key_id", "secret_access_key"), self.lake.keys)))
        cookie = {"Cookie": login.headers["set-cookie"].split(";")[0]}
        asked = self.lake.send("GET", address, headers=cookie)
        self.assertEqual((asked.status, asked.headers["content-type"], asked.headers["x-frame-options"]), (200, "text/html; charset=utf-8", "DENY"))
        self.assertIn("<b>admin</b>", asked.body.decode())
        self.lake.ask("GET", mailbox, 404, keys=None)
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        for origin in ({}, {"Origin": "https://evil.example.org"}, {"Origin": "null"}):
            self.assertEqual(self.lake.send("POST", address, headers=cookie | form | origin).status, 400)
        self.assertEqual(self.lake.send("POST", address, headers=cookie | form | {"Origin": self.lake.endpoint}).status, 200)
        # It is the session itself: who logs out ends it for the program too.
        token = self.lake.ask("GET", mailbox, keys=None).json["token"]
        bearer = {"Authorization": f"Bearer {token}"}
        self.lake.ask("GET", "/repositories", keys=None, headers=bearer)
        self.lake.send("GET", "/logout", headers=cookie)
        self.assertEqual(self.lake.rest("GET", "/repositories", keys=None, headers=bearer).status, 401)


class BoundsTest(LakeTest):
    def test_bounds(self):
        """What may be said of an object is bounded."""
        bucket = self.repository()
        at, path = f"/repositories/{bucket}/branches/main", {"path": "a"}
        self.lake.upload(bucket, "main", "a", b"1")
        large, fits = {"k": "x" * 8192}, {"k": "x" * 8191}
        self.lake.ask("PUT", f"{at}/objects/stat/user_metadata", 400, json_body={"set": large}, **path)
        self.lake.ask("PUT", f"{at}/objects/stat/user_metadata", 204, json_body={"set": fits}, **path)
        for headers, status in (({"x-lakefs-meta-k": "x" * 8192}, 400), ({"x-lakefs-meta-k": "x" * 8191}, 201), ({"Content-Type": "x/" + "y" * 1100}, 400)):
            self.lake.ask("POST", f"{at}/objects", status, body=b"2", headers=headers, **path)
        address = self.lake.ask("GET", f"{at}/staging/backing", **path).json["physical_address"]
        link = {"staging": {"physical_address": address}, "checksum": "c", "size_bytes": 1}
        for wrong in ({"user_metadata": large}, {"content_type": "a\nb"}, {"checksum": "x" * 300}, {"size_bytes": 1 << 60}):
            self.lake.ask("PUT", f"{at}/staging/backing", 400, json_body=link | wrong, **path)
        self.lake.ask("PUT", f"{at}/staging/backing", 200, json_body=link | {"user_metadata": fits}, **path)


class ArchiveTest(LakeTest):
    def fetch(self, bucket, ref="main", expect=200, **query):
        return self.lake.ask("GET", f"/repositories/{bucket}/refs/{ref}/objects/archive", expect, **query)

    def members(self, answer):
        if answer.headers["content-type"] == "application/zip":
            with zipfile.ZipFile(io.BytesIO(answer.body)) as archive:
                self.assertIsNone(archive.testzip())
                return {name: archive.read(name) for name in archive.namelist()}
        with tarfile.open(fileobj=io.BytesIO(answer.body), mode="r:") as archive:
            return {m.name + ("/" if m.isdir() else ""): archive.extractfile(m).read() if m.isfile() else b"" for m in archive}

    def test_archive(self):
        """Committed and uncommitted, small, large and empty, whatever they are called; by prefix, and one level only."""
        bucket = self.repository()
        files = {"a": b"1", "dir/b": b"2" * 3_000_000, "dir/deep/c": b"", "dir/größe 試.txt": b"3", "x" * 300: b"4"}
        for path, body in files.items():
            self.lake.upload(bucket, "main", path, body)
            if path == "a":
                self.lake.commit(bucket, "main")
        for form in ("zip", "tar"):
            self.assertEqual(self.members(self.fetch(bucket, format=form)), files)
            self.assertEqual(self.members(self.fetch(bucket, format=form, path="dir/")),
                             {path: body for path, body in files.items() if path.startswith("dir/")})
            self.assertEqual(set(self.members(self.fetch(bucket, format=form, path="dir/", recursive="false"))), {"dir/b", "dir/größe 試.txt"})
        self.assertEqual(self.members(self.fetch(bucket, "main@")), {"a": b"1"})
        self.assertEqual(self.members(self.fetch(bucket, path="none/")), {})
        stat = zipfile.ZipFile(io.BytesIO(self.fetch(bucket).body)).getinfo("a")
        self.assertLess(abs(time.mktime((*stat.date_time, 0, 0, -1)) - time.time()), 86_400 * 2)
        self.fetch(bucket, "none", 404)
        self.fetch(bucket, expect=400, format="rar")

    def test_archive_that_leaves_its_folder(self):
        bucket = self.repository()
        self.lake.upload(bucket, "main", "a/../../etc/passwd", b"1")
        self.assertIn("passwd", self.fetch(bucket, expect=400).json["message"])

    def test_archive_of_who_may_not(self):
        """Who may not read all of it gets nothing of it."""
        bucket = self.repository()
        for path in ("open/a", "shut/b"):
            self.lake.upload(bucket, "main", path, b"1")
        self.lake.ask("POST", "/auth/users", 201, json_body={"id": "archivist"})
        self.addCleanup(self.lake.ask, "DELETE", "/auth/users/archivist", 204)
        at = f"arn:lakefs:fs:::repository/{bucket}"
        self.lake.ask("POST", "/auth/policies", 201, json_body={"id": "archive", "statement": [
            {"effect": "allow", "action": ["fs:ListObjects"], "resource": at},
            {"effect": "allow", "action": ["fs:ReadObject"], "resource": f"{at}/object/open/*"}]})
        self.addCleanup(self.lake.ask, "DELETE", "/auth/policies/archive", 204)
        self.lake.ask("PUT", "/auth/users/archivist/policies/archive", 201)
        made = self.lake.ask("POST", "/auth/users/archivist/credentials", 201).json
        keys = (made["access_key_id"], made["secret_access_key"])
        self.assertEqual(set(self.members(self.fetch(bucket, path="open/", keys=keys))), {"open/a"})
        self.fetch(bucket, expect=401, keys=keys)


class PrincipalsTest(LakeTest):
    def test_principals(self):
        """External principals: each is one user's; gone with the user."""
        arns = [f"arn:aws:sts::123456789012:assumed-role/role-{n}" for n in range(3)]
        for name in ("one", "two"):
            self.lake.ask("POST", "/auth/users", 201, json_body={"id": f"principal-{name}"})
        at = "/auth/users/principal-one/external/principals"
        for arn in arns:
            self.lake.ask("POST", at, 201, principalId=arn, json_body={"settings": {"k": "v"}})
        self.lake.ask("POST", "/auth/users/principal-two/external/principals", 409, principalId=arns[0])
        self.lake.ask("POST", "/auth/users/none/external/principals", 404, principalId="x")
        page = self.lake.ask("GET", f"{at}/ls", amount=2).json
        self.assertEqual(([p["id"] for p in page["results"]], page["pagination"]["has_more"]), (arns[:2], True))
        page = self.lake.ask("GET", f"{at}/ls", after=page["pagination"]["next_offset"]).json
        self.assertEqual([p["id"] for p in page["results"]], arns[2:])
        found = self.lake.ask("GET", "/auth/external/principals", principalId=arns[0]).json
        self.assertEqual(found, {"id": arns[0], "user_id": "principal-one", "settings": {"k": "v"}})
        self.lake.ask("DELETE", "/auth/users/principal-two/external/principals", 404, principalId=arns[0])
        self.lake.ask("DELETE", at, 204, principalId=arns[0])
        self.lake.ask("GET", "/auth/external/principals", 404, principalId=arns[0])
        for name in ("one", "two"):
            self.lake.ask("DELETE", f"/auth/users/principal-{name}", 204)
        self.lake.ask("GET", "/auth/external/principals", 404, principalId=arns[1])
        self.lake.ask("POST", "/auth/users", 201, json_body={"id": "principal-reader"})
        made = self.lake.ask("POST", "/auth/users/principal-reader/credentials", 201).json
        self.lake.ask("GET", "/auth/external/principals", 401, principalId="x", keys=(made["access_key_id"], made["secret_access_key"]))
        self.lake.ask("DELETE", "/auth/users/principal-reader", 204)
        # Without any principal nobody is asked about a stranger.
        self.lake.ask("POST", "/auth/external/principal/login", 401, keys=None, json_body={"identityRequest": {}})


    def test_archive_of_what_comes_meanwhile(self):
        """What comes into a branch while its archive is fetched is asked about too: the download ends, and does not have it."""
        bucket = self.repository()
        self.lake.upload(bucket, "main", "a", os.urandom(30_000_000))
        self.lake.for_each(range(1100), lambda connection, n: self.lake.upload(bucket, "main", f"b/{n:04}", b"1", connection=connection))
        self.lake.ask("POST", "/auth/users", 201, json_body={"id": "slow"})
        self.addCleanup(self.lake.ask, "DELETE", "/auth/users/slow", 204)
        at = f"arn:lakefs:fs:::repository/{bucket}"
        self.lake.ask("POST", "/auth/policies", 201, json_body={"id": "slow", "statement": [
            {"effect": "allow", "action": ["fs:ListObjects", "fs:ReadObject"], "resource": f"{at}*"},
            {"effect": "deny", "action": ["fs:ReadObject"], "resource": f"{at}/object/z-secret/*"}]})
        self.addCleanup(self.lake.ask, "DELETE", "/auth/policies/slow", 204)
        self.lake.ask("PUT", "/auth/users/slow/policies/slow", 201)
        made = self.lake.ask("POST", "/auth/users/slow/credentials", 201).json
        login = base64.b64encode(f"{made['access_key_id']}:{made['secret_access_key']}".encode()).decode()
        connection = self.lake.connection()
        self.addCleanup(connection.close)
        connection.request("GET", f"/api/v1/repositories/{bucket}/refs/main/objects/archive?format=tar", headers={"Authorization": f"Basic {login}"})
        answer = connection.getresponse()
        self.assertEqual((answer.status, len(answer.read(1000))), (200, 1000))
        self.lake.upload(bucket, "main", "z-secret/salary", b"TOPSECRET")
        with self.assertRaises(http.client.IncompleteRead) as raised:
            answer.read()
        self.assertNotIn(b"TOPSECRET", raised.exception.partial)


class CollectionTest(LakeTest):
    """What garbage collection's clients ask for before they remove anything."""

    def read(self, location):
        """A file of the server's object store, by its address; small ones are files after some seconds."""
        return self.place(location).read_bytes()

    def place(self, location):
        found = self.lake.data / "objects" / location.removeprefix("local://")
        wait_until(lambda: found.is_file() or found.is_dir() and any(found.iterdir()), 20, f"{location} is there")
        return found

    def test_commits(self):
        bucket = self.repository()
        at = f"/repositories/{bucket}"
        self.lake.ask("POST", f"{at}/gc/prepare_commits", 404)  # No rules say what is old.
        commits = [self.lake.ask("GET", f"{at}/branches/main").json["commit_id"]]  # The first one is as young as the repository.
        for age in (40, 30, 20, 10, 1):  # in days
            if age == 1:  # One that says it is old, amid the young, takes nothing with it.
                commits.append(self.lake.commit(bucket, "main", date=1_000_000_000, allow_empty=True)["id"])
            self.lake.upload(bucket, "main", f"a-{age}", b"1")
            commits.append(self.lake.commit(bucket, "main", date=int(time.time()) - age * 86_400)["id"])
        self.lake.ask("POST", f"{at}/branches", 201, json_body={"name": "kept", "source": commits[1]})
        self.lake.ask("POST", f"{at}/branches", 201, json_body={"name": "gone", "source": "main"})
        self.lake.upload(bucket, "gone", "b", b"1")
        lost = self.lake.commit(bucket, "gone")["id"]
        self.lake.ask("DELETE", f"{at}/branches/gone", 204)
        self.lake.ask("PUT", f"{at}/settings/gc_rules", 204, json_body={
            "default_retention_days": 15, "branches": [{"branch_id": "kept", "retention_days": 1}]})
        made = self.lake.ask("POST", f"{at}/gc/prepare_commits", 201).json
        lines = self.read(made["gc_commits_location"]).decode().split()
        self.assertEqual(lines[0], "commit_id,expired,metarange_id")
        # All but one: within 15 days, before those, heads, and what no branch has any more but is young.
        wanted = {*commits, lost} - {commits[2]}
        self.assertEqual({line.split(",")[0] for line in lines[1:]}, wanted)
        ranges = {entry["id"]: entry["meta_range_id"] for entry in self.lake.ask("GET", f"{at}/refs/main/commits").json["results"]}
        for line in lines[1:]:
            commit, expired, metarange = line.split(",")
            self.assertEqual((expired, metarange), ("false", ranges.get(commit, metarange)))
        fetched = urllib.request.urlopen(made["gc_commits_presigned_url"]).read()
        self.assertEqual(fetched.decode().split(), lines)
        task = self.lake.ask("POST", f"{at}/gc/prepare_commits/async", 202).json["id"]
        status = lambda: self.lake.ask("GET", f"{at}/gc/prepare_commits/status", id=task).json
        wait_until(lambda: status()["completed"], 10, "the task is done")
        self.assertEqual(self.read(status()["result"]["gc_commits_location"]).decode().split(), lines)

    def test_uncommitted(self):
        """A Parquet file of the objects of all branches' changes."""
        bucket = self.repository()
        at = f"/repositories/{bucket}"
        self.lake.upload(bucket, "main", "committed", b"1")
        self.lake.commit(bucket, "main")
        self.lake.ask("POST", f"{at}/branches", 201, json_body={"name": "work", "source": "main"})
        addresses = {self.lake.upload(bucket, branch, f"{branch}-{n}", b"2").json["physical_address"] for branch in ("main", "work") for n in range(5)}
        self.lake.ask("DELETE", f"{at}/branches/work/objects", 204, path="committed")
        made = self.lake.ask("POST", f"{at}/gc/prepare_uncommited", 201, json_body={}).json
        self.assertIsNone(made.get("continuation_token"))
        table = pyarrow.parquet.read_table(self.place(made["gc_uncommitted_location"]))
        self.assertEqual([(f.name, str(f.type)) for f in table.schema], [("physical_address", "string"), ("creation_date", "int64")])
        self.assertEqual({f"local://{bucket}/{name}" for name in table["physical_address"].to_pylist()}, addresses)
        self.assertLess(max(abs(made - time.time()) for made in table["creation_date"].to_pylist()), 60)
        self.lake.ask("POST", f"{at}/gc/prepare_uncommited", 400, json_body={"continuation_token": "nonsense"})
