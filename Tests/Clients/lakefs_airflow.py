#!/usr/bin/env python3
"""Apache Airflow with PyPI's airflow-provider-lakefs, unchanged, against a server of its own. Start it with run-airflow.sh."""
import importlib
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import urllib.request
import warnings

import s3_clients
from s3_clients import ClientTest


class AirflowTest(ClientTest):
    @classmethod
    def setUpClass(cls):
        if "airflow" in sys.modules:
            return
        # Nobody's own Airflow gets in.
        for name in [name for name in os.environ if name.startswith("AIRFLOW_")]:
            del os.environ[name]
        # The connection of the provider's documentation, and the kind that its form in Airflow makes.
        key, secret = cls.lake.keys
        keys = {"access_key_id": key, "secret_access_key": secret}
        connections = {
            "conn_lakefs": {"conn_type": "http", "host": cls.lake.endpoint, "extra": keys},
            "lakefs_default": {"conn_type": "lakefs", "host": cls.lake.endpoint, "login": key, "password": secret},
            "wrong": {"conn_type": "lakefs", "host": cls.lake.endpoint, "login": key, "password": "wrong"}}
        os.environ |= {f"AIRFLOW_CONN_{name.upper()}": json.dumps(value) for name, value in connections.items()}
        os.environ |= {
            "AIRFLOW_HOME": str(cls.folder / "airflow"), "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__METRICS__TIMER_UNIT_CONSISTENCY": "True", "AIRFLOW__LOGGING__LOGGING_LEVEL": "ERROR", "PYTHONWARNINGS": "ignore"}
        warnings.simplefilter("ignore")  # of what Airflow 3 has no more
        with open(cls.folder / "airflow.log", "wb") as log:
            subprocess.run([sys.executable, "-m", "airflow", "db", "migrate"], check=True, timeout=120, stdout=log, stderr=log)

    def hook(self, connection="conn_lakefs"):
        from lakefs_provider.hooks.lakefs_hook import LakeFSHook
        return LakeFSHook(connection)

    def log(self, repository, ref):
        return self.lake.ask("GET", f"/repositories/{repository}/refs/{ref}/commits").json["results"]


class HookTest(AirflowTest):
    def test_airflow_hook(self):
        """Every call of the hook, on Airflow's own base class: from a new branch over a commit to a merge."""
        from airflow.hooks.base import BaseHook
        for name in ("conn_lakefs", "lakefs_default"):
            hook, branch = self.hook(name), name.replace("_", "-")
            self.assertIsInstance(hook, BaseHook)
            self.assertEqual(hook.test_connection(), (True, "Connection Tested Successfully"))
            before = hook.get_branch_commit_id(self.bucket, "main")
            self.assertEqual(hook.create_branch(self.bucket, branch, "main"), before)
            body = name.encode()
            address = hook.upload(self.bucket, branch, "path/to/a", body)
            stat = hook.stat_object(self.bucket, branch, "path/to/a")
            self.assertEqual((stat["physical_address"], stat["size_bytes"]), (address, len(body)))
            self.assertEqual(bytes(hook.get_object(self.bucket, branch, "path/to/a")), body)
            commit = hook.commit(self.bucket, branch, f"by {name}", {"k": "v"})
            self.assertEqual(hook.get_branch_commit_id(self.bucket, branch), commit)
            told = hook.get_commit(self.bucket, branch)
            self.assertEqual((told["id"], told["parents"]), (commit, [before]))
            self.assertEqual((told["message"], told["metadata"]), (f"by {name}", {"k": "v"}))
            merge = hook.merge(self.bucket, branch, "main", "merged", {"m": "1"})
            self.assertEqual(hook.get_commit(self.bucket, "main")["parents"], [before, commit])
            for size in (1, 100):
                self.assertEqual([entry["id"] for entry in hook.log_commits(self.bucket, "main", size)][:2], [merge, commit])
            self.assertTrue(hook.create_symlink_file(self.bucket, branch).startswith(f"local://{self.bucket}"))
            hook.delete_branch(self.bucket, branch)
            self.assertEqual(self.stored(), {"path/to/a": len(body)})

    def test_airflow_hook_refused(self):
        """What is not there is the SDK's NotFoundException, a second branch of a name a conflict; wrong keys do not pass the test."""
        from lakefs_sdk.exceptions import ApiException, NotFoundException
        hook = self.hook()
        for call in (lambda: hook.stat_object(self.bucket, "main", "nothing"), lambda: hook.delete_branch(self.bucket, "nowhere"),
                     lambda: hook.get_branch_commit_id(self.bucket, "nowhere"), lambda: hook.get_commit("no-such-one", "main")):
            with self.assertRaises(NotFoundException):
                call()
        for call, status in ((lambda: hook.create_branch(self.bucket, "main"), 409),
                             (lambda: hook.commit(self.bucket, "main", "m"), 400)):
            with self.assertRaises(ApiException) as raised:
                call()
            self.assertEqual(raised.exception.status, status)
        fine, message = self.hook("wrong").test_connection()
        self.assertFalse(fine)
        self.assertIn("401", message)


