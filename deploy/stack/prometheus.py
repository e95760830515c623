"""Prometheus, where it is installed: the numbers of model server, sync sidecar and reconciler, kept for a week."""

import json
import shutil
from pathlib import Path

from deploy.stack.daemon import Daemon
from deploy.stack.folder import Folder
from deploy.stack.service import Program, http_status
from deploy.stack.serving_path import METRICS, access_tokens
from slipway.files import write_atomically

PROGRAM = "prometheus"
_RULES = Path(__file__).parents[1] / "prometheus" / "rules.yml"
# job: its port's name
_SCRAPED = {"model-server": "rest", "sync": "sync", "reconciler": "reconciler", "prometheus": "prometheus"}
_KEPT = "7d"


def prometheus(folder: Folder) -> Program | None:
    """The service; None where the program is not installed."""
    found = shutil.which(PROGRAM)
    if found is None:
        return None
    token = access_tokens(folder).with_name("token-prometheus")
    config = {
        "global": {"scrape_interval": "5s"},
        "rule_files": [str(_RULES)],
        "scrape_configs": [
            {
                "job_name": job,
                "metrics_path": METRICS,
                "static_configs": [{"targets": [f"127.0.0.1:{folder.port(port)}"]}],
                **({"authorization": {"credentials_file": str(token)}} if job == "model-server" else {}),
            }
            for job, port in _SCRAPED.items()
        ],
    }
    file = folder.path / "prometheus.yml"
    write_atomically(file, json.dumps(config, indent=2).encode())  # JSON is YAML
    port = folder.port("prometheus")
    flags = [f"--config.file={file}", f"--storage.tsdb.path={folder.inside('prometheus')}"]
    flags += [f"--storage.tsdb.retention.time={_KEPT}", f"--web.listen-address=127.0.0.1:{port}"]
    ready = f"http://127.0.0.1:{port}/-/ready"
    return Program(Daemon("prometheus", folder), [found, *flags], {}, lambda: http_status(ready) == 200)
