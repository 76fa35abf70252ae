"""PyPI's `lakefs-spec`, a file system for fsspec, unchanged, at what its documentation promises. run.sh runs it."""
import errno
import hashlib
import os
import time
import unittest
import unittest.mock
import warnings

import fsspec
import lakefs
import lakefs_sdk
from lakefs_spec import LakeFSFileSystem

from s3_clients import MEGABYTE, ClientTest


class FileSystemTest(ClientTest):
    def setUp(self):
        super().setUp()
        self.options = {"host": self.lake.endpoint, "username": self.key, "password": self.secret}
        self.files = self.file_system()
        self.root = f"{self.bucket}/main"
        self.repository = lakefs.Repository(self.bucket, client=self.files.client)
        self.main = self.repository.branch("main")

    def file_system(self, **more):
        """A file system with no listings of earlier ones."""
        return LakeFSFileSystem(**self.options | more, skip_instance_cache=True)

    def fill(self, *paths, body=b"x"):
        for path in paths:
            self.lake.upload(self.bucket, "main", path, body)

    def below(self, folder):
        return {path.removeprefix(f"{folder}/"): self.files.cat_file(path) for path in self.files.find(f"{folder}/")}


class SimpleTest(FileSystemTest):
    def test_spec_quickstart(self):
        """The README's example, with lakectl's variables: a file put in a transaction, and read back by its first line."""
        local = self.scratch / "demo.txt"
        local.write_text("Hello, lakeFS!")
        with unittest.mock.patch.dict(os.environ, {
                "LAKECTL_SERVER_ENDPOINT_URL": self.lake.endpoint, "LAKECTL_CREDENTIALS_ACCESS_KEY_ID": self.key,
                "LAKECTL_CREDENTIALS_SECRET_ACCESS_KEY": self.secret}):
            files = LakeFSFileSystem(skip_instance_cache=True)
        with files.transaction(repository=self.bucket, base_branch="main") as transaction:
            files.put(str(local), f"{self.bucket}/{transaction.branch.id}/{local.name}")
            transaction.commit(message="Add demo data")
        with files.open(f"{self.root}/demo.txt", "rt") as file:
            self.assertEqual(file.readline(), "Hello, lakeFS!")

    def test_spec_open(self):
        """Every mode: text and bytes, seek and tell, lines, metadata and type; `x` is FileExistsError, `a` is not there."""
        for sign in (False, True):
            path = f"{self.root}/d/{sign}"
            with self.files.open(path, "wt", pre_sign=sign, content_type="text/x-test", metadata={"k": "v"}) as file:
                file.write("zwölf\nlines\n")
            with self.files.open(path, "r", pre_sign=sign) as file:
                self.assertEqual(list(file), ["zwölf\n", "lines\n"])
            body = os.urandom(50_000)
            with self.files.open(path, "wb", pre_sign=sign, content_type="text/x-test", metadata={"k": "v"}) as file:
                file.write(body)
            with self.files.open(path, pre_sign=sign) as file:
                file.seek(-100, os.SEEK_END)
                self.assertEqual((file.tell(), file.read(10), file.read()), (49_900, body[-100:-90], body[-90:]))
            found = self.files.info(path)
            self.assertEqual((found["content-type"], found["metadata"], found["size"]), ("text/x-test", {"k": "v"}, 50_000))
            with self.assertRaises(FileExistsError), self.files.open(path, "xb", pre_sign=sign) as file:
                file.write(b"x")
            with self.files.open(f"{path}-new", "x", pre_sign=sign) as file:
                file.write("new")
            self.assertEqual(self.files.cat_file(f"{path}-new"), b"new")
        with self.assertRaises(NotImplementedError):
            self.files.open(path, "ab")

    def test_spec_ways_to_read(self):
        """cat, cat_ranges, head, tail, pipe, touch, checksum, created."""
        body = os.urandom(10_000)
        self.files.pipe({f"{self.root}/a": body, f"{self.root}/b": b"b"})
        path = f"{self.root}/a"
        self.assertEqual(self.files.cat([path, f"{self.root}/b"]), {path: body, f"{self.root}/b": b"b"})
        self.assertEqual(self.files.cat_ranges([path, path], [0, 9990], [5, 10_000]), [body[:5], body[-10:]])
        self.assertEqual((self.files.head(path, 7), self.files.tail(path, 7)), (body[:7], body[-7:]))
        self.assertEqual(self.files.tail(f"{self.root}/b"), b"b")
        self.assertEqual(self.files.checksum(path), hashlib.md5(body).hexdigest())
        self.assertLess(abs(self.files.modified(path).timestamp() - time.time()), 60)
        self.assertEqual(self.files.created(path), self.files.modified(path))
        self.files.touch(path)
        self.assertEqual((self.files.info(path)["size"], self.files.cat_file(path)), (0, b""))

    def test_spec_large(self):
        """40 MiB, which the client keeps on its disk meanwhile, and again by put and get."""
        body = os.urandom(MEGABYTE) * 40
        with self.files.open(f"{self.root}/large", "wb") as file:
            file.write(body)
        self.files.get(f"{self.root}/large", str(self.scratch / "large"))
        self.assertEqual((self.scratch / "large").read_bytes(), body)
        self.files.put(str(self.scratch / "large"), f"{self.root}/again")
        self.assertEqual(self.files.checksum(f"{self.root}/again"), hashlib.md5(body).hexdigest())


