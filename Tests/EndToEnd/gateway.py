"""What S3 keeps of objects beside their bytes, older signatures, forms, and buckets that are made over S3."""
import base64
import email.utils
import hashlib
import hmac
import json
import os
import time
import zlib

import botocore.auth
import botocore.awsrequest
import botocore.credentials

from clients import LakeTest, s3_client
from faults import OwnLakeTest
from lake import KEY, SECRET


def crc32(body):
    return base64.b64encode(zlib.crc32(body).to_bytes(4, "big")).decode()


class KeptTest(LakeTest):
    def setUp(self):
        super().setUp()
        self.bucket = self.repository()

    def tags(self, key):
        return [(tag["Key"], tag["Value"]) for tag in self.s3.get_object_tagging(Bucket=self.bucket, Key=key)["TagSet"]]

    def test_tags(self):
        """With the object, by themselves, in copies; counted; ten at most; never another object's."""
        self.s3_put(self.bucket, "main/a", b"1", Tagging="k=v&with%20space=%C3%A4%2B", Metadata={"m": "1"})
        self.assertEqual(self.tags("main/a"), [("k", "v"), ("with space", "ä+")])
        self.assertEqual(self.s3.get_object(Bucket=self.bucket, Key="main/a")["TagCount"], 2)
        self.s3.put_object_tagging(Bucket=self.bucket, Key="main/a", Tagging={"TagSet": [{"Key": "x&=", "Value": "<&>"}]})
        self.assertEqual(self.tags("main/a"), [("x&=", "<&>")])
        head = self.s3.head_object(Bucket=self.bucket, Key="main/a")
        self.assertEqual((head["Metadata"], head["ContentLength"]), ({"m": "1"}, 1))
        self.s3.copy_object(Bucket=self.bucket, Key="main/b", CopySource=f"{self.bucket}/main/a")
        self.s3.copy_object(Bucket=self.bucket, Key="main/c", CopySource=f"{self.bucket}/main/a", TaggingDirective="REPLACE", Tagging="n=1")
        self.assertEqual((self.tags("main/b"), self.tags("main/c")), ([("x&=", "<&>")], [("n", "1")]))
        self.s3.delete_object_tagging(Bucket=self.bucket, Key="main/a")
        self.assertEqual(self.tags("main/a"), [])
        self.assertNotIn("TagCount", self.s3.head_object(Bucket=self.bucket, Key="main/a"))
        many = [{"Key": f"k{n}", "Value": ""} for n in range(11)]
        self.assert_s3_error(400, "BadRequest", self.s3.put_object_tagging, Bucket=self.bucket, Key="main/a", Tagging={"TagSet": many})
        for tag in ({"Key": "k" * 129, "Value": ""}, {"Key": "k", "Value": "v" * 257}, {"Key": "aws:k", "Value": ""}):
            self.assert_s3_error(400, "InvalidTag", self.s3.put_object_tagging, Bucket=self.bucket, Key="main/a", Tagging={"TagSet": [tag]})
        self.assert_s3_error(400, "InvalidTag", self.s3.put_object_tagging, Bucket=self.bucket, Key="main/a", Tagging={"TagSet": [{"Key": "k", "Value": "1"}] * 2})
        self.assert_s3_error(404, "NoSuchKey", self.s3.put_object_tagging, Bucket=self.bucket, Key="main/none", Tagging={"TagSet": []})
        self.lake.commit(self.bucket, "main")
        self.assertEqual(self.tags("main/b"), [("x&=", "<&>")])

    def test_storage_class_and_redirect(self):
        self.s3_put(self.bucket, "main/a", b"1", StorageClass="STANDARD_IA", WebsiteRedirectLocation="/other")
        self.s3_put(self.bucket, "main/b", b"1", StorageClass="STANDARD")
        head = self.s3.head_object(Bucket=self.bucket, Key="main/a")
        self.assertEqual((head["StorageClass"], head["WebsiteRedirectLocation"]), ("STANDARD_IA", "/other"))
        self.assertNotIn("StorageClass", self.s3.head_object(Bucket=self.bucket, Key="main/b"))
        listed = self.s3.list_objects_v2(Bucket=self.bucket, Prefix="main/")["Contents"]
        self.assertEqual([item["StorageClass"] for item in listed], ["STANDARD_IA", "STANDARD"])
        self.s3.copy_object(Bucket=self.bucket, Key="main/a", CopySource=f"{self.bucket}/main/a", StorageClass="GLACIER")
        self.assertEqual(self.s3.head_object(Bucket=self.bucket, Key="main/a")["StorageClass"], "GLACIER")
        self.assert_s3_error(400, "InvalidStorageClass", self.s3.put_object, Bucket=self.bucket, Key="main/c", Body=b"1", StorageClass="WARM")

    def test_checksums(self):
        """All five come back when asked for, and end with the bytes they are of."""
        body = os.urandom(5000)
        for algorithm in ("CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256"):
            try:
                sent = self.s3_put(self.bucket, f"main/{algorithm}", body, ChecksumAlgorithm=algorithm)
            except botocore.exceptions.MissingDependencyException:
                continue  # boto3 computes some with awscrt only.
            name = f"Checksum{algorithm}"
            for answer in (self.s3.get_object, self.s3.head_object):
                self.assertEqual(answer(Bucket=self.bucket, Key=f"main/{algorithm}", ChecksumMode="ENABLED")[name], sent[name])
            self.s3.copy_object(Bucket=self.bucket, Key="main/copy", CopySource=f"{self.bucket}/main/{algorithm}")
            told = self.s3.get_object_attributes(Bucket=self.bucket, Key="main/copy", ObjectAttributes=["Checksum", "ETag", "ObjectSize", "StorageClass"])
            self.assertEqual((told["Checksum"][name], told["ObjectSize"], told["StorageClass"], told["ETag"]), (sent[name], 5000, "STANDARD", hashlib.md5(body).hexdigest()))
        self.assertEqual(self.s3.head_object(Bucket=self.bucket, Key="main/CRC32", ChecksumMode="ENABLED")["ChecksumCRC32"], crc32(body))
        mounted = self.mount(self.bucket)
        with open(mounted / "CRC32", "ab") as file:
            file.write(b"more")
        self.assertNotIn("ChecksumCRC32", self.s3.head_object(Bucket=self.bucket, Key="main/CRC32", ChecksumMode="ENABLED"))
        self.assert_s3_error(400, "BadDigest", self.s3.put_object, Bucket=self.bucket, Key="main/x", Body=body, ChecksumCRC32="AAAAAA==")

    def test_parts_stay_known(self):
        """Each by its number, all of them counted; the checksum of the whole is made of theirs."""
        pieces = [os.urandom(5 << 20), os.urandom(5 << 20), b"end"]
        whole = b"".join(pieces)
        for kind, wanted in (("FULL_OBJECT", crc32(whole)), ("COMPOSITE", crc32(b"".join(zlib.crc32(piece).to_bytes(4, "big") for piece in pieces)) + "-3")):
            key = f"main/{kind}"
            upload = self.s3.create_multipart_upload(Bucket=self.bucket, Key=key, ChecksumAlgorithm="CRC32", ChecksumType=kind)
            self.assertEqual((upload["ChecksumAlgorithm"], upload["ChecksumType"]), ("CRC32", kind))
            parts = []
            for number, piece in enumerate(pieces, 1):
                part = self.s3.upload_part(Bucket=self.bucket, Key=key, UploadId=upload["UploadId"], PartNumber=number, Body=piece, ChecksumAlgorithm="CRC32")
                parts.append({"PartNumber": number, "ETag": part["ETag"], "ChecksumCRC32": part["ChecksumCRC32"]})
            listed = self.s3.list_parts(Bucket=self.bucket, Key=key, UploadId=upload["UploadId"])["Parts"]
            self.assertEqual([part["ChecksumCRC32"] for part in listed], [crc32(piece) for piece in pieces])
            wrong = parts[:2] + [parts[2] | {"ChecksumCRC32": parts[0]["ChecksumCRC32"]}]
            self.assert_s3_error(400, "InvalidPart", self.s3.complete_multipart_upload, Bucket=self.bucket, Key=key, UploadId=upload["UploadId"], MultipartUpload={"Parts": wrong})
            if kind == "FULL_OBJECT":
                self.assert_s3_error(400, "BadDigest", self.s3.complete_multipart_upload, Bucket=self.bucket, Key=key, UploadId=upload["UploadId"], MultipartUpload={"Parts": parts}, ChecksumCRC32=crc32(b"other"))
            done = self.s3.complete_multipart_upload(Bucket=self.bucket, Key=key, UploadId=upload["UploadId"], MultipartUpload={"Parts": parts})
            self.assertEqual((done["ChecksumCRC32"], done["ChecksumType"]), (wanted, kind))
            self.assertEqual(self.s3.head_object(Bucket=self.bucket, Key=key, ChecksumMode="ENABLED")["ChecksumCRC32"], wanted)
            for number, piece in enumerate(pieces, 1):
                got = self.s3.get_object(Bucket=self.bucket, Key=key, PartNumber=number)
                self.assertEqual((got["Body"].read(), got["PartsCount"], got["ResponseMetadata"]["HTTPStatusCode"]), (piece, 3, 206))
                self.assertEqual(self.s3.head_object(Bucket=self.bucket, Key=key, PartNumber=number)["ContentLength"], len(piece))
            self.assert_s3_error(416, "416", self.s3.head_object, Bucket=self.bucket, Key=key, PartNumber=4)
            told = self.s3.get_object_attributes(Bucket=self.bucket, Key=key, ObjectAttributes=["ObjectParts"], MaxParts=2)["ObjectParts"]
            self.assertEqual((told["TotalPartsCount"], told["IsTruncated"], [part["Size"] for part in told["Parts"]]), (3, True, [5 << 20, 5 << 20]))
            self.assertEqual([part["ChecksumCRC32"] for part in told["Parts"]], [crc32(piece) for piece in pieces[:2]])
            again = self.s3.complete_multipart_upload(Bucket=self.bucket, Key=key, UploadId=upload["UploadId"], MultipartUpload={"Parts": parts})
            self.assertEqual((again["ETag"], again["ChecksumCRC32"]), (done["ETag"], wanted))
        self.assertEqual(self.s3_get(self.bucket, "main/COMPOSITE"), whole)
        self.assertEqual(self.s3.get_object(Bucket=self.bucket, Key=self.plain(), PartNumber=1)["Body"].read(), b"plain")

    def plain(self):
        self.s3_put(self.bucket, "main/plain", b"plain")
        return "main/plain"

    def test_copies_that_are_none(self):
        self.s3_put(self.bucket, "main/a", b"0123456789")
        source = f"{self.bucket}/main/a"
        self.assert_s3_error(400, "InvalidRequest", self.s3.copy_object, Bucket=self.bucket, Key="main/a", CopySource=source)
        self.s3.copy_object(Bucket=self.bucket, Key="main/a", CopySource=source, MetadataDirective="REPLACE", Metadata={"n": "1"})
        self.assertEqual(self.s3.head_object(Bucket=self.bucket, Key="main/a")["Metadata"], {"n": "1"})
        upload = self.s3.create_multipart_upload(Bucket=self.bucket, Key="main/b")["UploadId"]
        for span in ("bytes=0-10", "bytes=10-11", "bytes=100-200"):
            self.assert_s3_error(416, "InvalidRange", self.s3.upload_part_copy, Bucket=self.bucket, Key="main/b", UploadId=upload, PartNumber=1, CopySource=source, CopySourceRange=span)
        for span in ("bytes=x", "0-2", "bytes=0", "bytes=hello-world", "bytes=0-bar", "bytes=hello-", "bytes=0-2,3-5", "bytes=3-2", "bytes=-2"):
            self.assert_s3_error(400, "InvalidArgument", self.s3.upload_part_copy, Bucket=self.bucket, Key="main/b", UploadId=upload, PartNumber=1, CopySource=source, CopySourceRange=span)
        self.s3.upload_part_copy(Bucket=self.bucket, Key="main/b", UploadId=upload, PartNumber=1, CopySource=source, CopySourceRange="bytes=0-9")

    def test_conditions_of_writes(self):
        self.assert_s3_error(404, "NoSuchKey", self.s3.put_object, Bucket=self.bucket, Key="main/none", Body=b"1", IfMatch='"' + "0" * 32 + '"')
        tag = self.s3_put(self.bucket, "main/a", b"1")["ETag"]
        self.assert_s3_error(412, "PreconditionFailed", self.s3.put_object, Bucket=self.bucket, Key="main/a", Body=b"2", IfNoneMatch="*")
        self.assert_s3_error(412, "PreconditionFailed", self.s3.put_object, Bucket=self.bucket, Key="main/a", Body=b"2", IfMatch='"' + "0" * 32 + '"')
        self.s3_put(self.bucket, "main/a", b"2", IfMatch=tag)
        self.assertEqual(self.s3_get(self.bucket, "main/a"), b"2")

    def test_conditions_of_deletions(self):
        for condition in ({"IfMatch": '"0"'}, {"IfMatchSize": 7}, {"IfMatchLastModifiedTime": "2001-01-01T00:00:00Z"}):
            self.s3_put(self.bucket, "main/a", b"1")
            self.assert_s3_error(412, "PreconditionFailed", self.s3.delete_object, Bucket=self.bucket, Key="main/a", **condition)
        told = self.s3.delete_objects(Bucket=self.bucket, Delete={"Objects": [{"Key": "main/a", "ETag": '"0"'}, {"Key": "main/none", "ETag": '"0"'}]})
        self.assertEqual(([error["Code"] for error in told["Errors"]], told.get("Deleted", [])), (["PreconditionFailed", "NoSuchKey"], []))
        self.assert_s3_error(404, "NoSuchKey", self.s3.delete_object, Bucket=self.bucket, Key="main/none", IfMatch="*")
        for condition in (lambda: {"IfMatch": head["ETag"]}, lambda: {"IfMatch": "*"}, lambda: {"IfMatchSize": 1}, lambda: {"IfMatchLastModifiedTime": head["LastModified"]}):
            self.s3_put(self.bucket, "main/a", b"1")
            head = self.s3.head_object(Bucket=self.bucket, Key="main/a")
            self.s3.delete_object(Bucket=self.bucket, Key="main/a", **condition())
            self.assertEqual(self.s3_keys(self.bucket, "main/"), [])


