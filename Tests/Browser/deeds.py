"""Every deed on the web page."""
import base64
import pathlib
import tempfile
import time
import unittest
import urllib.parse

import lake as lakes
from playwright.sync_api import expect

import contents
from base import Browser

CONFLICT = "both.txt"


class Deeds(Browser):
    def basic(self):
        return {"Authorization": "Basic " + base64.b64encode(f"{lakes.KEY}:{lakes.SECRET}".encode()).decode()}

    def fill_in(self, page, key, secret):
        page.fill("[name=access_key_id]", key)
        page.fill("[name=secret_access_key]", secret)
        page.click("main button")

    def fresh(self, name):
        """A repository of a test's own, with one commit."""
        self.lake.create_repository(name)
        self.lake.upload(name, "main", "a.txt", b"one\n")
        self.lake.commit(name, "main", "First")
        return f"/repositories/{name}"

    # -- coming in ---------------------------------------------------------------------------------------------

    def test_set_up_and_sign_in(self):
        other = lakes.Lake(self.folder, name="fresh", keys=None)
        other.start()
        try:
            page = self.open(signed_in=False)
            page.goto(other.endpoint + "/")
            self.assertIn("/login", page.url)  # the embedded default sets itself up
        finally:
            other.stop()

    def test_sign_in_and_out(self):
        for scripts in (True, False):
            with self.subTest(scripts=scripts):
                page = self.open(signed_in=False, scripts=scripts)
                self.see(page, "/repositories/demo/branches?prefix=m")
                self.assertIn("/login?next=", page.url)
                self.fill_in(page, lakes.KEY, "wrong")
                expect(page.locator("main .error, main .refused").first).to_be_visible()
                self.fill_in(page, lakes.KEY, lakes.SECRET)
                page.wait_for_url("**/branches?prefix=m")
                page.click("text=Sign out")
                page.goto("/repositories")
                self.assertIn("/login", page.url)

    def test_one_time_link(self):
        link = self.lake.send("POST", "/api/lakefuse/login-links", headers=self.basic())
        address = link.json["location"]
        path = address[len(self.lake.endpoint):]
        self.assertEqual(self.lake.send("HEAD", path).status, 403, "a preview has used it")
        self.assertEqual(self.lake.send("GET", path, headers={"Sec-Fetch-Dest": "image"}).status, 403)
        by_session = self.lake.send("POST", "/api/lakefuse/login-links", headers={"Authorization": "Bearer " + self.session()})
        self.assertEqual(by_session.status, 400, "a session outlives itself")
        page = self.open(signed_in=False)
        self.see(page, address)
        self.assertTrue(page.url.endswith("/repositories"))
        again = self.open(signed_in=False)
        self.assertEqual(again.goto(address).status, 403)
        expect(again.locator(".reason")).to_contain_text("used already")

    def test_a_login_leads_nowhere_else(self):
        page = self.open(signed_in=False)
        for next in ("//evil.example/", "/%09/evil.example/", "/%5Cevil.example", "https://evil.example/"):
            self.see(page, "/login?next=" + next)
            self.assertEqual(page.input_value("[name=next]"), "/repositories")

    def test_forms_of_other_sites_do_nothing(self):
        cookie = {"Cookie": "internal_auth_session=" + self.session(), "Content-Type": "application/x-www-form-urlencoded"}
        body = "name=stolen&source=main"
        for headers in ({"Sec-Fetch-Site": "cross-site"}, {"Origin": "http://evil.example"}, {}):
            self.assertEqual(self.lake.send("POST", "/repositories/demo/branches", body, cookie | headers).status, 403)
        self.assertEqual(self.lake.rest("GET", "/repositories/demo/branches/stolen").status, 404)

    def test_session_that_ends(self):
        page = self.open()
        self.see(page, "/repositories/demo/changes?ref=main")
        page.context.clear_cookies()
        self.lake.upload("demo", "main", "uncommitted.txt", b"newer")
        expect(page.locator("#notes")).to_contain_text("session has ended")

    # -- repositories and data -----------------------------------------------------------------------------------

    def test_create_with_sample_data(self):
        page = self.open()
        self.see(page, "/repositories")
        page.click("text=New repository")
        page.fill("[name=name]", "Bad Name")
        page.locator("main form").evaluate("form => form.noValidate = true")
        page.click("button:text('Create')")
        expect(page.locator(".refused")).to_be_visible()
        page.fill("[name=name]", "sampled")
        page.check("[name=sample_data]")
        page.click("button:text('Create')")
        page.wait_for_url("**/repositories/sampled/objects")
        expect(page.locator("#notes")).to_contain_text("sampled is made")
        self.see(page, "/repositories")
        page.keyboard.press("/")
        page.keyboard.type("sampl")
        expect(page.locator("#list tbody tr")).to_have_count(1)

    def test_upload_by_drag_and_drop(self):
        place = self.fresh("dropped")
        page = self.open()
        self.see(page, f"{place}/objects?ref=main&path=in/")
        transfer = page.evaluate_handle("() => { const data = new DataTransfer(); data.items.add(new File(['hello'], 'dropped #1.txt')); data.items.add(new File(['x'.repeat(100000)], 'two.txt')); return data; }")
        page.dispatch_event("[data-drop]", "dragover", {"dataTransfer": transfer})
        page.dispatch_event("[data-drop]", "drop", {"dataTransfer": transfer})
        expect(page.locator("#list tbody tr")).to_have_count(2)
        self.assertEqual(self.lake.get("dropped", "main", "in/dropped #1.txt"), b"hello")
        with tempfile.TemporaryDirectory() as folder:
            file = pathlib.Path(folder, "chosen.txt")
            file.write_text("chosen")
            page.set_input_files("[data-upload]", file)
            expect(page.locator("#list tbody tr")).to_have_count(3)
        self.assertEqual(self.lake.get("dropped", "main", "in/chosen.txt"), b"chosen")

    def test_browse_by_keyboard(self):
        page = self.open()
        self.see(page, "/repositories")
        page.keyboard.press("j")
        while page.evaluate("document.activeElement.textContent") != "demo":
            page.keyboard.press("j")
        page.keyboard.press("Enter")
        page.wait_for_url("**/repositories/demo/objects")
        page.keyboard.press("j")
        while not page.evaluate("document.activeElement.textContent").startswith("docs/"):
            page.keyboard.press("j")
        page.keyboard.press("Enter")
        page.wait_for_url("**path=docs/")
        page.keyboard.press("j")
        page.keyboard.press("Enter")
        page.wait_for_url("**/object?**")
        page.keyboard.press("u")
        page.wait_for_url("**path=docs/")
        page.keyboard.press("u")
        page.wait_for_url("**/objects?ref=main")

    def test_every_kind_of_file(self):
        page = self.open()
        wanted = {
            "README.md": "The demo", "docs/query.sql": "select", "docs/page.html": "<h1>Stored</h1>", "tables/people.csv": "Edsger", "tables/semi.csv": "integer",
            "tables/lines.jsonl": "not json", "tables/numbers.parquet": "1,000 rows", "tables/broken.parquet": "Parquet", "notebook.ipynb": "ValueError", "broken.ipynb": "no notebook",
            "shapes.geojson": "2 shapes", "bytes.bin": "00000010", "empty.txt": "empty object", "docs/long.txt": "Next part"}
        for path, text in wanted.items():
            with self.subTest(path):
                self.see(page, f"/repositories/demo/object?ref=main&path={urllib.parse.quote(path)}")
                expect(page.locator(".view")).to_contain_text(text)
        for path in ("pictures/pixel.png", "pictures/drawing.svg"):
            self.see(page, f"/repositories/demo/object?ref=main&path={path}")
            page.wait_for_function("document.querySelector('.picture img').naturalWidth > 0")
        self.see(page, "/repositories/demo/objects?ref=main")
        self.assertEqual(page.locator("a[href^='javascript']").count(), 0)
        self.see(page, "/repositories/demo/object?ref=main&path=tables/people.csv&filter=ada")
        expect(page.locator(".view tbody tr")).to_have_count(1)
        raw = self.lake.send("GET", "/repositories/demo/raw?ref=main&path=docs/page.html", headers={"Cookie": "internal_auth_session=" + self.session()})
        self.assertEqual(raw.status, 400)
        raw = self.lake.send("GET", "/repositories/demo/raw?ref=main&path=pictures/drawing.svg", headers={"Cookie": "internal_auth_session=" + self.session()})
        self.assertIn("sandbox", raw.headers["content-security-policy"])

    def test_ask_with_sql(self):
        page = self.open()
        for path, question, answer in (
                ("tables/people.csv", "select name from object order by born limit 1", "Ada"),
                ("tables/numbers.parquet", "select sum(number) as total from object;", "499500"),
                ("tables/numbers.parquet", "describe object", "word")):
            self.see(page, f"/repositories/demo/object?ref=main&path={path}")
            page.fill("[name=sql]", question)
            page.click("button:text('Ask')")
            expect(page.locator("#sql .cells")).to_contain_text(answer)
        # Nothing but the object can be looked at or written, and what is wrong is told in words.
        for question, answer in (
                ("select * from read_text('/etc/passwd')", "disabled"), ("copy object to '/tmp/stolen'", "single SELECT"),
                (".shell id", "syntax error"), ("select 1) ; attach '/tmp/x.db' as x; from (select 1", "syntax error"), ("select 1; select 2", "single SELECT"),
                ("select 1); COPY (select 'gone') TO '/proc/self/fd/0' (FORMAT csv, USE_TMP_FILE false); FROM (select 1", "syntax error"),
                ("select * from '/proc/self/environ'", "does not exist"), ("set memory_limit='9GB'", "single SELECT"), ("selec", "syntax error"),
                ("select count(*) from range(100000000) a, range(100000000) b", "Out of Memory"), ("select sum(sqrt(a.range + b.range)) from range(1000000) a, range(3000000) b", "20 seconds")):
            with self.subTest(question):
                page.set_default_timeout(40_000)
                page.fill("[name=sql]", question)
                page.click("button:text('Ask')")
                page.wait_for_load_state()
                expect(page.locator("#sql .error")).to_contain_text(answer, timeout=30_000)
        page.fill("[name=sql]", "from object")
        page.click("button:text('Ask')")
        expect(page.locator("#sql")).to_contain_text("first 100 rows")

    def test_odd_names(self):
        page = self.open()
        self.see(page, "/repositories/demo/objects?ref=main&path=odd/")
        links = page.locator("#list tbody a[data-open]")
        self.assertGreaterEqual(links.count(), 9)
        addresses = [links.nth(index).get_attribute("href") for index in range(links.count())]
        self.assertEqual(page.locator("#list tbody b").count(), 0, "a name has become markup")
        for address in addresses:
            if address.endswith("/"):
                continue
            self.see(page, address)
            expect(page.locator(".view")).to_contain_text("odd")
        self.see(page, "/repositories/demo/objects?ref=main&path=odd/")
        expect(page.locator("#list")).to_contain_text("line\\nbreak.txt")
        expect(page.locator("#list")).to_contain_text("U+202E")

    def test_size_history_and_copying(self):
        page = self.open()
        page.context.grant_permissions(["clipboard-read", "clipboard-write"])
        self.see(page, "/repositories/demo/objects?ref=main")
        page.click("tr:has-text('tables/') a[data-replace]")
        expect(page.locator("tr:has-text('tables/')")).to_contain_text("objects")
        expect(page.locator("tr:has-text('later.txt') [data-cell]")).to_contain_text("Later on main")
        page.click("text=Where to find it elsewhere")
        page.click("[aria-label='Copy S3']")
        self.assertEqual(page.evaluate("navigator.clipboard.readText()"), "s3://demo/main/")

    def test_delete_and_reset(self):
        place = self.fresh("deleted")
        page = self.open()
        page.on("dialog", lambda dialog: dialog.accept())
        self.see(page, f"{place}/objects?ref=main")
        page.check("[name=path]")
        page.click("text=Delete the chosen")
        expect(page.locator("#notes")).to_contain_text("1 object deleted")
        self.see(page, f"{place}/changes?ref=main")
        page.click("button:text-is('Reset')")
        expect(page.locator("#list")).to_contain_text("Nothing uncommitted")
        self.assertEqual(self.lake.get("deleted", "main", "a.txt"), b"one\n")

    # -- changes, commits, merges ------------------------------------------------------------------------------

    def test_a_change_in_a_mount_appears(self):
        place = self.fresh("mounted")
        folder = self.folder / "mounted-at"
        folder.mkdir()
        self.lake.mount("lakefs://mounted/main", folder)
        page = self.open()
        self.see(page, f"{place}/objects?ref=main")
        self.see(page, f"{place}/changes?ref=main")
        expect(page.locator("#list")).to_contain_text("Nothing uncommitted")
        (folder / "from the mount.txt").write_text("hello")
        expect(page.locator("#list")).to_contain_text("from the mount.txt", timeout=5000)
        page.fill("[name=message]", "From the mount")
        page.click("text=Commit to main")
        page.wait_for_url("**/commits/*")
        expect(page.locator("h1")).to_have_text("From the mount")
        self.see(page, "/mounts")
        expect(page.locator("#list")).to_contain_text(str(folder))
        row = page.locator(f"tr:has-text('{folder.name}')")
        expect(row).to_contain_text("admin")
        with open(folder / "being written", "w") as file:
            file.write("half of it")
            file.flush()
            expect(row).to_contain_text("1 open")
        page.on("dialog", lambda dialog: dialog.accept())
        page.locator(f"tr:has-text('{folder.name}') button:text('Unmount')").click()
        expect(page.locator("#notes")).to_contain_text("is unmounted")

    def test_commit_with_metadata_and_browse_it(self):
        place = self.fresh("committed")
        self.lake.upload("committed", "main", "dir/b.txt", b"b")
        page = self.open()
        self.see(page, f"{place}/changes?ref=main")
        page.click("text=Metadata")
        page.fill("[name=metadata]", "no pair")
        page.fill("[name=message]", "With metadata\n\nand a body")
        page.click("text=Commit to main")
        expect(page.locator(".refused")).to_contain_text("name=value")
        page.fill("[name=metadata]", "team=data\nticket=7")
        page.click("text=Commit to main")
        page.wait_for_url("**/commits/*")
        expect(page.locator("main")).to_contain_text("ticket")
        page.click("tr:has-text('dir/') a")
        page.click("tr:has-text('b.txt') a")
        expect(page.locator("main")).to_contain_text("1 line added")
        self.see(page, f"{place}/commits?ref=main&metadata=ticket%3D7")
        expect(page.locator("#list tbody tr")).to_have_count(1)

    def test_two_people_commit(self):
        place = self.fresh("raced")
        self.lake.upload("raced", "main", "b.txt", b"b")
        page = self.open()
        self.see(page, f"{place}/changes?ref=main")
        page.fill("[name=message]", "Mine")
        self.lake.commit("raced", "main", "Theirs")
        page.click("text=Commit to main")
        expect(page.locator(".refused")).to_contain_text("no changes")

    def conflict(self, name):
        place = self.fresh(name)
        lake = self.lake
        for path in (CONFLICT, "second.txt"):
            lake.upload(name, "main", path, b"base\n")
        lake.commit(name, "main", "Base")
        lake.ask("POST", f"/repositories/{name}/branches", 201, json_body={"name": "side", "source": "main"})
        for path in (CONFLICT, "second.txt", "only.txt"):
            lake.upload(name, "side", path, b"side\n")
        lake.commit(name, "side", "Side")
        for path in (CONFLICT, "second.txt"):
            lake.upload(name, "main", path, b"main\n")
        lake.commit(name, "main", "Main")
        return place

    def test_conflict_and_choose(self):
        place = self.conflict("chosen")
        page = self.open()
        self.see(page, f"{place}/compare?ref=main&compare=side")
        expect(page.locator("#merge")).to_contain_text("2 paths changed on both sides")
        page.check("[name=choice0][value=there]")
        page.check("[name=choice1][value=here]")
        page.click("#merge button:text('Merge')")
        expect(page.locator("#notes")).to_contain_text("Merged", timeout=15_000)
        self.assertEqual(self.lake.get("chosen", "main", CONFLICT), b"side\n")
        self.assertEqual(self.lake.get("chosen", "main", "second.txt"), b"main\n")
        self.assertEqual(self.lake.get("chosen", "main", "only.txt"), b"side\n")
        branches = self.lake.rest("GET", "/repositories/chosen/branches", show_hidden="true").json["results"]
        self.assertEqual({branch["id"] for branch in branches}, {"main", "side"}, "something was left behind")

    def test_a_choice_is_of_what_was_seen(self):
        place = self.conflict("moved")
        page = self.open()
        self.see(page, f"{place}/compare?ref=main&compare=side")
        page.check("[name=choice0][value=there]")
        page.check("[name=choice1][value=there]")
        self.lake.upload("moved", "main", CONFLICT, b"newer\n")
        self.lake.commit("moved", "main", "Meanwhile")
        page.click("#merge button:text('Merge')")
        expect(page.locator("#merge .refused")).to_contain_text("conflict")
        self.assertEqual(self.lake.get("moved", "main", CONFLICT), b"newer\n")

    def test_choices_cover_every_conflict(self):
        place = self.conflict("covered")
        page = self.open()
        self.see(page, f"{place}/compare?ref=main&compare=side")
        page.check("[name=choice0][value=there]")
        page.locator("tr:has([name=choice1])").evaluate("row => row.remove()")
        page.click("#merge button:text('Merge')")
        expect(page.locator("#merge .refused")).to_contain_text("in conflict too")
        self.assertEqual(self.lake.get("covered", "main", CONFLICT), b"main\n")

    def test_a_folders_marker_is_no_folder(self):
        place = self.fresh("marked")
        for path in ("dir/", "dir/a"):
            self.lake.upload("marked", "main", path, b"x")
        page = self.open()
        page.on("dialog", lambda dialog: dialog.accept())
        self.see(page, f"{place}/changes?ref=main&path=dir/")
        page.locator("#list tbody tr").first.locator("button").click()
        expect(page.locator("#notes")).to_contain_text("as it was committed")
        self.assertEqual([entry[1] for entry in self.lake.uncommitted("marked", "main")], ["dir/a"])

    def test_pages_of_nonsense(self):
        page = self.open()
        for path in ("README.md", "bytes.bin", "tables/people.csv", "tables/lines.jsonl", "tables/numbers.parquet"):
            for at in ("9223372036854775807", "-9223372036854775808", "99999999999999999999", "x"):
                self.see(page, f"/repositories/demo/object?ref=main&path={path}&at={at}")

    def test_merge_revert_and_pick(self):
        place = self.fresh("merged")
        self.lake.ask("POST", "/repositories/merged/branches", 201, json_body={"name": "side", "source": "main"})
        self.lake.upload("merged", "side", "new.txt", b"new")
        self.lake.commit("merged", "side", "New file")
        page = self.open()
        self.see(page, f"{place}/compare?ref=main&compare=side")
        page.click("#merge button:text('Merge')")
        expect(page.locator("h1")).to_have_text("Merge side into main")
        page.click("text=Revert…")
        page.fill("details[open] [name=branch]", "main")
        page.click("details[open] button:text('Revert')")
        expect(page.locator("#notes")).to_contain_text("Reverted on main")
        self.assertEqual(self.lake.rest("GET", "/repositories/merged/refs/main/objects", path="new.txt").status, 404)
        self.see(page, f"{place}/commits?ref=side")
        page.click("text=New file")
        page.click("text=Cherry-pick…")
        page.fill("details[open] [name=branch]", "main")
        page.click("details[open] button:text('Cherry-pick')")
        expect(page.locator("#notes")).to_contain_text("Picked onto main")
        self.assertEqual(self.lake.get("merged", "main", "new.txt"), b"new")

    def test_branches_and_tags(self):
        place = self.fresh("refs")
        page = self.open()
        page.on("dialog", lambda dialog: dialog.accept())
        self.see(page, f"{place}/branches")
        page.click("summary:text('New branch')")
        page.fill("[name=name]", "work")
        page.click("details[open] button:text('Create')")
        page.wait_for_url("**ref=work")
        self.lake.upload("refs", "work", "w.txt", b"w")
        self.lake.commit("refs", "work", "Work")
        self.see(page, f"{place}/branches")
        expect(page.locator("tr:has-text('work') [data-cell]")).to_contain_text("1 ahead, 0 behind")
        page.click("tr:has-text('work') button:text('Delete')")
        expect(page.locator("#notes")).to_contain_text("work is deleted")
        self.see(page, f"{place}/tags")
        page.click("summary:text('New tag')")
        page.fill("[name=name]", "v1")
        page.click("details[open] button:text('Create')")
        expect(page.locator("#list")).to_contain_text("v1")

    def test_a_ref_goes_away_while_one_looks(self):
        place = self.fresh("gone")
        self.lake.ask("POST", "/repositories/gone/branches", 201, json_body={"name": "soon", "source": "main"})
        page = self.open()
        self.see(page, f"{place}/objects?ref=soon")
        page.wait_for_timeout(300)
        self.lake.ask("DELETE", "/repositories/gone/branches/soon", 204)
        expect(page.locator("#notes")).to_contain_text("soon")

    # -- pull requests and hooks -------------------------------------------------------------------------------

    def test_pull_request_with_comment_and_failing_check(self):
        place = self.fresh("pulled")
        lake = self.lake
        hook = b"name: check\non:\n  pre-commit:\n    branches: [side]\nhooks:\n  - id: no_bad\n    type: lua\n    properties:\n      script: |\n        print('looking')\n        if action.commit.message == 'bad' then error('a bad message') end\n"
        lake.upload("pulled", "main", "_lakefs_actions/check.yaml", hook)
        lake.commit("pulled", "main", "Hooks")
        lake.ask("POST", "/repositories/pulled/branches", 201, json_body={"name": "side", "source": "main"})
        lake.upload("pulled", "side", "x.txt", b"x")
        lake.commit("pulled", "side", "bad", expect=412)
        page = self.open()
        self.see(page, f"{place}/pulls")
        page.click("text=New pull request")
        page.fill("[name=source]", "side")
        page.fill("[name=destination]", "main")
        page.fill("[name=title]", "Take <b>this</b>")
        page.fill("[name=description]", "With *care*")
        page.click("button:text('Open')")
        expect(page.locator("h1")).to_have_text("Take <b>this</b>")
        expect(page.locator("#state")).to_contain_text("failed")
        expect(page.locator("main")).to_contain_text("A check has failed")
        page.fill("[name=body]", "Please mend **this**")
        page.click("button:text('Comment')")
        expect(page.locator(".comment strong").last).to_have_text("this")
        page.click("#state tbody a")
        expect(page.locator("main")).to_contain_text("a bad message")
        lake.commit("pulled", "side", "good")
        page.go_back()
        page.reload()
        page.click("#merge button:text('Merge')")
        expect(page.locator("#notes")).to_contain_text("Merged")
        self.assertEqual(lake.get("pulled", "main", "x.txt"), b"x")
        self.see(page, f"{place}/actions")
        expect(page.locator("main")).to_contain_text("valid")
        lake.upload("pulled", "main", "_lakefs_actions/broken.yaml", b"name: [")
        page.reload()
        expect(page.locator("main")).to_contain_text("broken")

    def test_hooks_run_again_and_are_watched(self):
        place = self.fresh("again")
        hook = b"name: slow\non:\n  post-commit:\nhooks:\n  - id: count\n    type: lua\n    properties:\n      script: |\n        local time = require('time')\n        print('it begins')\n        time.sleep(3e9)\n        print('it ends')\n"
        self.lake.upload("again", "main", "_lakefs_actions/slow.yaml", hook)
        self.lake.commit("again", "main", "Hooks")
        page = self.open()
        self.see(page, f"{place}/actions")
        expect(page.locator("#list")).to_contain_text("running")
        page.click("#list tbody a[data-open]")
        expect(page.locator(".output")).to_contain_text("it begins")
        expect(page.locator(".output")).to_contain_text("it ends")
        first = page.url
        page.click("button:text('Run again')")
        expect(page.locator("#notes")).to_contain_text("run again")
        self.assertNotEqual(page.url, first)
        expect(page.locator("h1")).to_have_text("post-commit on main")
        expect(page.locator(".output")).to_contain_text("it ends")
        expect(page.locator(".bar")).to_contain_text("passed")

    # -- administration ----------------------------------------------------------------------------------------

    def test_users_and_a_policy(self):
        page = self.open()
        page.on("dialog", lambda dialog: dialog.accept())
        self.see(page, "/auth/policies")
        page.click("summary:text('New policy')")
        page.fill("[name=name]", "OnlyDemo")
        page.fill("[name=statement]", "[{\"effect\": \"allow\"")
        page.click("details[open] button:text('Create')")
        expect(page.locator(".refused")).to_contain_text("cannot be read")
        page.fill("[name=statement]", '[{"effect": "allow", "action": ["fs:ReadRepository", "fs:ListRepositories", "fs:ReadBranch", "fs:ListObjects", "fs:ListBranches"], "resource": "arn:lakefs:fs:::repository/demo*"}]')
        page.click("details[open] button:text('Create')")
        page.wait_for_url("**/policies/OnlyDemo")
        self.see(page, "/auth/users")
        page.click("summary:text('New user')")
        page.fill("[name=name]", "mia")
        page.click("details[open] button:text('Create')")
        page.wait_for_url("**/users/mia")
        page.fill("[name=policy]", "OnlyDemo")
        page.click("form:has([name=policy]) button:text('Add')")
        expect(page.locator("main")).to_contain_text("OnlyDemo")
        page.click("button:text('New key pair')")
        expect(page.locator("main")).to_contain_text("not shown again")
        key, secret = page.locator(".copied code").nth(0).inner_text(), page.locator(".copied code").nth(1).inner_text()
        self.see(page, "/auth/may?user=mia&action=fs:ListObjects&resource=arn:lakefs:fs:::repository/demo")
        expect(page.locator("#verdict")).to_contain_text("yes")
        self.see(page, "/auth/may?user=mia&action=fs:DeleteRepository&resource=arn:lakefs:fs:::repository/demo")
        expect(page.locator("#verdict")).to_contain_text("no")
        mia = self.open(signed_in=False)
        self.see(mia, "/login")
        self.fill_in(mia, key, secret)
        mia.wait_for_url("**/repositories")
        expect(mia.locator("#list tbody tr")).to_have_count(1)
        self.assertEqual(mia.locator("text=New repository").count(), 0, "what one may not do is offered")
        self.see(mia, "/repositories/demo/objects?ref=main")
        self.assertEqual(mia.locator("text=Upload").count() + mia.locator("text=Delete the chosen").count(), 0)
        for address in ("/repositories/demo/object?ref=main&path=README.md", "/auth/users", "/server", "/mounts", "/auth/may?user=admin&action=x"):
            self.assertEqual(mia.goto(address).status, 403, address)
        self.see(page, "/server")
        expect(page.locator("main")).to_contain_text("createPolicy")
        self.see(page, "/auth/users/mia")
        page.click(".bar button:text('Delete')")
        expect(page.locator("#notes")).to_contain_text("mia is deleted")

    def test_settings(self):
        place = self.fresh("settled")
        page = self.open()
        self.see(page, f"{place}/settings")
        page.fill("[name=pattern]", "main")
        page.click("button:text('Protect')")
        expect(page.locator("main")).to_contain_text("Remove")
        page.fill("[name=labels]", "team=data")
        page.click("text=Set labels")
        expect(page.locator("[name=labels]")).to_have_value("team=data")
        page.fill("[name=days]", "21")
        page.click("text=Set retention")
        expect(page.locator("[name=days]")).to_have_value("21")
        page.fill(".danger [name=name]", "wrong")
        page.click(".danger button")
        expect(page.locator(".danger .refused")).to_contain_text("not the name")
        page.fill(".danger [name=name]", "settled")
        page.click(".danger button")
        page.wait_for_url("**/repositories")
        self.assertEqual(self.lake.rest("GET", "/repositories/settled").status, 404)

    # -- without scripts -----------------------------------------------------------------------------------------

    def test_without_scripts(self):
        place = self.fresh("plain")
        self.lake.ask("POST", "/repositories/plain/branches", 201, json_body={"name": "side", "source": "main"})
        self.lake.upload("plain", "side", "s.txt", b"s")
        page = self.open(scripts=False)
        self.see(page, f"{place}/changes?ref=side")
        page.fill("[name=message]", "Plain")
        page.click("text=Commit to side")
        page.wait_for_url("**/commits/*")
        self.see(page, f"{place}/compare?ref=main&compare=side")
        page.click("#merge button:text('Merge')")
        page.wait_for_url("**/commits/*")
        self.assertEqual(self.lake.get("plain", "main", "s.txt"), b"s")
        for address in ("/repositories", f"{place}/objects", f"{place}/commits", f"{place}/branches", f"{place}/tags", f"{place}/settings", "/auth/users"):
            self.see(page, address)
            self.assertTrue(page.locator("main h1").count())

    # -- open pages ------------------------------------------------------------------------------------------------

    def test_open_pages_hold_no_threads(self):
        before = len(list(pathlib.Path(f"/proc/{self.lake.process.pid}/task").iterdir()))
        cookie = {"Cookie": "internal_auth_session=" + self.session()}
        open_pages = []
        for _ in range(200):
            connection = self.lake.connection()
            connection.request("GET", "/repositories/demo/events?ref=main", headers=cookie)
            open_pages.append((connection, connection.getresponse()))
        for _, answer in open_pages:
            self.assertEqual(answer.status, 200)
            answer.fp.readline(), answer.fp.readline(), answer.fp.readline()
        self.assertLessEqual(len(list(pathlib.Path(f"/proc/{self.lake.process.pid}/task").iterdir())), before + 2)
        began = time.monotonic()
        self.lake.upload("demo", "main", "uncommitted.txt", b"again")
        for _, answer in open_pages:
            while b"event: change" not in answer.fp.readline():
                pass
        self.assertLess(time.monotonic() - began, 5)
        for connection, _ in open_pages:
            connection.close()

    def test_stop_with_open_pages(self):
        other = lakes.Lake(self.folder, name="stopped").start()
        other.create_repository("demo")
        token = other.ask("POST", "/auth/login", 200, json_body={"access_key_id": lakes.KEY, "secret_access_key": lakes.SECRET}).json["token"]
        connection = other.connection()
        connection.request("GET", "/repositories/demo/events", headers={"Cookie": "internal_auth_session=" + token})
        answer = connection.getresponse()
        began = time.monotonic()
        other.stop()
        self.assertLess(time.monotonic() - began, 5)
        answer.read()  # It ends.
