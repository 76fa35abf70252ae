"""PyPI's `lakefs`, lakeFS's own package for Python, unchanged, at what its documentation promises. run.sh runs it."""
import concurrent.futures
import contextlib
import datetime
import os
import unittest.mock

import lakefs
import lakefs_sdk
from lakefs import exceptions

import lake
from s3_clients import ClientTest


class LakefsTest(ClientTest):
    def setUp(self):
        super().setUp()
        self.client = self.login(*self.lake.keys)
        self.repository = lakefs.Repository(self.bucket, client=self.client)
        self.main = self.repository.branch("main")

    def login(self, key, secret):
        return lakefs.Client(host=self.lake.endpoint, username=key, password=secret)

    def user(self, name, *groups):
        """The client of a user of these groups, who is gone when the test ends."""
        auth = self.client.sdk_client.auth_api
        auth.create_user(user_creation=lakefs_sdk.UserCreation(id=name))
        self.addCleanup(auth.delete_user, name)
        for group in groups:
            auth.add_group_membership(group, name)
        made = auth.create_credentials(name)
        return self.login(made.access_key_id, made.secret_access_key)

    def commit(self, branch=None, message="m", remove=(), **files):
        """A commit of these files, and without those of `remove`."""
        branch = branch or self.main
        for path, text in files.items():
            branch.object(path).upload(text)
        branch.delete_objects(remove)
        return branch.commit(message)

    def contents(self, ref):
        return {found.path: ref.object(found.path).reader("r").read() for found in ref.objects()}

    def protect(self, pattern):
        self.client.sdk_client.repositories_api.set_branch_protection_rules(
            self.bucket, [lakefs_sdk.BranchProtectionRule(pattern=pattern)])

    def changes(self, found):
        return {change.path: change.type for change in found}

    def messages(self, ref, **more):
        return [commit.message for commit in ref.log(**more)]


