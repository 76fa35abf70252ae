"""The mount as a file system: what programs ask of a local disk. All of it passes on ext4."""
import errno
import mmap
import os
import shutil
import sqlite3
import stat
import subprocess
import tarfile

from clients import LakeTest, read_file, write_file


def make_tree(root):
    """A folder with what trees have: odd names, sizes from 0 to 300 KB, modes, times, links, an empty folder."""
    for folder in ("a/b/c/d", "empty", "naïve ☃/with space"):
        (root / folder).mkdir(parents=True)
    for number, folder in enumerate(("", "a", "a/b", "a/b/c/d", "naïve ☃", "naïve ☃/with space")):
        for size in (0, 1, 4096, 70_001, 300_000):
            file = root / folder / f"{size} bytes.dat"
            file.write_bytes((b"%d %d " % (number, size) * size)[:size])
            os.utime(file, (1_600_000_000 + number, 1_600_000_000 + size))
    (root / ("long-" * 50)).write_text("a name of 250 bytes")
    (root / "run-me").write_text("#!/bin/sh\necho I ran\n")
    (root / "run-me").chmod(0o755)
    (root / "a/private").write_text("secret")
    (root / "a/private").chmod(0o600)
    (root / "a/link").symlink_to("../run-me")
    (root / "a/dangling").symlink_to("nowhere at all")
    return root


def facts(root, times=True):
    """What there is below `root`: name to kind, content or target, permissions and time of change of a file."""
    found = {}
    for path in sorted(root.rglob("*")):
        status = path.lstat()
        if path.is_symlink():
            fact = ("link", os.readlink(path))
        elif path.is_dir():
            fact = ("folder",)
        else:
            fact = ("file", path.read_bytes(), oct(status.st_mode & 0o777), int(status.st_mtime) if times else None)
        found[str(path.relative_to(root))] = fact
    return found


