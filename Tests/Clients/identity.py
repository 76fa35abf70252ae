#!/usr/bin/env python3
"""Who logs in by what other systems say: OpenID Connect, a directory, a remote authenticator, roles of AWS. Start it with run-identity.sh."""
import hashlib
import hmac
import html.parser
import http.client
import http.server
import json
import os
import pathlib
import socket
import subprocess
import sys
import threading
import unittest
import urllib.parse

import boto3
import lakefs
import requests

from s3_clients import ClientTest, main  # first: it shows where `lake` is
import lake

BASE = "http://lake.example"  # where browsers believe the server to be
CALLBACK = f"{BASE}/api/v1/oidc/callback"


class Form(html.parser.HTMLParser):
    """The hidden fields of a page's form."""

    def __init__(self, text):
        super().__init__()
        self.fields = {}
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        if tag == "input" and given.get("type") == "hidden":
            self.fields[given["name"]] = given.get("value", "")


class StandIn:
    """An HTTP server that answers by a function of path, headers and body."""

    def __init__(self, answer):
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                status, text = answer(self.path, self.headers, body)
                self.send_response(status)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *_):
                pass
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.address = f"http://127.0.0.1:{self.server.server_port}"

    def close(self):
        self.server.shutdown()
        self.server.server_close()


class IdentityTest(unittest.TestCase):
    """Each test has a server of its own."""

    def setUp(self):
        self.scratch = ClientTest.folder / self._testMethodName
        self.scratch.mkdir()

    def start(self, *arguments, **settings):
        """A server with settings of `auth`, by the names that the environment has for them."""
        made = lake.Lake(self.scratch, **{f"LAKEFUSE_AUTH_{name}": value for name, value in settings.items()}).start(*arguments)
        self.addCleanup(made.kill)
        return made

    def run_program(self, port, *arguments, path="/"):
        """Starts a server program, until the test ends; it is ready when it listens."""
        process = subprocess.Popen([str(a) for a in arguments], cwd=self.scratch, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                   env={"PATH": os.environ["PATH"], "HOME": str(self.scratch)})
        self.addCleanup(process.wait)
        self.addCleanup(process.terminate)

        def listens():
            try:
                http.client.HTTPConnection("127.0.0.1", port, timeout=1).connect()
                return True
            except OSError:
                return False
        lake.wait_until(listens, 30, f"{arguments[0]} listens")

    def groups(self, server, user):
        return [group["id"] for group in server.ask("GET", f"/auth/users/{user}/groups").json["results"]]

    def who(self, server, headers):
        return server.rest("GET", "/user", keys=None, headers=headers).json["user"]["id"]

    def login(self, server, name, password):
        return server.rest("POST", "/auth/login", keys=None, json_body={"access_key_id": name, "secret_access_key": password})

    def program(self, name):
        return pathlib.Path(sys.executable).parent / name


