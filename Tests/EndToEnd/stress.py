"""The mount beside a local folder: the same operations on both, one after another or from many processes, must come to the same;
and after kill -9 nothing that was closed is lost."""
import errno
import mmap
import os
import pathlib
import random
import shutil
import signal
import stat
import subprocess
import sys
import time

from clients import LakeTest
from faults import OwnLakeTest

NAMES = ["a", "b", "c", "dir", "e f", "ü", "x.tar", "-"]


class Pair:
    """Does operations in two folders and compares what came of each."""

    def __init__(self, test, one, other, seed):
        self.test, self.roots, self.random, self.steps = test, (one, other), random.Random(seed), []
        self.seed = seed

    def path(self):
        return pathlib.PurePath(*(self.random.choice(NAMES) for _ in range(self.random.choice((1, 1, 2, 2, 3)))))

    def both(self, name, call, *arguments):
        self.steps.append((name, *arguments))
        answers = []
        for root in self.roots:
            try:
                answers.append(call(root, *arguments))
            except OSError as error:
                answers.append(errno.errorcode.get(error.errno, error.errno))
        self.test.assertEqual(answers[0], answers[1], f"seed {self.seed}, step {len(self.steps)}: {name} {arguments}; before: {self.steps[-8:]}")

    def step(self):
        name = self.random.choice(OPERATIONS)
        make, call = name
        self.both(call.__name__, call, *make(self))

    def compare(self):
        """Both trees whole: names, kinds, modes, sizes, links, targets, bytes."""
        found, wanted = (describe(root) for root in self.roots)
        differing = {path: (found.get(path), wanted.get(path)) for path in found.keys() | wanted.keys() if found.get(path) != wanted.get(path)}
        self.test.assertEqual({path: str(both)[:300] for path, both in sorted(differing.items())}, {}, f"seed {self.seed} after {len(self.steps)} steps (mount, disk)")


def describe(root):
    found = {}
    for folder, folders, files in os.walk(root):
        for name in folders + files:
            path = pathlib.Path(folder) / name
            info = path.lstat()
            kind = stat.S_IFMT(info.st_mode)
            extra = os.readlink(path) if stat.S_ISLNK(kind) else path.read_bytes() if stat.S_ISREG(kind) else None
            links = info.st_nlink if stat.S_ISREG(kind) else 1
            found[str(path.relative_to(root))] = (kind, stat.S_IMODE(info.st_mode), info.st_size if stat.S_ISREG(kind) else 0, links, info.st_uid, extra)
    return found


def write(root, path, offset, body, truncates):
    descriptor = os.open(root / path, os.O_RDWR | os.O_CREAT | (os.O_TRUNC if truncates else 0), 0o644)
    try:
        os.pwrite(descriptor, body, offset)
        return os.fstat(descriptor).st_size
    finally:
        os.close(descriptor)


def append(root, path, body):
    with open(root / path, "ab") as file:
        file.write(body)
    return os.stat(root / path).st_size


def create(root, path, body):
    with open(root / path, "xb") as file:
        file.write(body)


def read(root, path):
    return (root / path).read_bytes()


def mapped(root, path, offset, body):
    with open(root / path, "r+b") as file:
        size = os.fstat(file.fileno()).st_size
        if size < offset + len(body) or not size:
            return "small"
        with mmap.mmap(file.fileno(), size) as view:
            view[offset:offset + len(body)] = body
    return (root / path).read_bytes()


def truncate(root, path, size):
    os.truncate(root / path, size)


def punch(root, path, offset, size):
    with open(root / path, "r+b") as file:
        done = subprocess.run(["fallocate", "-p", "-o", str(offset), "-l", str(size), f"/proc/self/fd/{file.fileno()}"], pass_fds=[file.fileno()], capture_output=True)
    return done.returncode, (root / path).read_bytes()


def copy_range(root, path, other, offset, size):
    with open(root / path, "rb") as source, open(root / other, "r+b") as target:
        if os.path.samestat(os.fstat(source.fileno()), os.fstat(target.fileno())):
            return "same"
        os.copy_file_range(source.fileno(), target.fileno(), size, 0, offset)
    return (root / other).read_bytes()


def rename(root, path, other):
    os.rename(root / path, root / other)


def link(root, path, other):
    os.link(root / path, root / other, follow_symlinks=False)


def symlink(root, target, path):
    os.symlink(target, root / path)


def unlink(root, path):
    os.unlink(root / path)


def make_folder(root, path):
    os.mkdir(root / path)


def remove_folder(root, path):
    os.rmdir(root / path)


def remove_tree(root, path):
    if not (root / path).is_dir() or (root / path).is_symlink():
        raise OSError(errno.ENOTDIR, "")
    shutil.rmtree(root / path)