class ClientOfLakefsTest(LakefsTest):
    @contextlib.contextmanager
    def environment(self, **values):
        """Only these of lakectl's variables, for nobody's own get in."""
        others = {name: value for name, value in os.environ.items() if not name.startswith("LAKECTL_")}
        values = {f"LAKECTL_{name}": str(value) for name, value in values.items()}
        with unittest.mock.patch.dict(os.environ, others | values, clear=True):
            yield

    def test_lakefs_environment(self):
        """Who says nothing of a client gets one of lakectl's variables."""
        with self.environment(SERVER_ENDPOINT_URL=self.lake.endpoint, CREDENTIALS_ACCESS_KEY_ID=self.key,
                              CREDENTIALS_SECRET_ACCESS_KEY=self.secret):
            self.assertIn(self.bucket, [found.id for found in lakefs.repositories()])
            branch = lakefs.repository(self.bucket).branch("main")
            self.assertEqual(branch.object("a").upload(b"text").reader().read(), b"text")

    def test_lakefs_configuration_file(self):
        """The file of a server that made up its keys is lakectl's, which tells address and keys."""
        own = lake.Lake(self.scratch, "own", keys=None).start()
        with self.environment(CONFIG_FILE=own.data / "credentials"):
            made = lakefs.Repository("own", client=lakefs.Client()).create("local://own")
            self.assertEqual(made.branch("main").object("a").upload("text").reader("r").read(), "text")
        self.assertEqual(own.stop()[0], 0)

    def test_lakefs_session_token(self):
        """A login's token stands for the keys."""
        token = self.client.sdk_client.auth_api.login(lakefs_sdk.LoginInformation(
            access_key_id=self.key, secret_access_key=self.secret)).token
        with self.environment(SERVER_ENDPOINT_URL=self.lake.endpoint, CREDENTIALS_SESSION_TOKEN=token):
            self.assertIn(self.bucket, [found.id for found in lakefs.repositories(lakefs.Client())])
        with self.environment(SERVER_ENDPOINT_URL=self.lake.endpoint, CREDENTIALS_SESSION_TOKEN=token[:-8] + "AAAAAAAA"):
            with self.assertRaises(exceptions.NotAuthorizedException):
                list(lakefs.repositories(lakefs.Client()))

    def test_lakefs_server(self):
        """Version and storage: a number of three parts, and namespaces that the example and the expression agree on."""
        self.assertRegex(self.client.version, r"^\d+\.\d+\.\d+$")
        storage = self.client.storage_config
        self.assertEqual(storage.blockstore_type, "local")
        self.assertRegex(storage.blockstore_namespace_example, storage.blockstore_namespace_validity_regex)

    def test_lakefs_wrong_keys(self):
        """A secret that is wrong, and keys that nobody has, are NotAuthorizedException; few, for the server slows guesses down."""
        with self.assertRaises(exceptions.NotAuthorizedException):
            list(lakefs.repositories(self.login(self.key, "wrong")))
        branch = lakefs.Repository(self.bucket, client=self.login("AKIAJNOBODY", self.secret)).branch("main")
        with self.assertRaises(exceptions.NotAuthorizedException):
            branch.object("a").upload("x", pre_sign=False)
        with self.assertRaises(exceptions.PermissionException):
            branch.object("a").stat()

    def test_lakefs_users(self):
        """A viewer reads; what she writes is PermissionException or NotAuthorizedException. Who has no group sees nothing."""
        self.commit(a="text")
        viewer = lakefs.Repository(self.bucket, client=self.user("lakefs-viewer", "Viewers"))
        self.assertEqual(self.contents(viewer.branch("main")), {"a": "text"})
        with self.assertRaises(exceptions.NotAuthorizedException):
            viewer.branch("main").object("b").upload("x", pre_sign=False)
        with self.assertRaises(lakefs_sdk.exceptions.UnauthorizedException):
            viewer.branch("main").object("b").upload("x", pre_sign=True)
        with self.assertRaises(PermissionError):
            viewer.branch("main").object("a").delete()
        for call in (lambda: viewer.branch("new").create("main"), lambda: viewer.tag("new").create("main"),
                     lambda: viewer.branch("main").commit("m"), viewer.delete):
            with self.assertRaises(exceptions.NotAuthorizedException):
                call()
        nobody = lakefs.Repository(self.bucket, client=self.user("lakefs-nobody"))
        with self.assertRaises(PermissionError):
            nobody.branch("main").object("a").stat()
        with self.assertRaises(exceptions.NotAuthorizedException):
            list(nobody.branch("main").objects())
        self.assertEqual(self.contents(self.main), {"a": "text"})


    def test_lakefs_errors_tell(self):
        """An exception has status, reason and the server's message, which names what it is about."""
        lost = lakefs.Repository("lost-repository", client=self.client)
        for call, status, reason, about in (
                (lost.delete, 404, "Not Found", "repository"),
                (lambda: self.repository.branch("main").create("main"), 409, "Conflict", "branch"),
                (lambda: self.repository.branch("b").create("nowhere"), 404, "Not Found", "nowhere"),
                (lambda: self.main.commit("m"), 400, "Bad Request", "no changes"),
                (self.main.delete, 403, "Forbidden", "default branch")):
            with self.assertRaises(exceptions.ServerException) as raised:
                call()
            self.assertEqual((raised.exception.status_code, raised.exception.reason), (status, reason))
            self.assertIn(about, raised.exception.body["message"])


