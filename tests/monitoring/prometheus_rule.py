"""The rules as Prometheus' operator takes them: `python -m tests.monitoring.prometheus_rule` writes the manifest."""

from pathlib import Path

import yaml

DEPLOY = Path(__file__).parents[2] / "deploy"
RULES = DEPLOY / "prometheus" / "rules.yml"
MANIFEST = DEPLOY / "kubernetes" / "base" / "monitoring" / "prometheus-rule.yaml"
_HEAD = """\
# deploy/prometheus/rules.yml for Prometheus' operator, written by python -m tests.monitoring.prometheus_rule.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: slipway
  labels: {app.kubernetes.io/name: model-server, app.kubernetes.io/part-of: slipway}
spec:
"""


def manifest():
    lines = RULES.read_text(encoding="utf-8").splitlines()
    body = lines[lines.index("groups:") :]
    return _HEAD + "\n".join(f"  {line}" if line else "" for line in body) + "\n"


def document():
    return yaml.safe_load(manifest())


if __name__ == "__main__":
    MANIFEST.write_text(manifest(), encoding="utf-8")
