"""Versions inside the mount: `.lake/`, `user.lake.*`, and the commands that find the mount from any folder in it."""
import errno
import mmap
import os
import stat
import subprocess
import time

from clients import LakeTest, read_file, write_file
from faults import OwnLakeTest
from lake import BINARY


class InsideTest(LakeTest):
    def setUp(self):
        super().setUp()
        self.bucket = self.repository()
        self.root = self.mount(self.bucket)

    def control(self, name):
        return (self.root / ".lake" / name).read_text()

    def order(self, name, text):
        (self.root / ".lake" / name).write_text(text + "\n")

    def command(self, *words, folder=None, code=0):
        """A command without a server or keys in its environment: the mount is all it knows."""
        done = subprocess.run([BINARY, *map(str, words)], cwd=folder or self.root, capture_output=True, text=True, timeout=60, env={"PATH": os.environ["PATH"], "HOME": str(self.scratch)})
        self.assertEqual(done.returncode, code, done.stdout + done.stderr)
        return done.stdout if code == 0 else done.stderr

    def test_status_commit_and_log(self):
        self.assertEqual(os.listdir(self.root), [])
        self.assertEqual(sorted(os.listdir(self.root / ".lake")), sorted(["commit", "diff", "errors", "log", "push", "recover", "ref", "refs", "shadowed", "stats", "status", "unshown"]))
        (self.root / "d").mkdir()
        write_file(self.root / "d" / "f", b"one")
        os.mkfifo(self.root / "pipe")
        with open(self.root / "open", "wb") as file:
            file.write(b"half")
            file.flush()
            self.assertIn("+ added d/f\n", self.control("status"))
            self.assertIn("! local pipe: a pipe stays in the mount\n", self.control("status"))
            self.assertIn("! open open\n", self.control("status"))
            self.assertEqual(self.control("diff"), "+ added d/f\n")
            self.order("commit", "first: ü")
            commit, *rest = self.control("commit").splitlines()
            self.assertEqual(rest, ["not in it, as it is now: open is open for writing"])
        made = self.lake.ask("GET", f"/repositories/{self.bucket}/commits/{commit}", 200).json
        self.assertEqual((made["message"], made["committer"]), ("first: ü", "admin"))
        self.assertTrue(self.control("log").startswith(f"commit {commit}\n"))
        self.assertEqual(self.control("diff"), "+ added open\n")
        os.unlink(self.root / "open")
        self.assertEqual(self.control("diff"), "")
        self.assert_errno(errno.ENODATA, self.order, "commit", "nothing")
        self.assertIn("no changes", self.control("errors"))
        self.assert_errno(errno.EROFS, os.mkdir, self.root / ".lake" / "x")
        self.assert_errno(errno.EROFS, os.unlink, self.root / ".lake" / "ref")
        self.assert_errno(errno.EACCES, open, self.root / ".lake" / "diff", "w")

    def test_a_snapshot_without_opening(self):
        bodies = {f"d/{number}": os.urandom(number * 37_000) for number in range(0, 100, 9)}
        for path, body in bodies.items():
            self.lake.upload(self.bucket, "main", path, body)
        self.lake.commit(self.bucket, "main")
        self.lake.ask("POST", f"/repositories/{self.bucket}/tags", 201, json_body={"id": "v1", "ref": "main"})
        where = self.folder / "mounts" / f"{self.bucket}-v1"
        where.mkdir()
        refused = self.lake.run("mount", "--no-open", f"lakefs://{self.bucket}/main", where)
        self.assertEqual(refused.returncode, 1)
        self.assertIn("no-open is for what never changes", refused.stderr)
        self.lake.mount(f"lakefs://{self.bucket}/v1", where, "--no-open")
        self.addCleanup(self.unmount_if_mounted, where)
        for _ in range(2):
            for path, body in bodies.items():
                self.assertEqual(read_file(where / path), body)
        with open(where / "d" / "99", "rb") as file:
            self.assertEqual(file.seek(-5, os.SEEK_END), len(bodies["d/99"]) - 5)
            self.assertEqual(file.read(), bodies["d/99"][-5:])
            self.assertEqual(os.lseek(file.fileno(), 10, os.SEEK_DATA), 10)
            os.fsync(file.fileno())
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
                self.assertEqual(mapped[100_000:200_000], bodies["d/99"][100_000:200_000])
        self.assertFalse(os.path.exists(where / ".lake"))
        self.assert_errno(errno.EROFS, open, where / "d" / "9", "w")
        self.assert_errno(errno.ENOENT, open, where / "d" / "8")

    def test_keys_that_cannot_be_files(self):
        """With `a` and `a/b` the folder has the name; what is no path at all is told; none of it is lost."""
        for path in ("a", "a-b", "a/b", "d/x", "d/x/y", "d/x/y/z", "plain", "e//f", "g/./h", "n" * 300):
            self.lake.upload(self.bucket, "main", path, path.encode())
        self.assertEqual(sorted(os.listdir(self.root)), ["a", "a-b", "d", "e", "g", "plain"])
        self.assertEqual(os.listdir(self.root / "a"), ["b"])
        shadowed = self.root / ".lake" / "shadowed"
        self.assertEqual(read_file(shadowed / "a"), b"a")
        self.assertEqual(sorted(os.listdir(shadowed)), ["a", "d"])
        self.assertEqual((read_file(shadowed / "d" / "x~"), read_file(shadowed / "d" / "x" / "y")), (b"d/x", b"d/x/y"))
        self.assert_errno(errno.EROFS, write_file, shadowed / "a", b"x")
        told = [" ".join(line.split(":")[0].split()[1 if line.startswith("shadowed") else 2:]) for line in self.control("unshown").splitlines()]
        self.assertEqual(sorted(told), sorted(["a", "d/x", "d/x/y", "e//f", "g/./h", "n" * 300]))
        self.assertIn("shadowed a: ", self.command("mount", "status"))
        self.assert_errno(errno.ENOTEMPTY, os.rmdir, self.root / "e")
        self.assertEqual(self.lake.get(self.bucket, "main", "a"), b"a")

    def test_a_file_that_another_door_appends_to(self):
        self.lake.upload(self.bucket, "main", "log", b"one\n")
        with subprocess.Popen(["tail", "-f", "-s", "0.1", self.root / "log"], stdout=subprocess.PIPE, text=True) as tail:
            try:
                self.assertEqual(tail.stdout.readline(), "one\n")
                for text in ("two", "three"):
                    self.lake.upload(self.bucket, "main", "log", read_file(self.root / "log") + text.encode() + b"\n")
                    self.assertEqual(tail.stdout.readline(), text + "\n")
            finally:
                tail.kill()
        # What is not appended is another file: who has the old one open keeps its bytes.
        with open(self.root / "log", "rb", buffering=0) as file:
            self.lake.upload(self.bucket, "main", "log", b"something else, and longer")
            self.assertEqual(file.read(), b"one\ntwo\nthree\n")
            self.assertEqual(read_file(self.root / "log"), b"something else, and longer")

    def test_commands(self):
        inner = self.root / "a" / "b"
        inner.mkdir(parents=True)
        write_file(inner / "f", b"x")
        self.assertIn("+ added a/b/f\n", self.command("status", folder=inner))
        self.assertEqual(self.command("diff", folder=inner), "+ added a/b/f\n")
        commit = self.command("commit", "-m", "by command", folder=inner).split()[0]
        self.assertIn(commit, self.command("log", folder=inner))
        self.command("sync", folder=inner)
        self.command("push", folder=inner)
        self.assertEqual(self.command("recover", folder=inner), "")
        self.assertIn("not found", self.command("recover", "nope", folder=inner, code=1))
        self.assertIn("no mount", self.command("status", folder=self.scratch, code=1))
        self.assertIn("not found", self.command("switch", "no-such-ref", code=1))
        # A shell below the root goes on in the old ref's folder, and is told so.
        for folder, told in ((self.root, ""), (inner, f"this shell's folder is still the old ref's: cd to {self.root} to see and change the new one\n")):
            done = subprocess.run([BINARY, "switch", "main"], cwd=folder, capture_output=True, text=True, timeout=60, env={"PATH": os.environ["PATH"], "HOME": str(self.scratch)})
            self.assertEqual((done.returncode, done.stdout, done.stderr), (0, f"{self.root} shows main\n", told))

    def test_switching(self):
        """The mount shows another ref at once; what is open keeps its bytes; nothing written is lost or comes to another branch."""
        write_file(self.root / "f", b"main")
        (self.root / "d").mkdir()
        write_file(self.root / "d" / "only on main", b"1")
        first = self.lake.commit(self.bucket, "main")["id"]
        self.lake.ask("POST", f"/repositories/{self.bucket}/branches", 201, json_body={"name": "side", "source": "main"})
        opened, written = open(self.root / "f", "rb", buffering=0), open(self.root / "begun on main", "wb")
        written.write(b"main's")
        self.command("switch", "side")
        self.assertEqual(self.control("ref"), "side\n")
        os.unlink(self.root / "d" / "only on main")
        write_file(self.root / "f", b"side now")
        self.assertEqual((opened.read(), read_file(self.root / "f")), (b"main", b"side now"))
        written.close()
        opened.close()
        self.assertEqual(self.lake.list(self.bucket, "side"), ["d/", "f"])
        self.assertEqual(self.lake.list(self.bucket, "main"), ["begun on main", "d/only on main", "f"])
        self.order("ref", "main")
        self.assertEqual((sorted(os.listdir(self.root)), read_file(self.root / "f")), (["begun on main", "d", "f"], b"main"))
        self.order("ref", first)
        self.assertEqual(sorted(os.listdir(self.root)), ["d", "f"])
        self.assert_errno(errno.EROFS, write_file, self.root / "g", b"")
        self.assert_errno(errno.ENOENT, self.order, "ref", "no-such-ref")
        self.order("ref", "main")
        for number in range(80):  # more often than there is room for trees at a time
            self.order("ref", ("side", first, "main")[number % 3])
            os.listdir(self.root)
        self.order("ref", "side")
        self.assertEqual(read_file(self.root / "f"), b"side now")

    def test_browsing(self):
        write_file(self.root / "f", b"old")
        first = self.lake.commit(self.bucket, "main")["id"]
        self.lake.ask("POST", f"/repositories/{self.bucket}/tags", 201, json_body={"id": "v1", "ref": "main"})
        write_file(self.root / "f", b"newer")
        refs = self.root / ".lake" / "refs"
        self.assertEqual(sorted(os.listdir(refs)), ["main", "v1"])
        self.assertEqual([read_file(refs / ref / "f") for ref in ("v1", first, "main@", "main~0")], [b"old"] * 4)
        self.assertEqual(read_file(refs / "main" / "f"), b"newer")
        self.assert_errno(errno.EROFS, write_file, refs / "v1" / "f", b"")
        self.assert_errno(errno.ENOENT, os.stat, refs / "nothing")
        self.assertEqual(subprocess.run(["diff", "-r", refs / "v1", refs / first]).returncode, 0)

    def test_attributes(self):
        write_file(self.root / "f", b"x")
        path = self.root / "f"
        self.assertEqual(os.getxattr(path, "user.lake.state"), b"added")
        self.lake.list(self.bucket, "main")
        commit = self.lake.commit(self.bucket, "main")["id"]
        self.assertEqual({name: os.getxattr(path, f"user.lake.{name}").decode() for name in ("state", "commit", "checksum")},
                         {"state": "committed", "commit": commit, "checksum": "9dd4e461268c8034f5c8564e155c67a6"})
        write_file(path, b"y")
        self.assertEqual(os.getxattr(path, "user.lake.state"), b"changed")
        self.assert_errno(errno.EPERM, os.setxattr, path, "user.lake.state", b"")
        self.assert_errno(errno.ENOTSUP, os.setxattr, path, "trusted.x", b"")
        self.assert_errno(errno.ENODATA, os.getxattr, path, "user.none")
        os.setxattr(path, "user.x", b"1" * 1000)
        self.assert_errno(errno.EEXIST, os.setxattr, path, "user.x", b"", os.XATTR_CREATE)
        os.removexattr(path, "user.x")
        self.assert_errno(errno.ENODATA, os.removexattr, path, "user.x")


