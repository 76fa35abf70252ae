"""Hooks: the recorded payloads, cases and Lua values of ../shared/fixtures/hooks, and what is ours."""
import contextlib
import hashlib
import hmac
import http.client
import http.server
import json
import re
import signal
import subprocess
import threading
import time
import unittest

import yaml

from lake import ROOT, Lake, wait_until, work_folder

FIXTURES = ROOT.parent / "shared/fixtures/hooks"


def setUpModule():
    HookTest.folder = work_folder("hooks")
    HookTest.lake = Lake(HookTest.folder, LAKEFSACTION_VAR="this_is_actions_var",
                         LAKEFUSE_ACTIONS_LUA_MAX_DURATION="5s", LAKEFUSE_ACTIONS_LUA_MAX_INSTRUCTIONS="100000000", LAKEFUSE_ACTIONS_LUA_MAX_MEMORY_BYTES=str(64 << 20),
                         LAKEFUSE_ACTIONS_LUA_NET_HTTP_ENABLED="true").start()


def tearDownModule():
    HookTest.lake.kill()


class Listener:
    """The webhook listener of the fixtures: what came, and answers by path."""

    def __init__(self):
        self.received, self.lock, listener = [], threading.Lock(), self

        class Handler(http.server.BaseHTTPRequestHandler):
            def answer(self):
                body = self.rfile.read(int(self.headers.get("content-length") or 0))
                path = self.path.split("?")[0]
                with listener.lock:
                    listener.received.append({"method": self.command, "target": self.path, "body": body,
                                              "headers": self.headers.items()})
                with contextlib.suppress(OSError):
                    listener.answer(self, path)
            do_POST = do_GET = do_PUT = answer

            def log_message(self, *_):
                pass
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.address = f"127.0.0.1:{self.server.server_address[1]}"
        self.states = iter(())

    def answer(self, request, path):
        status, body, more = 200, b'{"ok":true}', []
        kind = path.split("/")[1:3]
        if kind[0] == "status":
            status, body = int(kind[1]), b"answer body of the listener"
        elif kind[0] == "flaky":
            status = 503
        elif kind[0] == "slow":
            time.sleep(float(kind[1]))
        elif path == "/redirect":
            status, more = 302, [("Location", "/landed")]
        elif kind[0] == "circle":
            status, more = 307, [("Location", f"/circle/{int(kind[1]) + 1}")]
        elif path == "/auth/token":
            status, body = 201, b'{"access_token":"airflow-3"}'
        elif "/dagRuns/" in path:
            body = json.dumps({"state": next(self.states)}).encode()
        elif path == "/flood":
            request.send_response(200)
            request.end_headers()
            piece = b"x" * (1 << 20)
            for _ in range(1024):
                request.wfile.write(piece)
            return
        if status in (204, 304):
            body = b""
        request.send_response(status)
        request.send_header("Content-Length", str(len(body)))
        request.send_header("Connection", "close")
        for name, value in more:
            request.send_header(name, value)
        request.end_headers()
        request.wfile.write(body)

    def take(self):
        with self.lock:
            taken, self.received = self.received, []
        return taken

    def close(self):
        self.server.shutdown()
        self.server.server_close()


class HookTest(unittest.TestCase):
    lake: Lake
    maxDiff = 20_000
    count = 0

    def setUp(self):
        self.listener = Listener()
        self.addCleanup(self.listener.close)
        HookTest.count += 1
        self.repository = self.lake.create_repository(f"hooks-{HookTest.count}")

    def at(self, method, path, expect=None, /, **more):
        answer = self.lake.rest(method, f"/repositories/{self.repository}{path}", **more)
        if expect:
            self.assertEqual(answer.status, expect, answer.body)
        return answer

    def put(self, path, body, branch="main", repository=None):
        body = body.encode() if isinstance(body, str) else body
        self.lake.upload(repository or self.repository, branch, path, body)

    def branch(self, name, source="main"):
        self.at("POST", "/branches", 201, json_body={"name": name, "source": source})

    def commit(self, branch="main", message="m", **more):
        return self.at("POST", f"/branches/{branch}/commits", json_body={"message": message, "allow_empty": True, **more})

    def action(self, hooks, events="pre-commit", name="act", branch="main", file=None):
        """Writes an action file; hooks as dictionaries."""
        events = events if isinstance(events, list) else [events]
        text = yaml.safe_dump({"name": name, "on": {event: None for event in events}, "hooks": hooks})
        self.put(file or f"_lakefs_actions/{name}.yaml", text, branch)

    def script(self, text, events="pre-commit", branch="main", **args):
        self.action([{"id": "script", "type": "lua", "properties": {"script": text, "args": args}}], events, branch=branch)

    def runs(self, **query):
        return self.at("GET", "/actions/runs", 200, **query).json["results"]

    def hooks(self, run):
        return self.at("GET", f"/actions/runs/{run['run_id']}/hooks", 200).json["results"]

    def output(self, run, hook):
        answer = self.at("GET", f"/actions/runs/{run['run_id']}/hooks/{hook['hook_run_id']}/output")
        return answer.body.decode() if answer.status == 200 else ""

    def newest(self):
        """The run that began last: lists have the newest second first, and within it the oldest."""
        def age(run):
            number = int(run["run_id"], 32) >> 4
            return number >> 64, -(number & 0xffffff)
        return min(self.runs(amount=1000), key=age)

    def last_output(self):
        run = self.newest()
        return self.output(run, self.hooks(run)[-1])


# -- what lakeFS was seen to do ----------------------------------------------------------------------------------------

