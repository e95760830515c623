"""The local store on real file systems: full, read-only, missing, damaged, and shared with a living publisher."""

import fcntl
import os
import resource
import shutil
import stat
import subprocess
import sys
import tempfile
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from serving.servable.layout import published_path
from serving.servable.manifest import read_manifest
from serving.stores import Bundle, open_store
from serving.stores.staging import sweep
from slipway.errors import InputError, IntegrityError, NotFoundError, SlipwayError
from tests.serving.stores.bundles import bundle_of, make_bundle, names_in, publish_command, update_command
from tests.serving.stores.kill_points import kill_before_each_call

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def base(tmp_path):
    (tmp_path / "base").mkdir()
    return tmp_path / "base"


@pytest.fixture
def source(tmp_path):
    return tmp_path / "source"


def test_a_version_directory_is_what_model_servers_read_with_the_rest_out_of_their_way(base, source):
    digest = make_bundle(source)
    open_store(str(base)).publish("digits", 1, bundle_of(source, digest))
    version = base / "digits/1"
    assert names_in(version) == {"saved_model.pb", "variables", "assets.extra"}
    assert names_in(version / "assets.extra") == {"tf_serving_warmup_requests", "slipway"}
    assert names_in(version / "assets.extra/slipway") == {"manifest.json", "labels.json", "golden"}
    for path in read_manifest(source / "manifest.json").files:
        assert (version / published_path(path)).read_bytes() == (source / path).read_bytes()


def test_every_user_can_read_what_is_published_whatever_the_modes_of_the_fetched_files(base, source):
    digest = make_bundle(source)
    for path in source.rglob("*"):
        if path.is_file():
            path.chmod(0o600)
    open_store(str(base)).publish("digits", 1, bundle_of(source, digest))
    modes = {stat.S_IMODE(path.stat().st_mode) for path in (base / "digits/1").rglob("*") if path.is_file()}
    assert modes == {0o644}


def test_publishing_moves_the_fetched_bytes_and_never_copies_them(base, source):
    """The published file is the very file that was fetched: the same inode."""
    digest = make_bundle(source)
    inodes = {}

    def fetch(directory):
        root = bundle_of(source, digest).fetch(directory)
        inodes.update({path: (root / path).stat().st_ino for path in read_manifest(root / "manifest.json").files})
        return root

    open_store(str(base)).publish("digits", 1, Bundle(digest, fetch))
    assert inodes
    for path, inode in inodes.items():
        assert (base / "digits/1" / published_path(path)).stat().st_ino == inode


def test_a_fetch_that_answers_with_a_directory_of_its_own_is_refused_so_that_nobody_elses_files_move(base, source):
    digest = make_bundle(source)
    with pytest.raises(ValueError, match="expected the servable's root below"):
        open_store(str(base)).publish("digits", 1, Bundle(digest, lambda _: source))
    assert read_manifest(source / "manifest.json").run_id == "run-0"
    assert names_in(base / "digits") == set()


@pytest.mark.parametrize("damage", ["flip", "remove", "add", "manifest gone", "empty directory", "a file instead"])
def test_a_published_version_that_was_damaged_is_refused_and_never_overwritten(base, source, damage):
    digest = make_bundle(source)
    store = open_store(str(base))
    store.publish("digits", 1, bundle_of(source, digest))
    version = base / "digits/1"
    labels = version / "assets.extra/slipway/labels.json"
    if damage == "flip":
        labels.write_bytes(bytes([labels.read_bytes()[0] ^ 1]) + labels.read_bytes()[1:])
    elif damage == "remove":
        labels.unlink()
    elif damage == "add":
        labels.with_name("added.json").write_text("{}")
    elif damage == "manifest gone":
        labels.with_name("manifest.json").unlink()
    else:
        shutil.rmtree(version)
        version.mkdir() if damage == "empty directory" else version.write_text("")
    before = sorted((path, path.lstat().st_mtime_ns) for path in (base / "digits").rglob("*"))
    with pytest.raises(IntegrityError) as caught:
        store.publish("digits", 1, bundle_of(source, digest))
    assert str(version) in str(caught.value)
    assert {"add": "added.json", "flip": "labels.json", "remove": "labels.json"}.get(damage, "") in str(caught.value)
    assert sorted((path, path.lstat().st_mtime_ns) for path in (base / "digits").rglob("*")) == before


def test_directories_that_servers_do_not_take_for_versions_are_not_listed(base):
    (base / "digits").mkdir()
    for name in ("1", "12", "007", "0", "-3", "v4", ".staging-0f", "5.bak"):
        (base / "digits" / name).mkdir()
    (base / "digits/6").write_text("a file")
    assert open_store(str(base)).versions("digits") == (1, 12)


