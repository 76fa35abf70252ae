#!/usr/bin/env python3
"""What the command line costs: starting, listing a million entries, looking at a linked folder of half a million files.

    cli.py BINARY FOLDER [--files N]    keeps FOLDER (and the lake in it) for the next time
"""
import argparse
import json
import os
import pathlib
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "Tests" / "EndToEnd"))

import lake as lakes  # noqa: E402
import web  # noqa: E402

MTIME = 1_600_000_000


def timed(lake, *words, rounds=3):
    """The best wall time, and the most memory, of some runs of a command; what it writes is counted."""
    best, lines = 1e9, 0
    for _ in range(rounds):
        began = time.perf_counter()
        process = subprocess.Popen([lakes.BINARY, *map(str, words)], stdout=subprocess.PIPE, env=lake.environment | lake.client)
        lines = sum(piece.count(b"\n") for piece in iter(lambda: process.stdout.read(1 << 20), b""))
        _, status, usage = os.wait4(process.pid, 0)
        best = min(best, time.perf_counter() - began)
        assert status == 0, words
    return best, usage.ru_maxrss / 1024, usage.ru_utime + usage.ru_stime, lines


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("binary")
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--files", type=int, default=500_000)
    given = parser.parse_args()
    lakes.BINARY = given.binary
    given.folder.mkdir(parents=True, exist_ok=True)
    for old in given.folder.glob("*-home"):
        subprocess.run(["rm", "-rf", old], check=True)
    lake = lakes.Lake(given.folder, name="web").start()
    if lake.rest("GET", "/repositories/big").status == 404:
        lake.create_repository("big")
    web.fill(lake, "stage", 1_000_000)
    if lake.rest("GET", "/repositories/big/branches/main/diff", amount=1).json["results"]:
        lake.commit("big", "main", "All of it")
    for words in (["--version"], ["repo", "list", "--help"], ["branch", "show", "lakefs://big/main"]):
        shell = " ".join([given.binary, *words])
        subprocess.run(["hyperfine", "-N", "--warmup", "5", "--runs", "60", "--style", "none", "--export-json", given.folder / "hyperfine.json", shell], check=True, env=os.environ | lake.client, stdout=subprocess.DEVNULL)
        found = json.loads((given.folder / "hyperfine.json").read_text())["results"][0]
        print(f"{' '.join(words):36} {found['mean'] * 1000:7.1f} ms (± {found['stddev'] * 1000:.1f}), {(found['user'] + found['system']) * 1000:.1f} ms of a processor")
    for prefix in ("d000/", ""):
        best, memory, processor, lines = timed(lake, "fs", "ls", "-r", f"lakefs://big/main/{prefix}", rounds=1)
        print(f"fs ls of {lines:9,} entries            {best:7.2f} s, {processor:.2f} s of a processor, {memory:.0f} MiB at most")
    linked(lake, given)
    lake.stop()


def linked(lake, given):
    """A folder of files, and a branch that has them."""
    folder = given.folder / "linked"
    if not folder.exists():
        for start in range(0, given.files, 1000):
            below = folder / f"d{start // 1000:04}"
            below.mkdir(parents=True)
            for index in range(1000):
                file = below / f"file-{index:04}.csv"
                file.write_bytes(b"x")
                os.utime(file, (MTIME, MTIME))
    if lake.rest("GET", "/repositories/linked").status == 404:
        lake.create_repository("linked")

        def stage(connection, index):
            body = {"physical_address": "local://linked/data/one", "checksum": "9dd4e461268c8034f5c8564e155c67a6", "size_bytes": 1, "mtime": MTIME}
            lake.ask("PUT", "/repositories/linked/branches/main/objects", 201, json_body=body, connection=connection, path=f"files/d{index // 1000:04}/file-{index % 1000:04}.csv")
        lake.for_each(range(given.files), stage, 16)
        lake.commit("linked", "main", "All of them")
    lake.command("local", "init", "--force", "lakefs://linked/main/files/", folder)
    first, memory, processor, _ = timed(lake, "local", "status", folder, rounds=1)
    print(f"local status of {given.files:,} files, first  {first:7.2f} s, {processor:.2f} s of a processor, {memory:.0f} MiB at most")
    best, memory, processor, _ = timed(lake, "local", "status", folder)
    print(f"local status of {given.files:,} files, then   {best:7.2f} s, {processor:.2f} s of a processor, {memory:.0f} MiB at most")


if __name__ == "__main__":
    main()
