"""Presigned addresses of the embedded store: for clients that read and write objects past the server's doors."""
import hashlib
import urllib.parse

from clients import LakeTest

MEGABYTE = 1 << 20


class LinkTest(LakeTest):
    def setUp(self):
        super().setUp()
        self.bucket = self.repository()

    def fetch(self, url, method="GET", body=None, **headers):
        self.assertTrue(url.startswith(self.lake.endpoint), url)
        return self.lake.send(method, url.removeprefix(self.lake.endpoint), body, headers)

    def place(self, path):
        return self.lake.ask("GET", f"/repositories/{self.bucket}/branches/main/staging/backing", path=path, presign="true").json

    def link(self, path, place, body, expect=200):
        return self.lake.ask("PUT", f"/repositories/{self.bucket}/branches/main/staging/backing", expect, path=path, json_body={
            "staging": {"physical_address": place["physical_address"]}, "checksum": hashlib.md5(body).hexdigest(),
            "size_bytes": len(body)})

    def test_an_address_is_for_one_deed_to_one_object(self):
        self.lake.upload(self.bucket, "main", "a", b"one")
        self.lake.upload(self.bucket, "main", "b", b"two")
        a, b = (self.lake.ask("GET", f"/repositories/{self.bucket}/refs/main/objects/stat", path=path, presign="true").json["physical_address"]
                for path in "ab")
        self.assertEqual(self.fetch(a).body, b"one")
        answer = self.fetch(a, Range="bytes=1-1")
        self.assertEqual((answer.status, answer.body, answer.headers["content-range"]), (206, b"n", "bytes 1-1/3"))
        self.assertEqual(self.fetch(a, "HEAD").headers["content-length"], "3")
        one, two = urllib.parse.urlsplit(a), urllib.parse.urlsplit(b)
        later = dict(urllib.parse.parse_qsl(one.query))
        later["x-lake-expires"] = str(int(later["x-lake-expires"]) + 1)
        for url in (a[:-1] + ("0" if a[-1] != "0" else "1"), one._replace(query=two.query).geturl(), one._replace(query="").geturl(),
                    one._replace(query=urllib.parse.urlencode(later)).geturl(), one._replace(path=one.path + "/../" + two.path).geturl()):
            self.assertEqual(self.fetch(url).status, 403, url)
        for method in ("PUT", "POST", "DELETE"):
            self.assertEqual(self.fetch(a, method, b"x").status, 403, method)
        self.assertEqual(self.lake.get(self.bucket, "main", "a"), b"one")

    def test_what_was_linked_does_not_change(self):
        place = self.place("k")
        self.assertEqual(self.fetch(place["presigned_url"]).status, 403, "it is not for reading")
        for body in (b"first", b"second"):
            answer = self.fetch(place["presigned_url"], "PUT", body)
            self.assertEqual((answer.status, answer.headers["etag"]), (200, f'"{hashlib.md5(body).hexdigest()}"'))
        self.link("k", place, b"second")
        self.assertEqual(self.fetch(place["presigned_url"], "PUT", b"third").status, 403)
        self.link("k", place, b"third", expect=400)
        self.assertEqual(self.lake.get(self.bucket, "main", "k"), b"second")
        self.lake.commit(self.bucket, "main")
        self.assertEqual(self.fetch(place["presigned_url"], "PUT", b"third").status, 403)
        self.assertEqual(self.lake.get(self.bucket, "main", "k"), b"second")

    def test_a_listing_gives_no_more_than_one_may_read(self):
        for path in ("open/a", "shut/b"):
            self.lake.upload(self.bucket, "main", path, b"x")
        self.lake.ask("POST", "/auth/users", 201, json_body={"id": "lister"})
        self.addCleanup(self.lake.rest, "DELETE", "/auth/users/lister")
        arn = f"arn:lakefs:fs:::repository/{self.bucket}"
        self.lake.ask("POST", "/auth/policies", 201, json_body={"id": "lists", "statement": [
            {"effect": "allow", "action": ["fs:ListObjects"], "resource": arn},
            {"effect": "allow", "action": ["fs:ReadObject"], "resource": f"{arn}/object/open/*"}]})
        self.addCleanup(self.lake.rest, "DELETE", "/auth/policies/lists")
        self.lake.ask("PUT", "/auth/users/lister/policies/lists", 201)
        keys = self.lake.ask("POST", "/auth/users/lister/credentials", 201).json
        page = self.lake.ask("GET", f"/repositories/{self.bucket}/refs/main/objects/ls", presign="true",
                             keys=(keys["access_key_id"], keys["secret_access_key"])).json
        told = {item["path"]: "physical_address_expiry" in item for item in page["results"]}
        self.assertEqual(told, {"open/a": True, "shut/b": False})

    def test_parts(self):
        """Parts that come in any order, one of them twice, while another upload is ended."""
        at = f"/repositories/{self.bucket}/branches/main/staging/pmpu"
        upload = self.lake.ask("POST", at, 201, path="large", parts=3).json
        bodies = [bytes([number]) * (5 * MEGABYTE + number) for number in range(3)]
        tags = {}
        for number in (2, 0, 1, 0):
            answer = self.fetch(upload["presigned_urls"][number], "PUT", bodies[number])
            self.assertEqual(answer.status, 200)
            tags[number] = answer.headers["etag"]
        parts = [{"part_number": number + 1, "etag": tags[number]} for number in range(3)]
        done = {"physical_address": upload["physical_address"], "parts": parts}
        for wrong, status in (({"parts": parts[::-1]}, 400), ({"parts": []}, 400), ({"physical_address": "local://x"}, 400)):
            self.lake.ask("PUT", f"{at}/{upload['upload_id']}", status, path="large", json_body=done | wrong)
        self.lake.ask("PUT", f"{at}/{upload['upload_id']}", 404, path="other", json_body=done)
        stat = self.lake.ask("PUT", f"{at}/{upload['upload_id']}", path="large", json_body=done | {"content_type": "text/x"}).json
        self.assertEqual((stat["size_bytes"], stat["content_type"], stat["checksum"][-2:]), (15 * MEGABYTE + 3, "text/x", "-3"))
        self.assertEqual(self.lake.get(self.bucket, "main", "large"), b"".join(bodies))
        self.assertEqual(self.s3.head_object(Bucket=self.bucket, Key="main/large")["ETag"], f'"{stat["checksum"]}"')
        self.assertEqual(self.fetch(upload["presigned_urls"][0], "PUT", b"x").status, 404)
        copied = self.lake.ask("POST", at, 201, path="copied").json
        tags = []
        for number, more in ((1, {"range": f"bytes=0-{MEGABYTE - 1}"}), (2, {})):
            answer = self.lake.ask("PUT", f"{at}/{copied['upload_id']}/parts/{number}/copy", 204, path="copied", json_body={
                "physical_address": copied["physical_address"],
                "copy_source": {"repository": self.bucket, "ref": "main", "path": "large"} | more})
            tags.append({"part_number": number, "etag": answer.headers["etag"]})
        self.lake.ask("PUT", f"{at}/{copied['upload_id']}", path="copied", json_body={
            "physical_address": copied["physical_address"], "parts": tags})
        self.assertEqual(self.lake.get(self.bucket, "main", "copied"), bodies[0][:MEGABYTE] + b"".join(bodies))
        ended = self.lake.ask("POST", at, 201, path="ended", parts=1).json
        self.lake.ask("DELETE", f"{at}/{ended['upload_id']}", 204, path="ended",
                      json_body={"physical_address": ended["physical_address"]})
        self.assertEqual(self.fetch(ended["presigned_urls"][0], "PUT", b"x").status, 404)