class PosixTest(LakeTest):
    """What no disk does otherwise; each call, and what it answers."""

    def test_calls(self):
        root = self.mount(self.repository())
        folder, file, full = root / "d", root / "f", root / "full"
        folder.mkdir()
        full.mkdir()
        write_file(file, b"12345")
        write_file(full / "x", b"")
        long = "n" * 256
        for number, call, *arguments in (
                (errno.ENOENT, os.stat, root / "none"), (errno.ENOTDIR, os.stat, file / "x"), (errno.EEXIST, os.mkdir, folder), (errno.EEXIST, os.mkdir, file),
                (errno.ENAMETOOLONG, os.mkdir, root / long), (errno.ENAMETOOLONG, os.stat, root / long), (errno.ENOTEMPTY, os.rmdir, full), (errno.ENOTDIR, os.rmdir, file),
                (errno.EISDIR, os.unlink, folder), (errno.ENOTDIR, os.rename, full, file), (errno.EISDIR, os.rename, file, folder), (errno.ENOTEMPTY, os.rename, folder, full),
                (errno.EINVAL, os.rename, full, full / "inside"), (errno.EPERM, os.link, folder, root / "l"), (errno.EEXIST, os.link, file, full / "x"), (errno.ENOENT, os.link, root / "none", root / "l"),
                (errno.EEXIST, os.symlink, "x", file), (errno.EINVAL, os.readlink, file), (errno.EISDIR, os.truncate, folder, 0), (errno.EFBIG, os.truncate, file, 1 << 60)):
            with self.subTest(call=call.__name__, arguments=arguments):
                self.assert_errno(number, call, *arguments)
        os.mknod(root / "device", 0o640 | stat.S_IFCHR, os.makedev(1, 3))
        info = os.stat(root / "device")
        self.assertEqual((stat.S_ISCHR(info.st_mode), info.st_rdev), (True, os.makedev(1, 3)))
        with open(root / "device", "rb") as null:
            self.assertEqual(null.read(), b"")
        os.utime(file, ns=(1_000_000_001, 2_000_000_002))
        info = os.stat(file)
        self.assertEqual((info.st_atime_ns, info.st_mtime_ns), (1_000_000_001, 2_000_000_002))
        self.assertGreater(info.st_ctime_ns, time.time_ns() - 60 * 10**9)
        os.chown(file, 7, 8)
        os.chmod(file, 0o6755)
        os.chown(file, 9, 9)
        self.assertEqual(stat.S_IMODE(os.stat(file).st_mode), 0o755, "a file that was given away runs as nobody")
        write_file(root / "sparse", b"")
        os.truncate(root / "sparse", 1 << 30)
        self.assertLess(os.stat(root / "sparse").st_blocks, 100)
        with open(root / "sparse", "r+b") as sparse:
            sparse.seek(500 << 20)
            sparse.write(b"data")
            sparse.flush()
            self.assertEqual(os.lseek(sparse.fileno(), 0, os.SEEK_DATA) // (1 << 20), 500)

    def test_exchange(self):
        """renameat2(2), RENAME_EXCHANGE and RENAME_NOREPLACE."""
        root = self.mount(self.repository())
        write_file(root / "a", b"a")
        (root / "b").mkdir()
        write_file(root / "b" / "x", b"x")
        done = subprocess.run(["python3", "-c", """
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
def rename(flags):
    return 0 if libc.renameat2(-100, b"a", -100, b"b", flags) == 0 else ctypes.get_errno()
print(rename(2), rename(1))
"""], cwd=root, capture_output=True, text=True)
        self.assertEqual(done.stdout, f"0 {errno.EEXIST}\n", done.stderr)
        self.assertEqual((read_file(root / "b"), read_file(root / "a" / "x")), (b"a", b"x"))


class RestartTest(OwnLakeTest):
    def test_mounts_come_back(self):
        """A server that starts again has its mounts again, after a clean stop and after kill -9."""
        bucket = self.repository()
        root, snapshot = self.mount(bucket), self.mount(bucket, "main@", "snapshot")
        write_file(root / "f", b"kept")
        for end in (self.lake.stop, self.lake.kill):
            end()
            self.restart()
            self.lake.wait_for_mounts(2)
            self.assertEqual(read_file(root / "f"), b"kept")
            self.assertEqual(os.listdir(snapshot), [])
        self.lake.unmount(snapshot)
        self.lake.stop()
        self.restart()
        self.lake.wait_for_mounts(1)


class OptionsTest(LakeTest):
    """What a mount is asked to be."""

    def setUp(self):
        super().setUp()
        self.bucket = self.repository()

    def mount_with(self, *options, at="", label="with"):
        where = self.folder / "mounts" / f"{self.bucket}-{label}"
        self.lake.mount(f"lakefs://{self.bucket}/main{at}", where, *options)
        self.addCleanup(self.unmount_if_mounted, where)
        return where

    def test_a_folder_of_a_branch(self):
        for path in ("a/b/f", "a/b/c/g", "a/x", "y"):
            self.lake.upload(self.bucket, "main", path, path.encode())
        root, whole = self.mount_with(at="/a/b"), self.mount_with(label="whole")
        self.assertEqual(sorted(os.listdir(root)), ["c", "f"])
        write_file(root / "c" / "new", b"new")
        self.assertEqual(self.lake.get(self.bucket, "main", "a/b/c/new"), b"new")
        self.assertEqual(read_file(whole / "a" / "b" / "c" / "new"), b"new")
        write_file(whole / "a" / "b" / "f", b"changed")
        os.rename(whole / "a" / "b" / "c", whole / "a" / "b" / "d")
        self.assertEqual((read_file(root / "f"), sorted(os.listdir(root))), (b"changed", ["d", "f"]))
        self.lake.upload(self.bucket, "main", "a/b/rest", b"rest")
        self.lake.upload(self.bucket, "main", "other", b"other")
        self.assertEqual(read_file(root / "rest"), b"rest")
        self.assertNotIn("other", (root / ".lake" / "status").read_text())
        self.assertIn("+ added a/b/rest", (root / ".lake" / "status").read_text())
        self.assertIn(f"lakefs://{self.bucket}/main/a/b/\t{root}", self.lake.command("mounts"))
        # All of it goes, and comes again.
        subprocess.run(["rm", "-r", whole / "a"], check=True)
        self.assertEqual(os.listdir(root), [])
        write_file(root / "again", b"again")
        self.assertEqual(self.lake.get(self.bucket, "main", "a/b/again"), b"again")
        self.lake.commit(self.bucket, "main")
        commit = (root / ".lake" / "status").read_text().split(" at ")[1].split()[0]
        (root / ".lake" / "ref").write_text(commit + "\n")
        self.assertEqual(os.listdir(root), ["again"])
        self.assert_errno(errno.EROFS, write_file, root / "again", b"x")

    def test_folders_that_are_not_there(self):
        root = self.mount_with(at="/new/folder")
        write_file(root / "f", b"f")
        self.assertEqual(self.lake.get(self.bucket, "main", "new/folder/f"), b"f")
        self.lake.upload(self.bucket, "main", "file", b"f")
        for at, options, text in (("/nothing", ["--read-only"], "nothing"), ("/file", [], "file"), ("/a//b", [], "a//b")):
            where = self.scratch / "refused"
            where.mkdir(exist_ok=True)
            done = self.lake.run("mount", *options, f"lakefs://{self.bucket}/main{at}", where)
            self.assertEqual(done.returncode, 1, at)
            self.assertIn(text, done.stderr)

    def test_owners_and_permissions(self):
        self.lake.upload(self.bucket, "main", "d/f", b"f")
        root = self.mount_with("--uid", "1234", "--gid", "2345", "--umask", "027")
        info, folder = os.stat(root / "d" / "f"), os.stat(root / "d")
        self.assertEqual((info.st_uid, info.st_gid, stat.S_IMODE(info.st_mode)), (1234, 2345, 0o640))
        self.assertEqual((folder.st_uid, folder.st_gid, stat.S_IMODE(folder.st_mode)), (1234, 2345, 0o750))
        os.chmod(root / "d" / "f", 0o604)
        os.chown(root / "d" / "f", 99, -1)
        info = os.stat(root / "d" / "f")
        self.assertEqual((info.st_uid, stat.S_IMODE(info.st_mode)), (99, 0o604))
        write_file(root / "made", b"")
        self.assertEqual(os.stat(root / "made").st_uid, os.getuid())
        for flag, value in (("--uid", "x"), ("--umask", "999")):
            self.assertEqual(self.lake.run("mount", flag, value, f"lakefs://{self.bucket}/main", self.scratch).returncode, 1)
