"""The mount beside the local disk: the rows of `mount.md` section 5, each done in both places in turn, in one run.

    python3 Benchmarks/mount.py FOLDER NAME=PLACE ... [--rounds 3] [--only TEXT,...] [--daemon PID]

`FOLDER` is on the local disk; each `PLACE` is a folder to do the same in (the mount of an empty branch; an rclone mount).
Prints one line of JSON a figure: row, place, unit, values of all rounds. With `--daemon`, its CPU seconds in the row too.
"""
import argparse
import json
import mmap
import os
import pathlib
import random
import shutil
import sqlite3
import statistics
import subprocess
import sys
import time

MIB = 1 << 20


def drop_caches():
    os.sync()
    try:
        pathlib.Path("/proc/sys/vm/drop_caches").write_text("3")
    except OSError:
        pass


def run(*arguments, **options):
    subprocess.run([str(word) for word in arguments], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **options)


class Timer:
    def __enter__(self):
        self.begun = time.perf_counter()
        return self

    def __exit__(self, *_):
        self.took = time.perf_counter() - self.begun


class Rows:
    """Each row is a method: it gets an empty folder and gives (name, unit, value) for one or more figures."""

    def __init__(self, local):
        self.local = local
        self.tar = local / "tree.tar"
        if not self.tar.exists():
            self.make_tar()

    def make_tar(self):
        """15,000 files of 1-4 KiB in 2,160 folders."""
        source, numbers = self.local / "source", random.Random(1)
        for number in range(2160):
            folder = source / f"d{number % 12}" / f"e{number // 12 % 12}" / f"f{number}"
            folder.mkdir(parents=True)
            for file in range(7):
                (folder / f"{file}").write_bytes(numbers.randbytes(numbers.randrange(1024, 4096)))
        run("tar", "cf", self.tar, "-C", source, ".")
        shutil.rmtree(source)

    def sqlite(self, folder):
        for mode, count in (("delete", 200), ("wal", 1000)):
            base = sqlite3.connect(folder / f"{mode}.db", isolation_level=None)
            base.execute(f"pragma journal_mode={mode}")
            base.execute("create table t (k integer primary key, v blob)")
            base.execute("begin")
            base.executemany("insert into t values (?, randomblob(1000))", ((n,) for n in range(30_000)))
            base.execute("commit")
            with Timer() as timer:
                for n in range(count):
                    base.execute("update t set v = randomblob(1000) where k = ?", (n * 7919 % 30_000,))
            base.close()
            yield f"SQLite, 30 MB, {mode}", "transactions/s", count / timer.took

    def append(self, folder):
        path = folder / "log"
        path.write_bytes(os.urandom(64 * MIB))
        with open(path, "ab", buffering=0) as file:
            file.write(b"first\n")
            with Timer() as timer:
                for _ in range(2000):
                    file.write(b"one more line of a log\n")
            yield "append a line to a 64 MiB file", "µs", timer.took / 2000 * 1e6
        with open(path, "r+b", buffering=0) as file:
            with Timer() as timer:
                for n in range(300):
                    os.pwrite(file.fileno(), bytes(4096), n * 40960)
                    os.fdatasync(file.fileno())
            yield "4 KiB and fdatasync in it", "ms", timer.took / 300 * 1e3
        with Timer() as timer:
            for _ in range(50):
                with open(path, "ab") as file:
                    file.write(b"line\n")
        yield "open, append, close", "µs", timer.took / 50 * 1e6

    def large(self, folder):
        path, block = folder / "large", os.urandom(4 * MIB)
        with open(path, "wb", buffering=0) as file:
            with Timer() as timer:
                for _ in range(256):
                    file.write(block)
            yield "write 1 GiB", "s", timer.took
            with Timer() as sync:
                os.fsync(file.fileno())
            yield "write 1 GiB, with fsync", "s", timer.took + sync.took
        time.sleep(4)  # published meanwhile
        drop_caches()
        buffer = bytearray(MIB)
        for name in ("first read of 1 GiB", "warm read of 1 GiB"):
            with open(path, "rb", buffering=0) as file, Timer() as timer:
                while file.readinto(buffer):
                    pass
            yield name, "MB/s", 1024 * MIB / timer.took / 1e6
        places = [random.Random(2).randrange(0, 1024 * MIB // 4096) * 4096 for _ in range(200_000)]
        with open(path, "rb", buffering=0) as file, Timer() as timer:
            for place in places:
                os.pread(file.fileno(), 4096, place)
        yield "warm random 4 KiB", "/s", len(places) / timer.took

    def small(self, folder):
        body, count = bytes(1024), 10_000
        with Timer() as timer:
            for n in range(count):
                with open(folder / f"{n}", "wb", buffering=0) as file:
                    file.write(body)
        yield "create 1 KiB files", "/s", count / timer.took
        drop_caches()
        with Timer() as timer:
            for n in range(count):
                os.stat(folder / f"{n}")
        yield "stat cold", "/s", count / timer.took
        path = folder / "7"
        with Timer() as timer:
            for _ in range(20_000):
                descriptor = os.open(path, os.O_RDONLY)
                os.read(descriptor, 1024)
                os.close(descriptor)
        yield "open, read, close, warm", "/s", 20_000 / timer.took
        with Timer() as timer:
            for n in range(count):
                os.unlink(folder / f"{n}")
        yield "unlink", "/s", count / timer.took

    def tree(self, folder):
        with Timer() as timer:
            run("tar", "xf", self.tar, "-C", folder)
        yield "untar 15,000 files in 2,160 folders", "s", timer.took
        time.sleep(3)
        for name in ("cold", "warm"):
            if name == "cold":
                drop_caches()
            with Timer() as timer:
                subprocess.run(["grep", "-rq", "never there", str(folder)])  # It finds nothing, and says so.
            yield f"grep -r of 15,000 files, {name}", "s", timer.took
        drop_caches()
        for name in ("cold", "warm"):
            with Timer() as timer:
                run("find", folder, "-printf", "%p %s\\n")
            yield f"find of 15,000 files, {name}", "s", timer.took
        (folder / "many").mkdir()
        with Timer() as timer:
            os.rename(folder / "d0", folder / "renamed")
        yield "rename of a folder of 1,260", "ms", timer.took * 1e3
        with Timer() as timer:
            run("rm", "-rf", *folder.iterdir())
        yield "rm -rf of it", "s", timer.took

    def git(self, folder):
        origin = self.local / "origin"
        if not origin.exists():
            self.make_repository(origin)
        with Timer() as timer:
            run("git", "clone", "-q", f"file://{origin}", folder / "clone")
        yield "git clone", "s", timer.took
        time.sleep(3)
        drop_caches()
        for name in ("cold", "warm"):
            with Timer() as timer:
                run("git", "-C", folder / "clone", "status")
            yield f"git status, {name}", "s", timer.took

    def make_repository(self, origin):
        run("git", "init", "-q", origin)
        numbers = random.Random(3)
        environment = {**os.environ, "GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@b", "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@b"}
        for commit in range(300):
            for _ in range(20):
                path = origin / f"d{numbers.randrange(40)}" / f"f{numbers.randrange(50)}.txt"
                path.parent.mkdir(exist_ok=True)
                path.write_text("".join(f"line {numbers.randrange(1000)}\n" for _ in range(60)))
            run("git", "-C", origin, "add", "-A")
            run("git", "-C", origin, "commit", "-qm", f"commit {commit}", env=environment)


def cpu(pid):
    if not pid:
        return 0
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("places", nargs="+")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="sqlite,append,large,small,tree,git")
    parser.add_argument("--daemon", type=int)
    arguments = parser.parse_args()
    places = {"disk": arguments.folder / "disk", **{name: pathlib.Path(place) for name, place in (text.split("=", 1) for text in arguments.places)}}
    rows, found = Rows(arguments.folder), {}
    for name in arguments.only.split(","):
        for number in range(arguments.rounds):
            for place, root in places.items():
                folder = root / f"{name}{number}"
                folder.mkdir(parents=True)
                before = cpu(arguments.daemon) if place == "mount" else 0
                for row, unit, value in getattr(rows, name)(folder):
                    found.setdefault((row, unit), {}).setdefault(place, []).append(value)
                    print(f"{place:8} {row}: {value:,.3f} {unit}", file=sys.stderr, flush=True)
                if place == "mount" and arguments.daemon:
                    print(f"         the daemon used {cpu(arguments.daemon) - before:.2f} s of CPU", file=sys.stderr)
                shutil.rmtree(folder, ignore_errors=True)
    print(f"| row | unit | {' | '.join(places)} | mount / disk |")
    print("|---|---|" + "---:|" * (len(places) + 1))
    for (row, unit), values in found.items():
        medians = {place: statistics.median(values[place]) for place in places if place in values}
        ratio = medians["mount"] / medians["disk"] if "mount" in medians and medians.get("disk") else 0
        cells = ' | '.join(format(medians.get(place, float('nan')), ',.3g') for place in places)
        print(f"| {row} | {unit} | {cells} | {ratio:.2f} |")


if __name__ == "__main__":
    main()
