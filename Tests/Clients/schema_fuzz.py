#!/usr/bin/env python3
"""Requests that schemathesis makes up from the server's own description, right ones and wrong ones, at every REST operation.

    schema_fuzz.py                                       against a server of its own (run-schema.sh)
    schema_fuzz.py http://127.0.0.1:8000 KEY-ID SECRET   against another

Fails for what no request may cause: no answer, a status of 5xx (but 501, not built, and 507, no space), and a success that
the description does not have: its status, its content type or its body. The requests are the same at every run; names and
ids of things that are there replace most of those that were made up. Nothing is deleted but what was made here.
"""
import collections
import pathlib
import sys
import time
import warnings
import zlib

import hypothesis
import requests
import schemathesis
from schemathesis.checks import load_all_checks
from schemathesis.config import SchemathesisConfig
from schemathesis.core.failures import Failure, FailureGroup
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import content_type_conformance, response_schema_conformance

BUDGET = 60  # seconds; what a slow machine does not reach in time is left out, and said
POSITIVE, NEGATIVE = 10, 5  # requests for each operation, beside those at the bounds of each parameter
SUCCESSES = 105  # operations that must have succeeded once: else the requests have lost their way, and show nothing

# Mounts are under another address, and of the server's own machine; each wrong login makes the next one slower.
LEFT_OUT = {"/mounts", "/auth/login"}
# Where lakeFS's description and lakeFS's server differ, and we answer as the server does.
KNOWN = {
    ("createBranch", 201, "Undocumented Content-Type"),  # described as text/html
    ("oauthCallback", 200, "status"),  # described as 302; lakeFS without a provider says 200
    ("updateObjectUserMetadata", 204, "status"),  # described as 201
    ("updatePullRequest", 204, "status"),  # described as 200
}
# Of these one success ends what the next request would need.
FINAL = {
    "completePresignMultipartUpload", "hardResetBranch", "linkPhysicalAddress", "mergePullRequest", "resetBranch",
    "updatePullRequest"}


class Things:
    """A repository and a user with all that belongs to them, for one operation; `values` are their names, by parameter."""

    def __init__(self, api, name, path):
        self.api, self.values = api, {}
        if path.startswith("/auth/"):
            self.make_user(name)
        if path.startswith("/repositories"):
            self.make_repository(name)

    def upload(self, branch, path):
        return self.api("POST", f"/repositories/{self.name}/branches/{branch}/objects", params={"path": path}, data=b"text",
                        headers={"Content-Type": "application/octet-stream"})

    def make_repository(self, name):
        self.name, base, api = name, f"/repositories/{name}", self.api
        api("POST", "/repositories", json={"name": name, "storage_namespace": f"local://{name}"})
        self.upload("main", "a/one")
        self.upload("main", "b")
        commit = api("POST", f"{base}/branches/main/commits", json={"message": "one"})
        for branch in ("feature", "clean"):
            api("POST", f"{base}/branches", json={"name": branch, "source": "main"})
        self.upload("feature", "a/two")
        api("POST", f"{base}/branches/feature/commits", json={"message": "two"})
        loose = self.upload("main", "loose")
        api("POST", f"{base}/tags", json={"id": "v1", "ref": "main"})
        pull = api("POST", f"{base}/pulls", json={"title": "t", "source_branch": "feature", "destination_branch": "clean"})["id"]
        comment = api("POST", f"{base}/pulls/{pull}/comments", json={"body": "text"})["id"]
        parts = api("POST", f"{base}/branches/main/staging/pmpu", params={"path": "parts", "parts": 1})
        part = requests.put(parts["presigned_urls"][0], data=b"part", timeout=30)
        linked = api("GET", f"{base}/branches/main/staging/backing", params={"path": "linked", "presign": "true"})
        requests.put(linked["presigned_url"], data=b"text", timeout=30)
        api("PUT", f"{base}/settings/gc_rules", json={"default_retention_days": 3, "branches": []})
        api("PUT", f"{base}/settings/branch_protection", json=[{"pattern": "release*"}])
        api("POST", f"{base}/metadata", json={"metadata": {"k": "v"}})
        dump = api("POST", f"{base}/dump")["id"]
        tasks = [api("POST", f"{base}/{path}/async", json={"message": "m", "allow_empty": True})["id"]
                 for path in ("branches/clean/commits", "refs/clean/merge/feature")]
        # Those at the same place in lists of three and of six go together.
        refs = ["main", "v1", "main~1", commit["id"], "feature", "clean"]
        branches = ["main", "main", "main", "main", "feature", "clean"]
        self.values |= {name: refs for name in ("ref", "sourceRef", "leftRef", "rightRef", "source", "src_ref")}
        self.values |= {
            "repository": [name], "branch": branches, "destinationBranch": ["feature", "clean", "main"], "tag": ["v1"],
            "source_branch": ["main"], "destination_branch": ["feature"], "commitId": [commit["id"]], "pull_request": [pull],
            "comment": [comment], "uploadId": [parts["upload_id"]], "task_id": [dump], "id": ["new", *tasks],
            "path": ["parts", "loose", "linked", "a/one", "b", "a/one"], "src_path": ["a/one"], "dest_path": ["copy"],
            "physical_address": [parts["physical_address"], loose["physical_address"], linked["physical_address"]],
            "part_number": [1], "partNumber": [1], "etag": [part.headers["ETag"]], "size_bytes": [4], "prefix": ["a/", ""],
            "after": ["", "a"], "delimiter": ["/"], "name": ["new"], "pattern": ["old*", "release*"],
            "meta_range": [commit["meta_range_id"]], "object_id": [commit["meta_range_id"]],
            "metarange_id": [commit["meta_range_id"]], "type": ["common_prefix", "object", "meta_range"],
            "storage_namespace": [f"local://{name}-new"], "strategy": ["source-wins"], "default_retention_days": [3],
            "retention_days": [3], "branch_id": ["main"], "parent_number": [0]}

    def make_user(self, name):
        api = self.api
        api("POST", "/auth/users", json={"id": name})
        api("POST", "/auth/groups", json={"id": name})
        api("POST", "/auth/policies",
            json={"id": name, "statement": [{"effect": "allow", "action": ["fs:*"], "resource": "*"}]})
        api("PUT", f"/auth/users/{name}/policies/{name}")
        api("PUT", f"/auth/groups/{name}/members/{name}")
        api("POST", f"/auth/users/{name}/external/principals", params={"principalId": name}, json={})
        api("POST", f"/auth/groups/{name}/acl", json={"permission": "Read"})  # last: its level is that of no other policy
        credentials = api("POST", f"/auth/users/{name}/credentials")
        self.values |= {"userId": [name], "groupId": [name], "policyId": [name], "principalId": [name, name + "-new"],
                        "accessKeyId": [credentials["access_key_id"]], "action": ["fs:*"], "resource": ["*"],
                        "permission": ["Read"], "id": [name + "-new"]}


