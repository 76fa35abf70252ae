"""Mounts of a server elsewhere: a process of their own, over REST, through ways that are long, lossy, or end."""
import errno
import os
import pathlib
import random
import signal
import stat
import subprocess
import time

from clients import LakeTest, files_below, read_file, write_file
from far import Far
from lake import is_mounted, wait_until


class RemoteTest(LakeTest):
    delay = loss = 0.0
    hides = {}

    def setUp(self):
        super().setUp()
        self.bucket = self.repository()
        self.far = Far(self.lake.port, self.delay, self.loss, hides=self.hides)
        self.addCleanup(self.far.close)

    def remote(self, *options, ref="main", label="here", prefix="", fails=False):
        """Mounts through the proxy; every label keeps its own on the disk."""
        where = self.scratch / f"mount-{label}"
        where.mkdir(exist_ok=True)
        done = self.far_command("mount", "--remote", "--cache-dir", self.scratch / f"kept-{label}", *options, f"lakefs://{self.bucket}/{ref}{prefix}", where, code=1 if fails else 0)
        if fails:
            return done
        self.addCleanup(self.end, where)
        self.assertTrue(is_mounted(where))
        return where

    def far_command(self, *words, code=0):
        done = self.lake.run(*words, environment={"LAKECTL_SERVER_ENDPOINT_URL": self.far.endpoint, "LAKECTL_CREDENTIALS_ACCESS_KEY_ID": self.lake.keys[0], "LAKECTL_CREDENTIALS_SECRET_ACCESS_KEY": self.lake.keys[1]})
        self.assertEqual(done.returncode, code, done.stdout + done.stderr)
        return done.stdout if code == 0 else done.stderr

    def process(self, where):
        found = [pid for pid in os.listdir("/proc") if pid.isdigit() and self.words(pid)[-1:] == [str(where)] and "mount" in self.words(pid)]
        self.assertEqual(len(found), 1)
        return int(found[0])

    def words(self, pid):
        try:
            return pathlib.Path(f"/proc/{pid}/cmdline").read_text().split("\0")[:-1]
        except OSError:
            return []

    def end(self, where):
        """Unmounts without asking for anything to be uploaded, and waits for its process."""
        if is_mounted(where):
            pid = self.process(where)
            subprocess.run(["umount", "-l", where], check=False)
            wait_until(lambda: not self.words(pid), 20, "the end of the mount's process")

    def kill(self, where):
        pid = self.process(where)
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not self.words(pid), 10, "the end of the mount")

    def stats(self, where):
        return dict(line.rsplit(" ", 1) for line in (where / ".lake" / "stats").read_text().splitlines())

    def there(self, path, body, seconds=10):
        """Waits until the server has a file so."""
        wait_until(lambda: path in self.lake.list(self.bucket, "main") and self.lake.get(self.bucket, "main", path) == body, seconds, f"{path} on the server")

    def push(self, where):
        (where / ".lake" / "push").write_text("now\n")