class FoldersTest(FileSystemTest):
    def test_spec_ls(self):
        """ls of a root, of a folder with a slash and without, of a file, of all below; names and details."""
        self.fill("a", "d/1", "d/2", "d/e/3", "d-b")

        def names(path, **more):
            return [found.removeprefix(f"{self.root}/") for found in self.file_system().ls(f"{self.root}/{path}", False, **more)]
        self.assertEqual(names(""), ["a", "d-b", "d/"])
        self.assertEqual(names("d/"), ["d/1", "d/2", "d/e/"])
        self.assertEqual(names("d"), names("d/"))
        self.assertEqual(names("a"), ["a"])
        below = [name for name in names("", recursive=True) if not name.endswith("/")]
        self.assertEqual(below, ["a", "d-b", "d/1", "d/2", "d/e/3"])
        found = {item["name"]: item for item in self.files.ls(f"lakefs://{self.root}/")}
        self.assertEqual({name: item["type"] for name, item in found.items()}, {
            f"{self.root}/a": "file", f"{self.root}/d-b": "file", f"{self.root}/d/": "directory"})
        self.assertEqual((found[f"{self.root}/a"]["size"], found[f"{self.root}/a"]["checksum"]), (1, hashlib.md5(b"x").hexdigest()))

    def test_spec_find(self):
        """find, glob, walk, du, expand_path: what fsspec makes of the listings."""
        self.fill("a.csv", "d/b.csv", "d/c.txt", "d/e/f.csv", body=b"1234")

        def paths(found):
            return sorted(path.removeprefix(f"{self.root}/") for path in found)
        self.assertEqual(paths(self.files.find(f"{self.root}/")), ["a.csv", "d/b.csv", "d/c.txt", "d/e/f.csv"])
        self.assertEqual(paths(self.files.find(f"{self.root}/d", maxdepth=1)), ["d/b.csv", "d/c.txt"])
        self.assertEqual(paths(self.files.glob(f"{self.root}/d/*.csv")), ["d/b.csv"])
        self.assertEqual(paths(self.files.glob(f"{self.root}/**/*.csv")), ["a.csv", "d/b.csv", "d/e/f.csv"])
        self.assertEqual(paths(self.files.glob(f"{self.root}/d/[a-b].*")), ["d/b.csv"])
        self.assertEqual(self.files.du(f"{self.root}/"), 16)
        self.assertEqual([sorted(names) for _, _, names in self.files.walk(f"{self.root}/d/")], [["b.csv", "c.txt"], ["f.csv"]])

    def test_spec_info(self):
        """info, exists, isfile, isdir of a file, a folder, a root, and of nothing."""
        self.fill("d/a", "d/b")
        there, folder, nothing = f"{self.root}/d/a", f"{self.root}/d", f"{self.root}/n"
        info = self.files.info(there)
        self.assertEqual((info["type"], info["name"], info["size"]), ("file", there, 1))
        self.assertLess(abs(time.time() - info["mtime"]), 60)
        self.assertEqual((self.files.info(folder)["type"], self.files.info(folder)["size"]), ("directory", 2))
        self.assertEqual([self.files.exists(path) for path in (there, folder, f"{self.root}/", nothing, f"{self.bucket}/nowhere/")],
                         [True, True, True, False, False])
        self.assertEqual([self.files.isfile(path) for path in (there, folder, nothing)], [True, False, False])
        self.assertEqual([self.files.isdir(path) for path in (there, folder, nothing)], [False, True, False])
        for call in (self.files.info, self.files.open, self.files.cat_file, self.files.size, self.files.modified):
            with self.assertRaises(FileNotFoundError):
                call(nothing)

    def test_spec_put_and_get(self):
        """A tree goes up and comes back, of any names; what is the same already is not sent again."""
        tree, files = self.tree()
        self.files.put(f"{tree}/", f"{self.root}/tree/", recursive=True)
        self.assertEqual(self.stored("tree/"), {path: len(body) for path, body in files.items()})
        self.files.get(f"{self.root}/tree/", str(self.scratch / "back/"), recursive=True)
        self.assertEqual(ClientTest.below(self, self.scratch / "back"), files)
        self.main.commit("put")
        with unittest.mock.patch.object(LakeFSFileSystem, "open", side_effect=AssertionError("sent or fetched again")):
            self.files.put_file(str(tree / "small"), f"{self.root}/tree/small")
            self.files.get_file(f"{self.root}/tree/small", str(self.scratch / "back/small"))
        (tree / "small").write_bytes(b"other")
        with self.assertRaises(FileExistsError):
            self.files.put_file(str(tree / "small"), f"{self.root}/tree/small", mode="create")
        self.files.put_file(str(tree / "small"), f"{self.root}/tree/small")
        self.assertEqual([change.path for change in self.main.uncommitted()], ["tree/small"])

    def test_spec_callback(self):
        """A callback of put and get hears of every byte."""
        (self.scratch / "a").write_bytes(os.urandom(300_000))
        for call, arguments in ((self.files.put_file, (str(self.scratch / "a"), f"{self.root}/a")),
                                (self.files.get_file, (f"{self.root}/a", str(self.scratch / "b")))):
            callback = fsspec.callbacks.Callback()
            call(*arguments, callback=callback)
            self.assertEqual(callback.value, 300_000)

    def test_spec_rm(self):
        """rm of a file, of a folder with recursive, and of some thousand files; they stay until a commit in the one before."""
        names = [f"many/{number}" for number in range(2100)]
        self.lake.for_each(names, lambda connection, name: self.lake.upload(self.bucket, "main", name, b"", connection))
        self.fill("a", "d/1", "d/e/2", "d2")
        commit = self.main.commit("all")
        self.files.rm(f"{self.root}/a")
        self.files.rm(f"{self.root}/d/", recursive=True)
        self.files.rm(f"{self.root}/many/", recursive=True)
        self.assertEqual(self.stored(), {"d2": 1})
        self.assertTrue(self.files.exists(f"{self.bucket}/{commit.id}/d/e/2"))

    def test_spec_cp_and_mv(self):
        """cp of a file, of a folder, between branches; mv; not between repositories."""
        self.repository.branch("work").create("main")
        self.fill("d/1", "d/e/2")
        self.files.cp(f"{self.root}/d/1", f"{self.root}/one")
        self.files.cp(f"{self.root}/d/", f"{self.bucket}/work/copy/", recursive=True)
        self.assertEqual(set(self.below(f"{self.bucket}/work")), {"copy/1", "copy/e/2"})
        self.files.mv(f"{self.root}/one", f"{self.root}/moved")
        self.assertEqual(set(self.stored()), {"d/1", "d/e/2", "moved"})
        with self.assertRaises(ValueError):
            self.files.cp(f"{self.root}/moved", "other-repository/main/moved")

    def test_spec_listings_kept(self):
        """A listing is kept until `refresh=True`; two file systems of the same options are one."""
        self.fill("a")
        self.assertEqual(self.files.ls(f"{self.root}/", False), [f"{self.root}/a"])
        self.fill("b")
        self.assertEqual(self.files.ls(f"{self.root}/", False), [f"{self.root}/a"])
        self.assertEqual(self.files.ls(f"{self.root}/", False, refresh=True), [f"{self.root}/a", f"{self.root}/b"])
        self.assertIs(fsspec.filesystem("lakefs", **self.options), fsspec.filesystem("lakefs", **self.options))


