"""Build variants of a trained network, compare them with it on this machine, and say which may be served."""

import json
import platform
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from pipeline.data import batches
from pipeline.optimize.config import OptimizeConfig
from pipeline.optimize.figures import measurement, refusal, times_faster
from pipeline.optimize.golden import clear_images, own_golden, same_first_classes
from pipeline.optimize.kept import Passed, fetch_built, keep_built, keep_comparison
from pipeline.optimize.measure import Bench, Measured, measure, worse_on
from pipeline.optimize.session import SessionError, Version
from pipeline.optimize.table import Comparison
from pipeline.tracking import StepRun
from serving.servable.build import Examples, draw_golden
from serving.servable.golden import GoldenRequests, save_answers, save_golden
from serving.servable.graph import write_saved_model
from serving.servable.layout import EXTRA, LABELS, REFERENCE_VARIANT, published_path, variant_path
from serving.servable.manifest import VariantRecord
from serving.servable.variants import BuildError, build

if TYPE_CHECKING:
    import keras

    from pipeline.data import Dataset, Record

_BATCH = 32
Report = Callable[[str], None]


@dataclass(frozen=True)
class Images:
    """What variants are compared on. must_be_right: the regression set, in the dataset's classes, if there is one."""

    dataset: "Dataset"
    must_be_right: "Dataset | None" = None


def optimize(
    network: "keras.Model", images: Images, config: OptimizeConfig, run: StepRun, scratch: Path, report: Report
) -> Comparison:
    """Build the configured variants, or fetch those that were built for `run`, and compare them on the test split.

    One that has fewer of the regression set right than the network is not to be served, either.
    Everything is logged to `run`. SessionError if the reference itself does not run.
    """
    dataset, apart = images.dataset, images.must_be_right
    version = _write_version(network, dataset, scratch / "version")
    built, failed = _build(version, dataset, config, run, report)
    truth = np.array([record.class_id for record in dataset.test], np.int32)
    with ExitStack() as stack:
        bench = Bench(stack)
        bench.load(version, [REFERENCE_VARIANT, *built])
        report(f"comparing {len(bench.sessions)} variants on {len(truth)} images, {config.rounds} rounds")
        sizes = {name: _size_bytes(version, name) for name in bench.sessions}
        measured = measure(bench, sizes, _images(dataset.test, dataset, version), _forward(network), config)
        if REFERENCE_VARIANT in bench.failures:
            raise SessionError(f"{REFERENCE_VARIANT}: {bench.failures[REFERENCE_VARIANT]}; nothing can be compared.")
        if apart is not None:
            right = np.array([record.class_id for record in apart.test], np.int32)
            failed |= worse_on(bench, _images(apart.test, apart, version), _forward(network), right) | bench.failures
        comparison = _judge(measured, truth, failed, config)
        golden = _golden(network, dataset, measured, comparison)
        answers, records = _ask_golden(bench, golden, comparison)
    comparison = replace(comparison, refused={**comparison.refused, **_changed(comparison, answers), **bench.failures})
    if golden is not None:
        save_golden(golden, scratch / "golden")
    passed = {
        name: Passed(
            record=replace(records[name], measured=comparison.measured[name]),
            built=_directory(version, name),
            answers=_saved_answers(answers[name], scratch / "answers" / name),
        )
        for name in comparison.passed
    }
    keep_comparison(run, comparison, scratch / "golden", passed)
    return comparison


def _write_version(network: "keras.Model", dataset: "Dataset", directory: Path) -> Version:
    """The version as it would be published, without what only a server's start looks at."""
    write_saved_model(network, dataset.labels, directory, dataset.max_pixels)
    (directory / EXTRA).mkdir(parents=True)
    labels = json.dumps(list(dataset.labels), ensure_ascii=False)
    (directory / published_path(LABELS)).write_text(labels, encoding="utf-8")
    _, height, width, _ = network.input_shape
    return Version(directory, (height, width), len(dataset.labels), dataset.max_pixels)


