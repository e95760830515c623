"""A champion with reference statistics in a real registry, and a prediction log of what it was asked."""

from datetime import UTC, datetime, timedelta

import numpy as np

from serving.prediction_log.places import model_folder, rotated_path
from serving.prediction_log.schema import FEEDBACK, RECORDS, rotated_schema, schema
from serving.servable.image_properties import properties
from serving.servable.reference import Reference, save_reference
from tests.pipeline.registered_world import RegisteredWorld
from tests.serving.model_server.servables import answers, seal_servable

NAME, CLASSES, WIDTH = "digits", 3, 4
SMALL = ("--prediction-log", "prediction_log", "--window", "100", "--least-samples", "50")


class Images:
    """What a network makes of random images, `shift` away from those that it was tested on."""

    def __init__(self, count, random, shift=0.0):
        self.class_id = random.integers(0, CLASSES, count).astype(np.int32)
        best = np.clip(random.beta(8, 2, count) - shift / 4, 0.35, 1).astype(np.float32)
        self.probabilities = np.repeat((1 - best[:, None]) / (CLASSES - 1), CLASSES, axis=1).astype(np.float32)
        self.probabilities[np.arange(count), self.class_id] = best
        self.embeddings = (random.normal(size=(count, WIDTH)) + shift).astype(np.float32)
        self.brightness = random.normal(120 - 40 * shift, 20, count).astype(np.float32)
        self.sharpness = random.gamma(3, 50, count).astype(np.float32)
        self.width = self.height = random.integers(20, 40, count).astype(np.int32)
        wrong = random.random(count) < 0.05 + 0.2 * shift
        self.true_class = ((self.class_id + wrong) % CLASSES).astype(np.int32)


def reference_of(pixels):
    """The statistics of uint8 [n, H, W, 3] that the servables' own network makes of them."""
    probabilities = answers(pixels)
    looks = [properties(image) for image in pixels]
    count = len(pixels)
    return Reference(
        embeddings=probabilities,  # that network has no layer before its last
        probabilities=probabilities,
        class_id=probabilities.argmax(1).astype(np.int32),
        true_class=probabilities.argmax(1).astype(np.int32),
        brightness=np.array([look.brightness for look in looks], np.float32),
        sharpness=np.array([look.sharpness for look in looks], np.float32),
        width=np.full(count, pixels.shape[2], np.int32),
        height=np.full(count, pixels.shape[1], np.int32),
        split_digest="5b" * 32,
    )


class DriftWorld(RegisteredWorld):
    """Commands run in its folder, where the log is."""

    def __init__(self, folder):
        super().__init__(folder)
        self.random = np.random.default_rng(5)
        self.log = folder / "prediction_log"
        self.reference = Reference(**vars(Images(400, self.random)), split_digest="5b" * 32)
        self.variants = {}
        self._stem = 0

    def seal(self, directory, run_id, **servable):
        if self.reference is not None:
            save_reference(self.reference, directory)
        return seal_servable(directory, self.variants, run_id=run_id, **servable)

    def champion(self):
        version = self.version(NAME)
        self.made_live(version)
        return version

    def asked(self, count, shift=0.0, version=1, *, ago_s=0.0, every_s=0.1, labelled=False, bare=False):
        """`count` requests, the last one `ago_s` before now. bare: nothing was worked out of their images."""
        images = Images(count, self.random, shift)
        self._stem += 1
        last = datetime.now(UTC) - timedelta(seconds=1 + ago_s)
        times = [last - timedelta(seconds=every_s * place) for place in reversed(range(count))]
        ids = [f"{self._stem:04x}-{place}" for place in range(count)]
        known = {
            "time": times,
            "request_id": ids,
            "row": [0] * count,
            "model": [NAME] * count,
            "version": [version] * count,
            "class_id": images.class_id,
            "confidence": images.probabilities.max(1),
            "probabilities": list(images.probabilities),
        }
        if not bare:
            known |= {name: getattr(images, name) for name in ("brightness", "sharpness", "width", "height")}
            known["embedding"] = list(images.embeddings)
        self._write(RECORDS, rotated_schema(), known)
        if labelled:
            self._write(FEEDBACK, schema(FEEDBACK), {**known, "true_class": images.true_class})

    def _write(self, kind, fields, known):
        import pyarrow as pa
        import pyarrow.parquet as pq

        count = len(known["time"])
        columns = [pa.array(known.get(field.name, [None] * count), field.type) for field in fields]
        folder = model_folder(self.log, NAME)
        folder.mkdir(parents=True, exist_ok=True)
        first, last = (int(moment.timestamp() * 1e6) for moment in (known["time"][0], known["time"][-1]))
        path = rotated_path(folder, kind, (first, last), f"{self._stem:016x}-{self._stem:06d}")
        pq.write_table(pa.Table.from_arrays(columns, schema=fields), path)
