#!/usr/bin/env python3
"""Drives blob_double.py with Microsoft's azure-storage-blob: venv/bin/python -m unittest -v test_blob_double."""

import base64
import http.client
import json
import os
import subprocess
import sys
import tempfile
import time
import unittest
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from urllib.parse import quote, urlsplit

from azure.core import MatchConditions
from azure.core.credentials import AccessToken
from azure.core.exceptions import (ClientAuthenticationError, HttpResponseError, ResourceExistsError,
                                   ResourceModifiedError, ResourceNotFoundError, ServiceRequestError,
                                   ServiceResponseError)
from azure.storage.blob import (BlobBlock, BlobPrefix, BlobServiceClient, ContentSettings, StandardBlobTier,
                                generate_blob_sas, generate_container_sas)

import blob_double

HERE = os.path.dirname(os.path.abspath(__file__))
ACCOUNT = "lakeaccount"
KEY = base64.b64encode(os.urandom(64)).decode()
TOKEN = "fake-aad-token"
CREDENTIAL = {"account_name": ACCOUNT, "account_key": KEY}


def hence(**amount):
    """A moment from now, in UTC."""
    return datetime.now(timezone.utc) + timedelta(**amount)


class FakeCredential:
    """A TokenCredential that has the one token."""

    def get_token(self, *scopes, **options):
        """The token, for an hour."""
        return AccessToken(TOKEN, int(time.time()) + 3600)


