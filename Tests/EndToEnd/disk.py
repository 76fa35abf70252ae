"""The mount as a local disk: what it once lost, and what every disk keeps."""
import contextlib
import ctypes
import errno
import fcntl
import mmap
import os
import pathlib
import shutil
import sqlite3
import stat
import subprocess
import threading
import time

from clients import LakeTest, read_file, write_file
from faults import OwnLakeTest
from lake import wait_until

_libc = ctypes.CDLL(None, use_errno=True)


def getdents(descriptor, size):
    """Names that one getdents64(2) with a buffer of `size` bytes gives; empty at the end."""
    buffer = ctypes.create_string_buffer(size)
    count = _libc.syscall(217, descriptor, buffer, size)
    if count < 0:
        raise OSError(ctypes.get_errno(), "getdents64")
    names, position = [], 0
    while position < count:
        length = int.from_bytes(buffer.raw[position + 16:position + 18], "little")
        names.append(buffer.raw[position + 19:position + length].split(b"\0")[0].decode())
        position += length
    return [name for name in names if name not in (".", "..")]


def as_user(number, *command):
    return subprocess.run(["setpriv", f"--reuid={number}", f"--regid={number}", "--clear-groups", *map(str, command)], capture_output=True, text=True, timeout=60)


class DiskTest(LakeTest):
    def setUp(self):
        super().setUp()
        self.bucket = self.repository()
        self.root = self.mount(self.bucket)

    def object_bytes(self, bucket=None):
        return sum(path.stat().st_blocks * 512 for path in self.lake.objects(repository=bucket or self.bucket))

    def again(self):
        """The same branch, mounted anew."""
        self.lake.unmount(self.root)
        self.lake.mount(f"lakefs://{self.bucket}/main", self.root)


