"""PyPI's `lakefs` at objects: read and written in all modes, by presigned addresses too, listed, imported. run.sh runs it."""
import concurrent.futures
import contextlib
import csv
import datetime
import functools
import io
import os

import lakefs
import lakefs_sdk
from lakefs import exceptions

import lake
from lakefs_python import LakefsTest
from s3_clients import MEGABYTE

WRITE, EXCLUSIVE = ("w", "wb"), ("x", "xb")


def each_way(test):
    """Does the test twice: through the server, and by presigned addresses."""
    @functools.wraps(test)
    def both(self):
        for sign in (False, True):
            with self.subTest(pre_sign=sign):
                test(self, sign, self.main.object(f"object-{sign}"))
    return both


class ObjectsOfLakefsTest(LakefsTest):
    @each_way
    def test_lakefs_modes(self, sign, target):
        """Every mode of writing read in every mode of reading: text is UTF-8, bytes are bytes."""
        text = "zwölf\n\U0001f40b\r\n"
        for mode in WRITE + EXCLUSIVE:
            for body in (text, text.encode()):
                target = self.main.object(f"{sign}/{mode}/{type(body).__name__}")
                with target.writer(mode, pre_sign=sign) as writer:
                    self.assertEqual((writer.mode, writer.name), (mode, target.path))
                    self.assertTrue(writer.writable())
                    writer.write(body[:3])
                    writer.write(body[3:])
                    self.assertEqual(writer.tell(), len(text.encode()))
                    self.assertFalse(target.exists(), "nothing is there before it is closed")
                with target.reader("r", pre_sign=sign) as reader:
                    self.assertEqual(reader.read(), text)
                with target.reader("rb", pre_sign=sign) as reader:
                    self.assertEqual(reader.read(), text.encode())
        for mode in ("a", "r+", "wt"):
            with self.assertRaises(ValueError):
                self.main.object("a").writer(mode)

    @each_way
    def test_lakefs_upload(self, sign, target):
        """upload makes and replaces, with type and metadata; stat tells size, MD5, time, address."""
        target.upload(b"first", pre_sign=sign)
        target.upload("second", pre_sign=sign, content_type="text/x-test", metadata={"key": "value", "Key2": "a b"})
        found = self.main.object(target.path).stat()
        self.assertEqual((found.path, found.size_bytes, found.content_type, found.checksum), (
            target.path, 6, "text/x-test", "a9f0e61a137d86aa9db53465e0801612"))
        self.assertEqual({name.lower(): value for name, value in found.metadata.items()}, {"key": "value", "key2": "a b"})
        self.assertLess(abs(datetime.datetime.now().timestamp() - found.mtime), 60)
        self.assertTrue(found.physical_address.startswith(f"local://{self.bucket}/"), found.physical_address)

    def test_lakefs_letters_of_metadata(self):
        """Names of metadata are in lower case where they went as headers; by a presigned address they are as given."""
        given = {"lower": "1", "Upper": "2", "under_score": "3"}
        through = self.main.object("a").upload("x", pre_sign=False, metadata=given)
        self.assertEqual(through.stat().metadata, {"lower": "1", "upper": "2", "under_score": "3"})
        self.assertEqual(self.main.object("b").upload("x", pre_sign=True, metadata=given).stat().metadata, given)

    @each_way
    def test_lakefs_content_type(self, sign, target):
        """Without a type an object is bytes; the type is told by HTTP too."""
        target.upload("x", pre_sign=sign)
        self.assertEqual(target.stat().content_type, "application/octet-stream")
        target = self.main.object("typed").upload("{}", pre_sign=sign, content_type="application/json")
        self.assertEqual(target.stat().content_type, "application/json")
        self.assertEqual(self.type_by_http(target, False), "application/json")

    def type_by_http(self, target, sign):
        return self.client.sdk_client.objects_api.get_object_with_http_info(
            self.bucket, target.ref, target.path, presign=sign).headers["Content-Type"]

    def test_lakefs_content_type_by_presigned_address(self):
        """The type that was sent to a presigned address is the one that a presigned address tells, as S3 does."""
        target = self.main.object("a").upload("{}", pre_sign=True, content_type="application/json")
        self.assertEqual(self.type_by_http(target, True), "application/json")

    @each_way
    def test_lakefs_exclusive(self, sign, target):
        """x refuses what is there, as Python's FileExistsError, before a byte is written."""
        target.upload("first", mode="x", pre_sign=sign)
        for mode in EXCLUSIVE:
            with self.assertRaises(FileExistsError) as raised:
                target.upload("second", mode=mode, pre_sign=sign)
            self.assertIsInstance(raised.exception, exceptions.ObjectExistsException)
        self.assertEqual(target.reader("r", pre_sign=sign).read(), "first")
        target.delete()
        target.upload("third", mode="x", pre_sign=sign)
        self.assertEqual(target.reader("r", pre_sign=sign).read(), "third")

    @each_way
    def test_lakefs_exclusive_at_once(self, sign, target):
        """Of eight writers who all found nothing one makes the object; the others get ObjectExistsException at their close."""
        writers = [target.writer("x", pre_sign=sign) for _ in range(8)]
        for number, writer in enumerate(writers):
            writer.write(str(number))

        def close(number):
            try:
                writers[number].close()
                return number
            except exceptions.ObjectExistsException:
                return None
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            winners = [number for number in pool.map(close, range(8)) if number is not None]
        self.assertEqual(len(winners), 1)
        self.assertEqual(target.reader("r", pre_sign=sign).read(), str(winners[0]))

    @each_way
    def test_lakefs_seek(self, sign, target):
        """A reader seeks from the start, from where it is and from the end, reads n bytes, and stops at the end."""
        body = os.urandom(100_000)
        target.upload(body, pre_sign=sign)
        with target.reader("rb", pre_sign=sign) as reader:
            self.assertEqual(reader.read(10), body[:10])
            self.assertEqual(reader.seek(20, os.SEEK_CUR), 30)
            self.assertEqual(reader.read(5), body[30:35])
            self.assertEqual(reader.seek(-7, os.SEEK_END), len(body) - 7)
            self.assertEqual(reader.read(100), body[-7:])
            self.assertEqual((reader.read(1), reader.read()), (b"", b""))
            self.assertEqual(reader.seek(99_000), 99_000)
            self.assertEqual(reader.read(), body[99_000:])
            self.assertEqual(reader.tell(), len(body))
            with self.assertRaises(OSError):
                reader.seek(-1)
            with self.assertRaises(io.UnsupportedOperation):
                reader.write(b"x")
        with self.assertRaises(ValueError):
            reader.read()

    @each_way
    def test_lakefs_seek_past_the_end(self, sign, target):
        """Who begins to read past the end gets nothing, as from a file; so does who reads an empty object."""
        target.upload(b"0123456789", pre_sign=sign)
        for start in (10, 11, 1 << 40):
            with target.reader(pre_sign=sign) as reader:
                reader.seek(start)
                self.assertEqual((reader.read(5), reader.read()), (b"", b""))
                reader.seek(8)
                self.assertEqual(reader.read(), b"89")
        empty = self.main.object(f"{target.path}-empty").upload(b"", pre_sign=sign)
        self.assertEqual(empty.stat().size_bytes, 0)
        with empty.reader(pre_sign=sign) as reader:
            self.assertEqual((reader.read(1), reader.read(), reader.readline()), (b"", b"", b""))

    @each_way
    def test_lakefs_lines(self, sign, target):
        """Lines, by readline, by its limit, and by iteration, as the documentation searches an object for a word."""
        target.upload("the quick\nbrown füx\n\nlast", pre_sign=sign)
        with target.reader("r", pre_sign=sign) as reader:
            self.assertEqual([line for line in reader if "quick" in line], ["the quick\n"])
        with target.reader("rb", pre_sign=sign) as reader:
            self.assertEqual((reader.readline(3), reader.readline()), (b"the", b" quick\n"))
            self.assertEqual(list(reader), ["brown füx\n".encode(), b"\n", b"last"])

    @each_way
    def test_lakefs_large(self, sign, target):
        """40 MiB, for which the client goes over its disk, written in parts and read in ranges."""
        body = os.urandom(MEGABYTE)
        with target.writer(pre_sign=sign) as writer:
            for _ in range(40):
                writer.write(body)
        self.assertEqual(target.stat().size_bytes, 40 * MEGABYTE)
        with target.reader(pre_sign=sign) as reader:
            reader.seek(-MEGABYTE - 10, os.SEEK_END)
            self.assertEqual(reader.read(), body[-10:] + body)
            reader.seek(0)
            self.assertEqual(reader.read(), body * 40)

    @each_way
    def test_lakefs_discarded(self, sign, target):
        """What is discarded, or left by an exception, is never there."""
        writer = target.writer(pre_sign=sign)
        writer.write("x")
        writer.discard()
        with contextlib.suppress(KeyError), target.writer(pre_sign=sign) as writer:
            writer.write("x")
            raise KeyError
        self.assertFalse(target.exists())
        self.assertEqual(list(self.main.uncommitted()), [])

    @each_way
    def test_lakefs_odd_names(self, sign, target):
        """Keys of any letters are written, read, listed, told of, copied and deleted."""
        names = sorted(f"{sign}/{name}" for name in (
            "a b", "ü/ö", "50%", "%41", "a+b", "a&b=c", "q?x#y", "/a//b/", "..", "d/./e", "'\"", "\U0001f40b", "x" * 900))
        for name in names:
            self.main.object(name).upload(name, pre_sign=sign)
            self.assertEqual(self.main.object(name).reader("r", pre_sign=sign).read(), name)
            self.assertEqual(self.main.object(name).stat().path, name)
        found = [item.path for item in self.main.objects(prefix=f"{sign}/")]
        self.assertEqual(found, sorted(names, key=str.encode))
        self.assertEqual(self.main.object(names[3]).copy("main", f"copy {sign} +%").reader("r").read(), names[3])
        self.main.delete_objects(found)
        self.assertEqual(list(self.main.objects(prefix=f"{sign}/")), [])

    def test_lakefs_presigned_stat(self):
        """stat and listing by pre_sign give an address that anyone may read for a time."""
        self.main.object("a").upload("text")
        found = self.main.object("a").stat(pre_sign=True)
        listed = next(self.main.objects(presign=True))
        for address in (found.physical_address, listed.physical_address):
            self.assertRegex(address, "^http")
            answer = self.client.sdk_client.objects_api.api_client.rest_client.pool_manager.request("GET", address)
            self.assertEqual((answer.status, answer.data), (200, b"text"))
        self.assertGreater(found.physical_address_expiry, datetime.datetime.now().timestamp())
        self.assertTrue(self.main.object("a").stat().physical_address.startswith("local://"))

    def test_lakefs_copy(self):
        """copy within a branch, between branches, and from a tag; what is copied keeps type and metadata."""
        source = self.main.object("a").upload("1", content_type="text/x-test", metadata={"k": "v"})
        self.commit(b="1")
        self.repository.tag("t").create("main")
        work = self.repository.branch("work").create("main")
        source.upload("2")
        self.assertEqual(source.copy("main", "copy").reader("r").read(), "2")
        copied = self.repository.tag("t").object("a").copy("work", "d/copy")
        self.assertEqual((copied.ref, copied.path, copied.reader("r").read()), ("work", "d/copy", "1"))
        self.assertEqual((copied.stat().content_type, copied.stat().metadata), ("text/x-test", {"k": "v"}))
        self.assertEqual(set(self.contents(work)), {"a", "b", "d/copy"})
        for call in (lambda: self.main.object("nothing").copy("main", "x"), lambda: source.copy("nowhere", "x")):
            with self.assertRaises(exceptions.NotFoundException):
                call()

    def test_lakefs_delete(self):
        """delete of one, of many, of what is not there; what is gone is ObjectNotFoundException, and still in the commit."""
        commit = self.commit(a="1", b="2", c="3", d="4")
        self.main.object("a").delete()
        self.main.object("a").delete()
        self.main.delete_objects("b")
        self.main.delete_objects([self.main.object("c"), "never there"])
        self.assertEqual(self.contents(self.main), {"d": "4"})
        self.assertEqual(set(self.contents(commit)), {"a", "b", "c", "d"})
        self.assertFalse(self.main.object("a").exists())
        for call in (self.main.object("a").stat, self.main.object("a").reader(pre_sign=False).read,
                     self.main.object("a").reader(pre_sign=True).read):
            with self.assertRaises(exceptions.ObjectNotFoundException):
                call()
        with self.assertRaises(exceptions.ObjectNotFoundException):
            self.repository.branch("nowhere").object("a").delete()

    def test_lakefs_delete_too_many(self):
        """Up to 1000 objects at once; more are BadRequestException and delete nothing."""
        self.main.object("a").upload("1")
        with self.assertRaises(exceptions.BadRequestException):
            self.main.delete_objects(["a"] + [f"n{number}" for number in range(1000)])
        self.assertTrue(self.main.object("a").exists())

    def test_lakefs_no_branch(self):
        """What is written where no branch is, a tag or a commit, is NotFoundException or BadRequestException."""
        commit = self.commit(a="1")
        self.repository.tag("t").create("main")
        for name in ("nowhere", "t", commit.id):
            with self.assertRaises(exceptions.NotFoundException):
                self.repository.branch(name).object("a").upload("x", pre_sign=False)
        with self.assertRaises(exceptions.BadRequestException):
            self.repository.branch("main~1").object("a").upload("x", pre_sign=False)

    def test_lakefs_no_branch_by_presigned_address(self):
        """The same by presigned addresses: refused before anything is written."""
        for name in ("nowhere", "main~1"):
            with self.assertRaises((lakefs_sdk.exceptions.NotFoundException, lakefs_sdk.exceptions.BadRequestException)):
                self.repository.branch(name).object("a").upload("x", pre_sign=True)


    @each_way
    def test_lakefs_files_for_libraries(self, sign, target):
        """Readers and writers are files to csv and pandas, as the documentation shows: CSV by lines, parquet by seeking."""
        import pandas
        with target.writer("w", pre_sign=sign, content_type="text/csv") as writer:
            csv.writer(writer).writerows([["id", "name"], ["1", "zwölf"], ["2", "b, c"]])
        with target.reader("r", pre_sign=sign) as reader:
            self.assertEqual(list(csv.reader(reader)), [["id", "name"], ["1", "zwölf"], ["2", "b, c"]])
        with target.reader("rb", pre_sign=sign) as reader:
            self.assertEqual(list(pandas.read_csv(reader)["name"]), ["zwölf", "b, c"])
        frame = pandas.DataFrame({"n": range(10_000), "text": [f"row {number}" for number in range(10_000)]})
        with target.writer("wb", pre_sign=sign) as writer:
            frame.to_parquet(writer)
        with target.reader("rb", pre_sign=sign) as reader:
            self.assertTrue(pandas.read_parquet(reader).equals(frame))