class RepositoriesOfLakefsTest(LakefsTest):
    def new(self, name):
        return lakefs.Repository(f"{self.bucket}-{name}", client=self.client)

    def test_lakefs_repository(self):
        """create, with exist_ok and without; properties; delete."""
        namespace = f"local://{self.bucket}-one"
        made = self.new("one").create(namespace, default_branch="trunk")
        properties = self.new("one").properties
        self.assertEqual((properties.id, properties.default_branch, properties.storage_namespace),
                         (made.id, "trunk", namespace))
        self.assertLess(abs(datetime.datetime.now().timestamp() - properties.creation_date), 60)
        self.assertEqual(self.new("one").create(f"{namespace}-b", exist_ok=True).properties.default_branch, "trunk")
        with self.assertRaises(exceptions.ConflictException):
            self.new("one").create(f"{namespace}-b")
        with self.assertRaises(exceptions.BadRequestException):
            self.new("two").create(namespace)  # another's namespace
        self.assertEqual(made.metadata, {})
        made.delete()
        for gone in (made.delete, lambda: list(made.branches()), lambda: self.new("one").properties):
            with self.assertRaises(exceptions.NotFoundException):
                gone()

    def test_lakefs_repository_with_samples(self):
        """include_samples brings a commit of files."""
        made = self.new("s").create(f"local://{self.bucket}-s", include_samples=True)
        self.assertIn("README.md", [found.path for found in made.branch("main").objects()])
        self.assertEqual(list(made.branch("main").uncommitted()), [])

    def test_lakefs_repository_metadata(self):
        """Metadata given to the server is the repository's."""
        self.client.sdk_client.internal_api.set_repository_metadata(
            self.bucket, lakefs_sdk.RepositoryMetadataSet(metadata={"team": "blue", "ü": "ö"}))
        self.assertEqual(self.repository.metadata, {"team": "blue", "ü": "ö"})

    def test_lakefs_repositories(self):
        """The listing in order, by prefix and after, page by page."""
        names = sorted(self.new(name).create(f"local://{self.bucket}-{name}").id for name in ("c", "a", "b"))
        for more in ({}, {"amount": 1}):
            self.assertEqual([found.id for found in lakefs.repositories(self.client, f"{self.bucket}-", **more)], names)
            self.assertEqual([found.id for found in lakefs.repositories(
                self.client, prefix=f"{self.bucket}-", after=names[0], **more)], names[1:])

    def test_lakefs_repository_that_is_not(self):
        """Every call on a repository that is not there is NotFoundException; on objects also Python's FileNotFoundError."""
        lost = self.new("lost")
        branch = lost.branch("main")
        for call in (lost.delete, lambda: lost.metadata, lambda: list(lost.branches()), lambda: list(lost.tags()),
                     lambda: branch.create("x"), lambda: branch.commit("m"), lambda: list(branch.objects()),
                     lambda: list(branch.log()), lambda: branch.merge_into("x"), lambda: list(branch.diff("x")),
                     lambda: list(branch.uncommitted()), branch.get_commit, lambda: lost.tag("t").create("main")):
            with self.assertRaises(exceptions.NotFoundException):
                call()
        for call in (branch.object("a").stat, branch.object("a").reader(pre_sign=False).read, branch.object("a").delete):
            with self.assertRaises(FileNotFoundError) as raised:
                call()
            self.assertIsInstance(raised.exception, exceptions.ObjectNotFoundException)
        self.assertFalse(branch.object("a").exists())

    def test_lakefs_repository_read_only(self):
        """A read-only repository refuses by ForbiddenException, and `force` goes past it."""
        made = self.new("ro")
        self.client.sdk_client.repositories_api.create_repository(lakefs_sdk.RepositoryCreation(
            name=made.id, storage_namespace=f"local://{made.id}", read_only=True))
        branch = made.branch("main")
        for call in (lambda: branch.object("a").upload("x", pre_sign=False), lambda: branch.commit("m"),
                     lambda: made.branch("b").create("main"), lambda: made.tag("t").create("main"), made.delete):
            with self.assertRaises(exceptions.ForbiddenException):
                call()
        branch.commit("m", force=True, allow_empty=True)
        self.assertEqual(self.messages(branch), ["m", "Repository created"])
        made.delete(force=True)


