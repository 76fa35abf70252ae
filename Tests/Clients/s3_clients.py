#!/usr/bin/env python3
"""S3 clients of many families, each at its everyday work, against a server of its own. Start it with run.sh; names of tests may follow.

Nothing here knows what is being tested but its address: a client that is content with S3 is to be content with us.
"""
import concurrent.futures
import hashlib
import os
import pathlib
import shutil
import subprocess
import sys
import time
import unittest

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "EndToEnd"))
import lake  # noqa: E402

MEGABYTE = 1 << 20


class ClientTest(unittest.TestCase):
    lake: lake.Lake
    folder: pathlib.Path

    def setUp(self):
        self.bucket = self.lake.create_repository("c-" + self._testMethodName.removeprefix("test_").replace("_", "-"))
        self.scratch = self.folder / self.bucket
        self.scratch.mkdir()
        self.addCleanup(shutil.rmtree, self.scratch, ignore_errors=True)
        self.key, self.secret = self.lake.keys
        self.host = f"127.0.0.1:{self.lake.port}"

    def run_program(self, *arguments, input=None, **environment):
        """A program's standard output; it must succeed within two minutes."""
        done = subprocess.run(
            [str(argument) for argument in arguments], input=input, capture_output=True, timeout=120, cwd=self.scratch,
            env={"PATH": os.pathsep.join([str(pathlib.Path(sys.executable).parent), os.environ["PATH"]]), "HOME": str(self.scratch),
                 "LANG": "C.UTF-8", "AWS_ACCESS_KEY_ID": self.key, "AWS_SECRET_ACCESS_KEY": self.secret,
                 "AWS_REGION": "us-east-1", "AWS_DEFAULT_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true", **environment})
        self.assertEqual(done.returncode, 0, f"{arguments}: {done.stdout[-2000:]}{done.stderr[-2000:]}")
        return done.stdout.decode()

    def tree(self, name="tree"):
        """A folder of files of all sizes and odd names, and what is in it."""
        files = {"empty": b"", "small": b"x" * 100, "a b/ü+%&=": os.urandom(5000), "deep/er/est/file.bin": os.urandom(MEGABYTE),
                 "parts": os.urandom(20 * MEGABYTE)}
        for path, body in files.items():
            target = self.scratch / name / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(body)
        return self.scratch / name, files

    def below(self, folder):
        return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    def stored(self, prefix=""):
        """What REST shows below a prefix of the branch."""
        paths, after = {}, ""
        while True:
            page = self.lake.ask("GET", f"/repositories/{self.bucket}/refs/main/objects/ls",
                                 prefix=prefix, after=after, amount=1000).json
            for item in page["results"]:
                paths[item["path"].removeprefix(prefix)] = item["size_bytes"]
            if not page["pagination"]["has_more"]:
                return paths
            after = page["pagination"]["next_offset"]