class WorkTest(RemoteTest):
    def test_files_and_their_facts(self):
        """What is written here is on the server, and comes back in another mount with owner, permissions, times and links."""
        root = self.remote()
        (root / "d" / "empty").mkdir(parents=True)
        write_file(root / "d" / "f", b"body")
        os.chmod(root / "d" / "f", 0o600)
        os.chown(root / "d" / "f", 12, 34)
        os.utime(root / "d" / "f", ns=(1, 1_600_000_000_123_456_789))
        os.symlink("f", root / "d" / "link")
        big = random.Random(1).randbytes(5 << 20)
        write_file(root / "big", big)
        write_file(root / "nothing", b"")
        self.push(root)
        self.assertEqual(self.lake.list(self.bucket, "main"), ["big", "d/empty/", "d/f", "d/link", "nothing"])
        self.assertEqual(self.lake.get(self.bucket, "main", "big"), big)
        other = self.remote(label="other")
        info = os.stat(other / "d" / "f")
        self.assertEqual((stat.S_IMODE(info.st_mode), info.st_uid, info.st_gid, info.st_mtime_ns, info.st_size), (0o600, 12, 34, 1_600_000_000_123_456_789, 4))
        self.assertEqual(os.readlink(other / "d" / "link"), "f")
        self.assertEqual(os.listdir(other / "d" / "empty"), [])
        self.assertEqual(read_file(other / "big"), big)
        self.assertEqual(os.stat(other / "big").st_mtime_ns, os.stat(root / "big").st_mtime_ns)
        with open(other / "big", "r+b") as file:
            file.seek(3 << 20)
            file.write(b"changed")
        self.push(other)
        wait_until(lambda: read_file(root / "big") == big[:3 << 20] + b"changed" + big[(3 << 20) + 7:], 5, "the other's change")

    def test_what_others_change(self):
        root = self.remote()
        for number in range(20):
            self.lake.upload(self.bucket, "main", f"d/{number}", b"one")
        wait_until(lambda: sorted(os.listdir(root)) == ["d"], 5, "the folder")
        self.assertEqual(len(os.listdir(root / "d")), 20)
        self.assertEqual(read_file(root / "d" / "3"), b"one")
        self.lake.upload(self.bucket, "main", "d/3", b"two")
        wait_until(lambda: read_file(root / "d" / "3") == b"two", 5, "the new bytes")
        self.lake.commit(self.bucket, "main")
        self.lake.ask("DELETE", f"/repositories/{self.bucket}/branches/main/objects", 204, path="d/3")
        wait_until(lambda: not (root / "d" / "3").exists(), 5, "its end")
        self.lake.ask("PUT", f"/repositories/{self.bucket}/branches/main", 204, json_body={"type": "reset"})
        wait_until(lambda: (root / "d" / "3").exists(), 5, "its return")
        self.lake.ask("POST", f"/repositories/{self.bucket}/branches", 201, json_body={"name": "other", "source": "main"})
        self.lake.upload(self.bucket, "other", "merged", b"m")
        self.lake.commit(self.bucket, "other")
        self.lake.ask("POST", f"/repositories/{self.bucket}/refs/other/merge/main", 200, json_body={})
        wait_until(lambda: (root / "merged").exists(), 5, "the merge")
        # What is written here is not told as another's.
        write_file(root / "own", b"own")
        inode = os.stat(root / "own").st_ino
        self.push(root)
        time.sleep(2.5)
        self.assertEqual(os.stat(root / "own").st_ino, inode)

    def test_a_folder_is_renamed_and_removed(self):
        for number in range(50):
            self.lake.upload(self.bucket, "main", f"a/b/{number}", b"%d" % number)
        self.lake.upload(self.bucket, "main", "keep", b"k")
        root = self.remote()
        os.rename(root / "a", root / "c")
        self.assertEqual(read_file(root / "c" / "b" / "7"), b"7")
        self.push(root)
        self.assertEqual(self.lake.list(self.bucket, "main", "a/"), [])
        self.assertEqual(self.lake.get(self.bucket, "main", "c/b/7"), b"7")
        subprocess.run(["rm", "-r", root / "c"], check=True)
        self.push(root)
        self.assertEqual(self.lake.list(self.bucket, "main"), ["keep"])

    def test_versions_inside(self):
        root = self.remote()
        write_file(root / "f", b"one")
        (root / ".lake" / "commit").write_text("first\n")
        commit = (root / ".lake" / "commit").read_text().split()[0]
        self.assertEqual(self.lake.ask("GET", f"/repositories/{self.bucket}/commits/{commit}").json["message"], "first")
        self.assertIn("first", (root / ".lake" / "log").read_text())
        write_file(root / "f", b"two")
        self.push(root)
        self.assertEqual((root / ".lake" / "diff").read_text(), "~ modified f\n")
        self.assertEqual(read_file(root / ".lake" / "refs" / commit / "f"), b"one")
        self.assertIn("main", os.listdir(root / ".lake" / "refs"))
        (root / ".lake" / "ref").write_text(commit + "\n")
        self.assertEqual(read_file(root / "f"), b"one")
        self.assert_errno(errno.EROFS, write_file, root / "f", b"x")
        (root / ".lake" / "ref").write_text("main\n")
        self.assertEqual(read_file(root / "f"), b"two")

    def test_a_folder_of_it(self):
        self.lake.upload(self.bucket, "main", "in/side/f", b"f")
        root = self.remote(prefix="/in/side/")
        self.assertEqual(os.listdir(root), ["f"])
        write_file(root / "g", b"g")
        self.push(root)
        self.assertEqual(self.lake.get(self.bucket, "main", "in/side/g"), b"g")

    def test_names_and_refs_that_cannot_be(self):
        self.assertIn("no ref 'nothing'", self.remote(ref="nothing", fails=True))
        root = self.remote()
        write_file(os.fsencode(root) + b"/\xff\xfe", b"x")
        write_file(root / "good", b"x")
        self.there("good", b"x")
        wait_until(lambda: "refused" in (root / ".lake" / "status").read_text(), 10, "what cannot be sent")
        self.assertIn("in use by another lakefuse", self.remote(fails=True, label="here"))

    def test_what_was_read_is_kept_within_bounds(self):
        bodies = {f"{number}": random.Random(number).randbytes(3 << 20) for number in range(8)}
        for path, body in bodies.items():
            self.lake.upload(self.bucket, "main", path, body)
        root = self.remote("--cache-size", "8MiB")
        for path, body in bodies.items():
            self.assertEqual(read_file(root / path), body)
        self.assertLess(int(self.stats(root)["cache_bytes"]), 12 << 20)
        with open(root / "5", "rb", buffering=0) as file:
            for place in random.Random(9).sample(range(3 << 20), 50):
                self.assertEqual(os.pread(file.fileno(), 100, place), bodies["5"][place:place + 100])


