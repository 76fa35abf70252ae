"""The server cut off or refused at its system calls, one after another: strace(1) kills it as it is about to write, sync, rename or
remove for the Nth time in a thread, or has such calls fail as on a full disk. What was closed is there all the same."""
import contextlib
import os
import pathlib
import random
import subprocess
import time

from clients import read_file, write_file
from faults import OwnLakeTest
from lake import wait_until
from stress import Pair, describe

WRITES, SYNCS, NAMES, FILES = "pwrite64", "fdatasync,fsync,syncfs", "rename,unlink", "openat,ftruncate"


class CutTest(OwnLakeTest):
    def setUp(self):
        super().setUp()
        self.bucket = self.repository()
        self.root, self.local = self.folder / "mounts" / f"{self.bucket}-cut", self.scratch / "local"
        self.local.mkdir()
        self.lake.mount(f"lakefs://{self.bucket}/main", self.root)
        self.addCleanup(self.unmount_if_mounted, self.root)

    @contextlib.contextmanager
    def injected(self, calls, what):
        """Every thread of the server is traced meanwhile."""
        server = self.lake.process.pid
        tracer = subprocess.Popen(["strace", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={calls}", "-e", f"inject={calls}:{what}", "-p", str(server)], stderr=subprocess.PIPE)

        def is_held(status):
            try:
                return "TracerPid:\t0\n" not in status.read_text()
            except (FileNotFoundError, ProcessLookupError):
                return True  # A thread that has ended since it was listed.

        def is_traced():
            if tracer.poll() is not None:
                self.skipTest(f"strace may not trace here: {tracer.stderr.read().decode()[:200]}")
            return all(is_held(task / "status") for task in pathlib.Path(f"/proc/{server}/task").iterdir())
        wait_until(is_traced, 10, "strace at every thread")
        try:
            yield
        finally:
            # One that waits for threads which it killed itself waits for ever.
            tracer.kill() if self.died() else tracer.terminate()
            try:
                tracer.wait(5)
            except subprocess.TimeoutExpired:
                tracer.kill()
                tracer.wait()
            tracer.stderr.close()

    def died(self):
        """A process whose threads are gone is a zombie that its tracer holds."""
        if self.lake.process.poll() is not None:
            return True
        return "\nState:\tZ" in pathlib.Path(f"/proc/{self.lake.process.pid}/status").read_text()

    def again(self):
        """Ends what is left of the server, and starts it with its mount."""
        self.lake.kill()
        self.restart()
        self.lake.wait_for_mounts(1)

    def look_at_doors(self):
        keys = {key.removeprefix("main/") for key in self.s3_keys(self.bucket, "main/") if not key.endswith("/")}
        files = {path: found for path, found in describe(self.local).items() if found[0] != 0o040000}
        self.assertEqual(keys, set(files))
        for path, found in files.items():
            if found[0] == 0o100000:
                self.assertEqual(self.s3_get(self.bucket, f"main/{path}"), found[-1], path)

    def test_cut_while_publishing(self):
        """A publish, a commit and what makes them durable, cut at each call."""
        pair, chance, cut = Pair(self, self.root, self.local, 11), random.Random(11), 0
        for calls, most in ((WRITES, 25), (SYNCS, 8), (NAMES, 20), (FILES, 15)):
            for number in range(1, most):
                for _ in range(15):
                    pair.step()
                self.synchronize()  # All of it is in the index.
                with self.injected(calls, f"signal=KILL:when={number}"), contextlib.suppress(OSError, AssertionError):
                    self.lake.list(self.bucket, "main")
                    (self.root / ".lake" / "push").write_text("now\n")
                    if chance.random() < 0.5:
                        self.lake.commit(self.bucket, "main", allow_empty=True)
                cut += self.died()
                self.again()
                pair.compare()
        self.look_at_doors()
        self.assertGreater(cut, 5, "hardly any cut came")

    def test_cut_while_something_is_done(self):
        """One operation and an fsync, cut at each call: it is done, or it is not; what came before is."""
        pair, cut = Pair(self, self.root, self.local, 12), 0
        for _ in range(60):
            pair.step()
        for number in range(40):
            calls = (WRITES, SYNCS, FILES, NAMES)[number % 4]
            os.sync()
            self.synchronize()
            before = describe(self.local)
            name = f"new-{number}"
            with self.injected(calls, f"signal=KILL:when={1 + number // 16}"):
                try:
                    for place in (self.root, self.local):
                        if number % 3 == 0:
                            os.mkdir(place / name)
                        else:
                            write_file(place / name, random.Random(number).randbytes(9000))
                        if number % 3 == 2:
                            os.rename(place / name, place / f"{name}-renamed")
                        if place == self.root:
                            self.synchronize()
                    done = True
                except OSError:
                    done = False
            cut += self.died()
            self.again()
            if done:
                pair.compare()
                continue
            # It is there, in part of its steps or all, or it is not; and nothing else has changed.
            found = {path: entry for path, entry in describe(self.root).items() if not path.startswith("new-") or path in before}
            self.assertEqual(found, before)
            for place in (self.root, self.local):
                for path in list(place.iterdir()):
                    if path.name.startswith(name):
                        path.rmdir() if path.is_dir() else path.unlink()
        pair.compare()
        self.look_at_doors()
        self.assertGreater(cut, 5, "hardly any cut came")

    def synchronize(self):
        descriptor = os.open(self.root, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def test_calls_that_fail(self):
        """A full disk, or a broken one, at any call: who is told that all is well is not deceived, and it goes on when there is room."""
        kept, failed = {}, 0
        for number, (calls, error) in enumerate((calls, error) for calls in (WRITES, SYNCS, FILES, NAMES, "copy_file_range,fallocate", "mkdir,link") for error in ("ENOSPC", "EIO")):
            before = dict(kept)
            with self.injected(calls, f"error={error}:when={1 + number % 3}+2"):
                for count in range(12):
                    path, body = f"{number}/{count}", random.Random(number * 100 + count).randbytes(20_000)
                    try:
                        (self.root / str(number)).mkdir(exist_ok=True)
                        with open(self.root / path, "wb", buffering=0) as file:
                            written = file.write(body)
                            os.fsync(file.fileno())
                        if written == len(body):
                            kept[path] = body
                    except OSError:
                        failed += 1
                    # Others are rewritten, too.
                    if before:
                        other = random.Random(count).choice(sorted(before))
                        with contextlib.suppress(OSError), open(self.root / other, "r+b", buffering=0) as file:
                            if file.write(b"changed") == 7:
                                kept[other] = b"changed" + before[other][7:]
                            os.fsync(file.fileno())
                with contextlib.suppress(OSError, AssertionError):
                    (self.root / ".lake" / "push").write_text("now\n")
                with contextlib.suppress(AssertionError):
                    self.lake.list(self.bucket, "main")
            self.assertFalse(self.died(), f"the server is gone\n{self.lake.log_tail()}")
            # There is room again.
            write_file(self.root / "after", b"%d" % number)
            if number % 4 == 3:
                self.lake.kill()
                self.restart()
                self.lake.wait_for_mounts(1)
            for path, body in kept.items():
                self.assertIn(read_file(self.root / path), (body, b"changed" + body[7:], before.get(path)), f"{path} after {error} at {calls}")
                kept[path] = read_file(self.root / path)
        self.assertGreater(failed, 10, "hardly a call failed")
        wait_until(lambda: self.pushed(), 20, "a publish that ends")
        for path, body in kept.items():
            self.assertEqual(self.lake.get(self.bucket, "main", path), body, path)
        self.lake.stop()
        done = self.lake.run("check", "--data", self.lake.data)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.restart()
        self.lake.wait_for_mounts(1)

    def pushed(self):
        try:
            (self.root / ".lake" / "push").write_text("now\n")
            return True
        except OSError:
            return False
