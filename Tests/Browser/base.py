"""A lake with something of everything, and a browser to look at it with."""
import os
import pathlib
import sys
import unittest

import lake as lakes
from playwright.sync_api import expect, sync_playwright

import contents

PICTURES = lakes.ROOT / ".browser-pages"
WIDTHS = (360, 1400)
THEMES = ("light", "dark")
ODD = ["<b>bold</b>.txt", "quote\"'s.txt", "line\nbreak.txt", "right\u202eto-left.txt", "עברית.txt", "x" * 1000 + ".txt", "a&b=c?d#e%25.txt", "sp ace/+.txt"]
expect.set_options(timeout=10_000)


class Browser(unittest.TestCase):
    """A lake with something of everything, and a browser: one for all tests."""

    lake = None

    @classmethod
    def setUpClass(cls):
        if Browser.lake:
            return
        folder = lakes.work_folder("browser")
        Browser.folder = folder
        # The duckdb program of this environment is on the server's path.
        programs = f"{pathlib.Path(sys.executable).parent}:{os.environ['PATH']}"
        Browser.lake = lake = lakes.Lake(folder, PATH=programs).start()
        PICTURES.mkdir(exist_ok=True)
        for old in PICTURES.glob("*.png"):
            old.unlink()
        lake.create_repository("demo")
        for path, body in contents.files().items():
            lake.upload("demo", "main", path, body)
        for name in ODD:
            lake.upload("demo", "main", "odd/" + name, b"odd")
        lake.upload("demo", "main", b"odd/invalid\xff\xfe.txt", b"odd")
        lake.commit("demo", "main", "Everything to look at\n\nWith a second line.", metadata={"source": "test"})
        lake.ask("POST", "/repositories/demo/branches", 201, json_body={"name": "feature", "source": "main"})
        lake.upload("demo", "feature", "tables/people.csv", contents.PEOPLE_CHANGED)
        lake.upload("demo", "feature", "docs/notes.txt", b"one\nTWO\nthree\nfour\n")
        lake.commit("demo", "feature", "Feature work")
        lake.upload("demo", "main", "later.txt", b"later")
        lake.commit("demo", "main", "Later on main")
        lake.ask("POST", "/repositories/demo/refs/feature/merge/main", 200, json_body={"message": "Merge feature"})
        lake.ask("POST", "/repositories/demo/tags", 201, json_body={"id": "v1", "ref": "main"})
        lake.ask("POST", "/repositories/demo/branches", 201, json_body={"name": "try", "source": "main"})
        lake.upload("demo", "try", "docs/notes.txt", b"tried\n")
        lake.commit("demo", "try", "Tried")
        lake.ask("POST", "/repositories/demo/pulls", 201, json_body={"title": "Please look", "description": "At **this**", "source_branch": "try", "destination_branch": "main"})
        lake.upload("demo", "main", "uncommitted.txt", b"new")
        Browser.playwright = sync_playwright().start()
        Browser.chromium = Browser.playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])

    def open(self, *, width=1400, theme="light", scripts=True, signed_in=True):
        """A page of a browser of its own."""
        context = self.chromium.new_context(viewport={"width": width, "height": 900}, color_scheme=theme, java_script_enabled=scripts, base_url=self.lake.endpoint, bypass_csp=False)
        self.addCleanup(context.close)
        if signed_in:
            context.add_cookies([{"name": "internal_auth_session", "value": self.session(), "url": self.lake.endpoint}])
        page = context.new_page()
        page.set_default_timeout(10_000)
        problems = []
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("console", lambda message: problems.append(message.text) if message.type == "error" and "status of" not in message.text else None)
        self.addCleanup(lambda: self.assertEqual(problems, []))
        return page

    _session = None

    def session(self):
        if not Browser._session:
            Browser._session = self.lake.ask("POST", "/auth/login", 200, json_body={"access_key_id": lakes.KEY, "secret_access_key": lakes.SECRET}).json["token"]
        return Browser._session

    def see(self, page, address):
        answer = page.goto(address)
        self.assertLess(answer.status, 400, f"{address}: {answer.status} {page.inner_text('main')[:500]}")
        return answer


def settled(page):
    page.wait_for_load_state("load")
    page.wait_for_timeout(150)