class OpenIDTest(IdentityTest):
    def settings(self, issuer, *arguments, **more):
        return self.start(*arguments, OIDC_URL=issuer, OIDC_CLIENT_ID="lake", OIDC_CLIENT_SECRET="client-secret", OIDC_CALLBACK_BASE_URL=BASE, **more)

    def come_back(self, server, address, cookie):
        """The browser at our callback again."""
        self.assertTrue(address.startswith(CALLBACK + "?"), address)
        return server.send("GET", address.removeprefix(BASE), headers={"Cookie": cookie})

    def begin(self, server):
        answer = server.send("GET", "/api/v1/oidc/login")
        self.assertEqual(answer.status, 302)
        return answer.headers["location"], answer.headers["set-cookie"].split(";")[0]

    def test_nanoidp(self):
        """Code flow with PKCE, a login form, keys with ids; the groups that the provider tells."""
        port = free_port()
        issuer = f"http://127.0.0.1:{port}"
        subprocess.run([self.program("nanoidp"), "init"], cwd=self.scratch, check=True, capture_output=True)
        settings = self.scratch / "config/settings.yaml"
        text = settings.read_text().replace("http://localhost:8000", issuer).replace("demo-client", "lake").replace("demo-secret", "client-secret")
        settings.write_text(text.replace('description: "Default', f'redirect_uris: ["{CALLBACK}"]\n      description: "Default'))
        users = self.scratch / "config/users.yaml"
        users.write_text(users.read_text().replace("ADMINISTRATORS", "Developers"))
        self.run_program(port, self.program("nanoidp"), "--config", "./config", "--host", "127.0.0.1", "--port", port)
        server = self.settings(issuer, OIDC_USERNAME_CLAIM_NAME="preferred_username", OIDC_INITIAL_GROUPS_CLAIM_NAME="groups")
        self.assertEqual(server.ask("GET", "/setup_lakefs", keys=None).json["login_config"]["login_url"], "/api/v1/oidc/login")

        def log_in(name, password):
            address, cookie = self.begin(server)
            browser = requests.Session()
            form = Form(browser.get(address).text)
            return browser.post(address, data=form.fields | {"username": name, "password": password}, allow_redirects=False), cookie

        # `admin` is a user of ours already, who is not the provider's.
        came, cookie = log_in("admin", "admin")
        self.assertEqual(self.come_back(server, came.headers["Location"], cookie).status, 401)
        came, cookie = log_in("testuser", "test123")
        back = self.come_back(server, came.headers["Location"], cookie)
        self.assertEqual(back.status, 200, server.log_tail())
        self.assertIn('url=/"', back.body.decode())
        session = {"Cookie": back.headers["set-cookie"].split(";")[0]}
        self.assertEqual(self.who(server, session), "testuser")
        self.assertEqual(self.groups(server, "testuser"), ["Viewers"])  # the provider told of none
        # The same code again, another browser's cookie, a state that is another's: nobody.
        self.assertEqual(self.come_back(server, came.headers["Location"], cookie).status, 401)
        other, other_cookie = log_in("testuser", "test123")
        self.assertEqual(self.come_back(server, other.headers["Location"], cookie).status, 401)
        self.assertEqual(server.send("GET", other.headers["Location"].removeprefix(BASE)).status, 401)
        changed = other.headers["Location"].replace("state=", "state=x")
        self.assertEqual(self.come_back(server, changed, other_cookie).status, 401)
        self.assertEqual(self.come_back(server, other.headers["Location"], other_cookie).status, 200)
        # The session ends with the user.
        server.ask("DELETE", "/auth/users/testuser", 204)
        self.assertEqual(server.rest("GET", "/repositories", keys=None, headers=session).status, 401)
        # And another user of that name is not the one who logged in.
        server.ask("POST", "/auth/users", 201, json_body={"id": "testuser"})
        self.assertEqual(server.rest("GET", "/repositories", keys=None, headers=session).status, 401)
        self.assertNotIn("client-secret", server.log.read_text())

    def mock(self, *users, arguments=(), **more):
        port = free_port()
        self.run_program(port, self.program("oidc-provider-mock"), "--port", port, *(a for user in users for a in ("--user-claims", json.dumps(user))))
        return self.settings(f"http://127.0.0.1:{port}", *arguments, **more)

    def code(self, server, user):
        """Where the provider sends a user to, and the cookie of the browser."""
        address, cookie = self.begin(server)
        return requests.post(address, data={"sub": user}, allow_redirects=False).headers["Location"], cookie

    def test_oidc_provider_mock(self):
        """Keys without ids; claims that become groups, names, and conditions."""
        users = ({"sub": "alice", "name": "Alice A.", "groups": ["Developers", "Elsewhere", "Developers"], "department": "data"},
                 {"sub": "bob", "groups": "Viewers, SuperUsers", "department": "data"}, {"sub": "eve", "groups": ["Admins"], "department": "sales"})
        file = self.scratch / "config.yaml"
        file.write_text("auth:\n  oidc:\n    validate_id_token_claims:\n      department: data\n")
        server = self.mock(*users, arguments=("--config", file), OIDC_INITIAL_GROUPS_CLAIM_NAME="groups", OIDC_FRIENDLY_NAME_CLAIM_NAME="name")
        for user, groups in (("alice", ["Developers"]), ("bob", ["SuperUsers", "Viewers"])):
            back = self.come_back(server, *self.code(server, user))
            self.assertEqual(back.status, 200, back)
            self.assertEqual(self.groups(server, user), groups)
        self.assertEqual(server.ask("GET", "/auth/users/alice").json["friendly_name"], "Alice A.")
        self.assertEqual(self.come_back(server, *self.code(server, "eve")).status, 401)
        server.ask("GET", "/auth/users/eve", 404)

    def test_oidc_web_identity(self):
        """lakefs' from_web_identity: the client fetches the code, we exchange it."""
        server = self.mock({"sub": "carol"})
        provider = server.environment["LAKEFUSE_AUTH_OIDC_URL"]
        query = {"response_type": "code", "client_id": "lake", "redirect_uri": "http://127.0.0.1:1/cb", "scope": "openid", "state": "s"}
        came = requests.post(f"{provider}/oauth2/authorize?{urllib.parse.urlencode(query)}", data={"sub": "carol"}, allow_redirects=False)
        code = urllib.parse.parse_qs(urllib.parse.urlparse(came.headers["Location"]).query)["code"][0]
        client = lakefs.client.from_web_identity(code, "s", "http://127.0.0.1:1/cb", ttl_seconds=600, host=server.endpoint, username="-", password="-")
        self.assertEqual(list(lakefs.repositories(client)), [])
        self.assertEqual(self.groups(server, "carol"), ["Viewers"])
        with self.assertRaises(lakefs.exceptions.NotAuthorizedException):
            lakefs.client.from_web_identity(code, "s", "http://127.0.0.1:1/cb", host=server.endpoint, username="-", password="-")