class ListingTest(DiskTest):
    def test_listings_that_grow_old(self):
        """A folder is scanned slowly, with attributes, while its later names are unlinked, renamed and written again."""
        folder = self.root / "d"
        folder.mkdir()
        for number in range(900):
            write_file(folder / f"f{number:03}", b"old")
        self.again()
        scan = os.scandir(folder)
        first = [next(scan).name for _ in range(20)]
        rest = sorted({f"f{number:03}" for number in range(900)} - set(first))
        gone, renamed, written = rest[600:700], rest[700:780], rest[780:]
        for name in gone:
            os.unlink(folder / name)
        for name in renamed:
            os.rename(folder / name, folder / f"new-{name}")
        for name in written:
            write_file(folder / name, b"new bytes")
        for entry in scan:
            with contextlib.suppress(FileNotFoundError):
                entry.stat()
        for name in gone + renamed:
            with self.assertRaises(FileNotFoundError, msg=name):
                os.stat(folder / name)
        pathlib.Path("/proc/sys/vm/drop_caches").write_text("2")
        for name in written:
            self.assertEqual(read_file(folder / name), b"new bytes")
            with open(folder / name, "ab", buffering=0) as file:
                file.write(b"+")
            self.assertEqual(self.s3_get(self.bucket, f"main/d/{name}"), b"new bytes+")
        wanted = {f"f{number:03}" for number in range(900)} - set(gone) - set(renamed) | {f"new-{name}" for name in renamed}
        self.assertEqual(set(os.listdir(folder)), wanted)
        self.assertEqual({path[2:] for path in self.lake.list(self.bucket, "main", "d/")} - {""}, wanted)

    def test_readers_that_remove_as_they_go(self):
        """With a buffer for a few names, removing each name as it is read, none is missed."""
        for size in (280, 1024, 32768):
            folder = self.root / f"d{size}"
            folder.mkdir()
            for number in range(400):
                write_file(folder / f"name-{number:03}", b"x")
            descriptor, seen = os.open(folder, os.O_RDONLY | os.O_DIRECTORY), []
            while names := getdents(descriptor, size):
                for name in names:
                    seen.append(name)
                    os.unlink(folder / name)
            os.close(descriptor)
            self.assertEqual((len(seen), len(set(seen)), os.listdir(folder)), (400, 400, []), size)
            os.rmdir(folder)

    def test_rewinding(self):
        """A listing that is begun anew shows what came since."""
        descriptor = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY)
        write_file(self.root / "one", b"1")
        self.assertEqual(getdents(descriptor, 4096), ["one"])
        write_file(self.root / "two", b"2")
        os.lseek(descriptor, 0, os.SEEK_SET)
        self.assertEqual(sorted(getdents(descriptor, 4096)), ["one", "two"])
        os.close(descriptor)

    def test_numbers_stay(self):
        """Inode numbers are the same however often a file is forgotten, and in listings."""
        write_file(self.root / "f", b"1")
        (self.root / "d").mkdir()
        numbers = {name: os.stat(self.root / name).st_ino for name in ("f", "d")}
        pathlib.Path("/proc/sys/vm/drop_caches").write_text("2")
        self.assertEqual({name: os.stat(self.root / name).st_ino for name in ("f", "d")}, numbers)
        self.assertEqual({entry.name: entry.inode() for entry in os.scandir(self.root)}, numbers)
        self.again()
        self.assertEqual({entry.name: entry.inode() for entry in os.scandir(self.root)}, numbers)

    def test_folders_that_cannot_be_emptied(self):
        """Keys that cannot be files are somebody's: the folder stays, and says so."""
        for key in ("odd//x", "odd/../x", "odd/" + "n" * 300):
            self.s3_put(self.bucket, f"main/{key}", b"x")
        write_file(self.root / "odd" / "file", b"x")
        with contextlib.suppress(OSError):
            shutil.rmtree(self.root / "odd")
        self.assertFalse((self.root / "odd" / "file").exists())
        self.assert_errno(errno.ENOTEMPTY, os.rmdir, self.root / "odd")
        self.assertEqual(len(self.lake.list(self.bucket, "main", "odd/")), 3)
        deep = "/".join(["d" * 100] * 9)
        (self.root / "a" / deep).mkdir(parents=True)
        self.assert_errno(errno.ENAMETOOLONG, os.rename, self.root / "a", self.root / ("b" * 250))
        self.assertTrue((self.root / "a" / deep).is_dir())