class ProgramTest(ClientTest):
    def s3cmd(self, *arguments, input=None):
        return self.run_program(
            "s3cmd", f"--host={self.host}", f"--host-bucket={self.host}", "--no-ssl", f"--access_key={self.key}",
            f"--secret_key={self.secret}", "--no-progress", *self.signature, *arguments, input=input)

    def use_s3cmd(self):
        tree, files = self.tree()
        target = f"s3://{self.bucket}/main/tree/"
        self.s3cmd("sync", f"{tree}/", target)
        self.assertEqual(self.stored("tree/"), {path: len(body) for path, body in files.items()})
        self.assertEqual(self.s3cmd("sync", f"{tree}/", target).count("upload:"), 0, "a second sync has nothing to do")
        (tree / "small").unlink()
        self.s3cmd("sync", "--delete-removed", f"{tree}/", target)
        self.assertNotIn("small", self.stored("tree/"))
        (self.scratch / "back").mkdir()
        self.s3cmd("sync", target, f"{self.scratch}/back/")
        self.assertEqual(self.below(self.scratch / "back"), self.below(tree))
        self.s3cmd("cp", target + "parts", f"s3://{self.bucket}/main/copy")
        self.assertIn(str(20 * MEGABYTE), self.s3cmd("info", f"s3://{self.bucket}/main/copy"))
        self.assertIn(self.bucket, self.s3cmd("ls"))
        self.assertIn("main/copy", self.s3cmd("ls", f"s3://{self.bucket}/main/"))
        self.s3cmd("mv", f"s3://{self.bucket}/main/copy", f"s3://{self.bucket}/main/moved")
        self.s3cmd("del", "--recursive", "--force", f"s3://{self.bucket}/main/")
        self.assertEqual(self.stored(), {})

    def test_s3cmd(self):
        self.signature = []
        self.use_s3cmd()

    def test_s3cmd_of_old(self):
        self.signature = ["--signature-v2"]
        self.use_s3cmd()

    def rclone(self, *arguments, input=None):
        return self.run_program(
            "rclone", *arguments, "--config", self.scratch / "rclone.conf", input=input, RCLONE_CONFIG_LAKE_TYPE="s3",
            RCLONE_CONFIG_LAKE_PROVIDER="Other", RCLONE_CONFIG_LAKE_ENDPOINT=self.lake.endpoint,
            RCLONE_CONFIG_LAKE_ACCESS_KEY_ID=self.key, RCLONE_CONFIG_LAKE_SECRET_ACCESS_KEY=self.secret)

    def test_rclone(self):
        tree, files = self.tree()
        target = f"lake:{self.bucket}/main/tree"
        self.rclone("sync", tree, target, "--s3-upload-cutoff", "6M", "--s3-chunk-size", "5M")
        self.rclone("check", tree, target)
        self.rclone("check", tree, target, "--download")
        (tree / "empty").unlink()
        (tree / "small").write_bytes(b"other")
        self.rclone("sync", tree, target)
        self.assertEqual(self.stored("tree/"), {path: len(body) for path, body in self.below(tree).items()})
        self.rclone("rcat", target + "/streamed", input=b"z" * 3 * MEGABYTE)
        self.assertEqual(len(self.rclone("cat", target + "/streamed")), 3 * MEGABYTE)
        self.rclone("moveto", target + "/streamed", target + "/moved")
        self.assertIn("moved", self.rclone("lsf", target))
        self.rclone("copy", target, self.scratch / "back")
        self.assertEqual(set(self.below(self.scratch / "back")), set(self.stored("tree/")))
        self.rclone("purge", target)
        self.assertEqual(self.stored("tree/"), {})

    def test_rclone_mount(self):
        where = self.scratch / "mount"
        where.mkdir()
        mount = subprocess.Popen(
            ["rclone", "mount", f"lake:{self.bucket}/main", where, "--vfs-cache-mode", "writes", "--config", self.scratch / "conf",
             "--vfs-write-back", "0s", "--cache-dir", self.scratch / "cache"],
            env={"PATH": os.environ["PATH"], "HOME": str(self.scratch), "RCLONE_CONFIG_LAKE_TYPE": "s3",
                 "RCLONE_CONFIG_LAKE_PROVIDER": "Other", "RCLONE_CONFIG_LAKE_ENDPOINT": self.lake.endpoint,
                 "RCLONE_CONFIG_LAKE_ACCESS_KEY_ID": self.key, "RCLONE_CONFIG_LAKE_SECRET_ACCESS_KEY": self.secret})
        self.addCleanup(mount.wait)
        self.addCleanup(mount.terminate)
        lake.wait_until(lambda: lake.is_mounted(where), 20, "rclone has mounted")
        (where / "d").mkdir()
        (where / "d/f").write_bytes(b"text")
        lake.wait_until(lambda: self.stored().get("d/f") == 4, 20, "rclone has written")
        self.assertEqual((where / "d/f").read_bytes(), b"text")
        os.rename(where / "d/f", where / "d/g")
        lake.wait_until(lambda: "d/f" not in self.stored() and "d/g" in self.stored(), 20, "rclone has renamed")

    def s5cmd(self, *arguments, input=None):
        return self.run_program("s5cmd", "--endpoint-url", self.lake.endpoint, *arguments, input=input)

    def test_s5cmd(self):
        tree, files = self.tree()
        target = f"s3://{self.bucket}/main/tree/"
        self.s5cmd("cp", "--part-size", "5", f"{tree}/", target)
        self.assertEqual(self.stored("tree/"), {path: len(body) for path, body in files.items()})
        (tree / "small").unlink()
        self.s5cmd("sync", "--delete", f"{tree}/", target)
        self.assertNotIn("small", self.stored("tree/"))
        self.s5cmd("cp", target + "*", f"{self.scratch}/back/")
        self.assertEqual(self.below(self.scratch / "back"), self.below(tree))
        self.s5cmd("cp", target + "*", f"s3://{self.bucket}/main/copies/")
        self.assertEqual(self.stored("copies/"), self.stored("tree/"))
        self.s5cmd("pipe", f"s3://{self.bucket}/main/piped", input=b"through a pipe")
        self.assertEqual(self.s5cmd("cat", f"s3://{self.bucket}/main/piped"), "through a pipe")
        self.s5cmd("rm", f"s3://{self.bucket}/main/*")
        self.assertEqual(self.stored(), {})

    def test_restic(self):
        tree, files = self.tree()

        def restic(*arguments):
            return self.run_program(
                "restic", "-r", f"s3:{self.lake.endpoint}/{self.bucket}/main/backup", *arguments, RESTIC_PASSWORD="secret",
                RESTIC_CACHE_DIR=str(self.scratch / "cache"))
        restic("init")
        restic("backup", tree)
        (tree / "small").write_bytes(b"changed")
        restic("backup", tree)
        restic("check", "--read-data")
        restic("restore", "latest", "--target", self.scratch / "back")
        self.assertEqual(self.below(self.scratch / "back" / tree.relative_to("/")), self.below(tree))
        restic("forget", "--keep-last", "1", "--prune")
        restic("check")

    def test_s3fs_fuse(self):
        where = self.scratch / "mount"
        where.mkdir()
        password = self.scratch / "password"
        password.write_text(f"{self.key}:{self.secret}")
        password.chmod(0o600)
        self.run_program(
            "s3fs", f"{self.bucket}:/main", where, "-o", f"passwd_file={password}", "-o", f"url={self.lake.endpoint}",
            "-o", "use_path_request_style")
        self.addCleanup(subprocess.run, ["umount", "-l", where], check=False)
        tree, files = self.tree()
        self.run_program("cp", "-r", tree, where)
        self.assertEqual(self.below(where / "tree"), files)
        os.rename(where / "tree/small", where / "tree/renamed")
        with open(where / "tree/renamed", "ab") as file:
            file.write(b"more")
        self.assertEqual((where / "tree/renamed").read_bytes(), files["small"] + b"more")
        shutil.rmtree(where / "tree/deep")
        self.assertEqual(sorted(os.listdir(where / "tree")), ["a b", "empty", "parts", "renamed"])


