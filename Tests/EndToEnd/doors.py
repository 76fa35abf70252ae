"""One object, three doors: what is written through one is at once, and whole, in the others."""
import base64
import hashlib
import os
import threading
import time
import urllib.error
import urllib.request

import boto3.s3.transfer

from clients import LakeTest, read_file, write_file


class AtOnceTest(LakeTest):
    """No sleeps and no second looks: the first look after an answer must see what was answered."""

    def setUp(self):
        super().setUp()
        self.bucket = self.repository()
        self.root = self.mount(self.bucket)

    def test_s3_to_mount(self):
        """boto3's uploads, overwrites and deletes: names known as absent, cached listings, open-again."""
        for round in range(30):
            name, first, second = f"file-{round}", b"first" * (round + 1), b"2nd" * (round * 700 + 1)
            self.assertFalse(os.path.exists(self.root / name))  # the kernel may cache that it is absent,
            self.assertNotIn(name, os.listdir(self.root))  # and the listing
            self.s3_put(self.bucket, f"main/{name}", first)
            self.assertEqual(os.stat(self.root / name).st_size, len(first))
            self.assertIn(name, os.listdir(self.root))
            self.assertEqual(read_file(self.root / name), first)
            self.s3_put(self.bucket, f"main/{name}", second)
            self.assertEqual(read_file(self.root / name), second)
            self.assertEqual(os.stat(self.root / name).st_size, len(second))
            self.s3_put(self.bucket, f"main/{name}", first)
            self.assertEqual((os.stat(self.root / name).st_size, read_file(self.root / name)), (len(first), first))
            if round % 2:
                self.s3.delete_object(Bucket=self.bucket, Key=f"main/{name}")
                self.assertFalse(os.path.exists(self.root / name))
                self.assertNotIn(name, os.listdir(self.root))

    def test_rest_to_mount(self):
        """Uploads and deletes over REST, also of folders that were not there."""
        for round in range(30):
            folder, path = f"folder-{round}", f"folder-{round}/deep/file"
            self.assertFalse(os.path.exists(self.root / folder))
            self.assertNotIn(folder, os.listdir(self.root))
            self.lake.upload(self.bucket, "main", path, b"one")
            self.assertEqual(read_file(self.root / path), b"one")
            self.assertIn(folder, os.listdir(self.root))
            self.assertEqual(os.listdir(self.root / folder / "deep"), ["file"])
            self.lake.upload(self.bucket, "main", path, b"one two")
            self.assertEqual(read_file(self.root / path), b"one two")
            self.lake.upload(self.bucket, "main", path + "-2", b"more")
            self.assertEqual(sorted(os.listdir(self.root / folder / "deep")), ["file", "file-2"])
            self.lake.ask("DELETE", f"/repositories/{self.bucket}/branches/main/objects", 204, path=path)
            self.assertFalse(os.path.exists(self.root / path))
            self.assertEqual(os.listdir(self.root / folder / "deep"), ["file-2"])

    def test_mount_to_others(self):
        """A close, a rename and an unlink in the mount, seen over S3, REST and a second mount of the branch."""
        second = self.mount(self.bucket, label="second")
        for round in range(30):
            name, moved, body = f"file-{round}", f"moved-{round}", os.urandom(1 + round * 3000)
            self.assertFalse(os.path.exists(second / name))
            write_file(self.root / name, body)
            self.assertEqual(self.s3_get(self.bucket, f"main/{name}"), body)
            self.assertEqual(self.lake.get(self.bucket, "main", name), body)
            self.assertIn(f"main/{name}", self.s3_keys(self.bucket, "main/file-"))
            self.assertEqual(read_file(second / name), body)
            write_file(self.root / name, body[::-1] + b"!")
            self.assertEqual(self.s3_get(self.bucket, f"main/{name}"), body[::-1] + b"!")
            self.assertEqual(read_file(second / name), body[::-1] + b"!")
            if round % 3 == 0:
                os.rename(self.root / name, self.root / moved)
                self.assertEqual(self.s3_get(self.bucket, f"main/{moved}"), body[::-1] + b"!")
                self.assertEqual(sorted(os.listdir(second)), sorted(os.listdir(self.root)))
                name_now = moved
                self.assert_s3_error(404, "NoSuchKey", self.s3.get_object, Bucket=self.bucket, Key=f"main/{name}")
            else:
                name_now = name
            if round % 3 == 1:
                os.unlink(self.root / name_now)
                self.assert_s3_error(404, "NoSuchKey", self.s3.get_object, Bucket=self.bucket, Key=f"main/{name_now}")
                self.assertFalse(os.path.exists(second / name_now))

    def test_aws_cli(self):
        """`aws s3 cp` up and down, and `aws s3 ls`; 12 MB, so that it uploads in parts."""
        body, local = os.urandom(12_000_000), self.scratch / "big.bin"
        local.write_bytes(body)
        self.assertFalse(os.path.exists(self.root / "aws"))
        self.aws("s3", "cp", local, f"s3://{self.bucket}/main/aws/big.bin")
        self.assertEqual(os.stat(self.root / "aws/big.bin").st_size, len(body))
        self.assertEqual(read_file(self.root / "aws/big.bin"), body)
        write_file(self.root / "aws/from the mount.txt", b"hello")
        self.aws("s3", "cp", "--recursive", f"s3://{self.bucket}/main/aws/", self.scratch / "back")
        self.assertEqual((self.scratch / "back/big.bin").read_bytes(), body)
        self.assertEqual((self.scratch / "back/from the mount.txt").read_bytes(), b"hello")
        listed = self.aws("s3", "ls", f"s3://{self.bucket}/main/aws/")
        self.assertRegex(listed, r"\b12000000 big\.bin\n")
        self.assertRegex(listed, r"\b5 from the mount\.txt\n")


