"""The command line: lakectl's recorded sessions, comfort, what goes wrong, and the examples."""
import json
import os
import pathlib
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
import time
import unittest

from clients import LakeTest
from lake import BINARY, ROOT, Lake, wait_until

SHARED = ROOT.parent / "shared" / "fixtures" / "lakectl"
HERE = pathlib.Path(__file__).parent


class LakectlTest(LakeTest):
    """A link named lakectl behaves as lakectl."""

    def link(self):
        link = self.scratch / "lakectl"
        link.symlink_to(BINARY)
        return link

    @unittest.skipUnless(SHARED.exists(), "the recorded sessions are not here")
    def test_sessions(self):
        """All recorded sessions, but for what is said better here: those differ, each of them, and nothing else."""
        source = self.scratch / "import"
        for folder in ("d0", "d1", "d2"):
            (source / "set" / folder).mkdir(parents=True)
            for index in range(20):
                (source / "set" / folder / f"f{index:02}.txt").write_text(f"import {folder[1]} {index}\n")
        (source / "single").mkdir()
        (source / "single" / "one.csv").write_text("a,b\n")
        lake = Lake(self.scratch, LAKEFUSE_BLOCKSTORE_LOCAL_IMPORT_ENABLED="true", LAKEFUSE_BLOCKSTORE_LOCAL_ALLOWED_EXTERNAL_PREFIXES=str(source)).start()
        self.addCleanup(lake.stop)
        done = subprocess.run([sys.executable, SHARED / "replay.py"], capture_output=True, text=True, timeout=300, env={
            "PATH": os.environ["PATH"], "TZ": "UTC", "LAKECTL": str(self.link()), "LAKE_ENDPOINT": lake.endpoint, "LAKE_ACCESS_KEY_ID": lake.keys[0],
            "LAKE_SECRET_ACCESS_KEY": lake.keys[1], "LAKE_IMPORT": f"local://{source}"})
        found = sorted(line.removeprefix("FAILED ").strip() for line in done.stdout.splitlines() if line.startswith("FAILED "))
        wanted = sorted(line.strip() for line in (HERE / "lakectl-better.txt").read_text().splitlines() if line.strip() and not line.startswith("#"))
        self.assertEqual(found, wanted, done.stdout[-5000:] + done.stderr[-2000:])
        self.assertRegex(done.stdout, r"\d{3} passed")

    @unittest.skipUnless(SHARED.exists(), "the recorded help is not here")
    def test_every_command_is_there(self):
        """Each of the 131 commands, with each of its flags: name, short name, type, default and description."""
        link = self.link()
        recorded = json.loads((SHARED / "help.json").read_text())
        for name, command in recorded.items():
            with self.subTest(name):
                shown = subprocess.run([link, *name.split(), "--help"], capture_output=True, text=True, timeout=10)
                self.assertEqual((shown.returncode, shown.stderr), (0, ""))
                words = [" ".join(line.split()) for line in shown.stdout.splitlines()]
                for flag in command.get("flags", []):
                    if name == "" and flag["name"] == "config":
                        continue
                    parts = (f"-{flag['short']}, " if flag.get("short") else "") + "--" + flag["name"] + ("" if flag["type"] == "bool" else " " + flag["type"])
                    default = flag.get("default")
                    wanted = f"{parts} {flag['description']}" + (f" (default {json.dumps(default) if flag['type'] == 'string' else default})" if default else "")
                    self.assertIn(" ".join(wanted.split()), words)
                for usage in command.get("usage") or []:
                    self.assertIn(usage.split(" [flags]")[0] if usage.endswith("[flags]") else usage, shown.stdout)

    def test_plugins(self):
        """A program called lakectl-NAME is the command NAME: with its arguments, environment and exit code; ours come first."""
        programs = self.scratch / "bin"
        programs.mkdir()
        for name in ("lakectl-hello", "lakectl-repo"):
            (programs / name).write_text("#!/bin/sh\necho \"$0 $* $LAKECTL_SERVER_ENDPOINT_URL\"\nexit 7\n")
            (programs / name).chmod(0o755)
        path = f"{programs}:{os.environ['PATH']}"
        done = self.lake.run("hello", "a b", "--flag", environment={"PATH": path, "LAKECTL_SERVER_ENDPOINT_URL": "x"})
        self.assertEqual((done.returncode, done.stdout), (7, f"{programs}/lakectl-hello a b --flag x\n"))
        self.assertIn("hello\t", self.lake.command("plugin", "list", environment={"PATH": path}))
        self.assertIn("Manage and explore repos", self.lake.command("repo", environment={"PATH": path}))

    def test_completion(self):
        """Commands, flags, and names of the server's repositories, branches and objects."""
        repository = self.repository()
        self.lake.upload(repository, "main", "data/a.txt", b"a")
        def complete(*words): return [line.split("\t")[0] for line in self.lake.command("__complete", *words).splitlines()[:-1]]
        self.assertEqual(complete("bran"), ["branch", "branch-protect"])
        self.assertIn("--squash", complete("merge", "--"))
        self.assertIn(f"lakefs://{repository}/", complete("branch", "list", "lakefs://" + repository[:-1]))
        self.assertIn(f"lakefs://{repository}/main/", complete("log", f"lakefs://{repository}/m"))
        self.assertEqual(complete("fs", "cat", f"lakefs://{repository}/main/data/"), [f"lakefs://{repository}/main/data/a.txt"])
        # What is a file's place is the shell's to complete.
        for words in (("fs", "download", f"lakefs://{repository}/main/data/", ""), ("local", "status", ""), ("mount", f"{repository}@main", "")):
            self.assertEqual(self.lake.command("__complete", *words).splitlines(), [":0"], words)
        line = f"lakefuse fs cat lakefs://{repository}/main/da"
        script = f"{self.lake.command('completion', 'bash')}\nlakefuse() {{ '{BINARY}' \"$@\"; }}\nCOMP_LINE='{line}'; COMP_POINT={len(line)}; _lakefuse_complete; printf '%s\\n' \"${{COMPREPLY[@]}}\""
        environment = self.lake.environment | self.lake.client
        done = subprocess.run(["bash", "-c", script], env=environment, capture_output=True, text=True)
        self.assertIn(f"//{repository}/main/data/\n", done.stdout, done.stderr)  # Bash has "lakefs:" already: it takes words apart at colons.
        for shell in ("bash", "zsh", "fish"):
            script = self.lake.command("completion", shell)
            if shutil.which(shell):
                subprocess.run([shell, "-n" if shell != "fish" else "--no-execute", "/dev/stdin"], input=script, text=True, check=True)


