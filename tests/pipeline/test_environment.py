"""A bill of materials names every distribution, and is the same for the same environment."""

import json
import subprocess
import sys
from importlib.metadata import distributions

import numpy as np
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from pipeline.environment import bill_of_materials


def test_it_is_cyclonedx_and_names_every_distribution_with_its_version():
    bill = bill_of_materials()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(bill.decode()) is None
    listed = {each["name"]: each for each in json.loads(bill)["components"]}
    installed = {each.metadata["Name"].lower().replace("_", "-").replace(".", "-") for each in distributions()}
    assert listed.keys() == installed
    assert listed["numpy"]["version"] == np.__version__
    assert listed["numpy"]["purl"] == f"pkg:pypi/numpy@{listed['numpy']['version']}"


def test_it_is_the_same_in_another_process_and_names_no_time_and_no_folder(tmp_path):
    program = "import sys; from pipeline.environment import bill_of_materials as b; sys.stdout.buffer.write(b())"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, cwd=tmp_path)
    assert done.stdout == bill_of_materials()
    assert b"timestamp" not in done.stdout
    assert b"serialNumber" not in done.stdout
    assert sys.prefix.encode() not in done.stdout


def distribution(folder, name, direct_url=None):
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    if direct_url is not None:
        (info / "direct_url.json").write_text(direct_url)


def test_an_archive_s_digest_is_there_where_the_installer_wrote_it_down(tmp_path, monkeypatch):
    digest = "ab" * 32
    distribution(tmp_path, "Has_One", json.dumps({"archive_info": {"hashes": {"sha256": digest}}}))
    distribution(tmp_path, "editable", json.dumps({"dir_info": {"editable": True}, "url": "file:///secret/folder"}))
    distribution(tmp_path, "odd", '{"archive_info": []}')
    distribution(tmp_path, "plain")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    bill = bill_of_materials()
    listed = {each["name"]: each.get("hashes") for each in json.loads(bill)["components"]}
    assert listed["has-one"] == [{"alg": "SHA-256", "content": digest}]
    assert [listed[name] for name in ("editable", "odd", "plain")] == [None] * 3
    assert b"/secret/folder" not in bill
