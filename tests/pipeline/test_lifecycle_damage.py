"""One flipped bit, in any file of a servable, in the artifact store or in the base path: nothing serves it."""

from contextlib import contextmanager

import pytest

from serving.servable.layout import published_path
from tests.pipeline.lifecycle_world import NAME, free_ports

pytestmark = pytest.mark.integration

FILES = (
    "environment.cdx.json",
    "golden/golden.npz",
    "labels.json",
    "manifest.json",
    "saved_model/assets.extra/tf_serving_warmup_requests",
    "reference/reference.json",
    "reference/reference.npz",
    "saved_model/fingerprint.pb",
    "saved_model/saved_model.pb",
    "saved_model/variables/variables.data-00000-of-00001",
    "saved_model/variables/variables.index",
)


@pytest.fixture(scope="module")
def patch():
    return pytest.MonkeyPatch()


@pytest.fixture(scope="module")
def live_first(original, third, tmp_path_factory):
    """Version 1 is live."""
    return original.copy(tmp_path_factory.mktemp("live-first") / "world")


@pytest.fixture(scope="module")
def live_second(original, third, patch, tmp_path_factory):
    """Version 2 is live, and a rollback would bring back version 1."""
    world = original.copy(tmp_path_factory.mktemp("live-second") / "world")
    assert world.call(patch, "promote", "--version", "2").code == 0
    return world


@contextmanager
def one_bit_flipped(path):
    """The file with its middle byte's lowest bit flipped, for the length of the block."""
    data = path.read_bytes()
    middle = len(data) // 2
    try:
        path.write_bytes(data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :])
        yield
    finally:
        path.write_bytes(data)


def assert_refuses(world, patch, file, *words):
    """The command ends with exit code 1 and one line that names the file; registry, ledger and base path stay."""
    before = world.state()
    done = world.call(patch, *words)
    assert done.code == 1, done.out
    assert repr(file) in done.error
    assert "expected" in done.error
    assert world.state() == before


def serve():
    rest, grpc = free_ports()
    return "serve", "--rest-port", rest, "--grpc-port", grpc


def test_these_are_the_files_of_a_servable(live_first):
    servable = live_first.servable(1)
    assert {str(path.relative_to(servable)) for path in servable.rglob("*") if path.is_file()} == set(FILES)


@pytest.mark.parametrize("file", FILES)
def test_a_bit_flipped_in_the_artifact_store_is_refused(live_first, live_second, patch, file, tmp_path):
    """export (to a new base path, and to the one where it is published), serve, serve --target mlflow, predict and
    rollback refuse, naming the file."""
    with one_bit_flipped(live_first.servable(1) / file):
        assert_refuses(live_first, patch, file, "export", "--version", "1", "--base", tmp_path / "base")
        assert not list(tmp_path.glob(f"base/{NAME}/*"))
        assert_refuses(live_first, patch, file, "export", "--version", "1")
        assert_refuses(live_first, patch, file, *serve())
        assert_refuses(live_first, patch, file, *serve(), "--target", "mlflow")
        assert_refuses(live_first, patch, file, "predict", live_first.picture())
        assert_refuses(live_second, patch, file, "rollback")


@pytest.mark.parametrize("file", FILES)
def test_a_bit_flipped_in_the_base_path_is_refused(live_first, live_second, patch, file):
    """export, serve and rollback refuse, naming the published file, and never overwrite it."""
    published = published_path(file)
    for world, words in (
        (live_first, ("export", "--version", "1")),
        (live_first, serve()),
        (live_second, ["rollback"]),
    ):
        with one_bit_flipped(world.base / NAME / "1" / published):
            before = world.state()
            done = world.call(patch, *words)
            assert done.code == 1, done.out
            assert str(world.base / NAME / "1") in done.error
            assert published in done.error or file == "manifest.json"
            assert world.state() == before


def test_undamaged_the_same_commands_pass(live_second, patch):
    """So the refusals above were the bits' doing."""
    assert live_second.call(patch, "export", "--version", "1").code == 0
    assert live_second.call(patch, "predict", live_second.picture()).code == 0
    assert live_second.call(patch, "rollback").code == 0
