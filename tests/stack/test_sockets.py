"""Nothing of the stack can be reached from another machine, and nothing but probes answers one who does not sign in."""

import ipaddress
import json
import os
import re
import urllib.error
import urllib.request

import psutil
import psycopg
import pytest

from serving.model_server.access_tokens import add_token, new_token, remove_token
from tests.pipeline.lifecycle_world import wait_until

pytestmark = pytest.mark.integration


def listening(stack):
    """(service, address, port) of every socket that a process of the stack listens on, TCP and UDP."""
    sessions = {pid: name for name, pid in stack.processes().items()}
    found = set()
    for process in psutil.process_iter():
        try:
            session = os.getsid(process.pid)
            ancestors = [session, process.pid, *(parent.pid for parent in process.parents())]
            service = next((sessions[pid] for pid in ancestors if pid in sessions), None)
            if service is None:
                continue
            for connection in process.net_connections("inet"):
                bound = connection.status in {psutil.CONN_LISTEN, psutil.CONN_NONE} and not connection.raddr
                if bound and connection.laddr:
                    found.add((service, connection.laddr.ip, connection.laddr.port))
        except (psutil.NoSuchProcess, ProcessLookupError):
            continue
    return sorted(found)


def test_every_socket_that_the_stack_listens_on_is_on_loopback(stack, capsys):
    found = listening(stack)
    with capsys.disabled():
        print()  # noqa: T201 - the listing is what is asked for
        for service, address, port in found:
            print(f"{service:<14} {address}:{port}")  # noqa: T201
    ports = {"postgresql": "postgresql", "s3": "s3", "mlflow": "mlflow", "model-server": "rest", "sync": "sync"}
    for service, port in ports.items():
        assert (service, "127.0.0.1", stack.folder.port(port)) in found, "the listing sees what we know to be there"
    assert {service for service, _, _ in found} >= {"ceph-mon", "ceph-mgr", "ceph-osd"}
    assert [each for each in found if not is_loopback(each[1])] == []


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/api/2.0/mlflow/registered-models/search",
        "/api/2.0/mlflow/experiments/search?max_results=1",
        "/api/2.0/mlflow-artifacts/artifacts?path=",
        "/ajax-api/2.0/mlflow/registered-models/search",
    ],
)
@pytest.mark.parametrize("login", [None, "slipway:wrong", "admin:wrong", "nobody:x"])
def test_mlflow_answers_nobody_who_does_not_sign_in(stack, path, login):
    with pytest.raises(urllib.error.HTTPError) as refused:
        asked(stack.mlflow.url + path, login)
    assert refused.value.code == 401


def test_mlflow_answers_no_host_but_its_own(stack):
    request = urllib.request.Request(f"{stack.mlflow.url}/api/2.0/mlflow/experiments/search", headers={"Host": "evil"})
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=10)
    assert refused.value.code == 403


def test_a_user_of_mlflow_sees_no_other_user_and_may_make_none(stack):
    password = stack.folder.password("mlflow-slipway")
    with pytest.raises(urllib.error.HTTPError) as refused:
        asked(f"{stack.mlflow.url}/api/2.0/mlflow/users/get?username=admin", f"slipway:{password}")
    assert refused.value.code == 403


@pytest.mark.parametrize("role", ["postgres", "mlflow", "slipway"])
@pytest.mark.parametrize("password", ["", "wrong"])
def test_postgresql_lets_nobody_in_without_the_password(stack, role, password, tmp_path):
    with pytest.raises(psycopg.OperationalError, match=r"password|authentication"):
        psycopg.connect(stack.postgresql.url("mlflow", role), password=password, passfile=str(tmp_path / "none"))


def test_a_role_of_postgresql_cannot_enter_another_ones_database(stack):
    passfile = str(stack.postgresql.password_file("slipway"))
    psycopg.connect(stack.postgresql.url("slipway", "slipway"), passfile=passfile).close()
    with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
        psycopg.connect(stack.postgresql.url("mlflow", "slipway"), passfile=passfile)


@pytest.mark.parametrize("bucket", ["mlflow", "slipway"])
def test_s3_answers_no_request_without_a_signature_or_with_a_wrong_one(stack, bucket):
    import boto3
    from botocore import UNSIGNED
    from botocore.config import Config
    from botocore.exceptions import ClientError

    keys = (stack.s3.client("slipway")._request_signer._credentials.access_key, "wrong")
    unsigned = boto3.session.Session().client(
        "s3", endpoint_url=stack.s3.endpoint, region_name="us-east-1", config=Config(signature_version=UNSIGNED)
    )
    wrong = boto3.session.Session(*keys, region_name="us-east-1").client("s3", endpoint_url=stack.s3.endpoint)
    for client, code in ((unsigned, "AccessDenied"), (wrong, "SignatureDoesNotMatch")):
        with pytest.raises(ClientError) as refused:
            client.list_objects_v2(Bucket=bucket)
        assert refused.value.response["Error"]["Code"] == code


def test_the_keys_of_the_sync_sidecar_read_the_base_path_and_nothing_else(stack):
    from botocore.exceptions import ClientError

    client = stack.s3.client("sync")
    client.get_object(Bucket="slipway", Key="models/labels.config")["Body"].read()
    for call, words in (
        (client.put_object, {"Bucket": "slipway", "Key": "models/x", "Body": b""}),
        (client.delete_object, {"Bucket": "slipway", "Key": "models/labels.config"}),
        (client.list_objects_v2, {"Bucket": "mlflow"}),
    ):
        with pytest.raises(ClientError) as refused:
            call(**words)
        assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403


