#!/usr/bin/env python3
"""Apache Spark with Hadoop's S3A on its defaults, against a server of its own. Start it with run-spark.sh; names of tests may follow.

S3A asks again for two minutes when an answer is not what S3 says, and then may still be content: so what it does is timed, generously.
"""
import contextlib
import hashlib
import json
import os
import re
import sys
import time
import uuid

import py4j.protocol
import pyspark.errors
import pyspark.sql
from pyspark.sql.functions import col

import s3_clients
from s3_clients import MEGABYTE, ClientTest

KINDS = ["plain", "a b", "c+d", "e=f", "50%", "ü/ö"]  # values that become names of folders
S3A_COMMITTERS = ("directory", "partitioned", "magic")


class SparkTest(ClientTest):
    spark: pyspark.sql.SparkSession

    @classmethod
    def setUpClass(cls):
        if hasattr(SparkTest, "spark"):
            return
        # Nobody's own Spark gets in.
        for name in [name for name in os.environ if name.startswith(("AWS_", "HADOOP_", "PYSPARK_", "SPARK_"))]:
            del os.environ[name]
        os.environ |= {"PYSPARK_PYTHON": sys.executable, "SPARK_LOCAL_IP": "127.0.0.1"}
        settings = {
            "spark.ui.enabled": "false", "spark.ui.showConsoleProgress": "false", "spark.driver.memory": "1g",
            "spark.sql.shuffle.partitions": "2",
            "spark.local.dir": cls.folder / "spark", "spark.sql.warehouse.dir": cls.folder / "warehouse",
            "spark.hadoop.hadoop.tmp.dir": cls.folder / "hadoop",  # files on their way wait there
            "spark.hadoop.fs.s3a.committer.staging.tmp.path": f"file://{cls.folder}/staging",
            "spark.hadoop.fs.s3a.endpoint": cls.lake.endpoint, "spark.hadoop.fs.s3a.path.style.access": "true",
            "spark.hadoop.fs.s3a.connection.ssl.enabled": "false", "spark.hadoop.fs.s3a.access.key": cls.lake.keys[0],
            "spark.hadoop.fs.s3a.secret.key": cls.lake.keys[1]}
        builder = pyspark.sql.SparkSession.builder.master("local[2]")
        for name, value in settings.items():
            builder = builder.config(name, str(value))
        SparkTest.spark = builder.getOrCreate()
        cls.spark.sparkContext.setLogLevel("OFF")  # what goes wrong is thrown
        # What only the first job takes is not to be counted as the server's.
        cls.spark.range(10).write.mode("overwrite").parquet(str(cls.folder / "warm"))

    def setUp(self):
        super().setUp()
        self.hadoop = self.spark._jvm.org.apache.hadoop
        self.settings = self.spark._jsc.hadoopConfiguration()
        self.root = f"s3a://{self.bucket}/main"
        # Not the only thing in the branch: test_the_only_table is about that.
        self.lake.upload(self.bucket, "main", "README", b"read me")

    @contextlib.contextmanager
    def soon(self, what, seconds=20):
        began = time.monotonic()
        yield
        self.assertLess(time.monotonic() - began, seconds, f"{what} took its time")

    @contextlib.contextmanager
    def refused(self, *exceptions):
        """Java says no, by one of these exceptions (anyone's if none is named), and soon."""
        known = (py4j.protocol.Py4JJavaError, pyspark.errors.PySparkException)  # the latter are some of Java's under their own names
        with self.soon("a refusal"), self.assertRaises(known) as raised:
            yield
        thrown = raised.exception
        name = thrown.java_exception.getClass().getSimpleName() if isinstance(thrown, known[0]) else type(thrown).__name__
        if exceptions:
            self.assertIn(name, exceptions, str(thrown)[:1000])

    def rows(self, count=3000):
        names = ", ".join(f"'{kind}'" for kind in KINDS)
        return self.spark.range(count, numPartitions=2).selectExpr(
            "id", "concat('row ', id) as text", f"element_at(array({names}), cast(id % {len(KINDS)} as int) + 1) as kind")

    def assert_rows(self, frame, count, total):
        with self.soon("reading"):
            found = frame.selectExpr("count(*)", "sum(cast(id as long))").first()
        self.assertEqual(tuple(found), (count, total))

    def path(self, name=""):
        return self.hadoop.fs.Path(name if name.startswith("s3a:") else f"{self.root}/{name}" if name else self.root)

    @property
    def files(self):
        return self.path().getFileSystem(self.settings)

    def write(self, path, body, overwrite=True, files=None):
        stream = (files or self.files).create(path, overwrite)
        stream.write(bytearray(body))
        stream.close()

    def names(self, folder):
        return sorted(status.getPath().getName() for status in self.files.listStatus(folder))

    def assert_no_uploads(self):
        self.assertFalse(self.files.listUploads("main/").hasNext(), "multipart uploads are left")