class ListingOfLakefsTest(LakefsTest):
    def paths(self, **more):
        return [found.path for found in self.main.objects(**more)]

    def test_lakefs_listing(self):
        """prefix, delimiter, after and max_amount, alone and together; folders come as CommonPrefix."""
        for path in ("a", "d/1", "d/2", "d/e/3", "d-", "z"):
            self.main.object(path).upload("x")
        self.assertEqual(self.paths(), ["a", "d-", "d/1", "d/2", "d/e/3", "z"])
        self.assertEqual(self.paths(prefix="d"), ["d-", "d/1", "d/2", "d/e/3"])
        self.assertEqual(self.paths(delimiter="/"), ["a", "d-", "d/", "z"])
        self.assertEqual(self.paths(prefix="d/", delimiter="/"), ["d/1", "d/2", "d/e/"])
        self.assertEqual(self.paths(after="d/1"), ["d/2", "d/e/3", "z"])
        self.assertEqual(self.paths(after="d/", delimiter="/"), ["z"])
        self.assertEqual(self.paths(prefix="d/", after="d/1", max_amount=1), ["d/2"])
        self.assertEqual(self.paths(prefix="nothing"), [])
        kinds = [type(found) for found in self.main.objects(prefix="d/", delimiter="/")]
        self.assertEqual(kinds, [lakefs.ObjectInfo, lakefs.ObjectInfo, lakefs.CommonPrefix])
        for amount in (1, 2, 3):
            self.assertEqual(self.paths(amount=amount), self.paths())
            self.assertEqual(self.paths(amount=amount, delimiter="/"), self.paths(delimiter="/"))

    def test_lakefs_listing_of_thousands(self):
        """More than a page: every object once, in order, committed and not."""
        names = [f"{number % 7}/{number:04}" for number in range(2300)]
        self.lake.for_each(names[:1200], lambda connection, name: self.lake.upload(self.bucket, "main", name, b"", connection))
        self.main.commit("half")
        self.lake.for_each(names[1200:], lambda connection, name: self.lake.upload(self.bucket, "main", name, b"", connection))
        self.assertEqual(self.paths(), sorted(names))
        self.assertEqual(self.paths(max_amount=1500), sorted(names)[:1500])
        self.assertEqual(self.paths(delimiter="/"), [f"{number}/" for number in range(7)])
        self.assertEqual(len(list(self.main.uncommitted())), 1100)

    def test_lakefs_listing_tells_all(self):
        """A listing tells of an object what stat tells; metadata only if it is wanted."""
        self.main.object("a").upload("x", content_type="text/x-test", metadata={"k": "v"})
        self.assertEqual(next(self.main.objects()), self.main.object("a").stat())
        self.assertFalse(next(self.main.objects(user_metadata=False)).metadata)

    def test_lakefs_listing_of_nothing(self):
        """A reference that is not there is NotFoundException at the first item."""
        for ref in ("nowhere", "main~7", "0" * 64):
            with self.assertRaises(exceptions.NotFoundException):
                next(self.repository.ref(ref).objects())