def listing(root, path):
    return sorted(os.listdir(root / path))


def change_mode(root, path, mode):
    os.chmod(root / path, mode)


def set_times(root, path, when):
    os.utime(root / path, ns=(when, when + 5))
    return os.stat(root / path).st_mtime_ns, os.stat(root / path).st_atime_ns


def facts(root, path):
    info = os.lstat(root / path)
    return stat.S_IFMT(info.st_mode), stat.S_IMODE(info.st_mode), 0 if stat.S_ISDIR(info.st_mode) else info.st_size


def attribute(root, path, name, value):
    os.setxattr(root / path, name, value)
    return sorted(found for found in os.listxattr(root / path) if not found.startswith("user.lake.")), os.getxattr(root / path, name)


def unlinked(root, path, body):
    """A file that is removed while it is open goes on."""
    with open(root / path, "w+b") as file:
        os.unlink(root / path)
        file.write(body)
        file.seek(0)
        return file.read(), os.fstat(file.fileno()).st_nlink


def moved_while_open(root, path, other, body):
    with open(root / path, "ab") as file:
        file.write(body)
        file.flush()
        os.rename(root / path, root / other)
        file.write(body)
    return (root / other).read_bytes()


def body(pair):
    return pair.random.randbytes(pair.random.choice((0, 1, 100, 5000, 70_000)))


OPERATIONS = [(make, call) for weight, make, call in (
    (6, lambda p: (p.path(), p.random.choice((0, 0, 3, 4096, 100_000)), body(p), p.random.random() < 0.3), write),
    (4, lambda p: (p.path(), body(p)), append), (3, lambda p: (p.path(), body(p)), create), (4, lambda p: (p.path(),), read),
    (2, lambda p: (p.path(), p.random.choice((0, 10, 4095)), b"mapped"), mapped), (2, lambda p: (p.path(), p.random.choice((0, 7, 5000, 200_000))), truncate),
    (1, lambda p: (p.path(), p.random.choice((0, 4096)), 4096), punch), (1, lambda p: (p.path(), p.path(), 100, 5000), copy_range),
    (6, lambda p: (p.path(), p.path()), rename), (3, lambda p: (p.path(), p.path()), link), (2, lambda p: (str(p.path()), p.path()), symlink),
    (4, lambda p: (p.path(),), unlink), (6, lambda p: (p.path(),), make_folder), (2, lambda p: (p.path(),), remove_folder), (1, lambda p: (p.path(),), remove_tree),
    (3, lambda p: (p.path(),), listing), (2, lambda p: (p.path(), p.random.choice((0o600, 0o755, 0o444))), change_mode),
    (2, lambda p: (p.path(), p.random.randrange(10**9, 2 * 10**18)), set_times), (4, lambda p: (p.path(),), facts),
    (1, lambda p: (p.path(), "user.test", b"value"), attribute), (2, lambda p: (p.path(), body(p)), unlinked), (2, lambda p: (p.path(), p.path(), body(p)), moved_while_open),
) for _ in range(weight)]


class ModelTest(LakeTest):
    """Seeds are told when a step differs: the same seed gives the same steps again."""

    def pair(self, seed):
        bucket = self.repository()
        root, local = self.mount(bucket), self.scratch / "local"
        local.mkdir()
        return bucket, Pair(self, root, local, seed)

    def check_doors(self, bucket, pair):
        """What is closed is the same over S3; and in a snapshot of its commit, as far as entries can say it."""
        files = {path: found for path, found in describe(pair.roots[1]).items() if stat.S_ISREG(found[0])}
        keys = {key.removeprefix("main/") for key in self.s3_keys(bucket, "main/") if not key.endswith("/")}
        links = {path for path, found in describe(pair.roots[1]).items() if stat.S_ISLNK(found[0])}
        self.assertEqual(keys, set(files) | links, f"seed {pair.seed}, step {len(pair.steps)}; before: {pair.steps[-25:]}")
        for path, found in files.items():
            self.assertEqual(self.s3_get(bucket, f"main/{path}"), found[-1], f"seed {pair.seed}: {path}")

    def run_seed(self, seed, steps):
        bucket, pair = self.pair(seed)
        for step in range(steps):
            pair.step()
            if pair.random.random() < 0.02:
                pair.random.choice((
                    lambda: self.lake.list(bucket, "main"), lambda: self.lake.commit(bucket, "main", allow_empty=True), lambda: time.sleep(1.2) if step % 3 == 0 else None,
                    pair.compare, lambda: self.check_doors(bucket, pair)))()
        pair.compare()
        self.check_doors(bucket, pair)
        # Another mount of the branch, and a snapshot of its commit, show the same; but links that are one file only in the tree.
        commit = self.lake.commit(bucket, "main", allow_empty=True)["id"]
        self.lake.unmount(pair.roots[0])
        self.lake.mount(f"lakefs://{bucket}/main", pair.roots[0])
        pair.compare()
        snapshot = self.mount(bucket, commit, "snapshot")

        def plain(found):
            return {path: entry[:3] + entry[4:] for path, entry in found.items()}
        self.assertEqual(plain(describe(snapshot)), plain(describe(pair.roots[1])), f"seed {seed}")

    def test_seed_1(self):
        self.run_seed(1, 1500)

    def test_seed_2(self):
        self.run_seed(2, 1500)

    def test_another_seed(self):
        self.run_seed(int(os.environ.get("LAKEFUSE_STRESS_SEED", time.time_ns() % 1_000_000)), int(os.environ.get("LAKEFUSE_STRESS_STEPS", 1000)))


