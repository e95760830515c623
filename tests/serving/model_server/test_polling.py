"""New versions and a changed config file are noticed."""

import time

import pytest

from serving.model_server.load_rules import LoadRules
from serving.model_server.models import Models
from serving.model_server.polling import Poller
from slipway.errors import InputError
from slipway.files import write_atomically
from tests.serving.model_server.fakes import FakeLoads, eventually, put_version, settings, spec

INTERVAL_S = 0.02


@pytest.fixture
def models():
    return Models(LoadRules(FakeLoads()), default_label="stable")


@pytest.fixture
def poll(models):
    pollers = []

    def start(versions_s=INTERVAL_S, config=None, config_s=INTERVAL_S):
        poller = Poller(models, versions_s, config, config_s)
        pollers.append(poller)
        poller.start()

    yield start
    for poller in pollers:
        poller.stop()


def answering(models):
    with models.acquire(spec()) as lease:
        return lease.number


def write_config(path, base, versions, stable):
    listed = " ".join(f"versions: {version}" for version in versions)
    text = f"""model_config_list {{ config {{ name: "m" base_path: "{base}" model_platform: "tensorflow"
      model_version_policy {{ specific {{ {listed} }} }} version_labels {{ key: "stable" value: {stable} }} }} }}"""
    write_atomically(path, text.encode())


def test_a_new_version_is_found_by_itself(tmp_path, models, poll):
    put_version(tmp_path / "m", 1, 1)
    models.configure([settings(tmp_path / "m")])
    poll()
    eventually(models.ready)
    put_version(tmp_path / "m", 2, 2)
    eventually(lambda: answering(models) == 2)


def test_a_changed_config_takes_effect_and_a_label_may_come_before_its_version(tmp_path, models, poll):
    config, base = tmp_path / "labels.config", tmp_path / "m"
    put_version(base, 1, 1)
    write_config(config, base, [1], 1)
    poll(config=config)
    eventually(models.ready)
    write_config(config, base, [1, 2], 2)
    assert answering(models) == 1
    put_version(base, 2, 2)
    eventually(lambda: answering(models) == 2)
    write_config(config, base, [1, 2], 1)
    eventually(lambda: answering(models) == 1)


def test_a_config_that_cannot_be_read_is_refused_at_the_start(tmp_path, poll):
    config = tmp_path / "models.config"
    config.write_text("model_config_list {\n config {\n nam: 1 } }")
    with pytest.raises(InputError, match=r"models\.config: line 3"):
        poll(config=config)


def test_a_config_that_is_gone_for_a_while_changes_nothing_and_is_said_once(tmp_path, models, poll, caplog):
    config, base = tmp_path / "models.config", tmp_path / "m"
    put_version(base, 1, 1)
    write_config(config, base, [1], 1)
    poll(config=config)
    eventually(models.ready)
    config.rename(tmp_path / "away")
    eventually(lambda: "cannot be read (No such file or directory)" in caplog.text)
    time.sleep(5 * INTERVAL_S)
    assert caplog.text.count("cannot be read") == 1
    assert answering(models) == 1


def test_a_config_that_turns_bad_changes_nothing_and_is_said_once(tmp_path, models, poll, caplog):
    config, base = tmp_path / "models.config", tmp_path / "m"
    put_version(base, 1, 1)
    put_version(base, 2, 2)
    write_config(config, base, [1], 1)
    poll(config=config)
    eventually(models.ready)
    config.write_text("model_config_list {")
    eventually(lambda: "What was in effect before stays." in caplog.text)
    assert answering(models) == 1
    write_config(config, base, [2], 2)
    eventually(lambda: answering(models) == 2)
    assert caplog.text.count("line 1") == 1