class BranchesTest(FileSystemTest):
    def test_spec_branch_on_the_way(self):
        """Writing to a branch that is not there makes it, from source_branch; unless that is not wanted."""
        self.fill("a")
        self.main.commit("a")
        self.repository.branch("base").create("main~1")
        self.file_system().pipe_file(f"{self.bucket}/one/b", b"b")
        self.file_system(source_branch="base").pipe_file(f"{self.bucket}/two/b", b"b")
        self.assertEqual(set(self.below(f"{self.bucket}/one")), {"a", "b"})
        self.assertEqual(set(self.below(f"{self.bucket}/two")), {"b"})
        with self.assertRaises(FileNotFoundError):
            self.file_system(create_branch_ok=False, pre_sign=False).pipe_file(f"{self.bucket}/three/b", b"b")
        self.assertEqual([branch.id for branch in self.repository.branches()], ["base", "main", "one", "two"])

    def test_spec_refs(self):
        """Files of tags, commits and expressions are read by the same addresses."""
        for text in (b"1", b"2"):
            self.fill("a", body=text)
            commit = self.main.commit("m")
        self.repository.tag("v1.0").create("main~1")
        for ref, text in (("main", b"2"), ("main@", b"2"), ("main~1", b"1"), ("v1.0", b"1"), (commit.id, b"2"), (commit.id[:10], b"2")):
            self.assertEqual(self.files.cat_file(f"lakefs://{self.bucket}/{ref}/a"), text, ref)
            self.assertEqual(self.files.ls(f"{self.bucket}/{ref}/", False), [f"{self.bucket}/{ref}/a"])

    def test_spec_transaction(self):
        """commit, tag, merge, revert and rev_parse within a transaction; what is done comes to the base branch at the end."""
        with self.files.transaction(self.bucket, "main", branch_name="work") as transaction:
            self.files.pipe_file(f"{self.bucket}/work/a", b"1")
            first = transaction.commit("first", metadata={"k": "v"})
            self.files.pipe_file(f"{self.bucket}/work/a", b"2")
            second = transaction.commit("second")
            self.assertEqual(transaction.commit("nothing").id, second.id)
            transaction.tag(first, "v1")
            self.assertEqual(transaction.rev_parse("v1").metadata, {"k": "v"})
            reverted = transaction.revert("work", second)
            self.assertEqual(transaction.rev_parse("work").id, reverted.id)
            self.repository.branch("other").create("main")
            merged = transaction.merge("work", "other")
            self.assertIn(reverted.id, merged.parents)
            self.assertEqual(self.stored(), {}, "main has nothing of it yet")
        self.assertEqual(self.below(self.root), {"a": b"1"})
        self.assertEqual(self.below(f"{self.bucket}/other"), {"a": b"1"})
        self.assertEqual([branch.id for branch in self.repository.branches()], ["main", "other"])

    def test_spec_transaction_that_fails(self):
        """An exception goes through; the branch of the transaction stays, or goes if it is to, and the base is as it was."""
        for delete, left in (("onsuccess", ["main", "work"]), ("always", ["main"])):
            with warnings.catch_warnings(), self.assertRaises(KeyError):
                warnings.simplefilter("ignore")  # of what was not committed
                with self.files.transaction(self.bucket, "main", branch_name="work", delete=delete):
                    self.files.pipe_file(f"{self.bucket}/work/a", b"1")
                    raise KeyError
            self.assertEqual(self.stored(), {})
            self.assertEqual([branch.id for branch in self.repository.branches()], left)
            if "work" in left:
                self.repository.branch("work").delete()

    def test_spec_transaction_kept(self):
        """Without automerge and delete the branch stays, and the base gets nothing; what is not committed is warned of."""
        with self.assertWarns(UserWarning), self.files.transaction(
                self.bucket, "main", branch_name="work", automerge=False, delete="never") as transaction:
            self.files.pipe_file(f"{self.bucket}/work/a", b"1")
            transaction.commit("m")
            self.files.pipe_file(f"{self.bucket}/work/b", b"1")
        self.assertEqual(self.stored(), {})
        self.assertEqual(set(self.below(f"{self.bucket}/work")), {"a", "b"})
        with self.assertRaises(ValueError), self.files.transaction("no-such-repository"):
            pass


