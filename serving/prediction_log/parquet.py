"""Files of the log, read and replaced whole; what is wrong with one is said with its name."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from serving.prediction_log.unfinished import write_whole
from slipway.errors import IntegrityError, SlipwayError, UnavailableError


@contextmanager
def file_errors(place: Path) -> Iterator[None]:
    """IntegrityError for what is damaged, UnavailableError for what the disk refuses; FileNotFoundError stays one."""
    import pyarrow as pa

    try:
        yield
    except (FileNotFoundError, MemoryError):
        raise
    except (OSError, pa.ArrowException) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise UnavailableError(
                f"{place}: {error.strerror}; expected a file that can be read, in a folder that can be written. Mend "
                "that, and run it again."
            ) from error
        why = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
        raise IntegrityError(
            f"{place}: damaged ({why}); expected a file as a server writes it. What it holds cannot be read: move it "
            "out of the log, and run it again."
        ) from error


def read_parquet(path: Path, columns: Sequence[str] | None = None) -> Any:
    """The table in a file, those of the columns that it has, or all; errors as `file_errors` says."""
    import pyarrow.parquet as pq

    with file_errors(path):
        return pq.ParquetFile(path).read(columns=None if columns is None else list(columns))


def replace_parquet(path: Path, table: Any) -> None:
    """Write a table to that file, whole or not at all."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    stream = pa.BufferOutputStream()
    pq.write_table(table, stream, compression="zstd")
    write_whole(path, memoryview(stream.getvalue()))


def raise_any(errors: Sequence[SlipwayError]) -> None:
    """Raise the first of what went wrong while the rest was gone on with, with what all of them say."""
    if errors:
        raise type(errors[0])(" ".join(dict.fromkeys(map(str, errors)))) from errors[0]
