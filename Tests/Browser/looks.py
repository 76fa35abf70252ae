"""Every page of the web page looks right."""
import re
import urllib.parse

from axe_playwright_python.sync_playwright import Axe

import contents
from base import PICTURES, THEMES, WIDTHS, Browser, settled


class Looks(Browser):
    """Every page: no violation of axe's rules, nothing that juts out, no error of a script; a picture of each."""

    def addresses(self):
        lake = self.lake
        commits = lake.ask("GET", "/repositories/demo/refs/main/commits", 200).json["results"]
        merge = commits[0]["id"]
        pull = lake.ask("GET", "/repositories/demo/pulls", 200).json["results"][0]["id"]
        demo = "/repositories/demo"
        pages = {
            "repositories": "/repositories", "create": "/repositories/create", "data": f"{demo}/objects?ref=main", "folder": f"{demo}/objects?ref=main&path=tables/",
            "odd": f"{demo}/objects?ref=main&path=odd/", "changes": f"{demo}/changes?ref=main", "commits": f"{demo}/commits?ref=main", "commit": f"{demo}/commits/{merge}",
            "filtered": f"{demo}/commits?ref=main&path=docs/notes.txt", "compare": f"{demo}/compare?ref=v1&compare=try", "compare-none": f"{demo}/compare",
            "branches": f"{demo}/branches", "tags": f"{demo}/tags", "pulls": f"{demo}/pulls", "pull": f"{demo}/pulls/{pull}", "pull-new": f"{demo}/pulls/create",
            "actions": f"{demo}/actions", "settings": f"{demo}/settings", "mounts": "/mounts", "users": "/auth/users", "user": "/auth/users/admin", "groups": "/auth/groups",
            "group": "/auth/groups/Admins", "policies": "/auth/policies", "policy": "/auth/policies/FSFullAccess", "keys": "/auth/credentials", "server": "/server",
            "may": "/auth/may?user=admin&action=fs:ReadObject&resource=arn:lakefs:fs:::repository/demo/object/x",
            "diff-text": f"{demo}/diff?left=v1~1&right=try&path=docs/notes.txt", "diff-table": f"{demo}/diff?left={commits[-2]['id']}&right=feature&path=tables/people.csv",
        }
        for path in contents.files():
            pages["object-" + re.sub(r"\W+", "-", path)] = f"{demo}/object?ref=main&path={urllib.parse.quote(path)}"
        return pages

    def check(self, width, theme):
        page = self.open(width=width, theme=theme)
        axe = Axe()
        for name, address in self.addresses().items():
            with self.subTest(page=name):
                self.see(page, address)
                settled(page)
                page.screenshot(path=PICTURES / f"{name}-{width}-{theme}.png", full_page="long" not in name)
                found = axe.run(page)
                self.assertEqual(found.violations_count, 0, found.generate_report())
                self.assertNotIn("HTML(bytes:", page.content(), "markup was taken for a text")
                self.assertLessEqual(page.evaluate("document.documentElement.scrollWidth"), width, "the page is wider than the window")

    def test_narrow_light(self): self.check(360, "light")
    def test_narrow_dark(self): self.check(360, "dark")
    def test_wide_light(self): self.check(1400, "light")
    def test_wide_dark(self): self.check(1400, "dark")

    def test_sign_in_looks(self):
        for theme in THEMES:
            for width in WIDTHS:
                page = self.open(width=width, theme=theme, signed_in=False)
                self.see(page, "/login")
                page.screenshot(path=PICTURES / f"login-{width}-{theme}.png")
                self.assertEqual(Axe().run(page).violations_count, 0)

    def test_refusals_look(self):
        page = self.open()
        for address in ("/repositories/nobody/objects", "/repositories/demo/objects?ref=gone", "/repositories/demo/object?ref=main&path=gone", "/repositories/demo/nothing"):
            with self.subTest(address):
                self.assertEqual(page.goto(address).status, 404)
                self.assertEqual(Axe().run(page).violations_count, 0)
                self.assertTrue(page.locator(".reason").inner_text())
                self.assertGreater(page.locator("main a").count(), 0, "a dead end")