class NotHereTest(LakeTest):
    """What S3 can and this server does not is refused: passed over, it would be taken for done, or do harm."""

    def setUp(self):
        super().setUp()
        self.bucket = self.repository()
        self.s3_put(self.bucket, "main/a", b"1234")

    def test_versions_that_are_not(self):
        """A version that is not there is neither read nor deleted: least of all the one that is."""
        here = {"Bucket": self.bucket, "Key": "main/a", "VersionId": "3sL4kqtJlcpXroDTDmJ.rmSpXd3dIbrHY"}
        tags = {"TagSet": [{"Key": "k", "Value": "v"}]}
        for call, more in ((self.s3.get_object, {}), (self.s3.head_object, {}), (self.s3.delete_object, {}),
                           (self.s3.get_object_attributes, {"ObjectAttributes": ["ETag"]}),
                           (self.s3.put_object_tagging, {"Tagging": tags}), (self.s3.delete_object_tagging, {})):
            with self.assertRaises(self.s3.exceptions.ClientError) as raised:
                call(**here, **more)
            self.assertEqual(raised.exception.response["ResponseMetadata"]["HTTPStatusCode"], 400, call)
        told = self.s3.delete_objects(Bucket=self.bucket, Delete={"Objects": [
            {"Key": "main/a", "VersionId": here["VersionId"]}, {"Key": "main/none", "VersionId": "null"}]})
        self.assertEqual([error["Code"] for error in told["Errors"]], ["InvalidArgument"])
        self.assertEqual([done["Key"] for done in told["Deleted"]], ["main/none"])
        source = {"Bucket": self.bucket, "Key": "main/a", "VersionId": here["VersionId"]}
        self.assert_s3_error(400, "InvalidArgument", self.s3.copy_object, Bucket=self.bucket, Key="main/b", CopySource=source)
        self.assertEqual(self.s3_keys(self.bucket, "main/"), ["main/a"])
        self.assertEqual(self.s3.get_object_tagging(Bucket=self.bucket, Key="main/a")["TagSet"], [])
        self.s3.copy_object(Bucket=self.bucket, Key="main/b", CopySource=source | {"VersionId": "null"})
        self.s3.delete_object(Bucket=self.bucket, Key="main/a", VersionId="null")
        self.assertEqual(self.s3_keys(self.bucket, "main/"), ["main/b"])

    def test_headers(self):
        put = lambda **more: {"Bucket": self.bucket, "Key": "main/a", "Body": b"x"} | more
        for status, code, more in (
                (501, "NotImplemented", {"WriteOffsetBytes": 4}), (400, "InvalidArgument", {"ACL": "public-ready"}),
                (501, "NotImplemented", {"SSECustomerAlgorithm": "AES256", "SSECustomerKey": "k" * 32}),
                (400, "InvalidRequest", {"ObjectLockMode": "GOVERNANCE", "ObjectLockRetainUntilDate": "2030-01-01T00:00:00Z"})):
            self.assert_s3_error(status, code, self.s3.put_object, **put(**more))
        self.assertEqual(self.s3_get(self.bucket, "main/a"), b"1234")
        self.s3.put_object(**put(ACL="private", ServerSideEncryption="AES256"))

    def test_arguments(self):
        get = {"Bucket": self.bucket, "Key": "main/a"}
        self.assert_s3_error(400, "InvalidRequest", self.s3.get_object, **get, PartNumber=1, Range="bytes=0-1")
        self.assert_s3_error(400, "InvalidArgument", self.s3.get_object, **get, PartNumber=10_001)
        self.assert_s3_error(400, "InvalidArgument", self.s3.list_objects_v2, Bucket=self.bucket, EncodingType="foo")

    def test_a_body_without_a_length(self):
        url = self.s3.generate_presigned_url("put_object", Params={"Bucket": self.bucket, "Key": "main/a"})
        connection = self.lake.connection()
        self.addCleanup(connection.close)
        connection.putrequest("PUT", url.removeprefix(self.lake.endpoint))
        connection.endheaders()
        response = connection.getresponse()
        self.assertEqual((response.status, b"MissingContentLength" in response.read()), (411, True))
        self.assertEqual(self.s3_get(self.bucket, "main/a"), b"1234")


