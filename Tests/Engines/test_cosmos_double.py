"""Drives cosmos_double.py with Microsoft's azure-cosmos client, and with raw requests for what the client hides."""
import base64
import collections
import hashlib
import hmac
import http.client
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
import unittest
import urllib.parse
from email.utils import formatdate

import urllib3
from azure.core import MatchConditions
from azure.core.exceptions import ServiceRequestError, ServiceResponseError
from azure.cosmos import CosmosClient, PartitionKey, exceptions

HERE = os.path.dirname(os.path.abspath(__file__))
KEY = base64.b64encode(b"a key of the cosmos double").decode()
AAD_TOKEN = "header.payload.signature"
AccessToken = collections.namedtuple("AccessToken", "token expires_on")


class FakeCredential:
    """A TokenCredential that always has the same token."""

    def __init__(self, token):
        self.token = token

    def get_token(self, *_scopes, **_options):
        return AccessToken(self.token, int(time.time()) + 3600)


class Double:
    """A running double."""

    def __init__(self, *arguments):
        command = [sys.executable, os.path.join(HERE, "cosmos_double.py"), "--port", "0", "--key", KEY, *arguments]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.port = int(self.process.stdout.readline().split()[1])
        self.scheme = "https" if "--cert" in arguments else "http"
        self.url = f"{self.scheme}://127.0.0.1:{self.port}/"

    def stop(self):
        self.process.terminate()
        self.process.wait()
        self.process.stdout.close()

    def client(self, credential=KEY, **options):
        return CosmosClient(self.url, credential, **options)

    def raw(self, method, path, body=None, headers=None):
        """One request as it is given: (status, headers, parsed body)."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port)
        data = None if body is None else json.dumps(body).encode()
        connection.request(method, path, data, headers or {})
        response = connection.getresponse()
        text = response.read()
        connection.close()
        return response.status, response.headers, json.loads(text) if text else None

    def signed(self, method, path, body=None, headers=None, date=None):
        """One request with a master-key signature."""
        return self.raw(method, path, body, {**sign(method, path, date), **(headers or {})})

    def counts(self):
        answer = self.raw("GET", "/__requests")[2]
        return {(item["method"], item["kind"]): item["count"] for item in answer}


def sign(method, path, date=None, key=KEY):
    """The headers of "Access control in the Azure Cosmos DB SQL API"."""
    date = date or formatdate(usegmt=True)
    parts = [urllib.parse.unquote(part) for part in path.strip("/").split("/") if part]
    resource_type = parts[-1] if len(parts) % 2 else (parts[-2] if parts else "")
    link = "/".join(parts[:-1] if len(parts) % 2 else parts)
    text = f"{method.lower()}\n{resource_type}\n{link}\n{date.lower()}\n\n"
    digest = hmac.new(base64.b64decode(key), text.encode(), hashlib.sha256).digest()
    token = "type=master&ver=1.0&sig=" + base64.b64encode(digest).decode()
    return {"authorization": urllib.parse.quote(token, safe=""), "x-ms-date": date, "x-ms-version": "2018-12-31"}


class DoubleCase(unittest.TestCase):
    """A double with a database and a container for each test."""

    arguments = ()

    def setUp(self):
        self.double = Double(*self.arguments)
        self.addCleanup(self.double.stop)
        self.client = self.double.client()
        database = self.client.create_database_if_not_exists("lake")
        self.container = database.create_container_if_not_exists(
            "kv", PartitionKey("/partitionKey"),
            indexing_policy={"automatic": True, "indexingMode": "consistent", "includedPaths": [{"path": "/key/?"}],
                             "excludedPaths": [{"path": "/*"}]},
            unique_key_policy={"uniqueKeys": [{"paths": ["/key"]}]})

    def item(self, key, value="v", partition="p"):
        return {"id": "id-" + key, "partitionKey": partition, "key": key, "value": value}

    def fill(self, keys, partition="p"):
        for key in keys:
            self.container.create_item(self.item(key, partition=partition))

    def query_headers(self, partition='["p"]', **more):
        headers = {"content-type": "application/query+json", "x-ms-documentdb-isquery": "True", **more}
        return {**headers, "x-ms-documentdb-partitionkey": partition} if partition else headers


class ItemTest(DoubleCase):
    """Points: databases, containers and single documents."""

    def test_database_and_container_if_not_exists(self):
        database = self.client.create_database_if_not_exists("lake")
        again = database.create_container_if_not_exists("kv", PartitionKey("/partitionKey"))
        properties = again.read()
        self.assertEqual(properties["partitionKey"]["paths"], ["/partitionKey"])
        self.assertEqual(properties["indexingPolicy"]["includedPaths"], [{"path": "/key/?"}])
        self.assertEqual(properties["uniqueKeyPolicy"]["uniqueKeys"], [{"paths": ["/key"]}])
        with self.assertRaises(exceptions.CosmosResourceExistsError):
            self.client.create_database("lake")
        with self.assertRaises(exceptions.CosmosResourceExistsError):
            database.create_container("kv", PartitionKey("/partitionKey"))
        with self.assertRaises(exceptions.CosmosResourceNotFoundError):
            self.client.get_database_client("none").read()
        with self.assertRaises(exceptions.CosmosResourceNotFoundError):
            database.get_container_client("none").read()

    def test_create_and_read(self):
        created = self.container.create_item(self.item("a"))
        self.assertEqual(created["value"], "v")
        self.assertEqual(self.container.read_item("id-a", "p")["_etag"], created["_etag"])
        with self.assertRaises(exceptions.CosmosResourceExistsError):
            self.container.create_item(self.item("a"))
        self.container.create_item(self.item("a", partition="q"))
        for name, partition in (("id-b", "p"), ("id-a", "r")):
            with self.assertRaises(exceptions.CosmosResourceNotFoundError):
                self.container.read_item(name, partition)

    def test_names_with_other_characters(self):
        self.container.create_item({"id": "a b+%é=", "partitionKey": "ключ \U0001f600", "key": "k", "value": "é"})
        self.assertEqual(self.container.read_item("a b+%é=", "ключ \U0001f600")["value"], "é")

    def test_unique_key(self):
        self.fill("a")
        with self.assertRaises(exceptions.CosmosResourceExistsError):
            self.container.create_item({**self.item("a"), "id": "other"})
        self.container.delete_item("id-a", "p")
        self.container.create_item({**self.item("a"), "id": "other"})

    def test_upsert_if_match(self):
        first = self.container.upsert_item(self.item("a", "1"))
        options = {"etag": first["_etag"], "match_condition": MatchConditions.IfNotModified}
        second = self.container.upsert_item(self.item("a", "2"), **options)
        self.assertNotEqual(first["_etag"], second["_etag"])
        with self.assertRaises(exceptions.CosmosAccessConditionFailedError):
            self.container.upsert_item(self.item("a", "3"), **options)
        self.assertEqual(self.container.read_item("id-a", "p")["value"], "2")
        self.assertEqual(self.container.upsert_item(self.item("new", "1"), **options)["value"], "1")

    def test_patch(self):
        operations = [{"op": "replace", "path": "/value", "value": "2"}]
        with self.assertRaises(exceptions.CosmosResourceNotFoundError):
            self.container.patch_item("id-a", "p", operations)
        first = self.container.create_item(self.item("a", "1"))
        options = {"etag": first["_etag"], "match_condition": MatchConditions.IfNotModified}
        self.assertEqual(self.container.patch_item("id-a", "p", operations, **options)["value"], "2")
        with self.assertRaises(exceptions.CosmosAccessConditionFailedError):
            self.container.patch_item("id-a", "p", operations, **options)
        patched = self.container.patch_item("id-a", "p", [
            {"op": "add", "path": "/list", "value": [1]}, {"op": "add", "path": "/list/-", "value": 3},
            {"op": "add", "path": "/list/1", "value": 2}, {"op": "set", "path": "/a~1b", "value": {}},
            {"op": "remove", "path": "/value"}])
        self.assertEqual((patched["list"], patched["a/b"]), ([1, 2, 3], {}))
        self.assertNotIn("value", patched)
        for refused in ({"op": "replace", "path": "/none", "value": 1}, {"op": "set", "path": "/id", "value": "x"},
                        {"op": "set", "path": "/partitionKey", "value": "x"}, {"op": "remove", "path": "/none"}):
            with self.assertRaises(exceptions.CosmosHttpResponseError) as caught:
                self.container.patch_item("id-a", "p", [{"op": "set", "path": "/value", "value": 9}, refused])
            self.assertEqual(caught.exception.status_code, 400)
        self.assertNotIn("value", self.container.read_item("id-a", "p"))

    def test_replace(self):
        first = self.container.create_item(self.item("a", "1"))
        options = {"etag": first["_etag"], "match_condition": MatchConditions.IfNotModified}
        self.assertEqual(self.container.replace_item("id-a", self.item("a", "2"), **options)["value"], "2")
        with self.assertRaises(exceptions.CosmosAccessConditionFailedError):
            self.container.replace_item("id-a", self.item("a", "3"), **options)
        with self.assertRaises(exceptions.CosmosResourceNotFoundError):
            self.container.replace_item("id-b", self.item("b"))

    def test_delete(self):
        first = self.container.create_item(self.item("a", "1"))
        second = self.container.upsert_item(self.item("a", "2"))
        options = {"match_condition": MatchConditions.IfNotModified}
        with self.assertRaises(exceptions.CosmosAccessConditionFailedError):
            self.container.delete_item("id-a", "p", etag=first["_etag"], **options)
        self.container.delete_item("id-a", "p", etag=second["_etag"], **options)
        with self.assertRaises(exceptions.CosmosResourceNotFoundError):
            self.container.delete_item("id-a", "p")

    def test_size_limit(self):
        self.container.create_item(self.item("a", "x" * (2 * 1024 * 1024 - 200)))
        with self.assertRaises(exceptions.CosmosHttpResponseError) as caught:
            self.container.create_item(self.item("b", "x" * (2 * 1024 * 1024)))
        self.assertEqual(caught.exception.status_code, 413)

    def test_one_of_many_conditional_writes_wins(self):
        first = self.container.create_item(self.item("a", "0"))
        results = []

        def write(number):
            try:
                self.container.patch_item("id-a", "p", [{"op": "replace", "path": "/value", "value": str(number)}],
                                          etag=first["_etag"], match_condition=MatchConditions.IfNotModified)
                results.append(number)
            except exceptions.CosmosAccessConditionFailedError:
                pass
        threads = [threading.Thread(target=write, args=(number,)) for number in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(len(results), 1)


class QueryTest(DoubleCase):
    """Queries of one partition and across partitions."""

    SCAN = "select * from c where c.key >= @start order by c.key"
    RANGE = "select * from c where c.key >= @start and c.key < @end order by c.key"

    def keys(self, query, *, start=None, end=None, **options):
        parameters = [{"name": name, "value": value} for name, value in (("@start", start), ("@end", end)) if value]
        return [item["key"] for item in self.container.query_items(query, parameters=parameters, **options)]

    def test_one_partition(self):
        self.fill(["d", "b", "a", "c", "e"])
        self.fill(["x"], partition="q")
        self.assertEqual(self.keys("select * from c order by c.key", partition_key="p"), list("abcde"))
        self.assertEqual(self.keys("select * from c", partition_key="p"), list("dbace"))
        self.assertEqual(self.keys(self.SCAN, start="b", partition_key="p"), list("bcde"))
        self.assertEqual(self.keys(self.RANGE, start="b", end="d", partition_key="p"), list("bc"))
        self.assertEqual(self.keys(self.RANGE.upper().replace("C.KEY", "c.key").replace("FROM C", "FROM c")
                                   .replace("@START", "@start").replace("@END", "@end"),
                                   start="b", end="d", partition_key="p"), list("bc"))
        self.assertEqual(list(self.container.query_items("select value count(1) from c", partition_key="p")), [5])
        self.assertEqual(self.keys(self.SCAN, start="a", partition_key="none"), [])

    def test_utf16_order(self):
        self.fill(["\uff00", "\U0001f600", "z"])
        self.assertEqual(self.keys("select * from c order by c.key", partition_key="p"),
                         ["z", "\U0001f600", "\uff00"])

    def test_pages(self):
        keys = [f"{number:03d}" for number in range(25)]
        self.fill(reversed(keys))
        pager = self.container.query_items(self.SCAN, parameters=[{"name": "@start", "value": "005"}],
                                           partition_key="p", max_item_count=7).by_page()
        pages = [[item["key"] for item in page] for page in pager]
        self.assertEqual([len(page) for page in pages], [7, 7, 6])
        self.assertEqual(sum(pages, []), keys[5:])

    def test_writes_between_pages(self):
        self.fill(["a", "b", "c", "d"])
        pager = self.container.query_items("select * from c order by c.key", partition_key="p",
                                           max_item_count=2).by_page()
        found = [item["key"] for item in next(pager)]
        self.container.delete_item("id-a", "p")
        self.fill(["aa", "cc"])
        self.assertEqual(found + [item["key"] for page in pager for item in page], ["a", "b", "c", "cc", "d"])

    def test_cross_partition_by_the_client(self):
        self.fill(["c", "a"])
        self.fill(["b"], partition="q")
        across = {"enable_cross_partition_query": True}
        self.assertEqual(self.keys("select * from c", **across), ["c", "a", "b"])
        self.assertEqual(self.keys("select * from c order by c.key", **across), ["a", "b", "c"])
        self.assertEqual(self.keys(self.SCAN, start="b", **across), ["b", "c"])
        distinct = "select distinct value c.partitionKey from c"
        self.assertEqual(sorted(self.container.query_items(distinct, **across)), ["p", "q"])
        self.assertEqual(list(self.container.query_items("select value count(1) from c", **across)), [3])
        with self.assertRaises(exceptions.CosmosHttpResponseError):
            self.keys("select * from c")

    def test_cross_partition_by_rest(self):
        self.fill(["a"])
        path, body = "/dbs/lake/colls/kv/docs", {"query": "select distinct value c.partitionKey from c"}
        across = {"x-ms-documentdb-query-enablecrosspartition": "True"}
        status, headers, answer = self.double.signed("POST", path, body, self.query_headers(None, **across))
        self.assertEqual((status, headers["x-ms-substatus"], answer["code"]), (400, "1004", "BadRequest"))
        one_range = {"x-ms-documentdb-partitionkeyrangeid": "0"}
        answer = self.double.signed("POST", path, body, self.query_headers(None, **one_range))[2]
        self.assertEqual(answer["Documents"], ["p"])

    def test_unknown_queries(self):
        for query in ("select c.key from c", "select * from c where c.key >= @start", "select top 1 * from c",
                      "select * from c where c.key > @start order by c.key", "select * from c order by d.key",
                      self.SCAN):
            with self.assertRaises(exceptions.CosmosHttpResponseError) as caught:
                self.keys(query, partition_key="p")
            self.assertEqual(caught.exception.status_code, 400)

    def test_continuation_is_of_its_query(self):
        self.fill(["a", "b"])
        path = "/dbs/lake/colls/kv/docs"
        headers = self.query_headers(**{"x-ms-max-item-count": "1"})
        answer = self.double.signed("POST", path, {"query": "select * from c order by c.key"}, headers)
        token = answer[1]["x-ms-continuation"]
        again = {**headers, "x-ms-continuation": token}
        last = self.double.signed("POST", path, {"query": "select * from c order by c.key"}, again)
        self.assertEqual((last[2]["Documents"][0]["key"], last[1]["x-ms-continuation"]), ("b", None))
        for query, text in (("select * from c", token), ("select * from c order by c.key", "nonsense")):
            status = self.double.signed("POST", path, {"query": query}, {**headers, "x-ms-continuation": text})[0]
            self.assertEqual(status, 400)


class SmallPagesTest(DoubleCase):
    """Pages cut by bytes, and empty pages."""

    arguments = ("--page-bytes", "1000", "--empty-pages", "--serve-cross-partition")

    def test_pages_by_bytes(self):
        keys = [f"{number:03d}" for number in range(10)]
        for key in keys:
            self.container.create_item(self.item(key, "x" * 300))
        query = {"query": "select * from c order by c.key"}
        pages, token = [], None
        while token or not pages:
            headers = self.query_headers(**({"x-ms-continuation": token} if token else {}))
            _, answer_headers, answer = self.double.signed("POST", "/dbs/lake/colls/kv/docs", query, headers)
            pages.append([item["key"] for item in answer["Documents"]])
            token = answer_headers["x-ms-continuation"]
        self.assertEqual(sum(pages, []), keys)
        self.assertIn([], pages)
        self.assertLessEqual(max(map(len, pages)), 3)
        found = self.container.query_items(query["query"], partition_key="p")
        self.assertEqual([item["key"] for item in found], keys)

    def test_served_cross_partition(self):
        self.fill(["b"])
        self.fill(["a"], partition="q")
        headers = self.query_headers(None, **{"x-ms-documentdb-query-enablecrosspartition": "True",
                                              "x-ms-max-item-count": "-1"})
        for query, expected in (("select * from c order by c.key", None), ("select value count(1) from c", [2]),
                                ("select distinct value c.partitionKey from c", ["p", "q"])):
            status, _, answer = self.double.signed("POST", "/dbs/lake/colls/kv/docs", {"query": query}, headers)
            self.assertEqual(status, 200)
            self.assertEqual(answer["Documents"] if expected else [item["key"] for item in answer["Documents"]],
                             expected or ["a", "b"])


class AuthenticationTest(DoubleCase):
    """The master key and the required headers."""

    def test_wrong_key(self):
        with self.assertRaises(exceptions.CosmosHttpResponseError) as caught:
            self.double.client(base64.b64encode(b"another key").decode())
        self.assertEqual(caught.exception.status_code, 401)

    def test_dates(self):
        path = "/dbs/lake"
        self.assertEqual(self.double.signed("GET", path)[0], 200)
        self.assertEqual(self.double.signed("GET", path, date=formatdate(usegmt=True).lower())[0], 200)
        for seconds in (-1000, 1000):
            date = formatdate(time.time() + seconds, usegmt=True)
            self.assertEqual(self.double.signed("GET", path, date=date)[0], 403)

    def test_required_headers(self):
        headers = sign("GET", "/dbs/lake")
        for name, status in (("authorization", 401), ("x-ms-date", 401), ("x-ms-version", 400)):
            partial = {key: value for key, value in headers.items() if key != name}
            answer = self.double.raw("GET", "/dbs/lake", headers=partial)
            self.assertEqual((answer[0], set(answer[2])), (status, {"code", "message"}))
        plain = {**headers, "authorization": urllib.parse.unquote(headers["authorization"])}
        self.assertEqual(self.double.raw("GET", "/dbs/lake", headers=plain)[0], 401)
        self.assertEqual(self.double.raw("GET", "/dbs/lake/colls/kv", headers=headers)[0], 401)

    def test_published_signature(self):
        """The worked example of "Access control in the Azure Cosmos DB SQL API"."""
        key = "dsZQi3KtZmCv1ljt3VNWNm7sQUF1y5rJfC6kv5JiwvW0EndXdDku/dkKBp8/ufDToSxLzR4y+O/0H/t4bQtVNw=="
        headers = sign("GET", "/dbs/ToDoList", "Thu, 27 Apr 2017 00:51:12 GMT", key)
        self.assertEqual(headers["authorization"], "type%3Dmaster%26ver%3D1.0%26sig%3D"
                                                   "c09PEVJrgp2uQRkr934kFbTqhByc7TVr3OHyqlu%2Bc%2Bc%3D")

    def test_case_of_the_link(self):
        self.client.create_database("LaKe")
        self.assertEqual(self.double.signed("GET", "/dbs/LaKe")[0], 200)
        self.assertEqual(self.double.raw("GET", "/dbs/LaKe", headers=sign("GET", "/dbs/lake"))[0], 401)

    def test_document_headers(self):
        path = "/dbs/lake/colls/kv/docs"
        json_type = {"content-type": "application/json"}
        self.assertEqual(self.double.signed("POST", path, self.item("a"), json_type)[0], 400)
        wrong = {**json_type, "x-ms-documentdb-partitionkey": '["q"]'}
        self.assertEqual(self.double.signed("POST", path, self.item("a"), wrong)[0], 400)
        right = {**json_type, "x-ms-documentdb-partitionkey": '["p"]', "x-ms-consistency-level": "Strong"}
        status, headers, body = self.double.signed("POST", path, self.item("a"), right)
        self.assertEqual((status, headers["etag"]), (201, body["_etag"]))
        self.assertEqual(headers["x-ms-consistency-level"], "Strong")
        for name in ("x-ms-session-token", "x-ms-request-charge", "x-ms-activity-id"):
            self.assertTrue(headers[name])
        minimal = {**right, "prefer": "return=minimal", "x-ms-documentdb-is-upsert": "True"}
        self.assertEqual(self.double.signed("POST", path, self.item("a"), minimal)[::2], (200, None))
        charset = self.query_headers(**{"content-type": "application/query+json; charset=utf-8"})
        self.assertEqual(self.double.signed("POST", path, {"query": "select * from c"}, charset)[0], 400)


class TokenTest(unittest.TestCase):
    """Microsoft Entra ID tokens; the client sends them over https only."""

    def test_token_credential(self):
        urllib3.disable_warnings()
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        cert, cert_key = os.path.join(folder.name, "cert.pem"), os.path.join(folder.name, "key.pem")
        subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=127.0.0.1",
                        "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", cert_key, "-out", cert],
                       check=True, capture_output=True)
        double = Double("--cert", cert, "--cert-key", cert_key, "--aad-token", AAD_TOKEN)
        self.addCleanup(double.stop)
        database = double.client().create_database("lake")
        database.create_container("kv", PartitionKey("/partitionKey"))
        client = double.client(FakeCredential(AAD_TOKEN))
        container = client.get_database_client("lake").get_container_client("kv")
        container.create_item({"id": "a", "partitionKey": "p", "key": "a", "value": "v"})
        self.assertEqual(container.read_item("a", "p")["value"], "v")
        self.assertEqual(len(list(container.query_items("select * from c order by c.key", partition_key="p"))), 1)
        with self.assertRaises(exceptions.CosmosHttpResponseError) as caught:
            client.create_database("other")
        self.assertEqual(caught.exception.status_code, 403)
        with self.assertRaises(exceptions.CosmosHttpResponseError) as caught:
            double.client(FakeCredential("another token"))
        self.assertEqual(caught.exception.status_code, 401)


class FaultTest(DoubleCase):
    """Injected faults and the request counts."""

    def inject(self, **fault):
        self.assertEqual(self.double.raw("POST", "/__faults", fault)[0], 200)

    def test_throttling_is_retried(self):
        self.container.create_item(self.item("a"))
        self.inject(status=429, count=3, retry_after_ms=20, kind="doc")
        self.assertEqual(self.container.read_item("id-a", "p")["value"], "v")
        self.assertEqual(self.double.counts()["GET", "doc"], 4)
        self.inject(status=429, count=1, retry_after_ms=20)
        status, headers, body = self.double.signed("GET", "/dbs/lake")
        self.assertEqual((status, headers["x-ms-retry-after-ms"], set(body)), (429, "20", {"code", "message"}))

    def test_other_statuses(self):
        for status in (449, 503):
            self.inject(status=status, count=1)
            self.assertEqual(self.double.signed("GET", "/dbs/lake")[0], status)
        self.assertEqual(self.double.signed("GET", "/dbs/lake")[0], 200)
        self.assertEqual(self.double.raw("POST", "/__faults", {"status": 200})[0], 400)

    def test_drop(self):
        for status, found in (("drop", False), ("drop_after", True)):
            self.inject(status=status, count=1, kind="docs")
            with self.assertRaises((ServiceRequestError, ServiceResponseError)):
                self.container.create_item(self.item(status))
            try:
                self.container.read_item("id-" + status, "p")
            except exceptions.CosmosResourceNotFoundError:
                self.assertFalse(found)
            else:
                self.assertTrue(found)

    def test_faults_file(self):
        with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
            json.dump([{"status": 503, "count": 2}], file)
            file.flush()
            double = Double("--faults", file.name)
        self.addCleanup(double.stop)
        self.assertEqual([double.signed("GET", "/")[0] for _ in range(3)], [503, 503, 200])


if __name__ == "__main__":
    unittest.main()
