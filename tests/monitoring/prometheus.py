"""A real Prometheus that loads the project's rules and asks the pages that it is told of."""

import json
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from contextlib import contextmanager

import yaml

from tests.monitoring.prometheus_rule import RULES
from tests.pipeline.lifecycle_world import free_ports, wait_until

WAIT_S = 60


class Prometheus:
    def __init__(self, port):
        self._port = port

    def get(self, path, **parameters):
        url = f"http://127.0.0.1:{self._port}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        try:
            answer = json.load(urllib.request.urlopen(url, timeout=10))
        except urllib.error.HTTPError as error:
            return json.load(error)
        return answer

    def query(self, expression):
        answer = self.get("query", query=expression)
        assert answer["status"] == "success", f"{expression}: {answer}"
        return answer["data"]["result"]


@contextmanager
def prometheus(folder, targets):
    scrapes = [
        {"job_name": job, "static_configs": [{"targets": [f"127.0.0.1:{port}"]}]} for job, port in targets.items()
    ]
    each = {"scrape_interval": "500ms", "scrape_timeout": "500ms", "evaluation_interval": "500ms"}
    config = folder / "prometheus.yml"
    config.write_text(yaml.safe_dump({"global": each, "rule_files": [str(RULES)], "scrape_configs": scrapes}))
    port = free_ports(1)[0]
    flags = [f"--config.file={config}", f"--storage.tsdb.path={folder}/tsdb", f"--web.listen-address=127.0.0.1:{port}"]
    with (folder / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(["prometheus", *flags], stdout=log, stderr=log)
    try:
        ready = f"http://127.0.0.1:{port}/-/ready"
        wait_until(lambda: urllib.request.urlopen(ready, timeout=5), (folder / "prometheus.log").read_text, WAIT_S)
        yield Prometheus(port)
    finally:
        process.terminate()
        process.wait(30)
