"""Build the servable bundle of a trained network, check it against that network, and seal it."""

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from serving.servable.golden import LEAST_REQUESTS, GoldenReport, GoldenRequests, check_golden, save_golden
from serving.servable.graph import write_saved_model
from serving.servable.held_out import HeldOut, reference_of
from serving.servable.images import MAX_PIXELS
from serving.servable.layout import BILL, LABELS, REFERENCE_VARIANT, variant_path
from serving.servable.manifest import VariantRecord, seal
from serving.servable.reference import save_reference
from serving.servable.warmup import WARMUP_FILE, write_warmup
from slipway.errors import IntegrityError

if TYPE_CHECKING:
    import keras

PARITY_LIMIT = 1e-5  # largest |difference| of a probability between the SavedModel and the trained network
# Another processor's float32 kernels add in another order: what a server may differ by from the answers recorded here.
SERVING_TOLERANCE = 1e-4
_GOLDEN_BYTES = 16 * 2**20  # encoded golden requests together; large photographs are passed over beyond it


@dataclass(frozen=True)
class Provenance:
    """Where a servable comes from, as its manifest states it.

    bill: of materials of the environment that the network was trained in, which becomes a file of the servable.
    """

    run_id: str
    git_commit: str
    dataset_digest: str
    bill: bytes | None = None


@dataclass(frozen=True)
class Examples:
    """Held-out images to draw golden requests from, and the most pixels that one, or a request's, may have.

    held_out: those that reference statistics are made of; None for a servable without them.
    """

    files: Sequence[Path]
    max_pixels: int = MAX_PIXELS
    held_out: HeldOut | None = None


@dataclass(frozen=True)
class Optimized:
    """Variants that were found good, beside the reference, with what they were asked."""

    golden: GoldenRequests  # with the trained network's answers
    directories: Mapping[str, Path]  # by variant: a plain model, and its own golden answers
    records: Mapping[str, VariantRecord]  # by variant; of the reference too, if it was measured
    refused: Mapping[str, str]  # by variant: why it is not among them


@dataclass(frozen=True)
class Servable:
    """A sealed bundle on disk."""

    directory: Path
    manifest_digest: str
    parity: float
    size_bytes: int


def build_servable(
    network: "keras.Model",
    labels: Sequence[str],
    examples: Examples,
    provenance: Provenance,
    directory: Path,
    *,
    optimized: Optimized | None = None,
) -> Servable:
    """Write the bundle of `network` below `directory`.

    Golden requests are those that the `optimized` variants were asked, or else are drawn from the `examples`.

    IntegrityError if the SavedModel's answers differ from the network's by more than PARITY_LIMIT.
    """
    saved_model = directory / "saved_model"
    signatures = write_saved_model(network, labels, saved_model, examples.max_pixels)
    golden = draw_golden(network, examples) if optimized is None else optimized.golden
    save_golden(golden, directory / "golden")
    (directory / LABELS).write_text(json.dumps(list(labels), ensure_ascii=False), encoding="utf-8")
    if provenance.bill is not None:
        (directory / BILL).write_bytes(provenance.bill)
    write_warmup(saved_model / WARMUP_FILE, network.name, golden)
    reference = reference_of(network, examples.held_out, examples.max_pixels) if examples.held_out else None
    if reference is not None:
        save_reference(reference, directory)
    report = check_saved_model(saved_model, golden)
    variants = {REFERENCE_VARIANT: VariantRecord(SERVING_TOLERANCE, report.largest_difference)}
    if optimized is not None:
        variants = _add_variants(optimized, variants[REFERENCE_VARIANT], directory)
    _, height, width, _ = network.input_shape
    digest = seal(
        directory,
        run_id=provenance.run_id,
        git_commit=provenance.git_commit,
        dataset_digest=provenance.dataset_digest,
        image_size=(height, width),
        classes=len(labels),
        variants=variants,
        signatures=signatures,
        max_pixels=examples.max_pixels,
        refused_variants={} if optimized is None else optimized.refused,
    )
    size = sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())
    return Servable(directory, digest, report.largest_difference, size)


def draw_golden(network: "keras.Model", examples: Examples) -> GoldenRequests:
    """Golden requests from the `examples`, spread over them evenly, with `network`'s own answers.

    Fewer files than LEAST_REQUESTS are drawn repeatedly.
    """
    import tensorflow as tf

    from serving.servable.images import decode_batch

    chosen = _spread(examples.files, LEAST_REQUESTS)
    encoded = tuple(path.read_bytes() for path in chosen)
    size = network.input_shape[1:3]
    decoded = np.concatenate([decode_batch(tf.constant([data]), size, examples.max_pixels).numpy() for data in encoded])
    pixels = np.rint(decoded).astype(np.uint8)
    return GoldenRequests(
        pixels=pixels,
        pixels_output=_answers(network, pixels.astype(np.float32)),
        encoded=encoded,
        encoded_output=_answers(network, decoded),
    )


def check_saved_model(saved_model: Path, golden: GoldenRequests) -> GoldenReport:
    """Ask the SavedModel its golden requests; IntegrityError if it differs by more than PARITY_LIMIT."""
    import tensorflow as tf

    loaded = tf.saved_model.load(str(saved_model))

    def predict(signature: str, inputs: Mapping[str, npt.NDArray[Any]]) -> Mapping[str, npt.NDArray[Any]]:
        tensors = {name: tf.constant(list(value) if value.dtype == object else value) for name, value in inputs.items()}
        return {name: tensor.numpy() for name, tensor in loaded.signatures[signature](**tensors).items()}

    report = check_golden(golden, predict, PARITY_LIMIT)
    if not report.passed:
        raise IntegrityError(
            f"{saved_model}: the SavedModel does not answer as the trained network does ({report.summary()}). "
            "Nothing was registered; train again, and report this with the run's id if it stays so."
        )
    return report


def _add_variants(optimized: Optimized, reference: VariantRecord, directory: Path) -> dict[str, VariantRecord]:
    """Copy the variants into the bundle, and return its records."""
    for name, source in optimized.directories.items():
        shutil.copytree(source, directory / variant_path(name))
    measured = optimized.records.get(REFERENCE_VARIANT, reference).measured
    return {
        REFERENCE_VARIANT: replace(reference, measured=measured),
        **{name: optimized.records[name] for name in optimized.directories},
    }


def _spread(files: Sequence[Path], count: int) -> list[Path]:
    budget = _GOLDEN_BYTES // count
    small = [path for path in files if path.stat().st_size <= budget] or sorted(files, key=_size)[:1]
    return [small[index * len(small) // count % len(small)] for index in range(count)]


def _size(path: Path) -> int:
    return path.stat().st_size


def _answers(network: "keras.Model", pixels: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    import tensorflow as tf

    call: Callable[..., Any] = tf.function(lambda batch: network(batch, training=False))
    batches = [pixels[start : start + 8] for start in range(0, len(pixels), 8)]
    return np.concatenate([call(tf.constant(batch)).numpy() for batch in batches]).astype(np.float32)
