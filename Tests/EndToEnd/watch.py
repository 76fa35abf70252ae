"""inotify(7) through the mount: what other doors do is told to who watches, as if it had been done on a disk."""
import ctypes
import os
import pathlib
import select
import struct
import time
import unittest

from clients import LakeTest, write_file
from faults import OwnLakeTest
from lake import wait_until

LIBC = ctypes.CDLL(None, use_errno=True)
NAMES = {0x2: "modify", 0x8: "close_write", 0x100: "create", 0x200: "delete", 0x400: "delete_self"}
IS_FOLDER = 0x40000000


class Watcher:
    """Watches folders and files; tells names of events without those of opening and reading."""

    def __init__(self, *paths):
        self.descriptor = LIBC.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK)
        for path in paths:
            if LIBC.inotify_add_watch(self.descriptor, os.fsencode(path), sum(NAMES)) < 0:
                raise OSError(ctypes.get_errno(), f"inotify_add_watch {path}")

    def events(self, until, seconds=8):
        """Pairs of event and name, until one is seen or the time is over."""
        seen, end = [], time.monotonic() + seconds
        while time.monotonic() < end and until not in seen:
            if not select.select([self.descriptor], [], [], 0.2)[0]:
                continue
            data = os.read(self.descriptor, 65536)
            while data:
                _, mask, _, length = struct.unpack_from("iIII", data)
                name = data[16:16 + length].rstrip(b"\0").decode()
                seen += [(word + ("_folder" if mask & IS_FOLDER else ""), name) for bit, word in NAMES.items() if mask & bit]
                data = data[16 + length:]
        return seen

    def close(self):
        os.close(self.descriptor)


@unittest.skipUnless(os.geteuid() == 0, "mounts as root")
class WatchTest(LakeTest):
    def setUp(self):
        super().setUp()
        self.bucket = self.repository()
        self.root = self.mount(self.bucket)

    def watch(self, *paths):
        watcher = Watcher(*paths)
        self.addCleanup(watcher.close)
        return watcher

    def delete(self, path):
        self.lake.ask("DELETE", f"/repositories/{self.bucket}/branches/main/objects", 204, path=path)

    def test_what_other_doors_do(self):
        self.lake.upload(self.bucket, "main", "d/old", b"1")
        folder = self.root / "d"
        self.assertEqual(os.listdir(folder), ["old"])
        self.assertEqual((folder / "old").read_bytes(), b"1")
        watcher = self.watch(folder)
        self.lake.upload(self.bucket, "main", "d/new", b"22")
        self.assertEqual(watcher.events(("close_write", "new")), [("create", "new"), ("modify", "new"), ("close_write", "new")])
        self.assertEqual((folder / "new").read_bytes(), b"22")
        self.lake.upload(self.bucket, "main", "d/old", b"333")
        self.assertEqual(watcher.events(("close_write", "old")), [("modify", "old"), ("close_write", "old")])
        self.assertEqual((folder / "old").read_bytes(), b"333")
        self.lake.upload(self.bucket, "main", "d/inner/deep/file", b"4")
        self.assertEqual(watcher.events(("create_folder", "inner")), [("create_folder", "inner")])
        self.assertEqual((folder / "inner" / "deep" / "file").read_bytes(), b"4")
        self.delete("d/new")
        self.assertEqual(watcher.events(("delete", "new")), [("delete", "new")])
        self.delete("d/inner/deep/file")
        self.assertEqual(os.listdir(folder), ["old"])
        self.assertFalse(os.path.exists(folder / "inner"))
        self.assertEqual(watcher.events(("delete_folder", "inner")), [("delete_folder", "inner")])
        # Nothing that was made for show came to the branch.
        self.assertEqual(self.lake.list(self.bucket, "main"), ["d/old"])
        self.assertEqual(self.lake.get(self.bucket, "main", "d/old"), b"333")

    def test_a_file_that_is_watched_and_goes(self):
        self.lake.upload(self.bucket, "main", "file", b"1")
        watcher = self.watch(self.root / "file")
        self.delete("file")
        self.assertIn(("delete_self", ""), watcher.events(("delete_self", "")))

    def test_another_mount(self):
        other = self.folder / "mounts" / f"{self.bucket}-other"
        self.lake.mount(f"lakefs://{self.bucket}/main", other, "--umask", "077")  # Options of its own: a file system of its own.
        self.addCleanup(self.unmount_if_mounted, other)
        self.assertNotEqual(os.stat(other).st_dev, os.stat(self.root).st_dev)
        watcher = self.watch(other)
        write_file(self.root / "a", b"one")
        self.assertEqual(watcher.events(("close_write", "a"))[0], ("create", "a"))
        os.rename(self.root / "a", self.root / "b")
        seen = watcher.events(("close_write", "b"))
        self.assertIn(("delete", "a"), seen)
        self.assertIn(("create", "b"), seen)
        os.unlink(self.root / "b")
        self.assertIn(("delete", "b"), watcher.events(("delete", "b")))
        self.assertEqual(os.listdir(other), [])

    def test_many_at_once_while_the_folder_is_used(self):
        """Names that come and go while others look at them: nothing made for show stays, and who waits for the last hears of it."""
        os.mkdir(self.root / "in")
        watcher = self.watch(self.root / "in")
        for number in range(200):
            self.lake.upload(self.bucket, "main", f"in/{number:03}", b"x" * number)
            os.listdir(self.root / "in")
            self.assertEqual(os.stat(self.root / "in" / f"{number:03}").st_size, number)
        seen = watcher.events(("close_write", "199"), 30)
        self.assertEqual({name for _, name in seen}, {f"{number:03}" for number in range(200)})
        for number in range(200):
            self.assertEqual(os.stat(self.root / "in" / f"{number:03}").st_size, number)
        self.assertEqual(len(self.lake.list(self.bucket, "main", "in/")), 201)  # With the folder's marker.


@unittest.skipUnless(os.geteuid() == 0, "mounts as root")
class KilledWatchTest(OwnLakeTest):
    def helpers(self, root):
        """Processes that make the calls for this mount."""
        found = []
        for folder in pathlib.Path("/proc").glob("[0-9]*"):
            try:
                words = (folder / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if words[1:3] == [b"--herald", os.fsencode(root)]:
                found.append(folder.name)
        return found

    def test_a_server_that_is_killed_meanwhile(self):
        """The process that makes the calls waits for nobody then, and the mount comes back."""
        bucket = self.repository()
        root = self.mount(bucket)
        for attempt in range(3):
            os.makedirs(root / "d", exist_ok=True)
            watcher = Watcher(root / "d")
            try:
                for number in range(40):
                    self.lake.upload(bucket, "main", f"d/{attempt}-{number}", b"x")
                wait_until(lambda: self.helpers(root), 10, "the process")
                self.lake.kill()
            finally:
                watcher.close()
            wait_until(lambda: not self.helpers(root), 10, "its end")
            self.restart()
            self.lake.wait_for_mounts(1)
            self.assertEqual(len(os.listdir(root / "d")), 40 * (attempt + 1))
        watcher = Watcher(root / "d")
        self.addCleanup(watcher.close)
        self.lake.upload(bucket, "main", "d/last", b"x")
        self.assertIn(("create", "last"), watcher.events(("close_write", "last")))
        self.lake.unmount(root)  # Who watches does not keep it.
        wait_until(lambda: not self.helpers(root), 10, "its end")
