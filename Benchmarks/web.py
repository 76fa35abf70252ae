"""Pages of the web page on a large lake: time of the server by wrk, time and bytes of the first page by a browser.

    python3 Benchmarks/web.py BINARY FOLDER [--objects 1000000] [--branches 10000] [--commits 100000]

The lake is made in FOLDER and kept there: a second run measures at once. The browser is asked only where playwright is installed.
"""
import argparse
import base64
import json
import pathlib
import re
import subprocess
import sys
import time
import urllib.parse

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "Tests" / "EndToEnd"))
import lake as lakes  # noqa: E402

HERE = pathlib.Path(__file__).resolve().parent
LOGIN = "Basic " + base64.b64encode(f"{lakes.KEY}:{lakes.SECRET}".encode()).decode()


def fill(lake, what, many, connections=32, threads=2):
    """Sends `many` requests that make something, until the counter of the server says that they are there."""
    done = {"stage": lambda: len(lake.rest("GET", "/repositories/big/refs/main/objects/ls", after=f"d{(many - 1) // 1000:03}/f{many - 2:06}").json["results"]),
            "branch": lambda: lake.rest("GET", f"/repositories/big/branches/b{many - 1:05}").status == 200,
            "commit": lambda: lake.rest("GET", "/repositories/big/refs/log/commits", amount=1).json["results"][0].get("generation", 0) >= many}[what]
    began = time.monotonic()
    if done():
        return
    with subprocess.Popen(["wrk", "-t", str(threads), "-c", str(connections if what != "commit" else threads), "-d", "1200", "-s", str(HERE / "web.lua"), lake.endpoint, "--",
                           LOGIN, what, str(many), str(threads)], stdout=subprocess.DEVNULL) as load:
        while not done():
            if load.poll() is not None:
                raise RuntimeError(f"{what}: wrk has ended and not everything is there")
            time.sleep(1)
        time.sleep(2)  # the last ones are on their way
        load.terminate()
    print(f"{what}: {many} in {time.monotonic() - began:.0f} s", flush=True)


def measure(lake, cookie, pages):
    print(f"{'page':24} {'p50 ms':>8} {'p99 ms':>8} {'bytes':>9}")
    for name, path in pages.items():
        answer = lake.send("GET", path, headers={"Cookie": cookie})
        out = subprocess.run(["wrk", "-t", "1", "-c", "1", "-d", "3", "--latency", "-H", f"Cookie: {cookie}", lake.endpoint + path], check=True, capture_output=True, text=True).stdout

        def latency(mark):
            number, unit = re.search(rf"{mark}%\s+([\d.]+)(us|ms|s)", out).groups()
            return float(number) * {"us": 0.001, "ms": 1, "s": 1000}[unit]
        print(f"{name:24} {latency(50):8.2f} {latency(99):8.2f} {len(answer.body):9} {'' if answer.status == 200 else answer.status}", flush=True)


def browse(lake, cookie):
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        print("no playwright here: the browser is left out")
        return
    with sync_playwright() as tools:
        browser = tools.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        for name, path in {"sign in": "/login", "repositories": "/repositories", "data": "/repositories/big/objects?ref=main"}.items():
            context = browser.new_context()
            context.add_cookies([{"name": "internal_auth_session", "value": cookie.split("=", 1)[1], "url": lake.endpoint}])
            page = context.new_page()
            page.goto(lake.endpoint + path, wait_until="load")
            found = page.evaluate("""() => { const all = [performance.getEntriesByType('navigation')[0], ...performance.getEntriesByType('resource')];
                return { load: all[0].loadEventEnd || performance.now(), wire: all.reduce((sum, one) => sum + one.transferSize, 0), bytes: all.reduce((sum, one) => sum + one.decodedBodySize, 0), requests: all.length } }""")
            print(f"first load of {name}: {found['load']:.0f} ms, {found['wire'] / 1000:.1f} KB on the wire, {found['bytes'] / 1000:.1f} KB decoded, {found['requests']} requests")
            context.close()
        browser.close()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("binary")
    parser.add_argument("folder", type=pathlib.Path)
    for name, number in (("objects", 1_000_000), ("branches", 10_000), ("commits", 100_000)):
        parser.add_argument("--" + name, type=int, default=number)
    given = parser.parse_args()
    lakes.BINARY = given.binary
    given.folder.mkdir(parents=True, exist_ok=True)
    for old in given.folder.glob("*-home"):
        old.rmdir() if not any(old.iterdir()) else None
    lake = lakes.Lake(given.folder, name="web").start()
    if lake.rest("GET", "/repositories/big").status == 404:
        lake.create_repository("big")
    fill(lake, "stage", given.objects)
    if lake.rest("GET", "/repositories/big/branches/main/diff", amount=1).json["results"]:
        lake.commit("big", "main", "All of it")
    fill(lake, "branch", given.branches)
    if lake.rest("GET", "/repositories/big/branches/log").status == 404:
        lake.ask("POST", "/repositories/big/branches", 201, json_body={"name": "log", "source": "main"})
    fill(lake, "commit", given.commits)
    for number in range(100):
        lake.upload("big", "main", f"d{number:03}/new.txt", b"new")
    cookie = "internal_auth_session=" + lake.ask("POST", "/auth/login", 200, json_body={"access_key_id": lakes.KEY, "secret_access_key": lakes.SECRET}).json["token"]
    newest = lake.rest("GET", "/repositories/big/refs/main/commits", amount=1).json["results"][0]["id"]
    middle = lake.rest("GET", "/repositories/big/refs/log~5000/commits", amount=1).json["results"][0]["id"]
    base = "/repositories/big"
    measure(lake, cookie, {
        "repositories": "/repositories", "data": f"{base}/objects?ref=main", "folder": f"{base}/objects?ref=main&path=d500/", "folder, by size": f"{base}/objects?ref=main&path=d500/&sort=size",
        "object": f"{base}/object?ref=main&path=d000/new.txt", "last commits": f"{base}/last-changes?ref=main&path=d500/", "last commits, deep": f"{base}/last-changes?ref=log&path=d500/",
        "size of a folder": f"{base}/size?ref=main&path=d500/", "uncommitted": f"{base}/changes?ref=main", "commits": f"{base}/commits?ref=log", "commits, far down": f"{base}/commits?ref=log&after={middle}",
        "commits, by words": f"{base}/commits?ref=log&metadata=nobody", "commit of all": f"{base}/commits/{newest}", "compare": f"{base}/compare?ref=log&compare=main", "branches": f"{base}/branches", "branches, far down": f"{base}/branches?after=b09000",
        "tags": f"{base}/tags", "pulls": f"{base}/pulls", "actions": f"{base}/actions", "settings": f"{base}/settings", "users": "/auth/users", "server": "/server"})
    browse(lake, cookie)
    lake.stop()


if __name__ == "__main__":
    main()
