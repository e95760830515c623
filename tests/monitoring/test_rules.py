"""The rules of Prometheus: each alert is tried, names what there is, and says what to do."""

import re
import shutil
import subprocess

import pytest
import yaml

from deploy.stack.folder import Folder
from deploy.stack.prometheus import prometheus
from pipeline.cli import main
from tests.monitoring import pages, prometheus_rule
from tests.monitoring.promql import named

DEPLOY = prometheus_rule.DEPLOY
TESTS = prometheus_rule.RULES.with_name("rules_test.yml")
GROUPS = yaml.safe_load(prometheus_rule.RULES.read_text(encoding="utf-8"))["groups"]
RULES = [rule for group in GROUPS for rule in group["rules"]]
RECORDED = {rule["record"]: rule["expr"] for rule in RULES if "record" in rule}
ALERTS = {rule["alert"]: rule for rule in RULES if "alert" in rule}


def promtool(*words):
    done = subprocess.run(["promtool", *map(str, words)], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def known():
    """What expressions may name: pages, and what is recorded, with the labels that it is recorded by."""
    return pages.known() | {name: named(expression).grouped - {"le"} for name, expression in RECORDED.items()}


def check(expression):
    """Fail unless each metric of the expression is there, and has the labels that are asked of it."""
    there = known()
    found = named(expression)
    assert found.metrics, expression
    labels = set(pages.OF_A_TARGET)
    for metric, asked in found.metrics.items():
        assert metric in there, f"{metric}: no page has it"
        assert asked <= there[metric] | pages.OF_A_TARGET, f"{metric} has no label {asked - there[metric]}"
        labels |= there[metric]
    assert found.grouped <= labels, f"{expression}: nothing in it has {found.grouped - labels}"


def test_each_alert_is_tried_by_promtool_once_where_it_fires_and_once_where_it_does_not():
    assert "SUCCESS" in promtool("test", "rules", TESTS)
    tried = {test["name"] for test in yaml.safe_load(TESTS.read_text(encoding="utf-8"))["tests"]}
    for alert in ALERTS:
        assert {f"{alert} fires", f"{alert} is silent"} <= tried
    assert f"{len(RULES)} rules found" in promtool("check", "rules", prometheus_rule.RULES)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.get("alert") or rule["record"])
def test_a_rule_names_metrics_and_labels_that_there_are(rule):
    check(rule["expr"])


@pytest.mark.parametrize("expression", ["slipway_made_up", "sum by (made_up) (up)", 'up{made_up="x"}'])
def test_a_name_that_nothing_has_is_found(expression):
    with pytest.raises(AssertionError):
        check(expression)


@pytest.mark.parametrize("alert", ALERTS.values(), ids=ALERTS)
def test_an_alert_says_what_it_is_how_bad_it_is_and_what_to_do_next(alert):
    assert alert["labels"]["severity"] in {"critical", "warning", "info"}
    assert set(alert["annotations"]) == {"summary", "description", "runbook"}
    used = set(re.findall(r"\$labels\.(\w+)", str(alert["annotations"])))
    assert used <= named(alert["expr"]).grouped | by_itself(alert["expr"])
    commands = re.findall(r"slipway (\w+)((?:(?! slipway )[^;:])*)", alert["annotations"]["runbook"])
    assert commands or re.search(r"\bcurl |\bdf ", alert["annotations"]["runbook"])
    for name, rest in commands:
        command = main.commands[name]
        of_group = getattr(command, "commands", {})
        command = of_group.get(rest.split()[0], command) if rest.split() else command
        options = {option for parameter in command.params for option in parameter.opts}
        assert set(re.findall(r"--[a-z-]+", rest)) <= options


def by_itself(expression):
    """The labels that an expression keeps which groups nothing."""
    found = named(expression)
    return set() if found.grouped else pages.OF_A_TARGET.union(*(known()[name] for name in found.metrics))


def test_prometheus_takes_the_configuration_of_compose(tmp_path):
    text = (DEPLOY / "prometheus.yml").read_text(encoding="utf-8")
    (tmp_path / "token").touch()
    shutil.copytree(DEPLOY / "prometheus", tmp_path / "prometheus")
    config = tmp_path / "prometheus.yml"
    config.write_text(text.replace("/run/secrets/token-prometheus", str(tmp_path / "token")))
    assert f"{len(RULES)} rules found" in promtool("check", "config", config)


def test_prometheus_takes_the_configuration_that_make_stack_writes(tmp_path):
    folder = Folder(tmp_path / "stack")
    folder.make()
    assert prometheus(folder) is not None
    folder.write_secret("token-prometheus", "x")
    config = folder.path / "prometheus.yml"
    assert "SUCCESS" in promtool("check", "config", config)
    assert yaml.safe_load(config.read_text())["rule_files"] == [str(prometheus_rule.RULES)]


def test_the_manifest_for_prometheus_operator_has_the_same_rules():
    text = prometheus_rule.MANIFEST.read_text(encoding="utf-8")
    assert text == prometheus_rule.manifest(), "run python -m tests.monitoring.prometheus_rule"
    assert prometheus_rule.document()["spec"]["groups"] == GROUPS


def test_under_prometheus_operator_only_model_servers_have_the_job_of_model_servers():
    monitor = yaml.safe_load(prometheus_rule.MANIFEST.with_name("service-monitor.yaml").read_text(encoding="utf-8"))
    set_to = {
        endpoint["port"]: {each["targetLabel"]: each["replacement"] for each in endpoint.get("relabelings", ())}
        for endpoint in monitor["spec"]["endpoints"]
    }
    assert set_to == {"rest": {}, "sync": {"job": "sync"}}  # without it, the job is the Service's name