class PlainServerTest(RemoteTest):
    """A server that says no more of what is not committed than lakeFS does: types, paths and sizes."""
    hides = {b"include_right_stats": b"ignored_right_stats"}

    def test_what_others_change_of_the_same_size(self):
        for path in ("d/f", "d/g"):
            self.lake.upload(self.bucket, "main", path, b"one")
        root = self.remote()
        self.assertEqual((read_file(root / "d" / "f"), read_file(root / "d" / "g")), (b"one", b"one"))
        for body in (b"two", b"six", b"longer"):
            self.lake.upload(self.bucket, "main", "d/f", body)
            wait_until(lambda: read_file(root / "d" / "f") == body, 5, "the new bytes")
        write_file(root / "d" / "g", b"own")
        self.push(root)
        inode = os.stat(root / "d" / "g").st_ino
        self.assertEqual(len(os.listdir(root / "d")), 2)
        time.sleep(2.5)
        self.assertEqual(os.stat(root / "d" / "g").st_ino, inode)
        self.lake.upload(self.bucket, "main", "d/g", b"his")
        wait_until(lambda: read_file(root / "d" / "g") == b"his", 5, "the new bytes of ours")
        self.lake.commit(self.bucket, "main")
        self.lake.upload(self.bucket, "main", "d/g", b"new")
        wait_until(lambda: read_file(root / "d" / "g") == b"new", 5, "the new bytes after a commit")


