"""Tests that share what is costly to make run in one process, as `make integration` deals them out."""

import os
import re
import subprocess
import sys


def test_a_file_stays_in_one_process():
    words = ["-n", "2", "--dist", "loadgroup", "-v", "-p", "no:cacheprovider"]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *words, "tests/slipway/test_names.py", "tests/slipway/test_keys.py"],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    ran = re.findall(r"\[(gw\d)\].* PASSED (\S+?)::", done.stdout)
    processes = {file: {where for where, of in ran if of == file} for _, file in ran}
    assert len(processes) == 2, done.stdout
    assert all(len(where) == 1 for where in processes.values()), processes