def fetch(url, method="GET", headers=None, body=None):
    """A plain request, without the client: status, headers, body."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=10)
    connection.request(method, parts.path + ("?" + parts.query if parts.query else ""), body, headers or {})
    answer = connection.getresponse()
    result = answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
    connection.close()
    return result


class DoubleCase(unittest.TestCase):
    """Starts one double for the class, as a user would."""

    options = ("--imds",)
    scheme = "http"

    @classmethod
    def setUpClass(cls):
        """Start the double."""
        command = [sys.executable, os.path.join(HERE, "blob_double.py"), "--port", "0", "--account", ACCOUNT,
                   "--key", KEY, "--aad-token", TOKEN, *cls.options]
        cls.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        cls.port = int(cls.process.stdout.readline().split()[1])
        cls.root = f"{cls.scheme}://127.0.0.1:{cls.port}"
        cls.url = f"{cls.root}/{ACCOUNT}"
        cls.number = 0

    @classmethod
    def tearDownClass(cls):
        """Stop the double."""
        cls.process.terminate()
        cls.process.wait()
        cls.process.stdout.close()

    def client(self, credential=None, **options):
        """A client of the double; no retries unless asked for."""
        options = {"retry_total": 0} | options
        return BlobServiceClient(self.url, credential=credential or CREDENTIAL, **options)

    def container(self, credential=None, **options):
        """A new container."""
        type(self).number += 1
        container = self.client(credential, **options).get_container_client(f"test-{self.number}")
        container.create_container()
        return container

    def refused(self, code, status, call, *arguments, **options):
        """Check that a call of the client fails with an error code."""
        with self.assertRaises(HttpResponseError) as caught:
            call(*arguments, **options)
        self.assertEqual(caught.exception.status_code, status)
        self.assertEqual(caught.exception.error_code, code)
        return caught.exception


class ContainerTest(DoubleCase):
    """Containers and listings."""

    def test_containers(self):
        """Create, properties, metadata, list in pages, delete."""
        container = self.container()
        with self.assertRaises(ResourceExistsError):
            container.create_container()
        container.set_container_metadata({"team": "lake"})
        self.assertEqual(container.get_container_properties().metadata, {"team": "lake"})
        others = [self.container() for _ in range(3)]
        names = {item.container_name for item in (container, *others)}
        pages = list(self.client().list_containers("test-", include_metadata=True, results_per_page=2).by_page())
        pages = [list(page) for page in pages]
        self.assertTrue(all(len(page) <= 2 for page in pages))
        self.assertLessEqual(names, {item.name for page in pages for item in page})
        self.assertIn({"team": "lake"}, [item.metadata for page in pages for item in page])
        container.delete_container()
        self.refused("ContainerNotFound", 404, container.get_container_properties)
        self.refused("ContainerNotFound", 404, container.upload_blob, "a", b"x")
        self.refused("InvalidResourceName", 400, self.client().create_container, "No_Good")

    def test_list(self):
        """Prefix, delimiter, pages; names in byte order; names XML cannot hold."""
        container = self.container()
        names = ["a/1", "a/2", "a/b/3", "a/b/4", "b", "B", "a", "z & <ü> +%20?#", "\U0001f600", "\uff5e",
                 "odd\x01\ufffe"]
        for name in names:
            container.upload_blob(name, name.encode(), metadata={"Length": str(len(name))})
        ordered = sorted(names, key=str.encode)
        self.assertEqual([item.name for item in container.list_blobs()], ordered)
        undecoded = [quote(name) if "\ufffe" in name else name for name in ordered]
        self.assertEqual(list(container.list_blob_names(results_per_page=3)), undecoded)
        pages = [[item.name for item in page] for page in container.list_blobs(results_per_page=4).by_page()]
        self.assertEqual([len(page) for page in pages], [4, 4, 3])
        self.assertEqual(sum(pages, []), ordered)
        self.assertEqual([item.name for item in container.list_blobs("a/b")], ["a/b/3", "a/b/4"])
        for size in (1, 2, 100):
            walked = list(container.walk_blobs("a/", results_per_page=size))
            self.assertEqual(sorted(item.name for item in walked), ["a/1", "a/2", "a/b/"])
            self.assertEqual([item.name for item in walked if isinstance(item, BlobPrefix)], ["a/b/"])
        item = next(iter(container.list_blobs("b", include=["metadata"])))
        properties = container.get_blob_client("b").get_blob_properties()
        self.assertEqual((item.size, item.metadata, item.blob_type), (1, {"Length": "1"}, "BlockBlob"))
        self.assertEqual(f'"{item.etag}"', properties.etag)
        self.assertEqual(item.last_modified, properties.last_modified)
        self.assertEqual(item.content_settings.content_md5, properties.content_settings.content_md5)
        for name in names:
            self.assertEqual(container.download_blob(name).readall(), name.encode())
        self.refused("OutOfRangeQueryParameterValue", 400, list, container.list_blobs(results_per_page=-1))


class BlobTest(DoubleCase):
    """Writing and reading block blobs with the account key."""

    def test_small(self):
        """Upload, properties, download, metadata, delete."""
        blob = self.container().get_blob_client("dir/some file+ü.bin")
        settings = ContentSettings("text/plain", "identity", "de", content_disposition="inline",
                                   cache_control="no-cache")
        blob.upload_blob(b"hello", metadata={"One": "1", "two_b": "2", "two1": "3"}, content_settings=settings,
                         standard_blob_tier=StandardBlobTier.COOL)
        properties = blob.get_blob_properties()
        self.assertEqual(properties.size, 5)
        self.assertEqual(properties.metadata, {"One": "1", "two_b": "2", "two1": "3"})
        self.assertEqual(properties.blob_tier, "Cool")
        for name in ("content_type", "content_encoding", "content_language", "content_disposition", "cache_control"):
            self.assertEqual(properties.content_settings[name], settings[name])
        self.assertLess(abs((hence() - properties.creation_time).total_seconds()), 60)
        self.assertEqual(blob.download_blob().readall(), b"hello")
        blob.set_blob_metadata({"three": "3"})
        changed = blob.get_blob_properties()
        self.assertEqual(changed.metadata, {"three": "3"})
        self.assertNotEqual(changed.etag, properties.etag)
        self.assertEqual(changed.creation_time, properties.creation_time)
        blob.delete_blob()
        self.refused("BlobNotFound", 404, blob.delete_blob)
        self.refused("BlobNotFound", 404, blob.download_blob)
        self.assertFalse(blob.exists())

    def test_md5(self):
        """Content-MD5 that does not fit is refused; x-ms-range-get-content-md5 is answered."""
        blob = self.container().get_blob_client("a")
        blob.upload_blob(b"x" * 1000, validate_content=True)
        self.assertEqual(blob.download_blob(10, 20, validate_content=True).readall(), b"x" * 20)
        wrong = {"Content-MD5": blob_double.md5_of(b"other")}
        self.refused("Md5Mismatch", 400, blob.upload_blob, b"x", overwrite=True, headers=wrong)
        self.refused("Md5Mismatch", 400, blob.stage_block, "AAAA", b"x", headers=wrong)
        self.refused("InvalidMd5", 400, blob.upload_blob, b"x", overwrite=True, headers={"Content-MD5": "no"})

    def test_blocks(self):
        """Upload in blocks, in parallel, with metadata and settings on the list."""
        data = os.urandom(300_000)
        container = self.container(max_single_put_size=1000, max_block_size=16 * 1024)
        blob = container.upload_blob("big", data, max_concurrency=4, metadata={"a": "b"}, overwrite=True,
                                     content_settings=ContentSettings("application/x-lake"))
        properties = blob.get_blob_properties()
        self.assertEqual(properties.size, len(data))
        self.assertEqual(properties.metadata, {"a": "b"})
        self.assertEqual(properties.content_settings.content_type, "application/x-lake")
        self.assertEqual(blob.download_blob(max_concurrency=3).readall(), data)
        self.refused("BlobAlreadyExists", 409, blob.upload_blob, data)

    def test_block_lists(self):
        """Latest, Uncommitted, Committed, an unknown block; uncommitted blobs are not there."""
        blob = self.container().get_blob_client("a")
        for name, data in (("01", b"one"), ("02", b"two")):
            blob.stage_block(name, data)
        self.assertFalse(blob.exists())
        blob.commit_block_list([BlobBlock("01"), BlobBlock("02"), BlobBlock("01")])
        self.assertEqual(blob.download_blob().readall(), b"onetwoone")
        blob.stage_block("01", b"ONE")
        self.refused("InvalidBlockList", 400, blob.commit_block_list, [BlobBlock("03")])
        self.refused("InvalidBlobOrBlock", 400, blob.stage_block, "longer", b"x")
        listed = "<BlockList><Committed>{0}</Committed><Uncommitted>{0}</Uncommitted><Latest>{1}</Latest></BlockList>"
        names = [base64.b64encode(name).decode() for name in (b"01", b"02")]
        sas = generate_blob_sas(ACCOUNT, blob.container_name, "a", account_key=KEY, permission="w",
                                expiry=hence(hours=1))
        status = fetch(f"{blob.url}?comp=blocklist&{sas}", "PUT", body=listed.format(*names))[0]
        self.assertEqual(status, 201)
        self.assertEqual(blob.download_blob().readall(), b"oneONEtwo")
        blob.stage_block("09", b"x")
        blob.upload_blob(b"new", overwrite=True)
        self.refused("InvalidBlockList", 400, blob.commit_block_list, [BlobBlock("09")])

    def test_ranges(self):
        """Ranges, open ranges, 416, chunked downloads, an empty blob."""
        data = bytes(range(256)) * 40
        container = self.container(max_single_get_size=1000, max_chunk_get_size=700)
        blob = container.upload_blob("a", data)
        self.assertEqual(blob.download_blob().readall(), data)
        self.assertEqual(blob.download_blob(100, 50).readall(), data[100:150])
        self.assertEqual(blob.download_blob(10_000).readall(), data[10_000:])
        self.assertEqual(blob.download_blob(10_000, 10_000).readall(), data[10_000:])
        self.refused("InvalidRange", 416, blob.download_blob, len(data), 1)
        self.assertEqual(container.upload_blob("empty", b"").download_blob().readall(), b"")
        sas = generate_blob_sas(ACCOUNT, blob.container_name, "a", account_key=KEY, permission="r",
                                expiry=hence(hours=1))
        status, headers, body = fetch(f"{blob.url}?{sas}", headers={"Range": "bytes=5-9"})
        self.assertEqual((status, body, headers["content-range"]), (206, data[5:10], f"bytes 5-9/{len(data)}"))

    def test_conditions(self):
        """If-None-Match: *, If-Match, If-None-Match and dates."""
        blob = self.container().upload_blob("a", b"1")
        self.refused("BlobAlreadyExists", 409, blob.upload_blob, b"2")
        etag = blob.get_blob_properties().etag
        fits = {"etag": etag, "match_condition": MatchConditions.IfNotModified}
        blob.upload_blob(b"2", overwrite=True, **fits)
        with self.assertRaises(ResourceModifiedError):
            blob.upload_blob(b"3", overwrite=True, **fits)
        self.refused("ConditionNotMet", 412, blob.delete_blob, **fits)
        self.refused("ConditionNotMet", 412, blob.download_blob, **fits)
        now = blob.get_blob_properties()
        self.refused("ConditionNotMet", 304, blob.download_blob, etag=now.etag,
                     match_condition=MatchConditions.IfModified)
        self.refused("ConditionNotMet", 304, blob.download_blob, if_modified_since=now.last_modified)
        self.refused("ConditionNotMet", 412, blob.delete_blob, if_unmodified_since=hence(days=-1))
        self.assertEqual(blob.download_blob(if_unmodified_since=hence(days=1)).readall(), b"2")

    def test_copy(self):
        """Copy Blob, Copy Blob From URL, Put Blob From URL, Put Block From URL."""
        container = self.container()
        source = container.upload_blob("from/a b", b"content", metadata={"m": "1"},
                                       content_settings=ContentSettings("text/x-lake"))
        sas = generate_blob_sas(ACCOUNT, container.container_name, "from/a b", account_key=KEY, permission="r",
                                expiry=hence(hours=1))
        signed = f"{source.url}?{sas}"
        blob = container.get_blob_client("to")
        self.assertEqual(blob.start_copy_from_url(source.url)["copy_status"], "success")
        properties = blob.get_blob_properties()
        self.assertEqual((properties.metadata, properties.copy.status), ({"m": "1"}, "success"))
        self.assertEqual(properties.content_settings.content_type, "text/x-lake")
        self.assertEqual(blob.download_blob().readall(), b"content")
        self.assertEqual(blob.start_copy_from_url(signed, requires_sync=True)["copy_status"], "success")
        self.refused("CannotVerifyCopySource", 409, blob.start_copy_from_url, source.url, requires_sync=True)
        self.refused("CannotVerifyCopySource", 403, blob.start_copy_from_url, signed[:-3] + "x", requires_sync=True)
        self.refused("CannotVerifyCopySource", 404, blob.start_copy_from_url, source.url + "gone")
        self.refused("BlobAlreadyExists", 409, blob.start_copy_from_url, signed,
                     match_condition=MatchConditions.IfMissing)
        blob.upload_blob_from_url(signed, overwrite=True, metadata={"n": "2"})
        self.assertEqual(blob.get_blob_properties().metadata, {"n": "2"})
        self.refused("BlobAlreadyExists", 409, blob.upload_blob_from_url, signed)
        blob.stage_block_from_url("01", signed, source_offset=3, source_length=4)
        blob.stage_block("02", b"!")
        blob.commit_block_list([BlobBlock("02"), BlobBlock("01")])
        self.assertEqual(blob.download_blob().readall(), b"!tent")
        self.refused("SourceConditionNotMet", 412, blob.start_copy_from_url, source.url, source_etag='"0x1"',
                     source_match_condition=MatchConditions.IfNotModified)
        bearer = f"Bearer {TOKEN}"
        blob.upload_blob_from_url(source.url, overwrite=True, source_authorization=bearer)
        self.assertEqual(blob.download_blob().readall(), b"content")


class AuthenticationTest(DoubleCase):
    """Shared Key refused, service SAS, faults, counts, the token endpoint."""

    def sas(self, blob, **options):
        """A blob SAS of the client library."""
        options = {"account_key": KEY, "permission": "r", "expiry": hence(hours=1)} | options
        return generate_blob_sas(ACCOUNT, blob.container_name, blob.blob_name, **options)

    def code(self, url, **options):
        """Status and error code of a plain request."""
        status, headers, _ = fetch(url, **options)
        return status, headers.get("x-ms-error-code")

    def test_wrong_key(self):
        """A wrong key, a wrong account, no authentication, an old date."""
        wrong = {"account_name": ACCOUNT, "account_key": base64.b64encode(b"wrong").decode()}
        client = self.client(wrong)
        with self.assertRaises(ClientAuthenticationError):
            client.create_container("never")
        self.refused("AuthenticationFailed", 403, list, client.list_containers())
        self.refused("AuthenticationFailed", 403, list, self.client({**CREDENTIAL, "account_name": "x"})
                     .list_containers())
        self.assertEqual(self.code(f"{self.url}?comp=list"), (401, "NoAuthenticationInformation"))
        self.assertEqual(self.shared_key("/?comp=list"), (200, None))
        self.assertEqual(self.shared_key("/?comp=list", minutes=-14), (200, None))
        self.assertEqual(self.shared_key("/?comp=list", minutes=-16), (403, "AuthenticationFailed"))
        self.assertEqual(self.shared_key("/?comp=list", minutes=16), (403, "AuthenticationFailed"))

    def shared_key(self, target, minutes=0, host=None):
        """Status and error code of a plain Shared Key request."""
        path, _, query = (target if host else f"/{ACCOUNT}{target}").partition("?")
        headers = {"x-ms-date": format_datetime(hence(minutes=minutes), usegmt=True), "x-ms-version": "2022-11-02"}
        request = blob_double.Request("GET", path, blob_double.parse_query(query), headers)
        signature = blob_double.sign(KEY, blob_double.shared_key_string_to_sign(ACCOUNT, request))
        headers["Authorization"] = f"SharedKey {ACCOUNT}:{signature}"
        headers |= {"Host": host} if host else {}
        return self.code(f"{self.root}{path}?{query}", headers=headers)

    def test_host_style(self):
        """The account in the Host header."""
        self.assertEqual(self.shared_key("/?comp=list", host=f"{ACCOUNT}.blob.localhost"), (200, None))

    def test_published_strings(self):
        """The string to sign of the page "Authorize with Shared Key", its example of Get Container Metadata."""
        headers = {"x-ms-date": "Fri, 26 Jun 2015 23:39:12 GMT", "x-ms-version": "2015-02-21"}
        query = blob_double.parse_query("restype=container&comp=metadata&timeout=20")
        text = blob_double.shared_key_string_to_sign(
            "myaccount", blob_double.Request("GET", "/mycontainer", query, headers))
        self.assertEqual(text, "GET\n\n\n\n\n\n\n\n\n\n\n\nx-ms-date:Fri, 26 Jun 2015 23:39:12 GMT\n"
                               "x-ms-version:2015-02-21\n/myaccount/mycontainer\ncomp:metadata\n"
                               "restype:container\ntimeout:20")

    def test_blob_sas(self):
        """Service SAS for a blob: reading, response headers, permissions, times, protocol, address, other blob."""
        container = self.container()
        blob = container.upload_blob("a b/ü+c", b"secret")
        other = container.upload_blob("other", b"other")
        sas = self.sas(blob, content_type="text/x-rsct", content_disposition='attachment; filename="x"',
                       cache_control="rscc", content_encoding="rsce", content_language="rscl", start=hence(hours=-1),
                       protocol="https,http", ip="127.0.0.1-127.0.0.9")
        status, headers, body = fetch(f"{blob.url}?{sas}")
        self.assertEqual((status, body, headers["content-type"]), (200, b"secret", "text/x-rsct"))
        self.assertEqual(headers["content-disposition"], 'attachment; filename="x"')
        self.assertEqual(self.code(f"{other.url}?{sas}"), (403, "AuthenticationFailed"))
        self.assertEqual(self.code(f"{blob.url}?{sas.replace('sp=r', 'sp=rw')}"), (403, "AuthenticationFailed"))
        self.assertEqual(self.code(f"{blob.url}?{sas}", method="DELETE"), (403, "AuthorizationPermissionMismatch"))
        refusals = {"AuthenticationFailed": ({"expiry": hence(seconds=-1)}, {"start": hence(minutes=1)},
                                             {"account_key": "AAAA"}),
                    "AuthorizationProtocolMismatch": ({"protocol": "https"},),
                    "AuthorizationSourceIPMismatch": ({"ip": "10.0.0.1"},)}
        for code, cases in refusals.items():
            for options in cases:
                with self.subTest(options=options):
                    self.assertEqual(self.code(f"{blob.url}?{self.sas(blob, **options)}"), (403, code))

    def test_write_sas(self):
        """Create writes new blobs only, write also overwrites, delete deletes."""
        blob = self.container().get_blob_client("new")
        put = {"method": "PUT", "body": b"1", "headers": {"x-ms-blob-type": "BlockBlob"}}
        create = f"{blob.url}?{self.sas(blob, permission='c')}"
        self.assertEqual(self.code(create, **put), (201, None))
        self.assertEqual(self.code(create, **put), (403, "UnauthorizedBlobOverwrite"))
        self.assertEqual(self.code(f"{blob.url}?{self.sas(blob, permission='w')}", **put), (201, None))
        self.assertEqual(self.code(f"{blob.url}?{self.sas(blob, permission='d')}", method="DELETE"), (202, None))

    def test_container_sas(self):
        """Service SAS for a container: list and read, not delete the container."""
        container = self.container()
        container.upload_blob("a", b"1")
        sas = generate_container_sas(ACCOUNT, container.container_name, account_key=KEY, permission="rl",
                                     expiry=hence(hours=1))
        reader = BlobServiceClient(f"{self.url}?{sas}", retry_total=0).get_container_client(container.container_name)
        self.assertEqual(list(reader.list_blob_names()), ["a"])
        self.assertEqual(reader.download_blob("a").readall(), b"1")
        self.refused("AuthorizationPermissionMismatch", 403, reader.upload_blob, "b", b"2")
        self.refused("AuthorizationPermissionMismatch", 403, reader.delete_container)

    def test_sas_versions(self):
        """The older formats of the string to sign, sv 2018-11-09 and 2022-11-02, signed as the page has them."""
        blob = self.container().upload_blob("a", b"1")
        for version, empty in (("2018-11-09", 1), ("2022-11-02", 2)):
            expiry = hence(hours=1).strftime("%Y-%m-%dT%H:%M:%SZ")
            lines = ["r", "", expiry, f"/blob/{ACCOUNT}/{blob.container_name}/a", "", "", "", version, "b"]
            signature = blob_double.sign(KEY, "\n".join(lines + [""] * (empty + 5)))
            url = f"{blob.url}?sp=r&se={quote(expiry)}&sv={version}&sr=b&sig={quote(signature, safe='')}"
            self.assertEqual(self.code(url), (200, None), version)

    def inject(self, **fault):
        """Queue a fault."""
        self.assertEqual(fetch(f"{self.root}/__faults", "POST", body=json.dumps(fault))[0], 204)

    def count(self, method, comp=""):
        """How many requests there were."""
        rows = json.loads(fetch(f"{self.root}/__requests")[2])
        return sum(row["count"] for row in rows if (row["method"], row["comp"]) == (method, comp))

    def test_faults(self):
        """Statuses, dropped connections, filters, counts; the client's retries."""
        container = self.container()
        patient = self.client(retry_total=3, initial_backoff=0.01, increment_base=1, random_jitter_range=0)
        patient = patient.get_container_client(container.container_name)
        before = self.count("PUT")
        self.inject(status=503, count=2, method="PUT")
        patient.upload_blob("a", b"1")
        self.assertEqual(self.count("PUT"), before + 3)
        for status, code in ((500, "InternalError"), (503, "ServerBusy"), (429, "TooManyRequests")):
            self.inject(status=status)
            self.refused(code, status, container.get_blob_client("a").get_blob_properties)
        self.inject(drop=True, method="PUT")
        with self.assertRaises((ServiceRequestError, ServiceResponseError)):
            container.upload_blob("dropped", b"1")
        self.assertFalse(container.get_blob_client("dropped").exists())
        self.inject(drop_after=True, method="PUT")
        with self.assertRaises((ServiceRequestError, ServiceResponseError)):
            container.upload_blob("done", b"1")
        self.assertTrue(container.get_blob_client("done").exists())
        self.inject(drop_after=True, method="PUT")
        self.refused("BlobAlreadyExists", 409, patient.upload_blob, "twice", b"1")
        self.inject(status=503, count=9, comp="list")
        self.assertEqual(container.download_blob("a").readall(), b"1")
        self.inject()
        self.assertEqual(len(list(container.list_blobs())), 3)

    def test_imds(self):
        """The token endpoint."""
        url = (f"{self.root}/metadata/identity/oauth2/token?api-version=2018-02-01"
               "&resource=https%3A%2F%2Fstorage.azure.com%2F")
        status, _, body = fetch(url, headers={"Metadata": "true"})
        token = json.loads(body)
        self.assertEqual((status, token["access_token"], token["token_type"]), (200, TOKEN, "Bearer"))
        self.assertEqual(token["resource"], "https://storage.azure.com/")
        self.assertGreater(int(token["expires_on"]), time.time())
        self.assertEqual(fetch(url)[0], 400)


