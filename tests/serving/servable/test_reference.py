"""Reference statistics: what is written is read, and what cannot be read says what to do."""

import json
from dataclasses import fields, replace

import numpy as np
import pytest

from serving.servable.reference import Reference, load_reference, save_reference
from slipway.errors import InputError, IntegrityError


def make_reference(count=5):
    rng = np.random.default_rng(1)

    def floats(*shape):
        return rng.random(shape).astype(np.float32)

    whole = np.arange(count, dtype=np.int32)
    return Reference(
        embeddings=floats(count, 4),
        probabilities=floats(count, 3),
        class_id=whole % 3,
        true_class=np.zeros(count, np.int32),
        brightness=floats(count),
        sharpness=floats(count),
        width=whole + 8,
        height=whole + 9,
        split_digest="5e" * 32,
    )


def test_what_is_written_is_read(tmp_path):
    written = make_reference()
    save_reference(written, tmp_path)
    found = load_reference(tmp_path / "reference")
    for item in fields(Reference):
        assert np.array_equal(getattr(found, item.name), getattr(written, item.name)), item.name
    facts = json.loads((tmp_path / "reference" / "reference.json").read_text())
    assert facts == {"format": "slipway.reference/1", "images": 5, "accuracy": 0.4, "split_digest": "5e" * 32}


def test_the_same_statistics_give_the_same_bytes(tmp_path):
    for name in ("one", "other"):
        save_reference(make_reference(), tmp_path / name)
    one, other = ((tmp_path / name / "reference" / "reference.npz").read_bytes() for name in ("one", "other"))
    assert one == other


def test_an_older_servable_without_them_names_the_command_that_makes_them(tmp_path):
    with pytest.raises(InputError, match=r"older servables do not have.*slipway register"):
        load_reference(tmp_path / "reference")


@pytest.mark.parametrize("file", ["reference.npz", "reference.json"])
def test_damaged_statistics_are_said_to_be(tmp_path, file):
    save_reference(make_reference(), tmp_path)
    damaged = tmp_path / "reference" / file
    damaged.write_bytes(damaged.read_bytes()[:-40])
    with pytest.raises(IntegrityError, match=r"cannot be read as reference statistics.*Fetch the servable again"):
        load_reference(tmp_path / "reference")


def test_arrays_that_do_not_belong_together_are_refused():
    reference = make_reference()
    with pytest.raises(InputError, match=r"brightness is float32 \[4\]; expected float32 of 1 dimensions.*5 images"):
        replace(reference, brightness=reference.brightness[1:])
    with pytest.raises(InputError, match="width is int64"):
        replace(reference, width=reference.width.astype(np.int64))
