"""The benchmark of cached features says by its exit code whether what was wanted is met."""

import pytest
from click.testing import CliRunner

from benchmarks import retrain
from benchmarks.retrain import Measured


@pytest.mark.parametrize(
    ("cached_s", "accuracy", "said", "code"),
    [(1.0, 0.95, ": met.", 0), (2.0, 0.95, "not met", 1), (1.0, 0.9, "not met", 1)],
)
def test_what_is_not_met_is_exit_code_1(tmp_path, monkeypatch, cached_s, accuracy, said, code):
    found = [Measured("without", 12.0, [8.0, 8.0], 0.1, 0.95), Measured("cached", 9.0, [cached_s], 0.1, accuracy)]
    monkeypatch.setattr(retrain, "measured", lambda _: found)
    monkeypatch.setattr(retrain, "PAGE", tmp_path / "page.md")
    done = CliRunner().invoke(retrain.main)
    assert done.exit_code == code
    assert said in done.output
    assert said in (tmp_path / "page.md").read_text()
