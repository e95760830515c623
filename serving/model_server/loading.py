"""What a version must pass before it takes traffic: its digests, its loading, its warmup, its golden requests."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from serving.model_server.choosing import Candidate, Choose
from serving.model_server.errors import GoldenError
from serving.model_server.pace import Pace, PacedRuntime
from serving.model_server.predict import predict
from serving.model_server.runtimes import Loaded, LoadVersion, Refined, Runtime, Variant
from serving.model_server.sealed_files import SealedFiles
from serving.model_server.signatures import Signatures
from serving.model_server.warmup import warm_up
from serving.model_server.witness import Witness
from serving.servable.golden import Asked, GoldenReport, GoldenRequests, check_golden, load_golden, with_answers
from serving.servable.layout import GOLDEN, MANIFEST, published_path, variant_path

_GOLDEN_BATCH = 8
# A picture's file goes through all that its pixels go through, if one network answers both: a few of these, then.
_FILES_FIRST = Asked(pixels=slice(4))
_REST = Asked(pixels=slice(4, None), encoded=slice(0))
_FEW = 2  # of each signature
_FIRST = Asked(pixels=slice(_FEW), encoded=slice(_FEW))
_AT_ONCE = Pace()
_LOG = logging.getLogger(__name__)


def checked_loader(
    choose: Choose, *, warmup: int = 1, pace: Pace = _AT_ONCE, signatures: Signatures | None = None
) -> LoadVersion:
    """A loader that gives a runtime only when it has answered: the first of the candidates that `choose` names.

    warmup: times that each warmup request is run; 0 leaves them out. pace: of what is asked before it takes traffic.
    signatures: refuse a version that is not signed as they say; None asks for no signature.

    A version without a Slipway manifest is loaded and warmed; one with a manifest must have its files, those that it
    answers by whole, and give its golden answers. What it does not answer by is read later. Raises what the last
    candidate failed by: IntegrityError, ServingError, or its library's error.
    """

    def load_checked(version_directory: Path) -> Loaded:
        sealed = (version_directory / published_path(MANIFEST)).exists()
        if signatures is not None and not sealed:
            signatures.check(version_directory, None)
        files = SealedFiles(version_directory, pace.sha256_file, signatures) if sealed else None
        *faster, last = choose(version_directory, files.manifest if files else None)
        passed_over: list[str] = []
        for candidate in faster:
            trial = _Trial(candidate, version_directory, files, warmup, pace)
            trial.verify()
            try:
                runtime = trial.load()
            except Exception as error:  # noqa: BLE001  whatever it raises, the next one may answer
                reason = str(error).partition("\n")[0] or type(error).__name__
                _LOG.warning("%s: %s does not answer here: %s", version_directory, candidate.name, reason)
                passed_over.append(f"{candidate.name}: {reason}")
            else:
                return trial.loaded(runtime, passed_over)
        trial = _Trial(last, version_directory, files, warmup, pace)
        trial.verify()
        runtime = trial.load()
        return trial.loaded(runtime, passed_over)

    return load_checked


@dataclass(frozen=True)
class _Trial:
    """One candidate, and what it must pass. files: those of a version with a manifest."""

    candidate: Candidate
    directory: Path
    files: SealedFiles | None
    warmup: int
    pace: Pace

    def verify(self) -> None:
        """Read the files that it answers by; IntegrityError for one that is not as it was sealed."""
        if self.files is not None:
            self.files.verify(self.candidate.name, warmup=self._warms_up)

    def load(self) -> Runtime:
        """A runtime that has answered what it was asked."""
        with self.pace.kept():
            runtime = self.candidate.load(self.directory)
        try:
            paced = PacedRuntime(runtime, self.pace)
            if self._warms_up:
                warm_up(paced, self.directory, self.warmup)
            self._ask_golden(paced, _GOLDEN_BATCH, _FILES_FIRST if self._one_by_one else _FIRST)
        except BaseException:
            runtime.close()
            raise
        return runtime

    def loaded(self, runtime: Runtime, passed_over: Sequence[str]) -> Loaded:
        """The runtime with what is left to do."""
        variant = Variant(self.candidate.name, tuple(passed_over))
        if self.files is None or self._one_by_one:
            return Loaded(runtime, variant, self._later(runtime))
        golden, tolerance = self._golden(self.files), self._tolerance(self.files)
        witness = Witness(runtime, golden, tolerance, self._refuse, self.pace, asked=_FEW)
        return Loaded(witness, variant, self._later(runtime), witness.settle)

    def _later(self, runtime: Runtime) -> tuple[Callable[[], None], ...]:
        """What is left to do once it takes traffic: each in its turn, with rests while there are requests."""
        left: list[Callable[[], None]] = []
        if self._one_by_one:
            left.append(partial(self._ask_golden, PacedRuntime(runtime, self.pace), 1, _REST))
        if isinstance(runtime, Refined):
            left.append(partial(self._refine, runtime))
        if self.files is not None:
            left.append(self.files.verify_rest)
        return tuple(left)

    @property
    def _one_by_one(self) -> bool:
        """Whether each image is answered alone, whatever it came with: all but the SavedModel's own graph do."""
        return self.files is not None and self.candidate.name in self.files.variants

    @property
    def _warms_up(self) -> bool:
        # Golden requests ask the same of a variant, and more often.
        return self.warmup > (1 if self._one_by_one else 0)

    def _refine(self, runtime: Refined) -> None:
        with self.pace.kept():
            runtime.refine(lambda form: self._ask_golden(PacedRuntime(form, self.pace), 1, _FILES_FIRST))

    def _ask_golden(self, runtime: PacedRuntime, batch_size: int, asked: Asked) -> None:
        if self.files is None:
            return
        # A batch would keep every core from requests.
        batch_size = 1 if self.pace.is_busy() else batch_size
        golden, tolerance = self._golden(self.files), self._tolerance(self.files)
        report = check_golden(golden, partial(predict, runtime), tolerance, batch_size, asked=asked)
        if not report.passed:
            self._refuse(report)

    def _golden(self, files: SealedFiles) -> GoldenRequests:
        golden = load_golden(self.directory / published_path(GOLDEN))
        if self.candidate.name in files.variants:
            golden = with_answers(golden, self.directory / published_path(variant_path(self.candidate.name)))
        return golden

    def _tolerance(self, files: SealedFiles) -> float:
        return files.manifest.variants[self.candidate.name].tolerance

    def _refuse(self, report: GoldenReport) -> None:
        raise GoldenError(
            f"{self.directory}: its golden requests are not answered as when it was built: {report.summary()}. "
            "Serve another version, or build this one again."
        )