class S3Test(LakeTest):
    """The rest of what S3 programs do, by boto3."""

    def setUp(self):
        super().setUp()
        self.bucket = self.repository()

    def test_objects(self):
        """Metadata, ETag, ranges, copies, bulk delete."""
        body = bytes(range(256)) * 40
        answer = self.s3_put(self.bucket, "main/a/b c+ü.bin", body, ContentType="image/png", Metadata={"colour": "blue"})
        self.assertEqual(answer["ETag"], f'"{hashlib.md5(body).hexdigest()}"')
        head = self.s3.head_object(Bucket=self.bucket, Key="main/a/b c+ü.bin")
        self.assertEqual((head["ContentLength"], head["ContentType"], head["Metadata"], head["ETag"]),
                         (len(body), "image/png", {"colour": "blue"}, answer["ETag"]))
        for spec, part in (("bytes=5-9", body[5:10]), ("bytes=-10", body[-10:]), ("bytes=10000-", body[10000:]),
                           ("bytes=10000-99999", body[10000:])):
            ranged = self.s3.get_object(Bucket=self.bucket, Key="main/a/b c+ü.bin", Range=spec)
            self.assertEqual((ranged["ResponseMetadata"]["HTTPStatusCode"], ranged["Body"].read()), (206, part), spec)
        self.assert_s3_error(416, "InvalidRange", self.s3.get_object, Bucket=self.bucket, Key="main/a/b c+ü.bin",
                             Range=f"bytes={len(body)}-")
        self.assertEqual(self.lake.get(self.bucket, "main", "a/b c+ü.bin"), body)

        self.s3.copy_object(Bucket=self.bucket, Key="main/copy", CopySource={"Bucket": self.bucket, "Key": "main/a/b c+ü.bin"})
        copy = self.s3.get_object(Bucket=self.bucket, Key="main/copy")
        self.assertEqual((copy["Body"].read(), copy["Metadata"]), (body, {"colour": "blue"}))
        self.s3_put(self.bucket, "main/empty", b"")
        self.assertEqual(self.s3_get(self.bucket, "main/empty"), b"")
        deleted = self.s3.delete_objects(Bucket=self.bucket, Delete={"Objects": [
            {"Key": "main/copy"}, {"Key": "main/empty"}, {"Key": "main/never there"}]})
        self.assertEqual({entry["Key"] for entry in deleted["Deleted"]}, {"main/copy", "main/empty", "main/never there"})
        self.assertEqual(self.s3_keys(self.bucket, "main/"), ["main/a/b c+ü.bin"])

    def test_listing(self):
        """Versions 1 and 2 of list, with delimiter, page by page; branches as folders; buckets."""
        keys = sorted(f"main/{folder}/{n}" for folder in ("a", "b", "c&d") for n in range(7)) + ["main/z1", "main/z2"]
        for key in keys:
            self.s3_put(self.bucket, key, key.encode())
        for operation in ("list_objects", "list_objects_v2"):
            pages = list(self.s3.get_paginator(operation).paginate(
                Bucket=self.bucket, Prefix="main/", PaginationConfig={"PageSize": 4}))
            found = [(entry["Key"], entry["Size"]) for page in pages for entry in page.get("Contents", ())]
            self.assertEqual(found, [(key, len(key)) for key in keys], operation)
            self.assertEqual(len(pages), 6, operation)
            pages = list(self.s3.get_paginator(operation).paginate(
                Bucket=self.bucket, Prefix="main/", Delimiter="/", PaginationConfig={"PageSize": 2}))
            found = [entry["Prefix"] for page in pages for entry in page.get("CommonPrefixes", ())]
            found += [entry["Key"] for page in pages for entry in page.get("Contents", ())]
            self.assertEqual(found, ["main/a/", "main/b/", "main/c&d/", "main/z1", "main/z2"], operation)
        after = self.s3.list_objects_v2(Bucket=self.bucket, Prefix="main/", StartAfter="main/c&d/5")
        self.assertEqual([entry["Key"] for entry in after["Contents"]], ["main/c&d/6", "main/z1", "main/z2"])
        root = self.s3.list_objects_v2(Bucket=self.bucket, Delimiter="/")
        self.assertEqual([entry["Prefix"] for entry in root["CommonPrefixes"]], ["main/"])
        self.assertIn(self.bucket, [bucket["Name"] for bucket in self.s3.list_buckets()["Buckets"]])

    def test_multipart(self):
        """20 MB in four parts, read back by ranges; an aborted upload leaves nothing."""
        mount, body, local = self.mount(self.bucket), os.urandom(20_000_000), self.scratch / "20mb"
        local.write_bytes(body)
        parts = boto3.s3.transfer.TransferConfig(multipart_threshold=5 << 20, multipart_chunksize=5 << 20, max_concurrency=4)
        self.assertFalse(os.path.exists(mount / "20mb"))
        self.s3.upload_file(str(local), self.bucket, "main/20mb", Config=parts)
        self.assertEqual(os.stat(mount / "20mb").st_size, len(body))
        self.assertEqual(read_file(mount / "20mb"), body)
        self.s3.download_file(self.bucket, "main/20mb", str(self.scratch / "back"), Config=parts)
        self.assertEqual((self.scratch / "back").read_bytes(), body)
        across = (5 << 20) - 3  # where two parts meet
        self.assertEqual(self.s3_get(self.bucket, "main/20mb", Range=f"bytes={across}-{across + 6}"), body[across:across + 7])

        upload = self.s3.create_multipart_upload(Bucket=self.bucket, Key="main/never")["UploadId"]
        self.s3.upload_part(Bucket=self.bucket, Key="main/never", UploadId=upload, PartNumber=1, Body=body[:6 << 20])
        self.s3.abort_multipart_upload(Bucket=self.bucket, Key="main/never", UploadId=upload)
        self.assertFalse(os.path.exists(mount / "never"))
        self.assertEqual(self.s3_keys(self.bucket, "main/"), ["main/20mb"])

    def test_an_upload_in_parts_has_one_tag(self):
        """The tag with the number of parts is the same in every answer, conditions take it, and a repeated Complete says it again."""
        upload = self.s3.create_multipart_upload(Bucket=self.bucket, Key="main/p")["UploadId"]
        bodies = [os.urandom(5 << 20), b"end"]
        parts = [{"PartNumber": n, "ETag": self.s3.upload_part(Bucket=self.bucket, Key="main/p", UploadId=upload, PartNumber=n, Body=body)["ETag"]} for n, body in enumerate(bodies, 1)]
        complete = {"Bucket": self.bucket, "Key": "main/p", "UploadId": upload, "MultipartUpload": {"Parts": parts}}
        tag = self.s3.complete_multipart_upload(**complete)["ETag"]
        wanted = hashlib.md5(b"".join(hashlib.md5(body).digest() for body in bodies)).hexdigest()
        self.assertEqual(tag, f'"{wanted}-2"')
        for _ in range(2):
            self.assertEqual(self.s3.complete_multipart_upload(**complete)["ETag"], tag)
        self.assert_s3_error(404, "NoSuchUpload", self.s3.complete_multipart_upload, **complete | {"MultipartUpload": {"Parts": parts[:1]}})
        self.assert_s3_error(404, "NoSuchUpload", self.s3.abort_multipart_upload, Bucket=self.bucket, Key="main/p", UploadId=upload)
        self.assert_s3_error(404, "NoSuchUpload", self.s3.upload_part, Bucket=self.bucket, Key="main/p", UploadId=upload, PartNumber=3, Body=b"")
        self.assertNotIn("Uploads", self.s3.list_multipart_uploads(Bucket=self.bucket))
        self.lake.commit(self.bucket, "main")
        self.s3.copy_object(Bucket=self.bucket, Key="main/q", CopySource={"Bucket": self.bucket, "Key": "main/p"}, CopySourceIfMatch=tag)
        for key in ("main/p", "main/q"):
            self.assertEqual(self.s3.head_object(Bucket=self.bucket, Key=key)["ETag"], tag)
            self.assertEqual(self.s3.get_object(Bucket=self.bucket, Key=key, IfMatch=tag)["ETag"], tag)
        self.assertEqual({entry["ETag"] for entry in self.s3.list_objects_v2(Bucket=self.bucket, Prefix="main/")["Contents"]}, {tag})
        self.assertEqual(self.lake.ask("GET", f"/repositories/{self.bucket}/refs/main/objects/stat", path="p").json["checksum"], wanted)
        self.s3_put(self.bucket, "main/p", b"new", IfMatch=tag)
        self.assert_s3_error(412, "PreconditionFailed", self.s3.put_object, Bucket=self.bucket, Key="main/q", Body=b"", IfMatch='"other"')
        self.assertEqual(self.s3_get(self.bucket, "main/q"), b"".join(bodies))

    def test_presigned(self):
        """Presigned PUT and GET by urllib, one that has expired, one whose key was changed."""
        arguments = {"Bucket": self.bucket, "Key": "main/a folder/x y.txt"}
        put = self.s3.generate_presigned_url("put_object", Params=arguments)
        with urllib.request.urlopen(urllib.request.Request(put, data=b"presigned", method="PUT")) as answer:
            self.assertEqual(answer.status, 200)
        get = self.s3.generate_presigned_url("get_object", Params=arguments)
        with urllib.request.urlopen(get) as answer:
            self.assertEqual(answer.read(), b"presigned")
        expired = self.s3.generate_presigned_url("get_object", Params=arguments, ExpiresIn=1)
        time.sleep(2.1)  # the shortest life a presigned address can have
        for url in (expired, get.replace("x%20y.txt", "z.txt")):
            with self.assertRaises(urllib.error.HTTPError) as refused:
                urllib.request.urlopen(url)
            refused.exception.close()
            self.assertEqual(refused.exception.code, 403)


    def test_what_tools_expect_beside_objects(self):
        """Deletes of what is no object, sub-resources, versions, access control lists: as a bucket without them answers."""
        self.s3_put(self.bucket, "main/a/k", b"1")
        # S3A asks for this after each file that it makes.
        deleted = self.s3.delete_objects(Bucket=self.bucket, Delete={"Objects": [{"Key": "main/"}, {"Key": "main/a/"}, {"Key": "main"}]})
        self.assertEqual(([entry["Key"] for entry in deleted["Deleted"]], deleted.get("Errors")), (["main/", "main/a/", "main"], None))
        refused = self.s3.delete_objects(Bucket=self.bucket, Delete={"Objects": [{"Key": "nobranch/"}]})
        self.assertEqual([error["Key"] for error in refused["Errors"]], ["nobranch/"])
        self.assertEqual(self.s3.delete_object(Bucket=self.bucket, Key="main/")["ResponseMetadata"]["HTTPStatusCode"], 204)
        self.s3_put(self.bucket, "main/", b"")
        self.assertEqual(self.s3.head_object(Bucket=self.bucket, Key="main/")["ContentLength"], 0)
        self.assertEqual(self.s3_keys(self.bucket, "main/"), ["main/a/k"])

        grant = self.s3.get_bucket_acl(Bucket=self.bucket)["Grants"][0]
        self.assertEqual((grant["Grantee"]["Type"], grant["Permission"]), ("CanonicalUser", "FULL_CONTROL"))
        self.assertEqual(self.s3.get_object_acl(Bucket=self.bucket, Key="main/a/k")["Grants"][0]["Grantee"]["Type"], "CanonicalUser")
        self.s3.put_bucket_acl(Bucket=self.bucket, ACL="private")
        self.s3.put_object_acl(Bucket=self.bucket, Key="main/a/k", ACL="bucket-owner-full-control")
        self.assert_s3_error(501, "NotImplemented", self.s3.put_bucket_acl, Bucket=self.bucket, ACL="public-read")
        self.assert_s3_error(501, "NotImplemented", self.s3.put_bucket_versioning, Bucket=self.bucket, VersioningConfiguration={"Status": "Enabled"})
        self.assert_s3_error(501, "NotImplemented", self.s3.put_bucket_policy, Bucket=self.bucket, Policy="{}")
        for call in (self.s3.delete_bucket_policy, self.s3.delete_bucket_lifecycle, self.s3.delete_bucket_tagging):
            self.assertEqual(call(Bucket=self.bucket)["ResponseMetadata"]["HTTPStatusCode"], 204)

        for n in range(3):
            self.s3_put(self.bucket, f"main/v/{n}", b"x" * n)
        pages = list(self.s3.get_paginator("list_object_versions").paginate(Bucket=self.bucket, Prefix="main/v/", PaginationConfig={"PageSize": 2}))
        found = [(entry["Key"], entry["VersionId"], entry["IsLatest"], entry["Size"]) for page in pages for entry in page["Versions"]]
        self.assertEqual(found, [(f"main/v/{n}", "null", True, n) for n in range(3)])
        self.assertEqual(len(pages), 2)
        owned = self.s3.list_objects_v2(Bucket=self.bucket, Prefix="main/v/", FetchOwner=True)["Contents"][0]
        self.assertEqual(owned["Owner"]["ID"], "admin")
        answer = self.s3.head_object(Bucket=self.bucket, Key="main/v/1")["ResponseMetadata"]["HTTPHeaders"]
        self.assertTrue(answer["x-amz-request-id"] and answer["x-amz-id-2"])

    def test_headers_that_are_kept(self):
        """Cache-Control and the like come back; text beyond ASCII goes as encoded words; a copy has all of it."""
        sent = {"CacheControl": "max-age=5", "ContentDisposition": 'attachment; filename="a b"', "ContentLanguage": "de", "ContentEncoding": "gzip"}
        text = "gr\u00f6\u00dfe \u8a66"
        word = "=?UTF-8?B?" + base64.b64encode(text.encode()).decode() + "?="
        self.s3_put(self.bucket, "main/k", b"1", Metadata={"note": word, "plain": "a (b)"}, **sent)
        self.s3.copy_object(Bucket=self.bucket, Key="main/copy", CopySource={"Bucket": self.bucket, "Key": "main/k"})
        upload = self.s3.create_multipart_upload(Bucket=self.bucket, Key="main/parts", Metadata={"note": word, "plain": "a (b)"}, **sent)["UploadId"]
        part = self.s3.upload_part(Bucket=self.bucket, Key="main/parts", UploadId=upload, PartNumber=1, Body=b"1")["ETag"]
        self.s3.complete_multipart_upload(Bucket=self.bucket, Key="main/parts", UploadId=upload, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": part}]})
        for key in ("main/k", "main/copy", "main/parts"):
            for answer in (self.s3.head_object(Bucket=self.bucket, Key=key), self.s3.get_object(Bucket=self.bucket, Key=key)):
                self.assertEqual({name: answer.get(name) for name in sent}, sent, key)
                self.assertEqual(answer["Metadata"], {"note": word, "plain": "a (b)"}, key)
        told = self.lake.ask("GET", f"/repositories/{self.bucket}/refs/main/objects/stat", path="k").json["metadata"]
        self.assertEqual(told["X-Amz-Meta-Note"] if "X-Amz-Meta-Note" in told else told["X-Amz-Meta-note"], text)
        other = self.s3.get_object(Bucket=self.bucket, Key="main/k", ResponseCacheControl="no-store")
        self.assertEqual(other["CacheControl"], "no-store")
        # The SDK's own framing of a body is none of its coding.
        self.s3_put(self.bucket, "main/framed", b"2", ChecksumAlgorithm="SHA256")
        self.assertNotIn("ContentEncoding", self.s3.head_object(Bucket=self.bucket, Key="main/framed"))


class ConsistencyTest(LakeTest):
    """While one door writes, readers at the other two see the old bytes or the new, never a mixture."""
    VERSIONS = (b"A" * 200_000, b"B" * 260_000)  # of two lengths: a new size over old bytes is a mixture too
    SECONDS = 3

    def check(self, door):
        repository, path = self.repository(), "folder/object"
        mount, connection = self.mount(repository), self.lake.connection()
        write = {
            "s3": lambda body: self.s3_put(repository, f"main/{path}", body),
            "rest": lambda body: self.lake.upload(repository, "main", path, body, connection=connection),
            "mount": lambda body: write_file(mount / path, body),
        }[door]
        # Each reader has its own connection; boto3's client is made for many threads.
        read = {
            "s3": lambda _: self.s3_get(repository, f"main/{path}"),
            "rest": lambda connection: self.lake.get(repository, "main", path, connection=connection),
            "mount": lambda _: read_file(mount / path),
        }
        del read[door]
        (mount / "folder").mkdir()
        write(self.VERSIONS[0])
        stop, failures, seen, writes = threading.Event(), [], {name: [0, 0] for name in read}, 0

        def reader(name):
            connection = self.lake.connection()
            try:
                while not stop.is_set():
                    body = read[name](connection)
                    if body not in self.VERSIONS:
                        failures.append(f"{name} read {len(body)} bytes: {body.count(b'A')} A, {body.count(b'B')} B")
                        stop.set()
                    else:
                        seen[name][self.VERSIONS.index(body)] += 1
            except Exception as error:
                failures.append(f"{name}, in write {writes}: {error!r}")
                stop.set()
            finally:
                connection.close()

        threads = [threading.Thread(target=reader, args=(name,)) for name in read for _ in range(2)]
        for thread in threads:
            thread.start()
        end = time.monotonic() + self.SECONDS
        try:
            while not stop.is_set() and time.monotonic() < end:
                writes += 1
                write(self.VERSIONS[writes % 2])
        finally:
            stop.set()
            for thread in threads:
                thread.join()
            connection.close()
        self.assertEqual(failures, [])
        self.assertGreater(writes, 20)
        for name, counts in seen.items():
            self.assertGreater(min(counts), 3, f"of A and B, {name} saw {counts} in {writes} writes")
        for name in read:  # and afterwards the last one
            self.assertTrue(read[name](None) == self.VERSIONS[writes % 2], f"{name} has not the last version")

    def test_writer_on_s3(self):
        """The writer on S3, readers in the mount and on REST."""
        self.check("s3")

    def test_writer_on_rest(self):
        """The writer on REST, readers in the mount and on S3."""
        self.check("rest")

    def test_writer_in_the_mount(self):
        """The writer in the mount, truncating and rewriting in place; readers on S3 and REST."""
        self.check("mount")

    def test_new_file_in_the_mount(self):
        """A file that is rewritten as soon as it was closed first is at the other doors from then on."""
        repository, missing = self.repository(), []
        mount = self.mount(repository)

        def reader(path, stop):
            connection = self.lake.connection()
            try:
                while not stop.is_set():
                    self.lake.get(repository, "main", path, connection=connection)
            except AssertionError as error:
                missing.append(f"{path}: {error}")
            finally:
                connection.close()

        for number in range(30):
            path, stop = f"object-{number}", threading.Event()
            write_file(mount / path, self.VERSIONS[0])
            threads = [threading.Thread(target=reader, args=(path, stop)) for _ in range(3)]
            for thread in threads:
                thread.start()
            end = time.monotonic() + 0.08
            while time.monotonic() < end:
                write_file(mount / path, self.VERSIONS[1])
            stop.set()
            for thread in threads:
                thread.join()
        self.assertEqual(missing, [])