class TableTest(SparkTest):
    def use(self, kind, ending):
        target, total = f"{self.root}/tables/{kind}", sum(range(3000))

        def read():
            return self.spark.read.format(kind).option("header", "true").load(target)

        def write(frame, mode, **options):
            with self.soon(f"writing {kind}, {mode}"):
                frame.write.format(kind).mode(mode).partitionBy("kind").option("header", "true").options(**options).save(target)
            paths = self.stored(f"tables/{kind}/")
            self.assertIn("_SUCCESS", paths)
            for path in paths.keys() - {"_SUCCESS"}:
                self.assertRegex(path, rf"^kind=[^/]+/part-0000[01]-[0-9a-f-]+[.]c000[.]{ending}$")
            return len(paths) - 1
        self.assertEqual(write(self.rows(), "overwrite"), 2 * len(KINDS))
        self.assert_rows(read(), 3000, total)
        self.assertEqual({row["kind"] for row in read().select("kind").distinct().collect()}, set(KINDS))
        self.assertEqual(write(self.rows(), "append"), 4 * len(KINDS))
        self.assert_rows(read(), 6000, 2 * total)
        for number, name in enumerate(KINDS):
            self.assert_rows(read().where(col("kind") == name), 1000, 2 * sum(range(number, 3000, len(KINDS))))
        with self.refused():
            self.rows(10).write.format(kind).save(target)  # it is there
        # One folder of the table is replaced: written beside it, and renamed.
        write(self.rows().where("kind = 'c+d'").coalesce(1), "overwrite", partitionOverwriteMode="dynamic")
        self.assert_rows(read(), 5500, 2 * total - sum(range(2, 3000, len(KINDS))))
        self.assertEqual(write(self.rows(600), "overwrite"), 2 * len(KINDS))
        self.assert_rows(read(), 600, sum(range(600)))

    def test_parquet(self):
        self.use("parquet", "snappy[.]parquet")

    def test_csv(self):
        self.use("csv", "csv")

    def test_json(self):
        self.use("json", "json")

    def test_orc(self):
        self.use("orc", "snappy[.]orc")

    def test_the_only_table(self):
        """A delete that leaves a folder empty makes its marker; here the folder is the branch: an object with no name."""
        self.lake.ask("DELETE", f"/repositories/{self.bucket}/branches/main/objects", 204, path="README")
        for count in (10, 20):
            with self.soon("writing"):
                self.rows(count).write.mode("overwrite").parquet(f"{self.root}/table")
            self.assert_rows(self.spark.read.parquet(f"{self.root}/table"), count, sum(range(count)))
        self.assertEqual({path.split("/")[0] for path in self.stored()}, {"table"})
        with self.soon("deleting"):
            self.assertTrue(self.files.delete(self.path("table"), True))
        self.assertEqual(self.stored(), {})

    def test_text_in_one_file(self):
        with self.soon("text"):
            self.rows(100).coalesce(1).select("text").write.option("compression", "gzip").text(f"{self.root}/text")
            self.assertEqual(self.spark.sparkContext.textFile(f"{self.root}/text/*.gz").count(), 100)
            self.assertEqual(len(self.spark.read.format("binaryFile").load(f"{self.root}/READ*").collect()), 1)

    def test_sql(self):
        """A database whose place is in the lake, with a table that is its own: its files come and go with it."""
        with self.soon("SQL", 60):
            self.spark.sql(f"create database lake location '{self.root}/lake'")
            self.addCleanup(self.spark.sql, "drop database if exists lake cascade")
            self.spark.sql("create table lake.t (id bigint, kind string) using parquet partitioned by (kind)")
            self.spark.sql("insert into lake.t values (1, 'a b'), (2, 'c=d')")
            self.spark.sql("insert into lake.t partition (kind = 'e') values (3)")
            self.assert_rows(self.spark.table("lake.t"), 3, 6)
            self.spark.sql("insert overwrite lake.t partition (kind = 'e') values (5)")
            self.assert_rows(self.spark.table("lake.t"), 3, 8)
            self.spark.sql("alter table lake.t drop partition (kind = 'e')")
            self.spark.sql("alter table lake.t partition (kind = 'a b') rename to partition (kind = 'f+g')")
            self.assertEqual({path.split("/")[1] for path in self.stored("lake/") if "/part-" in path}, {"kind=c%3Dd", "kind=f+g"})
            self.assert_rows(self.spark.table("lake.t"), 2, 3)
            self.spark.sql("truncate table lake.t")
            self.assert_rows(self.spark.table("lake.t"), 0, None)
            self.spark.sql("drop table lake.t")
        self.assertEqual(self.stored("lake/"), {"": 0})  # its folder's marker

    def test_streaming(self):
        """A stream's log and checkpoints are files that are renamed where nothing may be yet."""
        for number in range(2):
            self.rows(100).write.mode("append").json(f"{self.root}/in")
            with self.soon("a stream", 60):
                (self.spark.readStream.schema("id long, text string, kind string").json(f"{self.root}/in")
                    .writeStream.format("parquet").option("checkpointLocation", f"{self.root}/checkpoint")
                    .trigger(availableNow=True).start(f"{self.root}/out").awaitTermination())
            self.assert_rows(self.spark.read.parquet(f"{self.root}/out"), 100 * (number + 1), 4950 * (number + 1))
        self.assertEqual({path for path in self.stored("checkpoint/commits/")}, {"0", "1"})

    def test_versions(self):
        """What was committed is read by the commit's id; neither it nor a branch that is not there can be written to."""
        self.rows(100).write.parquet(f"{self.root}/table")
        commit = self.lake.commit(self.bucket, "main")["id"]
        self.rows(200).write.mode("overwrite").parquet(f"{self.root}/table")
        self.assert_rows(self.spark.read.parquet(f"s3a://{self.bucket}/{commit}/table"), 100, 4950)
        self.assert_rows(self.spark.read.parquet(f"{self.root}/table"), 200, 19900)
        for ref in (commit, "nowhere"):
            with self.refused():
                self.rows(10).write.parquet(f"s3a://{self.bucket}/{ref}/other")
        with self.refused():
            self.spark.read.parquet(f"s3a://{self.bucket}/nowhere/table").count()