def test_the_model_server_answers_who_has_a_token_for_it_and_counts_the_others(stack):
    secrets = stack.folder.path / "secrets"
    own, metrics = ((secrets / f"token-{name}").read_text() for name in ("slipway", "prometheus"))
    expired, noted = new_token("expired", ["predict"], "2020-01-01")
    add_token(secrets / "access-tokens", noted)
    rest = stack.addresses["predictions, REST"]
    try:
        wait_until(lambda: counts_as_expired(rest, expired, metrics), "the new line is not read", 20)
        before = denials(rest, metrics)
        assert status_of(f"{rest}/v1/models", own) == 200
        assert status_of(f"{rest}/v1/models/none:predict", own, b"{}") == 404
        for path, body in (("/v1/models", None), ("/v1/models/none:predict", b"{}"), ("/metrics", None)):
            assert status_of(rest + path, None, body) == 401
            assert status_of(rest + path, "slipway_wrong", body) == 401
            assert status_of(rest + path, expired, body) == 401
        assert status_of(f"{rest}/v1/models/none:predict", metrics, b"{}") == 403
        assert status_of(f"{rest}/metrics", own) == 403
        counted = {reason: number - before.get(reason, 0) for reason, number in denials(rest, metrics).items()}
        assert counted == {"missing": 3, "unknown": 3, "expired": 3, "scope": 2}
    finally:
        remove_token(secrets / "access-tokens", "expired")


def test_the_grpc_port_asks_for_a_token_too(stack):
    import grpc

    from serving.wire.get_model_status_pb2 import GetModelStatusRequest

    with grpc.insecure_channel(stack.addresses["predictions, gRPC"].removeprefix("grpc://")) as channel:
        call = channel.unary_unary("/tensorflow.serving.ModelService/GetModelStatus")
        for metadata in ((), (("authorization", "Bearer slipway_wrong"),)):
            with pytest.raises(grpc.RpcError) as refused:
                call(GetModelStatusRequest().SerializeToString(), timeout=10, metadata=metadata)
            assert refused.value.code() == grpc.StatusCode.UNAUTHENTICATED


def test_prometheus_reads_the_numbers_of_the_model_server_and_of_the_sidecar(stack):
    if "prometheus" not in stack.parts:
        pytest.fail("prometheus is not on this machine. On Debian: apt-get install prometheus")

    def up():
        text = asked(f"{stack.addresses['Prometheus']}/api/v1/query?query=up", None)
        return {each["metric"]["job"]: each["value"][1] for each in json.loads(text)["data"]["result"]}

    wait_until(
        lambda: up() == dict.fromkeys(("model-server", "sync", "reconciler", "prometheus"), "1"), lambda: str(up()), 30
    )


def test_no_secret_is_on_a_command_line_or_in_a_log_and_their_files_are_ours_alone(stack):
    secrets = {}
    for file in (stack.folder.path / "secrets").iterdir():
        assert file.stat().st_mode & 0o077 == 0, file
        lines = [line for line in file.read_text().splitlines() if not line.startswith(("[", "aws_access_key_id"))]
        if file.name != "mlflow-login.ini":  # it names databases and no password
            secrets |= {line.split()[-1].rpartition(":")[2]: file.name for line in lines}
    assert len(secrets) >= 8, "passwords of the database and of MLflow, keys of S3"
    assert all(len(secret) >= 20 for secret in secrets)
    # None: a process that has ended, and has none any more.
    lines = {each.pid: each.info["cmdline"] or () for each in psutil.process_iter(["cmdline"])}
    texts = {f"command line of {pid}": " ".join(line) for pid, line in lines.items()}
    texts |= {str(log): log.read_text(errors="replace") for log in (stack.folder.path / "log").iterdir()}
    texts |= {str(log): log.read_text(errors="replace") for log in (stack.folder.path / "ceph").glob("*.log")}
    for place, text in texts.items():
        for secret, name in secrets.items():
            assert secret not in text, f"{name} is in {place}"
    assert (stack.folder.path / "env").stat().st_mode & 0o077 == 0


def status_of(url, token, body=None):
    """A request's status."""
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    try:
        with urllib.request.urlopen(urllib.request.Request(url, body, headers), timeout=10) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


def counts_as_expired(rest, expired, token):
    """Whether the server knows that token, as one that has expired."""
    before = denials(rest, token).get("expired", 0)
    assert status_of(f"{rest}/v1/models", expired) == 401
    return denials(rest, token).get("expired", 0) > before


def denials(rest, token):
    """How many requests were not let in, by reason, as the metrics have it."""
    request = urllib.request.Request(f"{rest}/metrics", headers={"Authorization": f"Bearer {token}"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        text = answer.read().decode()
    rows = re.findall(r"^slipway_requests_denied_total\{(.*)\} (\d+)", text, re.MULTILINE)
    return {re.search(r'reason="(\w+)"', labels)[1]: int(number) for labels, number in rows if "REST" in labels}


def is_loopback(text):
    address = ipaddress.ip_address(text)
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback


def asked(url, login):
    import base64

    headers = {} if login is None else {"Authorization": f"Basic {base64.b64encode(login.encode()).decode()}"}
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=10) as answer:
        return answer.read()
