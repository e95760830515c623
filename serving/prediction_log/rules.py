"""What is logged, and how much of it is kept."""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

NONE, DIGEST, PIXELS = KEPT_INPUTS = ("none", "digest", "pixels")
DAY_S = 86_400.0


class LogCounts(NamedTuple):
    """records: rows written since the start. dropped: requests, for want of room. oldest_s: None if there is no row."""

    records: int
    dropped: int
    bytes: int
    oldest_s: float | None


@dataclass(frozen=True)
class LogRules:
    """embed_sample: the share of logged requests whose images' embeddings are worked out, 0 to 1.

    most_bytes, keep_s: what is over or older goes, the oldest first. kept_inputs: what is kept of the images, one of
    KEPT_INPUTS. key_file: with the key of the clients' hashes; None is the log's own. rotate_bytes, rotate_s: a journal
    of that size or age becomes parquet. tidy_s: what is over or older is looked for at least so often.
    """

    embed_sample: float = 0.25  # of drift's windows of 500, enough for its least_samples of 100
    most_bytes: int = 2**30
    keep_s: float = 30 * DAY_S
    kept_inputs: str = NONE
    key_file: Path | None = None
    rotate_bytes: int = 2**24
    rotate_s: float = 600.0
    tidy_s: float = 3600.0

    @property
    def journal_bytes(self) -> int:
        """The size at which a journal is rotated: a small log has several files, or there would be none to remove."""
        return min(self.rotate_bytes, self.most_bytes // 8)