class FileSystemTest(SparkTest):
    def use(self):
        files, path = self.files, self.path
        self.assertTrue(files.mkdirs(path("d/a/b/c")))
        self.assertTrue(files.mkdirs(path("d/a/b/c")))
        for name in ("d", "d/a/b/c"):
            self.assertTrue(files.exists(path(name)) and files.getFileStatus(path(name)).isDirectory())
        self.assertEqual(self.names(path("d/a")), ["b"])
        self.assertEqual(self.names(path("d/a/b/c")), [])
        self.assertIn("d/a/b/c/", self.stored())

        body = os.urandom(100_000)
        self.write(path("d/a/b/c/f"), body)
        status = files.getFileStatus(path("d/a/b/c/f"))
        self.assertEqual((status.isFile(), status.getLen()), (True, len(body)))
        self.assertLess(abs(status.getModificationTime() / 1000 - time.time()), 60)
        self.assertEqual(self.stored("d/").get("a/b/c/f"), len(body))
        stream = files.open(path("d/a/b/c/f"))
        for offset in (90_000, 10, 50_000, 99_999):
            stream.seek(offset)
            self.assertEqual(stream.read(), body[offset])
        self.assertEqual(stream.read(), -1)
        stream.close()

        self.write(path("d/a/b/c/f"), b"other")
        self.write(path("d/empty"), b"")
        with self.refused("FileAlreadyExistsException"):
            self.write(path("d/a/b/c/f"), b"", overwrite=False)
        with self.refused("FileAlreadyExistsException"):
            self.write(path("d/a"), b"")
        with self.refused("UnsupportedOperationException"):
            files.append(path("d/a/b/c/f"))
        with self.refused("FileAlreadyExistsException", "ParentNotDirectoryException"):
            files.mkdirs(path("d/empty/below"))
        with self.refused("FileNotFoundException"):
            files.getFileStatus(path("d/none"))
        with self.refused("FileNotFoundException"):
            files.listStatus(path("d/none"))
        with self.refused("FileNotFoundException"):
            files.open(path("d/none"))
        self.assertFalse(files.exists(path("d/none")))

        self.assertTrue(files.rename(path("d/a/b/c/f"), path("d/a/b/c/g")))
        self.assertEqual(self.names(path("d/a/b/c")), ["g"])
        self.assertTrue(files.rename(path("d/a"), path("d/z")))
        self.assertEqual(self.names(path("d")), ["empty", "z"])
        self.assertTrue(files.rename(path("d/empty"), path("d/z")))  # into a folder that is there
        with self.refused("FileAlreadyExistsException"):
            files.rename(path("d/z/empty"), path("d/z/b/c/g"))
        with self.refused("FileNotFoundException"):
            files.rename(path("d/none"), path("d/some"))
        self.assertEqual(self.names(path("d/z")), ["b", "empty"])
        self.assertEqual(
            {name: size for name, size in self.stored("d/").items() if not name.endswith("/")}, {"z/b/c/g": 5, "z/empty": 0})
        summary = files.getContentSummary(path("d"))
        self.assertEqual((summary.getFileCount(), summary.getLength()), (2, 5))
        self.assertEqual(len(files.globStatus(path("d/*/b/[a-c]/?"))), 1)

        with self.refused("PathIsNotEmptyDirectoryException"):
            files.delete(path("d"), False)
        self.assertTrue(files.delete(path("d"), True))
        self.assertFalse(files.delete(path("d"), True))
        self.assertFalse(files.exists(path("d")))
        self.assertEqual(self.stored(), {"README": 7})
        # Above the branches there is a folder of them.
        self.assertEqual(self.names(path(f"s3a://{self.bucket}/")), ["main"])
        self.assertEqual(self.names(path()), ["README"])

    def test_files(self):
        with self.soon("everything"):
            self.use()

    def test_files_by_other_settings(self):
        for name, value in {
                "directory.marker.retention": "keep", "list.version": "1", "multiobjectdelete.enable": "false", "bucket.probe": "2",
                "fast.upload.buffer": "bytebuffer", "multipart.size": "5M", "experimental.input.fadvise": "random",
                "etag.checksum.enabled": "true", "signing-algorithm": "S3SignerType", "acl.default": "BucketOwnerFullControl",
                "server-side-encryption-algorithm": "AES256"}.items():
            self.settings.set(f"fs.s3a.bucket.{self.bucket}.{name}", value)
        with self.soon("everything"):
            self.use()
            self.write(self.path("f"), b"x" * 6 * MEGABYTE)
            self.assertEqual(self.stored()["f"], 6 * MEGABYTE)
            self.assertRegex(self.files.getFileChecksum(self.path("f")).toString(), "-2")

    def test_names(self):
        names = ["a b", "a+b", "a=b", "a%20b", "a&b?c", "ü€😀", "it's (1), [2] {3}", "~!@$^*;#"]
        with self.soon("names"):
            for name in names:
                for place in (f"n/{name}", f"n/folder {name}/file"):
                    self.write(self.hadoop.fs.Path(self.path(), place), name.encode())
            self.assertEqual(self.stored("n/"), {
                place: len(name.encode()) for name in names for place in (name, f"folder {name}/file")})
            self.assertEqual(self.names(self.path("n")), sorted(names + [f"folder {name}" for name in names]))
            for name in names:
                folder = self.hadoop.fs.Path(self.path(), f"n/folder {name}")
                self.assertEqual(self.names(folder), ["file"])
                self.assertTrue(self.files.rename(folder, self.hadoop.fs.Path(self.path(), f"n/moved {name}")))
                self.assertTrue(self.files.delete(self.hadoop.fs.Path(self.path(), f"n/{name}"), False))
            self.assertEqual(set(self.stored("n/")), {f"moved {name}/file" for name in names})
            self.assertTrue(self.files.delete(self.path("n"), True))
        self.assertEqual(self.stored("n/"), {})

    def test_an_empty_branch(self):
        """A branch with nothing in it is a folder that is not there, as in lakeFS; whoever makes it may, and write to it."""
        self.assertTrue(self.files.delete(self.path("README"), False))
        with self.soon("mkdirs"):
            self.assertTrue(self.files.mkdirs(self.path()))
        self.write(self.path("f"), b"x")
        self.assertEqual(self.names(self.path()), ["f"])
        self.assertEqual(self.stored(), {"f": 1})

    def test_many_files(self):
        count = 2500
        self.lake.for_each(range(count), lambda connection, number: self.lake.upload(
            self.bucket, "main", f"many/{number % 3}/{number}", b"x", connection))
        with self.soon("listing"):
            found = self.files.listFiles(self.path("many"), True)
            self.assertEqual(self.files.getContentSummary(self.path("many")).getFileCount(), count)
            self.assertEqual(len(self.names(self.path("many/1"))), 833)
            self.assertTrue(found.hasNext())
        with self.soon("a rename", 60):
            self.assertTrue(self.files.rename(self.path("many"), self.path("moved")))
        self.assertEqual(len(self.stored("moved/")), count)
        with self.soon("a delete"):
            self.assertTrue(self.files.delete(self.path("moved"), True))
        self.assertEqual(self.stored(), {"README": 7})

    def test_large_file(self):
        """140 MB are three parts written, and copied in parts: that begins at 128 MiB."""
        local = self.scratch / "large"
        block = os.urandom(MEGABYTE)
        with open(local, "wb") as file:
            for number in range(140):
                file.write(number.to_bytes(8, "big") + block[8:])
        digest = hashlib.md5(local.read_bytes()).digest()
        disk = self.hadoop.fs.FileSystem.getLocal(self.settings)
        with self.soon("writing", 60):
            self.hadoop.fs.FileUtil.copy(
                disk, self.hadoop.fs.Path(str(local)), self.files, self.path("l/large"), True, self.settings)
        self.assertEqual(self.stored("l/"), {"large": 140 * MEGABYTE})
        with self.soon("renaming", 60):
            self.assertTrue(self.files.rename(self.path("l/large"), self.path("l/renamed")))
        with self.soon("reading", 60):
            self.files.copyToLocalFile(False, self.path("l/renamed"), self.hadoop.fs.Path(str(local)), True)
        self.assertEqual(hashlib.md5(local.read_bytes()).digest(), digest)
        with self.soon("uploading", 60):
            self.files.copyFromLocalFile(True, True, self.hadoop.fs.Path(str(local)), self.path("l/uploaded"))
        self.assertEqual(self.stored("l/"), {"renamed": 140 * MEGABYTE, "uploaded": 140 * MEGABYTE})
        stream = self.files.open(self.path("l/uploaded"))
        self.addCleanup(stream.close)
        for megabyte in (139, 64, 63, 0, 100):
            stream.seek(megabyte * MEGABYTE)
            self.assertEqual(stream.readLong(), megabyte)
        self.assert_no_uploads()

    def test_a_stranger(self):
        settings = self.hadoop.conf.Configuration(self.settings)
        settings.set("fs.s3a.access.key", "AKIAIOSFODNN7EXAMPLE")  # a wrong secret is a wrong clock to the SDK, which tries on
        stranger = self.hadoop.fs.FileSystem.newInstance(self.path().toUri(), settings)
        self.addCleanup(stranger.close)
        with self.refused("AccessDeniedException"):
            stranger.listStatus(self.path())
        with self.refused("AccessDeniedException"):
            self.write(self.path("f"), b"x", files=stranger)