class ErrorsTest(FileSystemTest):
    def test_spec_errors(self):
        """What lakeFS refuses is Python's own: FileNotFoundError, PermissionError, EINVAL, and names the file."""
        self.fill("a")
        self.main.commit("a")
        for path in (f"{self.bucket}/nowhere/a", "no-such-repository/main/a"):
            for call in (self.files.info, self.files.cat_file, self.files.ls):
                with self.assertRaises(FileNotFoundError) as raised:
                    call(path)
                self.assertIn(path, str(raised.exception))
            self.assertFalse(self.files.exists(path))
        with self.assertRaises(FileNotFoundError):
            self.files.cp(f"{self.root}/nothing", f"{self.root}/b")
        with self.assertRaises(ValueError):
            self.files.info("lakefs://NOT A REPOSITORY/main/a")
        kept = self.file_system(create_branch_ok=False, pre_sign=False)
        with self.assertRaises(OSError) as raised:
            kept.pipe_file(f"{self.root}~1/a", b"x")
        self.assertEqual(raised.exception.errno, errno.EINVAL)

    def test_spec_not_allowed(self):
        """Wrong keys, a user without rights, and a protected branch, are PermissionError."""
        with self.assertRaises(PermissionError):
            self.file_system(password="wrong").ls(f"{self.root}/")
        auth = self.files.client.sdk_client.auth_api
        auth.create_user(user_creation=lakefs_sdk.UserCreation(id="spec-nobody"))
        self.addCleanup(auth.delete_user, "spec-nobody")
        keys = auth.create_credentials("spec-nobody")
        nobody = self.file_system(
            username=keys.access_key_id, password=keys.secret_access_key, pre_sign=False, create_branch_ok=False)
        for call in (nobody.exists, nobody.info, nobody.ls, nobody.cat_file, nobody.rm, lambda path: nobody.pipe_file(path, b"x")):
            with self.assertRaises(PermissionError):
                call(f"{self.root}/a")
        self.files.client.sdk_client.repositories_api.set_branch_protection_rules(
            self.bucket, [lakefs_sdk.BranchProtectionRule(pattern="main")])
        for sign in (False, True):
            with self.assertRaises(PermissionError), self.files.open(f"{self.root}/a", "wb", pre_sign=sign) as file:
                file.write(b"x")
        self.assertEqual(self.stored(), {})