@unittest.skipUnless(FIXTURES.is_dir(), "../shared/fixtures/hooks is not here")
class FixtureTest(HookTest):
    # Cases whose message ours says otherwise, and why.
    OTHERWISE = {
        "unknown type": "hook[0] type 'carrier-pigeon' unknown: invalid action",  # lakeFS names the id
        "branch pattern does not parse": "parsing file _lakefs_actions/a.yaml: syntax error in pattern (line 4",
        "not YAML": "yaml: line 2: did not find expected node content",  # lakeFS counts from 0
        "condition that does not parse": None, "lua error with a table": None,
        "lua require of a missing package": None, "lua require from the repository": None,
    }
    # Passwords are not told, whether they came from the environment or not.
    HIDDEN = {"url has user and password": ("user:pass@", "user:***@"), "airflow, refused": ("Password: pw", "Password: *******")}

    def fill(self, text):
        return text.replace("$LISTENER", self.listener.address).replace("$CLOSED", "127.0.0.1:1")

    def plain(self, text):
        """A message or output with what differs from run to run taken out."""
        text = re.sub(r"(?<![a-z0-9])[0-9][a-v0-9]{19}(?![a-z0-9])", "<runid>", text)
        text = re.sub(r"<runid:\d+>", "<runid>", text)
        text = re.sub(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", "<time>", text)
        text = re.sub(r"Request duration: \S+", "Request duration: <seconds>", text)
        text = re.sub(r"(Date|Server): [^\r]*", r"\1: <any>", text)
        text = text.replace(self.repository, "repo-1").replace(self.listener.address, "$LISTENER")
        return text.replace("127.0.0.1:1/", "$CLOSED/").replace("127.0.0.1:1:", "$CLOSED:")

    def covers(self, wanted, got):
        """Each line says what is wanted first; what we add to it stands behind."""
        wanted, got = self.plain(wanted).strip().split("\n"), self.plain(got).strip().split("\n")
        return len(wanted) == len(got) and all(g.startswith(w) for w, g in zip(wanted, got))

    def test_cases(self):
        cases = json.loads((FIXTURES / "cases.json").read_text())
        self.assertEqual(len(cases), 80)
        for index, case in enumerate(cases):
            with self.subTest(case["case"]):
                self.case(index, case)

    def case(self, index, case):
        branch = f"case-{index}"
        self.branch(branch)
        for path, text in case["files"].items():
            self.put(path, self.fill(text), branch)
        self.listener.take()
        answer = self.commit(branch, case["case"])
        self.assertEqual(answer.status, case["status"], answer.body)
        if case["message"] is not None:
            said = answer.json["message"]
            wanted = self.OTHERWISE.get(case["case"], case["message"])
            if wanted is None:
                pass
            elif case["case"] in self.OTHERWISE:
                self.assertIn(wanted, said)
            elif case["case"] == "two actions, both fail":  # in either order
                self.assertEqual(sorted(self.plain(said).split("\n")), sorted(self.plain(wanted).split("\n")))
            else:
                self.assertTrue(self.covers(wanted, said), f"{said!r}\nrecorded: {wanted!r}")
        got = sorted(self.listener.take(), key=lambda r: r["target"])
        wanted = sorted(case["requests"], key=lambda r: r["target"])
        self.assertEqual([self.plain(r["target"]) for r in got], [r["target"] for r in wanted])
        for sent, recorded in zip(got, wanted):
            self.assertEqual(sent["method"], recorded["method"])
            self.same_headers(sent["headers"], recorded["headers"])
            if recorded["body"]:
                self.assertEqual(json.loads(self.plain(sent["body"].decode())),
                                 json.loads(self.plain(json.dumps(recorded["body"]))))
        for recorded in case["hooks"]:
            run = self.runs(branch=branch)[0]
            self.assertEqual((run["event_type"], run["status"]), (recorded["event"], recorded["run_status"]))
            hook = next(h for h in self.hooks(run) if h["hook_run_id"] == recorded["hook_run_id"])
            self.assertEqual((hook["action"], hook["hook_id"], hook["status"]),
                             (recorded["action"], recorded["hook_id"], recorded["status"]))
            if case["case"] not in self.OTHERWISE:
                self.same_output(case["case"], recorded["output"], self.output(run, hook))

    def same_headers(self, sent, recorded):
        def shown(headers):
            return sorted((k.title(), self.plain(v)) for k, v in headers if k.lower() not in ("content-length", "date"))
        self.assertEqual(shown(sent), [(k.title(), v) for k, v in sorted((k.title(), self.plain(v)) for k, v in recorded
                                                                        if k.lower() not in ("content-length", "date"))])

    def same_output(self, name, recorded, said):
        recorded, said = self.plain(recorded.replace(*self.HIDDEN.get(name, ("", "")))), self.plain(said)
        if name == "environment variable in url, query and header":  # in whatever order
            recorded, said = "\n".join(sorted(recorded.split("\n"))), "\n".join(sorted(said.split("\n")))
            said = said.replace("Content-Type: text/own", "")
        if name == "lua args with environment":  # the server's own settings stay the server's
            recorded = recorded.replace("$SERVER", "empty")
        if not self.covers(recorded, said):
            self.assertEqual(said, recorded)

    def test_events(self):
        fixture = json.loads((FIXTURES / "events.json").read_text())
        ids, names = {}, {}

        def ref(name):
            return self.at("GET", f"/refs/{name}/commits", 200, amount=1).json["results"][0]["id"]

        def put_commit(path, branch, message, **more):
            self.put(path, path, branch)
            self.commit(branch, message, **more)

        def merge(source, into, **body):
            self.at("POST", f"/refs/{source}/merge/{into}", 200, json_body=body)
        steps = [
            lambda: (self.put("_lakefs_actions/all.yaml", self.fill(fixture["action_file"])),
                     put_commit("f.txt", "main", "add the actions", metadata={"k": "v", "second": "2"})),
            lambda: self.branch("b1"),
            lambda: (put_commit("g.txt", "b1", "on b1"), ids.update(b1=ref("b1"))),
            lambda: merge("b1", "main", message="merge it", metadata={"reviewed": "yes"}, strategy="source-wins"),
            lambda: self.at("POST", "/tags", 201, json_body={"id": "t1", "ref": "main"}),
            lambda: self.at("POST", "/branches/b1/revert", 204, json_body={"ref": ids["b1"], "parent_number": 0}),
            lambda: self.branch("b2", "main~1"),
            lambda: self.at("POST", "/branches/b2/cherry-pick", 201, json_body={"ref": ids["b1"]}),
            lambda: self.at("DELETE", "/tags/t1", 204),
            lambda: self.at("DELETE", "/branches/b2", 204),
            lambda: put_commit("h.txt", "main", "h.txt"),
            lambda: merge(ref("main"), "b1"),
            lambda: (self.branch("b3", ref("main~1~1")), merge("main", "b3", squash_merge=True)),
            None,  # an import wants a server that may read a folder: test_import
            lambda: self.at("POST", "/branches", 201, json_body={"name": "h", "source": "main", "hidden": True}),
            lambda: self.commit("main", "empty"),
            lambda: self.at("PUT", "/branches/b1/hard_reset", 204, ref="main", force="true"),
        ]
        self.assertEqual(len(steps), len(fixture["steps"]))
        for do, step in zip(steps, fixture["steps"]):
            if do is None:
                continue
            with self.subTest(step["step"]):
                self.listener.take()
                before = {run["run_id"] for run in self.runs(amount=1000)}
                do()
                # What runs behind a change runs beside the next one.
                wanted = sorted(step["events"], key=lambda e: e["event"])
                wait_until(lambda: len(self.runs(amount=1000)) >= len(before) + len(wanted), 10, "all runs have ended")
                got = sorted(self.listener.take(), key=lambda r: json.loads(r["body"])["event_type"])
                runs = {r["event_type"]: r for r in self.runs(amount=1000) if r["run_id"] not in before}
                self.assertEqual([json.loads(r["body"])["event_type"] for r in got], [e["event"] for e in wanted])
                for sent, event in zip(got, wanted):
                    self.one_event(sent, event, runs[event["event"]], names)

    def one_event(self, sent, event, run, names):
        recorded = event["request"]
        self.assertEqual(sent["target"], recorded["target"])
        self.same_headers(sent["headers"], recorded["headers"])
        self.match(json.loads(sent["body"]), recorded["body"], names)
        self.assertEqual(list(json.loads(sent["body"])), list(recorded["body"]))
        if event["event"] == "pre-cherry-pick":
            run = {**run, "commit_id": ""}  # lakeFS forgets it
        self.match(run, event["run"], names)
        table = json.loads(self.output(run, self.hooks(run)[1]))
        self.match(table["action"], event["lua_action"], names)
        globals_ = json.loads((FIXTURES / "events.json").read_text())["lua_globals_besides_action"]
        self.assertEqual({k: v for k, v in table.items() if k != "action"}, globals_)

    def match(self, got, recorded, names):
        """Placeholders of the recording stand for one value each."""
        if isinstance(recorded, dict):
            self.assertEqual(sorted(got), sorted(recorded))
            for key, value in recorded.items():
                self.match(got[key], value, names)
            return
        if not isinstance(recorded, str):
            return self.assertEqual(got, recorded)
        found = re.search(r"<(\w+):(\d+)>", recorded)
        if recorded == "<time>":
            return self.assertRegex(got, r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")
        recorded = recorded.replace("repo-1", self.repository)
        if not found:
            return self.assertEqual(got, recorded)
        head, tail = recorded.split(found[0], 1)
        self.assertTrue(got.startswith(head) and got.endswith(tail), f"{got} is not {recorded}")
        value = got[len(head):len(got) - len(tail)]
        self.assertRegex(value, r"^[0-9a-f]{64}$" if found[1] == "hex64" else r"^[0-9a-v]{20}$")
        self.assertEqual(names.setdefault(found[0], value), value)

    # Expressions whose value is another here, and why.
    BETTER = {
        'require("encoding/json").marshal({a=1,b="x",c={1,2,3},d={},e=true,f=1.5})': "lists need not be marked",
        'require("encoding/json").marshal({1,2,nil,4})': "lists need not be marked",
        'require("encoding/json").marshal("text <&> ü")': "any value can be written",
        'require("encoding/json").marshal(12345678901234567890)': "any value can be written",
        'require("encoding/json").marshal({a={b={1,{c=2}}}}, {prefix="", indent="  "})': "lists need not be marked",
        'require("encoding/yaml").marshal({a=1,b={"x","y"},c={d=true}})': "lists need not be marked",
        'string.gsub("hello","l","L")': "it is there", 'string.match("key=val","(%w+)=(%w+)")': "it is there",
        "string.gmatch": "it is there",
        "10//3": "Lua's own words",
        'require("regexp").compile("(")': "a call at the end of a function leaves no place to tell",
    }

    def test_lua_functions(self):
        cases = json.loads((FIXTURES / "lua-functions.json").read_text())
        self.branch("branch-1")
        for path in ("d/a.txt", "d/b.txt"):
            self.at("POST", "/branches/branch-1/objects", 201, path=path, body=f"content of {path}".encode(),
                    headers={"Content-Type": "text/plain"})
        self.at("PUT", "/branches/branch-1/objects/stat/user_metadata", 204, path="d/a.txt", json_body={"set": {"k": "v"}})
        self.script(r"""
            local json, hex = require("encoding/json"), require("encoding/hex")
            local function show(v)
                if type(v) == "function" then return "<function>" end
                if type(v) == "string" then return {hex = hex.encode(v)} end
                if type(v) ~= "table" then return v end
                local o = {}
                for k, x in pairs(v) do o[type(k) == "number" and "[" .. k .. "]" or k] = show(x) end
                return {table = o}
            end
            for i, expression in ipairs(args.expressions) do
                local chunk, reason = load("return " .. expression)
                local got = chunk and table.pack(pcall(chunk)) or {"syntax", reason, n = 2}
                local values = {n = got.n - 1}
                for k = 2, got.n do values["v" .. (k - 1)] = show(got[k]) end
                print(json.marshal({ok = got[1], values = values}))
            end
            """, "prepare-commit", "branch-1", expressions=[c["expression"] for c in cases])
        answer = self.commit("branch-1")
        self.assertEqual(answer.status, 201, answer.body)
        lines = [line for line in self.last_output().split("\n") if line]
        self.assertEqual(len(lines), len(cases))
        for case, line in zip(cases, lines):
            with self.subTest(case["expression"]):
                got = json.loads(line)
                values = [self.value(got["values"].get(f"v{i + 1}")) for i in range(int(got["values"]["n"]))]
                if case["expression"] in self.BETTER:
                    self.assertNotEqual((got["ok"], values), (case["ok"], case["values"]))
                    continue
                self.assertEqual(got["ok"], case["ok"], values)
                self.assertEqual(len(values), len(case["values"]), values)
                for value, recorded in zip(values, case["values"]):
                    self.same_value(value, recorded)

    def value(self, shown):
        if not isinstance(shown, dict):
            return shown
        if "table" in shown:
            return {k: self.value(v) for k, v in shown["table"].items()}
        raw = bytes.fromhex(shown["hex"])
        try:
            return raw.decode()
        except UnicodeDecodeError:
            return {"bytes_hex": raw.hex()}

    def same_value(self, got, recorded):
        if isinstance(recorded, dict):
            # What REST says besides is no fault: listings of lakeFS's scripts lack some fields.
            self.assertTrue(isinstance(got, dict) and set(recorded) <= set(got), f"{got} is not {recorded}")
            for key, value in recorded.items():
                if key != "message":
                    self.same_value(got[key], value)
        elif isinstance(recorded, str) and "<" in recorded:
            names = {"time": r"[\d\-:TZ]+", "epoch": r"\d+", "hex64": r"\w{64}", "runid": r"\w{20}", "function": "<function>",
                     "HookFailure": "<HookFailure>", "/HookFailure": "</HookFailure>"}
            parts = re.split(r"<(/?\w+)(?::\d+)?>", self.plain_value(recorded))
            pattern = "".join(re.escape(p) if i % 2 == 0 else names.get(p, re.escape(f"<{p}>")) for i, p in enumerate(parts))
            self.assertRegex(self.plain_value(got), f"^{pattern}$")
        elif isinstance(recorded, str):
            if '"message"' in recorded:  # an error's words are our own
                return self.assertIn("message", json.loads(got))
            self.assertEqual(self.plain_value(got), self.plain_value(recorded))
        elif isinstance(recorded, float):
            self.assertAlmostEqual(got, recorded, delta=abs(recorded) * 1e-9)
        else:
            self.assertEqual(got, recorded)

    def plain_value(self, text):
        text = str(text).replace(self.repository, "repo-1")
        # Chunks are called by their text, which Lua and Go cut at other places.
        text = re.sub(r'^\[string "return .*?"\]:1: ', "<chunk>", text, flags=re.S)
        return re.sub(r"local://[^\"]*/data/", "local://$DATA/data/", text)

    def test_lua_environment(self):
        fixture = json.loads((FIXTURES / "lua-environment.json").read_text())
        self.script(r"""
            local json = require("encoding/json")
            local globals = {}
            for k, v in pairs(_G) do
                globals[k] = type(v)
                if type(v) == "table" and k ~= "_G" and k ~= "args" and k ~= "action" and k ~= "package" then
                    for m, x in pairs(v) do globals[k .. "." .. m] = type(x) end
                end
            end
            local packages = {}
            for _, name in ipairs(args.packages) do
                local isThere, package = pcall(require, name)
                packages[name] = isThere and {} or "missing"
                if isThere then for m, x in pairs(package) do packages[name][m] = type(x) end end
            end
            local missing = {}
            for _, name in ipairs(args.missing) do missing[name] = not pcall(require, name) end
            print(json.marshal({globals = globals, packages = packages, missing = missing}))
            """, packages=list(fixture["packages"]), missing=fixture["not_available"])
        answer = self.commit()
        self.assertEqual(answer.status, 201, answer.body)
        got = json.loads(self.last_output())
        for name, kind in fixture["globals"].items():
            self.assertEqual(got["globals"].get(name), kind["type"] if isinstance(kind, dict) else kind, name)
        for name, members in fixture["packages"].items():
            self.assertIsInstance(got["packages"][name], dict, name)
            for member, kind in members.items():
                self.assertEqual(got["packages"][name].get(member), kind["type"] if isinstance(kind, dict) else kind,
                                 f"{name}.{member}")
        # net/http is allowed on this server.
        self.assertEqual([n for n, gone in got["missing"].items() if not gone], ["net/http"])


# -- what is ours ------------------------------------------------------------------------------------------------------

class OwnTest(HookTest):
    def webhook(self, path, hook_id="call", **properties):
        return {"id": hook_id, "type": "webhook", "properties": {"url": f"http://{self.listener.address}{path}", **properties}}

    def refused(self, branch="main", status=412, **more):
        answer = self.commit(branch, **more)
        self.assertEqual(answer.status, status, answer.body)
        return answer.json["message"]

    def test_signed_bodies(self):
        self.action([self.webhook("/all", secret="{{ ENV.LAKEFSACTION_VAR }}")])
        self.assertEqual(self.commit().status, 201)
        sent = self.listener.take()[0]
        wanted = hmac.new(b"this_is_actions_var", sent["body"], hashlib.sha256).hexdigest()
        self.assertEqual(dict(sent["headers"])["X-Lakefuse-Signature-256"], f"sha256={wanted}")
        self.assertNotIn("this_is_actions_var", self.last_output())

    def test_webhooks_that_misbehave(self):
        self.action([self.webhook("/circle/0")])
        self.assertIn("stopped after 10 redirects", self.refused())
        self.assertEqual(len(self.listener.take()), 10)
        self.action([self.webhook("/flood")])
        began, resident = time.monotonic(), self.lake.resident()
        self.assertEqual(self.commit().status, 201)  # its status is what counts
        self.assertLess(time.monotonic() - began, 5)
        self.assertLess(self.lake.resident() - resident, 50)
        self.action([self.webhook("/slow/9", timeout="300ms")])
        began = time.monotonic()
        self.assertIn("context deadline exceeded", self.refused())
        self.assertLess(time.monotonic() - began, 3)

    def test_airflow(self):
        dag = {"url": f"http://{self.listener.address}", "dag_id": "dag", "username": "u", "password": "p", "wait_for_dag": True}
        for version, prefix in ((1, "/api/v1"), (2, "/api/v2")):
            with self.subTest(version):
                self.listener.states = iter(["queued", "running", "success", "running", "failed"])
                self.action([{"id": "dag", "type": "airflow", "properties": {**dag, "api_version": version}}])
                self.assertEqual(self.commit().status, 201)
                self.assertIn("has failed", self.refused())
                sent = [r for r in self.listener.take() if r["target"] != "/auth/token"]
                self.assertEqual([r["method"] for r in sent], ["POST", "GET", "GET", "GET", "POST", "GET", "GET"])
                self.assertTrue(all(r["target"].startswith(f"{prefix}/dags/dag/dagRuns") for r in sent))
                login = dict(sent[0]["headers"])["Authorization"]
                self.assertEqual(login, "Basic dTpw" if version == 1 else "Bearer airflow-3")
                self.assertEqual("logical_date" in json.loads(sent[0]["body"]), version == 2)

    # -- scripts ---------------------------------------------------------------------------------------------------

    def test_scripts_within_limits(self):
        for name, script, said in (
                ("loops", "while true do end", "instructions"),
                ("loops, and catches what is raised", "while true do pcall(function() while true do end end) end", "instructions"),
                ("eats memory", "t = {} for i = 1, 1e9 do t[i] = ('x'):rep(1000) .. i end", "memory"),
                ("eats memory, and catches it", "while true do pcall(string.rep, 'x', 1e9) end", "memory"),
                ("one large text", "x = ('x'):rep(1e9)", "memory"),
                ("backtracks", "('a'):rep(300):find(('.-'):rep(8) .. 'b')", "longer than 5 s"),
                ("sleeps", "require('time').sleep(60e9)", "longer than 5 s"),
                ("goes too deep", "local function f() return 1 + f() end f()", "memory"),
                ("a deep table", "t = {} for i = 1, 1000 do t = {t} end require('encoding/json').marshal(t)", "too deep"),
                ("regular expressions", "require('regexp').match('(a+)+$', ('a'):rep(100000) .. 'b')", "steps"),
                ("bytecode", "assert(load('\\27Lua', 'x', 'b'))", "only texts"),
                ("bytecode as text", "assert(load('\\27LuaR', 'x'))", "binary"),
                ("a file", "require('io')", "not found"),
                ("the registry", "print(debug.getregistry().x, debug.sethook) debug.sethook() while true do end", "instructions")):
            with self.subTest(name):
                self.script(script)
                began = time.monotonic()
                self.assertIn(said, self.refused())
                self.assertLess(time.monotonic() - began, 12)
        self.script("for i = 1, 1e6 do print(('x'):rep(100)) end")
        self.assertEqual(self.commit().status, 201)
        self.assertLess(len(self.last_output()), 5 << 20)
        self.assertTrue(self.last_output().endswith("is left out)\n"))
        self.script("print(('a b'):gsub(' ', '_'), ('k=v'):match('(%w+)=(%w+)')) for w in ('x y'):gmatch('%w') do print(w) end")
        self.assertEqual(self.commit().status, 201)
        self.assertEqual(self.last_output(), "a_b\tk\tv\nx\ny\n")

    def test_ways_out_of_a_script(self):
        secret = self.folder / "secret"
        secret.write_text("not for scripts")
        s3 = f"local s3 = require('aws').s3_client('a', 'b', 'us-east-1', 'file://') "
        for name, script, said in (
                ("reads a file", s3 + f"s3.get_object('{str(secret.parent)[1:]}', 'secret')", "only http and https"),
                ("writes a file", s3 + f"s3.put_object('{str(secret.parent)[1:]}', 'secret', 'x')", "only http and https"),
                ("gopher", "require('aws').s3_client('a', 'b', 'c', 'gopher://127.0.0.1:1').get_object('b', 'k')", "only http"),
                ("upvalues", "assert(debug.getupvalue(load, 1))", "assertion failed"),
                ("finalizers", "setmetatable({}, {__gc = function() while true do end end})", "__gc are not allowed"),
                ("finalizers by debug", "debug.setmetatable({}, {__gc = function() end})", "__gc are not allowed"),
                ("the smallest number", "require('lakefs').create_tag(-2^63, 'a', 'b') error('alive')", "alive"),
                ("the smallest number in a table", "require('aws').glue_client('a', 'b', 'c', 'http://127.0.0.1:1').create_table('d', {x = -2^63})", "refused"),
                ("a huge reason", "error(('x'):rep(1e7), 0)", "xxx")):
            with self.subTest(name):
                self.script(script)
                message = self.refused()
                self.assertIn(said, message)
                self.assertLess(len(message), 100_000)
        self.assertEqual(secret.read_text(), "not for scripts")
        elsewhere = Listener()
        self.addCleanup(elsewhere.close)
        for target in (f"file://{secret}", f"http://{elsewhere.address}/x?token=this_is_actions_var", f"http://{elsewhere.address}/slow/9?token=this_is_actions_var"):
            with self.subTest(target):
                self.listener.answer = lambda request, path, target=target: (
                    request.send_response(307), request.send_header("Location", target), request.send_header("Content-Length", "0"), request.end_headers())
                self.action([self.webhook("/x", timeout="500ms", secret="s", headers={"X-Api-Key": "{{ ENV.LAKEFSACTION_VAR }}"})])
                answer = self.commit()
                self.assertNotIn("not for scripts", self.last_output())
                self.assertNotIn("this_is_actions_var", self.last_output() + answer.body.decode())
        for sent in elsewhere.take():
            self.assertFalse({"X-Api-Key", "X-Lakefuse-Signature-256"} & set(dict(sent["headers"])))

    def test_processes_that_are_killed(self):
        """Those that wait for a script may go: the next script gets another."""
        self.script("print(1)")
        self.assertEqual(self.commit().status, 201)
        time.sleep(0.3)
        subprocess.run(["pkill", "-KILL", "-P", str(self.lake.process.pid), "-f", "lua-process"], check=True)
        time.sleep(0.1)
        self.assertEqual(self.commit().status, 201)
        self.assertEqual(self.last_output(), "1\n")

    def test_hooks_within_hooks(self):
        """A tag whose hook makes a tag, whose hook makes a tag: refused at some depth, and nothing waits for itself."""
        script = """
            local code, answer = require("lakefs").create_tag(action.repository_id, action.commit_id, action.tag_id .. "x")
            print(code) if code ~= 201 then error(answer.message) end"""
        for name in ("one", "two"):
            self.action([{"id": "script", "type": "lua", "properties": {"script": script}}], "pre-create-tag", name=name)
        self.assertEqual(self.commit().status, 201)
        began = time.monotonic()
        answers = []
        threads = [threading.Thread(target=lambda n=n: answers.append(
            self.at("POST", "/tags", json_body={"id": f"t{n}", "ref": "main"}))) for n in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual({answer.status for answer in answers}, {412})
        self.assertTrue(any("hooks run hooks" in answer.json["message"] for answer in answers))
        self.assertLess(time.monotonic() - began, 60)

    def test_scripts_have_no_settings(self):
        self.script("for _, k in ipairs({'key', 'home', 'own'}) do print(k, args[k]) end",
                    key="{{ ENV.LAKEFUSE_INSTALLATION_SECRET_ACCESS_KEY }}", home="{{ ENV.HOME }}", own="{{ ENV.LAKEFSACTION_VAR }}")
        self.assertEqual(self.commit().status, 201)
        self.assertEqual(self.last_output(), "key\t\nhome\t\nown\tthis_is_actions_var\n")

    def test_scripts_act_as_their_user(self):
        """What the one who commits may not do, the script may not."""
        self.lake.ask("POST", "/auth/users", 201, json_body={"id": "hook-viewer"})
        self.addCleanup(self.lake.rest, "DELETE", "/auth/users/hook-viewer")
        self.lake.ask("PUT", "/auth/groups/Developers/members/hook-viewer", 201)
        keys = self.lake.ask("POST", "/auth/users/hook-viewer/credentials", 201).json
        keys = keys["access_key_id"], keys["secret_access_key"]
        self.script("""
            local lakefs = require("lakefs")
            print(username, (lakefs.create_tag(action.repository_id, "main", "t" .. action.run_id)))
            print((lakefs.list_objects("hooks-other", "main", "", "")))""")
        other = "hooks-other"
        self.lake.rest("POST", "/repositories", json_body={"name": other, "storage_namespace": f"local://{other}"})
        self.assertEqual(self.commit().status, 201)
        self.assertEqual(self.last_output(), "admin\t201\n200\n")
        policy = {"id": "HooksOnly", "statement": [{"effect": "allow", "action": ["fs:*"],
                                                    "resource": f"arn:lakefs:fs:::repository/{self.repository}*"},
                                                   {"effect": "deny", "action": ["fs:CreateTag"], "resource": "*"}]}
        self.lake.ask("POST", "/auth/policies", 201, json_body=policy)
        self.addCleanup(self.lake.rest, "DELETE", "/auth/policies/HooksOnly")
        self.lake.ask("DELETE", "/auth/groups/Developers/members/hook-viewer", 204)
        self.lake.ask("PUT", "/auth/users/hook-viewer/policies/HooksOnly", 201)
        answer = self.at("POST", "/branches/main/commits", keys=keys, json_body={"message": "m", "allow_empty": True})
        self.assertEqual(answer.status, 201, answer.body)
        self.assertEqual(self.last_output(), "hook-viewer\t401\n401\n")

    def test_http_of_scripts(self):
        self.script(f"""
            local http = require("net/http")
            local code, body, headers = http.request("http://{self.listener.address}/status/201")
            print(code, body, headers["content-length"])
            print((http.request{{url = "http://{self.listener.address}/x", method = "PUT", headers = {{["X-A"] = "b"}}, body = "text"}}))""")
        self.assertEqual(self.commit().status, 201)
        self.assertEqual(self.last_output(), "201\tanswer body of the listener\t27\n200\n")
        put = self.listener.take()[1]
        self.assertEqual((put["method"], put["body"], dict(put["headers"])["X-A"]), ("PUT", b"text", "b"))

    def test_packages_that_make_and_read(self):
        """What was encrypted can be decrypted, a Parquet file's schema is read, and what YAML and JSON write they read."""
        import pyarrow
        import pyarrow.parquet
        sink = pyarrow.BufferOutputStream()
        pyarrow.parquet.write_table(pyarrow.table({"a": pyarrow.array([1], pyarrow.int32()), "b": ["x"], "c": [{"d": 1.5, "e": [1]}]}), sink)
        self.put("t.parquet", sink.getvalue().to_pybytes())
        self.script("""
            local aes, json, yaml = require("crypto/aes"), require("encoding/json"), require("encoding/yaml")
            print(aes.decryptCBC("0123456789abcdef", aes.encryptCBC("0123456789abcdef", "hello")), pcall(aes.decryptCBC, "0123456789abcdef", "short"))
            local code, body = require("lakefs").get_object(action.repository_id, action.source_ref, "t.parquet")
            for _, column in ipairs(require("encoding/parquet").get_schema(body)) do print(column.name, column.type) end
            local value = {list = {1, "two", {three = true}}, text = "- odd: #", empty = array({})}
            print(json.marshal(yaml.unmarshal(yaml.marshal(value))) == json.marshal(value), json.marshal(json.unmarshal("[[],{}]")))
            """)
        self.assertEqual(self.commit().status, 201)
        self.assertEqual(self.last_output().split("\n")[:7], [
            "hello\tfalse\tcrypto/aes: the text cannot be decrypted by this key", "a\tINT32", "b\tBYTE_ARRAY", "c.d\tDOUBLE",
            "c.e.list.element\tINT64", "true\t[[],{}]", ""])

    def test_what_is_kept_of_a_run(self):
        """lakeFS's layout beside the data: a manifest, and what each hook said."""
        self.action([{"id": "one", "type": "lua", "properties": {"script": "print(1)"}},
                     {"id": "two", "type": "lua", "if": "failure()", "properties": {"script": "print(2)"}}])
        commit = self.commit().json["id"]
        run = self.newest()["run_id"]
        folder = self.lake.data / "objects" / self.repository / "_lakefs/actions/log" / run
        wait_until(lambda: (folder / "run.manifest").exists(), 20, "small objects are files")
        manifest = json.loads((folder / "run.manifest").read_bytes())
        self.assertEqual(list(manifest["run"]), ["run_id", "branch_id", "source_ref", "event_type", "commit_id", "start_time", "end_time", "passed"])
        self.assertEqual((manifest["run"]["run_id"], manifest["run"]["commit_id"], manifest["run"]["passed"]), (run, commit, True))
        self.assertEqual([(h["hook_run_id"], h["hook_id"], h["action_name"], h["passed"]) for h in manifest["hooks"]],
                         [("0000_0000", "one", "act", True), ("0000_0001", "two", "act", False)])
        self.assertEqual(sorted(p.name for p in folder.iterdir()), ["0000_0000.log", "run.manifest"])
        self.assertEqual((folder / "0000_0000.log").read_text(), "1\n")

    # -- gates -----------------------------------------------------------------------------------------------------

    def gate(self, events="pre-commit", **properties):
        self.action([{"id": "gate", "type": "check", "properties": properties}], events)

    def test_gates(self):
        self.put("raw/kept", "1")
        self.assertEqual(self.commit(allow_empty=False).status, 201)
        self.gate(allowed_paths=["data/*", "_lakefs_actions/*"], largest_size="1KB", no_deletions=["raw/"],
                  required_metadata={"ticket": "^[A-Z]+-[0-9]+$"}, message_pattern="^(fix|feat): ",
                  formats={"*.png": "png", "*.json": "json"})
        for index in range(25):
            self.put(f"elsewhere/{index:02}", "x")
        self.put("data/large", "x" * 1001)
        self.put("data/a.png", "no picture")
        self.put("data/b.json", '{"is": "one"}')
        self.at("DELETE", "/branches/main/objects", 204, path="raw/kept")
        said = self.refused(message="whatever")
        for text in ("message does not match ^(fix|feat): ", "no 'ticket'", "paths that are not allowed (25):", "elsewhere/00",
                     "elsewhere/19", "and 5 more", "data/large: 1001 bytes", "raw/kept", "data/a.png: no png"):
            self.assertIn(text, said)
        self.assertNotIn("elsewhere/20", said)
        self.assertNotIn("data/b.json", said)
        self.at("PUT", "/branches/main/hard_reset", 204, ref="main", force="true")
        self.gate(required_metadata=["ticket"])
        self.assertEqual(self.commit(metadata={"ticket": "x"}).status, 201)
        for properties, said in (({"colour": "red"}, "no property 'colour'"), ({}, "asks for nothing"),
                                 ({"largest_size": "much"}, "no number of bytes"), ({"message_pattern": "("}, "missing closing )"),
                                 ({"formats": {"*": "cuneiform"}}, "'cuneiform' is not known"), ({"parquet_schema": "any"}, "widened")):
            with self.subTest(said):
                self.gate(**properties)
                self.assertIn(said, self.refused(status=500))

    def test_gate_of_parquet_schemas(self):
        import pyarrow
        import pyarrow.parquet

        def put(path, **columns):
            sink = pyarrow.BufferOutputStream()
            fields = [pyarrow.field(n, t, nullable=not n.startswith("must")) for n, t in columns.items()]
            pyarrow.parquet.write_table(pyarrow.schema(fields).empty_table(), sink)
            self.put(path, sink.getvalue().to_pybytes())
        put("t/1.parquet", a=pyarrow.int32(), b=pyarrow.string())
        self.assertEqual(self.commit().status, 201)
        for kind in ("unchanged", "widened"):
            self.gate(parquet_schema=kind)
            put("t/2.parquet", a=pyarrow.int32(), b=pyarrow.string())
            put("other/1.parquet", z=pyarrow.int64())
            self.assertEqual(self.commit().status, 201)
            for columns, said in (({"a": pyarrow.int32()}, "b"), ({"a": pyarrow.string(), "b": pyarrow.string()}, "a"),
                                  ({"a": pyarrow.int64(), "b": pyarrow.string()}, None),
                                  ({"a": pyarrow.int32(), "b": pyarrow.string(), "c": pyarrow.float64()}, None),
                                  ({"a": pyarrow.int32(), "b": pyarrow.string(), "must": pyarrow.int32()}, "must")):
                for path in ("t/1.parquet", "t/3.parquet"):
                    with self.subTest((kind, columns, path)):
                        put(path, **columns)
                        if said is None and kind == "widened":
                            self.assertEqual(self.commit().status, 201)
                            self.at("POST", "/branches/main/revert", 204, json_body={"ref": "main", "parent_number": 1})
                        else:
                            self.assertIn(path, self.refused())
                            self.at("PUT", "/branches/main", 204, json_body={"type": "object", "path": path})
        nested = b"\x19" * 20_000
        self.put("t/4.parquet", b"PAR1" + nested + len(nested).to_bytes(4, "little") + b"PAR1")
        self.assertIn("cannot be read", self.refused())
        self.put("t/4.parquet", "no such thing")
        self.assertIn("no Parquet file", self.refused())

    def test_gates_of_merges(self):
        self.branch("side")
        self.gate("pre-merge", no_deletions=["keep/"], allowed_paths=["keep/*", "_lakefs_actions/*"])
        self.put("keep/a", "1")
        self.assertEqual(self.commit().status, 201)
        self.at("POST", "/refs/main/merge/side", 200)
        self.put("stray", "1")
        self.assertEqual(self.commit().status, 201)
        answer = self.at("POST", "/refs/main/merge/side")
        self.assertEqual(answer.status, 412)
        self.assertIn("stray", answer.json["message"])

    # -- files that are bad ------------------------------------------------------------------------------------------

    def test_bad_files(self):
        bomb = "a: &a [x,x,x,x,x,x,x,x,x,x]\n" + "".join(
            f"{chr(98 + i)}: &{chr(98 + i)} [" + ",".join(f"*{chr(97 + i)}" for _ in range(10)) + "]\n" for i in range(8))
        for name, text, said in (("10 MB", "#" * (10 << 20), "bytes: 1048576 at most"), ("a bomb", bomb, "more than 100000 values"),
                                 ("deep", "a: " + "[" * 1000 + "]" * 1000, "nested deeper"),
                                 ("very deep", "x: " + "[" * 500_000, "nested deeper"),
                                 ("unknown event", "name: x1\non: {pre-cook: }\n", "(line 2: events are prepare-commit, pre-commit"),
                                 ("a list", "- 1\n", "no map"), ("hooks that are none", "name: x1\non: {pre-commit: }\nhooks: 7\n", "line 3"),
                                 ("nonsense", b"\xff\xfe\x00", "yaml: "), ("the smallest number", "name: -0x-8000000000000000\n", "'name' is invalid"),
                                 ("a long text, again and again", "big: &x '" + "y" * 600_000 + "'\nl: [" + "*x," * 1000 + "]\n", "texts have more than")):
            with self.subTest(name):
                self.put("_lakefs_actions/a.yaml", text)
                began = time.monotonic()
                self.assertIn(said, self.refused(status=500))
                self.assertLess(time.monotonic() - began, 3)
        self.assertEqual(self.lake.rest("GET", f"/repositories/{self.repository}").status, 200)

    def test_many_hooks(self):
        self.action([self.webhook(f"/many/{i}", f"h{i}") for i in range(1000)])
        self.assertEqual(self.commit().status, 201)
        self.assertEqual([r["target"] for r in self.listener.take()], [f"/many/{i}" for i in range(1000)])
        run = self.newest()
        page = self.at("GET", f"/actions/runs/{run['run_id']}/hooks", 200, amount=1000).json["results"]
        self.assertEqual((len(page), page[-1]["hook_run_id"], page[-1]["status"]), (1000, "0000_0999", "completed"))

    def test_actions_at_once(self):
        """Twenty actions that wait 0.4 s each take less than one after the other."""
        for index in range(20):
            self.action([self.webhook("/slow/0.4")], name=f"a{index:02}")
        began = time.monotonic()
        self.assertEqual(self.commit().status, 201)
        self.assertLess(time.monotonic() - began, 4)

    def test_imports(self):
        folder = self.folder / "import"
        folder.mkdir()
        (folder / "f").write_text("1")
        lake = Lake(self.folder, "importing", LAKEFUSE_BLOCKSTORE_LOCAL_IMPORT_ENABLED="true",
                    LAKEFUSE_BLOCKSTORE_LOCAL_ALLOWED_EXTERNAL_PREFIXES=str(folder)).start()
        try:
            lake.create_repository("importing")
            hooks = [{"id": "call", "type": "webhook", "properties": {"url": f"http://{self.listener.address}/x"}}]
            lake.upload("importing", "main", "_lakefs_actions/a.yaml", yaml.safe_dump({
                "name": "act", "on": {e: None for e in ("prepare-commit", "pre-commit", "post-commit", "pre-merge")}, "hooks": hooks}).encode())
            lake.commit("importing", "main")
            wait_until(lambda: len(self.listener.received) == 3, 10, "the commit's hooks")
            self.listener.take()
            at = "/repositories/importing/branches/main/import"
            started = lake.ask("POST", at, 202, json_body={"paths": [{
                "path": f"local://{folder}/", "destination": "in/", "type": "common_prefix"}], "commit": {"message": "imported"}})
            wait_until(lambda: lake.ask("GET", at, id=started.json["id"]).json["completed"], 20, "the import")
            wait_until(lambda: len(self.listener.received) == 2, 10, "the import's hooks")
            events = [json.loads(r["body"]) for r in self.listener.take()]
            self.assertEqual([e["event_type"] for e in events], ["pre-commit", "post-commit"])
            self.assertEqual(events[0]["commit_metadata"], {".lakefs.merge.strategy": "source-wins"})
        finally:
            lake.kill()

    def test_read_only_repository(self):
        """What is forced on it runs no hooks."""
        self.action([self.webhook("/status/500")])
        name = f"{self.repository}-shut"
        self.lake.ask("POST", "/repositories", 201, json_body={"name": name, "storage_namespace": f"local://{name}", "read_only": True})
        at = f"/repositories/{name}/branches/main"
        text = yaml.safe_dump({"name": "act", "on": {"pre-commit": None}, "hooks": [self.webhook("/status/500")]})
        self.lake.ask("POST", f"{at}/objects", 201, body=text.encode(), path="_lakefs_actions/a.yaml", force="true")
        self.lake.ask("POST", f"{at}/commits", 201, json_body={"message": "m", "force": True})
        self.assertEqual(self.listener.take(), [])


class CrashTest(HookTest):
    """A server that is killed, and its next start."""

    def setUp(self):
        super().setUp()
        self.own = Lake(self.folder, f"crash-{self.id().rsplit('_', 1)[-1]}").start()
        self.addCleanup(self.own.kill)
        self.own.create_repository("crash")

    def act(self, events, path):
        self.own.upload("crash", "main", "_lakefs_actions/a.yaml", yaml.safe_dump({
            "name": "act", "on": {event: None for event in events},
            "hooks": [{"id": "call", "type": "webhook", "properties": {"url": f"http://{self.listener.address}{path}"}}]}).encode())

    def runs_of(self, commit):
        return self.own.ask("GET", "/repositories/crash/actions/runs", commit=commit).json["results"]

    def test_nothing_is_lost(self):
        """100 commits, killed again and again: each that is in the log has its run behind it, completed or told as cut."""
        self.act(["post-commit"], "/slow/0.02")
        done, lives = 0, 0
        while done < 100:
            lives += 1
            self.assertLess(lives, 100, "the server gets nowhere")
            stop = threading.Timer(0.4, self.own.process.send_signal, [signal.SIGKILL])
            stop.start()
            try:
                while done < 100:
                    # Other bytes each time: the commit before the kill may have been made.
                    self.own.upload("crash", "main", f"f{done}", str(time.monotonic_ns()).encode())
                    self.own.commit("crash", "main", f"c{done}")
                    done += 1
            except (OSError, AssertionError, RuntimeError, http.client.HTTPException):
                stop.join()
                self.own.kill()
                self.own.start()
            else:
                stop.cancel()
                stop.join()
                break
        log = self.own.ask("GET", "/repositories/crash/refs/main/commits", amount=1000).json["results"][:-1]
        self.assertGreaterEqual(len(log), 100)

        def all_told():
            return all(any(r["event_type"] == "post-commit" for r in self.runs_of(c["id"])) for c in log)
        wait_until(all_told, 30, "every commit's run")
        told = [json.loads(r["body"])["commit_id"] for r in self.listener.take()]
        for commit in log:
            runs = [r for r in self.runs_of(commit["id"]) if r["event_type"] == "post-commit"]
            self.assertEqual(len(runs), 1)
            if runs[0]["status"] == "completed":
                self.assertEqual(told.count(commit["id"]), 1)
            else:
                hook = self.own.ask("GET", f"/repositories/crash/actions/runs/{runs[0]['run_id']}/hooks").json["results"][0]
                output = self.own.ask("GET", f"/repositories/crash/actions/runs/{runs[0]['run_id']}/hooks/{hook['hook_run_id']}/output")
                self.assertIn(b"the server ended while the run was under way", output.body)

    def test_a_branch_that_is_gone(self):
        """What waits behind a change runs at the next start, though the branch has been deleted since."""
        self.act(["post-commit"], "/slow/1")
        self.own.commit("crash", "main", "the actions")
        self.own.ask("POST", "/repositories/crash/branches", 201, json_body={"name": "gone", "source": "main"})
        ids = []
        for index in range(12):
            self.own.upload("crash", "gone", f"f{index}", b"1")
            self.own.commit("crash", "gone", f"c{index}")
            ids.append(self.own.ask("GET", "/repositories/crash/branches/gone").json["commit_id"])
        self.own.ask("DELETE", "/repositories/crash/branches/gone", 204)
        self.own.kill()
        self.own.start()
        wait_until(lambda: all(any(r["event_type"] == "post-commit" for r in self.runs_of(i)) for i in ids), 30, "all runs")
        told = [json.loads(r["body"])["commit_id"] for r in self.listener.take()]
        for commit in ids:
            status = next(r["status"] for r in self.runs_of(commit) if r["event_type"] == "post-commit")
            # What was under way may have been cut before it told anybody.
            self.assertIn(told.count(commit), (1,) if status == "completed" else (0, 1))

    def test_a_run_that_is_cut(self):
        self.act(["pre-commit"], "/slow/60")
        self.own.upload("crash", "main", "f", b"1")

        def commit():
            with contextlib.suppress(Exception):
                self.own.rest("POST", "/repositories/crash/branches/main/commits", json_body={"message": "m"})
        thread = threading.Thread(target=commit)
        thread.start()
        wait_until(lambda: self.listener.received, 10, "the hook runs")
        self.own.kill()
        thread.join()
        self.own.start()
        runs = self.own.ask("GET", "/repositories/crash/actions/runs").json["results"]
        self.assertEqual([(r["event_type"], r["status"]) for r in runs], [("pre-commit", "failed")])
        self.assertEqual(len(self.own.ask("GET", "/repositories/crash/refs/main/commits").json["results"]), 1)

    def test_old_runs_go(self):
        self.own.kill()
        self.own.environment["LAKEFUSE_ACTIONS_RUNS_MAX_COUNT"] = "3"
        self.own.start()
        self.act(["pre-commit"], "/x")
        for index in range(6):
            self.own.commit("crash", "main", f"c{index}", allow_empty=True)
        self.assertEqual(len(self.own.ask("GET", "/repositories/crash/actions/runs").json["results"]), 6)
        self.own.stop()
        self.own.start()
        newest = self.own.ask("GET", "/repositories/crash/actions/runs").json["results"]
        wait_until(lambda: len(self.own.ask("GET", "/repositories/crash/actions/runs").json["results"]) == 3, 20, "old runs are gone")
        self.assertEqual(self.own.ask("GET", "/repositories/crash/actions/runs").json["results"], newest[:3])


if __name__ == "__main__":
    unittest.main()
