"""Bad input: the answer that lakeFS, S3 or POSIX names, in words, and nothing changes."""
import os
import subprocess
import urllib.error
import urllib.request
import xml.etree.ElementTree

import botocore
import botocore.auth
import botocore.awsrequest
import botocore.credentials

from clients import LakeTest, s3_client
from lake import BINARY, is_mounted


class RefusalTest(LakeTest):

    def setUp(self):
        super().setUp()
        self.bucket = self.repository()
        self.lake.upload(self.bucket, "main", "there", b"there")
        before = self.state()
        self.addCleanup(lambda: self.assertEqual(self.state(), before, "a refused call changed something"))

    def state(self):
        repositories = self.lake.ask("GET", "/repositories", amount=1000).json["results"]
        branches = self.lake.ask("GET", f"/repositories/{self.bucket}/branches").json["results"]
        return ([r["id"] for r in repositories if r["id"] == self.bucket or "bad" in r["id"]], branches,
                self.lake.uncommitted(self.bucket, "main"), self.lake.list(self.bucket, "main"))

    def refused(self, status, method, path, /, **more):
        answer = self.lake.rest(method, path, **more)
        self.assertEqual(answer.status, status, f"{method} {path} {more}: {answer}")
        self.assertEqual(answer.headers["content-type"].split(";")[0], "application/json")
        self.assertTrue(answer.json["message"])

    def test_rest(self):
        """Unknown names, malformed JSON, names that are not allowed, missing and wrong credentials over REST."""
        here = f"/repositories/{self.bucket}"
        self.refused(404, "GET", "/repositories/bad-unknown")
        self.refused(404, "GET", "/repositories/bad-unknown/refs/main/objects", path="there")
        self.refused(404, "GET", f"{here}/branches/unknown")
        self.refused(404, "GET", f"{here}/refs/unknown/objects", path="there")
        self.refused(404, "GET", f"{here}/refs/main/objects", path="unknown")
        self.refused(404, "GET", f"{here}/refs/main~9/objects", path="there")
        self.refused(404, "GET", f"{here}/refs/unknown/commits")
        self.refused(404, "POST", f"{here}/branches/unknown/objects", body=b"x", path="x")
        self.refused(404, "POST", f"{here}/branches/unknown/commits", json_body={"message": "x"})
        self.refused(404, "POST", f"{here}/refs/unknown/merge/main", json_body={})
        self.refused(404, "GET", "/no/such/call")

        is_json = {"Content-Type": "application/json"}
        for body in (b'{"message": ', b"not json", b'["message"]', b'{"message": 5}', b"{}", b""):
            self.refused(400, "POST", f"{here}/branches/main/commits", body=body, headers=is_json)
        self.refused(400, "POST", "/repositories", body=b'{"name": "bad-json"', headers=is_json)
        self.refused(400, "POST", "/repositories", json_body={"name": "bad-no-namespace"})
        for name in ("UPPER-bad", "a", "", "bad_underscore", "-bad", "bad/slash", "bad" * 30):
            self.refused(400, "POST", "/repositories", json_body={"name": name, "storage_namespace": "local://bad"})
        for name in ("bad name", "bad/name", "-bad", "bad~1", ""):
            self.refused(400, "POST", f"{here}/branches", json_body={"name": name, "source": "main"})
        self.refused(409, "POST", "/repositories", json_body={"name": self.bucket, "storage_namespace": "local://bad-other"})
        self.refused(409, "POST", f"{here}/branches", json_body={"name": "main", "source": "main"})
        self.refused(400, "POST", f"{here}/branches/main/objects", body=b"x")  # no path

        key, secret = self.lake.keys
        for keys in (None, (key, "wrong" + secret), ("AKIAJNOBODYNOBODY00Q", secret)):
            self.refused(401, "GET", f"{here}/refs/main/objects", path="there", keys=keys)
            self.refused(401, "POST", f"{here}/branches/main/objects", body=b"x", path="x", keys=keys)

    def test_s3(self):
        """Unknown names, wrong and missing signatures, malformed XML over S3."""
        bucket, get, put = self.bucket, self.s3.get_object, self.s3.put_object
        self.assert_s3_error(404, "NoSuchBucket", get, Bucket="bad-unknown", Key="main/there")
        self.assert_s3_error(404, "NoSuchBucket", self.s3.list_objects_v2, Bucket="bad-unknown")
        self.assert_s3_error(404, "NoSuchKey", get, Bucket=bucket, Key="unknown/there")
        self.assert_s3_error(404, "NoSuchKey", get, Bucket=bucket, Key="main/unknown")
        self.assert_s3_error(404, "NoSuchBucket", put, Bucket=bucket, Key="unknown/x", Body=b"x")
        self.assert_s3_error(404, "NoSuchBucket", put, Bucket="bad-unknown", Key="main/x", Body=b"x")
        self.assert_s3_error(404, "NoSuchUpload", self.s3.upload_part, Bucket=bucket, Key="main/x", Body=b"x",
                             UploadId="0123456789abcdef0123456789abcdef", PartNumber=1)

        key, secret = self.lake.keys
        wrong = s3_client(self.lake, keys=(key, "wrong" + secret))
        self.assert_s3_error(403, "SignatureDoesNotMatch", wrong.get_object, Bucket=bucket, Key="main/there")
        self.assert_s3_error(403, "SignatureDoesNotMatch", wrong.put_object, Bucket=bucket, Key="main/x", Body=b"x")
        self.assert_s3_error(403, "SignatureDoesNotMatch", wrong.list_objects_v2, Bucket=bucket)
        nobody = s3_client(self.lake, keys=("AKIAJNOBODYNOBODY00Q", secret))
        self.assert_s3_error(403, "AccessDenied", nobody.get_object, Bucket=bucket, Key="main/there")
        unsigned = s3_client(self.lake, signature=botocore.UNSIGNED)
        self.assert_s3_error(403, "AccessDenied", unsigned.get_object, Bucket=bucket, Key="main/there")
        self.assert_s3_error(403, "AccessDenied", unsigned.put_object, Bucket=bucket, Key="main/x", Body=b"x")

        for body in (b"<Delete><Object><Key>main/there</Key></Object>", b"not xml", b"<Other/>"):
            self.assertEqual(self.signed_post(f"{bucket}?delete=", body), (400, "MalformedXML"), body)
        upload = self.s3.create_multipart_upload(Bucket=bucket, Key="main/x")["UploadId"]
        target = f"{bucket}/main/x?uploadId={upload}"
        self.assertEqual(self.signed_post(target, b"<CompleteMultipartUpload><Part>"), (400, "MalformedXML"))
        self.s3.abort_multipart_upload(Bucket=bucket, Key="main/x", UploadId=upload)

    def signed_post(self, target, body):
        """A signed POST of bytes that boto3 would not send: status and S3 error code."""
        request = botocore.awsrequest.AWSRequest("POST", f"{self.lake.endpoint}/{target}", data=body)
        botocore.auth.S3SigV4Auth(botocore.credentials.Credentials(*self.lake.keys), "s3", "us-east-1").add_auth(request)
        try:
            with urllib.request.urlopen(urllib.request.Request(
                    request.url, data=body, method="POST", headers=dict(request.headers.items()))) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, xml.etree.ElementTree.fromstring(error.read()).findtext("{*}Code")

    def refused_command(self, *arguments, naming):
        """The command fails with exit status 1 and says something with `naming` in it."""
        done = self.lake.run(*arguments)
        self.assertEqual(done.returncode, 1, f"{arguments}: {done.stdout}{done.stderr}")
        self.assertIn(str(naming), done.stderr)

    def test_mounts(self):
        """Mount points that are not empty, mounted already or no folder; refs and repositories that are not there."""
        full, place, file = self.scratch / "full", self.scratch / "place", self.scratch / "file"
        full.mkdir()
        place.mkdir()
        file.write_text("a file")
        (full / "something").write_text("mine")
        uri = f"lakefs://{self.bucket}/main"
        self.refused_command("mount", uri, full, naming=full)
        self.assertEqual(os.listdir(full), ["something"])
        self.refused_command("mount", uri, file, naming=file)
        self.refused_command("mount", f"lakefs://{self.bucket}/unknown", place, naming="unknown")
        self.refused_command("mount", "lakefs://bad-unknown/main", place, naming="bad-unknown")
        self.refused_command("umount", place, naming=place)
        self.assertFalse(is_mounted(place))
        mounted = self.mount(self.bucket)
        self.refused_command("mount", uri, mounted, naming=mounted)
        self.assertEqual(os.listdir(mounted), ["there"])

    def refused_server(self, *arguments, naming):
        """`lakefuse run` ends at once with exit status 1 and one line on standard error."""
        done = subprocess.run([BINARY, "run", *map(str, arguments)], capture_output=True, text=True, timeout=20,
                              env=self.lake.server_environment())
        self.assertEqual((done.returncode, done.stdout), (1, ""), done.stderr)
        self.assertEqual(len(done.stderr.strip().splitlines()), 1, done.stderr)
        self.assertIn(str(naming), done.stderr)

    def test_servers(self):
        """A port in use, a data folder that another server holds, one of a newer version."""
        self.refused_server("--data", self.scratch / "data", "--listen", f"127.0.0.1:{self.lake.port}", naming=self.lake.port)
        self.refused_server("--data", self.lake.data, "--listen", "127.0.0.1:0", naming=self.lake.data)
        newer = self.scratch / "newer"
        newer.mkdir()
        (newer / "format").write_text("99\n")
        self.refused_server("--data", newer, "--listen", "127.0.0.1:0", naming="newer")
        self.assertEqual(sorted(path.name for path in newer.iterdir()), ["format", "lock"])

    def test_usage(self):
        """Unknown flags, commands and addresses; a server that does not answer."""
        self.refused_command("run", "--no-such-flag", naming="--no-such-flag")
        self.refused_command("repo", "list", "--no-such-flag", naming="--no-such-flag")
        self.refused_command("no-such-command", naming="no-such-command")
        self.refused_command("fs", "cat", "not-an-address", naming="URI")
        self.refused_command("commit", f"lakefs://{self.bucket}/unknown", "-m", "x", naming="not found")
        nowhere = self.lake.run("repo", "list", environment={
            "LAKECTL_SERVER_ENDPOINT_URL": "http://127.0.0.1:1", "LAKECTL_CREDENTIALS_ACCESS_KEY_ID": "x",
            "LAKECTL_CREDENTIALS_SECRET_ACCESS_KEY": "x"})
        self.assertEqual(nowhere.returncode, 1)
        self.assertIn("127.0.0.1:1", nowhere.stderr)
        for arguments in (("--help",), ("run", "--help"), ("mount", "--help"), ("fs", "upload", "--help")):
            self.assertIn("Usage", self.lake.command(*arguments))