class ComfortTest(LakeTest):
    def test_json(self):
        """Every list and show, as one document of JSON."""
        repository = self.repository()
        self.lake.upload(repository, "main", "a.txt", b"a")
        self.lake.commit(repository, "main", "first")
        self.lake.upload(repository, "main", "b.txt", b"b")
        uri = f"lakefs://{repository}"
        self.lake.command("tag", "create", f"{uri}/v1", f"{uri}/main")
        self.lake.command("branch-protect", "add", uri, "stable_*")
        for words in ("repo list", f"branch list {uri}", f"tag list {uri}", f"log {uri}/main", f"diff {uri}/main", f"diff {uri}/v1~1 {uri}/v1", f"fs ls {uri}/main/", f"branch-protect list {uri}",
                      "auth users list", "auth groups list", "auth policies list", "auth users credentials list", f"actions runs list {uri}", f"annotate {uri}/main/", "plugin list"):
            with self.subTest(words):
                found = json.loads(self.lake.command(*words.split(), "--output", "json"))
                self.assertIsInstance(found, list)
                if "runs" not in words and "plugin" not in words:
                    self.assertTrue(found)
        for words in (f"branch show {uri}/main", f"tag show {uri}/v1", f"show commit {uri}/main", f"fs stat {uri}/main/a.txt", "identity", f"find-merge-base {uri}/main {uri}/v1", "auth policies show --id FSReadAll"):
            with self.subTest(words):
                self.assertIsInstance(json.loads(self.lake.command(*words.split(), "--output=json")), dict)
        settings = json.loads(self.lake.command("config", "show", "--output", "json", "--data", self.scratch / "none", environment={"LAKEFUSE_AUTH_ENCRYPT_SECRET_KEY": "a secret"}))
        self.assertIn({"key": "auth.encrypt.secret_key", "value": "(secret)", "from": "LAKEFUSE_AUTH_ENCRYPT_SECRET_KEY"}, settings)

    def test_json_of_mounts(self):
        """What a mount shows and counts, as one document of JSON."""
        repository = self.repository()
        self.lake.upload(repository, "main", "old file", b"a")
        commit = self.lake.commit(repository, "main", "first")["id"]
        mount = self.mount(repository)
        (mount / "a file").write_bytes(b"new")
        (mount / "old file").unlink()
        status = json.loads(self.lake.command("status", mount, "--output", "json"))
        changes = status.pop("changes")
        self.assertEqual(status, {"mount": str(mount), "ref": f"lakefs://{repository}/main", "commit": commit, "read_only": False, "notes": []})
        self.assertEqual(changes, [{"type": "added", "path": "a file"}, {"type": "removed", "path": "old file"}])
        counted = json.loads(self.lake.command("mount", "status", mount, "--output", "json"))
        self.assertEqual((counted["ref"], counted["errors"], counted["not_shown"]), ("main", [], []))
        self.assertGreater(counted["counters"]["requests"], 0)

    def on_terminal(self, *words, environment=()):
        """What a command shows on a terminal."""
        controller, terminal = pty.openpty()
        process = subprocess.Popen([BINARY, *words], stdin=terminal, stdout=terminal, stderr=terminal, env={
            **self.lake.environment, **self.lake.client, "TERM": "xterm", "PAGER": "cat", **dict(environment)})
        os.close(terminal)
        text = b""
        while select.select([controller], [], [], 20)[0]:
            try:
                piece = os.read(controller, 65536)
            except OSError:  # The other end is closed.
                break
            if not piece:
                break
            text += piece
        os.close(controller)
        return process.wait(10), text.decode().replace("\r\n", "\n")

    def test_on_a_terminal(self):
        """Tables with heads, colours unless NO_COLOR says otherwise, errors in one line that help."""
        repository = self.repository()
        code, text = self.on_terminal("branch", "list", f"lakefs://{repository}")
        self.assertEqual(code, 0)
        self.assertRegex(text, r"\x1b\[1mBranch  Commit")
        code, text = self.on_terminal("branch", "list", f"lakefs://{repository}", environment={"NO_COLOR": "1"})
        self.assertNotIn("\x1b", text)
        code, text = self.on_terminal("branch", "show", f"lakefs://{repository}/nope", environment={"NO_COLOR": "1"})
        self.assertEqual((code, text.count("\n")), (1, 2))
        self.assertIn("branch list", text.splitlines()[1])

    def test_a_long_listing_holds_no_memory(self):
        """30,000 entries are written as they come."""
        repository = self.repository()
        self.stage(repository, 30_000)
        code = ("import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL);"
                "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)")
        peaks = []
        for prefix in ("k00", "k"):
            environment = self.lake.client
            done = subprocess.run([sys.executable, "-c", code, BINARY, "fs", "ls", "-r", f"lakefs://{repository}/main/{prefix}"], env=self.lake.environment | environment, capture_output=True, text=True, check=True)
            peaks.append(int(done.stdout))
        self.assertLess(peaks[1], peaks[0] + 20_000, "KiB of one that lists 300 and one that lists 30,000")

    def stage(self, repository, count):
        path = self.scratch / "many"
        path.mkdir()
        for index in range(count):
            (path / f"k{index:05}").write_bytes(b"")
        self.lake.command("fs", "upload", "-r", "-s", path, "--pre-sign=false", f"lakefs://{repository}/main/", timeout=300)

    def test_suggestions(self):
        done = self.lake.run("brnch", "list")
        self.assertEqual(done.returncode, 1)
        self.assertIn("Did you mean this?\n\tbranch\n", done.stderr)


