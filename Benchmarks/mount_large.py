"""Mounts of large trees: the rows of `mount.md` section 5 about 80,000, 100,000 and a million files.

    python3 Benchmarks/mount_large.py BINARY FOLDER [--objects 1000000] [--only tree,publish,million,kill]

Starts a server of its own on a free port, with its data under `FOLDER`, and removes it at the end. Prints a line a figure, with the
daemon's memory (VmHWM) and CPU seconds beside it.
"""
import argparse
import base64
import concurrent.futures
import functools
import http.client
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time

KEY, SECRET = "AKIAJJJJJJJJJJJJJJJQ", "s" * 40


class Server:
    def __init__(self, binary, folder):
        self.binary, self.folder, self.data = binary, folder, folder / "data"
        self.environment = os.environ | {
            "LAKEFUSE_INSTALLATION_ACCESS_KEY_ID": KEY, "LAKEFUSE_INSTALLATION_SECRET_ACCESS_KEY": SECRET,
            "LAKECTL_CREDENTIALS_ACCESS_KEY_ID": KEY, "LAKECTL_CREDENTIALS_SECRET_ACCESS_KEY": SECRET}
        self.start()

    def start(self):
        self.process = subprocess.Popen([self.binary, "run", "--data", self.data, "--listen", "127.0.0.1:0"], env=self.environment, stdout=subprocess.PIPE, text=True)
        self.endpoint = self.process.stdout.readline().split()[-1]
        self.environment["LAKECTL_SERVER_ENDPOINT_URL"] = self.endpoint

    def command(self, *words):
        return subprocess.run([self.binary, *map(str, words)], env=self.environment, check=True, capture_output=True, text=True).stdout

    def mount(self, repository, name="m"):
        where = self.folder / name
        where.mkdir(exist_ok=True)
        self.command("mount", f"lakefs://{repository}/main", where)
        return where

    def cost(self):
        fields = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        memory = [line.split()[1] for line in pathlib.Path(f"/proc/{self.process.pid}/status").read_text().splitlines() if line.startswith("VmHWM")][0]
        return int(memory) // 1024, (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait()


def stage(endpoint, count, part):
    """Names a sixteenth of so many objects, whose bytes nobody reads."""
    connection = http.client.HTTPConnection(endpoint.removeprefix("http://"))
    headers = {"Authorization": "Basic " + base64.b64encode(f"{KEY}:{SECRET}".encode()).decode(), "Content-Type": "application/json"}
    for number in range(part, count, 16):
        body = {"physical_address": f"local://million/data/x/{number}", "checksum": "0" * 32, "size_bytes": 1024, "mtime": 1_700_000_000}
        connection.request("PUT", f"/api/v1/repositories/million/branches/main/objects?path=d{number // 1000}/f{number}", json.dumps(body), headers)
        answer = connection.getresponse()
        text = answer.read()
        if answer.status >= 300:
            raise RuntimeError(f"object {number}: {answer.status} {text[:200]}")