class FilesTest(LakeTest):

    def setUp(self):
        super().setUp()
        self.bucket = self.repository()
        self.root = self.mount(self.bucket)

    def remount(self):
        self.lake.unmount(self.root)
        self.lake.mount(f"lakefs://{self.bucket}/main", self.root)

    def check_tree(self, copy, original, **more):
        """Now, and after a new mount."""
        wanted = facts(original, **more)
        self.assertEqual(facts(copy, **more), wanted)
        self.remount()
        self.assertEqual(facts(copy, **more), wanted)

    def run_program(self, *arguments, **more):
        done = subprocess.run([str(argument) for argument in arguments], capture_output=True, text=True, timeout=60, **more)
        self.assertEqual(done.returncode, 0, f"{arguments}: {done.stdout}{done.stderr}")
        return done.stdout

    def test_folders(self):
        """mkdir, rmdir, listing, renames of full and empty folders, and the errors of each."""
        root = self.root
        (root / "a/b").mkdir(parents=True)
        write_file(root / "a/b/file", b"x")
        self.assertEqual(os.listdir(root / "a"), ["b"])
        self.assert_errno(errno.EEXIST, os.mkdir, root / "a")
        self.assert_errno(errno.ENOTEMPTY, os.rmdir, root / "a")
        self.assert_errno(errno.ENOENT, os.rmdir, root / "none")
        self.assert_errno(errno.ENOTDIR, os.rmdir, root / "a/b/file")
        self.assert_errno(errno.ENOTDIR, os.mkdir, root / "a/b/file/c")
        self.assert_errno(errno.ENOENT, os.mkdir, root / "none/c")
        self.assert_errno(errno.EISDIR, os.unlink, root / "a/b")

        os.rename(root / "a", root / "z")
        self.assertFalse((root / "a").exists())
        self.assertEqual(read_file(root / "z/b/file"), b"x")
        self.assertEqual(self.s3_get(self.bucket, "main/z/b/file"), b"x")
        (root / "empty").mkdir()
        (root / "full").mkdir()
        write_file(root / "full/y", b"y")
        self.assert_errno(errno.ENOTEMPTY, os.rename, root / "z", root / "full")
        self.assert_errno(errno.EINVAL, os.rename, root / "z", root / "z/b/inside")
        os.rename(root / "z", root / "empty")
        self.assertEqual(sorted(os.listdir(root)), ["empty", "full"])
        self.assertEqual(read_file(root / "empty/b/file"), b"x")
        os.rename(root / "empty/b", root / "full/b")
        os.rmdir(root / "empty")
        self.assertEqual(self.lake.list(self.bucket, "main", "empty"), [])
        shutil.rmtree(root / "full")
        self.assertEqual(os.listdir(root), [])
        self.assertEqual(self.lake.list(self.bucket, "main"), [])

    def test_an_empty_folder_stays(self):
        """An empty folder survives unmount and commit, and is in a snapshot."""
        (self.root / "one/two").mkdir(parents=True)
        self.remount()
        self.assertEqual(os.listdir(self.root / "one"), ["two"])
        self.assertEqual(os.listdir(self.root / "one/two"), [])
        self.lake.commit(self.bucket, "main")
        self.remount()
        self.assertEqual(os.listdir(self.root / "one/two"), [])
        snapshot = self.mount(self.bucket, "main@", label="head")
        self.assertEqual(os.listdir(snapshot / "one/two"), [])
        os.rmdir(self.root / "one/two")
        self.remount()
        self.assertEqual(os.listdir(self.root / "one"), [])

    def test_files(self):
        """Create, write at places, truncate, append, holes, exclusive create, modes of opening, and their errors."""
        file = self.root / "file"
        self.assert_errno(errno.ENOENT, open, file, "rb")
        self.assert_errno(errno.ENOENT, open, self.root / "none/file", "wb")
        write_file(file, b"0123456789")
        self.assert_errno(errno.EEXIST, os.open, file, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
        self.assert_errno(errno.EISDIR, open, self.root, "wb")
        self.assert_errno(errno.ENAMETOOLONG, open, self.root / ("n" * 256), "wb")
        with open(file, "r+b", buffering=0) as opened:
            opened.seek(3)
            opened.write(b"abc")
            self.assertEqual(os.pread(opened.fileno(), 10, 0), b"012abc6789")
            self.assertEqual(os.fstat(opened.fileno()).st_size, 10)
        self.assertEqual(self.s3_get(self.bucket, "main/file"), b"012abc6789")
        with open(file, "ab", buffering=0) as first, open(file, "ab", buffering=0) as second:
            first.write(b"+1")
            second.write(b"+2")
            first.write(b"+3")
        self.assertEqual(read_file(file), b"012abc6789+1+2+3")
        os.truncate(file, 4)
        self.assertEqual(read_file(file), b"012a")
        os.truncate(file, 8)
        self.assertEqual(read_file(file), b"012a\0\0\0\0")
        self.assertEqual(self.s3_get(self.bucket, "main/file"), b"012a\0\0\0\0")
        with open(file, "r+b", buffering=0) as opened:
            opened.truncate(2)
            opened.seek(100_000)
            opened.write(b"end")
            os.fsync(opened.fileno())
            # Durable, and not yet what it is to be: it is a change of the branch when it is closed.
            self.assertEqual(self.s3_get(self.bucket, "main/file"), b"012a\0\0\0\0")
        self.assertEqual(read_file(file), b"01" + b"\0" * 99_998 + b"end")
        self.assertEqual(self.s3_get(self.bucket, "main/file"), b"01" + b"\0" * 99_998 + b"end")
        self.lake.commit(self.bucket, "main")
        with open(file, "r+b", buffering=0) as opened:  # a part of a committed object
            opened.seek(50_000)
            opened.write(b"middle")
        self.assertEqual(self.s3_get(self.bucket, "main/file")[49_999:50_007], b"\0middle\0")
        self.assertEqual(self.s3_get(self.bucket, "main@/file")[49_999:50_007], b"\0" * 8)

    def test_open_files(self):
        """Files that are unlinked, replaced or renamed while open; shared memory maps; copies within the mount."""
        file, other = self.root / "file", self.root / "other"
        write_file(file, b"first")
        with open(file, "r+b", buffering=0) as opened:
            os.unlink(file)
            self.assertFalse(file.exists())
            opened.write(b"FIRST and more")
            self.assertEqual(os.pread(opened.fileno(), 100, 0), b"FIRST and more")
        self.assertEqual(self.lake.list(self.bucket, "main"), [])

        write_file(file, b"old")
        write_file(other, b"new")
        with open(file, "rb", buffering=0) as opened:
            os.rename(other, file)
            self.assertEqual(opened.read(), b"old")
        self.assertEqual((read_file(file), os.listdir(self.root)), (b"new", ["file"]))
        with open(file, "wb", buffering=0) as opened:
            opened.write(b"written ")
            os.rename(file, other)
            opened.write(b"on")
        self.assertEqual((read_file(other), os.listdir(self.root)), (b"written on", ["other"]))
        self.assertEqual(self.s3_keys(self.bucket, "main/"), ["main/other"])
        self.assertEqual(self.s3_get(self.bucket, "main/other"), b"written on")

        with open(file, "w+b") as opened:
            opened.truncate(10_000)
            with mmap.mmap(opened.fileno(), 10_000) as view:
                view[5000:5003] = b"map"
                view.flush()
        self.assertEqual(read_file(file)[4999:5004], b"\0map\0")
        self.assertEqual(self.s3_get(self.bucket, "main/file")[4999:5004], b"\0map\0")
        with open(file, "rb") as source, open(other, "wb") as target:
            self.assertEqual(os.copy_file_range(source.fileno(), target.fileno(), 10_000), 10_000)
        self.assertEqual(read_file(other), read_file(file))

    def test_status(self):
        """stat, chmod, times, symbolic links, statvfs, access."""
        file, link = self.root / "file", self.root / "link"
        write_file(file, b"12345")
        status = os.stat(file)
        self.assertTrue(stat.S_ISREG(status.st_mode))
        self.assertEqual((status.st_size, status.st_nlink, status.st_uid), (5, 1, os.getuid()))
        self.assertLess(abs(status.st_mtime - os.stat(self.scratch).st_mtime), 60)
        self.assertTrue(stat.S_ISDIR(os.stat(self.root).st_mode))
        os.chmod(file, 0o640)
        os.utime(file, (1_500_000_000, 1_500_000_001))
        os.symlink("file", link)
        self.assertEqual((os.readlink(link), os.stat(link).st_size, link.is_symlink()), ("file", 5, True))
        self.remount()
        status = os.stat(file)
        self.assertEqual((oct(status.st_mode & 0o777), int(status.st_mtime)), (oct(0o640), 1_500_000_001))
        self.assertEqual(os.readlink(link), "file")
        room = os.statvfs(self.root)
        self.assertGreaterEqual(room.f_namemax, 255)
        self.assertTrue(0 < room.f_bavail <= room.f_blocks and room.f_bsize >= 512, room)

    def test_copies_of_a_tree(self):
        """Python's copytree, `cp -a` and `tar x` of one tree; and out again by `cp -a`."""
        original = make_tree(self.scratch / "original")
        archive = self.scratch / "tree.tar"
        with tarfile.open(archive, "w") as tar:
            tar.add(original, arcname="tar")
        shutil.copytree(original, self.root / "copytree", symlinks=True)
        self.check_tree(self.root / "copytree", original)
        self.run_program("cp", "-a", original, self.root / "cp")
        self.check_tree(self.root / "cp", original)
        self.run_program("tar", "xpf", archive, "-C", self.root)
        self.check_tree(self.root / "tar", original)
        self.assertEqual(self.run_program(self.root / "tar/run-me"), "I ran\n")
        self.lake.commit(self.bucket, "main")
        self.check_tree(self.root / "cp", original)
        self.run_program("cp", "-a", self.root / "cp", self.scratch / "out")
        self.assertEqual(facts(self.scratch / "out"), facts(original))
        self.run_program("rm", "-r", self.root / "cp", self.root / "tar", self.root / "copytree")
        self.assertEqual((os.listdir(self.root), self.lake.list(self.bucket, "main")), ([], []))

    def test_sqlite(self):
        """SQLite with a rollback journal and with a write-ahead log; the file over S3 is a whole database."""
        for journal in ("delete", "wal"):
            path, rows = self.root / f"{journal}.sqlite", 0
            writer = sqlite3.connect(path)
            self.assertEqual(writer.execute(f"pragma journal_mode={journal}").fetchone(), (journal,))
            writer.execute("create table t(n integer primary key, text)")
            reader = sqlite3.connect(path)
            for _ in range(5):
                with writer:
                    writer.executemany("insert into t(text) values (?)", [("x" * 300,)] * 200)
                rows += 200
                self.assertEqual(reader.execute("select count(*) from t").fetchone(), (rows,), journal)
            with self.assertRaises(ZeroDivisionError), writer:
                writer.execute("delete from t")
                1 / 0
            self.assertEqual(reader.execute("select count(*) from t").fetchone(), (rows,), journal)
            self.assertEqual(writer.execute("pragma integrity_check").fetchone(), ("ok",))
            reader.close()
            writer.close()
            copy = self.scratch / f"{journal}.sqlite"
            copy.write_bytes(self.s3_get(self.bucket, f"main/{journal}.sqlite"))
            over_s3 = sqlite3.connect(copy)
            self.assertEqual(over_s3.execute("pragma integrity_check").fetchone(), ("ok",))
            self.assertEqual(over_s3.execute("select count(*) from t").fetchone(), (rows,))
            over_s3.close()
        self.assertEqual(sorted(os.listdir(self.root)), ["delete.sqlite", "wal.sqlite"])

    def test_git(self):
        """git in the mount: init, commits, a branch, a merge, gc, fsck."""
        work = self.root / "project"
        environment = {"PATH": os.environ["PATH"], "HOME": str(self.scratch), "GIT_CONFIG_NOSYSTEM": "1"}
        for who in ("AUTHOR", "COMMITTER"):
            environment |= {f"GIT_{who}_NAME": "Test", f"GIT_{who}_EMAIL": "test@example.com"}
        git = lambda *arguments: self.run_program("git", "-C", work, *arguments, env=environment)
        self.run_program("git", "init", "-q", "-b", "trunk", work, env=environment)
        for number in range(20):
            (work / f"{number}.txt").write_text(f"{number}\n" * 100)
        git("add", ".")
        git("commit", "-q", "-m", "first")
        git("checkout", "-q", "-b", "side")
        (work / "3.txt").write_text("changed on the side\n")
        git("commit", "-q", "-a", "-m", "second")
        git("checkout", "-q", "trunk")
        self.assertEqual((work / "3.txt").read_text(), "3\n" * 100)
        git("merge", "-q", "--no-ff", "-m", "merged", "side")
        git("gc", "-q")
        git("fsck", "--strict")
        self.remount()
        self.assertEqual(git("status", "--porcelain"), "")
        self.assertEqual(git("log", "--format=%s", "--first-parent").split(), ["merged", "first"])
        self.assertEqual(self.s3_get(self.bucket, "main/project/3.txt"), b"changed on the side\n")