class ConflictTest(RemoteTest):
    def both(self, *options):
        self.lake.upload(self.bucket, "main", "f", b"old")
        root = self.remote("--manual-push", *options)
        self.assertEqual(read_file(root / "f"), b"old")
        write_file(root / "f", b"mine")
        write_file(root / "new", b"mine")
        self.lake.upload(self.bucket, "main", "f", b"theirs")
        self.lake.upload(self.bucket, "main", "new", b"theirs")
        self.push(root)
        return root

    def kept(self):
        return {path.split(".conflict-")[0]: self.lake.get(self.bucket, "main", path) for path in self.lake.list(self.bucket, "main") if ".conflict-" in path}

    def test_both_are_kept(self):
        root = self.both()
        self.assertEqual((self.lake.get(self.bucket, "main", "f"), self.lake.get(self.bucket, "main", "new")), (b"theirs", b"theirs"))
        self.assertEqual(self.kept(), {"f": b"mine", "new": b"mine"})
        wait_until(lambda: (read_file(root / "f"), read_file(root / "new")) == (b"theirs", b"theirs"), 5, "theirs here")
        self.assertEqual(len(os.listdir(root)), 4)
        self.assertEqual((root / ".lake" / "status").read_text().count("! conflict "), 2)

    def test_mine(self):
        self.both("--on-conflict", "mine")
        self.assertEqual((self.lake.get(self.bucket, "main", "f"), self.lake.get(self.bucket, "main", "new")), (b"mine", b"mine"))
        self.assertEqual(self.kept(), {})

    def test_theirs(self):
        root = self.both("--on-conflict", "theirs")
        self.assertEqual((self.lake.get(self.bucket, "main", "f"), self.lake.get(self.bucket, "main", "new")), (b"theirs", b"theirs"))
        self.assertEqual(self.kept(), {})
        wait_until(lambda: (read_file(root / "f"), read_file(root / "new")) == (b"theirs", b"theirs"), 5, "theirs here")

    def test_removed_on_one_side(self):
        self.lake.upload(self.bucket, "main", "a", b"old")
        self.lake.upload(self.bucket, "main", "b", b"old")
        root = self.remote("--manual-push")
        self.assertEqual((read_file(root / "a"), read_file(root / "b")), (b"old", b"old"))
        os.unlink(root / "a")
        write_file(root / "b", b"mine")
        self.lake.upload(self.bucket, "main", "a", b"theirs")
        self.lake.ask("DELETE", f"/repositories/{self.bucket}/branches/main/objects", 204, path="b")
        self.push(root)
        self.assertEqual(self.lake.get(self.bucket, "main", "a"), b"theirs")
        self.assertEqual(self.kept(), {"b": b"mine"})

    def test_no_conflict_with_oneself(self):
        """Written again and again, renamed over, and committed by another: all of it is ours."""
        root = self.remote()
        for number in range(5):
            write_file(root / "f", b"%d" % number)
            write_file(root / ".f.new", b"new %d" % number)
            os.rename(root / ".f.new", root / "f")
            self.push(root)
            self.lake.commit(self.bucket, "main")
        os.rename(root / "f", root / "g")
        self.push(root)
        self.assertEqual(self.lake.list(self.bucket, "main"), ["g"])
        self.assertEqual(self.lake.get(self.bucket, "main", "g"), b"new 4")


