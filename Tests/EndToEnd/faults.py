"""kill -9, clean stops and full disks. Each test has a server of its own."""
import contextlib
import errno
import http.client
import os
import random
import stat
import subprocess
import threading
import time

import botocore.exceptions

from clients import LakeTest, read_file, s3_client, write_file
from lake import Lake, is_mounted, wait_until

NO_ANSWER = (OSError, http.client.HTTPException)


class OwnLakeTest(LakeTest):
    """Replaces the shared lake by one that the test may hurt."""

    def setUp(self):
        self.lake = self.new_lake(f"own-{self.name()}")
        self.lake.start()
        super().setUp()

    def new_lake(self, name, **more):
        lake = Lake(self.folder, name, **more)
        self.addCleanup(lake.kill)
        return lake

    def restart(self):
        self.lake.start()
        self.s3 = s3_client(self.lake)

    def check_whole(self, repository, wanted):
        """Every object is there and right, over REST and for some over S3; `wanted`: path to the allowed bodies."""
        wrong = []

        def check(connection, path):
            body = self.lake.get(repository, "main", path, connection=connection)
            if body not in wanted[path]:
                wrong.append(f"{path}: {len(body)} bytes that nobody wrote there last")
        self.lake.for_each(wanted, check)
        self.assertEqual(wrong, [])
        for path in random.sample(sorted(wanted), min(20, len(wanted))):
            self.assertIn(self.s3_get(repository, f"main/{path}"), wanted[path])


