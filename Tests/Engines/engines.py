"""Starts engines that records and objects are kept in, on loopback and free ports, runs a command with their addresses
in its environment, and stops them: `engines.py [--only NAME,...] -- COMMAND ...`.

What each one is: `docs/architecture.md`, "Engines". Needs the environments `.venv-engines` and `.venv-ministack`."""
import base64
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
HERE = pathlib.Path(__file__).resolve().parent
ENGINES, MINISTACK = ROOT / ".venv-engines/bin", ROOT / ".venv-ministack/bin"
KEY, SECRET = "AKIAENGINETESTS00000", "engine-tests-secret-key"
AZURE_ACCOUNT, AZURE_KEY = "lakeaccount", base64.b64encode(b"azure key of the engine tests!!!").decode()
COSMOS_KEY = base64.b64encode(b"cosmos key of the engine tests!!").decode()
TOKEN = "token-of-the-tests"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Engines:
    def __init__(self):
        self.folder = tempfile.TemporaryDirectory(prefix="lakefuse-engines-")
        self.processes = []
        self.folders = []
        self.environment = {}

    def path(self, name):
        return os.path.join(self.folder.name, name)

    def start(self, name, *command, **environment):
        log = open(self.path(name + ".log"), "wb")
        self.processes.append(subprocess.Popen(
            [str(word) for word in command], stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
            env={**os.environ, **environment}, cwd=self.folder.name, start_new_session=True))

    def wait(self, name, port, path="/", seconds=60):
        end = time.time() + seconds
        while time.time() < end:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=2)
                return
            except urllib.error.HTTPError:
                return
            except OSError:
                if self.processes[-1].poll() is not None:
                    break
                time.sleep(0.1)
        sys.exit(f"{name} does not start:\n" + pathlib.Path(self.path(name + ".log")).read_text()[-2000:])

    def ministack(self):
        """S3, DynamoDB, IAM and STS; checks signatures of an IAM user's key."""
        port = free_port()
        self.start(
            "ministack", MINISTACK / "ministack", SERVICES="s3,dynamodb,iam,sts", AUTH="true", IOT_MTLS_ENABLED="0",
            BIND_HOST="127.0.0.1", GATEWAY_PORT=str(port), AWS_ACCESS_KEY_ID="root-key",
            AWS_SECRET_ACCESS_KEY="root-secret")
        self.wait("ministack", port)
        endpoint = f"http://127.0.0.1:{port}"
        script = f"""
import boto3, json
iam = boto3.client("iam", endpoint_url="{endpoint}", region_name="us-east-1", aws_access_key_id="root-key",
                   aws_secret_access_key="root-secret")
iam.create_user(UserName="lake")
iam.put_user_policy(UserName="lake", PolicyName="all", PolicyDocument=json.dumps(
    {{"Version": "2012-10-17", "Statement": [{{"Effect": "Allow", "Action": "*", "Resource": "*"}}]}}))
key = iam.create_access_key(UserName="lake")["AccessKey"]
s3 = boto3.client("s3", endpoint_url="{endpoint}", region_name="us-east-1", aws_access_key_id=key["AccessKeyId"],
                  aws_secret_access_key=key["SecretAccessKey"])
s3.create_bucket(Bucket="lake")
print(key["AccessKeyId"], key["SecretAccessKey"])
"""
        key, secret = subprocess.run(
            [MINISTACK / "python", "-c", script], check=True, capture_output=True, text=True).stdout.split()
        self.environment.update(
            ENGINE_MINISTACK=endpoint, ENGINE_MINISTACK_KEY=key, ENGINE_MINISTACK_SECRET=secret)

    def moto(self):
        """S3 and DynamoDB; checks no signatures."""
        port = free_port()
        self.start("moto", ENGINES / "moto_server", "-H", "127.0.0.1", "-p", port)
        self.wait("moto", port)
        urllib.request.urlopen(urllib.request.Request(f"http://127.0.0.1:{port}/lake", method="PUT", headers={
            "Host": f"127.0.0.1:{port}"}))
        self.environment["ENGINE_MOTO"] = f"http://127.0.0.1:{port}"

    def seaweedfs(self):
        """An S3 store that is fast."""
        port = free_port()
        configuration = self.path("seaweedfs.json")
        with open(configuration, "w") as file:
            json.dump({"identities": [{
                "name": "lake", "credentials": [{"accessKey": KEY, "secretKey": SECRET}],
                "actions": ["Admin", "Read", "Write", "List", "Tagging"]}]}, file)
        os.mkdir(self.path("weed"))
        ports = [free_port() for _ in range(8)]
        self.start(
            "seaweedfs", ENGINES / "weed", "server", "-ip=127.0.0.1", "-ip.bind=127.0.0.1",
            "-dir=" + self.path("weed"), f"-master.port={ports[0]}", f"-master.port.grpc={ports[1]}",
            f"-volume.port={ports[2]}", f"-volume.port.grpc={ports[3]}", "-volume.max=100", "-filer",
            f"-filer.port={ports[4]}", f"-filer.port.grpc={ports[5]}", "-s3", f"-s3.port={port}",
            f"-s3.port.grpc={ports[6]}", "-s3.config=" + configuration, "-s3.port.iceberg=0", "-s3.port.lance=0",
            "-master.volumeSizeLimitMB=512")
        self.wait("seaweedfs", port)
        script = f"""
import boto3, time
s3 = boto3.client("s3", endpoint_url="http://127.0.0.1:{port}", region_name="us-east-1", aws_access_key_id="{KEY}",
                  aws_secret_access_key="{SECRET}")
for attempt in range(60):
    try:
        s3.create_bucket(Bucket="lake")
        s3.put_object(Bucket="lake", Key="probe", Body=b"1")
        break
    except Exception as error:
        if attempt == 59: raise
        time.sleep(0.5)
s3.delete_object(Bucket="lake", Key="probe")
"""
        subprocess.run([ENGINES / "python", "-c", script], check=True)
        self.environment.update(
            ENGINE_SEAWEEDFS=f"http://127.0.0.1:{port}", ENGINE_SEAWEEDFS_KEY=KEY, ENGINE_SEAWEEDFS_SECRET=SECRET)

    def gcs(self):
        """Google Cloud Storage's JSON interface; any bearer token will do."""
        port = free_port()
        program = next((ROOT / ".venv-engines").rglob("fake-gcs-server-linux-amd64"))
        os.chmod(program, 0o755)
        os.mkdir(self.path("gcs"))
        self.start(
            "gcs", program, "-scheme", "http", "-host", "127.0.0.1", "-port", port, "-external-url",
            f"http://127.0.0.1:{port}", "-public-host", f"127.0.0.1:{port}", "-backend", "filesystem",
            "-filesystem-root", self.path("gcs"))
        self.wait("gcs", port, "/storage/v1/b")
        urllib.request.urlopen(urllib.request.Request(
            f"http://127.0.0.1:{port}/storage/v1/b?project=p", method="POST", data=b'{"name":"lake"}',
            headers={"Content-Type": "application/json"}))
        self.environment["ENGINE_GCS"] = f"http://127.0.0.1:{port}"

    def azure(self):
        """The double of Azure Blob Storage, which checks signatures."""
        port = free_port()
        self.start(
            "azure", sys.executable, HERE / "blob_double.py", "--port", port, "--account", AZURE_ACCOUNT, "--key",
            AZURE_KEY, "--aad-token", TOKEN, "--imds")
        self.wait("azure", port, "/__requests")
        script = f"""
from azure.storage.blob import BlobServiceClient
BlobServiceClient("http://127.0.0.1:{port}/{AZURE_ACCOUNT}", credential="{AZURE_KEY}").create_container("lake")
"""
        subprocess.run([ENGINES / "python", "-c", script], check=True)
        self.environment.update(
            ENGINE_AZURE=f"http://127.0.0.1:{port}", ENGINE_AZURE_ACCOUNT=AZURE_ACCOUNT, ENGINE_AZURE_KEY=AZURE_KEY,
            ENGINE_TOKEN=TOKEN)

    def cosmos(self):
        """The double of CosmosDB, which checks signatures."""
        port = free_port()
        self.start(
            "cosmos", sys.executable, HERE / "cosmos_double.py", "--port", port, "--key", COSMOS_KEY, "--aad-token",
            TOKEN, "--empty-pages", "--page-bytes", "20000")
        self.wait("cosmos", port, "/__requests")
        self.environment.update(
            ENGINE_COSMOS=f"http://127.0.0.1:{port}", ENGINE_COSMOS_KEY=COSMOS_KEY, ENGINE_TOKEN=TOKEN)

    def postgres(self):
        """PostgreSQL 15 of Debian; as root the user `postgres` runs it."""
        port = free_port()
        programs = "/usr/lib/postgresql/15/bin/"
        folder = tempfile.mkdtemp(prefix="lakefuse-postgres-")
        self.folders.append(folder)
        os.chmod(folder, 0o777)
        secret = os.path.join(folder, "password")
        with open(secret, "w") as file:
            file.write(SECRET)
        os.chmod(secret, 0o644)
        user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if os.getuid() == 0 else []
        data = os.path.join(folder, "data")
        subprocess.run(
            user + [programs + "initdb", "-D", data, "-A", "scram-sha-256", "-U", "lake", "--pwfile", secret, "-N"],
            check=True, stdout=subprocess.DEVNULL)
        self.start(
            "postgres", *user, programs + "postgres", "-D", data, "-p", port, "-k", folder, "-c",
            "listen_addresses=127.0.0.1", "-c", "max_connections=200")
        address = f"postgres://lake:{SECRET}@127.0.0.1:{port}/postgres?sslmode=disable"
        for attempt in range(200):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        else:
            sys.exit("PostgreSQL does not start")
        self.environment.update(ENGINE_POSTGRES=address, ENGINE_POSTGRES_DATA=data)

    def stop(self):
        for process in self.processes:
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            process.wait()
        self.folder.cleanup()
        for folder in self.folders:
            shutil.rmtree(folder, ignore_errors=True)


ALL = ["postgres", "ministack", "moto", "seaweedfs", "gcs", "azure", "cosmos"]


def main():
    if "--" not in sys.argv:
        sys.exit(__doc__)
    split = sys.argv.index("--")
    options, command = sys.argv[1:split], sys.argv[split + 1:]
    chosen = options[1].split(",") if options[:1] == ["--only"] else ALL
    engines = Engines()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        for name in chosen:
            getattr(engines, name)()
        return subprocess.run(command, env={**os.environ, **engines.environment}).returncode
    finally:
        engines.stop()


if __name__ == "__main__":
    sys.exit(main())