class DirectoryTest(IdentityTest):
    def test_ldap(self):
        """Debian's slapd: found by a search, let in by a bind, put into the groups that are here too."""
        port = free_port()
        (self.scratch / "db").mkdir()
        (self.scratch / "slapd.conf").write_text("".join(f"include /etc/ldap/schema/{name}.schema\n" for name in ("core", "cosine", "inetorgperson")) + f"""
modulepath /usr/lib/ldap
moduleload back_mdb
pidfile {self.scratch}/pid
database mdb
suffix "dc=lake"
rootdn "cn=root,dc=lake"
rootpw rootpw
directory {self.scratch}/db
""")
        self.run_program(port, "slapd", "-f", self.scratch / "slapd.conf", "-h", f"ldap://127.0.0.1:{port}", "-d", "0")
        entries = "dn: dc=lake\nobjectClass: dcObject\nobjectClass: organization\no: lake\ndc: lake\n\ndn: ou=people,dc=lake\nobjectClass: organizationalUnit\nou: people\n\n"
        for name, password in (("ann", "ann's"), ("ben", "ben's"), ("Uwe (x)*", "uwe's"), ("admin", "admin's")):
            entries += f"dn: cn={name},ou=people,dc=lake\nobjectClass: inetOrgPerson\ncn: {name}\nsn: {name}\nuid: {name}\nmail: m@example.org\nuserPassword: {password}\n\n"
        entries += "dn: cn=Developers,dc=lake\nobjectClass: groupOfNames\ncn: Developers\nmember: cn=ann,ou=people,dc=lake\n\n"
        subprocess.run(["ldapadd", "-x", "-H", f"ldap://127.0.0.1:{port}", "-D", "cn=root,dc=lake", "-w", "rootpw"], input=entries.encode(), check=True, capture_output=True)
        server = self.start(LDAP_SERVER_ENDPOINT=f"ldap://127.0.0.1:{port}", LDAP_BIND_DN="cn=root,dc=lake", LDAP_BIND_PASSWORD="rootpw",
                            LDAP_USER_BASE_DN="ou=people,dc=lake", LDAP_GROUP_BASE_DN="dc=lake")
        token = self.login(server, "ann", "ann's").json["token"]
        self.assertEqual(self.who(server, {"Authorization": f"Bearer {token}"}), "ann")
        self.assertEqual(self.groups(server, "ann"), ["Developers"])
        self.assertEqual(self.login(server, "ben", "ben's").status, 200)
        self.assertEqual(self.groups(server, "ben"), ["Viewers"])
        # A name is a value, no pattern; an empty password is no login; `admin` is ours.
        for name, password in (("ann", "wrong"), ("ann", ""), ("*", "ann's"), ("a*", "ann's"), ("ann)(uid=*", "ann's"), ("none", "x"), ("admin", "admin's")):
            self.assertEqual(self.login(server, name, password).status, 401, name)
        # What the directory takes for the same name is one user; this one has a name that users here cannot have.
        self.assertEqual(self.login(server, "ANN", "ann's").status, 200)
        self.assertEqual(self.login(server, "Uwe (x)*", "uwe's").status, 400)
        self.assertEqual([user["id"] for user in server.ask("GET", "/auth/users").json["results"]], ["admin", "ann", "ben"])

    def test_ldap_that_is_gone(self):
        """Without an answer nobody is let in, and nobody is told that the password was wrong."""
        server = self.start(LDAP_SERVER_ENDPOINT=f"ldap://127.0.0.1:{free_port()}", LDAP_USER_BASE_DN="dc=lake")
        self.assertEqual(self.login(server, "ann", "x").status, 500)
        self.assertEqual(self.login(server, *server.keys).status, 200)