class Rows:
    def __init__(self, server, objects):
        self.server, self.objects = server, objects

    def time(self, name, call):
        _, before = self.server.cost()
        begun = time.perf_counter()
        call()
        took = time.perf_counter() - begun
        memory, after = self.server.cost()
        print(f"{name}: {took:,.3f} s; daemon {after - before:.2f} s of CPU, {memory} MiB at most", flush=True)
        return took

    def run(self, *words, **more):
        return lambda: subprocess.run([str(word) for word in words], check=True, stdout=subprocess.DEVNULL, **more)

    def drop(self):
        os.sync()
        pathlib.Path("/proc/sys/vm/drop_caches").write_text("2")

    def tar(self, count, name):
        """Files of 1 KiB, 40 a folder."""
        path = self.server.folder / name
        with tarfile.open(path, "w") as archive, tempfile.TemporaryFile() as body:
            body.write(b"x" * 1024)
            for number in range(count):
                info = tarfile.TarInfo(f"d{number // 4000}/e{number // 40 % 100}/f{number}")
                info.size, info.mtime = 1024, 1_700_000_000
                body.seek(0)
                archive.addfile(info, body)
        return path

    def tree(self):
        self.server.command("repo", "create", "lakefs://tree", "local://tree")
        root, disk, tar = self.server.mount("tree", "tree"), self.server.folder / "disk", self.tar(80_000, "80k.tar")
        disk.mkdir()
        self.time("untar 80,000 files, disk", self.run("tar", "xf", tar, "-C", disk))
        self.time("untar 80,000 files, mount", self.run("tar", "xf", tar, "-C", root))
        descriptors = len(os.listdir(f"/proc/{self.server.process.pid}/fd"))
        print(f"descriptors of the daemon: {descriptors}")
        self.time("rm -rf of it, disk", self.run("rm", "-rf", disk))
        self.time("rm -rf of it, mount", self.run("sh", "-c", f"rm -rf {root}/*"))
        self.server.command("umount", root)

    def publish(self):
        self.server.command("repo", "create", "lakefs://publish", "local://publish")
        root, tar = self.server.mount("publish", "publish"), self.tar(100_000, "100k.tar")
        self.time("untar 100,000 files, mount", self.run("tar", "xf", tar, "-C", root))

        def wait():
            while "unpublished_changes 0\n" not in (root / ".lake" / "stats").read_text():
                time.sleep(0.05)
        self.time("published in the background behind it", wait)
        self.time("commit of them", lambda: (root / ".lake" / "commit").write_text("all\n"))
        self.server.command("umount", root)

    def kill(self):
        self.server.command("repo", "create", "lakefs://kill", "local://kill")
        root, tar = self.server.mount("kill", "kill"), self.tar(20_000, "20k.tar")
        with subprocess.Popen(["tar", "xf", tar, "-C", root], stderr=subprocess.DEVNULL) as tarring:
            time.sleep(3)
            self.server.process.kill()
            self.server.process.wait()
            tarring.wait()

        def back():
            self.server.start()
            while not os.path.ismount(root) or not self.looks(root):
                time.sleep(0.01)
        begun = time.perf_counter()
        back()
        print(f"kill -9 during an untar, and mounted again: {time.perf_counter() - begun:.3f} s", flush=True)
        self.server.command("umount", root)

    def looks(self, root):
        try:
            return bool(os.listdir(root))
        except OSError:
            return False

    def million(self):
        self.server.command("repo", "create", "lakefs://million", "local://million")

        with concurrent.futures.ProcessPoolExecutor(4) as pool:
            begun = time.perf_counter()
            list(pool.map(functools.partial(stage, self.server.endpoint, self.objects), range(16)))
            print(f"{self.objects:,} objects staged over REST in {time.perf_counter() - begun:.0f} s")
        self.server.command("commit", "-m", "all", "lakefs://million/main")
        self.server.command("branch", "create", "lakefs://million/other", "-s", "lakefs://million/main")
        root = self.server.mount("million", "million")
        for name in ("cold", "warm"):
            if name == "cold":
                self.drop()
            self.time(f"find, {self.objects:,} files, {name}", self.run("find", root))
        self.drop()
        self.time(f"ls -lR, {self.objects:,} files, cold", self.run("ls", "-lR", root))
        self.time(f"ls -lR, {self.objects:,} files, warm", self.run("ls", "-lR", root))
        for number in range(10):
            (root / f"d{number}" / "new").write_bytes(b"new")
        (root / ".lake" / "push").write_text("now\n")
        self.time("status with 10 changes", lambda: (root / ".lake" / "status").read_text())
        self.time("switch of the ref", lambda: (root / ".lake" / "ref").write_text("other\n"))
        self.time("and the first listing", lambda: os.listdir(root / "d5"))
        self.server.command("umount", root)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("binary")
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--objects", type=int, default=1_000_000)
    parser.add_argument("--only", default="tree,publish,kill,million")
    arguments = parser.parse_args()
    folder = arguments.folder.absolute()
    folder.mkdir(parents=True)
    server = Server(arguments.binary, folder)
    try:
        rows = Rows(server, arguments.objects)
        for name in arguments.only.split(","):
            getattr(rows, name)()
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