class SignatureTest(LakeTest):
    def setUp(self):
        super().setUp()
        self.bucket = self.repository()

    def old(self, method, target, body=b"", secret=SECRET, date=None, host=None, resource=None, **headers):
        """A request with the older signature in its header, as s3cmd makes it."""
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        date = date or email.utils.formatdate(usegmt=True)
        amz = "".join(f"{name.lower()}:{value}\n" for name, value in sorted(headers.items()) if name.lower().startswith("x-amz-"))
        text = f"{method}\n\n{headers.get('Content-Type', '')}\n{'' if 'x-amz-date' in headers else date}\n{amz}{resource or target}"
        signature = base64.b64encode(hmac.digest(secret.encode(), text.encode(), "sha1")).decode()
        headers |= {"Date": date, "Authorization": f"AWS {KEY}:{signature}"}
        if host:
            headers["Host"] = host
        return self.lake.send(method, target, body, headers)

    def test_the_older_signature_in_the_header(self):
        here = f"/{self.bucket}/main/old%20key"
        self.assertEqual(self.old("PUT", here, b"old", Content_Type="text/plain", x_amz_meta_m="1").status, 200)
        self.assertEqual(self.old("GET", here).body, b"old")
        now = email.utils.formatdate(usegmt=True)
        self.assertEqual(self.old("GET", here, x_amz_date=now).body, b"old")
        self.assertEqual(self.old("GET", f"/{self.bucket}?prefix=main/&max-keys=5", resource=f"/{self.bucket}").status, 200)
        self.assertEqual(self.old("GET", f"/{self.bucket}?location").status, 200)
        self.assertEqual(self.old("GET", "/main/old%20key", host=f"{self.bucket}.s3.local.lakefs.io", resource=here).body, b"old")
        self.assertEqual(self.old("GET", here, secret="wrong").status, 403)
        late = email.utils.formatdate(time.time() - 3600, usegmt=True)
        refused = self.old("GET", here, date=late)
        self.assertEqual((refused.status, b"RequestTimeTooSkewed" in refused.body), (403, True))
        self.assertEqual(self.lake.send("GET", here, headers={"Authorization": "AWS nonsense", "Date": now}).status, 400)

    def test_the_region_is_told_to_whoever_asks(self):
        """Clients look for a bucket's region before they can sign anything."""
        here, there = f"/{self.bucket}", {"Host": f"{self.bucket}.s3.local.lakefs.io"}
        for answer in (self.lake.send("HEAD", here), self.lake.send("HEAD", "/", headers=there),
                       self.old("HEAD", here, secret="wrong"), self.lake.send("HEAD", "/no-such-bucket")):
            self.assertEqual((answer.status, answer.headers["x-amz-bucket-region"]), (403, "us-east-1"))
        self.assertEqual(self.old("HEAD", here).headers["x-amz-bucket-region"], "us-east-1")

    def test_headers_that_were_not_signed(self):
        """What no one signed and S3 would heed is refused."""
        self.s3_put(self.bucket, "main/a", b"1")
        url = f"{self.lake.endpoint}/{self.bucket}/main/b"
        for name in ("x-amz-tagging", "x-amz-storage-class", "x-amz-copy-source", "x-amz-meta-m", "X-Amz-Website-Redirect-Location"):
            request = botocore.awsrequest.AWSRequest("PUT", url, data=b"")
            botocore.auth.S3SigV4Auth(botocore.credentials.Credentials(KEY, SECRET), "s3", "us-east-1").add_auth(request)
            headers = dict(request.headers) | {name: f"{self.bucket}/main/a"}
            answer = self.lake.send("PUT", f"/{self.bucket}/main/b", b"", headers)
            self.assertEqual((answer.status, b"not signed" in answer.body), (403, True), name)