class ImportOfLakefsTest(LakefsTest):
    """On a server of its own, for imports are off by default."""

    @classmethod
    def setUpClass(cls):
        cls.sources = cls.folder / "sources"
        cls.sources.mkdir()
        cls.lake = lake.Lake(cls.folder, "imports", LAKEFUSE_BLOCKSTORE_LOCAL_IMPORT_ENABLED="true",
                             LAKEFUSE_BLOCKSTORE_LOCAL_ALLOWED_EXTERNAL_PREFIXES=str(cls.sources)).start()

    @classmethod
    def tearDownClass(cls):
        stopped = cls.lake.stop()[0]
        del cls.lake
        assert stopped == 0, f"the server of imports ended with {stopped}"

    def source(self, **files):
        """A folder of these files that may be imported from: its address."""
        root = self.sources / self.bucket
        for path, text in files.items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(text)
        return f"local://{root}"

    def test_lakefs_import(self):
        """The documentation's example: a prefix and an object by one manager, in one commit; nothing is copied."""
        where = self.source(**{"data1/a": "1", "data1/b/c": "2", "file": "3"})
        self.commit(before="0")
        manager = self.main.import_data(commit_message="my imported data", metadata={"foo": "bar"})
        manager.prefix(f"{where}/data1/", destination="import-prefix/").object(f"{where}/file", destination="import-prefix/f")
        status = manager.run(poll_interval=datetime.timedelta(milliseconds=50))
        self.assertEqual((status.completed, status.ingested_objects, status.error), (True, 3, None))
        self.assertEqual((status.commit.message, status.commit.metadata["foo"]), ("my imported data", "bar"))
        self.assertEqual(self.main.get_commit().id, status.commit.id)
        self.assertEqual(self.contents(self.main), {
            "before": "0", "import-prefix/a": "1", "import-prefix/b/c": "2", "import-prefix/f": "3"})
        self.assertEqual(self.main.object("import-prefix/a").stat().physical_address, f"{where}/data1/a")
        self.assertEqual(manager.status().completed, True)
        for call in (manager.start, lambda: manager.object("local:///x", "y")):
            with self.assertRaises(exceptions.ImportManagerException):
                call()

    def test_lakefs_import_step_by_step(self):
        """start, status and wait; cancel of what has ended is ConflictException; an import unknown is NotFoundException."""
        where = self.source(a="1")
        manager = self.main.import_data().prefix(f"{where}/", "d/")
        for early in (manager.status, manager.wait, manager.cancel):
            with self.assertRaises(exceptions.ImportManagerException):
                early()
        self.assertEqual(manager.start(), manager.import_id)
        self.assertTrue(manager.wait(datetime.timedelta(milliseconds=50)).completed)
        self.assertEqual(self.contents(self.main), {"d/a": "1"})
        self.assertTrue(self.main.get_commit().message, "no message was given: the server's own")
        with self.assertRaises(exceptions.ConflictException):
            manager.cancel()
        manager._import_id = "unknown"
        with self.assertRaises(exceptions.NotFoundException):
            manager.status()

    def test_lakefs_import_refused(self):
        """From outside the allowed folders: ImportManagerException when it is waited for. To no branch: NotFoundException."""
        where = self.source(a="1")
        with self.assertRaises(exceptions.ImportManagerException):
            self.main.import_data("m").prefix("local:///etc/", "d/").run(datetime.timedelta(milliseconds=50))
        self.assertEqual(self.contents(self.main), {})
        with self.assertRaises(exceptions.NotFoundException):
            self.repository.branch("nowhere").import_data("m").prefix(f"{where}/", "d/").start()
