"""Several users: what lakefs-sdk makes of them, and that every door asks the same policies."""
import lakefs_sdk
import lakefs_sdk.exceptions

from clients import LakeTest, s3_client


class UsersTest(LakeTest):
    def setUp(self):
        super().setUp()
        self.auth = lakefs_sdk.AuthApi(self.sdk())
        self.bucket = self.repository()
        self.lake.upload(self.bucket, "main", "data/a", b"a")
        self.lake.commit(self.bucket, "main")

    def user(self, name, *groups):
        """A user with a key pair, who is gone when the test ends."""
        self.auth.create_user(user_creation=lakefs_sdk.UserCreation(id=name))
        self.addCleanup(self.auth.delete_user, name)
        for group in groups:
            self.auth.add_group_membership(group, name)
        made = self.auth.create_credentials(name)
        return made.access_key_id, made.secret_access_key

    def statuses(self, keys):
        """What reading, writing and committing answer over REST, and reading and writing over S3."""
        at = f"/repositories/{self.bucket}"
        s3 = s3_client(self.lake, keys)

        def code(call, **more):
            try:
                return call(**more)["ResponseMetadata"]["HTTPStatusCode"]
            except s3.exceptions.ClientError as error:
                return error.response["ResponseMetadata"]["HTTPStatusCode"]
        return (
            self.lake.rest("GET", f"{at}/refs/main/objects", path="data/a", keys=keys).status,
            self.lake.rest("POST", f"{at}/branches/main/objects", body=b"x", path=f"data/{keys[0]}", keys=keys).status,
            self.lake.rest("POST", f"{at}/branches/main/commits", json_body={"message": "m"}, keys=keys).status,
            code(s3.get_object, Bucket=self.bucket, Key="main/data/a"),
            code(s3.put_object, Bucket=self.bucket, Key="main/data/b", Body=b"b"))

    def test_groups(self):
        nobody, viewer, developer = self.user("nobody"), self.user("viewer", "Viewers"), self.user("developer", "Developers")
        self.assertEqual(self.statuses(nobody), (401, 401, 401, 403, 403))
        self.assertEqual(self.statuses(viewer), (200, 401, 401, 200, 403))
        self.assertEqual(self.statuses(developer), (200, 201, 201, 200, 200))
        self.assertEqual([group.id for group in self.auth.list_user_groups("viewer").results], ["Viewers"])
        self.auth.delete_group_membership("Viewers", "viewer")
        self.assertEqual(self.statuses(viewer), (401, 401, 401, 403, 403))

    def test_policies(self):
        """A policy of one's own: one folder to write, with a part of it shut."""
        keys = self.user("writer")
        objects = f"arn:lakefs:fs:::repository/{self.bucket}/object"
        self.auth.create_policy(lakefs_sdk.Policy(id="one-folder", statement=[
            lakefs_sdk.Statement(effect="allow", action=["fs:ReadObject", "fs:WriteObject"], resource=f"{objects}/data/*"),
            lakefs_sdk.Statement(effect="deny", action=["fs:WriteObject"], resource=f"{objects}/data/shut/*")]))
        self.addCleanup(self.auth.delete_policy, "one-folder")
        self.auth.attach_policy_to_user("writer", "one-folder")
        put = f"/repositories/{self.bucket}/branches/main/objects"
        for path, status in (("data/x", 201), ("data/shut/x", 401), ("other", 401)):
            self.assertEqual(self.lake.rest("POST", put, body=b"x", path=path, keys=keys).status, status, path)
        self.assertEqual([policy.id for policy in self.auth.list_user_policies("writer", effective=True).results], ["one-folder"])
        self.lake.ask("POST", "/auth/policies", 400, json_body={
            "id": "wrong", "statement": [{"effect": "permit", "action": ["fs:*"], "resource": "*"}]})
        with self.assertRaises(lakefs_sdk.exceptions.BadRequestException):
            self.auth.create_policy(lakefs_sdk.Policy(id="wrong", statement=[
                lakefs_sdk.Statement(effect="allow", action=["nothing:*"], resource="*")]))
        self.auth.detach_policy_from_user("writer", "one-folder")
        self.assertEqual(self.lake.rest("POST", put, body=b"x", path="data/x", keys=keys).status, 401)

    def test_who_is_gone(self):
        """Keys, sessions and rights go with their user."""
        keys = self.user("leaver", "Developers")
        token = self.lake.ask("POST", "/auth/login", keys=None, json_body={
            "access_key_id": keys[0], "secret_access_key": keys[1]}).json["token"]
        session = {"Authorization": f"Bearer {token}"}
        self.assertEqual(self.lake.ask("GET", "/user", keys=None, headers=session).json["user"]["id"], "leaver")
        self.auth.delete_user("leaver")
        self.assertEqual(self.lake.rest("GET", "/user", keys=None, headers=session).status, 401)
        self.assertEqual(self.statuses(keys), (401, 401, 401, 403, 403))
        self.auth.create_user(user_creation=lakefs_sdk.UserCreation(id="leaver"))
        self.assertEqual(self.statuses(keys), (401, 401, 401, 403, 403))
        self.assertEqual(self.auth.list_user_groups("leaver").results, [])

    def test_nobody(self):
        """Who has not logged in is nobody, and is told so; who tries and fails is refused."""
        self.assertEqual(self.lake.ask("GET", "/user", keys=None).json, {"user": {"creation_date": 0, "id": ""}})
        self.assertEqual(self.lake.rest("GET", "/user", keys=("AKIAJNOBODY", "wrong")).status, 401)
        self.assertEqual(self.lake.rest("GET", "/auth/users", keys=None).status, 401)