class FactsTest(DiskTest):
    def test_folders_facts(self):
        """Times, modes and owners of folders come back, committed or not, whichever way they are asked for first."""
        source = self.scratch / "tree"
        (source / "private" / "inner").mkdir(parents=True)
        (source / "private" / "f").write_bytes(b"x")
        os.chmod(source / "private", 0o700)
        os.chown(source / "private", 1234, 4321)
        for path in (source / "private" / "inner", source / "private", source):
            os.utime(path, ns=(1_500_000_000_123_456_789, 1_500_000_000_123_456_789))
        subprocess.run(["cp", "-a", source, self.root / "tree"], check=True)
        wanted = {path: self.facts(source / path) for path in (".", "private", "private/inner", "private/f")}
        for ask in (lambda: None, lambda: subprocess.run(["ls", "-lR", self.root], stdout=subprocess.DEVNULL, check=True)):
            for commit in (False, True):
                if commit:
                    with contextlib.suppress(AssertionError):
                        self.lake.commit(self.bucket, "main")
                self.again()
                ask()
                self.assertEqual({path: self.facts(self.root / "tree" / path) for path in wanted}, wanted)
        self.assertNotEqual(as_user(65534, "cat", self.root / "tree" / "private" / "f").returncode, 0)

    def facts(self, path):
        status = os.stat(path)
        return oct(status.st_mode), status.st_uid, status.st_gid, status.st_mtime_ns

    def test_makers_own(self):
        """Who makes a file, a folder or a link owns it; a folder with the set-group-id bit gives its group."""
        os.chmod(self.root, 0o777)
        self.assertEqual(as_user(2000, "sh", "-c", f"cd {self.root} && umask 027 && touch f && mkdir d && ln -s f l").stderr, "")
        for name, mode in (("f", 0o640), ("d", 0o750), ("l", 0o777)):
            status = os.lstat(self.root / name)
            self.assertEqual((status.st_uid, status.st_gid, oct(stat.S_IMODE(status.st_mode))), (2000, 2000, oct(mode)), name)
        (self.root / "shared").mkdir()
        os.chown(self.root / "shared", 0, 3000)
        os.chmod(self.root / "shared", 0o2777)
        as_user(2000, "mkdir", self.root / "shared" / "inner")
        status = os.stat(self.root / "shared" / "inner")
        self.assertEqual((status.st_uid, status.st_gid, status.st_mode & stat.S_ISGID), (2000, 3000, stat.S_ISGID))

    def test_times(self):
        """Nanoseconds stay; a folder's time that was set holds until something comes or goes."""
        write_file(self.root / "f", b"x")
        os.utime(self.root / "f", ns=(5, 1_600_000_000_987_654_321))
        (self.root / "d").mkdir()
        os.utime(self.root / "d", ns=(5, 1_000_000_000_000_000_001))
        self.assertEqual(os.stat(self.root / "d").st_mtime_ns, 1_000_000_000_000_000_001)
        write_file(self.root / "d" / "new", b"x")
        self.assertGreater(os.stat(self.root / "d").st_mtime, time.time() - 60)
        self.again()
        self.assertEqual(os.stat(self.root / "f").st_mtime_ns, 1_600_000_000_987_654_321)

    def test_targets_are_bytes(self):
        for target in (b"plain", b"\xff\xfe/\x80", "ü".encode(), b"x" * 1000):
            os.symlink(target, os.fsencode(self.root / "l"))
            self.again()
            self.assertEqual(os.readlink(os.fsencode(self.root / "l")), target)
            os.unlink(self.root / "l")

    def test_refused_changes_do_not_show(self):
        write_file(self.root / "f", b"x")
        self.lake.ask("PUT", f"/repositories/{self.bucket}/settings/branch_protection", 204, json_body=[{"pattern": "main"}])
        self.addCleanup(self.lake.ask, "PUT", f"/repositories/{self.bucket}/settings/branch_protection", 204, json_body=[])
        before = os.stat(self.root / "f").st_mode
        self.assert_errno(errno.EACCES, os.chmod, self.root / "f", 0o600)
        self.assertEqual(os.stat(self.root / "f").st_mode, before)