class RemoteAuthenticatorTest(IdentityTest):
    def test_remote_authenticator(self):
        """A POST of name and password; 200 lets in, as whom the answer says."""
        asked = []

        def answer(path, headers, body):
            question = json.loads(body)
            asked.append((path, headers["content-type"], sorted(question)))
            if question["password"] != "right":
                return 401, b""
            return 200, json.dumps({"external_user_identifier": "dora"} if question["username"] == "d@example.org" else {}).encode()
        remote = StandIn(answer)
        self.addCleanup(remote.close)
        server = self.start(REMOTE_AUTHENTICATOR_ENABLED="true", REMOTE_AUTHENTICATOR_ENDPOINT=f"{remote.address}/login",
                            REMOTE_AUTHENTICATOR_DEFAULT_USER_GROUP="Developers")
        token = self.login(server, "d@example.org", "right").json["token"]
        self.assertEqual(self.who(server, {"Authorization": f"Bearer {token}"}), "dora")
        self.assertEqual(self.groups(server, "dora"), ["Developers"])
        self.assertEqual(self.login(server, "emil", "right").status, 200)
        self.assertEqual(self.login(server, "emil", "wrong").status, 401)
        self.assertEqual(self.login(server, "admin", "right").status, 401)
        self.assertEqual(asked[0], ("/login", "application/json", ["password", "username"]))
        # Who has a key pair is not asked about.
        count = len(asked)
        self.assertEqual(self.login(server, *server.keys).status, 200)
        self.assertEqual(len(asked), count)