class LibrariesTest(FileSystemTest):
    def test_spec_pandas(self):
        """pandas by lakefs:// addresses and storage_options: parquet, some columns of it, CSV, JSON, from an older commit."""
        import pandas
        frame = pandas.DataFrame({"x": range(10_000), "y": [f"row {number}" for number in range(10_000)]})
        root, options = f"lakefs://{self.root}/data", self.options
        frame.to_parquet(f"{root}/frame.parquet", storage_options=options)
        frame.to_csv(f"{root}/frame.csv", storage_options=options, index=False)
        frame.to_json(f"{root}/frame.json", storage_options=options)
        self.main.commit("frames")
        frame.tail(1).to_parquet(f"{root}/frame.parquet", storage_options=options)
        self.assertTrue(frame.equals(pandas.read_csv(f"{root}/frame.csv", storage_options=options)))
        self.assertEqual(len(pandas.read_json(f"{root}/frame.json", storage_options=options)), 10_000)
        self.assertEqual(len(pandas.read_parquet(f"{root}/frame.parquet", storage_options=options)), 1)
        older = pandas.read_parquet(f"lakefs://{self.root}@/data/frame.parquet", storage_options=options)
        self.assertTrue(frame.equals(older))
        columns = pandas.read_parquet(f"lakefs://{self.root}@/data/frame.parquet", storage_options=options, columns=["x"])
        self.assertEqual(columns["x"].sum(), sum(range(10_000)))

    def test_spec_pandas_in_parts(self):
        """A parquet set of folders by partition, written and filtered, in a transaction as the documentation has it."""
        import pandas
        frame = pandas.DataFrame({"n": range(300), "kind": ["a", "b b", "c"] * 100})
        with self.files.transaction(self.bucket, "main") as transaction:
            target = f"lakefs://{self.bucket}/{transaction.branch.id}/set"
            frame.to_parquet(target, storage_options=self.options, partition_cols=["kind"])
            transaction.commit("set")
        self.assertEqual({path.split("/")[0] for path in self.stored("set/")}, {"kind=a", "kind=b%20b", "kind=c"})
        found = pandas.read_parquet(f"lakefs://{self.root}/set", storage_options=self.options, filters=[("kind", "==", "b b")])
        self.assertEqual(sorted(found["n"]), list(range(1, 300, 3)))

    def test_spec_pyarrow(self):
        """pyarrow takes the file system for its data sets."""
        import pyarrow.dataset
        table = pyarrow.table({"n": range(5000)})
        pyarrow.dataset.write_dataset(table, f"{self.root}/set", format="parquet", filesystem=self.files)
        found = pyarrow.dataset.dataset(f"{self.root}/set", filesystem=self.file_system())
        self.assertEqual(found.count_rows(), 5000)
        self.assertEqual(found.to_table(filter=pyarrow.dataset.field("n") < 7)["n"].to_pylist(), list(range(7)))

    def test_spec_polars(self):
        """polars reads what fsspec opens, as the README has it."""
        import polars
        frame = polars.DataFrame({"n": list(range(5000))})
        with fsspec.open(f"lakefs://{self.root}/frame.parquet", "wb", **self.options) as file:
            frame.write_parquet(file)
        found = polars.read_parquet(f"lakefs://{self.root}/frame.parquet", use_pyarrow=True, storage_options=self.options)
        self.assertTrue(found.equals(frame))

    def test_spec_duckdb(self):
        """DuckDB takes the file system for lakefs:// addresses, as the README has it: one file, and all of a pattern."""
        import duckdb
        import pandas
        for kind in ("a", "b"):
            pandas.DataFrame({"n": range(1000), "kind": kind}).to_parquet(
                f"lakefs://{self.root}/{kind}.parquet", storage_options=self.options)
        with duckdb.connect() as database:
            database.register_filesystem(self.files)
            self.assertEqual(database.read_parquet(f"lakefs://{self.root}/a.parquet").count("*").fetchall(), [(1000,)])
            found = database.sql(f"select kind, sum(n) from 'lakefs://{self.root}/*.parquet' group by kind order by kind")
            self.assertEqual(found.fetchall(), [("a", 499_500), ("b", 499_500)])
            database.sql(f"copy (select 1 as one) to 'lakefs://{self.root}/one.parquet'")
        self.assertEqual(pandas.read_parquet(f"lakefs://{self.root}/one.parquet", storage_options=self.options)["one"][0], 1)

    def test_spec_cached(self):
        """fsspec's cache over it: a file is fetched once, and again when it has changed, as its checksum tells."""
        def read():
            files = fsspec.filesystem("filecache", target_protocol="lakefs", target_options=self.options | {
                "use_listings_cache": False}, cache_storage=str(self.scratch / "cache"), check_files=True)
            return files.cat_file(f"{self.root}/a")
        self.fill("a", body=b"first")
        self.assertEqual((read(), read()), (b"first", b"first"))
        self.assertEqual(sum(path.read_bytes() == b"first" for path in (self.scratch / "cache").iterdir()), 1)
        self.fill("a", body=b"second")
        self.assertEqual(read(), b"second")