class FormTest(LakeTest):
    """Uploads by a browser's form, with a signed policy."""

    def setUp(self):
        super().setUp()
        self.bucket = self.repository()

    def post(self, fields, file=b"the file", name="name.txt", boundary="----lake"):
        body = b"".join(f'--{boundary}\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{value}\r\n'.encode() for key, value in fields.items())
        if file is not None:
            body += f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\nContent-Type: text/plain\r\n\r\n'.encode() + file + b"\r\n"
        body += f"--{boundary}--\r\n".encode()
        return self.lake.send("POST", f"/{self.bucket}", body, {"Content-Type": f"multipart/form-data; boundary={boundary}"})

    def fields(self, key="main/form", conditions=(), seconds=600, secret=SECRET, **more):
        made = s3_client(self.lake).generate_presigned_post(self.bucket, key, Fields=more, Conditions=[*({name: value} for name, value in more.items()), *conditions], ExpiresIn=seconds)
        if secret != SECRET:
            made["fields"]["x-amz-signature"] = "0" * 64
        return made["fields"]

    def test_a_form(self):
        answer = self.post(self.fields("main/${filename}", **{"success_action_status": "201", "x-amz-meta-m": "1", "Content-Type": "text/csv", "Cache-Control": "no-store"}))
        self.assertEqual((answer.status, f"<Key>main/name.txt</Key>".encode() in answer.body), (201, True), answer)
        got = self.s3.get_object(Bucket=self.bucket, Key="main/name.txt")
        self.assertEqual((got["Body"].read(), got["ContentType"], got["Metadata"], got["CacheControl"]), (b"the file", "text/csv", {"m": "1"}, "no-store"))
        self.assertEqual(self.post(self.fields()).status, 204)
        large = os.urandom(3 << 20)
        self.assertEqual(self.post(self.fields("main/large"), large).status, 204)
        self.assertEqual(self.s3_get(self.bucket, "main/large"), large)
        answer = self.post(self.fields(success_action_redirect="http://localhost/done"))
        self.assertEqual((answer.status, answer.headers["location"].split("?")[0]), (303, "http://localhost/done"))

    def test_the_older_signature(self):
        text = json.dumps({"expiration": "2100-01-01T00:00:00Z", "conditions": [{"bucket": self.bucket}, ["starts-with", "$key", "main/"]]})
        policy = base64.b64encode(text.encode()).decode()
        signature = base64.b64encode(hmac.digest(SECRET.encode(), policy.encode(), "sha1")).decode()
        form = {"key": "main/v2", "AWSAccessKeyId": KEY, "policy": policy, "signature": signature}
        self.assertEqual(self.post(form).status, 204)
        self.assertEqual(self.post(form | {"key": "${filename}"}, name="main/by-name").status, 204)
        self.assertEqual(self.s3_keys(self.bucket, "main/"), ["main/by-name", "main/v2"])
        self.assertEqual(self.post(form | {"key": "other/v2"}).status, 403)
        self.assertEqual(self.post(form | {"signature": "bm8="}).status, 403)

    def test_what_a_policy_refuses(self):
        bound = [["content-length-range", 5, 10]]
        for form, file, status, code in (
            (self.fields() | {"key": "main/other"}, b"x", 403, "AccessDenied"),
            (self.fields() | {"x-amz-meta-extra": "1"}, b"x", 403, "AccessDenied"),
            (self.fields(seconds=-10), b"x", 403, "AccessDenied"),
            (self.fields(secret="other"), b"x", 403, "SignatureDoesNotMatch"),
            (self.fields(conditions=bound), b"x" * 4, 400, "EntityTooSmall"),
            (self.fields(conditions=bound), b"x" * 11, 400, "EntityTooLarge"),
            ({"key": "main/form"}, b"x", 403, "AccessDenied"),
            (self.fields(), None, 400, "InvalidArgument"),
            ({name: value for name, value in self.fields().items() if name != "key"}, b"x", 400, "InvalidArgument"),
            (self.fields("noref"), b"x", 400, "InvalidArgument"),
            (self.fields("nobranch/x"), b"x", 404, "NoSuchBucket"),
        ):
            answer = self.post(form, file)
            self.assertEqual((answer.status, f"<Code>{code}</Code>".encode() in answer.body), (status, True), answer)
        self.assertEqual(self.s3_keys(self.bucket, "main/"), [])
        self.assertEqual(self.post(self.fields(conditions=bound) | {"x-ignore-me": "1"}, b"x" * 7).status, 204)


