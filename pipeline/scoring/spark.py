"""The same parts on Spark, through MLflow's own UDF: what is registered as the MLflow model answers.

A task is a part: it reads the images, has the UDF answer, and writes the part's file, as a process of `workers` does.
"""

import logging
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.scoring.items import Item, Part, PartDone, Rows
from pipeline.scoring.workers import Job
from serving.servable.layout import REFERENCE_VARIANT
from slipway import errors
from slipway.errors import InputError, UnavailableError

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from pipeline.scoring.reading import NotReadError

_ANSWER = "output array<float>, class_id long, label string"
_ITEM = "struct<image:string,place:binary,tag:string,size_bytes:long,content:binary>"
_ROWS_OF = (
    "struct<place:binary,tag:string,size_bytes:long,group:long,first:long,count:long,names:string,names_from:long>"
)
_PART = f"number long, first_row long, items array<{_ITEM}>, rows array<{_ROWS_OF}>"
_READ = "number long, images long, row long, image string, image_bytes binary, error string, began_s double"
_DONE = "number long, images long, failed long, began_s double, ended_s double"
_ROWS = 32  # images that go to Python at once: each as large as its file
_PARTS_A_JOB = 16  # for each core; what Spark is given at once is held in memory
_OURS = re.compile(r"(?:slipway\.errors|serving\.stores\.s3_errors)\.(\w+): (.+)")


@dataclass(frozen=True)
class Network:
    """What a blank image in a bad one's place is, and what is refused before it is decoded."""

    image_size: tuple[int, int]  # height, width
    max_pixels: int


class OnSpark:
    """A session, and the UDF of the MLflow model in the directory `model`."""

    def __init__(self, session: "SparkSession", model: Path, network: Network) -> None:
        import mlflow.pyfunc

        # That the environment is this one is what is wanted: it has been installed for this.
        logging.getLogger("mlflow.pyfunc").setLevel(logging.ERROR)
        self._session, self._network = session, network
        self._udf = mlflow.pyfunc.spark_udf(session, str(model), result_type=_ANSWER, env_manager="local")

    def variant(self) -> str:
        """What the logged model runs."""
        return REFERENCE_VARIANT

    def score(self, job: Job, parts: Iterator[Part]) -> Iterator[PartDone]:
        """See `Workers.score`."""
        at_once = _PARTS_A_JOB * self._session.sparkContext.defaultParallelism
        while several := list(islice(parts, at_once)):
            with _spark_errors():
                yield from self._score(job, several)

    def _score(self, job: Job, parts: list[Part]) -> list[PartDone]:
        from pyspark.sql.functions import struct

        rows = [_packed_part(part) for part in parts]
        frame = self._session.createDataFrame(self._session.sparkContext.parallelize(rows, len(rows)), _PART)
        with self._apart():
            read = frame.mapInArrow(partial(_read, job, self._network), _READ)
        answered = read.withColumn("answer", self._udf(struct("image_bytes"))).drop("image_bytes")
        with self._apart():
            done = answered.mapInArrow(partial(_write, job), _DONE).collect()
        return [PartDone(**row.asDict()) for row in done]

    @contextmanager
    def _apart(self) -> Iterator[None]:
        """What is made in the block runs in Python processes that never come to hold the network.

        Spark keeps its Python processes for later tasks of functions that were made in the same environment.
        """
        environment = self._session.sparkContext.environment
        environment["SLIPWAY_SCORE"] = "files"
        try:
            yield
        finally:
            del environment["SLIPWAY_SCORE"]


@contextmanager
def started_spark(cores: int | None) -> Iterator["SparkSession"]:
    """A session until the block ends: on so many cores of this machine, unless Spark's configuration names a master.

    InputError without pyspark, or if both name one; UnavailableError if Spark does not start.
    """
    try:
        from pyspark import SparkConf
        from pyspark.sql import SparkSession
    except ImportError as error:
        raise InputError(
            "--engine spark: pyspark is not installed; expected it. Install it with pip install 'slipway[spark]', or "
            "leave out --engine."
        ) from error
    configuration = SparkConf()
    if cores is not None and configuration.get("spark.master"):
        raise InputError(
            f"--workers {cores}: Spark's configuration names a master; expected one of them. Leave out --workers."
        )
    # Each task has a core: TensorFlow in it is not to take the others'.
    for variable in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS"):
        os.environ.setdefault(variable, "1")
    settings = {
        "spark.master": f"local[{cores or '*'}]",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.log.level": "ERROR",
    }
    if configuration.get("spark.master"):
        settings = {}
    settings["spark.sql.execution.arrow.maxRecordsPerBatch"] = str(_ROWS)
    builder = SparkSession.builder.appName("slipway score")
    for key, value in settings.items():
        builder = builder.config(key, value)
    with _spark_errors():
        session = builder.getOrCreate()
    try:
        yield session
    finally:
        session.stop()