class RefsOfLakefsTest(LakefsTest):
    def test_lakefs_branches(self):
        """create, exist_ok, listing by prefix, after and max_amount, head, delete."""
        commit = self.commit(a="1")
        for name in ("b-2", "b-1", "b-3", "other"):
            self.assertEqual(self.repository.branch(name).create("main").get_commit().id, commit.id)

        def names(**more):
            return [branch.id for branch in self.repository.branches(**more)]
        self.assertEqual(names(), ["b-1", "b-2", "b-3", "main", "other"])
        self.assertEqual(names(amount=2), names())
        self.assertEqual(names(prefix="b-", after="b-1"), ["b-2", "b-3"])
        self.assertEqual(names(max_amount=2), ["b-1", "b-2"])
        one = self.repository.branch("b-1")
        with self.assertRaises(exceptions.ConflictException):
            one.create("main")
        changed = self.commit(one, a="2")
        self.assertEqual(one.create("main", exist_ok=True).head.id, changed.id)
        self.assertEqual((one.head.id, self.main.head.id), (changed.id, commit.id))
        self.assertEqual(self.repository.branch("old").create(f"{changed.id}~1").get_commit().id, commit.id)
        one.delete()
        for gone in (one.delete, lambda: one.head, one.get_commit, lambda: one.commit("m")):
            with self.assertRaises(exceptions.NotFoundException):
                gone()

    def test_lakefs_branches_refused(self):
        """The default branch stays; sources must be there; names must be names."""
        with self.assertRaises(exceptions.ForbiddenException):
            self.main.delete()
        with self.assertRaises(exceptions.NotFoundException):
            self.repository.branch("b").create("nowhere")
        with self.assertRaises(exceptions.BadRequestException):
            self.repository.branch("a/b").create("main")

    def test_lakefs_branches_hidden(self):
        """A hidden branch works, and is listed only for who asks."""
        hidden = self.repository.branch("h").create("main", hidden=True)
        self.commit(hidden, a="1")
        self.assertEqual([branch.id for branch in self.repository.branches()], ["main"])
        self.assertEqual([branch.id for branch in self.repository.branches(show_hidden=True)], ["h", "main"])

    def test_lakefs_protected_branch(self):
        """Writes and commits on a protected branch are ForbiddenException; a merge is not."""
        work = self.repository.branch("work").create("main")
        self.commit(work, a="1")
        self.protect("ma*")
        with self.assertRaises(exceptions.ForbiddenException):
            self.main.object("a").upload("x", pre_sign=False)
        with self.assertRaises(exceptions.PermissionException):
            self.main.object("a").delete()
        with self.assertRaises(exceptions.ForbiddenException):
            self.main.commit("m")
        work.merge_into(self.main)
        self.assertEqual(self.contents(self.main), {"a": "1"})

    def test_lakefs_protected_branch_by_presigned_address(self):
        """A protected branch refuses the write that goes by a presigned address too, as ForbiddenException."""
        self.protect("main")
        with self.assertRaises((exceptions.ForbiddenException, lakefs_sdk.exceptions.ForbiddenException)):
            self.main.object("a").upload("x", pre_sign=True)
        self.assertFalse(self.main.object("a").exists())

    def test_lakefs_tags(self):
        """create on a branch, a commit and an expression; exist_ok; listing; delete."""
        first, second = self.commit(a="1"), self.commit(a="2")
        self.repository.tag("v2").create(self.main)
        self.repository.tag("v1").create(first)
        self.repository.tag("v0").create("main~2")
        self.assertEqual([tag.id for tag in self.repository.tags()], ["v0", "v1", "v2"])
        self.assertEqual([tag.id for tag in self.repository.tags(prefix="v", after="v0", max_amount=1)], ["v1"])
        self.assertEqual(self.repository.tag("v2").get_commit().id, second.id)
        self.assertEqual(self.contents(self.repository.tag("v1")), {"a": "1"})
        with self.assertRaises(exceptions.ConflictException):
            self.repository.tag("v1").create(second)
        self.assertEqual(self.repository.tag("v1").create(second, exist_ok=True).get_commit().id, first.id)
        self.repository.tag("v1").delete()
        for gone in (self.repository.tag("v1").delete, self.repository.tag("v1").get_commit,
                     lambda: self.repository.tag("v3").create("nowhere")):
            with self.assertRaises(exceptions.NotFoundException):
                gone()
        with self.assertRaises(exceptions.BadRequestException):
            self.repository.tag("not..good").create("main")

    def test_lakefs_expressions(self):
        """References of the documentation: main, main@, tag~N, commit^, a commit's first characters."""
        first, second = self.commit(a="1"), self.commit(a="2")
        self.repository.tag("t").create("main")
        self.main.object("a").upload("3")
        for expression, text in (("main", "3"), ("main@", "2"), ("main~1", "1"), ("t~1", "1"), (f"{second.id}^", "1"),
                                 (first.id[:12], "1")):
            self.assertEqual(self.contents(self.repository.ref(expression)), {"a": text}, expression)
        self.assertEqual(self.contents(self.repository.commit(first.id)), {"a": "1"})
        with self.assertRaises(exceptions.NotFoundException):
            self.repository.ref("main~99").get_commit()