class RoleTest(IdentityTest):
    KEY, SECRET, ARN = "AKIAROLE", "role/secret", "arn:aws:sts::123456789012:assumed-role/worker/session-1"

    def sts(self, path, headers, body):
        """AWS STS: who signed a request of GetCallerIdentity by query parameters (SigV4)."""
        target = urllib.parse.urlparse(path)
        query = dict(urllib.parse.parse_qsl(target.query, keep_blank_values=True))
        signature, names = query.pop("X-Amz-Signature"), query["X-Amz-SignedHeaders"].split(";")
        _, day, region, service, _ = query["X-Amz-Credential"].split("/")
        quote = lambda text: urllib.parse.quote(text, safe="-_.~")
        canonical = "\n".join(["POST", "/", "&".join(f"{quote(k)}={quote(v)}" for k, v in sorted(query.items())),
                               "".join(f"{name}:{headers[name]}\n" for name in names), ";".join(names), hashlib.sha256(b"").hexdigest()])
        text = "\n".join(["AWS4-HMAC-SHA256", query["X-Amz-Date"], f"{day}/{region}/{service}/aws4_request", hashlib.sha256(canonical.encode()).hexdigest()])
        key = ("AWS4" + self.SECRET).encode()
        for part in (day, region, service, "aws4_request"):
            key = hmac.digest(key, part.encode(), "sha256")
        if not query["X-Amz-Credential"].startswith(self.KEY) or hmac.new(key, text.encode(), "sha256").hexdigest() != signature:
            return 403, b"<ErrorResponse><Error><Code>SignatureDoesNotMatch</Code></Error></ErrorResponse>"
        return 200, (f'<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><GetCallerIdentityResult>'
                     f"<Arn>{self.ARN}</Arn><Account>123456789012</Account></GetCallerIdentityResult></GetCallerIdentityResponse>").encode()

    def test_aws_role(self):
        """lakefs' from_aws_role: the client signs, AWS says who it is, and the role is a user's."""
        sts = StandIn(self.sts)
        self.addCleanup(sts.close)
        server = self.start(EXTERNAL_AWS_AUTH_STS_ENDPOINT=sts.address)
        session = boto3.Session(aws_access_key_id=self.KEY, aws_secret_access_key=self.SECRET, region_name="eu-central-1")
        log_in = lambda session, **more: lakefs.client.from_aws_role(session, host=server.endpoint, username="-", password="-", **more)
        with self.assertRaises(lakefs.exceptions.NotAuthorizedException):
            log_in(session)
        server.ask("POST", "/auth/users", 201, json_body={"id": "worker"})
        server.ask("PUT", "/auth/groups/Viewers/members/worker", 201)
        at = "/auth/users/worker/external/principals"
        server.ask("POST", at, 201, principalId=self.ARN.rsplit("/", 1)[0])
        client = log_in(session)
        self.assertEqual(list(lakefs.repositories(client)), [])
        self.assertEqual(client.sdk_client.auth_api.get_current_user().user.id, "worker")
        wrong = boto3.Session(aws_access_key_id=self.KEY, aws_secret_access_key="other", region_name="eu-central-1")
        with self.assertRaises(lakefs.exceptions.NotAuthorizedException):
            log_in(wrong)
        # What was signed for another server is worth nothing here.
        with self.assertRaises(lakefs.exceptions.NotAuthorizedException):
            log_in(session, additional_headers={"X-LakeFS-Server-ID": "other.example.org"})
        with self.assertRaises(lakefs.exceptions.BadRequestException):
            log_in(session, additional_headers={"X-Other": "1"})
        # Nor by whoever got it, and says that he is that server.
        token = lakefs.auth._get_identity_token(session, "evil.example.org", None, 60)
        body = {"identityRequest": {"identity_token": token}}
        for host, status in (("evil.example.org", 401), ("127.0.0.1", 401)):
            self.assertEqual(server.rest("POST", "/auth/external/principal/login", keys=None, json_body=body, headers={"Host": host}).status, status)
        # The session ends with the principal.
        server.ask("DELETE", at, 204, principalId=self.ARN.rsplit("/", 1)[0])
        with self.assertRaises(lakefs.exceptions.NotAuthorizedException):
            list(lakefs.repositories(client))


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


if __name__ == "__main__":
    sys.exit(main(sys.modules[__name__]))