WORKER = """
import os, random, sys
root, number, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
numbers, folder, model = random.Random(number), f"{root}/{number}", {}
os.makedirs(folder, exist_ok=True)
for step in range(count):
    name = f"f{numbers.randrange(40)}"
    path, what = f"{folder}/{name}", numbers.randrange(10)
    if what < 4:
        body = numbers.randbytes(numbers.randrange(3000))
        with open(path, "wb") as file:
            file.write(body)
        model[name] = body
    elif what < 6 and name in model:
        with open(path, "ab") as file:
            file.write(b"more")
        model[name] += b"more"
    elif what == 6 and name in model:
        other = f"f{numbers.randrange(40)}"
        os.rename(path, f"{folder}/{other}")
        model[other] = model.pop(name)
    elif what == 7 and name in model:
        os.unlink(path)
        del model[name]
    elif what == 8:
        assert sorted(os.listdir(folder)) == sorted(model), (step, sorted(os.listdir(folder)), sorted(model))
    elif name in model:
        with open(path, "rb") as file:
            got = file.read(); assert got == model[name], (step, name, len(got), len(model[name]), got[:20], model[name][:20], got[-8:], model[name][-8:])
    # All write one log, each whole lines.
    if step % 50 == 0:
        descriptor = os.open(f"{root}/log", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(descriptor, f"{number} {step}\\n".encode())
        os.close(descriptor)
for name, body in model.items():
    with open(f"{folder}/{name}", "rb") as file:
        assert file.read() == body, name
assert sorted(os.listdir(folder)) == sorted(model)
"""


class ProcessesTest(LakeTest):
    def test_eight_processes(self):
        """Eight processes in one tree, each checking what it wrote, while others commit and look."""
        bucket = self.repository()
        root = self.mount(bucket)
        workers = [subprocess.Popen([sys.executable, "-c", WORKER, str(root), str(number), "2500"], stderr=subprocess.PIPE, text=True) for number in range(8)]
        commits = 0
        while any(worker.poll() is None for worker in workers):
            self.lake.commit(bucket, "main", allow_empty=True)
            self.lake.list(bucket, "main")
            commits += 1
            time.sleep(0.3)
        self.assertEqual([worker.stderr.read()[-500:] for worker in workers], [""] * 8)
        self.assertEqual(len((root / "log").read_text().splitlines()), 8 * 50)
        self.assertGreater(commits, 1)
        wanted = {path: found[-1] for path, found in describe(root).items() if stat.S_ISREG(found[0])}
        self.assertEqual({path: self.s3_get(bucket, f"main/{path}") for path in wanted}, wanted)


class KillTest(OwnLakeTest):
    def test_kill_after_operations(self):
        """kill -9 at any moment: what was closed before is in the mount as it was, and on the branch."""
        bucket = self.repository()
        root, local = self.folder / "mounts" / f"{bucket}-killed", self.scratch / "local"
        local.mkdir()
        self.lake.mount(f"lakefs://{bucket}/main", root)
        self.addCleanup(self.unmount_if_mounted, root)
        pair = Pair(self, root, local, int(os.environ.get("LAKEFUSE_STRESS_SEED", 7)))
        for number in range(6):
            for _ in range(150):
                pair.step()
            # Names are in the index some milliseconds later; what was synced is there at once.
            if number % 2:
                os.sync()
                descriptor = os.open(root, os.O_RDONLY)
                os.fsync(descriptor)
                os.close(descriptor)
            else:
                time.sleep(pair.random.choice((0.08, 0.5, 1.3)))
            self.lake.kill()
            self.restart()
            self.lake.command("mount", f"lakefs://{bucket}/main", root)
            pair.compare()
        keys = {key.removeprefix("main/") for key in self.s3_keys(bucket, "main/") if not key.endswith("/")}
        self.assertEqual(keys, {path for path, found in describe(local).items() if not stat.S_ISDIR(found[0])})
        done = self.lake.stop()
        self.assertEqual(done[0], 0)
        self.restart()
