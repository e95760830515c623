"""compose.yaml, which no test here can start: what can be known of it without docker."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest
import yaml
from mlflow.cli import cli as mlflow
from pathspec import PathSpec

from deploy.compose import make
from pipeline.cli import main as slipway
from pipeline.config import load_config
from serving.model_server.flag_parsing import parse_flags
from serving.model_server.monitoring import metrics_path
from serving.sync.__main__ import main as sync

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
SERVICES = COMPOSE["services"]


def check(command, arguments):
    """Fail unless the command takes these arguments; nothing is run."""
    context = command.make_context(command.name, list(arguments), resilient_parsing=False)
    context.close()


def test_the_services_are_those_of_make_stack_and_what_prepares_them():
    assert set(SERVICES) == {
        *("postgresql", "s3", "mlflow", "sync", "model-server", "reconciler", "drift", "prometheus"),
        "setup",
    }


def test_the_reconcilers_command_is_one_that_slipway_takes():
    match SERVICES["reconciler"]["command"]:
        case ["python", "-m", "pipeline", name, *rest]:
            check(slipway.commands[name], rest)
        case other:
            pytest.fail(f"{other}")
    config = load_config(str(DEPLOY / "slipway.yaml"))
    assert config.base_is_remote
    assert config.gate.require_signature
    assert config.reconcile.addresses == ("grpc://model-server:8500",)
    published = SERVICES["mlflow"]["ports"][0].rpartition(":")[0]
    assert config.reconcile.mlflow_ui == f"http://{published}"


def test_the_drift_check_reads_what_the_model_server_logs_and_may_write_nothing_there():
    match SERVICES["drift"]["command"]:
        case ["python", "-m", "pipeline", "drift", *rest]:
            told = slipway.commands["drift"].make_context("drift", rest).params
        case other:
            pytest.fail(f"{other}")
    assert (told["watch"], told["served"], told["config"]) == (True, True, "/slipway.yaml")
    log = load_config(str(DEPLOY / "slipway.yaml")).prediction_log
    assert f"--prediction_log={log}" in SERVICES["model-server"]["command"]
    assert f"./data/predictions:{log}" in SERVICES["model-server"]["volumes"]
    assert f"./data/predictions:{log}:ro" in SERVICES["drift"]["volumes"]
    assert set(SERVICES["drift"]["secrets"]) == {"mlflow-slipway", "pgpass-slipway"}


def test_the_sidecars_command_is_one_that_it_takes():
    check(sync, SERVICES["sync"]["command"])


def test_the_model_servers_flags_are_flags_that_it_takes(tmp_path):
    for name in ("labels.config", "access-tokens"):
        (tmp_path / name).touch(0o600)
    words = [
        re.sub(r"=(?:/base|/run/secrets|)/(labels.config|access-tokens)$", rf"={tmp_path}/\1", word)
        for word in SERVICES["model-server"]["command"][3:]
    ]
    words = [
        word.replace("=/trusted", f"={tmp_path}").replace("=/monitoring", f"={DEPLOY}/monitoring") for word in words
    ]
    flags = parse_flags(words)
    assert flags.default_label == "stable"
    assert flags.access_tokens_file
    assert flags.trusted_keys
    assert (flags.traffic_config_file, flags.page_file) == ("/base/traffic.json", "/base/page.json")
    assert metrics_path(DEPLOY / "monitoring.config") == "/metrics"


def test_the_servers_command_is_one_that_mlflow_takes():
    name, *rest = SERVICES["mlflow"]["command"][1:]
    check(mlflow.commands[name], rest)
    assert "--app-name=basic-auth" in rest


@pytest.mark.parametrize("name", SERVICES)
def test_no_port_is_published_off_loopback(name):
    for port in SERVICES[name].get("ports", ()):
        assert re.fullmatch(r"127\.0\.0\.1:\d+:\d+", port)
    assert "network_mode" not in SERVICES[name]


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_runs_as_nobodys_root_on_a_file_system_that_it_cannot_write(name):
    service = SERVICES[name]
    assert service["user"].startswith("${SLIPWAY_USER:?")
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "privileged" not in service


@pytest.mark.parametrize("name", [name for name in SERVICES if name not in {"setup", "reconciler", "drift"}])
def test_what_others_wait_for_says_when_it_is_well(name):
    assert SERVICES[name]["healthcheck"]["test"][0] == "CMD"


def test_every_secret_is_a_file_and_is_given_to_those_who_use_it_alone():
    for name, service in SERVICES.items():
        used = set(re.findall(r"/run/secrets/([\w-]+)", json.dumps(service)))
        for read, file in (("postgresql", "postgresql.sql"), ("prometheus", "prometheus.yml")):
            if name == read:
                used |= set(re.findall(r"/run/secrets/([\w-]+)", (DEPLOY / file).read_text()))
        assert used == set(service.get("secrets", ())), name
        for key, value in service.get("environment", {}).items():
            if re.search("PASSWORD|SECRET|TOKEN|KEY", key):
                assert value.startswith("/run/secrets/"), f"{name}: {key}"
    assert {name for service in SERVICES.values() for name in service.get("secrets", ())} == set(COMPOSE["secrets"])
    assert all(set(secret) == {"file"} for secret in COMPOSE["secrets"].values())


def test_the_command_for_it_makes_every_file_that_it_names_once_and_for_its_owner_alone(tmp_path):
    made = make(tmp_path)
    for secret in COMPOSE["secrets"].values():
        file = tmp_path / secret["file"]
        assert file.stat().st_mode & 0o077 == 0
        assert file.read_text()
    for service in SERVICES.values():
        for volume in service.get("volumes", ()):
            place = volume.partition(":")[0]
            assert (tmp_path / place).is_dir() or (DEPLOY / place).is_file()
    assert (tmp_path / ".env").read_text() == f"SLIPWAY_USER={os.getuid()}:{os.getgid()}\n"
    before = {file: file.read_text() for file in made}
    assert make(tmp_path) == []
    assert {file: file.read_text() for file in made} == before


def test_the_keys_that_a_client_is_given_are_the_ones_that_s3_knows_and_the_sidecars_only_read(tmp_path):
    make(tmp_path)
    identities = json.loads((tmp_path / "secrets" / "s3-identities").read_text())["identities"]
    for identity in identities:
        (key,) = identity["credentials"]
        text = (tmp_path / "secrets" / f"s3-{identity['name']}").read_text()
        assert key["accessKey"] in text
        assert key["secretKey"] in text
    (reader,) = [identity for identity in identities if identity["name"] == "sync"]
    assert reader["actions"] == ["Read:slipway", "List:slipway"]


def test_what_is_made_for_compose_is_not_committed():
    for name in ("secrets/mlflow-admin", "data/s3", "trusted/signing.pem", ".env"):
        assert subprocess.run(["git", "check-ignore", "-q", f"deploy/{name}"], cwd=ROOT, check=False).returncode == 0


def test_images_are_made_of_what_their_files_copy_and_of_nothing_that_is_made_for_compose():
    ignored = PathSpec.from_lines("gitignore", (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines())
    for made in ("secrets/signing.key", "data/s3/1", "trusted/signing.pem", ".env"):
        assert ignored.match_file(f"deploy/{made}")
    for other in ("stack/secrets/mlflow-admin", "mlflow.db", ".git/config", "serving/__pycache__/x.pyc"):
        assert ignored.match_file(other)
    for file in DEPLOY.glob("*.Dockerfile"):
        for path in copied(file.read_text(encoding="utf-8")):
            assert not ignored.match_file(path if (ROOT / path).is_file() else f"{path}/__init__.py"), path


def copied(text):
    """What a container file copies out of its context."""
    return [word for line in re.findall(r"^COPY (?!--from=)(.*)$", text, re.MULTILINE) for word in line.split()[:-1]]


@pytest.mark.parametrize("name", ["slipway", "sync", "mlflow"])
def test_a_container_file_copies_what_is_there_and_ends_as_somebody_without_rights(name):
    text = (DEPLOY / f"{name}.Dockerfile").read_text(encoding="utf-8")
    assert copied(text)
    assert all((ROOT / path).exists() for path in copied(text))
    assert re.search(r"^USER 10001:10001$", text, re.MULTILINE)


def test_a_secret_reaches_a_program_by_a_file_and_the_files_name_does_not_go_on(tmp_path):
    (tmp_path / "password").write_text('it\'s $(secret) "here"')
    done = subprocess.run(
        [DEPLOY / "from-files.sh", "sh", "-c", 'printf %s "$MLFLOW_TRACKING_PASSWORD"; env | grep _FROM'],
        env={"PATH": os.environ["PATH"], "MLFLOW_TRACKING_PASSWORD_FROM": str(tmp_path / "password")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == 'it\'s $(secret) "here"'


def test_a_secret_that_is_missing_ends_the_container(tmp_path):
    done = subprocess.run(
        [DEPLOY / "from-files.sh", "true"],
        env={"PATH": os.environ["PATH"], "X_FROM": str(tmp_path / "none")},
        capture_output=True,
        check=False,
    )
    assert done.returncode != 0


@pytest.mark.integration
def test_what_is_made_at_the_first_start_is_made_once_and_a_wrong_password_is_told(stack, s3_server):
    own = ("MLFLOW_", "SLIPWAY_")
    environment = {
        **{key: value for key, value in os.environ.items() if not key.startswith(own)},
        "MLFLOW_TRACKING_URI": stack.mlflow.url,
        "MLFLOW_TRACKING_PASSWORD": stack.folder.password("mlflow-slipway"),
        "MLFLOW_ADMIN_PASSWORD": stack.folder.password("mlflow-admin"),
    }

    def setup(**more):
        command = [sys.executable, "-m", "deploy.setup"]
        return subprocess.run(
            command, cwd=ROOT, env={**environment, **more}, capture_output=True, text=True, check=False
        )

    first = setup()
    assert first.returncode == 0, first.stderr
    s3_server.client.put_object(Bucket="slipway", Key="models/labels.config", Body=b"changed since")
    assert setup().returncode == 0
    kept = s3_server.client.get_object(Bucket="slipway", Key="models/labels.config")["Body"].read()
    assert kept == b"changed since"
    refused = setup(MLFLOW_ADMIN_PASSWORD="wrong-but-long-enough")
    assert refused.returncode == 1
    assert "wrong-but-long-enough" not in refused.stderr
    assert re.fullmatch(r"error: .*status 401.*\n", refused.stderr)


def test_a_command_without_a_name_is_refused():
    with pytest.raises(click.UsageError):
        check(sync, ["--from=s3://slipway/models"])