class DoorsAtOnceTest(DiskTest):
    """What the mount changes beside another door's writes to the same names: nothing acknowledged is lost, nothing named is gone."""

    def at_once(self, *bodies, seconds=3):
        end, failures = time.monotonic() + seconds, []

        def run(body):
            try:
                number = 0
                while time.monotonic() < end:
                    number += 1
                    body(number)
            except Exception as error:  # told by the test
                failures.append(repr(error))

        threads = [threading.Thread(target=run, args=(body,)) for body in bodies]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(failures, [])

    def check_all(self):
        for ref in ("main", self.lake.commit(self.bucket, "main", allow_empty=True)["id"]):
            for key in self.lake.list(self.bucket, ref):
                if not key.endswith("/"):
                    self.s3_get(self.bucket, f"{ref}/{key}")

    def test_changes_beside_writes(self):
        def unless(errors, call, *arguments):
            try:
                call(*arguments)
            except OSError as error:
                if error.errno not in errors:
                    raise

        names = [self.root / name for name in ("a", "b", "c")]
        for name in names:
            write_file(name, b"begun")
        gone = (errno.ENOENT, errno.ESTALE, errno.EBUSY, errno.EAGAIN)
        self.at_once(
            lambda number: self.s3_put(self.bucket, f"main/{'abc'[number % 3]}", b"over S3 %d" % number),
            lambda number: unless(gone, os.chmod, names[number % 3], 0o600 + number % 2),
            lambda number: unless(gone, os.rename, names[number % 3], names[(number + 1) % 3]),
            lambda number: unless(gone + (errno.EEXIST,), os.link, names[number % 3], self.root / f"linked {number}") if number < 200 else time.sleep(0.01),
            lambda number: time.sleep(0.2) or self.lake.commit(self.bucket, "main", allow_empty=True))
        self.check_all()

    def test_a_folder_that_moves(self):
        """All that is acknowledged while a folder moves is where it was put, or where it moved to."""
        os.mkdir(self.root / "here")
        for number in range(500):
            self.s3_put(self.bucket, f"main/here/{number}", b"begun")
        put = {}

        def write(number):
            self.s3_put(self.bucket, f"main/here/{number * 7 % 500}", b"over S3 %d" % number)
            put.setdefault(f"{number * 7 % 500}", []).append(b"over S3 %d" % number)

        def move(number):
            if number == 1:
                time.sleep(0.1)
                with contextlib.suppress(OSError):  # EBUSY: where it keeps changing it does not move
                    os.rename(self.root / "here", self.root / "there")
            time.sleep(0.01)

        self.at_once(write, move, seconds=2)
        found = {key: self.s3_get(self.bucket, f"main/{key}") for key in self.lake.list(self.bucket, "main") if not key.endswith("/")}
        for name, bodies in put.items():
            self.assertIn(bodies[-1], (found.get(f"here/{name}"), found.get(f"there/{name}")), name)
        self.check_all()

    def test_a_here_document(self):
        """Read through a descriptor that was opened while the file was written; its name is gone."""
        with open(self.root / "f", "wb") as writer:
            writer.write(b"the text")
            writer.flush()
            reader = os.open(self.root / "f", os.O_RDONLY)
        os.unlink(self.root / "f")
        self.assertEqual(os.read(reader, 100), b"the text")
        os.close(reader)


class SpaceTest(DiskTest):
    def test_databases(self):
        """Two hundred transactions of one row on a database of 20 MiB leave one database."""
        database = sqlite3.connect(self.root / "data.db")
        database.execute("CREATE TABLE t (a INTEGER, b BLOB)")
        database.executemany("INSERT INTO t VALUES (?, ?)", ((number, os.urandom(1000)) for number in range(20_000)))
        database.commit()
        for number in range(200):
            database.execute("UPDATE t SET b = ? WHERE a = ?", (b"new", number))
            database.commit()
        database.close()
        wait_until(lambda: self.object_bytes() < 60 << 20, what="what was replaced goes")
        self.assertEqual(self.count(self.root / "data.db", "SELECT count(*) FROM t WHERE b = 'new' OR b = x'6e6577'"), 200)

    def count(self, path, query):
        with contextlib.closing(sqlite3.connect(path)) as database:
            return database.execute(query).fetchone()[0]

    def test_children_that_append(self):
        """Thirty programs whose output is appended to a log of 64 MiB leave one log."""
        with open(self.root / "log", "wb") as log:
            log.write(os.urandom(1 << 20) * 64)
        with open(self.root / "log", "ab") as log:
            for number in range(30):
                subprocess.run(["echo", f"line {number}"], stdout=log, check=True)
        wait_until(lambda: self.object_bytes() < 200 << 20, what="what was replaced goes")
        self.assertTrue(self.s3_get(self.bucket, "main/log", Range="bytes=-8").endswith(b"line 29\n"))

    def test_removed_files_leave_nothing(self):
        for number in range(20):
            write_file(self.root / "big", os.urandom(1 << 20))
        wait_until(lambda: self.object_bytes() < 3 << 20, what="what was replaced goes")
        os.unlink(self.root / "big")
        wait_until(lambda: self.object_bytes() < 1 << 20, what="what was removed goes")

    def test_sparse_files(self):
        """Holes cost no time and no space, whatever their size; what is too large is refused at once."""
        began = time.monotonic()
        with open(self.root / "sparse", "wb") as file:
            file.truncate(6 << 30)
            file.seek(3 << 30)
            file.write(b"in the middle")
        with open(self.root / "sparse", "r+b") as file:
            file.seek(1 << 30)
            file.write(b"more")
        os.truncate(self.root / "sparse", 7 << 30)
        threads = [threading.Thread(target=lambda name: os.truncate(open(self.root / name, "wb").name, 3 << 30), args=(f"s{number}",)) for number in range(10)]
        for thread in threads:
            thread.start()
        os.listdir(self.root)
        for thread in threads:
            thread.join()
        subprocess.run(["truncate", "-s", "8T", self.root / "huge"], check=True, timeout=20)
        self.assertNotEqual(subprocess.run(["truncate", "-s", "8E", self.root / "beyond"], stderr=subprocess.DEVNULL, timeout=20).returncode, 0)
        self.assertLess(time.monotonic() - began, 20)
        self.assertLess(self.object_bytes(), 64 << 20)
        self.assertEqual(self.s3_get(self.bucket, "main/sparse", Range=f"bytes={3 << 30}-{(3 << 30) + 12}"), b"in the middle")
        self.assertEqual(self.s3.head_object(Bucket=self.bucket, Key="main/sparse")["ContentLength"], 7 << 30)


