"""What is written aside is gone afterwards, and what killed processes left goes with the next."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipeline.aside import check_room, written_aside
from slipway.errors import InputError

WRITES_FOR_EVER = """
import sys, time
from pathlib import Path
from pipeline.aside import written_aside
with written_aside(Path(sys.argv[1]), ".made-") as aside:
    (aside / "half").write_text("half")
    print(aside, flush=True)
    time.sleep(100)
"""


def test_what_was_moved_out_stays_and_nothing_else(tmp_path):
    with written_aside(tmp_path / "new", ".made-") as aside:
        (aside / "rest").write_text("rest")
        (aside / "whole").write_text("whole")
        (aside / "whole").replace(tmp_path / "new" / "whole")
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["whole"]


def test_a_killed_writers_folder_goes_and_a_living_ones_stays(tmp_path):
    command = [sys.executable, "-c", WRITES_FOR_EVER, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        left = Path(writer.stdout.readline().strip())
        long_ago = time.time() - 3600
        os.utime(left, (long_ago, long_ago))
        with written_aside(tmp_path, ".made-"):
            assert left.exists()
        writer.kill()
    with written_aside(tmp_path, ".made-"):
        assert not left.exists()


def test_what_does_not_fit_is_said_with_the_remedy(tmp_path):
    check_room(tmp_path, 1, "features", "Pass another --workdir.")
    with pytest.raises(InputError, match=r"features take 1000000\.0 GB, and .* GB are free; .* --workdir"):
        check_room(tmp_path, 10**15, "features", "Pass another --workdir.")