class OfflineTest(RemoteTest):
    def test_reading_and_writing_without_a_server(self):
        body = random.Random(1).randbytes(3 << 20)
        for path in ("d/seen", "d/unseen", "small"):
            self.lake.upload(self.bucket, "main", path, body if path != "small" else b"small")
        root = self.remote()
        self.assertEqual(read_file(root / "d" / "seen"), body)
        self.assertEqual(read_file(root / "small"), b"small")
        self.far.cut()
        self.assertEqual(sorted(os.listdir(root / "d")), ["seen", "unseen"])
        self.assertEqual(read_file(root / "d" / "seen"), body)
        self.assert_errno(errno.EIO, read_file, root / "d" / "unseen")
        write_file(root / "d" / "new", b"offline")
        write_file(root / "small", b"changed")
        os.unlink(root / "d" / "unseen")
        os.rename(root / "d" / "seen", root / "d" / "moved")
        (root / "e").mkdir()
        wait_until(lambda: self.stats(root)["server_answers"] == "0", 5, "the end of the server")
        self.assertIn("cannot unmount", self.far_command("umount", root, code=1))
        # It is mounted again without a server, and all of it is there.
        self.end(root)
        root = self.remote()
        self.assertEqual(sorted(os.listdir(root / "d")), ["moved", "new"])
        self.assertEqual((read_file(root / "d" / "new"), read_file(root / "small"), read_file(root / "d" / "moved")), (b"offline", b"changed", body))
        self.far.heal()
        self.there("d/new", b"offline", 20)
        self.there("small", b"changed")
        self.push(root)
        self.assertEqual(self.lake.list(self.bucket, "main"), ["d/moved", "d/new", "e/", "small"])
        self.far_command("umount", root)
        self.assertFalse(is_mounted(root))

    def test_a_server_that_hangs(self):
        """Who asks is told within a time that people wait, and nothing hangs for good."""
        self.lake.upload(self.bucket, "main", "f", b"f")
        self.lake.upload(self.bucket, "main", "g", bytes(3 << 20))
        root = self.remote()
        self.assertEqual(read_file(root / "f"), b"f")
        self.far.stall()
        self.assert_errno(errno.EIO, read_file, root / "g")
        self.assertEqual(read_file(root / "f"), b"f")
        self.far.heal()
        wait_until(lambda: self.read_or_none(root / "g") == bytes(3 << 20), 30, "the server's return")

    def read_or_none(self, path):
        try:
            return read_file(path)
        except OSError:
            return None

    def test_pushed_by_hand(self):
        root = self.remote("--manual-push")
        write_file(root / "f", b"f")
        time.sleep(3)
        self.assertEqual(self.lake.list(self.bucket, "main"), [])
        self.far_command("umount", root)
        root = self.remote("--manual-push")
        self.assertEqual(read_file(root / "f"), b"f")
        self.push(root)
        self.assertEqual(self.lake.get(self.bucket, "main", "f"), b"f")

    def test_kill(self):
        """kill -9 while files are written and uploaded: what was closed is there, and whole, here and on the server."""
        for round in range(4):
            root = self.remote()
            chance, written = random.Random(round), {}
            end = time.monotonic() + 1 + chance.random() * 1.5
            while time.monotonic() < end:
                path = f"{round}-{chance.randrange(30)}"
                body = chance.randbytes(chance.choice([0, 10, 5000, 300_000]))
                write_file(root / path, body)
                written[path] = body
                time.sleep(0.02)
            time.sleep(0.05)  # The index is written within 10 ms.
            self.kill(root)
            if round == 3:
                self.far_command("umount", root)  # A dead one can be unmounted, and mounted over.
            root = self.remote()
            for path, body in written.items():
                self.assertEqual(read_file(root / path), body, path)
            self.push(root)
            for path, body in written.items():
                self.assertEqual(self.lake.get(self.bucket, "main", path), body, path)
            self.assertEqual([path for path in self.lake.list(self.bucket, "main") if "conflict" in path], [])
            self.far_command("umount", root)


class LongWayTest(RemoteTest):
    delay = 0.02

    def test_a_tree(self):
        """Some hundred files over a way of 40 ms: listed and read by folders and in parallel, not name by name."""
        source = self.scratch / "source"
        for folder in range(10):
            (source / f"{folder}").mkdir(parents=True)
            for number in range(30):
                write_file(source / f"{folder}" / f"{number}", b"%d/%d" % (folder, number))
        root = self.remote()
        self.far.most = 0
        subprocess.run(["cp", "-r", source, root / "tree"], check=True)
        self.push(root)
        self.assertEqual(len(self.lake.list(self.bucket, "main")), 300)
        self.assertGreater(self.far.most, 4, "files are uploaded one after the other")
        other = self.remote(label="other")
        self.assertEqual(files_below(other / "tree"), files_below(source))
        self.far.most = 0
        self.assertEqual(subprocess.run(["diff", "-r", source, other / "tree"], check=False).returncode, 0)
        self.assertGreater(self.far.most, 4, "files that lie side by side are fetched one after the other")


class LossyTest(RemoteTest):
    loss = 0.03

    def test_a_tree_over_connections_that_break(self):
        root = self.remote()
        bodies = {f"{number}": random.Random(number).randbytes(20_000) for number in range(100)}
        for path, body in bodies.items():
            write_file(root / path, body)
        wait_until(lambda: len(self.lake.list(self.bucket, "main")) == 100 and self.stats(root)["unpublished_changes"] == "0", 60, "all of them on the server")
        for path, body in bodies.items():
            self.assertEqual(self.lake.get(self.bucket, "main", path), body)
        self.assertEqual(sorted(os.listdir(root)), sorted(bodies))