def _build(
    version: Version, dataset: "Dataset", config: OptimizeConfig, run: StepRun, report: Report
) -> tuple[list[str], dict[str, str]]:
    """The variants that are below the version directory now, and why others are not."""
    built, failed = [], {}
    calibration: npt.NDArray[np.uint8] | None = None
    for name in config.names:
        directory = _directory(version, name)
        if fetch_built(run, name, directory, config.calibration_images):
            report(f"{name}: built before")
            built.append(name)
            continue
        if calibration is None:
            chosen = _spread(dataset.train, config.calibration_images)
            calibration = np.rint(np.concatenate(list(_images(chosen, dataset, version)))).astype(np.uint8)
        try:
            build(name, version.directory, directory, calibration)
        except BuildError as error:
            failed[name] = str(error)
            continue
        keep_built(run, name, directory, config.calibration_images)
        report(f"{name}: built, {_size_bytes(version, name) / 1e6:.1f} MB")
        built.append(name)
    return built, failed


def _judge(
    measured: Measured, truth: npt.NDArray[np.int32], failed: Mapping[str, str], config: OptimizeConfig
) -> Comparison:
    network = measured.network.argmax(axis=1)
    processor = _processor()
    reference = measured.speeds[REFERENCE_VARIANT].throughputs
    ran = [name for name in measured.speeds if name not in measured.failures]
    figures = {
        name: measurement(measured.answers[name], measured.speeds[name], truth, network, processor) for name in ran
    }
    faster = {name: times_faster(measured.speeds[name].throughputs, reference) for name in ran}
    judged = {name: refusal(figures[name], faster[name], config) for name in ran if name != REFERENCE_VARIANT}
    refused = {name: reason for name, reason in judged.items() if reason is not None}
    return Comparison(figures, faster, {**failed, **measured.failures, **refused})


def _golden(
    network: "keras.Model", dataset: "Dataset", measured: Measured, comparison: Comparison
) -> GoldenRequests | None:
    """Golden requests whose first class is the trained network's in every variant that passed; None if none passed."""
    if not comparison.passed:
        return None
    predicted = [measured.answers[name].classes() for name in comparison.passed]
    files = [dataset.test[index].file for index in clear_images(measured.network, predicted)]
    return draw_golden(network, Examples(files, dataset.max_pixels))


def _ask_golden(
    bench: Bench, golden: GoldenRequests | None, comparison: Comparison
) -> tuple[dict[str, GoldenRequests], dict[str, VariantRecord]]:
    """Each passed variant's own answers and record."""
    answers: dict[str, GoldenRequests] = {}
    records: dict[str, VariantRecord] = {}
    if golden is None:
        return answers, records
    bench.sessions = {name: bench.sessions[name] for name in comparison.passed}

    def ask(name: str, session: Any) -> None:
        own, records[name] = own_golden(session, golden)
        if same_first_classes(own, golden):
            answers[name] = own

    bench.each(ask)
    return answers, records


def _changed(comparison: Comparison, answers: Mapping[str, GoldenRequests]) -> dict[str, str]:
    reason = "it gives another first class than the trained network for a golden request"
    return {name: reason for name in comparison.passed if name not in answers}


def _saved_answers(golden: GoldenRequests, directory: Path) -> Path:
    directory.mkdir(parents=True)
    save_answers(golden, directory)
    return directory


def _images(records: "Sequence[Record]", dataset: "Dataset", version: Version) -> Any:
    """float32 [B, H, W, 3] for each batch."""
    decoded = batches(records, len(dataset.labels), version.image_size, _BATCH, None, max_pixels=dataset.max_pixels)
    return (pixels.numpy() for pixels, _ in decoded)


def _forward(network: "keras.Model") -> Callable[[Any], npt.NDArray[np.float32]]:
    return lambda pixels: np.asarray(network.predict_on_batch(pixels), np.float32)


def _spread(records: "Sequence[Record]", count: int) -> "list[Record]":
    count = min(count, len(records))
    return [records[index * len(records) // count] for index in range(count)]


def _directory(version: Version, name: str) -> Path:
    return version.directory / published_path(variant_path(name))


def _size_bytes(version: Version, name: str) -> int:
    if name == REFERENCE_VARIANT:
        files = [version.directory / "saved_model.pb", *(version.directory / "variables").iterdir()]
    else:
        files = list(_directory(version, name).iterdir())
    return sum(file.stat().st_size for file in files)


def _processor() -> str:
    """The processor's name, as far as the machine says it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