@contextmanager
def _spark_errors() -> Iterator[None]:
    """What our own code said inside a task, or else Spark's first line."""
    from py4j.protocol import Py4JError
    from pyspark.errors import PySparkException

    try:
        yield
    except (PySparkException, Py4JError) as error:
        if found := _OURS.findall(str(error)):
            kind, said = found[-1]  # before it are its causes
            raise getattr(errors, kind, UnavailableError)(said.strip()) from error
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise UnavailableError(
            f"Spark: {lines[0] if lines else type(error).__name__}; expected it to run (Java 17 is needed). Look at "
            "its log above, then run the same command again: finished parts are kept."
        ) from error


def _read(job: Job, network: Network, batches: Iterator[Any]) -> Iterator[Any]:
    """In a task: a row an image, with a blank one in a bad one's place, which would fail all that it came with."""
    import pyarrow as pa

    from pipeline.scoring.reading import Reader

    blank = _blank(network.image_size)
    reader = Reader(job.scratch, job.witnesses)
    try:
        for batch in batches:
            for row in batch.to_pylist():
                part, began_s = _unpacked_part(row), time.monotonic()
                for number, (item, content) in enumerate(reader.read(part)):
                    fault = _fault(content, network.max_pixels)
                    read = {
                        "number": part.number,
                        "images": part.images,
                        "row": part.first_row + number,
                        "image": item.image,
                        "image_bytes": content if fault is None else blank,
                        "error": fault,
                        "began_s": began_s,
                    }
                    yield pa.RecordBatch.from_pylist([read], _read_schema())
    finally:
        reader.close()


def _write(job: Job, batches: Iterator[Any]) -> Iterator[Any]:
    """In a task: the part's file, once every image has its answer."""
    import pyarrow as pa

    from pipeline.scoring.output import open_output
    from pipeline.scoring.rows import part_file

    rows = [row for batch in batches for row in batch.to_pylist()]
    if not rows:
        return
    if len(rows) != rows[0]["images"]:
        raise UnavailableError(
            f"part {rows[0]['number']}: {len(rows)} rows came of {rows[0]['images']}; expected all. Run the same "
            "command again: finished parts are kept."
        )
    part = Part(rows[0]["number"], rows[0]["row"], [Item(row["image"]) for row in rows])
    answered = [_answered(row["answer"], row["error"]) for row in rows]
    images = [row["image"] for row in rows]
    open_output(job.output).put(part.number, part_file(part, images, answered, job.stamp))
    done = {
        "number": part.number,
        "images": len(rows),
        "failed": sum(row["error"] is not None for row in rows),
        "began_s": rows[0]["began_s"],
        "ended_s": time.monotonic(),
    }
    yield pa.RecordBatch.from_pylist([done])


def _answered(answer: Any, fault: str | None) -> Any:
    from pipeline.scoring.rows import Answered

    if fault is not None:
        return Answered(error=fault)
    return Answered(answer["label"], answer["class_id"], answer["output"])


def _read_schema() -> Any:
    import pyarrow as pa

    return pa.schema(
        [
            ("number", pa.int64()),
            ("images", pa.int64()),  # of the whole part
            ("row", pa.int64()),
            ("image", pa.string()),
            ("image_bytes", pa.binary()),
            ("error", pa.string()),
            ("began_s", pa.float64()),
        ]
    )


def _packed_part(part: Part) -> tuple[Any, ...]:
    """As Spark takes it; a path may be no text."""
    items, rows = [asdict(item) for item in part.items], [asdict(rows) for rows in part.rows]
    for each in (*items, *rows):
        each["place"] = bytearray(os.fsencode(each["place"]))
    for item in items:
        item["content"] = None if item["content"] is None else bytearray(item["content"])
    return part.number, part.first_row, items, rows


def _unpacked_part(row: dict[str, Any]) -> Part:
    items, rows = ([{**each, "place": os.fsdecode(each["place"])} for each in row[of]] for of in ("items", "rows"))
    return Part(row["number"], row["first_row"], [Item(**each) for each in items], [Rows(**each) for each in rows])


def _fault(content: "bytes | NotReadError", max_pixels: int) -> str | None:
    """What is wrong with an image; None if it can be decoded."""
    from serving.servable.decoding import decode

    if not isinstance(content, bytes):
        return str(content)
    try:
        decode(content, max_pixels)
    except InputError as error:
        return str(error)
    return None


def _blank(size: tuple[int, int]) -> bytes:
    import cv2
    import numpy as np

    return bytes(cv2.imencode(".png", np.zeros((*size, 3), np.uint8))[1])