class TwoMountsTest(DiskTest):
    def setUp(self):
        super().setUp()
        self.second = self.mount(self.bucket, label="second")

    def test_locks(self):
        """SQLite through both loses no row; a lock that one has the other waits for; a name is made once."""
        with contextlib.closing(sqlite3.connect(self.root / "d.db")) as database:
            database.execute("CREATE TABLE t (a)")
            database.commit()
        threads = [threading.Thread(target=self.insert, args=(where,)) for where in (self.root, self.second)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        with contextlib.closing(sqlite3.connect(self.root / "d.db")) as database:
            self.assertEqual(database.execute("SELECT count(*) FROM t").fetchone()[0], 60)
        with open(self.root / "lock", "w") as one, open(self.second / "lock", "w") as two:
            fcntl.flock(one, fcntl.LOCK_EX)
            self.assert_errno(errno.EAGAIN, fcntl.flock, two, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.close(os.open(self.root / "once", os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        self.assert_errno(errno.EEXIST, os.open, self.second / "once", os.O_CREAT | os.O_EXCL | os.O_WRONLY)
        os.close(os.open(self.second / "once", os.O_CREAT | os.O_WRONLY))

    def insert(self, where):
        database = sqlite3.connect(where / "d.db", timeout=60)
        for number in range(30):
            database.execute("INSERT INTO t VALUES (?)", (number,))
            database.commit()
        database.close()

    def test_ends(self):
        """Each goes by itself, and what was written through either stays."""
        write_file(self.second / "f", b"x")
        self.lake.unmount(self.second)
        self.assertEqual(read_file(self.root / "f"), b"x")
        self.lake.mount(f"lakefs://{self.bucket}/main", self.second)
        self.lake.unmount(self.root)
        write_file(self.second / "g", b"y")
        self.assertEqual(self.s3_get(self.bucket, "main/g"), b"y")
        self.assertEqual(sorted(os.listdir(self.second)), ["f", "g"])
        self.lake.unmount(self.second)
        self.assertNotIn(str(self.second), self.lake.command("mounts"))


class ProgramsTest(DiskTest):
    def test_git_clones(self):
        """A repository in the mount: commits, a clone of its path, garbage collection."""
        git = ["git", "-c", "user.name=t", "-c", "user.email=t@t", "-C"]
        subprocess.run(["git", "init", "-q", self.root / "one"], check=True)
        for number in range(5):
            (self.root / "one" / f"f{number}").write_text(str(number))
            subprocess.run([*git, self.root / "one", "add", "."], check=True)
            subprocess.run([*git, self.root / "one", "commit", "-qm", str(number)], check=True)
        subprocess.run(["git", "clone", "-q", self.root / "one", self.root / "two"], check=True)
        subprocess.run([*git, self.root / "two", "gc", "-q"], check=True)
        for name in ("one", "two"):
            subprocess.run([*git, self.root / name, "fsck", "--strict"], check=True, capture_output=True)
            self.assertEqual(subprocess.run([*git, self.root / name, "status", "--porcelain"], check=True, capture_output=True, text=True).stdout, "")
        self.assertEqual(sorted(os.listdir(self.root / "two")), [".git"] + [f"f{number}" for number in range(5)])

    def test_links(self):
        """Names of one file: one number, one content, at every door."""
        write_file(self.root / "one", b"shared")
        (self.root / "d").mkdir()
        os.link(self.root / "one", self.root / "d" / "two")
        self.assertEqual((os.stat(self.root / "one").st_nlink, os.stat(self.root / "one").st_ino), (2, os.stat(self.root / "d" / "two").st_ino))
        with open(self.root / "d" / "two", "ab") as file:
            file.write(b" and more")
        for key in ("main/one", "main/d/two"):
            self.assertEqual(self.s3_get(self.bucket, key), b"shared and more")
        os.unlink(self.root / "one")
        self.assertEqual((os.stat(self.root / "d" / "two").st_nlink, read_file(self.root / "d" / "two")), (1, b"shared and more"))
        with open(self.root / "new", "wb") as file:
            os.link(self.root / "new", self.root / "newer")
            file.write(b"before it was closed")
        for key in ("main/new", "main/newer"):
            self.assertEqual(self.s3_get(self.bucket, key), b"before it was closed")


class RecoveryTest(OwnLakeTest):
    def test_half_files_are_nobodys(self):
        """After kill -9 the branch has what was closed, whole, with its mode; what was open is in the mount and nowhere else."""
        bucket, modes = self.repository(), {}
        root = self.mount(bucket)
        for name, mode in (("private", 0o600), ("program", 0o755), ("plain", 0o644)):
            write_file(root / name, b"closed " * 1000)
            os.chmod(root / name, mode)
            modes[name] = oct(mode)
        for name in ("halved", "emptied"):
            write_file(root / name, b"whole " * 1000)
        open_files = [os.open(root / "halved", os.O_WRONLY), os.open(root / "emptied", os.O_WRONLY | os.O_TRUNC), os.open(root / "new", os.O_WRONLY | os.O_CREAT, 0o640)]
        os.write(open_files[0], b"HALF")
        os.ftruncate(open_files[0], 4)
        os.write(open_files[2], b"new and half")
        for descriptor in open_files:
            os.fsync(descriptor)
        self.lake.kill()
        for descriptor in open_files:
            with contextlib.suppress(OSError):
                os.close(descriptor)
        began = time.monotonic()
        self.restart()
        self.assertLess(time.monotonic() - began, 5)
        for name in ("halved", "emptied"):
            self.assertEqual(self.s3_get(bucket, f"main/{name}"), b"whole " * 1000)
        for name in modes:
            self.assertEqual(self.s3_get(bucket, f"main/{name}"), b"closed " * 1000)
        self.assertNotIn("new", self.lake.list(bucket, "main"))
        self.lake.command("mount", f"lakefs://{bucket}/main", root)
        self.assertEqual({name: oct(stat.S_IMODE(os.stat(root / name).st_mode)) for name in modes}, modes)
        self.assertEqual((read_file(root / "halved"), read_file(root / "emptied"), read_file(root / "new")), (b"HALF", b"", b"new and half"))
        self.assertEqual(oct(stat.S_IMODE(os.stat(root / "new").st_mode)), oct(0o640))
        # Another start changes nothing; closing it does.
        self.lake.unmount(root)
        self.lake.stop()
        self.restart()
        self.assertEqual(self.s3_get(bucket, "main/halved"), b"whole " * 1000)
        self.lake.command("mount", f"lakefs://{bucket}/main", root)
        with open(root / "new", "ab") as file:
            file.write(b", and now whole")
        self.assertEqual(self.s3_get(bucket, "main/new"), b"new and half, and now whole")

    def test_links_outlive_a_crash(self):
        """What was written and fsynced has after kill -9 the names that it had, and no other."""
        bucket = self.repository()
        root = self.mount(bucket)
        write_file(root / "old", b"old")
        descriptors = [os.open(root / name, os.O_CREAT | os.O_RDWR) for name in ("temporary", "kept", "old")]
        for descriptor in descriptors:
            os.pwrite(descriptor, b"written", 0)
            os.fsync(descriptor)
        os.link(root / "temporary", root / "final")
        os.unlink(root / "temporary")
        os.link(root / "kept", root / "kept too")
        os.link(root / "old", root / "old too")
        os.unlink(root / "old")
        os.fsync(descriptors[0])
        self.lake.kill()
        for descriptor in descriptors:
            with contextlib.suppress(OSError):
                os.close(descriptor)
        self.restart()
        self.lake.command("mount", f"lakefs://{bucket}/main", root)
        self.assertEqual({name: read_file(root / name) for name in sorted(os.listdir(root))}, {name: b"written" for name in ("final", "kept", "kept too", "old too")})
        with open(root / "kept", "ab") as file:
            file.write(b" on")
        self.assertEqual((self.s3_get(bucket, "main/kept"), self.s3_get(bucket, "main/kept too")), (b"written on", b"written on"))

    def test_levers(self):
        """With the kernel's levers on and off the same is read: whole, at places, mapped, by several at once, small and large."""
        bucket, bodies = self.repository(), {f"f{size}": os.urandom(size) for size in (0, 1, 100_000, 262_144, 300_001, 5_000_000)}
        for name, body in bodies.items():
            self.lake.upload(bucket, "main", name, body)
        self.lake.commit(bucket, "main")
        root = self.folder / "mounts" / f"{bucket}-levers"
        for passthrough in ("true", "false"):
            self.lake.stop()
            self.lake.environment["LAKEFUSE_MOUNTS_PASSTHROUGH"] = passthrough
            self.restart()
            self.lake.mount(f"lakefs://{bucket}/main@", root)
            for name, body in bodies.items():
                with open(root / name, "rb") as one, open(root / name, "rb", buffering=0) as two:
                    self.assertEqual((one.read(), two.read(10)), (body, body[:10]))
                    if body:
                        with mmap.mmap(one.fileno(), 0, prot=mmap.PROT_READ) as view:
                            self.assertEqual(view[:], body)
                    self.assertEqual(os.pread(two.fileno(), 1000, len(body) // 2), body[len(body) // 2:][:1000])
                self.assertEqual(read_file(root / name), body)
                self.assert_errno(errno.EROFS, open, root / name, "ab")
            self.lake.unmount(root)

    def test_a_branch_that_went(self):
        """What is open when its branch is deleted does not come up in another branch of that name."""
        bucket = self.repository()
        self.lake.ask("POST", f"/repositories/{bucket}/branches", 201, json_body={"name": "side", "source": "main"})
        root = self.mount(bucket, "side")
        file = open(root / "f", "wb")
        file.write(b"for the old one")
        self.lake.ask("DELETE", f"/repositories/{bucket}/branches/side", 204)
        self.lake.ask("POST", f"/repositories/{bucket}/branches", 201, json_body={"name": "side", "source": "main"})
        with contextlib.suppress(OSError):
            file.close()
        self.assertEqual(self.lake.list(bucket, "side"), [])
        self.lake.unmount(root)


del OwnLakeTest