class LibraryTest(ClientTest):
    @property
    def options(self):
        return {"aws_access_key_id": self.key, "aws_secret_access_key": self.secret, "aws_region": "us-east-1",
                "aws_endpoint_url": self.lake.endpoint, "aws_allow_http": "true"}

    def arrow(self):
        import pyarrow.fs
        return pyarrow.fs.S3FileSystem(
            access_key=self.key, secret_key=self.secret, scheme="http", endpoint_override=self.host, region="us-east-1")

    @staticmethod
    def table(rows=20_000):
        import pyarrow
        return pyarrow.table({"n": list(range(rows)), "kind": [("a", "b", "c")[n % 3] for n in range(rows)],
                              "text": [f"row {n}" for n in range(rows)]})

    def test_s3fs(self):
        import pandas
        import s3fs
        options = {"key": self.key, "secret": self.secret, "client_kwargs": {"endpoint_url": self.lake.endpoint}}
        files = s3fs.S3FileSystem(**options)
        root = f"{self.bucket}/main"
        body = os.urandom(12 * MEGABYTE)
        with files.open(f"{root}/d/large", "wb", block_size=5 * MEGABYTE) as file:
            file.write(body)
        with files.open(f"{root}/d/large", "rb") as file:
            file.seek(7 * MEGABYTE)
            self.assertEqual(file.read(100), body[7 * MEGABYTE:7 * MEGABYTE + 100])
        self.assertEqual(hashlib.md5(files.cat(f"{root}/d/large")).digest(), hashlib.md5(body).digest())
        files.pipe({f"{root}/d/{n}": b"%d" % n for n in range(50)})
        self.assertEqual(len(files.find(f"{root}/d")), 51)
        files.mv(f"{root}/d/1", f"{root}/e/one")
        self.assertFalse(files.exists(f"{root}/d/1"))
        files.rm(f"{root}/d", recursive=True)
        self.assertEqual(self.stored(), {"e/one": 1})
        frame = pandas.DataFrame({"x": range(1000), "y": [str(n) for n in range(1000)]})
        frame.to_parquet(f"s3://{root}/frame.parquet", storage_options=options)
        frame.to_csv(f"s3://{root}/frame.csv", storage_options=options, index=False)
        self.assertTrue(frame.equals(pandas.read_parquet(f"s3://{root}/frame.parquet", storage_options=options)))
        self.assertEqual(len(pandas.read_csv(f"s3://{root}/frame.csv", storage_options=options)), 1000)

    def test_pyarrow(self):
        import pyarrow.dataset
        files = self.arrow()
        table, root = self.table(), f"{self.bucket}/main/set"
        for mode in ("error", "delete_matching"):
            pyarrow.dataset.write_dataset(
                table, root, format="parquet", filesystem=files, partitioning=["kind"], existing_data_behavior=mode)
        found = pyarrow.dataset.dataset(root, filesystem=files, partitioning=["kind"])
        self.assertEqual(found.count_rows(), len(table))
        self.assertEqual(found.to_table(filter=pyarrow.dataset.field("kind") == "b")["n"].to_pylist()[:2], [1, 4])
        files.delete_dir(root)
        self.assertEqual(self.stored("set/"), {})

    def test_polars(self):
        import polars
        frame = polars.from_arrow(self.table())
        target = f"s3://{self.bucket}/main/frame.parquet"
        frame.write_parquet(target, storage_options=self.options)
        lazily = polars.scan_parquet(target, storage_options=self.options)
        self.assertEqual(lazily.filter(polars.col("kind") == "a").select(polars.len()).collect().item(), 6667)
        self.assertTrue(polars.read_parquet(target, storage_options=self.options).equals(frame))
        frame.lazy().sink_parquet(f"s3://{self.bucket}/main/sunk.parquet", storage_options=self.options)
        self.assertEqual(polars.scan_parquet(f"s3://{self.bucket}/main/*.parquet", storage_options=self.options).select(
            polars.len()).collect().item(), 40_000)

    def test_delta(self):
        import deltalake
        target = f"s3://{self.bucket}/main/delta"
        options = self.options | {"conditional_put": "etag"}
        deltalake.write_deltalake(target, self.table(1000), storage_options=options)
        # Writers at once: the log's next number is taken by one, who lost tries the next.
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda _: deltalake.write_deltalake(
                target, self.table(100), mode="append", storage_options=options), range(8)))
        table = deltalake.DeltaTable(target, storage_options=options)
        self.assertEqual((table.version(), len(table.to_pyarrow_table())), (8, 1800))
        table.delete("kind = 'a'")
        self.assertNotIn("a", table.to_pyarrow_table()["kind"].to_pylist())
        table.optimize.compact()
        table.vacuum(retention_hours=0, enforce_retention_duration=False, dry_run=False)
        self.assertGreater(len(deltalake.DeltaTable(target, storage_options=options).to_pyarrow_table()), 0)

    def test_iceberg(self):
        from pyiceberg.catalog.sql import SqlCatalog
        catalog = SqlCatalog("lake", **{
            "uri": f"sqlite:///{self.scratch}/catalog.db", "warehouse": f"s3://{self.bucket}/main/warehouse",
            "s3.endpoint": self.lake.endpoint, "s3.access-key-id": self.key, "s3.secret-access-key": self.secret,
            "s3.region": "us-east-1"})
        catalog.create_namespace("n")
        data = self.table(5000)
        table = catalog.create_table("n.t", schema=data.schema)
        table.append(data)
        table.append(data)
        self.assertEqual(len(table.scan().to_arrow()), 10_000)
        table.delete("kind = 'a'")
        self.assertEqual(set(table.scan(row_filter="n < 9").to_arrow()["kind"].to_pylist()), {"b", "c"})
        self.assertEqual(len(catalog.load_table("n.t").history()), 3)

    def test_obstore(self):
        import obstore
        from obstore.store import S3Store
        store = S3Store(
            self.bucket, prefix="main", endpoint=self.lake.endpoint, access_key_id=self.key, secret_access_key=self.secret,
            region="us-east-1", client_options={"allow_http": True}, conditional_put="etag")
        body = os.urandom(11 * MEGABYTE)
        obstore.put(store, "large", body, chunk_size=5 * MEGABYTE)
        self.assertEqual(bytes(obstore.get(store, "large").bytes()), body)
        self.assertEqual(bytes(obstore.get_range(store, "large", start=5, end=15)), body[5:15])
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            def create(number):
                try:
                    obstore.put(store, "one", b"%d" % number, mode="create")
                    return number
                except obstore.exceptions.AlreadyExistsError:
                    return None
            winners = [number for number in pool.map(create, range(8)) if number is not None]
        self.assertEqual(len(winners), 1)
        self.assertEqual(bytes(obstore.get(store, "one").bytes()), b"%d" % winners[0])
        for number in range(30):
            obstore.put(store, f"many/{number}", b"x")
        self.assertEqual(sum(len(page) for page in obstore.list(store, "many/")), 30)
        obstore.copy(store, "large", "copy")
        obstore.rename(store, "copy", "renamed")
        obstore.delete(store, [f"many/{number}" for number in range(30)])
        self.assertEqual(set(self.stored()), {"large", "one", "renamed"})

    def test_zarr(self):
        import numpy
        import obstore.store
        import zarr
        store = zarr.storage.ObjectStore(obstore.store.S3Store(
            self.bucket, prefix="main/array", endpoint=self.lake.endpoint, access_key_id=self.key,
            secret_access_key=self.secret, region="us-east-1", client_options={"allow_http": True}))
        values = numpy.arange(400 * 300).reshape(400, 300)
        array = zarr.create_array(store, shape=values.shape, chunks=(100, 100), dtype=values.dtype)
        array[:] = values
        array[10:20, 5] = 0
        values[10:20, 5] = 0
        self.assertTrue((zarr.open_array(store)[:] == values).all())


def main(*modules):
    """Runs the tests of these modules, of the program itself if none is named, against a server."""
    if not os.access(lake.BINARY, os.X_OK):
        sys.exit(f"{lake.BINARY} is not there: run `make build`, or name the binary in LAKEFUSE_BINARY")
    ClientTest.folder = lake.work_folder("clients")
    ClientTest.lake = lake.Lake(ClientTest.folder).start()
    names = sys.argv[1:]
    loader = unittest.TestLoader()
    loader.testNamePatterns = [f"*{name}*" for name in names] or None
    began = time.monotonic()
    tests = unittest.TestSuite(map(loader.loadTestsFromModule, modules or [sys.modules["__main__"]]))
    result = unittest.TextTestRunner(verbosity=2).run(tests)
    stopped = ClientTest.lake.stop()[0]
    print(f"{result.testsRun} tests, {len(result.failures + result.errors)} failed; {time.monotonic() - began:.0f} s")
    return 0 if result.wasSuccessful() and stopped == 0 and result.testsRun else 1


if __name__ == "__main__":
    sys.exit(main())
