"""Attacks and bad days: who connects, what they send, what the disk gives back. Bounded in count and time, on loopback."""
import base64
import contextlib
import hashlib
import json
import os
import random
import resource
import socket
import stat
import subprocess
import threading
import time
import urllib.parse

import boto3
import botocore.config

from clients import s3_client
from faults import OwnLakeTest
from lake import BINARY, KEY, SECRET, Lake, wait_until

BASIC = "Authorization: Basic " + base64.b64encode(f"{KEY}:{SECRET}".encode()).decode()
MEMORY = 512  # MiB, whatever comes


class AttackTest(OwnLakeTest):
    """`limits` are the server's; short times, so that tests are."""
    limits = {}

    def new_lake(self, name, **more):
        more = {f"LAKEFUSE_LIMITS_{key.upper()}": str(value) for key, value in self.limits.items()} | more
        return super().new_lake(name, **more)

    def socket(self, timeout=20):
        connection = socket.create_connection(("127.0.0.1", self.lake.port), timeout)
        self.addCleanup(connection.close)
        return connection

    def raw(self, request, timeout=20):
        """What comes back for bytes as they are, until the server ends the connection or is silent."""
        with socket.create_connection(("127.0.0.1", self.lake.port), timeout) as connection:
            connection.sendall(request)
            answer = b""
            with contextlib.suppress(ConnectionError):
                while piece := connection.recv(65536):
                    answer += piece
            return answer

    def assert_alive(self):
        """Every door answers, soon, and memory is bounded."""
        self.assertIsNone(self.lake.process.poll(), "the server is gone\n" + self.lake.log_tail())
        began = time.monotonic()
        self.assertEqual(self.lake.send("GET", "/_health").status, 200)
        self.assertEqual(self.lake.rest("GET", "/repositories").status, 200)
        self.s3.list_buckets()
        self.assertLess(time.monotonic() - began, 10)
        self.assertLess(self.lake.resident(), MEMORY)

    def descriptors(self):
        """What is open for connections and bodies: the database's readers, one a thread at most, are opened when they are first needed."""
        return len(self.open_files())

    def open_files(self):
        folder, found = f"/proc/{self.lake.process.pid}/fd", []
        for name in os.listdir(folder):
            with contextlib.suppress(FileNotFoundError):
                if "lake.db" not in (target := os.readlink(f"{folder}/{name}")):
                    found.append(target)
        return found


class ConnectionTest(AttackTest):
    limits = {"head_seconds": 2, "progress_seconds": 3}

    def setUp(self):
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(12000, hard), hard))
        self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        super().setUp()

    def test_silent_connections(self):
        """Two bursts of 5,000 connections that say nothing: the doors answer meanwhile and after, and SIGTERM ends it."""
        for _ in range(2):
            crowd = []
            for _ in range(5000):
                with contextlib.suppress(OSError):
                    crowd.append(socket.create_connection(("127.0.0.1", self.lake.port), 5))
            self.assertGreater(len(crowd), 1000)
            self.assert_alive()
            self.assertLess(self.descriptors(), 3000)
            for connection in crowd:
                connection.close()
            self.assert_alive()
        rest = [self.socket() for _ in range(200)]
        began = time.monotonic()
        self.assertEqual(self.lake.stop()[0], 0)
        self.assertLess(time.monotonic() - began, 15)
        del rest

    def test_slow_heads(self):
        """A request's head that comes byte by byte is given up in time."""
        slow = [self.socket() for _ in range(50)]
        began, request, alive = time.monotonic(), b"GET /_health HTTP/1.1\r\nHost: x\r\nX-Slow: " + b"y" * 1000, set(slow)
        for byte in request:
            for connection in list(alive):
                try:
                    connection.send(bytes([byte]))
                except OSError:
                    alive.discard(connection)
            if not alive or time.monotonic() - began > 15:
                break
            time.sleep(0.1)
        self.assertEqual(alive, set(), "they are still open")
        self.assert_alive()

    def test_slow_bodies_and_readers(self):
        """A body that hardly comes, and an answer that nobody reads, are given up; what they held is free."""
        repository = self.repository()
        self.lake.upload(repository, "main", "big", bytes(64 << 20))
        before = self.descriptors()
        slow = []
        for _ in range(20):
            connection = self.socket()
            connection.sendall(f"POST /api/v1/repositories/{repository}/branches/main/objects?path=x HTTP/1.1\r\nHost: x\r\n{BASIC}\r\n"
                               "Content-Length: 1000000\r\n\r\nabc".encode())
            slow.append(connection)
        for _ in range(20):
            connection = socket.socket()
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.settimeout(20)
            connection.connect(("127.0.0.1", self.lake.port))
            self.addCleanup(connection.close)
            connection.sendall(f"GET /api/v1/repositories/{repository}/refs/main/objects?path=big HTTP/1.1\r\nHost: x\r\n{BASIC}\r\n\r\n".encode())
            slow.append(connection)
        wait_until(lambda: self.descriptors() > before + 40, 5, "all of them")
        wait_until(lambda: self.descriptors() <= before + 4, 20, "the end of the slow ones")
        self.assertEqual(self.lake.list(repository, "main"), ["big"])
        self.assert_alive()

    def test_uploads_that_are_cut_off(self):
        """A client that goes away in the middle of a body is noticed at once: no descriptor, no file stays."""
        repository = self.repository()
        incoming = self.lake.data / "objects" / ".incoming"
        before = self.descriptors()
        cut = []
        for _ in range(30):
            connection = self.socket()
            connection.sendall(f"POST /api/v1/repositories/{repository}/branches/main/objects?path=x HTTP/1.1\r\nHost: x\r\n{BASIC}\r\n"
                               "Content-Length: 1000000\r\n\r\n".encode() + bytes(100_000))
            cut.append(connection)
        wait_until(lambda: len(list(incoming.iterdir())) == 30, 5, "the uploads")
        for connection in cut:
            connection.close()
        try:
            wait_until(lambda: not list(incoming.iterdir()) and self.descriptors() <= before + 2, 3, "the end of what they held")
        except AssertionError as error:
            raise AssertionError(f"{error}: {sorted(map(str, incoming.iterdir()))}, {before} descriptors, and then {self.open_files()}") from None
        self.assertEqual(self.lake.list(repository, "main"), [])