def test_a_living_publishers_staging_directory_is_left_alone(base, source):
    digest = make_bundle(source)
    store = open_store(str(base))
    fetching, go_on = threading.Event(), threading.Event()
    publications = []

    def slow_fetch(directory):
        root = bundle_of(source, digest).fetch(directory)
        fetching.set()
        assert go_on.wait(30)
        return root

    slow = threading.Thread(target=lambda: publications.append(store.publish("digits", 1, Bundle(digest, slow_fetch))))
    slow.start()
    assert fetching.wait(30)
    store.publish("digits", 2, bundle_of(source, digest))
    assert len([name for name in names_in(base / "digits") if name.startswith(".staging-")]) == 1
    go_on.set()
    slow.join(30)
    assert publications[0].created
    assert names_in(base / "digits") == {"1", "2"}


def test_publishers_that_sweep_while_others_begin_never_take_a_new_staging_directory_for_a_dead_ones(base, source):
    digest = make_bundle(source, size_bytes=1_000)
    created = []

    def publish(versions: range) -> None:
        store = open_store(str(base))
        created.extend(store.publish("digits", version, bundle_of(source, digest)).created for version in versions)

    threads = [threading.Thread(target=publish, args=(range(first, 41, 4),)) for first in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert created == [True] * 40
    assert names_in(base / "digits") == {str(version) for version in range(1, 41)}


def test_a_sweep_between_the_making_of_a_staging_directory_and_its_locking_only_costs_a_new_one(
    base, source, monkeypatch
):
    digest = make_bundle(source)
    flock, swept = fcntl.flock, []

    def late_flock(descriptor, operation):
        monkeypatch.setattr(fcntl, "flock", flock)
        swept.extend(names_in(base / "digits"))
        sweep(base / "digits")
        assert names_in(base / "digits") == set()
        flock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", late_flock)
    assert open_store(str(base)).publish("digits", 1, bundle_of(source, digest)).created
    assert len(swept) == 1
    assert names_in(base / "digits") == {"1"}


def test_all_that_is_published_is_on_the_disk_before_it_appears_and_its_appearance_after(base, source, monkeypatch):
    """Records what was synchronised until the rename that shows the version, and since."""
    digest = make_bundle(source)
    (base / "digits").mkdir()
    synced, synced_before = [], []
    fsync, rename = os.fsync, os.rename

    def recorded_fsync(descriptor):
        fsync(descriptor)
        synced.append(os.fstat(descriptor).st_ino)

    def recorded_rename(old, new):
        rename(old, new)
        if Path(new) == base / "digits/1":
            synced_before.extend(synced)
            synced.clear()

    monkeypatch.setattr(os, "fsync", recorded_fsync)
    monkeypatch.setattr(os, "rename", recorded_rename)
    open_store(str(base)).publish("digits", 1, bundle_of(source, digest))
    published = {path.stat().st_ino for path in [base / "digits/1", *(base / "digits/1").rglob("*")]}
    assert published <= set(synced_before)
    assert (base / "digits").stat().st_ino in synced


def test_four_publisher_processes_at_once_all_succeed_and_leave_one_version_and_nothing_else(base, source):
    digest = make_bundle(source, size_bytes=2_000_000)
    command = [sys.executable, "-m", *publish_command(source, base, "digits", 1, digest)]
    processes = [
        subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(4)
    ]
    answers = [process.communicate(timeout=60) for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0, 0], answers
    assert [out for out, _ in answers].count("created\n") == 1
    assert names_in(base / "digits") == {"1"}
    open_store(str(base)).verify("digits", 1, digest)


def assert_one_line_with(error: SlipwayError, *words: str) -> None:
    assert "\n" not in str(error)
    for word in words:
        assert word in str(error)


def test_a_base_path_in_a_missing_folder_is_refused_with_the_command_that_makes_it(tmp_path, source):
    place = tmp_path / "not mounted" / "base"
    store = open_store(str(place))
    for call in (
        lambda: store.publish("digits", 1, bundle_of(source, "0" * 64)),
        lambda: store.verify("digits", 1, "0" * 64),
        lambda: store.update_file("models.config", lambda _: b""),
    ):
        with pytest.raises(NotFoundError) as caught:
            call()
        assert_one_line_with(caught.value, "does not exist", f"mkdir -p {place}")
    assert not place.parent.exists()


def test_a_base_path_that_is_not_there_yet_is_empty_and_the_first_publication_makes_it(tmp_path, source):
    store = open_store(str(tmp_path / "base"))
    assert store.versions("digits") == ()
    assert store.update_file("models.config", lambda present: present) is None
    assert not (tmp_path / "base").exists()
    store.publish("digits", 1, bundle_of(source, make_bundle(source)))
    assert store.versions("digits") == (1,)


def test_a_base_path_or_a_models_directory_that_is_a_file_is_refused(tmp_path, base, source):
    (tmp_path / "file").write_text("")
    (base / "digits").write_text("")
    bundle = bundle_of(source, make_bundle(source))
    for place in (tmp_path / "file", base):
        with pytest.raises(InputError) as caught:
            open_store(str(place)).publish("digits", 1, bundle)
        assert_one_line_with(caught.value, str(place), "--base")


@pytest.mark.parametrize("address", ["", "file://elsewhere/models", "file://"])
def test_an_address_that_is_no_directory_of_this_machine_is_refused(address):
    with pytest.raises(InputError, match="base path"):
        open_store(address)


def test_a_file_uri_and_a_relative_path_name_the_same_directory(tmp_path, monkeypatch):
    spaced = tmp_path / "with space"
    (spaced / "digits/1").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    for address in (spaced.as_uri(), f"file://localhost{spaced.as_posix().replace(' ', '%20')}", "with space"):
        assert open_store(address).versions("digits") == (1,)


def test_a_base_path_without_permission_to_write_is_refused_by_name():
    """Run as root, this test takes another user's rights for a moment."""
    with tempfile.TemporaryDirectory() as directory:
        base, source = Path(directory) / "base", Path(directory) / "source"
        base.mkdir()
        digest = make_bundle(source)
        Path(directory).chmod(0o755)
        base.chmod(0o555)
        root = os.geteuid() == 0
        try:
            if root:
                os.seteuid(65534)
            with pytest.raises(InputError) as caught:
                open_store(str(base)).publish("digits", 1, bundle_of(source, digest))
        finally:
            if root:
                os.seteuid(0)
        assert_one_line_with(caught.value, str(base), "Permission denied", "--base")
        assert names_in(base) == set()


def test_a_full_disk_is_one_line_leaves_nothing_and_publishing_succeeds_once_there_is_room(base, source):
    """The disk is full in truth: the kernel refuses to let the weights grow past the limit."""
    digest = make_bundle(source, size_bytes=500_000)
    failed = subprocess.run(
        [sys.executable, "-m", *publish_command(source, base, "digits", 1, digest)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000)),
    )
    assert failed.returncode == 1
    assert failed.stderr.startswith("UnavailableError: ")
    assert failed.stderr.count("\n") == 1
    assert str(base) in failed.stderr
    assert names_in(base / "digits") == set()
    assert open_store(str(base)).publish("digits", 1, bundle_of(source, digest)).created