class HistoryOfLakefsTest(LakefsTest):
    def test_lakefs_commit(self):
        """A commit has message, metadata, committer, parents, date; nothing to commit is BadRequestException."""
        before = self.main.get_commit()
        self.main.object("a").upload("x")
        commit = self.main.commit("ünï\nsecond line", metadata={"key": "value", "ü": "ö"}, date=1_600_000_000).get_commit()
        self.assertEqual((commit.message, commit.metadata, commit.creation_date, commit.parents),
                         ("ünï\nsecond line", {"key": "value", "ü": "ö"}, 1_600_000_000, [before.id]))
        self.assertEqual(commit.committer, self.client.sdk_client.auth_api.get_current_user().user.id)
        self.assertEqual(self.main.get_commit(), commit)
        with self.assertRaises(exceptions.BadRequestException):
            self.main.commit("nothing")
        self.assertEqual(self.main.commit("nothing", allow_empty=True).get_commit().meta_range_id, commit.meta_range_id)

    def test_lakefs_log(self):
        """The log from the newest, page by page, up to max_amount, and of one path."""
        for number in range(5):
            self.commit(message=str(number), **{f"f{number % 2}": str(number)})
        self.assertEqual(self.messages(self.main), ["4", "3", "2", "1", "0", "Repository created"])
        self.assertEqual(self.messages(self.main, amount=2), self.messages(self.main))
        self.assertEqual(self.messages(self.main, max_amount=2), ["4", "3"])
        self.assertEqual(self.messages(self.main, objects=["f1"]), ["3", "1"])
        self.assertEqual(self.messages(self.main, prefixes=["f0"], limit=True, amount=2), ["4", "2"])
        self.assertEqual(self.messages(self.repository.ref("main~4")), ["0", "Repository created"])

    def test_lakefs_log_up_to(self):
        """stop_at ends the log with a commit."""
        commits = [self.commit(message=text, a=text) for text in ("1", "2", "3")]
        self.assertEqual(self.messages(self.main, stop_at=commits[1].id), ["3", "2"])

    def test_lakefs_log_of_merges(self):
        """first_parent keeps to the branch that was merged into."""
        side = self.repository.branch("side").create("main")
        self.commit(side, "on the side", a="1")
        self.commit(message="on main", b="1")
        side.merge_into("main", message="merged")
        self.assertEqual(self.messages(self.main, first_parent=True), ["merged", "on main", "Repository created"])
        self.assertEqual(sorted(self.messages(self.main)), ["Repository created", "merged", "on main", "on the side"])

    def test_lakefs_log_since(self):
        """The log since a time, as lakefs-sdk writes times."""
        self.commit(message="old", a="1")
        since = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(hours=1)
        self.assertEqual(self.messages(self.main, since=since), ["old", "Repository created"])
        self.assertEqual(self.messages(self.main, since=since + datetime.timedelta(hours=2)), [])

    def test_lakefs_diff(self):
        """Between refs: added, removed, changed; by prefix, delimiter, after and max_amount."""
        self.commit(same="1", gone="1", other="1")
        work = self.repository.branch("work").create("main")
        self.commit(work, remove=["gone"], **{"other": "22", "d/1": "1", "d/2": "1", "e": "1"})
        self.assertEqual(self.changes(self.main.diff(work)), {
            "d/1": "added", "d/2": "added", "e": "added", "gone": "removed", "other": "changed"})
        self.assertEqual(list(work.diff("main")), [])  # from where they parted, main has nothing new
        self.assertEqual(self.changes(work.diff("main", type="two_dot"))["d/1"], "removed")
        self.assertEqual([change.path for change in self.main.diff("work", prefix="d/", max_amount=1)], ["d/1"])
        self.assertEqual([change.path for change in self.main.diff("work", after="d/2", amount=1)], ["e", "gone", "other"])
        grouped = {change.path: (change.type, change.path_type) for change in self.main.diff(work, delimiter="/")}
        self.assertEqual(grouped["d/"], ("prefix_changed", "common_prefix"))
        self.assertEqual(grouped["e"], ("added", "object"))
        self.assertEqual({change.path: change.size_bytes for change in self.main.diff("work")}["other"], 2)
        with self.assertRaises(exceptions.NotFoundException):
            list(self.main.diff("nowhere"))

    def test_lakefs_uncommitted(self):
        """What is not committed, and reset_changes of an object, of a prefix, of all."""
        self.commit(a="1", b="1")
        self.main.object("b").delete()
        for path in ("a", "d/1", "d/2", "e"):
            self.main.object(path).upload("2")
        self.assertEqual(self.changes(self.main.uncommitted()), {
            "a": "changed", "b": "removed", "d/1": "added", "d/2": "added", "e": "added"})
        self.assertEqual([change.path for change in self.main.uncommitted(prefix="d/", after="d/1")], ["d/2"])
        self.assertEqual(len(list(self.main.uncommitted(max_amount=3, amount=1))), 3)
        self.main.reset_changes("object", "a")
        self.assertNotIn("a", self.changes(self.main.uncommitted()))
        self.main.reset_changes("common_prefix", "d/")
        self.assertEqual(self.changes(self.main.uncommitted()), {"b": "removed", "e": "added"})
        self.main.reset_changes()
        self.assertEqual(list(self.main.uncommitted()), [])
        self.assertEqual(self.contents(self.main), {"a": "1", "b": "1"})

    def test_lakefs_merge(self):
        """merge_into gives the merge's commit, of two parents, with message and metadata; again there is nothing to merge."""
        work = self.repository.branch("work").create("main")
        theirs, ours = self.commit(work, a="1"), self.commit(b="1")
        merged = self.repository.commit(work.merge_into(self.main, message="merged", metadata={"k": "v"})).get_commit()
        self.assertEqual((merged.message, merged.parents), ("merged", [ours.id, theirs.id]))
        self.assertEqual(merged.metadata["k"], "v")
        self.assertEqual(self.main.get_commit().id, merged.id)
        self.assertEqual(self.contents(self.main), {"a": "1", "b": "1"})
        with self.assertRaises(exceptions.BadRequestException):
            work.merge_into("main")
        self.assertNotEqual(work.merge_into("main", allow_empty=True), merged.id)
        with self.assertRaises(exceptions.NotFoundException):
            work.merge_into("nowhere")

    def test_lakefs_merge_conflicts(self):
        """A conflict is ConflictException and changes nothing; strategies settle it."""
        self.commit(a="0")
        for winner, text in (("dest-wins", "main"), ("source-wins", "work")):
            work = self.repository.branch(f"work-{winner}").create("main")
            self.commit(work, a=f"work {winner}")
            ours = self.commit(a=f"main {winner}")
            self.assertEqual(self.changes(self.main.diff(work)), {"a": "conflict"})
            with self.assertRaises(exceptions.ConflictException):
                work.merge_into(self.main)
            self.assertEqual(self.main.get_commit().id, ours.id)
            work.merge_into(self.main, strategy=winner)
            self.assertEqual(self.contents(self.main), {"a": f"{text} {winner}"})

    def test_lakefs_merge_dirty_and_squashed(self):
        """A destination with uncommitted changes is refused; squash_merge leaves one parent."""
        work = self.repository.branch("work").create("main")
        self.commit(work, a="1")
        self.commit(work, a="2")
        before = self.main.get_commit().id
        self.main.object("dirty").upload("x")
        with self.assertRaises(exceptions.BadRequestException):
            work.merge_into(self.main)
        self.main.reset_changes()
        merged = self.repository.commit(work.merge_into("main", squash_merge=True)).get_commit()
        self.assertEqual(merged.parents, [before])
        self.assertEqual(self.contents(self.main), {"a": "2"})

    def test_lakefs_revert(self):
        """revert undoes one commit and keeps the later ones; a reference that is not there is NotFoundException."""
        self.commit(a="1")
        unwanted = self.commit(a="2", b="1")
        self.commit(c="1")
        reverted = self.main.revert(unwanted)
        self.assertEqual(self.main.get_commit().id, reverted.id)
        self.assertEqual(self.contents(self.main), {"a": "1", "c": "1"})
        self.assertIn(unwanted.id, reverted.message)
        with self.assertRaises(exceptions.NotFoundException):
            self.main.revert("nowhere")
        conflicting = self.commit(c="2")
        self.commit(c="3")
        with self.assertRaises(exceptions.ConflictException):
            self.main.revert(conflicting)

    def test_lakefs_revert_of_a_merge(self):
        """A merge is reverted relative to a parent that must be named."""
        work = self.repository.branch("work").create("main")
        self.commit(work, a="1")
        self.commit(b="1")
        merged = work.merge_into(self.main)
        with self.assertRaises(exceptions.ConflictException):
            self.main.revert(merged)
        self.main.revert(merged, parent_number=1)
        self.assertEqual(self.contents(self.main), {"b": "1"})

    def test_lakefs_cherry_pick(self):
        """cherry_pick brings one commit, by reference or by id, and says where it is from; a merge's too, by its parent."""
        work = self.repository.branch("work").create("main")
        self.commit(work, a="1")
        wanted = self.commit(work, "wanted", b="1")
        picked = self.main.cherry_pick(wanted)
        self.assertEqual((picked.id, picked.message), (self.main.get_commit().id, "wanted"))
        self.assertEqual(picked.metadata["cherry-pick-origin"], wanted.id)
        self.assertEqual(self.contents(self.main), {"b": "1"})
        other = self.repository.branch("other").create(f"{picked.id}~1")
        self.commit(other, c="1")
        merged = other.merge_into(work)
        self.main.cherry_pick(merged, parent_number=1)
        self.assertEqual(self.contents(self.main), {"b": "1", "c": "1"})
        with self.assertRaises(exceptions.NotFoundException):
            self.main.cherry_pick("nowhere")


    def test_lakefs_cherry_pick_of_a_merge(self):
        """Which side of a merge is meant must be said."""
        work, other = self.repository.branch("work").create("main"), self.repository.branch("other").create("main")
        self.commit(work, a="1")
        self.commit(b="1")
        merge = work.merge_into(self.main)
        with self.assertRaises(exceptions.BadRequestException):
            other.cherry_pick(merge)
        other.cherry_pick(merge, parent_number=1)
        self.assertEqual(self.contents(other), {"a": "1"})