class RequestTest(AttackTest):
    """Requests that mean two things, or none, are 400, and nothing that follows them is taken for a request."""

    def test_framing(self):
        follower = b"GET /_health HTTP/1.1\r\nHost: x\r\n\r\n"
        for name, request in {
            "length and encoding": b"POST /api/v1/auth/login HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "two lengths": b"POST /api/v1/auth/login HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nContent-Length: 5\r\n\r\n",
            "two equal lengths": b"POST /api/v1/auth/login HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nContent-Length: 0\r\n\r\n",
            "a length with a sign": b"POST /api/v1/auth/login HTTP/1.1\r\nHost: x\r\nContent-Length: +0\r\n\r\n",
            "another encoding": b"POST /api/v1/auth/login HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
            "a space before the colon": b"POST /api/v1/auth/login HTTP/1.1\r\nHost: x\r\nTransfer-Encoding : chunked\r\n\r\n",
            "no host": b"GET /_health HTTP/1.1\r\n\r\n",
            "two hosts": b"GET /_health HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
            "NUL in the target": b"GET /_health\0/../x HTTP/1.1\r\nHost: x\r\n\r\n",
            "NUL in a header": b"GET /_health HTTP/1.1\r\nHost: x\r\nX-A: a\0b\r\n\r\n",
            "NUL in the last header": b"GET /_health HTTP/1.1\r\nX-B: b\r\nHost: x\0y\r\n\r\n",
            "a control character in a header": b"GET /_health HTTP/1.1\r\nHost: x\r\nX-A: a\x01b\r\n\r\n",
            "an empty host": b"GET /_health HTTP/1.1\r\nHost: \r\n\r\n",
            "hosts in one line": b"GET /_health HTTP/1.1\r\nHost: x, y\r\n\r\n",
            "a space in the target": b"GET /_health x HTTP/1.1\r\nHost: x\r\n\r\n",
            "a bare %": b"GET /api/v1/repositories?prefix=% HTTP/1.1\r\nHost: x\r\n\r\n",
            "no hexadecimal": b"GET /repo/main/%zz HTTP/1.1\r\nHost: x\r\n\r\n",
            "bytes that are not UTF-8": b"GET /\xff\xfe HTTP/1.1\r\nHost: x\r\n\r\n",
        }.items():
            answer = self.raw(request + follower)
            self.assertTrue(answer.startswith(b"HTTP/1.1 400") or answer.startswith(b"HTTP/1.0 400"), f"{name}: {answer[:200]}")
            self.assertNotIn(b"alive!", answer, f"{name}: the next one was answered: {answer[:600]}")
        self.assert_alive()

    def test_absolute_targets(self):
        answer = self.raw(f"GET http://lake.example:80/api/v1/repositories HTTP/1.1\r\nHost: x\r\n{BASIC}\r\nConnection: close\r\n\r\n".encode())
        self.assertTrue(answer.startswith(b"HTTP/1.1 200"), answer[:300])

    def test_parameters_and_content_types(self):
        repository = self.repository()
        for target in ("objects?path=a&path=b", "objects/ls?amount=1&amount=2", "objects/ls?prefix=a&prefix=a"):
            self.assertEqual(self.lake.send("GET", f"/api/v1/repositories/{repository}/refs/main/{target}", headers=[BASIC.split(": ", 1)]).status, 400, target)
        self.assert_s3_error(400, "InvalidArgument", self.s3_raw_list, repository=repository, query="prefix=a&prefix=b")
        body = json.dumps({"message": "m"}).encode()
        for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ""):
            answer = self.lake.rest("POST", f"/repositories/{repository}/branches/main/commits", body=body, headers={"Content-Type": kind})
            self.assertEqual(answer.status, 400, kind)
        answer = self.lake.rest("POST", f"/repositories/{repository}/branches/main/objects", body=b"x", path="x", headers={"If-None-Match": ""})
        self.assertEqual(answer.status, 400)
        self.assertEqual(self.lake.list(repository, "main"), [])
        self.lake.upload(repository, "main", "html", b"<script>")
        page = self.lake.rest("GET", f"/repositories/{repository}/refs/main/objects", path="html")
        self.assertEqual(page.headers["x-content-type-options"], "nosniff")
        url = self.s3.generate_presigned_url("get_object", Params={"Bucket": repository, "Key": "main/html", "ResponseContentType": "text/html"})
        answer = self.lake.send("GET", url[len(self.lake.endpoint):])
        self.assertEqual(answer.headers["x-content-type-options"], "nosniff")
        connection = self.lake.connection()
        connection.request("GET", url[len(self.lake.endpoint):])
        self.assertIn("sandbox", connection.getresponse().headers.get_all("Content-Security-Policy"))
        connection.close()

    def test_many_parameters(self):
        for count in (900, 1500):
            answer = self.lake.rest("GET", "/repositories", **{f"p{number}": 1 for number in range(count)})
            self.assertEqual(answer.status, 200, count)

    def test_patterns(self):
        """Patterns of protected branches that would take long, or nest deep, are refused, or matched soon."""
        repository = self.repository()
        settings = f"/repositories/{repository}/settings/branch_protection"
        for pattern in ("{" * 50_000, "{a," * 100 + "}" * 100, "*a" * 200):
            self.assertEqual(self.lake.rest("PUT", settings, json_body=[{"pattern": pattern}]).status, 400, pattern[:20])
        self.lake.ask("PUT", settings, 204, json_body=[{"pattern": "*" + "{*a,*a}" * 30 + "b"}, {"pattern": "{m{a{i,}n,}}"}])
        self.lake.ask("POST", f"/repositories/{repository}/branches", 201, json_body={"name": "a" * 200, "source": "main"})
        began = time.monotonic()
        self.lake.upload(repository, "a" * 200, "x", b"x")
        self.assertLess(time.monotonic() - began, 2)
        self.assertEqual(self.lake.rest("POST", f"/repositories/{repository}/branches/main/objects", body=b"x", path="x").status, 403)

    def test_pages_of_uploads(self):
        repository = self.repository()
        made = {self.s3.create_multipart_upload(Bucket=repository, Key=key)["UploadId"] for key in ["main/one"] * 5 + ["main/two"] * 2}
        pages = list(self.s3.get_paginator("list_multipart_uploads").paginate(Bucket=repository, PaginationConfig={"PageSize": 2}))
        found = [upload["UploadId"] for page in pages for upload in page.get("Uploads", [])]
        self.assertEqual((sorted(found), len(pages)), (sorted(made), 4))

    def test_old_presigned_buckets(self):
        repository = self.repository()
        self.lake.upload(repository, "main", "x", b"x")
        client = boto3.client("s3", endpoint_url=self.lake.endpoint, aws_access_key_id=KEY, aws_secret_access_key=SECRET, region_name="us-east-1",
                              config=botocore.config.Config(signature_version="s3", s3={"addressing_style": "path"}))
        for operation, more in (("list_objects", {}), ("list_multipart_uploads", {}), ("get_object", {"Key": "main/x"})):
            url = client.generate_presigned_url(operation, Params={"Bucket": repository, **more})
            answer = self.lake.send("GET", url[len(self.lake.endpoint):])
            self.assertEqual(answer.status, 200, (operation, url, answer))
        answer = self.lake.send("GET", url[len(self.lake.endpoint):] + "&response-content-language=" + "x" * 5000)
        self.assertEqual(answer.status, 403)
        url = self.s3.generate_presigned_url("get_object", Params={"Bucket": repository, "Key": "main/x", "ResponseContentLanguage": "x" * 5000})
        self.assertEqual(self.lake.send("GET", url[len(self.lake.endpoint):]).status, 400)

    def s3_raw_list(self, repository, query):
        """boto3 gives a parameter once; this one is signed as it stands."""
        def double(request, **_):
            request.url += ("&" if "?" in request.url else "?") + query
        self.s3.meta.events.register_last("before-sign.s3.ListObjects", double)
        try:
            return self.s3.list_objects(Bucket=repository)
        finally:
            self.s3.meta.events.unregister("before-sign.s3.ListObjects", double)

    def test_inputs_that_ended_the_process(self):
        repository = self.repository()
        here = f"/repositories/{repository}"
        staged = self.lake.rest("PUT", f"{here}/branches/main/objects", path="huge", json_body={
            "physical_address": f"local://{repository}/data/x/y", "checksum": "x", "size_bytes": 2**63 - 1})
        self.assertEqual(staged.status, 400)
        for namespace in ("local://" + "/".join(["d"] * 1900), "local://" + "x" * 4000, "local://a/../../b"):
            answer = self.lake.rest("POST", "/repositories", json_body={"name": "deep-one", "storage_namespace": namespace})
            self.assertEqual(answer.status, 400, namespace[:60])
        record = {"commit_id": "0" * 64, "version": 1, "committer": "c", "message": "m", "metarange_id": "", "creation_date": 1, "parents": [], "metadata": {}, "generation": 2**31 - 2}
        self.assertEqual(self.lake.rest("POST", f"{here}/commits", json_body=record).status, 400)
        for amount in ("9223372036854775807", "-9223372036854775808", "99999999999999999999"):
            self.assertEqual(self.lake.rest("GET", f"{here}/branches", amount=amount).status, 400)
        for depth in (600, 100_000):
            self.lake.rest("POST", f"{here}/branches/main/commits", body=b"[" * depth, headers={"Content-Type": "application/json"})
            self.lake.rest("POST", f"{here}/branches/main/commits", body=b'{"a":' * depth, headers={"Content-Type": "application/json"})
        mounted = self.mount(repository)
        os.listdir(mounted)
        self.assert_alive()