class TransferTest(LakeTest):
    def test_large_and_many(self):
        """Large objects in parts, many at once, whatever their names; what is there already is not sent again."""
        repository = self.repository()
        folder = self.scratch / "up"
        names = ["a.bin", "twin-1", "twin-2", "ä ö.txt", "quote'\".txt", "deep/er/still.txt", "line\nbreak.txt", "-dash", "per%20cent"]
        for index, name in enumerate(names):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(os.urandom(20 << 20) if index == 0 else b"twin" if "twin" in name else name.encode())
        shown = self.lake.command("fs", "upload", "-r", "-s", folder, f"lakefs://{repository}/main/data/")
        self.assertIn(f"Uploaded: {len(names)}", shown)
        self.assertIn("No changes", self.lake.command("fs", "upload", "-r", "-s", folder, f"lakefs://{repository}/main/data"))
        down = self.scratch / "down"
        shown = self.lake.command("fs", "download", "-r", f"lakefs://{repository}/main/data/", down, "--part-size", 1 << 20)
        self.assertIn("download line\\nbreak.txt ... done!", shown)
        for name in names:
            self.assertEqual((down / name).read_bytes(), (folder / name).read_bytes(), name)
        self.assertEqual([path for path in down.rglob("*") if path.name.endswith(".part")], [])

    def test_interrupted(self):
        """Ctrl-C leaves nothing half-written and says 130; what a killed one left is taken on."""
        repository = self.repository()
        body = os.urandom(64 << 20)
        (self.scratch / "big").write_bytes(body)
        self.lake.command("fs", "upload", "-s", self.scratch / "big", f"lakefs://{repository}/main/big")
        environment = self.lake.environment | self.lake.client
        target = self.scratch / "got" / "big"
        target.parent.mkdir()
        def parts(): return list(target.parent.glob(".lakefuse-*.part"))
        for how, code in ((signal.SIGINT, 130), (signal.SIGKILL, -9)):
            for _ in range(20):
                process = subprocess.Popen([BINARY, "fs", "download", f"lakefs://{repository}/main/big", target, "-p", "1", "--part-size", str(1 << 20)], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
                while process.poll() is None and not parts():
                    time.sleep(0.001)
                process.send_signal(how)
                process.communicate()
                if process.returncode == code:
                    break
                target.unlink(missing_ok=True)  # It was faster.
            self.assertEqual(process.returncode, code)
            self.assertFalse(target.exists())
            self.assertEqual(len(parts()), 0 if how == signal.SIGINT else 1)
        self.lake.command("fs", "download", f"lakefs://{repository}/main/big", target)
        self.assertEqual(target.read_bytes(), body)
        self.assertEqual(parts(), [])

    def test_what_is_no_file(self):
        """A download follows a link, and writes into a pipe: neither is replaced."""
        repository = self.repository()
        self.lake.upload(repository, "main", "a", b"hello")
        (self.scratch / "real").write_text("old")
        (self.scratch / "link").symlink_to("real")
        os.mkfifo(self.scratch / "pipe")
        self.lake.command("fs", "download", f"lakefs://{repository}/main/a", self.scratch / "link")
        self.assertTrue((self.scratch / "link").is_symlink())
        self.assertEqual((self.scratch / "real").read_text(), "hello")
        reader = subprocess.Popen(["cat", self.scratch / "pipe"], stdout=subprocess.PIPE)
        self.lake.command("fs", "download", f"lakefs://{repository}/main/a", self.scratch / "pipe")
        self.assertEqual(reader.communicate(timeout=10)[0], b"hello")
        self.assertTrue((self.scratch / "pipe").is_fifo())
        done = subprocess.run([BINARY.encode(), b"fs", b"stat", b"lakefs://r/main/\xff"], capture_output=True, env=self.lake.environment)
        self.assertEqual((done.returncode, done.stderr), (1, b"argument 3 is no UTF-8\n"))

    @unittest.skipUnless(os.geteuid() == 0, "a small disk needs root")
    def test_disk_full(self):
        repository = self.repository()
        (self.scratch / "big").write_bytes(os.urandom(4 << 20))
        self.lake.command("fs", "upload", "-s", self.scratch / "big", f"lakefs://{repository}/main/big")
        disk = self.scratch / "disk"
        disk.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk], check=True)
        self.addCleanup(subprocess.run, ["umount", disk], check=True)
        done = self.lake.run("fs", "download", f"lakefs://{repository}/main/big", disk / "big")
        self.assertEqual(done.returncode, 1)
        self.assertIn("no space left on device", done.stderr)
        self.assertEqual(list(disk.iterdir()), [])

    def test_names_lead_nowhere_else(self):
        """An object called ../x, or below a link, is not written outside of the folder."""
        repository = self.repository()
        for index, name in enumerate(("../outside.txt", "link/inside.txt", "../\u200doutside.txt", "link/\u0301inside.txt", ".lakefuse-0123456789abcdef.part")):
            with self.subTest(name):
                self.lake.upload(repository, "main", f"{index}/{name}", b"x")
                folder = self.scratch / f"place-{index}" / "inner"
                folder.mkdir(parents=True)
                elsewhere = self.scratch / f"elsewhere-{index}"
                elsewhere.mkdir()
                (folder / "link").symlink_to(elsewhere)
                done = self.lake.run("fs", "download", "-r", f"lakefs://{repository}/main/{index}/", folder)
                self.assertEqual(done.returncode, 1, done.stdout)
                self.assertEqual([*elsewhere.iterdir()], [])
                self.assertEqual([path.name for path in folder.parent.iterdir()], ["inner"])

    def test_what_cannot_be_files(self):
        """Objects that no file can be are told of, and the others come all the same."""
        repository, folder = self.repository(), self.scratch / "partly"
        for name in ("a", "a/b", "c//d", "long/" + "x" * 256, "e", "f/g", "z"):
            self.lake.upload(repository, "main", name, b"x")
        for _ in range(2):  # The second time most are there.
            done = self.lake.run("fs", "download", "-r", f"lakefs://{repository}/main/", folder)
            self.assertEqual(done.returncode, 1)
            self.assertIn("3 of the objects cannot be files here", done.stderr.splitlines())
            # What was there first of `a` and `a/b` is.
            found = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
            self.assertIn(found, ({"a", "e", "f/g", "z"}, {"a/b", "e", "f/g", "z"}))
            self.assertIn("object 'c//d' cannot be a file: ", done.stderr)

    def test_no_server(self):
        """One line each, and exit code 1."""
        nowhere = {"LAKECTL_SERVER_ENDPOINT_URL": "http://127.0.0.1:1", "LAKECTL_SERVER_RETRIES_ENABLED": "false", "LAKECTL_CREDENTIALS_ACCESS_KEY_ID": "a", "LAKECTL_CREDENTIALS_SECRET_ACCESS_KEY": "b"}
        done = self.lake.run("repo", "list", environment=nowhere)
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        self.assertIn("giving up after 1 attempt(s)", done.stderr)
        done = self.lake.run("repo", "list", environment=nowhere | {"LAKECTL_SERVER_ENDPOINT_URL": self.lake.endpoint})
        self.assertEqual(done.returncode, 1)
        self.assertIn("401 Unauthorized", done.stderr)
        self.assertNotIn("Traceback", done.stderr)


