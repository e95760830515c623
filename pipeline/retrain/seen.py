"""Which images a network's weights have learned from: its own training's, and its first weights' before it."""

from typing import TYPE_CHECKING

from pipeline.config import Config
from pipeline.tracking import StepRun, open_run

if TYPE_CHECKING:
    from pipeline.data import Dataset

SEEN_ARTIFACT = "seen_images.txt"  # hex SHA-256 of an image a line, sorted


def log_seen(config: Config, dataset: "Dataset", run: StepRun) -> None:
    """Record the images that the run's network will have seen; nothing where those of its first weights are unknown."""
    from pipeline.retrain.start import champions_run

    seen = {record.sha256 for record in (*dataset.train, *dataset.validation)}
    before = champions_run(config)
    if before:
        earlier = seen_by(open_run(before))
        if earlier is None:
            return
        seen |= earlier
    run.text(SEEN_ARTIFACT, "\n".join(sorted(seen)))


def seen_by(run: StepRun) -> frozenset[str] | None:
    """Hex SHA-256 of every image that a run's network has seen; None where nobody has recorded it."""
    return frozenset(run.read_text(SEEN_ARTIFACT).split()) if SEEN_ARTIFACT in run.artifacts("") else None