class MemoryTest(AttackTest):
    """The whole list at once stays under 512 MiB."""

    def flood(self, count, work):
        errors = []

        def run():
            try:
                work()
            except OSError as error:
                errors.append(error)
        threads = [threading.Thread(target=run) for _ in range(count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def signed(self, method, target, body, unsigned=False):
        import botocore.auth
        import botocore.awsrequest
        import botocore.credentials
        request = botocore.awsrequest.AWSRequest(method, self.lake.endpoint + target, data=body, headers={"Content-MD5": base64.b64encode(hashlib.md5(body).digest()).decode()})
        botocore.auth.S3SigV4Auth(botocore.credentials.Credentials(*self.lake.keys), "s3", "us-east-1").add_auth(request)
        return self.lake.send(method, target, body, headers=dict(request.headers))

    def test_bodies(self):
        repository = self.repository()
        entity = b'<?xml version="1.0"?><!DOCTYPE Delete [<!ENTITY a "' + b"x" * 60_000 + b'">]><Delete>' + b"<Object><Key>&a;</Key></Object>" * 900 + b"</Delete>"
        self.assertEqual(self.signed("POST", f"/{repository}?delete", entity).status, 400)
        wide = b"<Delete>" + b"<Object/>" * 800_000 + b"</Delete>"
        self.flood(8, lambda: self.signed("POST", f"/{repository}?delete", wide))
        many = json.dumps({"paths": ["x" * 1000] * 8000}).encode()
        here = f"/repositories/{repository}/branches/main"
        statuses = []
        self.flood(60, lambda: statuses.append(self.lake.rest("POST", f"{here}/objects/delete", body=many, headers={"Content-Type": "application/json"}).status))
        self.assertLessEqual(set(statuses), {400, 413, 503})
        # Nobody has shown a key yet: a login is some hundred bytes.
        login = b'{"access_key_id": "' + b"x" * 4_000_000 + b'"}'
        self.assertEqual(self.lake.rest("POST", "/auth/login", body=login, headers={"Content-Type": "application/json"}, keys=None).status, 413)
        self.assertEqual(self.lake.rest("POST", f"{here}/commits", json_body={"message": "m" * 900_000}).status, 400)
        self.assertEqual(self.lake.rest("POST", f"{here}/commits", json_body={"message": "m" * 2_000_000}).status, 413)
        self.assert_alive()

    def test_trailers(self):
        repository = self.repository()
        trailers = "".join(f"x-amz-t{number}:{'y' * 4000}\r\n" for number in range(5000))
        body = f"1\r\nx\r\n0\r\n{trailers}\r\n".encode()

        def put():
            import botocore.auth
            import botocore.awsrequest
            import botocore.credentials
            request = botocore.awsrequest.AWSRequest("PUT", f"{self.lake.endpoint}/{repository}/main/t", headers={
                "x-amz-content-sha256": "STREAMING-UNSIGNED-PAYLOAD-TRAILER", "x-amz-decoded-content-length": "1", "x-amz-trailer": "x-amz-checksum-crc32", "Content-Encoding": "aws-chunked"})
            botocore.auth.SigV4Auth(botocore.credentials.Credentials(*self.lake.keys), "s3", "us-east-1").add_auth(request)
            answer = self.lake.send("PUT", f"/{repository}/main/t", body, headers=dict(request.headers))
            self.assertIn(answer.status, (400, 403))
        self.flood(4, put)
        self.assertEqual(self.lake.list(repository, "main"), [])
        self.assert_alive()

    def test_answers_that_nobody_reads(self):
        repository = self.repository()
        here = f"/repositories/{repository}"
        for number in range(60):
            self.lake.ask("POST", f"{here}/branches/main/commits", 201, json_body={"message": "m" * 200_000, "allow_empty": True})
        log = self.lake.ask("GET", f"{here}/refs/main/commits", amount=1000)
        self.assertLess(len(log.body), 5 << 20)
        self.assertTrue(log.json["pagination"]["has_more"])
        # Page by page it is all there.
        seen, after = 0, ""
        while True:
            page = self.lake.ask("GET", f"{here}/refs/main/commits", amount=1000, after=after).json
            seen += len(page["results"])
            if not page["pagination"]["has_more"]:
                break
            after = page["pagination"]["next_offset"]
        self.assertEqual(seen, 61)
        unread = []
        for _ in range(300):
            connection = self.socket()
            connection.sendall(f"GET /api/v1{here}/refs/main/commits?amount=1000 HTTP/1.1\r\nHost: x\r\n{BASIC}\r\n\r\n".encode())
            unread.append(connection)
        time.sleep(2)
        self.assertLess(self.lake.resident(), MEMORY)
        for connection in unread:
            connection.close()
        self.assert_alive()

    def test_heads(self):
        """As many heads as there may be connections, none of which ends."""
        crowd = []
        for _ in range(1000):
            connection = self.socket()
            with contextlib.suppress(OSError):
                connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nX-Long: " + b"y" * 50_000)
            crowd.append(connection)
        self.assert_alive()


class BytesTest(AttackTest):
    """Bytes are what they were, or an error."""

    def test_keys_that_are_not_text(self):
        """Listings page by page end, and tell every key once, whatever its bytes."""
        repository = self.repository()
        keys = [b"a", b"\xff", b"\xff\xfe", b"\xff/x", b"\x80", b"\xc3\x28", "ü".encode(), b"z\xed\xa0\x80", b"\xf8\x88\x80\x80\x80", b"lakefuse-key:YQ", b"b\nc", b"d\x01e"]
        for key in keys:
            quoted = urllib.parse.quote(key, safe="")
            answer = self.lake.send("POST", f"/api/v1/repositories/{repository}/branches/main/objects?path={quoted}", key, headers=[BASIC.split(": ", 1), ("Content-Type", "application/octet-stream")])
            self.assertEqual(answer.status, 201, answer)
        for key in keys:
            quoted = urllib.parse.quote(key, safe="")
            answer = self.lake.send("GET", f"/api/v1/repositories/{repository}/refs/main/objects?path={quoted}", headers=[BASIC.split(": ", 1)])
            self.assertEqual((answer.status, answer.body), (200, key))
        for page_size in (1, 2, 3):
            found, after = 0, ""
            for _ in range(50):
                page = self.lake.ask("GET", f"/repositories/{repository}/refs/main/objects/ls", amount=page_size, after=after).json
                found += len(page["results"])
                if not page["pagination"]["has_more"]:
                    break
                after = page["pagination"]["next_offset"]
            self.assertEqual(found, len(keys))
            for version in ("list_objects_v2", "list_objects"):
                pages = self.s3.get_paginator(version).paginate(Bucket=repository, Prefix="main/", PaginationConfig={"PageSize": page_size, "MaxItems": 100})
                found = sum(len(page.get("Contents", ())) for page in pages)
                self.assertEqual(found, len(keys), version)
        page = self.lake.ask("GET", f"/repositories/{repository}/refs/main/objects/ls", after="a", delimiter="/", prefix="").json
        self.assertEqual(len(page["results"]), len(keys) - 1)

    def test_after_inside_a_folder(self):
        repository = self.repository()
        for path in ("f/a", "f/c", "g"):
            self.lake.upload(repository, "main", path, b"x")
        for after, wanted in (("f/b", ["f/", "g"]), ("f/c", ["g"]), ("f/", ["g"]), ("f/a", ["f/", "g"]), ("", ["f/", "g"])):
            page = self.lake.ask("GET", f"/repositories/{repository}/refs/main/objects/ls", after=after, delimiter="/").json
            self.assertEqual([item["path"] for item in page["results"]], wanted, after)

    def objects(self):
        return self.lake.objects()

    def test_damaged_objects(self):
        """A cut object is told, at every door, and no copy makes it official."""
        repository = self.repository()
        body = os.urandom(300_000)
        for size, name in ((300_000, "large"), (3000, "small")):
            self.lake.upload(repository, "main", name, body[:size])
            file = next(path for path in self.objects() if path.stat().st_size == size)
            os.truncate(file, size // 2)
            for headers in ({}, {"Range": "bytes=0-9"}):
                self.assertEqual(self.lake.rest("GET", f"/repositories/{repository}/refs/main/objects", path=name, headers=headers).status, 500)
            self.assert_s3_error(500, "InternalError", self.s3.get_object, Bucket=repository, Key=f"main/{name}")
            self.assert_s3_error(500, "InternalError", self.s3.copy_object, Bucket=repository, Key="main/copy", CopySource=f"{repository}/main/{name}")
            self.assertEqual(self.lake.rest("POST", f"/repositories/{repository}/branches/main/objects/copy", dest_path="copy", json_body={"src_path": name}).status, 500)
            mounted = self.mount(repository)
            with self.assertRaises(OSError):
                (mounted / name).read_bytes()
            with self.assertRaises(OSError):
                with open(mounted / name, "ab") as file_in_mount:
                    file_in_mount.write(b"x")
            self.lake.unmount(mounted)
            self.assertEqual(len(self.objects()), 1)
            os.unlink(file)
            self.lake.ask("DELETE", f"/repositories/{repository}/branches/main/objects", 204, path=name)

    def test_verified_reads(self):
        """With blockstore.verify_reads an object whose bytes changed is not served; without, its length alone is looked at."""
        repository = self.repository()
        for name, size in (("large", 300_000), ("small", 3000)):
            self.lake.upload(repository, "main", name, os.urandom(size))
            self.lake.get(repository, "main", name)
        for file in self.objects():
            body = file.read_bytes()
            file.write_bytes(body[:100] + bytes([body[100] ^ 1]) + body[101:])
        self.lake.stop()
        for wanted in (200, 500):
            if wanted == 500:
                self.lake.environment["LAKEFUSE_BLOCKSTORE_VERIFY_READS"] = "true"
            self.restart()
            for name in ("large", "small"):
                self.assertEqual(self.lake.rest("GET", f"/repositories/{repository}/refs/main/objects", path=name).status, wanted)
                url = self.s3.generate_presigned_url("get_object", Params={"Bucket": repository, "Key": f"main/{name}"})
                self.assertEqual(self.lake.send("GET", url[len(self.lake.endpoint):]).status, wanted)
            self.lake.stop()

    def test_damaged_tables(self):
        """A missing table is 500 and names it, never 404: a sync would take that for removals. Nor is another one believed."""
        repository = self.repository()
        for name in ("one", "two"):
            self.lake.upload(repository, "main", name, b"x")
            self.lake.commit(repository, "main")
        self.lake.stop()
        tables = [path for path in (self.lake.data / "objects" / repository / "_lakefs").iterdir() if len(path.name) == 64]
        self.assertEqual(len(tables), 4)
        kept = {path: path.read_bytes() for path in tables}

        def statuses():
            self.restart()
            try:
                answers = [self.lake.rest("GET", f"/repositories/{repository}/refs/{ref}/objects", path=name) for ref in ("main", "main~1") for name in ("one", "two")]
                answers += [self.lake.rest("GET", f"/repositories/{repository}/refs/{ref}/objects/ls") for ref in ("main", "main~1")]
                for answer in answers:
                    if answer.status == 500:
                        self.assertTrue(any(path.name in answer.json["message"] for path in tables), answer)
                return [answer.status for answer in answers]
            finally:
                self.lake.stop()
        right = [200, 200, 200, 404, 200, 200]
        self.assertEqual(statuses(), right)
        for path in tables:
            path.unlink()
            found = statuses()
            self.assertTrue(all(a in (b, 500) for a, b in zip(found, right)) and 500 in found, found)
            other = next(table for table in tables if table != path)
            path.write_bytes(kept[other])
            found = statuses()
            self.assertTrue(all(a in (b, 500) for a, b in zip(found, right)) and 500 in found, found)
            self.assertEqual(self.check().returncode, 1)
            path.write_bytes(kept[path])
        self.assertEqual(statuses(), right)

    def check(self, *options):
        return subprocess.run([BINARY, "check", "--data", self.lake.data, *options], capture_output=True, text=True, timeout=60, env=self.lake.environment)

    def test_check(self):
        """`lakefuse check` tells damage and what nobody names, and removes the latter when asked to."""
        repository = self.repository()
        for number in range(20):
            self.lake.upload(repository, "main", f"f/{number}", bytes([number]) * 5000)
        self.lake.commit(repository, "main")
        self.lake.upload(repository, "main", "staged", b"staged")
        self.s3.create_multipart_upload(Bucket=repository, Key="main/parts")
        self.lake.stop()
        done = self.check()
        self.assertEqual((done.returncode, done.stdout.splitlines()[-1]), (0, "nothing is damaged"), done)
        self.assertNotIn("nobody names", done.stdout)
        stray = self.lake.data / "objects" / repository / "data" / "stray" / "object"
        stray.parent.mkdir()
        stray.write_bytes(b"left by a crash")
        done = self.check()
        self.assertEqual(done.returncode, 0)
        self.assertIn(f"nobody names: local://{repository}/data/stray/object", done.stdout)
        self.assertTrue(stray.exists())
        self.assertEqual(self.check("--repair").returncode, 0)
        self.assertFalse(stray.exists())
        victim = random.choice([path for path in self.objects() if path.stat().st_size == 5000])
        body = victim.read_bytes()
        victim.write_bytes(body[:-1] + bytes([body[-1] ^ 1]))
        done = self.check()
        self.assertEqual(done.returncode, 1)
        self.assertIn("another checksum", done.stdout)
        self.assertEqual(self.check("--skip-checksums").returncode, 0)
        victim.unlink()
        done = self.check("--skip-checksums")
        self.assertEqual(done.returncode, 1)
        self.assertIn("is missing", done.stdout)
        victim.write_bytes(body)
        self.assertEqual(self.check("--repair").returncode, 0)
        self.restart()
        self.assertEqual(self.lake.get(repository, "main", "staged"), b"staged")
        self.assertIn("in use", self.check().stderr)

    def test_lost_database(self):
        """A lake whose database is gone is not begun anew over its objects."""
        repository = self.repository()
        self.lake.upload(repository, "main", "x", b"x")
        self.lake.stop()
        file, kept = self.lake.data / "lake.db", {}
        for path in self.lake.data.glob("lake.db*"):
            if not path.name.endswith(".lock"):
                kept[path] = path.read_bytes()
                path.unlink()
        for body in (None, b""):
            if body is not None:
                file.write_bytes(body)
            self.assertRaises(RuntimeError, self.restart)
            done = self.check("--repair")
            self.assertEqual(done.returncode, 1)
            self.assertIn("is gone, or empty", done.stderr)
        for path, body in kept.items():
            path.write_bytes(body)
        self.restart()
        self.assertEqual(self.lake.get(repository, "main", "x"), b"x")

    def test_damaged_database(self):
        """Bits that turn in the database make errors, never other answers."""
        repository = self.repository()
        wanted = {f"k{number:03}": os.urandom(40) for number in range(300)}
        self.lake.for_each(wanted.items(), lambda connection, item: self.lake.upload(repository, "main", item[0], item[1], connection))
        self.lake.commit(repository, "main")
        self.lake.for_each(list(wanted.items())[:150], lambda connection, item: self.lake.upload(repository, "main", item[0], item[1] * 2, connection))
        for key in list(wanted)[:150]:
            wanted[key] *= 2
        self.lake.stop()
        file, random_bits = self.lake.data / "lake.db", random.Random(1)

        def restore(body):
            for end in ("-wal", "-shm"):
                self.lake.data.joinpath(file.name + end).unlink(missing_ok=True)
            file.write_bytes(body)
        whole = file.read_bytes()
        for _ in range(12):
            damaged = bytearray(whole)
            damaged[random_bits.randrange(len(damaged))] ^= 1 << random_bits.randrange(8)
            restore(damaged)
            self.assertEqual(self.check().returncode, 1)
            try:
                self.restart()
            except RuntimeError:
                continue  # It says that the database is damaged, and does not start.
            for key, body in wanted.items():
                answer = self.lake.rest("GET", f"/repositories/{repository}/refs/main/objects", path=key)
                self.assertIn(answer.status, (200, 401, 500), answer)
                if answer.status == 200:
                    self.assertEqual(answer.body, body)
            self.lake.kill()
        restore(whole)
        self.restart()
        self.check_whole(repository, {key: [body] for key, body in wanted.items()})


class WhoTest(AttackTest):
    def cookie(self):
        answer = self.lake.rest("POST", "/auth/login", json_body={"access_key_id": self.lake.keys[0], "secret_access_key": self.lake.keys[1]}, keys=None)
        return answer.headers["set-cookie"].split(";")[0]

    def status(self, cookie):
        return self.lake.rest("GET", "/repositories", keys=None, headers={"Cookie": cookie}).status

    def test_sessions_end(self):
        """A session ends with logout, and with the key it began with."""
        one, other = self.cookie(), self.cookie()
        self.assertEqual((self.status(one), self.status(other)), (200, 200))
        self.lake.send("GET", "/logout", headers={"Cookie": one})
        self.assertEqual((self.status(one), self.status(other)), (401, 200))
        made = self.lake.ask("POST", "/auth/users/admin/credentials", 201).json
        pair = (made["access_key_id"], made["secret_access_key"])
        answer = self.lake.rest("POST", "/auth/login", json_body={"access_key_id": pair[0], "secret_access_key": pair[1]}, keys=None)
        third = answer.headers["set-cookie"].split(";")[0]
        self.assertEqual(self.status(third), 200)
        self.lake.ask("DELETE", f"/auth/users/admin/credentials/{pair[0]}", 204)
        self.assertEqual((self.status(third), self.status(other)), (401, 200))

    def test_failed_logins(self):
        """Failed logins become slower, and are logged, without the secret; others do not wait."""
        began = time.monotonic()
        for number in range(9):
            answer = self.lake.rest("POST", "/auth/login", json_body={"access_key_id": self.lake.keys[0], "secret_access_key": f"guess-{number}"}, keys=None)
            self.assertEqual(answer.status, 401)
        self.assertGreater(time.monotonic() - began, 1)
        began = time.monotonic()
        self.assertEqual(self.lake.rest("GET", "/repositories").status, 200)
        self.assertLess(time.monotonic() - began, 1)
        log = self.lake.log.read_text()
        self.assertIn("login failed", log)
        self.assertNotIn("guess-", log)

    def test_namespaces(self):
        """No repository's namespace lies on, in or around another's; but a bare one, to restore it, of who may do everything there."""
        self.lake.ask("POST", "/repositories", 201, json_body={"name": "first-one", "storage_namespace": "local://shared/one"})
        for namespace in ("local://shared/one", "local://shared/one/", "local://shared", "local://shared/one/data", "local://shared//one"):
            for more in ({}, {"read_only": True}):
                for bare in ("true", "false"):
                    if bare == "true" and namespace.rstrip("/").endswith("/one"):
                        continue
                    answer = self.lake.rest("POST", "/repositories", json_body={"name": "second-one", "storage_namespace": namespace, **more}, bare=bare)
                    self.assertEqual(answer.status, 400, f"{namespace} {more} {bare}")
        self.lake.ask("POST", "/repositories", 201, json_body={"name": "third-one", "storage_namespace": "local://shared/one-more"})
        statement = [{"action": ["fs:CreateRepository", "fs:AttachStorageNamespace"], "effect": "allow", "resource": "*"}]
        self.lake.ask("POST", "/auth/users", 201, json_body={"id": "makes-repositories"})
        self.lake.ask("POST", "/auth/policies", 201, json_body={"id": "MakesRepositories", "statement": statement})
        self.lake.ask("PUT", "/auth/users/makes-repositories/policies/MakesRepositories", 201)
        pair = self.lake.ask("POST", "/auth/users/makes-repositories/credentials", 201).json
        maker = (pair["access_key_id"], pair["secret_access_key"])
        again = {"name": "second-one", "storage_namespace": "local://shared/one"}
        self.assertEqual(self.lake.rest("POST", "/repositories", json_body=again, bare="true", keys=maker).status, 400)
        self.lake.ask("POST", "/repositories", 201, json_body=again, bare="true")

    def test_files_are_the_owners(self):
        repository = self.repository()
        self.lake.upload(repository, "main", "x", b"x")
        self.lake.commit(repository, "main")
        open_to_others = [path for path in [self.lake.data, *self.lake.data.rglob("*")] if path.lstat().st_mode & 0o077 and not stat.S_ISLNK(path.lstat().st_mode)]
        self.assertEqual(open_to_others, [])

    def test_second_lake_on_the_same_objects(self):
        other = self.new_lake(f"own-{self.name()}-2", LAKEFUSE_BLOCKSTORE_LOCAL_PATH=str(self.lake.data / "objects"))
        with self.assertRaises(RuntimeError):
            other.start()
        self.assertIn("in use", other.log.read_text())

    def test_mounting_is_bounded(self):
        """Only on the asker's own folders; and the server tells no paths of its own."""
        repository = self.repository()
        foreign = self.scratch / "foreign"
        foreign.mkdir()
        os.chown(foreign, 12345, 12345)
        done = self.lake.run("mount", f"lakefs://{repository}/main", foreign)
        self.assertEqual(done.returncode, 1)
        self.assertIn("another user", done.stderr)
        allowed = self.scratch / "allowed"
        (allowed / "in").mkdir(parents=True)
        (self.scratch / "out").mkdir()
        self.lake.stop()
        self.lake.environment["LAKEFUSE_MOUNTS_ALLOWED_FOLDERS"] = str(allowed)
        self.restart()
        self.assertEqual(self.lake.run("mount", f"lakefs://{repository}/main", self.scratch / "out").returncode, 1)
        self.assertEqual(self.lake.run("mount", f"lakefs://{repository}/main", allowed / ".." / "out").returncode, 1)
        self.lake.command("mount", f"lakefs://{repository}/main", allowed / "in")
        self.lake.command("umount", allowed / "in")

    def test_errors_tell_no_paths(self):
        repository = self.repository()
        self.lake.upload(repository, "main", "x", b"x" * 100_000)
        folder = next(path for path in (self.lake.data / "objects" / repository / "data").iterdir())
        shelf = folder.rename(folder.with_name("away"))
        folder.write_bytes(b"a file where a folder was")
        answers = [self.lake.rest("GET", f"/repositories/{repository}/refs/main/objects", path="x"), self.lake.rest("POST", f"/repositories/{repository}/branches/main/objects", path="y", body=b"y")]
        for answer in answers:
            self.assertNotIn(str(self.lake.data), answer.body.decode())
        folder.unlink()
        shelf.rename(folder)


class BadDayTest(AttackTest):
    def test_committers_beside_writers(self):
        """Three committers beside four writers: all commits succeed."""
        repository = self.repository()
        stop, problems, made = threading.Event(), [], []

        def write(number):
            connection = self.lake.connection()
            count = 0
            while not stop.is_set():
                self.lake.upload(repository, "main", f"w{number}/{count % 50}", os.urandom(20), connection)
                count += 1
            connection.close()

        def commit():
            for _ in range(40):
                answer = self.lake.rest("POST", f"/repositories/{repository}/branches/main/commits", json_body={"message": "m"})
                if answer.status == 201:
                    made.append(answer.json["id"])
                elif "no changes" not in answer.body.decode():
                    problems.append(answer)
        writers = [threading.Thread(target=write, args=(number,)) for number in range(4)]
        committers = [threading.Thread(target=commit) for _ in range(3)]
        for thread in writers + committers:
            thread.start()
        for thread in committers:
            thread.join()
        stop.set()
        for thread in writers:
            thread.join()
        self.assertEqual(problems, [])
        self.assertEqual(len(set(made)), len(made))
        self.assertGreater(len(made), 50)

    def objects(self):
        return self.lake.objects()

    def test_what_fails_leaves_no_objects(self):
        repository = self.repository()
        self.s3_put(repository, "main/there", b"there")
        upload = self.s3.create_multipart_upload(Bucket=repository, Key="main/parts")["UploadId"]
        part = self.s3.upload_part(Bucket=repository, Key="main/parts", UploadId=upload, PartNumber=1, Body=b"part")
        self.s3_put(repository, "main/parts", b"in the way")
        before = len(self.objects())
        parts = {"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
        self.assert_s3_error(412, "PreconditionFailed", self.s3.complete_multipart_upload, Bucket=repository, Key="main/parts", UploadId=upload, MultipartUpload=parts, IfNoneMatch="*")

        def condition(request, **_):
            request.headers["If-None-Match"] = "*"
        self.s3.meta.events.register("before-sign.s3.CopyObject", condition)
        self.assert_s3_error(412, "PreconditionFailed", self.s3.copy_object, Bucket=repository, Key="main/parts", CopySource=f"{repository}/main/there")
        self.assertEqual(len(self.objects()), before)

    def test_a_full_disk_does_not_prevent_a_start(self):
        """A lake on a full disk starts, and what is there can be read."""
        disk = self.scratch / "disk"
        disk.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=96m", "none", disk], check=True)
        self.addCleanup(subprocess.run, ["umount", "-l", disk], check=False)
        self.lake.stop()
        lake = self.lake = Lake(disk, "lake")
        self.addCleanup(lake.kill)
        lake.start()
        repository = self.repository()
        lake.upload(repository, "main", "there", b"there")
        for end in (lake.stop, lake.kill):
            end()
            with open(disk / "filler", "ab") as filler:
                with contextlib.suppress(OSError):
                    while True:
                        filler.write(bytes(65536))
                        filler.flush()
            self.restart()
            self.assertEqual(lake.get(repository, "main", "there"), b"there")
            self.assertEqual(lake.list(repository, "main"), ["there"])
            answer = lake.rest("POST", f"/repositories/{repository}/branches/main/objects", path="more", body=bytes(8 << 20))
            self.assertEqual(answer.status, 507, answer)
            # The reserve is taken again when there is room.
            (disk / "filler").unlink()
            lake.upload(repository, "main", "there", b"there")
            lake.stop()
            lake.start()
            self.s3 = s3_client(lake)


del OwnLakeTest
