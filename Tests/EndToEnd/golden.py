#!/usr/bin/env python3
"""What lakeFS 1.84 wrote, opened and written again: the fixtures of ../shared/fixtures; their README.md files say more.

Part of end_to_end.py; standard library only, so it also runs without the virtual environment of run.sh:

    golden.py [-v] [--failfast] [-k TEXT] [TestClass[.test_name] ...]
"""
import base64
import contextlib
import functools
import gzip
import hashlib
import itertools
import json
import pathlib
import shutil
import sqlite3
import sys
import tarfile
import unittest

sys.dont_write_bytecode = True
from lake import ROOT, Lake, wait_until, work_folder  # noqa: E402

FIXTURES = ROOT.parent / "shared/fixtures"
POSTGRES, LOCAL = FIXTURES / "kv/postgres/kv.jsonl", FIXTURES / "kv/local/kv-dump.json"
FOLDERS = ["linear", "graph", "import", "kv", "ranges"]
KEYS = ("AKIAIOSFDNN7EXAMPLEQ", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")  # in both key-value fixtures
ENCRYPTION = "some-secret-for-tests"


def setUpModule():
    GoldenTest.folder = work_folder("golden")


# -- the fixtures ----------------------------------------------------------------------------------------------

class Fixture:
    """A recorded repository: its namespace, and what lakeFS said of it."""

    def __init__(self, name):
        self.folder = FIXTURES / "repositories" / name
        self.expected = json.loads((self.folder / "expected.json").read_text())

    def unpack(self, lake, namespace):
        """Puts everything where `local://<namespace>` is."""
        shutil.unpack_archive(self.folder / "namespace.tar.gz", lake.data / "objects" / namespace)

    def metadata(self):
        """The ranges and metaranges, id to bytes."""
        with tarfile.open(self.folder / "namespace.tar.gz") as archive:
            return {pathlib.PurePath(member.name).name: archive.extractfile(member).read()
                    for member in archive if member.isfile() and member.name.startswith("_lakefs/")}

    @functools.cached_property
    def listings(self):
        """SHA-256 to entries, as far as the fixture has them."""
        listings, file = {}, self.folder / "listings.jsonl.gz"
        if file.exists():
            with gzip.open(file, "rt") as lines:
                for line in lines:
                    if line.startswith("# "):
                        entries = listings[line[2:].strip()] = []
                    else:
                        entries.append(json.loads(line))
        return listings

    def listing(self, ref):
        """What is recorded of a listing: `count`, `sha256`, and `results` or None."""
        recorded = self.expected["listings"][ref]
        return recorded | {"results": self.listings.get(recorded["sha256"])}


def digest(results):
    """The fixtures' SHA-256 of a listing or diff."""
    lines = (json.dumps(entry, sort_keys=True, separators=(",", ":"), ensure_ascii=False) + "\n" for entry in results)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def fixture_records(file):
    """The records of a key-value fixture, (partition, key) to value."""
    if file.suffix == ".jsonl":
        lines = map(json.loads, file.read_text().splitlines())
        return {(line["partition"].encode(), line["key"].encode()): bytes.fromhex(line["value"]) for line in lines}
    return dump_records(json.loads(file.read_text()))


def dump_records(document):
    """The records of a `kv dump`, (partition, key) to value."""
    return {(entry["partition"].encode(), entry["key"].encode()): base64.b64decode(entry["value"], validate=True)
            for entry in document["entries"]}


def stored_records(lake):
    """The records in a lake's database, (partition, key) to value."""
    with contextlib.closing(sqlite3.connect(f"file:{lake.data}/lake.db?mode=ro", uri=True)) as database:
        rows = database.execute("select partition, key, value from kv").fetchall()
    return {(bytes(partition), bytes(key)): bytes(value) for partition, key, value in rows}


# -- what a server says ----------------------------------------------------------------------------------------

class View:
    """A repository as a server tells it, over one connection."""

    def __init__(self, lake, repository, namespace):
        self.lake, self.path, self.namespace = lake, f"/repositories/{repository}", namespace
        self.connection = lake.connection()

    def ask(self, method, path, expect=200, /, **more):
        return self.lake.ask(method, self.path + path, expect, connection=self.connection, **more)

    def all(self, path, **query):
        """All results of a listing, page by page."""
        results, after = [], ""
        while True:
            page = self.ask("GET", path, amount=1000, after=after, **query).json
            results += page["results"]
            if not page["pagination"]["has_more"]:
                return results
            after = page["pagination"]["next_offset"]

    def ids(self, path, **query):
        return [entry["id"] for entry in self.all(path, **query)]

    def listing(self, ref):
        """Every entry of `ref`; addresses under the namespace as in the fixtures."""
        root, entries = f"local://{self.namespace}/", self.all(f"/refs/{ref}/objects/ls")
        for entry in entries:
            if entry["physical_address"].startswith(root):
                entry["physical_address"] = "local://$DATA/" + entry["physical_address"][len(root):]
        return entries

    def uncommitted(self, branch):
        return self.all(f"/branches/{branch}/diff")

    def sha256(self, ref, path):
        return hashlib.sha256(self.ask("GET", f"/refs/{ref}/objects", path=path).body).hexdigest()


@unittest.skipUnless(FIXTURES.is_dir(), "../shared/fixtures is not here")
class GoldenTest(unittest.TestCase):
    """Ways to compare what a server says with what lakeFS said."""
    folder: pathlib.Path

    def new_lake(self, label="lake", **more):
        lake = Lake(self.folder, f"{type(self).__name__}-{self._testMethodName}-{label}", **more)
        self.addCleanup(lake.kill)
        return lake

    def view(self, repository, namespace=None):
        view = View(self.lake, repository, namespace or repository)
        self.addCleanup(view.connection.close)
        return view

    def check(self, comparisons):
        """Compares all (what, told, recorded) and tells of the first that differ.

        What is recorded may also be a dict with `count`, `sha256` and perhaps `results` where a list is told.
        """
        wrong = []
        for what, told, recorded in comparisons:
            if isinstance(told, list) and isinstance(recorded, dict):
                if digest(told) == recorded["sha256"]:
                    continue
                if recorded.get("results") is None:
                    wrong.append(f"{what}: {len(told)} results whose digest is another, {recorded['count']} recorded")
                    continue
                recorded = recorded["results"]
            if told != recorded:
                if isinstance(told, list):
                    told, recorded = next(pair for pair in itertools.zip_longest(told, recorded) if pair[0] != pair[1])
                wrong.append(f"{what}:\n  told     {told}\n  recorded {recorded}")
        if wrong:
            self.fail("\n".join([f"{len(wrong)} differ", *wrong[:4]])[:4000])

    def check_records(self, told, recorded):
        """Compares records, (partition, key) to value."""
        self.check((f"{partition.decode()} {key.decode()}", told.get((partition, key)), recorded.get((partition, key)))
                   for partition, key in sorted(told.keys() | recorded.keys()))

    def check_branches(self, view, expected, hidden):
        """All branches; without `show_hidden` those in `hidden` are left out."""
        wanted = [{"id": branch["id"], "commit_id": branch["commit_id"]} for branch in expected["branches"]]
        self.check([("all branches", view.all("/branches", show_hidden="true"), wanted),
                    ("branches", view.all("/branches"), [branch for branch in wanted if branch["id"] not in hidden])])

    def check_versions(self, view, expected):
        """Tags, commits, logs, merge bases and diffs."""
        with self.subTest("tags"):
            self.check([("tags", view.all("/tags"), expected["tags"])])
        with self.subTest("commits"):
            self.check((commit["id"], view.ask("GET", f"/commits/{commit['id']}").json,
                        {name: value for name, value in commit.items() if name != "creation_date_nanos"})
                       for commit in expected["commits"])
        with self.subTest("logs"):
            self.check((branch, view.ids(f"/refs/{branch}/commits"), log) for branch, log in expected["log"].items())
            self.check((f"{branch}, first parents", view.ids(f"/refs/{branch}/commits", first_parent="true"), log)
                       for branch, log in expected["log_first_parent"].items())
        with self.subTest("merge bases"):
            self.check((f"{source} into {destination}",
                        view.ask("GET", f"/refs/{source}/merge/{destination}").json["base_commit_id"], base)
                       for source, destination, base in expected["merge_bases"])
        with self.subTest("diffs"):
            self.check((f"{diff['left']} {diff['type']} {diff['right']}",
                        view.all(f"/refs/{diff['left']}/diff/{diff['right']}", type=diff["type"]), diff)
                       for diff in expected["diffs"])

    def check_listings(self, view, fixture, refs):
        """Every entry of `refs`, and each different content that is under the namespace: returns their paths there."""
        places = {}

        def compare(ref):
            entries = view.listing(ref)
            places.update({entry["physical_address"]: (ref, entry["path"]) for entry in entries})
            return ref, entries, fixture.listing(ref)

        with self.subTest("listings"):
            self.check(map(compare, refs))
        places = {address.removeprefix("local://$DATA/"): place for address, place in places.items() if "$DATA" in address}
        with self.subTest("contents"):
            self.check((f"{address}, {place}", view.sha256(*place), fixture.expected["object_sha256"].get(address))
                       for address, place in places.items())
        return places.keys()


# -- the tests -------------------------------------------------------------------------------------------------

class OpenTest(GoldenTest):
    """A namespace that lakeFS wrote, under a bare repository whose refs are restored."""

    def open(self, name):
        self.lake, fixture, repository = self.new_lake().start(), Fixture(name), f"golden-{name}"
        expected = fixture.expected
        fixture.unpack(self.lake, repository)
        self.lake.ask("POST", "/repositories", 201, bare="true",
                      json_body={"name": repository, "storage_namespace": f"local://{repository}"})
        view = self.view(repository)
        view.ask("PUT", "/refs/restore", json_body=expected["refs_dump"])
        with self.subTest("branches"):
            self.check_branches(view, expected, hidden=())  # the dump does not tell which are
        self.check_versions(view, expected)
        self.check_listings(view, fixture, [ref for ref in expected["listings"] if ref not in expected["uncommitted"]])

    def test_linear(self):
        """300 objects, eleven commits in a row, metadata that needs care."""
        self.open("linear")

    def test_graph(self):
        """Merges of all kinds, reverts, cherry-picks; names that need care; commits that nothing reaches."""
        self.open("graph")

    def test_import(self):
        """Imported entries, whose addresses are not in the namespace."""
        self.open("import")

    def test_kv(self):
        """The small repository that goes with the key-value store."""
        self.open("kv")

    def test_ranges(self):
        """12,004 objects in seven ranges."""
        self.open("ranges")


class KeyValueTest(GoldenTest):
    """The whole key-value store of a lakeFS that was killed, with the namespaces of its repositories."""

    def setUp(self):
        # Without keys of ours: the server must find its user in the store.
        self.lake = self.new_lake(keys=None, LAKEFUSE_AUTH_ENCRYPT_SECRET_KEY=ENCRYPTION)
        self.lake.command("kv", "load", POSTGRES, "--data", self.lake.data, environment={})
        self.fixtures = {name: Fixture(name) for name in FOLDERS}
        for name, fixture in self.fixtures.items():
            fixture.unpack(self.lake, f"fx-{name}")
        self.lake.start()
        self.lake.keys = KEYS
        self.assertEqual(self.lake.ask("GET", "/user").json["user"]["id"], "admin")

    def partitions(self):
        return {partition.decode() for partition, _ in stored_records(self.lake)}

    def test_sign_in(self):
        """The user of the store signs in with the right secret only, and with a token."""
        login = {"access_key_id": KEYS[0], "secret_access_key": KEYS[1]}
        token = self.lake.ask("POST", "/auth/login", keys=None, json_body=login).json["token"]
        self.lake.ask("GET", "/repositories", keys=None, headers={"Authorization": f"Bearer {token}"})
        self.assertEqual(self.lake.rest("GET", "/user", keys=(KEYS[0], KEYS[1][::-1])).status, 401)
        login["secret_access_key"] += "x"
        self.assertEqual(self.lake.rest("POST", "/auth/login", keys=None, json_body=login).status, 401)

    def test_branches(self):
        """Every branch of every repository, with what is not committed on it."""
        for name, fixture in self.fixtures.items():
            expected, view = fixture.expected, self.view(f"fx-{name}")
            branches = [branch["id"] for branch in expected["branches"]]
            with self.subTest(name):
                self.check_branches(view, expected, {branch["id"] for branch in expected["branches"] if branch["hidden"]})
                self.check((branch, view.uncommitted(branch), expected["uncommitted"].get(branch, []))
                           for branch in branches)
                self.check_listings(view, fixture, branches)

    def test_everything(self):
        """What must be the same after a restore, and every content."""
        for name in ("graph", "kv"):
            with self.subTest(name):
                fixture, view = self.fixtures[name], self.view(f"fx-{name}")
                self.check_versions(view, fixture.expected)
                contents = self.check_listings(view, fixture, fixture.expected["listings"])
                self.assertEqual(contents, fixture.expected["object_sha256"].keys())

    def test_other_repositories(self):
        """One without a branch, one that is read-only, one that shares its namespace; metadata and protection."""
        repositories = [entry["id"] for entry in self.lake.ask("GET", "/repositories", amount=100).json["results"]]
        self.assertEqual(repositories, sorted(f"fx-{name}" for name in [*FOLDERS, "bare", "readonly", "restored"]))
        self.assertEqual(self.view("fx-bare").all("/branches"), [])

        readonly = self.view("fx-readonly")
        about = readonly.ask("GET", "").json
        self.assertEqual((about["default_branch"], about["read_only"]), ("trunk", True))
        self.assertEqual(readonly.ids("/branches"), ["trunk"])
        readonly.ask("POST", "/branches/trunk/objects", 403, path="new", body=b"refused")

        kv, restored, fixture = self.view("fx-kv"), self.view("fx-restored", "fx-kv"), self.fixtures["kv"]
        self.check_branches(restored, fixture.expected, hidden=())
        self.check((branch["id"], restored.listing(branch["id"]), fixture.listing(branch["commit_id"]))
                   for branch in fixture.expected["branches"])
        self.assertEqual(kv.ask("GET", "/metadata").json, {"team": "data", "cost-centre": "42"})
        protected = {rule["pattern"] for rule in kv.ask("GET", "/settings/branch_protection").json}
        self.assertEqual(protected, {"main", "release-*", "?x"})
        kv.ask("POST", "/branches/main/objects", 403, path="new", body=b"refused")

    def test_commit_of_sealed_tokens(self):
        """A commit takes the open token and the two sealed ones below it; all three are emptied in the end."""
        view, refusal = self.view("fx-kv"), "_lakefs_actions/refuse.yaml"
        lines = map(json.loads, POSTGRES.read_text().splitlines())
        branch = next(line["decoded"] for line in lines
                      if line["partition"].startswith("fx-kv-") and line["key"] == "branches/sealed-1")
        tokens = {branch["staging_token"], *branch["sealed_tokens"]}
        self.assertEqual(tokens & self.partitions(), tokens)

        wanted = [entry for entry in view.listing("sealed-1") if entry["path"] != refusal]
        view.ask("DELETE", "/branches/sealed-1/objects", 204, path=refusal)
        commit = view.ask("POST", "/branches/sealed-1/commits", 201, json_body={"message": "all tokens"}).json
        self.assertEqual(commit["parents"], [branch["commit_id"]])
        self.assertEqual(view.uncommitted("sealed-1"), [])
        self.check((ref, view.listing(ref), wanted) for ref in ("sealed-1@", "sealed-1", commit["id"]))

        # A server empties what another left behind as soon as it starts.
        self.assertEqual(self.lake.stop()[0], 0)
        self.lake.start()
        wait_until(lambda: not tokens & self.partitions(), what="the end of the committed tokens")
        self.check((ref, self.view("fx-kv").listing(ref), wanted) for ref in ("sealed-1@", "sealed-1"))

    def test_dropped_token(self):
        """The token of a deleted branch is emptied, no other one."""
        recorded = {partition.decode() for partition, _ in fixture_records(POSTGRES)}
        tokens = {partition for partition in recorded if ":" in partition}
        doomed = {token for token in tokens if token.startswith("fx-kv-doomed:")}
        self.assertEqual(len(doomed), 1)
        wait_until(lambda: not (doomed | {"cleanup-tokens"}) & self.partitions(), what="the end of the dropped token")
        self.assertEqual({partition for partition in self.partitions() if ":" in partition}, tokens - doomed)


class DumpTest(GoldenTest):
    """`lakefuse kv load` and `kv dump`: nothing is lost, nothing changes."""

    def check_dump(self, file):
        recorded, entries = fixture_records(file), []
        for label in ("first", "second"):
            lake = self.new_lake(label)
            lake.command("kv", "load", file, "--data", lake.data, environment={})
            self.check_records(stored_records(lake), recorded)
            file = self.folder / f"{self._testMethodName}-{label}.json"
            file.write_text(lake.command("kv", "dump", "--data", lake.data, environment={}))
            dump = json.loads(file.read_text())
            self.assertEqual(dump["version"], "1.0")
            self.assertRegex(dump["timestamp"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$")
            self.check_records(dump_records(dump), recorded)
            self.assertEqual(len(dump["entries"]), len(recorded))
            entries.append(dump["entries"])
        self.assertTrue(entries[0] == entries[1], "the second dump's entries are others, or in another order")

    def test_postgres(self):
        """Records of a PostgreSQL store, one a line."""
        self.check_dump(POSTGRES)

    def test_local(self):
        """A document of `lakefs kv dump`."""
        self.check_dump(LOCAL)


class FromScratchTest(GoldenTest):
    """The repository `ranges` made again over REST: the same ids, and the same bytes under them."""
    REPOSITORY = "golden-again"

    def first_paths(self, ranges):
        """The objects of the first commit: 1714 a folder, and those whose names end a range."""
        regular = [f"tables/t{folder}/part-{number:05}" for folder in range(7) for number in range(1714)]
        return sorted({*regular, *(entry["max_key"] for entry in ranges)})

    def staged(self, path, version):
        number = hashlib.sha256(f"{path}#{version}".encode()).digest()[0] % 32
        return {"physical_address": f"local:///srv/lakefs/import/lake/{path}" + (f".{version}" if version else ""),
                "checksum": hashlib.md5(str(number).encode()).hexdigest(), "size_bytes": 1000 + number,
                "mtime": 1600000000 + 60 * number, "content_type": "application/octet-stream"}

    def stage(self, branch, versions):
        """Stages `versions`, path to version, on 16 connections."""
        self.lake.for_each(versions, lambda connection, path: self.lake.ask(
            "PUT", f"/repositories/{self.REPOSITORY}/branches/{branch}/objects", 201, path=path,
            json_body=self.staged(path, versions[path]), connection=connection), threads=16)

    def remove(self, branch, paths):
        for start in range(0, len(paths), 1000):
            answer = self.view(self.REPOSITORY).ask("POST", f"/branches/{branch}/objects/delete",
                                                    json_body={"paths": paths[start:start + 1000]})
            self.assertFalse(answer.json.get("errors"))

    def test_ranges(self):
        """12,004 staged objects, small commits, two branches and their merge."""
        fixture = Fixture("ranges")
        self.lake = self.new_lake(LAKEFUSE_BLOCKSTORE_LOCAL_IMPORT_ENABLED="true",
                                  LAKEFUSE_BLOCKSTORE_LOCAL_ALLOWED_EXTERNAL_PREFIXES="/srv/lakefs/import").start()
        self.lake.create_repository(self.REPOSITORY)
        view, expected = self.view(self.REPOSITORY), fixture.expected
        metaranges, diffs = expected["metaranges"], {(diff["left"], diff["right"]): diff for diff in expected["diffs"]}
        recorded = {commit["id"]: commit for commit in expected["commits"]}
        objects = self.first_paths(metaranges[expected["commits"][1]["meta_range_id"]])
        self.assertEqual(len(objects), 12004)

        for commit in expected["commits"][1:]:
            name, wanted, parent = commit["message"], commit["meta_range_id"], recorded[commit["parents"][0]]
            if len(commit["parents"]) == 2:
                reference = view.ask("POST", "/refs/left/merge/right", json_body={}).json["reference"]
                made = view.ask("GET", f"/commits/{reference}").json
            else:
                branch = name if name in ("left", "right") else "main"
                if branch != "main":
                    view.ask("POST", "/branches", 201, json_body={"name": branch, "source": "main"})
                diff, before = diffs[parent["id"], commit["id"]], metaranges.get(parent["meta_range_id"])
                if not before:
                    kinds = dict.fromkeys(objects, "added")
                elif "results" in diff:
                    kinds = {change["path"]: change["type"] for change in diff["results"]}
                else:  # too many to be recorded: the ranges that are gone
                    gone = [entry for entry in before if entry not in metaranges[wanted]]
                    kinds = {path: "removed" for path in objects
                             if any(entry["min_key"] <= path <= entry["max_key"] for entry in gone)}
                self.assertEqual(len(kinds), diff["count"], name)
                version = {"added": 0, "changed": 1 if branch == "main" else 2}
                self.stage(branch, {path: version[kind] for path, kind in kinds.items() if kind in version})
                self.remove(branch, [path for path, kind in kinds.items() if kind == "removed"])
                made = view.ask("POST", f"/branches/{branch}/commits", 201,
                                json_body={"message": name, "date": commit["creation_date"]}).json
            self.assertEqual(made["meta_range_id"], wanted, name)

        with self.subTest("listings"):
            self.check((ref, view.listing(ref), fixture.listing(ref)) for ref in ("main@", "left@", "right@"))
        with self.subTest("bytes"):
            files = {path.name: path for path in self.lake.objects("_lakefs", self.REPOSITORY)}
            recorded = fixture.metadata()
            ids = {*metaranges, *(entry["id"] for ranges in metaranges.values() for entry in ranges)}
            self.assertEqual([id for id in sorted(ids) if files[id].read_bytes() != recorded[id]], [])


if __name__ == "__main__":
    unittest.main()
