"""What a version must pass before it takes traffic: its digests, its loading, its warmup, its golden requests."""

from pathlib import Path

from serving.model_server.predict import predict
from serving.model_server.runtimes import LoadRuntime, Runtime
from serving.model_server.warmup import warm_up
from serving.servable.golden import check_golden, load_golden
from serving.servable.layout import GOLDEN, MANIFEST, published_path
from serving.servable.manifest import Manifest, verify_published
from slipway.errors import IntegrityError


def checked_loader(load: LoadRuntime, variant: str, *, warmup: bool = True) -> LoadRuntime:
    """A loader that gives a runtime only when it has answered; `variant` names its tolerance in a manifest.

    A version without a Slipway manifest is loaded and warmed; one with a manifest must be whole too, and give its
    golden answers. Raises IntegrityError or ServingError, having closed the runtime.
    """

    def load_checked(version_directory: Path) -> Runtime:
        sealed = (version_directory / published_path(MANIFEST)).exists()
        manifest = verify_published(version_directory, None) if sealed else None
        runtime = load(version_directory)
        try:
            if warmup:
                warm_up(runtime, version_directory)
            if manifest is not None:
                _ask_golden(runtime, version_directory, manifest, variant)
        except BaseException:
            runtime.close()
            raise
        return runtime

    return load_checked


def _ask_golden(runtime: Runtime, version_directory: Path, manifest: Manifest, variant: str) -> None:
    record = manifest.variants.get(variant)
    if record is None:
        raise IntegrityError(
            f"{version_directory}: its manifest has variants {', '.join(sorted(manifest.variants))}; expected "
            f"{variant!r}. Choose a runtime for one of these, or build the servable with it."
        )
    golden = load_golden(version_directory / published_path(GOLDEN))
    report = check_golden(golden, lambda signature, inputs: predict(runtime, signature, inputs), record.tolerance)
    if not report.passed:
        raise IntegrityError(
            f"{version_directory}: its golden requests are not answered as when it was built: {report.summary()}. "
            "Serve another version, or build this one again."
        )