PRIVATE_MOUNTS = ("unshare", "--user", "--map-root-user", "--mount")
MAY_MOUNT = not subprocess.run(
    [*PRIVATE_MOUNTS, "mount", "-t", "tmpfs", "tmpfs", "/mnt"], capture_output=True, check=False
).returncode


def in_private_mounts(script: str, *arguments) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*PRIVATE_MOUNTS, "sh", "-uc", script, "sh", *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.skipif(not MAY_MOUNT, reason="this kernel lets no test mount a file system; the limit above stands for it")
def test_a_full_file_system_is_one_line_and_leaves_nothing(base, source):
    digest = make_bundle(source, size_bytes=500_000)
    done = in_private_mounts(
        'base=$1; shift; mount -t tmpfs -o size=300k tmpfs "$base" && "$@"; echo "$?"; ls -A "$base/digits"',
        base,
        sys.executable,
        "-m",
        *publish_command(source, base, "digits", 1, digest),
    )
    assert done.stdout == "1\n"
    assert done.stderr.startswith("UnavailableError: ")
    assert done.stderr.count("\n") == 1
    assert "No space left on device" in done.stderr
    assert "Free some" in done.stderr


@pytest.mark.skipif(not MAY_MOUNT, reason="this kernel lets no test mount a file system")
def test_on_a_read_only_file_system_what_is_there_is_a_no_op_and_anything_else_is_refused_in_one_line(base, source):
    digest = make_bundle(source)
    done = in_private_mounts(
        'base=$1; first=$2; second=$3; mount -t tmpfs tmpfs "$base" && $first && mount -o remount,ro "$base" && '
        "$first && $second",
        base,
        " ".join([sys.executable, "-m", *publish_command(source, base, "digits", 1, digest)]),
        " ".join([sys.executable, "-m", *publish_command(source, base, "digits", 2, digest)]),
    )
    assert done.returncode == 1
    assert done.stdout == "created\nwas there\n"
    assert done.stderr.startswith("InputError: ")
    assert done.stderr.count("\n") == 1
    assert "Read-only file system" in done.stderr


def test_an_update_that_was_killed_leaves_no_file_behind_after_the_next(base):
    update = update_command(base, "models.config", "new")
    store = open_store(str(base))
    points = 0
    for points in kill_before_each_call(update, base):  # noqa: B007
        assert store.update_file("models.config", lambda content: content) in {None, b"new"}
        assert store.update_file("models.config", lambda content: (content or b"") + b"er").endswith(b"er")
        assert names_in(base) == {"models.config", ".lock"}
        (base / "models.config").unlink()
    assert points >= 3
    assert (base / "models.config").read_bytes() == b"new"


def test_the_signature_is_there_and_on_the_disk_before_the_version_appears(base, source, monkeypatch):
    digest = make_bundle(source)
    rename, seen = os.rename, []

    def recorded_rename(old, new):
        if Path(new) == base / "digits/1":
            seen.append((base / "digits/1.signature.json").read_bytes())
        rename(old, new)

    monkeypatch.setattr(os, "rename", recorded_rename)
    open_store(str(base)).publish("digits", 1, replace(bundle_of(source, digest), signature=b"signed"))
    assert seen == [b"signed"]
    assert stat.S_IMODE((base / "digits/1.signature.json").stat().st_mode) == 0o644
    assert names_in(base / "digits") == {"1", "1.signature.json"}
