"""The sidecar is small: neither TensorFlow nor MLflow is imported, whatever it does."""

import json
import subprocess
import sys

from tests.serving.stores.bundles import bundle_of, make_bundle

HEAVY = {"tensorflow", "keras", "mlflow", "sqlalchemy", "pandas", "grpc", "pipeline", "registry"}
PROGRAM = """
import json, sys
from serving.sync.loop import Address, run
from serving.sync.mirror import Only
code = run(sys.argv[1], sys.argv[2], Only(), interval_s=0.0, address=Address("127.0.0.1", 0))
print(json.dumps([code, sorted(sys.modules)]))
"""


def test_a_turn_of_the_sidecar_imports_nothing_heavy(tmp_path, s3_server):
    from serving.stores import open_store

    base = s3_server.bucket_for(tmp_path)
    source, local = tmp_path / "source", tmp_path / "local"
    local.mkdir()
    store = open_store(base)
    store.publish("digits", 1, bundle_of(source, make_bundle(source)))
    store.update_file("labels.config", lambda _: b"")
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, base, str(local)], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    code, modules = json.loads(done.stdout)
    assert code == 0, done.stderr
    assert open_store(str(local)).versions("digits") == (1,)
    assert HEAVY & set(modules) == set()