class BucketTest(OwnLakeTest):
    def new_lake(self, name, **more):
        return super().new_lake(name, LAKEFUSE_GATEWAYS_S3_CREATE_REPOSITORIES="true", **more)

    def test_buckets_that_are_made_here(self):
        s3 = self.s3
        s3.create_bucket(Bucket="made-here")
        self.assertEqual([bucket["Name"] for bucket in s3.list_buckets()["Buckets"]], ["made-here"])
        self.assert_s3_error(409, "BucketAlreadyOwnedByYou", s3.create_bucket, Bucket="made-here")
        self.assert_s3_error(400, "InvalidBucketName", s3.create_bucket, Bucket="x.y_z.9")
        s3.create_bucket(Bucket="made-too")
        page = s3.list_buckets(MaxBuckets=1)
        rest = s3.list_buckets(MaxBuckets=1, ContinuationToken=page["ContinuationToken"])
        self.assertEqual([bucket["Name"] for bucket in page["Buckets"] + rest["Buckets"]], ["made-here", "made-too"])
        s3.delete_bucket(Bucket="made-too")
        s3.put_object(Bucket="made-here", Key="main/a", Body=b"1")
        self.assert_s3_error(409, "BucketNotEmpty", s3.delete_bucket, Bucket="made-here")
        s3.delete_object(Bucket="made-here", Key="main/a")
        s3.delete_bucket(Bucket="made-here")
        self.assertEqual(s3.list_buckets()["Buckets"], [])