class Fuzz:
    def __init__(self, endpoint, key, secret):
        self.endpoint, self.end = endpoint, time.monotonic() + BUDGET
        self.session = requests.Session()
        self.session.auth, self.session.trust_env = (key, secret), False
        self.requests, self.made, self.label = 0, 0, f"{time.time_ns() // 10**6:x}"
        self.succeeded, self.cut = set(), set()
        self.statuses = collections.Counter()
        self.kept = {}  # things of an operation that has had a part of its requests
        self.found = {}  # (operation, what) -> [how often, the first]
        # Whoever logs in is said once, by the session.
        config = SchemathesisConfig.from_dict({"generation": {"with-security-parameters": False}})
        self.schema = schemathesis.openapi.from_url(f"{endpoint}/openapi.json", config=config)
        load_all_checks()

    def api(self, method, path, **more):
        """What must succeed: it prepares the rest."""
        answer = self.session.request(method, f"{self.endpoint}/api/v1{path}", timeout=30, **more)
        if not answer.ok:
            raise RuntimeError(f"{method} {path}: {answer.status_code} {answer.text[:300]}")
        return answer.json() if answer.content[:1] in (b"{", b"[") else None

    def make_things(self, operation):
        self.made += 1
        return Things(self.api, f"fuzz-{self.label}-{self.made}", operation.path)

    def put_names(self, case):
        """Names of things that are there in place of most that were made up, unless one is wrong on purpose."""
        wrong = {place.name for place, part in case.meta.components.items() if part.mode.is_negative}
        # New dictionaries: cases share theirs.
        if "PATH" not in wrong:
            case.path_parameters = self.named("", case.path_parameters)
        if "QUERY" not in wrong:
            case.query = self.named("", case.query)
        if "BODY" not in wrong:
            case.body = self.named("", case.body)

    def named(self, name, value):
        if isinstance(value, dict):
            return {name: self.named(name, inner) for name, inner in value.items()}
        if isinstance(value, list):
            return [self.named(name, inner) for inner in value]
        # Chance, but the same at every run: one of ten stays as it was.
        names = self.things.values.get(name) if isinstance(value, (str, int)) else None
        return names[self.requests % len(names)] if names and zlib.crc32(f"{self.requests} {name}".encode()) % 10 else value

    def note(self, case, what, answer, message=""):
        name = case.operation.definition.raw["operationId"]
        if (name, answer.status_code if answer is not None else 0, what) in KNOWN:
            return
        said = f"{answer.status_code} {answer.text[:300]}" if answer is not None else "no answer"
        text = "\n    ".join(filter(None, [message.replace("\n", " ")[:300], case.as_curl_command()[:2000], f"-> {said}"]))
        self.found.setdefault((name, what), [0, text])[0] += 1

    def send(self, case):
        """One request; whether it succeeded."""
        operation = case.operation
        self.requests += 1
        self.put_names(case)
        try:
            answer = case.call(session=self.session, timeout=15, allow_redirects=False)
        except (requests.exceptions.InvalidHeader, UnicodeError):
            return False  # the client refuses to send it
        except (requests.exceptions.ConnectionError, requests.exceptions.Timeout) as error:
            self.note(case, "no answer", None, repr(error))
            return False
        status = answer.status_code
        self.statuses[status] += 1
        if status >= 500 and status not in (501, 507):
            self.note(case, str(status), answer)
        if status >= 400:
            return False
        self.succeeded.add(operation.definition.raw["operationId"])
        if case.method.upper() != operation.method.upper():
            self.note(case, f"{case.method} succeeds", answer)  # a method that the description does not have
        elif str(status) not in operation.definition.raw["responses"]:
            self.note(case, "status", answer)
        else:
            try:
                case.validate_response(answer, checks=[content_type_conformance, response_schema_conformance])
            except (Failure, FailureGroup) as failure:
                for part in getattr(failure, "exceptions", [failure]):
                    self.note(case, part.title, answer, part.message)
        return True

    def cases_at_bounds(self, operation):
        yield from operation.schema.iter_coverage_cases(
            operation, generation_modes=[GenerationMode.POSITIVE, GenerationMode.NEGATIVE],
            generation_config=self.schema.config.generation_for(operation=operation, phase="coverage"))

    def made_up_cases(self, operation, mode, count):
        cases = []

        @hypothesis.settings(max_examples=count, derandomize=True, database=None, deadline=None,
                             phases=[hypothesis.Phase.generate], suppress_health_check=list(hypothesis.HealthCheck))
        @hypothesis.given(case=operation.as_strategy(generation_mode=mode))
        def collect(case):
            cases.append(case)
        try:
            collect()
        except hypothesis.errors.Unsatisfiable:
            pass  # nothing can be wrong with what has no parameters
        return cases

    def run(self, operation, cases):
        name = operation.definition.raw["operationId"]
        ends = operation.method.upper() == "DELETE" or name in FINAL
        self.things = self.kept.get(name) or self.make_things(operation)
        for case in cases:
            if time.monotonic() > self.end:
                self.cut.add(name)
                break
            if self.send(case) and ends:
                self.things = self.make_things(operation)
        self.kept[name] = self.things

    def main(self):
        start = time.monotonic()
        operations = [result.ok() for result in self.schema.get_all_operations()]
        operations = [operation for operation in operations if operation.path not in LEFT_OUT]
        stopped = ""
        try:
            for operation in operations:
                self.run(operation, self.cases_at_bounds(operation))
            for operation in operations:
                self.run(operation, self.made_up_cases(operation, GenerationMode.POSITIVE, POSITIVE))
                self.run(operation, self.made_up_cases(operation, GenerationMode.NEGATIVE, NEGATIVE))
        except (RuntimeError, requests.exceptions.RequestException) as error:
            stopped = str(error)
        for (name, what), (count, text) in sorted(self.found.items()):
            print(f"{name}: {what}, {count} times, first:\n    {text}")
        print(f"{self.requests} requests at {len(operations)} operations in {time.monotonic() - start:.0f} s,"
              f" {len(self.succeeded)} of which succeeded; statuses: {dict(sorted(self.statuses.items()))}")
        if self.cut:
            print(f"cut short after {BUDGET} s: {len(self.cut)} operations")
        elif not stopped and len(self.succeeded) < SUCCESSES:
            stopped = f"only {len(self.succeeded)} operations have succeeded: {SUCCESSES} should"
        print(stopped or f"{len(self.found)} findings" + (" (add -u KEY-ID:SECRET to their lines)" if self.found else ""))
        return 1 if self.found or stopped else 0


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    if len(sys.argv) == 4:
        sys.exit(Fuzz(*sys.argv[1:]).main())
    elif len(sys.argv) > 1:
        sys.exit(__doc__)
    sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "EndToEnd"))
    import lake
    server = lake.Lake(lake.work_folder("schema")).start()
    status = Fuzz(server.endpoint, *server.keys).main()
    if server.stop()[0] != 0:
        sys.exit(f"the server did not end well\n{server.log_tail()}")
    sys.exit(status)