class SensorsTest(AirflowTest):
    def test_airflow_file_sensor(self):
        """The sensor sees a file once it is there, on a branch that may come later."""
        from lakefs_provider.sensors.file_sensor import LakeFSFileSensor
        hook = self.hook()
        sensor = LakeFSFileSensor(task_id="file", lakefs_conn_id="conn_lakefs", repo=self.bucket, branch="later", path="_SUCCESS")
        self.assertFalse(sensor.poke({}))
        hook.create_branch(self.bucket, "later")
        self.assertFalse(sensor.poke({}))
        hook.upload(self.bucket, "later", "_SUCCESS", b"x")
        self.assertTrue(sensor.poke({}))

    def test_airflow_commit_sensor(self):
        """The sensor sees that a branch has a commit which it had not before."""
        from lakefs_provider.sensors.commit_sensor import LakeFSCommitSensor
        hook = self.hook()
        sensor = LakeFSCommitSensor(
            task_id="commit", lakefs_conn_id="conn_lakefs", repo=self.bucket, branch="main",
            prev_commit_id=hook.get_branch_commit_id(self.bucket, "main"))
        self.assertFalse(sensor.poke({}))
        hook.upload(self.bucket, "main", "a", b"x")
        self.assertFalse(sensor.poke({}))
        hook.commit(self.bucket, "main", "m")
        self.assertTrue(sensor.poke({}))


class DagTest(AirflowTest):
    def test_airflow_example_dag(self):
        """The provider's example, as it is: all its operators and sensors, run by Airflow; what it did is there, and who did it."""
        self.lake.create_repository("example-repo")
        dag = importlib.import_module("lakefs_provider.example_dags.lakefs-dag").sample_workflow_dag
        run = dag.test()
        self.assertEqual({task.task_id: task.state for task in run.get_task_instances()}, dict.fromkeys(dag.task_ids, "success"))
        merge, commit, _ = self.log("example-repo", "main")
        self.assertEqual((merge["message"], commit["message"]), (
            "merging to the default branch", "committing to lakeFS using airflow!"))
        self.assertEqual(commit["metadata"]["committed_from"], "airflow-operator")
        self.assertEqual(commit["metadata"]["airflow_task_id"], "commit")
        self.assertEqual(commit["metadata"]["::lakefs::Airflow::dag_id"], dag.dag_id)
        self.assertEqual(commit["metadata"]["::lakefs::Airflow::dag_run_id"], run.run_id)
        self.assertTrue(self.lake.get("example-repo", "main", "path/to/_SUCCESS").startswith(b"It is not enough to succeed."))
        branches = self.lake.ask("GET", "/repositories/example-repo/branches").json["results"]
        self.assertEqual([branch["id"] for branch in branches], ["main"])