class FallbackTest(OwnLakeTest):
    """Buckets that are no repositories are another server's: here a second lake that knows the same keys."""

    def setUp(self):
        self.other = self.new_lake("other", LAKEFUSE_GATEWAYS_S3_CREATE_REPOSITORIES="true")
        self.other.start()
        super().setUp()

    def new_lake(self, name, **more):
        if name != "other":
            more["LAKEFUSE_GATEWAYS_S3_FALLBACK_URL"] = self.other.endpoint
        return super().new_lake(name, **more)

    def test_requests_for_other_buckets_go_there(self):
        there = s3_client(self.other)
        there.create_bucket(Bucket="elsewhere")
        body = os.urandom(3 << 20)
        self.s3.put_object(Bucket="elsewhere", Key="main/a b+ü", Body=body, Metadata={"k": "v"})
        for s3 in (self.s3, there):
            got = s3.get_object(Bucket="elsewhere", Key="main/a b+ü")
            self.assertEqual((got["Body"].read(), got["Metadata"]), (body, {"k": "v"}))
        self.assertEqual(self.s3.head_object(Bucket="elsewhere", Key="main/a b+ü")["ContentLength"], len(body))
        part = self.s3.get_object(Bucket="elsewhere", Key="main/a b+ü", Range="bytes=5-9")
        self.assertEqual((part["Body"].read(), part["ContentRange"]), (body[5:10], f"bytes 5-9/{len(body)}"))
        self.s3.put_object(Bucket="elsewhere", Key="main/empty", Body=b"")
        self.assertEqual(self.s3.get_object(Bucket="elsewhere", Key="main/empty")["Body"].read(), b"")
        keys = [item["Key"] for item in self.s3.list_objects_v2(Bucket="elsewhere", Prefix="main/")["Contents"]]
        self.assertEqual(keys, ["main/a b+ü", "main/empty"])
        self.assert_s3_error(404, "NoSuchKey", self.s3.get_object, Bucket="elsewhere", Key="main/none")
        self.s3.create_bucket(Bucket="made-there")
        self.s3.delete_object(Bucket="elsewhere", Key="main/empty")
        self.assert_s3_error(404, "NoSuchKey", there.get_object, Bucket="elsewhere", Key="main/empty")
        # Own repositories stay here, and nobody is let through who is not known here.
        bucket = self.repository()
        self.s3.put_object(Bucket=bucket, Key="main/own", Body=b"own")
        self.assertEqual(self.s3_get(bucket, "main/own"), b"own")
        self.assert_s3_error(404, "NoSuchBucket", there.get_object, Bucket=bucket, Key="main/own")
        stranger = s3_client(self.lake, (self.lake.keys[0], "wrong"))
        self.assert_s3_error(
            403, "SignatureDoesNotMatch", stranger.get_object, Bucket="elsewhere", Key="main/a b+ü")
        self.other.kill()
        self.assert_s3_error(503, "ServiceUnavailable", self.s3.get_object, Bucket="elsewhere", Key="main/a b+ü")
        self.assertEqual(self.s3_get(bucket, "main/own"), b"own")


class NoBucketTest(LakeTest):
    def test_buckets_that_are_not(self):
        self.assert_s3_error(501, "NotImplemented", self.s3.create_bucket, Bucket="not-made")
        self.assert_s3_error(405, "MethodNotAllowed", self.s3.delete_bucket, Bucket=self.repository())
