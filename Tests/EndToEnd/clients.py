"""What every test case shares: the lake, a repository of its own, mounts, and clients from PyPI."""
import os
import pathlib
import re
import shutil
import subprocess
import sys
import unittest

import boto3
import botocore.config
import lakefs_sdk
import pyarrow.fs

from lake import Lake, is_mounted


def s3_client(lake, keys=None, signature="s3v4"):
    """A boto3 client that tells every error: no second tries."""
    key, secret = keys or lake.keys
    return boto3.client("s3", endpoint_url=lake.endpoint, aws_access_key_id=key, aws_secret_access_key=secret,
                        region_name="us-east-1", config=botocore.config.Config(
                            s3={"addressing_style": "path"}, signature_version=signature, connect_timeout=5,
                            read_timeout=60, max_pool_connections=16, retries={"total_max_attempts": 1}))


def read_file(path):
    """A file's bytes, read in pieces without a buffer, as `cat` does."""
    with open(path, "rb", buffering=0) as file:
        return b"".join(iter(lambda: file.read(65536), b""))


def write_file(path, body):
    """Rewrites a file in place and closes it."""
    with open(path, "wb", buffering=0) as file:
        view = memoryview(body)
        while view:
            view = view[file.write(view[:65536]):]


def files_below(folder):
    """Relative paths of all regular files."""
    return {str(path.relative_to(folder)) for path in pathlib.Path(folder).rglob("*") if path.is_file()}


class LakeTest(unittest.TestCase):
    """`lake` and `folder` are set by end_to_end.py before any test runs."""
    lake: Lake
    folder: pathlib.Path
    maxDiff = 20_000

    def setUp(self):
        if self.lake.process.poll() is not None:
            self.lake.start()  # An earlier test has told that the server fell over; give this one its chance.
        self.s3 = s3_client(self.lake)
        self.scratch = self.folder / "scratch" / self.name()
        self.scratch.mkdir(parents=True)
        self.addCleanup(shutil.rmtree, self.scratch, ignore_errors=True)

    def name(self):
        return "e2e-" + re.sub(r"[^a-z0-9]+", "-", self.id().split(".test_")[-1].lower())

    def repository(self):
        """A new repository named after the test."""
        return self.lake.create_repository(self.name())

    def mount(self, repository, ref="main", label=None):
        """A mount of `ref` until the test ends."""
        where = self.folder / "mounts" / f"{repository}-{label or ref}"
        self.lake.mount(f"lakefs://{repository}/{ref}", where)
        self.addCleanup(self.unmount_if_mounted, where)
        return where

    def unmount_if_mounted(self, where):
        if is_mounted(where):
            self.lake.unmount(where)

    def sdk(self):
        """The API client of lakefs-sdk."""
        return lakefs_sdk.ApiClient(lakefs_sdk.Configuration(
            host=f"{self.lake.endpoint}/api/v1", username=self.lake.keys[0], password=self.lake.keys[1]))

    def pyarrow_s3(self):
        return pyarrow.fs.S3FileSystem(access_key=self.lake.keys[0], secret_key=self.lake.keys[1], scheme="http",
                                       endpoint_override=f"127.0.0.1:{self.lake.port}", region="us-east-1")

    def aws(self, *arguments):
        """The venv's aws-cli."""
        done = subprocess.run(
            [pathlib.Path(sys.executable).parent / "aws", *map(str, arguments), "--endpoint-url", self.lake.endpoint],
            capture_output=True, text=True, timeout=60, env={
                "PATH": os.environ["PATH"], "HOME": str(self.scratch), "AWS_DEFAULT_REGION": "us-east-1",
                "AWS_ACCESS_KEY_ID": self.lake.keys[0], "AWS_SECRET_ACCESS_KEY": self.lake.keys[1],
                "AWS_MAX_ATTEMPTS": "1", "AWS_EC2_METADATA_DISABLED": "true"})
        self.assertEqual(done.returncode, 0, f"aws {arguments}: {done.stdout}{done.stderr}")
        return done.stdout

    def curl(self, repository, ref, path, *options):
        """An object by curl over REST."""
        done = subprocess.run(
            ["curl", "-sS", "--fail-with-body", "-u", ":".join(self.lake.keys), *options, "-G", "--data-urlencode",
             f"path={path}", f"{self.lake.endpoint}/api/v1/repositories/{repository}/refs/{ref}/objects"],
            capture_output=True, timeout=60)
        self.assertEqual(done.returncode, 0, f"curl {path}: {done.stdout[:300]} {done.stderr}")
        return done.stdout

    def s3_get(self, repository, key, **more):
        return self.s3.get_object(Bucket=repository, Key=key, **more)["Body"].read()

    def s3_put(self, repository, key, body, **more):
        return self.s3.put_object(Bucket=repository, Key=key, Body=body, **more)

    def s3_keys(self, repository, prefix):
        """All keys under a prefix, by list-objects-v2."""
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=repository, Prefix=prefix)
        return [entry["Key"] for page in pages for entry in page.get("Contents", ())]

    def assert_s3_error(self, status, code, call, **arguments):
        with self.assertRaises(self.s3.exceptions.ClientError) as raised:
            call(**arguments)
        answer = raised.exception.response
        self.assertEqual((answer["ResponseMetadata"]["HTTPStatusCode"], answer["Error"]["Code"]), (status, code))
        self.assertTrue(answer["Error"]["Message"])

    def assert_errno(self, number, call, *arguments, **more):
        with self.assertRaises(OSError) as raised:
            call(*arguments, **more)
        self.assertEqual(os.strerror(raised.exception.errno), os.strerror(number), call)