class ActionHookTest(AirflowTest):
    """Hooks of ours that start DAGs of a running Airflow 2."""

    DAGS = """
from airflow import DAG
from airflow.operators.python import PythonOperator
import pendulum

def work(dag_run=None, **_):
    event = dag_run.conf["lakeFS_event"]
    if dag_run.conf.get("fails"):
        raise ValueError(event["branch_id"])

for name in ("gate", "asleep"):
    with DAG(name, schedule=None, start_date=pendulum.datetime(2024, 1, 1), is_paused_upon_creation=name == "asleep") as dag:
        PythonOperator(task_id="work", python_callable=work)
    globals()[name] = dag
"""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        dags = cls.folder / "dags"
        dags.mkdir()
        (dags / "gates.py").write_text(cls.DAGS)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            cls.port = free.getsockname()[1]
        environment = os.environ | {
            "AIRFLOW__API__AUTH_BACKENDS": "airflow.api.auth.backend.basic_auth", "AIRFLOW__CORE__DAGS_FOLDER": str(dags),
            "AIRFLOW__CORE__EXECUTOR": "SequentialExecutor", "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.2",
            "PATH": os.pathsep.join([str(pathlib.Path(sys.executable).parent), os.environ["PATH"]])}  # tasks are run as `airflow`
        airflow, log = [sys.executable, "-m", "airflow"], open(cls.folder / "airflow.log", "ab")
        cls.addClassCleanup(log.close)
        subprocess.run([*airflow, "users", "create", "-u", "hook", "-p", "secret", "-r", "Admin", "-e", "a@b.c", "-f", "f", "-l", "l"],
                       check=True, timeout=120, stdout=log, stderr=log, env=environment)
        subprocess.run([*airflow, "dags", "reserialize"], check=True, timeout=120, stdout=log, stderr=log, env=environment)
        for command in (["webserver", "-H", "127.0.0.1", "-p", str(cls.port), "-w", "1"], ["scheduler"]):
            process = subprocess.Popen([*airflow, *command], stdout=log, stderr=log, env=environment, start_new_session=True)
            cls.addClassCleanup(process.wait)
            cls.addClassCleanup(lambda process=process: os.killpg(process.pid, signal.SIGKILL))
        cls.url = f"http://127.0.0.1:{cls.port}"

        def answers():
            try:
                return urllib.request.urlopen(cls.url + "/api/v1/health", timeout=5).status == 200
            except OSError:
                return False
        s3_clients.lake.wait_until(answers, 90, "Airflow")

    def commit(self, dag="gate", **properties):
        properties = {"url": self.url, "dag_id": dag, "username": "hook", "password": "secret", "timeout": "60s", **properties}
        text = json.dumps({"name": "act", "on": {"pre-commit": None}, "hooks": [{"id": "dag", "type": "airflow", "properties": properties}]})
        self.lake.upload(self.bucket, "main", "_lakefs_actions/a.yaml", text.encode())
        return self.lake.rest("POST", f"/repositories/{self.bucket}/branches/main/commits", json_body={"message": "m"})

    def test_airflow_runs_dags(self):
        answer = self.commit(wait_for_dag=True, dag_conf={"some": "conf"})
        self.assertEqual(answer.status, 201, answer.body)
        answer = self.commit(wait_for_dag=True, dag_conf={"fails": True})
        self.assertEqual(answer.status, 412, answer.body)
        self.assertIn("has failed", answer.json["message"])
        self.assertEqual(self.commit().status, 201)  # not waited for
        answer = self.commit("asleep", wait_for_dag=True, timeout="2s")
        self.assertEqual(answer.status, 412, answer.body)
        self.assertIn("did not end within 2.0 s", answer.json["message"])
        for properties, status in (({"password": "wrong"}, "40[13]"), ({"dag": "no-such"}, "404")):
            answer = self.commit(**properties)
            self.assertEqual(answer.status, 412)
            self.assertRegex(answer.json["message"], rf"status code \({status}\)")


if __name__ == "__main__":
    sys.exit(s3_clients.main())