class KillTest(OwnLakeTest):
    """After kill -9 and a start, everything acknowledged is there, and nothing else but whole objects."""
    THREADS, EACH = 8, 125  # 1,000 uploads a round

    def upload_until_killed(self, repository, round, kill_after, committing):
        """Uploads over S3 from 8 threads, and kill -9 after so many answers.

        Returns what was acknowledged (path to body), what was on its way, and the ids of acknowledged commits.
        """
        acknowledged, on_its_way, answers, commits, errors = {}, [], [], [], []

        def upload(thread):
            for number in range(self.EACH):
                path = f"{round}/{thread}/{number % 100}"  # the last 25 overwrite the first
                body = os.urandom(random.randint(1, 4000))
                try:
                    self.s3_put(repository, f"main/{path}", body)
                except botocore.exceptions.ClientError as error:
                    errors.append(error)
                    return
                except Exception:  # no answer, in one of botocore's many ways to say so
                    on_its_way.append((path, body))
                    return
                acknowledged[path] = body
                answers.append(path)

        def commit():
            while True:
                try:
                    answer = self.lake.rest("POST", f"/repositories/{repository}/branches/main/commits",
                                            json_body={"message": f"in round {round}"})
                except NO_ANSWER:
                    return
                if answer.status == 201:
                    commits.append(answer.json["id"])
                elif answer.status != 400:  # 400: nothing new to commit
                    errors.append(answer)
                    return

        threads = [threading.Thread(target=upload, args=(thread,)) for thread in range(self.THREADS)]
        threads += [threading.Thread(target=commit)] if committing else []
        for thread in threads:
            thread.start()
        wait_until(lambda: len(answers) >= kill_after or errors, 60, f"answer {kill_after}")
        self.lake.kill()
        for thread in threads:
            thread.join()
        self.assertEqual(errors, [])
        return acknowledged, on_its_way, commits

    def test_kill_in_uploads(self):
        """kill -9 in the middle of 1,000 small uploads, four times, twice with commits going on."""
        repository, everything, committed = self.repository(), {}, []
        for round in range(4):
            kill_after = random.randint(50, 900)
            with self.subTest(round=round, kill_after=kill_after):
                acknowledged, on_its_way, commits = self.upload_until_killed(repository, round, kill_after, round % 2 == 1)
                committed += commits
                self.restart()
                allowed = {path: [body] for path, body in acknowledged.items()}
                for path, body in on_its_way:
                    allowed.setdefault(path, []).append(body)
                listed = self.lake.list(repository, "main", f"{round}/")
                self.assertEqual(acknowledged.keys() - set(listed), set(), "acknowledged, but not listed")
                self.assertEqual(set(listed) - allowed.keys(), set(), "listed, but never sent")
                everything |= {path: allowed[path] for path in listed}
                self.check_whole(repository, everything)
                self.assertEqual(set(self.s3_keys(repository, f"main/{round}/")), {f"main/{path}" for path in listed})

                # The branch works: something to commit, a commit, nothing to commit.
                self.lake.upload(repository, "main", f"after/{round}", b"after the kill")
                everything[f"after/{round}"] = [b"after the kill"]
                self.assertIn(("added", f"after/{round}"), self.lake.uncommitted(repository, "main"))
                committed.append(self.lake.commit(repository, "main", f"after round {round}")["id"])
                self.assertEqual(self.lake.uncommitted(repository, "main"), [])
                self.assertEqual(sorted(self.lake.list(repository, "main@")), sorted(everything))
                log = self.lake.ask("GET", f"/repositories/{repository}/refs/main/commits", amount=1000).json
                self.assertEqual(set(committed) - {entry["id"] for entry in log["results"]}, set(), "commits lost")

    def test_kill_in_a_commit(self):
        """kill -9 at five moments of a commit: it is done or it isn't, and the branch is whole."""
        repository, wanted = self.repository(), {}

        def stage(round):
            bodies = {f"{folder}/{n}": f"{round} {folder} {n}".encode() for folder in (round, "always") for n in range(300)}
            self.lake.for_each(bodies, lambda connection, path: self.lake.upload(
                repository, "main", path, bodies[path], connection=connection))
            wanted.update({path: [body] for path, body in bodies.items()})
            return bodies

        stage("first")
        began = time.monotonic()
        self.lake.commit(repository, "main", "first")
        whole = time.monotonic() - began
        for round, part in enumerate((0.1, 0.3, 0.5, 0.7, 0.9)):
            with self.subTest(round=round, killed_after=f"{part * whole * 1000:.1f} ms"):
                staged, answers = stage(str(round)), []

                def commit():
                    try:
                        answers.append(self.lake.rest("POST", f"/repositories/{repository}/branches/main/commits",
                                                      json_body={"message": f"round {round}"}))
                    except NO_ANSWER:
                        pass

                thread = threading.Thread(target=commit)
                thread.start()
                time.sleep(part * whole)  # the moment is what this test is about
                self.lake.kill()
                thread.join()
                self.restart()
                self.check_whole(repository, wanted)
                self.assertEqual(sorted(self.lake.list(repository, "main")), sorted(wanted))
                log = self.lake.ask("GET", f"/repositories/{repository}/refs/main/commits", amount=5).json["results"]
                done = log[0]["message"] == f"round {round}"
                if answers:
                    self.assertEqual((answers[0].status, done), (201, True), answers[0])
                left = self.lake.uncommitted(repository, "main")
                self.assertEqual({path for _, path in left}, set() if done else staged.keys())
                if not done:
                    self.lake.commit(repository, "main", f"round {round}, again")
                self.assertEqual(self.lake.uncommitted(repository, "main"), [])
                self.assertEqual(sorted(self.lake.list(repository, "main@")), sorted(wanted))

    def test_kill_under_a_mount(self):
        """What was fsynced in a mount outlives kill -9, and the same place can be mounted again over the dead mount."""
        repository = self.repository()
        where = self.mount(repository)
        file = os.open(where / "synced", os.O_CREAT | os.O_WRONLY)
        os.write(file, b"must stay" * 1000)
        os.fsync(file)
        self.lake.kill()
        with contextlib.suppress(OSError):  # the file system is gone
            os.close(file)
        self.restart()
        self.lake.command("mount", f"lakefs://{repository}/main", where)
        self.assertEqual(read_file(where / "synced"), b"must stay" * 1000)
        # Nobody has closed it: no other door sees what may be half a file, until somebody does.
        self.assert_s3_error(404, "404", self.s3.head_object, Bucket=repository, Key="main/synced")
        with open(where / "synced", "ab"):
            pass
        self.assertEqual(self.s3_get(repository, "main/synced"), b"must stay" * 1000)


class StopTest(OwnLakeTest):

    def test_clean_stop(self):
        """SIGTERM: exit 0, nothing mounted, nothing lost; the keys of the first start stay valid."""
        repository = self.repository()
        where = self.mount(repository)
        write_file(where / "file", b"not synced")
        self.s3_put(repository, "main/other", b"over S3")
        self.assertEqual(self.lake.stop(), (0, ""), "exit status, and output after the line that says ready")
        self.assertFalse(is_mounted(where))
        self.restart()
        self.assertEqual(self.s3_get(repository, "main/file"), b"not synced")
        self.assertEqual(self.s3_get(repository, "main/other"), b"over S3")

    def test_made_up_keys(self):
        """Without keys in the environment the server makes a pair and writes it where only its owner can read."""
        lake = self.new_lake("made-up", keys=None).start()
        file = lake.data / "credentials"
        self.assertEqual(stat.S_IMODE(file.stat().st_mode), 0o600)
        lake.command("-c", file, "repo", "create", "lakefs://by-keys", "local://by-keys", environment={})
        self.assertIn("by-keys", lake.command("-c", file, "repo", "list", environment={}))
        self.assertEqual(lake.stop()[0], 0)


