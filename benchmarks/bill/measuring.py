"""Start each variant's server alone, ask it each kind of request, then classify files in bulk without it."""

import os
import time
from collections.abc import Sequence
from pathlib import Path

import psutil

from benchmarks.bill import bulk
from benchmarks.bill.measured import Asked, Measured, Served
from benchmarks.bill.relay import carried
from benchmarks.machine import machine
from benchmarks.serving.environments import own_environment
from benchmarks.serving.load import Load, run_load
from benchmarks.serving.material import VERSION, bodies
from benchmarks.serving.network import publish
from benchmarks.serving.payloads import JPEG_BYTES
from benchmarks.serving.rounds import say
from benchmarks.serving.running import Running, running
from benchmarks.serving.servers import Ask, slipway
from serving.servable.layout import EXTRA, REFERENCE_VARIANT, variant_path

CLIENTS = 8
_WARMUP_S = 0.5
_SETTLE_S = 120.0
_IDLE_CPU_S = 0.05  # of a second


def measure(work: Path, variants: Sequence[str], seconds: float) -> Measured:
    """All of it; the network is made below `work` if it is not there. RuntimeError when a request fails."""
    work.mkdir(parents=True, exist_ok=True)
    version = work / VERSION
    if not (version / "saved_model.pb").exists():
        publish(work / "base")
    return Measured(
        machine=machine(),
        date=time.strftime("%Y-%m-%d"),
        cores=psutil.cpu_count() or 1,
        version_bytes=_size(version),
        jpeg_bytes=JPEG_BYTES,
        variants={name: _served(work, name, seconds) for name in variants},
    )


def _served(work: Path, variant: str, seconds: float) -> Served:
    load, _, _ = os.getloadavg()
    server = slipway(variant)
    first = server.asks[0]
    body = (bodies(work, first) / "000").read_bytes()
    with running(server, own_environment(), work, (body, first.kind)) as one:
        asked = {ask.kind: _asked(one, ask, bodies(work, ask), seconds) for ask in server.asks}
        rss_mb = one.rss_mb()
    in_bulk = bulk.measure(work / VERSION, variant, seconds)
    say(f"{variant}: {rss_mb:.0f} MB; in bulk {in_bulk.throughput:.1f}/s, {in_bulk.cpu_ms:.1f} ms")
    size = _variant_size(work / VERSION, variant)
    return Served(load, seconds, size, one.first_answer_s, rss_mb, asked, in_bulk)


def _asked(one: Running, ask: Ask, folder: Path, seconds: float) -> Asked:
    run_load(Load(one.url(ask.kind), folder, clients=CLIENTS, seconds=_WARMUP_S))
    _settle(one)
    before_s = one.cpu_s()
    figures = run_load(Load(one.url(ask.kind), folder, clients=CLIENTS, seconds=seconds))
    cpu_ms = 1000 * (one.cpu_s() - before_s) / max(figures.requests, 1)
    files = [path.read_bytes() for path in sorted(folder.glob("[0-9]*"))]
    bytes_in, bytes_out = carried(one.url(ask.kind), ask.content_type, files)
    say(f"{one.server.network}, {ask.kind}: {figures.throughput:.1f}/s, {cpu_ms:.1f} ms, {bytes_in} bytes in")
    failed = figures.requests - figures.good
    return Asked(figures.requests, failed, figures.throughput, cpu_ms, bytes_in, bytes_out)


def _settle(one: Running) -> None:
    """Wait for what a server does after its first answers: checks, and another form of the network."""
    until_s = time.monotonic() + _SETTLE_S
    while time.monotonic() < until_s:
        before_s = one.cpu_s()
        time.sleep(1)
        if one.cpu_s() - before_s < _IDLE_CPU_S:
            return
    raise RuntimeError(f"{one.server.network}: its server still works {_SETTLE_S:g} s after its last request.")


def _variant_size(version: Path, variant: str) -> int:
    """Of what the server reads: the reference is the SavedModel beside the folder with everything else."""
    if variant == REFERENCE_VARIANT:
        return _size(version) - _size(version / EXTRA)
    return _size(version / EXTRA / variant_path(variant))


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
