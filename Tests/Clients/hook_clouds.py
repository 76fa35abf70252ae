#!/usr/bin/env python3
"""Hooks whose scripts call clouds, against a server of its own. Start it with run-hooks.sh; names of tests may follow."""
import base64
import http.server
import json
import logging
import re
import sys
import threading
import urllib.parse

import boto3
import botocore.config
import deltalake
import moto.server
import pyarrow
import yaml
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

import s3_clients
from s3_clients import ClientTest

KEYS = {"id": "testing", "secret": "testing", "region": "us-east-1"}


class Double:
    """A service: `answer(method, target, headers, body)` gives a status and a body."""

    def __init__(self, answer):
        self.received, double = [], self

        class Handler(http.server.BaseHTTPRequestHandler):
            def serve(self):
                body = self.rfile.read(int(self.headers.get("content-length") or 0))
                double.received.append((self.command, self.path, dict(self.headers), body))
                status, reply = answer(self.command, self.path, dict(self.headers), body)
                self.send_response(status)
                self.send_header("Content-Length", str(len(reply)))
                self.end_headers()
                self.wfile.write(reply)
            do_GET = do_PUT = do_POST = do_DELETE = serve

            def log_message(self, *_):
                pass
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"


class CloudTest(ClientTest):
    @classmethod
    def setUpClass(cls):
        if hasattr(CloudTest, "moto"):
            return
        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        CloudTest.moto = moto.server.ThreadedMotoServer("127.0.0.1", 0, verbose=False)
        CloudTest.moto.start()
        CloudTest.cloud = "http://%s:%d" % CloudTest.moto.get_host_and_port()

    def client(self, service):
        return boto3.client(service, endpoint_url=self.cloud, aws_access_key_id="testing", aws_secret_access_key="testing",
                            region_name="us-east-1", config=botocore.config.Config(s3={"addressing_style": "path"}))

    def bucket_of_cloud(self):
        name = self.bucket + "-exports"
        self.client("s3").create_bucket(Bucket=name)
        return name

    def double(self, answer):
        double = Double(answer)
        self.addCleanup(double.server.shutdown)
        return double

    def put(self, path, body):
        self.lake.upload(self.bucket, "main", path, body.encode() if isinstance(body, str) else body)

    def commit(self):
        return self.lake.ask("POST", f"/repositories/{self.bucket}/branches/main/commits", 201,
                             json_body={"message": "m", "allow_empty": True}).json["id"]

    def run_script(self, script, **arguments):
        """Runs a script behind a commit that is made for it: its output, which must be that of a success."""
        self.put("_lakefs_actions/a.yaml", yaml.safe_dump({
            "name": "act", "on": {"post-commit": None},
            "hooks": [{"id": "script", "type": "lua", "properties": {"script": script, "args": arguments}}]}))
        commit, at = self.commit(), f"/repositories/{self.bucket}/actions/runs"

        def run():
            runs = self.lake.ask("GET", at, commit=commit).json["results"]
            return runs and runs[0]
        s3_clients.lake.wait_until(run, 60, "the script's run")
        hook = self.lake.ask("GET", f"{at}/{run()['run_id']}/hooks").json["results"][0]
        output = self.lake.ask("GET", f"{at}/{run()['run_id']}/hooks/{hook['hook_run_id']}/output").body.decode()
        self.assertEqual(hook["status"], "completed", output)
        return commit, output

    def test_s3_client(self):
        bucket = self.bucket_of_cloud()
        _, output = self.run_script("""
            local json = require("encoding/json")
            local s3 = require("aws").s3_client(args.id, args.secret, args.region, args.endpoint)
            for _, key in ipairs({"a/1", "a/ü +%", "b"}) do s3.put_object(args.bucket, key, "body of " .. key) end
            print(s3.get_object(args.bucket, "a/ü +%"))
            print(select(2, s3.get_object(args.bucket, "none")))
            local page = s3.list_objects(args.bucket, "", "", "/")
            for _, entry in ipairs(page.results) do print(entry.type, entry.key, entry.size) end
            print(page.is_truncated)
            s3.delete_object(args.bucket, "b")
            s3.delete_recursive(args.bucket, "a/")
            print(#s3.list_objects(args.bucket).results)
            print(pcall(s3.get_object, "no-such-bucket-at-all", "x"))
            print(pcall(s3.put_object, "no-such-bucket-at-all", "x", "y"))
            """, bucket=bucket, endpoint=self.cloud, **KEYS)
        lines = output.splitlines()
        self.assertEqual(lines[:6], ["body of a/ü +%\ttrue", "false", "prefix\ta/\tnil", "object\tb\t9", "false", "0"])
        for deed in ("reading", "writing"):
            self.assertRegex(output, rf"false\t{deed} s3://no-such-bucket-at-all/x: HTTP 404: [^$]*NoSuchBucket")

    def hive_table(self):
        self.put("_lakefs_tables/animals.yaml", yaml.safe_dump({
            "name": "animals", "type": "hive", "path": "tables/animals/", "partition_columns": ["year", "kind"], "schema": {
                "type": "struct", "fields": [
                    {"name": "year", "type": "integer", "nullable": False, "metadata": {}},
                    {"name": "kind", "type": "string", "nullable": False, "metadata": {}},
                    {"name": "weight", "type": "double", "nullable": True, "metadata": {"comment": "in kg"}},
                    {"name": "id", "type": "long", "nullable": True, "metadata": {}}]}}))
        for year, kind in ((2023, "cat"), (2023, "dog"), (2024, "cat")):
            for part in range(3):
                self.put(f"tables/animals/year={year}/kind={kind}/part-{part}", f"{year}{kind}{part}")
            self.put(f"tables/animals/year={year}/kind={kind}/_SUCCESS", "")

    def test_glue_and_symlinks(self):
        bucket, glue = self.bucket_of_cloud(), self.client("glue")
        self.hive_table()
        script = """
            local aws, action_ = require("aws"), action
            local symlinks, glues = require("lakefs/catalogexport/symlink_exporter"), require("lakefs/catalogexport/glue_exporter")
            local s3 = aws.s3_client(args.id, args.secret, args.region, args.endpoint)
            local glue = aws.glue_client(args.id, args.secret, args.region, args.endpoint)
            local options = {export_base_uri = "s3://" .. args.bucket .. "/base/", page_size = 2, create_db_input = {Description = "made"}}
            print(symlinks.export_s3(s3, "_lakefs_tables/animals.yaml", action, options).location)
            local made = glues.export_glue(glue, "db", "_lakefs_tables/animals.yaml", args.input, action, options)
            print(made.create_table_input.Name)
            print(select(2, glue.get_table("db", "no-such")))
            """
        arguments = {"bucket": bucket, "endpoint": self.cloud, "input": {
            "StorageDescriptor": {"InputFormat": "org.apache.hadoop.hive.ql.io.SymlinkTextInputFormat", "SerdeInfo": {
                "SerializationLibrary": "org.apache.hadoop.hive.ql.io.parquet.serde.ParquetHiveSerDe"}},
            "Parameters": {"classification": "parquet", "EXTERNAL": "TRUE"}}, **KEYS}
        for _ in range(2):  # the second time database and table are there
            commit, output = self.run_script(script, **arguments)
            location, name, none = output.split()
            self.assertEqual(location, f"s3://{bucket}/base/_lakefs/exported/main/{commit[:6]}/animals")
            self.assertEqual((name, none), (f"animals_{self.bucket}_main_{commit[:6]}", "false"))
            table = glue.get_table(DatabaseName="db", Name=name)["Table"]
            self.assertEqual(table["StorageDescriptor"]["Location"], location)
            self.assertEqual([(c["Name"], c["Type"]) for c in table["StorageDescriptor"]["Columns"]], [("weight", "double"), ("id", "bigint")])
            self.assertEqual([(c["Name"], c["Type"]) for c in table["PartitionKeys"]], [("year", "int"), ("kind", "string")])
            self.assertEqual(table["StorageDescriptor"]["Columns"][0]["Comment"], "in kg")
            self.assertEqual(table["Parameters"]["classification"], "parquet")
        s3, links = self.client("s3"), {}
        prefix = f"base/_lakefs/exported/main/{commit[:6]}/animals/"
        for entry in s3.list_objects_v2(Bucket=bucket, Prefix=prefix)["Contents"]:
            links[entry["Key"].removeprefix(prefix)] = s3.get_object(Bucket=bucket, Key=entry["Key"])["Body"].read().decode().split()
        self.assertEqual(sorted(links), [f"year={y}/kind={k}/symlink.txt" for y, k in ((2023, "cat"), (2023, "dog"), (2024, "cat"))])
        stats = [self.lake.ask("GET", f"/repositories/{self.bucket}/refs/main/objects/stat", path=f"tables/animals/year=2023/kind=dog/part-{i}").json
                 for i in range(3)]
        self.assertEqual(links["year=2023/kind=dog/symlink.txt"], [stat["physical_address"] for stat in stats])
        self.assertEqual(glue.get_database(Name="db")["Database"]["Description"], "made")

    def test_delta_and_unity(self):
        bucket = self.bucket_of_cloud()
        place = f"s3://{self.bucket}/main/tables/numbers"
        options = {"AWS_ENDPOINT_URL": self.lake.endpoint, "AWS_ALLOW_HTTP": "true", "AWS_ACCESS_KEY_ID": self.key,
                   "AWS_SECRET_ACCESS_KEY": self.secret, "AWS_REGION": "us-east-1", "aws_conditional_put": "etag"}
        for start in range(3):
            deltalake.write_deltalake(place, pyarrow.table({"n": [start, start + 1], "part": ["a b", "c"]}), partition_by=["part"],
                                      mode="append", storage_options=options)
        deltalake.DeltaTable(place, storage_options=options).delete("n = 1")
        self.put("_lakefs_tables/numbers.yaml", yaml.safe_dump({
            "name": "numbers", "type": "delta", "path": "tables/numbers", "catalog": "the-catalog"}))
        statements = []

        def databricks(method, target, headers, body):
            if headers.get("Authorization") != "Bearer the-token":
                return 403, b"{}"
            if target.endswith("/schemas"):
                return 400, b'{"error_code":"SCHEMA_ALREADY_EXISTS"}'
            if method == "POST":
                statements.append(json.loads(body))
                if len(statements) == 1:
                    return 200, b'{"status":{"state":"FAILED","error":{"message":"TABLE_OR_VIEW_ALREADY_EXISTS"}}}'
                return 200, b'{"statement_id":"s1","status":{"state":"RUNNING"}}'
            return 200, b'{"statement_id":"s1","status":{"state":"SUCCEEDED"}}'
        workspace = self.double(databricks)
        commit, output = self.run_script("""
            local s3 = require("aws").s3_client(args.id, args.secret, args.region, args.endpoint)
            local delta = require("formats").delta_client(args.lake_key, args.lake_secret, "us-east-1")
            local exporter, unity = require("lakefs/catalogexport/delta_exporter"), require("lakefs/catalogexport/unity_exporter")
            local json = require("encoding/json")
            print(json.marshal(exporter.changed_table_defs({"numbers"}, "_lakefs_tables", action.repository_id, action.commit_id, action.commit.parents[1])))
            local tables = exporter.export_delta_log(action, {"numbers"}, function(_, key, data) s3.put_object(args.bucket, key, data) end,
                delta, "_lakefs_tables", function(path) return (path:gsub("^local://", "file:///")) end)
            print(json.marshal(tables))
            local client = require("databricks").client(args.workspace, "the-token")
            print(json.marshal(unity.register_tables(action, "_lakefs_tables", tables, client, "warehouse")))
            """, bucket=bucket, endpoint=self.cloud, lake_key=self.key, lake_secret=self.secret, workspace=workspace.url, **KEYS)
        changed, tables, statuses = [json.loads(line) for line in output.split("\n") if line]
        self.assertEqual((changed, statuses), (["numbers"], {"numbers": "SUCCEEDED"}))
        self.assertEqual(tables["numbers"]["path"], f"file:///{self.bucket}/_lakefs/exported/main/{commit[:6]}/numbers")
        self.assertEqual(json.loads(tables["numbers"]["metadata"]["schema_string"])["fields"][0]["name"], "n")
        self.assertEqual([s["statement"].split(" ")[0] for s in statements], ["CREATE", "DROP", "CREATE"])
        self.assertEqual((statements[0]["catalog"], statements[0]["schema"], statements[0]["warehouse_id"]), ("the-catalog", "main", "warehouse"))
        s3 = self.client("s3")
        logs = [e["Key"] for e in s3.list_objects_v2(Bucket=bucket)["Contents"]]
        self.assertEqual([re.search(r"numbers/_delta_log/(\d{20})\.json$", key)[1][-1] for key in logs], ["0", "1", "2", "3"])
        addresses = {self.lake.ask("GET", f"/repositories/{self.bucket}/refs/main/objects/stat", path=f"tables/numbers/{path}").json["physical_address"]
                     for path in (p.split("/numbers/")[-1] for p in deltalake.DeltaTable(place, storage_options=options).file_uris())}
        added = set()
        for key in logs:
            for line in s3.get_object(Bucket=bucket, Key=key)["Body"].read().splitlines():
                entry = json.loads(line)
                if "add" in entry:
                    added.add(entry["add"]["path"].replace("file:///", "local://"))
        self.assertLessEqual(addresses, added)

    def test_azure(self):
        """Azure's own library signs the same request the same way."""
        from azure.core.pipeline import PipelineContext, PipelineRequest
        from azure.core.pipeline.transport import HttpRequest
        from azure.storage.blob._shared.authentication import SharedKeyCredentialPolicy
        store, key = {}, base64.b64encode(b"the key of the account").decode()

        def blobs(method, target, headers, body):
            request = HttpRequest(method, blob.url + target, headers={k: v for k, v in headers.items() if k.lower().startswith("x-ms-")})
            if body:
                request.headers["Content-Length"] = str(len(body))
            SharedKeyCredentialPolicy("account", key).on_request(PipelineRequest(request, PipelineContext(None)))
            if request.headers["Authorization"] != headers["Authorization"]:
                return 403, b"wrong signature"
            if method == "PUT":
                store[target] = body
                return 201, b""
            if method == "DELETE":
                return (202 if store.pop(target, None) is not None else 404), b""
            return (200, store[target]) if target in store else (404, b"")
        blob = self.double(blobs)
        _, output = self.run_script("""
            local client = require("azure").blob_client("account", args.key, args.endpoint)
            client.put_object("https://account.blob.core.windows.net/box/a%b c/ü", "the body")
            print(client.get_object("https://account.blob.core.windows.net/box/a%b c/ü"))
            client.delete_object("box/a%b c/ü")
            print(client.get_object("box/a%b c/ü"))
            """, key=key, endpoint=blob.url)
        self.assertEqual(output, "the body\ttrue\n\tfalse\n")

    def test_gcloud(self):
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()).decode()

        def google(method, target, headers, body):
            if target == "/token":
                form = dict(urllib.parse.parse_qsl(body.decode()))
                text, signature = form["assertion"].rsplit(".", 1)
                key.public_key().verify(base64.urlsafe_b64decode(signature + "=="), text.encode(), padding.PKCS1v15(), hashes.SHA256())
                claims = json.loads(base64.urlsafe_b64decode(text.split(".")[1] + "=="))
                return (200, b'{"access_token":"given"}') if claims["iss"] == "robot@project" else (400, b"{}")
            return (200 if headers["Authorization"] == "Bearer given" else 401), b""
        cloud = self.double(google)
        _, output = self.run_script("""
            local gs = require("gcloud").gs_client(args.credentials, args.endpoint)
            gs.write_fuse_symlink("gs://data/repo/data/xyz", "gs://links/a/b", {from = "gs://data/repo", to = "/mnt/repo"})
            print("done")
            """, endpoint=cloud.url, credentials=json.dumps({
                "client_email": "robot@project", "private_key": pem, "token_uri": cloud.url + "/token"}))
        self.assertEqual(output, "done\n")
        method, target, headers, _ = cloud.received[-1]
        self.assertEqual((method, target, headers["X-Goog-Meta-Gcsfuse_symlink_target"] if "X-Goog-Meta-Gcsfuse_symlink_target" in headers
                          else headers["x-goog-meta-gcsfuse_symlink_target"]), ("PUT", "/links/a/b", "/mnt/repo/data/xyz"))


if __name__ == "__main__":
    sys.exit(s3_clients.main(sys.modules[__name__]))