class CommitterTest(SparkTest):
    """Spark's rows reach S3A's committers by Hadoop's own formats: pyspark comes without the adapter for tables (spark-hadoop-cloud)."""

    def committer_settings(self, name, **more):
        factory = "org.apache.hadoop.fs.s3a.commit.S3ACommitterFactory"
        return {"mapreduce.outputcommitter.factory.scheme.s3a": factory, "fs.s3a.committer.name": name,
                "fs.s3a.committer.magic.enabled": "true", "fs.s3a.committer.uuid": str(uuid.uuid4()), **more}

    def committer_of(self, folder):
        """Whose work a folder is, as S3A's committers tell in a file; "" for the plain one, whose file is empty."""
        told = self.lake.get(self.bucket, "main", f"{folder}/_SUCCESS")
        return json.loads(told)["committer"] if told else ""

    def test_tables(self):
        for version in (1, 2):
            for mode, count in (("overwrite", 2), ("append", 4), ("overwrite", 2)):
                with self.soon("writing"):
                    self.rows().write.mode(mode).option("mapreduce.fileoutputcommitter.algorithm.version", version).parquet(
                        f"{self.root}/table-{version}")
                paths = sorted(self.stored(f"table-{version}/"))
                self.assertEqual(paths.pop(0), "_SUCCESS")
                self.assertEqual([re.sub("-[0-9a-f-]{36}-c000", "", path) for path in paths],
                                 sorted(["part-00000.snappy.parquet", "part-00001.snappy.parquet"] * (count // 2)))
            self.assert_rows(self.spark.read.parquet(f"{self.root}/table-{version}"), 3000, sum(range(3000)))
        self.assert_no_uploads()

    def test_lines(self):
        rows = self.spark.sparkContext.parallelize([(None, f"line {number}") for number in range(1000)], 3)
        for name in ("file", *S3A_COMMITTERS):
            with self.subTest(name):
                target = f"{self.root}/lines/{name}"
                with self.soon("writing"):
                    rows.saveAsNewAPIHadoopFile(
                        target, "org.apache.hadoop.mapreduce.lib.output.TextOutputFormat", "org.apache.hadoop.io.NullWritable",
                        "org.apache.hadoop.io.Text", conf=self.committer_settings(name))
                self.assertEqual(self.committer_of(f"lines/{name}"), "" if name == "file" else name)
                names = {re.sub("(?<=part-r-0000[0-2])-.*", "", path) for path in self.stored(f"lines/{name}/")}
                self.assertEqual(names, {"_SUCCESS", *(f"part-r-0000{number}" for number in range(3))})
                self.assertEqual(self.spark.read.text(target).distinct().count(), 1000)
        self.assert_no_uploads()

    def visible(self, folder):
        """What readers see in a table's folder: not what begins with a line."""
        return {path for path in self.stored(f"{folder}/") if path and not path.startswith("_")}

    def work(self, folder, settings, tasks, fails=False, at_once=False):
        """Hadoop's protocol by hand: a job whose tasks write these files; a task named "lost" is aborted, as the job is if it fails."""
        conf = self.hadoop.conf.Configuration(self.settings)
        for name, value in settings.items():
            conf.set(name, value)
        kind = self.hadoop.mapreduce.TaskType.MAP
        before = self.visible(folder)
        number, factory = int(time.time()), self.hadoop.mapreduce.lib.output.PathOutputCommitterFactory

        def attempt(task):
            identity = self.hadoop.mapreduce.TaskAttemptID("test", number, kind, task, 0)
            conf.set("mapreduce.task.attempt.id", identity.toString())
            context = self.hadoop.mapreduce.task.TaskAttemptContextImpl(self.hadoop.conf.Configuration(conf), identity)
            return factory.createCommitter(self.path(folder), context), context
        job, job_context = attempt(0)
        job.setupJob(job_context)
        for task, (name, bodies) in enumerate(tasks.items()):
            committer, context = attempt(task)
            committer.setupTask(context)
            for path, body in bodies.items():
                path = self.hadoop.fs.Path(committer.getWorkPath(), path)
                self.write(path, body, files=path.getFileSystem(conf))
            self.assertTrue(committer.needsTaskCommit(context))
            (committer.abortTask if name == "lost" else committer.commitTask)(context)
        if not at_once:
            self.assertEqual(self.visible(folder), before, "nothing is to be seen before the job's end")
        if fails:
            job.abortJob(job_context, self.hadoop.mapreduce.JobStatus.State.FAILED)
        else:
            job.commitJob(job_context)

    def use(self, name, version="1"):
        at_once = version == "2"  # such tasks write where all is to be, and have no way back

        def settings(mode):
            return self.committer_settings(name, **{
                "mapreduce.fileoutputcommitter.algorithm.version": version,
                "fs.s3a.committer.staging.unique-filenames": "false", "fs.s3a.committer.staging.conflict-mode": mode})

        def stored():
            return {path: size for path, size in self.stored("job/").items() if path != "_SUCCESS"}
        with self.soon("a job"):
            self.work("job", settings("append"), {
                "one": {"day=1/part-0": b"1", "day=2/part 0+": b"22"}, "two": {"day=1/part-1": b"x" * 9 * MEGABYTE},
                "lost": {"day=3/part-2": b"333"}}, at_once=at_once)
        self.assertEqual(stored(), {"day=1/part-0": 1, "day=2/part 0+": 2, "day=1/part-1": 9 * MEGABYTE})
        self.assertEqual(self.committer_of("job"), "" if name == "file" else name)
        with self.soon("a job that fails"):
            self.work("job", settings("append"), {"one": {"day=4/part-0": b"4444"}}, True, at_once)
        left = {"day=4/part-0"} if at_once else set()
        self.assertEqual(stored().keys(), {"day=1/part-0", "day=2/part 0+", "day=1/part-1"} | left)
        with self.soon("a second job"):
            self.work("job", settings("replace"), {"one": {"day=1/part-5": b"55555"}}, at_once=at_once)
        # One replaces the table, one its folders that are written to, the others nothing but a file of the same name.
        kept = {"directory": set(), "partitioned": {"day=2/part 0+"}}.get(name, {"day=1/part-0", "day=2/part 0+", "day=1/part-1"})
        self.assertEqual(stored().keys(), {"day=1/part-5"} | kept | left)
        if name in ("directory", "partitioned"):
            with self.refused("PathExistsException"):
                self.work("job", settings("fail"), {"one": {"day=1/part-6": b"666666"}})
            self.assertEqual(stored().keys(), {"day=1/part-5"} | kept)
        self.assertEqual({path.split("/")[0] for path in self.stored()}, {"README", "job"})
        self.assert_no_uploads()

    def test_file_1(self):
        self.use("file")

    def test_file_2(self):
        self.use("file", version="2")

    def test_directory(self):
        self.use("directory")

    def test_partitioned(self):
        self.use("partitioned")

    def test_magic(self):
        self.use("magic")


if __name__ == "__main__":
    sys.exit(s3_clients.main())
