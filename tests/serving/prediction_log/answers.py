"""Answers as the server hands them over, of a model `m` with four classes."""

import io
import time
from contextlib import contextmanager

import numpy as np

from serving.prediction_log.columns import Answer
from serving.prediction_log.rules import LogRules
from serving.prediction_log.writing import PredictionLog
from tests.serving.model_server.fakes import signature

SIZE = (6, 4)
SIGNATURES = {
    "serving_default": signature({"input": ("float", [-1, *SIZE, 3])}, {"output": ("float", [-1, 4])}),
    "serving_embed": signature({"image_bytes": ("string", [-1])}, {"embedding": ("float", [-1, 2])}),
}
START_US = (int(time.time()) - 3600) * 1_000_000  # an hour ago: what is older than a log keeps would go


def answer(number=0, *, images=1, time_us=None, inputs=None, **fields):
    """One to a request that asked about so many images; request ids count from 0."""
    classes = tuple((number + image) % 4 for image in range(images))
    output = np.full((images, 4), 0.1, np.float32)
    output[np.arange(images), list(classes)] = 0.7
    defaults = {
        "time_us": START_US + number * 1000 if time_us is None else time_us,
        "request_id": f"1-none-{number:016x}",
        "model": "m",
        "version": 1,
        "label": "stable",
        "digest": "d",
        "signature": "serving_bytes",
        "variant": "openvino-int8",
        "latency_ms": 2.5,
        "classes": classes,
        "output": output,
        "client": "",
        "inputs": inputs,
        "signatures": SIGNATURES,
    }
    return Answer(**(defaults | fields))


def encoded(*pictures):
    """Inputs of PNG files."""
    rows = np.empty(len(pictures), object)
    rows[:] = [png(picture) for picture in pictures]
    return {"image_bytes": rows}


def png(pixels):
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


@contextmanager
def written(folder, rules=None, **how):
    """A log that is written, and rotated when the block ends."""
    log = PredictionLog(folder, rules or LogRules(), **how)
    log.start()
    try:
        yield log
    finally:
        log.close()