class FullDiskTest(OwnLakeTest):
    """A data folder on 24 MiB of tmpfs that something else fills."""

    def setUp(self):
        data = self.folder / f"own-{self.name()}"
        data.mkdir()
        made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", data], capture_output=True, text=True)
        if made.returncode != 0:
            self.skipTest(f"needs root for a small disk: {made.stderr.strip()}")
        self.addCleanup(subprocess.run, ["umount", "-l", data])
        super().setUp()

    def free(self):
        room = os.statvfs(self.lake.data)
        return room.f_bavail * room.f_frsize

    def fill(self, leave):
        with open(self.lake.data / "not-the-lakes", "wb", buffering=0) as file:
            while (left := self.free() - leave) > 0:
                file.write(b"\0" * min(left, 1 << 20))

    def test_full_disk(self):
        """Uploads and writes into a full disk are refused and leave nothing; what was there stays; later all works."""
        repository = self.repository()
        where = self.mount(repository)
        wanted = {f"old/{n}": [os.urandom(50_000)] for n in range(20)}
        for path, (body,) in wanted.items():
            self.s3_put(repository, f"main/{path}", body)
        self.lake.commit(repository, "main", "before")
        self.lake.upload(repository, "main", "staged", b"staged")
        wanted["staged"] = [b"staged"]
        too_big = os.urandom(8 << 20)

        self.fill(leave=2 << 20)
        with self.assertRaises(botocore.exceptions.ClientError) as refused:
            self.s3_put(repository, "main/over-s3", too_big)
        answer = refused.exception.response
        self.assertIn(answer["ResponseMetadata"]["HTTPStatusCode"], (500, 503, 507))
        self.assertTrue(answer["Error"]["Code"] and answer["Error"]["Message"], answer)
        answer = self.lake.rest("POST", f"/repositories/{repository}/branches/main/objects", body=too_big, path="over-rest")
        self.assertIn(answer.status, (500, 503, 507), answer)
        self.assertTrue(answer.json["message"])
        # Room that the refused bodies took is given back; the database may keep a little for its log.
        wait_until(lambda: self.free() > 1 << 20, 10, "the room that refused uploads had taken")
        self.assert_errno(errno.ENOSPC, write_file, where / "in-the-mount", too_big)
        for path in ("over-s3", "over-rest"):
            self.assert_s3_error(404, "NoSuchKey", self.s3.get_object, Bucket=repository, Key=f"main/{path}")
            self.assertFalse((where / path).exists())
        self.check_whole(repository, wanted)

        # Not one byte: a small upload is refused or kept, a commit is refused or done; nothing in between.
        self.fill(leave=0)
        for number in range(10):
            small = os.urandom(1000)
            try:
                self.s3_put(repository, f"main/small/{number}", small)
                wanted[f"small/{number}"] = [small]
            except botocore.exceptions.ClientError as error:
                self.assertIn(error.response["ResponseMetadata"]["HTTPStatusCode"], (500, 503, 507), error)
        commit = self.lake.rest("POST", f"/repositories/{repository}/branches/main/commits", json_body={"message": "full"})
        self.assertTrue(commit.status == 201 or commit.status >= 500, commit)
        self.check_whole(repository, wanted)
        self.assertEqual({path for path in self.lake.list(repository, "main") if path != "in-the-mount"}, wanted.keys())
        for path, bodies in wanted.items():
            self.assertIn(read_file(where / path), bodies)

        (self.lake.data / "not-the-lakes").unlink()
        (where / "in-the-mount").unlink(missing_ok=True)
        self.s3_put(repository, "main/over-s3", too_big)
        write_file(where / "in-the-mount", b"now there is room")
        wanted |= {"over-s3": [too_big], "in-the-mount": [b"now there is room"]}
        self.lake.commit(repository, "main", "after")
        self.check_whole(repository, wanted)
        self.assertEqual(self.lake.stop()[0], 0)
        self.restart()
        self.check_whole(repository, wanted)
        self.assertEqual(set(self.lake.list(repository, "main@")), wanted.keys())