class TransactionsOfLakefsTest(LakefsTest):
    def branches(self):
        return [branch.id for branch in self.repository.branches(show_hidden=True)]

    def test_lakefs_transaction(self):
        """The documentation's example: all of it arrives at once, by a commit and a merge; a tag on it; no branch is left."""
        self.commit(**{"old/1": "1", "old/2": "2", "keep": "3"})
        with self.main.transact(commit_message="my transaction", commit_metadata={"k": "v"}, tag="done") as transaction:
            for found in transaction.objects(prefix="old/"):
                transaction.object(found.path).delete()
            transaction.object("new").upload("new object data")
            self.assertEqual(set(self.contents(transaction)), {"keep", "new"})
            self.assertEqual(set(self.contents(self.main)), {"old/1", "old/2", "keep"})
            self.assertEqual([branch.id for branch in self.repository.branches()], ["main"], "its branch is hidden")
        self.assertEqual(self.contents(self.main), {"keep": "3", "new": "new object data"})
        merge, commit = list(self.main.log(max_amount=2))
        self.assertEqual((commit.message, commit.metadata), ("my transaction", {"k": "v"}))
        self.assertIn(commit.id, merge.parents)
        self.assertEqual(self.repository.tag("done").get_commit().id, merge.id)
        self.assertEqual(self.branches(), ["main"])

    def test_lakefs_transaction_that_fails(self):
        """An exception goes through and leaves the branch as it was, and the transaction's branch only if that is asked for."""
        for kept in (False, True):
            with self.assertRaisesRegex(KeyError, "mine"):
                with self.main.transact(delete_branch_on_error=not kept) as transaction:
                    transaction.object("a").upload("x")
                    raise KeyError("mine")
            self.assertEqual(self.contents(self.main), {})
            self.assertEqual(self.branches(), ["main", transaction.id] if kept else ["main"])

    def test_lakefs_transaction_that_conflicts(self):
        """What another wrote in between is TransactionException; so is a transaction of nothing."""
        self.commit(a="0")
        with self.assertRaises(exceptions.TransactionException):
            with self.main.transact() as transaction:
                transaction.object("a").upload("1")
                self.commit(a="2")
        with self.assertRaises(exceptions.TransactionException):
            with self.main.transact():
                pass
        self.assertEqual(self.contents(self.main), {"a": "2"})
        self.assertEqual(self.branches(), ["main"])

    def test_lakefs_transactions_at_once(self):
        """Of eight transactions at once on paths of their own each arrives, or says that it did not."""
        def work(number):
            try:
                with self.main.transact(commit_message=str(number)) as transaction:
                    transaction.object(f"f{number}").upload(str(number))
                return number
            except exceptions.TransactionException:
                return None
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            done = {number for number in pool.map(work, range(8)) if number is not None}
        self.assertTrue(done)
        self.assertEqual(self.contents(self.main), {f"f{number}": str(number) for number in done})