class LocalTest(LakeTest):
    def setUp(self):
        super().setUp()
        # The tests' own folder lies in this project: its .gitignore is not to be told of them.
        subprocess.run(["git", "init", "-q", self.scratch], check=True)

    def local(self, *words, folder=None, **environment):
        return self.lake.command("local", *words, environment={
            **self.lake.client, **environment})

    def test_permissions_links_and_the_mount(self):
        """Modes, times and links go through `local`, and a mount shows them as they are; and the other way."""
        options = {"LAKECTL_EXPERIMENTAL_LOCAL_POSIX_PERMISSIONS_ENABLED": "true", "LAKECTL_LOCAL_SYMLINK_SUPPORT": "true"}
        repository = self.repository()
        work = self.scratch / "work"
        self.local("init", f"lakefs://{repository}/main/work/", work, **options)
        (work / "script.sh").write_text("echo hi\n")
        (work / "script.sh").chmod(0o750)
        os.utime(work / "script.sh", (1_600_000_000, 1_600_000_000))
        (work / "link").symlink_to("script.sh")
        self.local("commit", work, "-m", "from the folder", **options)
        mount = self.mount(repository)
        self.assertEqual(oct((mount / "work" / "script.sh").stat().st_mode & 0o7777), "0o750")
        self.assertEqual((mount / "work" / "script.sh").stat().st_mtime, 1_600_000_000)
        self.assertEqual(os.readlink(mount / "work" / "link"), "script.sh")
        (mount / "work" / "made.txt").write_text("in the mount\n")
        (mount / "work" / "made.txt").chmod(0o600)
        os.utime(mount / "work" / "made.txt", (1_500_000_000, 1_500_000_000))
        os.symlink("made.txt", mount / "work" / "link2")
        subprocess.run([BINARY, "commit", "-m", "from the mount"], cwd=mount, check=True, capture_output=True)
        self.local("pull", work, **options)
        self.assertEqual(oct((work / "made.txt").stat().st_mode & 0o7777), "0o600")
        self.assertEqual((work / "made.txt").stat().st_mtime, 1_500_000_000)
        self.assertEqual(os.readlink(work / "link2"), "made.txt")
        self.assertIn("No diff found", self.local("status", work, **options))

    def test_both_sides(self):
        """What others committed comes along with a commit; a touched file is no change; an ended pull goes on."""
        repository = self.repository()
        for name in ("a", "b", "dir/c"):
            self.lake.upload(repository, "main", "d/" + name, name.encode())
        self.lake.commit(repository, "main", "first")
        work = self.scratch / "work"
        self.local("clone", f"lakefs://{repository}/main/d/", work)
        (work / "a").touch()
        self.assertIn("No diff found", self.local("status", work))
        self.lake.upload(repository, "main", "d/b", b"changed there")
        self.lake.commit(repository, "main", "theirs")
        (work / "new").write_text("mine")
        shown = self.local("commit", work, "-m", "mine")
        self.assertIn("Downloaded: 1\nUploaded: 1\n", shown)
        self.assertEqual((work / "b").read_text(), "changed there")
        self.assertIn("No diff found", self.local("status", work))
        (work / "dir" / "c").unlink()
        self.local("commit", work, "-m", "without c")
        self.assertEqual(self.lake.command("fs", "ls", "-r", f"lakefs://{repository}/main/d/").count("object"), 3)
        self.lake.command("branch", "create", f"lakefs://{repository}/old", "-s", f"lakefs://{repository}/main~2")
        self.local("checkout", work, "--ref", f"lakefs://{repository}/old", "--yes")
        self.assertEqual((work / "dir" / "c").read_text(), "dir/c")
        self.assertFalse((work / "new").exists())

    def test_what_others_send(self):
        """Links are made where they are wanted alone, and nothing is written through them; names of our own files are no data."""
        repository = self.repository()
        mount = self.mount(repository)
        (mount / "d").mkdir()
        (self.scratch / "secret").write_text("mine")
        (mount / "d" / "link").symlink_to(self.scratch / "secret")
        (mount / "d" / "file").write_text("x")
        subprocess.run([BINARY, "commit", "-m", "a link"], cwd=mount, check=True, capture_output=True)
        for name in (".lakefs_ref.yaml", ".lakefs_ref.yaml.new"):
            self.lake.upload(repository, "main", "d/" + name, b"src: lakefs://other/main/")
        self.lake.commit(repository, "main", "names of ours")
        work = self.scratch / "work"
        self.local("clone", f"lakefs://{repository}/main/d/", work)
        self.assertEqual(sorted(path.name for path in work.iterdir()), [".lakefs_ref.yaml", "file"])
        self.assertIn(f"src: lakefs://{repository}/main/d/", (work / ".lakefs_ref.yaml").read_text())
        self.assertIn("No diff found", self.local("status", work))
        # A commit brings what others have staged below the path, and takes nothing of it away.
        self.lake.upload(repository, "main", "d/theirs", b"staged by others")
        (work / "mine").write_text("m")
        self.local("commit", work, "-m", "mine")
        self.assertEqual((work / "theirs").read_text(), "staged by others")
        self.assertIn("No diff found", self.local("status", work))
        # A folder becomes a file, and the other way.
        for path in ("d/file", "d/mine"):
            self.lake.ask("DELETE", f"/repositories/{repository}/branches/main/objects", 204, path=path)
        self.lake.upload(repository, "main", "d/file/inside", b"f")
        self.lake.commit(repository, "main", "a folder")
        self.local("pull", work)
        self.assertEqual((work / "file" / "inside").read_text(), "f")

    def test_cut_clone(self):
        """What a clone did not bring before it was ended was not removed by anybody: a commit is refused, a pull goes on."""
        repository = self.repository()
        for name in ("a", "b", "c"):
            self.lake.upload(repository, "main", "d/" + name, name.encode())
        self.lake.commit(repository, "main", "three")
        work = self.scratch / "work"
        self.local("clone", f"lakefs://{repository}/main/d/", work)
        link = work / ".lakefs_ref.yaml"
        link.write_text(link.read_text().replace('active_operation: ""', "active_operation: clone"))
        (work / "b").unlink()
        environment = self.lake.client
        done = self.lake.run("local", "commit", work, "-m", "x", environment=environment)
        self.assertEqual(done.returncode, 1)
        self.assertIn("did not end", done.stderr)
        self.local("pull", work)
        self.assertEqual((work / "b").read_text(), "b")
        self.assertIn('active_operation: ""', link.read_text())
        # Others have staged what is changed here too.
        self.lake.upload(repository, "main", "d/a", b"theirs")
        (work / "a").write_text("mine")
        done = self.lake.run("local", "commit", work, "-m", "x", environment=environment)
        self.assertEqual(done.returncode, 1)
        self.assertIn("others have staged changes of the same files: d/a", done.stderr)

    def test_odd_paths(self):
        """A path with signs that YAML has a meaning for is the same after it was written down."""
        repository = self.repository()
        for path in ("a #b/", "c: d/", "e\"f'/"):
            with self.subTest(path):
                self.lake.upload(repository, "main", path + "x", b"x")
                self.lake.commit(repository, "main", path)
                work = self.scratch / f"work-{len(path)}{path[0]}"
                self.local("clone", f"lakefs://{repository}/main/{path}", work)
                self.assertIn("No diff found", self.local("status", work))

    def test_folder_in_git(self):
        """A folder in a git repository is passed over by git, but for the file that says what it is linked to."""
        repository = self.repository()
        git = self.scratch / "code"
        subprocess.run(["git", "init", "-q", git], check=True)
        self.local("init", f"lakefs://{repository}/main/data/", git / "data")
        (git / "data" / "big.bin").write_bytes(b"x")
        shown = subprocess.run(["git", "status", "--porcelain", "-uall"], cwd=git, capture_output=True, text=True, check=True).stdout
        self.assertIn("data/.lakefs_ref.yaml", shown)
        self.assertNotIn("big.bin", shown)

    def test_odd_files(self):
        """What cannot be an object is told, or passed over if the configuration says so."""
        repository = self.repository()
        work = self.scratch / "work"
        self.local("init", f"lakefs://{repository}/main/w/", work)
        os.mkfifo(work / "pipe")
        (work / "file").write_text("x")
        environment = self.lake.client
        done = self.lake.run("local", "status", work, environment=environment)
        self.assertEqual(done.returncode, 1)
        self.assertIn("pipe is no regular file", done.stderr)
        self.assertIn("file", self.local("status", work, LAKECTL_LOCAL_SKIP_NON_REGULAR_FILES="true"))