class BearerTest(DoubleCase):
    """Bearer tokens and user delegation over https, which the client insists on."""

    scheme = "https"

    @classmethod
    def setUpClass(cls):
        """Make a certificate and start the double with it."""
        cls.directory = tempfile.TemporaryDirectory()
        cls.certificate, key_file = (os.path.join(cls.directory.name, name) for name in ("cert.pem", "key.pem"))
        subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj",
                        "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key_file, "-out",
                        cls.certificate], check=True, capture_output=True)
        cls.options = ("--cert", cls.certificate, "--key-file", key_file)
        super().setUpClass()

    @classmethod
    def tearDownClass(cls):
        """Remove the certificate."""
        super().tearDownClass()
        cls.directory.cleanup()

    def client(self, credential=None, **options):
        """A client that trusts the certificate."""
        return super().client(credential or FakeCredential(), connection_verify=self.certificate, **options)

    def test_bearer(self):
        """A token credential works; a wrong token and a key for a delegation key do not."""
        blob = self.container().upload_blob("a", b"1")
        self.assertEqual(blob.download_blob().readall(), b"1")
        wrong = FakeCredential()
        wrong.get_token = lambda *scopes, **options: AccessToken("wrong", int(time.time()) + 3600)
        self.refused("InvalidAuthenticationInfo", 401, list, self.client(wrong).list_containers())
        self.refused("AuthenticationFailed", 403, self.client(CREDENTIAL).get_user_delegation_key, hence(),
                     hence(hours=1))
        self.refused("InvalidXmlNodeValue", 400, self.client().get_user_delegation_key, hence(), hence(days=8))

    def reader(self, blob, sas):
        """A client that has nothing but a SAS."""
        service = BlobServiceClient(f"{self.url}?{sas}", connection_verify=self.certificate, retry_total=0)
        return service.get_blob_client(blob.container_name, blob.blob_name)

    def test_user_delegation(self):
        """A user delegation SAS for a blob and a container; refused when expired, altered or for another blob."""
        container = self.container()
        blob, other = container.upload_blob("d/a b", b"1"), container.upload_blob("other", b"2")
        key = self.client().get_user_delegation_key(hence(minutes=-5), hence(hours=1))
        self.assertEqual(key.signed_service, "b")

        def sas(**options):
            options = {"permission": "r", "expiry": hence(minutes=30), "user_delegation_key": key} | options
            return generate_blob_sas(ACCOUNT, container.container_name, blob.blob_name, **options)

        self.assertEqual(self.reader(blob, sas()).download_blob().readall(), b"1")
        rich = sas(content_type="text/x-rsct", start=hence(minutes=-1), protocol="https")
        self.assertEqual(self.reader(blob, rich).get_blob_properties().content_settings.content_type, "text/x-rsct")
        self.refused("AuthenticationFailed", 403, self.reader(other, sas()).download_blob)
        self.refused("AuthenticationFailed", 403, self.reader(blob, sas(expiry=hence(minutes=-1))).download_blob)
        self.refused("AuthorizationPermissionMismatch", 403, self.reader(blob, sas()).delete_blob)
        bound = self.reader(blob, sas(request_headers={"x-ms-meta-who": "me"}))
        self.assertEqual(bound.download_blob(headers={"x-ms-meta-who": "me"}).readall(), b"1")
        self.refused("AuthenticationFailed", 403, bound.download_blob)
        whole = generate_container_sas(ACCOUNT, container.container_name, user_delegation_key=key, permission="rl",
                                       expiry=hence(minutes=30))
        self.assertEqual(self.reader(other, whole).download_blob().readall(), b"2")
        key.signed_expiry = "2099-01-01T00:00:00Z"
        self.refused("AuthenticationFailed", 403, self.reader(blob, sas()).download_blob)
        with self.assertRaises(ResourceNotFoundError):
            self.reader(container.get_blob_client("none"), whole).download_blob()

    def test_delegation_versions(self):
        """Older formats of the string to sign of a user delegation SAS, signed as the page has them."""
        blob = self.container().upload_blob("a", b"1")
        key = self.client().get_user_delegation_key(hence(minutes=-5), hence(hours=1))
        fields = {"skoid": key.signed_oid, "sktid": key.signed_tid, "skt": key.signed_start, "ske": key.signed_expiry,
                  "sks": key.signed_service, "skv": key.signed_version}
        expiry = hence(minutes=30).strftime("%Y-%m-%dT%H:%M:%SZ")
        for version, delegates, scope in (("2018-11-09", 0, 1), ("2020-02-10", 3, 1), ("2022-11-02", 3, 2),
                                          ("2025-07-05", 5, 2), ("2026-04-06", 5, 4)):
            lines = ["r", "", expiry, f"/blob/{ACCOUNT}/{blob.container_name}/a", *fields.values()]
            lines += [""] * delegates + ["", "https", version, "b"] + [""] * (scope + 5)
            query = {"sp": "r", "se": expiry, "spr": "https", "sv": version, "sr": "b", **fields,
                     "sig": blob_double.sign(key.value, "\n".join(lines))}
            sas = "&".join(f"{name}={quote(value, safe='')}" for name, value in query.items())
            self.assertEqual(self.reader(blob, sas).download_blob().readall(), b"1", version)


if __name__ == "__main__":
    unittest.main()
