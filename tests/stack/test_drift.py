"""The stack's drift check may do what it has to, with no key of S3 and without the model server."""

import os
import secrets
import shutil
from types import SimpleNamespace

import pytest

from deploy.stack.serving_path import drift_environment, prediction_log
from serving.prediction_log.places import model_folder
from serving.servable.reference import Reference, save_reference
from tests.browser.team_world import TeamWorld
from tests.pipeline.drift_world import NAME, DriftWorld, Images
from tests.pipeline.lifecycle_world import json_of

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]


def test_the_drift_check_reads_the_reference_and_the_log_and_tags_the_champion(signed_in, tmp_path):
    stack = signed_in
    needs = drift_environment(stack.mlflow, stack.postgresql)
    server = SimpleNamespace(uri=stack.mlflow.url, environment=needs)
    world = TeamWorld(tmp_path, server, needs["SLIPWAY_DATABASE_URL"], f"digits-{secrets.token_hex(3)}")
    traffic = DriftWorld(tmp_path)
    save_reference(
        Reference(**vars(Images(400, traffic.random)), split_digest="5b" * 32), tmp_path / "to-log-1/servable"
    )
    version = world.register(1)
    world.registry.set_alias(world.name, "champion", version.version)
    traffic.asked(500, shift=1)
    log = model_folder(prediction_log(stack.folder), world.name)
    shutil.move(model_folder(traffic.log, NAME), log)
    try:
        words = ("--config", stack.folder.path / "slipway.yaml", "--window", "100", "--least-samples", "50", "--json")
        done = world.run("drift", world.name, *words, AWS_SHARED_CREDENTIALS_FILE=os.devnull)
    finally:
        shutil.rmtree(log)
    assert done.code == 0, done.err
    report = json_of(done)
    tags = world.registry.version(world.name, version.version).tags
    assert (report["status"], tags["slipway.drift"], tags["slipway.drift_run"]) == ("found", "found", report["run_id"])