class ServerCommandsTest(LakeTest):
    def run_alone(self, *words, code=0, **environment):
        done = subprocess.run([BINARY, *map(str, words)], capture_output=True, text=True, timeout=60, env={"PATH": os.environ["PATH"], "HOME": str(self.scratch), **environment})
        self.assertEqual(done.returncode, code, done.stdout + done.stderr)
        return done.stdout if code == 0 else done.stderr

    def test_set_up_and_rescue(self):
        """The first user of a lake that never ran, and one more for who has lost the keys."""
        data = self.scratch / "lake"
        keys = re.findall(r"_key(?:_id)?: (\S+)", self.run_alone("setup", "--user-name", "ada", "--data", data))
        self.assertIn("Setup is already complete", self.run_alone("setup", "--user-name", "bob", "--data", data, code=1))
        self.run_alone("setup", "--user-name", "bob", "--data", data, "--no-check")
        more = re.findall(r"_key(?:_id)?: (\S+)", self.run_alone("superuser", "--user-name", "rescue", "--data", data))
        lake = Lake(self.scratch, keys=tuple(keys)).start()
        self.addCleanup(lake.kill)
        self.assertIn("ada", lake.command("identity"))
        lake.keys = tuple(more)
        self.assertIn("rescue", lake.command("identity"))
        lake.command("repo", "create", "lakefs://made", "local://made")
        lake.stop()
        self.assertEqual(self.run_alone("migrate", "version", "--data", data), "Database schema version: 4\n")
        self.assertEqual(self.run_alone("migrate", "up", "--data", data), "No migrations to apply.\n")
        self.assertIn("repos/made", self.run_alone("kv", "scan", "graveler", "--data", data))
        self.assertEqual(json.loads(self.run_alone("kv", "get", "kv-internal-metadata", "kv/schema/version", "--data", data))["value"], "NA==")
        self.run_alone("kv", "dump", "--data", data, "--output", self.scratch / "dump.json")
        (self.scratch / "rules.json").write_text('{"default_retention_days": 1, "branches": []}')
        simulated = self.run_alone("gc", "simulate", self.scratch / "rules.json", self.scratch / "dump.json").splitlines()
        self.assertRegex(simulated[1], r"^made,[0-9a-f]{64},false$")

    def test_trial_settings(self):
        """--quickstart: everything under the home folder, with the key pair that everybody knows, and a word of warning."""
        process = subprocess.Popen([BINARY, "run", "--quickstart", "--listen", "127.0.0.1:0"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={"PATH": os.environ["PATH"], "HOME": str(self.scratch)})
        self.addCleanup(process.communicate)
        self.addCleanup(process.terminate)
        address = process.stdout.readline().split()[-1]
        shown = self.run_alone("identity", LAKECTL_SERVER_ENDPOINT_URL=address, LAKECTL_CREDENTIALS_ACCESS_KEY_ID="AKIAIOSFOLQUICKSTART", LAKECTL_CREDENTIALS_SECRET_ACCESS_KEY="wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
        self.assertIn("quickstart", shown)
        self.assertTrue((self.scratch / "lakefuse").is_dir())

    def test_flare_and_scripts(self):
        text = self.run_alone("flare", "--stdout", LAKEFUSE_AUTH_ENCRYPT_SECRET_KEY="hush-hush", LAKEFS_LOGGING_LEVEL="DEBUG")
        self.assertNotIn("hush", text)
        self.assertIn("LAKEFUSE_AUTH_ENCRYPT_SECRET_KEY=(set)", text)
        (self.scratch / "a.lua").write_text("print(1 + 1)")
        self.assertEqual(self.run_alone("lua", "run", self.scratch / "a.lua"), "2\n")
        (self.scratch / "a.lua").write_text("error('no')")
        self.assertIn("no", self.run_alone("lua", "run", self.scratch / "a.lua", code=1))

    def test_config_flag_before_help(self):
        """`lakefuse -c FILE --help` helps."""
        self.assertIn("Available Commands:", self.run_alone("-c", "no-such-file", "--help"))
        self.assertIn("List repositories", self.run_alone("-c", "no-such-file", "repo", "list", "--help"))


class ExamplesTest(LakeTest):
    def test_scripts(self):
        """The five scripts of examples/, as people run them."""
        environment = self.lake.environment | {
            "LAKEFUSE_BINARY": BINARY, **self.lake.client}
        for name in ("promotion", "ci-for-data", "training-snapshot", "backfill", "moving-in"):
            with self.subTest(name):
                done = subprocess.run(["bash", ROOT / "examples" / f"{name}.sh"], env=environment, capture_output=True, text=True, timeout=120)
                self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def test_reference(self):
        """docs/commands.md is what the table of commands says."""
        self.assertEqual((ROOT / "docs" / "commands.md").read_text(), self.lake.command("docs", "-"))

    # What an example needs that is not there: another machine, a terminal, a store of another kind, ids that no two lakes share.
    UNTRIED = {"run", "quickstart", "config", "mount", "umount", "import", "fs stage", "auth users credentials delete", "gc check-async", "actions runs describe", "actions runs repeat", "cat-hook-output", "completion",
               "kv copy", "kv dump", "kv load", "kv get", "kv scan", "migrate version", "migrate up", "setup", "superuser", "check", "config show", "gc simulate", "cat-sst", "refs-restore", "recover", "push", "sync", "switch", "status", "mount status", "usage summary"}
    # In this order they follow from each other; the others come between as they are listed.
    FIRST = ["repo create", "repo create-bare", "branch create", "branch list", "branch show", "tag create", "auth users create", "auth groups create", "auth policies create", "auth groups members add", "auth users policies attach", "auth groups policies attach", "auth users aws-iam attach", "auth users credentials create",
             "branch-protect add", "fs upload", "commit", "diff", "merge", "abuse commit", "gc set-config", "bisect start", "local init", "local commit", "local clone", "abuse create-branches", "auth groups acl set"]
    LAST = ["bisect good", "bisect bad", "bisect log", "bisect view", "bisect run", "bisect reset", "auth users aws-iam detach", "auth users policies detach", "auth groups policies detach", "auth groups members remove", "auth groups delete", "auth users delete", "auth policies delete", "branch-protect delete", "tag delete", "gc delete-config",
            "fs update-metadata", "cherry-pick", "local checkout", "branch reset", "branch revert", "branch delete", "repo delete"]

    def test_examples_of_help(self):
        """Every command's help has an example, and it runs."""
        lake = Lake(self.scratch, name="examples").start()
        self.addCleanup(lake.stop)
        reference = lake.command("docs", "-")
        examples = {}
        for part in reference.split("\n## ")[1:]:
            name = part.splitlines()[0].removesuffix(" *")
            found = re.search(r"```sh\n(.*?)\n```", part, re.S)
            self.assertTrue(found, f"{name} has no example")
            examples[name] = found.group(1)
        work = self.scratch / "work-folder"
        (work / "data").mkdir(parents=True)
        subprocess.run(["git", "init", "-q", work], check=True)
        for name, text in {"data/numbers.csv": "a\n1\n", "policy.json": '{"statement": [{"action": ["fs:ReadObject"], "effect": "allow", "resource": "*"}]}', "gc.json": '{"default_retention_days": 21, "branches": []}',
                           "keys.txt": "README.md\n", "check.yaml": "name: check\non:\n  pre-commit:\nhooks:\n  - id: print\n    type: lua\n    properties:\n      script: print(1)\n"}.items():
            (work / name).write_text(text)
        lake.create_repository("demo")
        for index in range(5):
            lake.upload("demo", "main", "README.md", b"%d" % index)
            lake.commit("demo", "main", f"commit {index}")
        (work / "work").mkdir()
        order = self.FIRST + [name for name in examples if name not in self.FIRST + self.LAST] + self.LAST
        programs = self.scratch / "bin"
        programs.mkdir()
        (programs / "lakefuse").symlink_to(BINARY)
        environment = lake.environment | {"PATH": f"{programs}:{os.environ['PATH']}", **lake.client}
        for name in order:
            if name in self.UNTRIED:
                continue
            if name == "local commit":
                (work / "work" / "mine.txt").write_text("mine")
            if name in ("fs update-metadata", "cherry-pick", "branch revert", "abuse merge"):  # What was done before has left the branches as these would not have them.
                lake.rest("PUT", "/repositories/demo/branches/dev", json_body={"type": "reset"})
                lake.upload("demo", "main", name + ".txt", name.encode())
                lake.commit("demo", "main", name)
            if name == "fs update-metadata":
                lake.upload("demo", "dev", "README.md", b"x")
            if name == "branch revert":
                lake.upload("demo", "dev", "more.txt", b"x")
                lake.commit("demo", "dev", "more")
            with self.subTest(name):
                done = subprocess.run(["bash", "-c", examples[name]], cwd=work, env=environment, capture_output=True, text=True, timeout=60)
                self.assertEqual(done.returncode, 0, f"{examples[name]}\n{done.stdout}{done.stderr}")
