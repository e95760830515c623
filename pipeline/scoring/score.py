"""Score an input with a version: list it, plan, and have the parts that are missing written."""

import sys
import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import click

from pipeline.config import Config
from pipeline.progress import report
from pipeline.publication import registered_digest
from pipeline.scoring.engines import Engine, Wanted, start
from pipeline.scoring.items import IN_S3, PartDone
from pipeline.scoring.output import open_output
from pipeline.scoring.plan import Plan, check_same, parse_plan
from pipeline.scoring.rows import Stamp
from pipeline.scoring.scratch import scratch_below
from pipeline.scoring.source import open_source
from pipeline.scoring.workers import Job
from pipeline.signing.trust import verified_signature
from registry.client import ModelVersion
from slipway.errors import ConflictError, InputError

PART_IMAGES = 500
_LINE_EVERY_S = 10.0


@dataclass(frozen=True)
class Places:
    """From where to where. part_images: images in one file of the output; None: 500, or as it was begun."""

    input: str
    output: str
    part_images: int | None = None


@dataclass(frozen=True)
class Scoring:
    """What an output holds, and what this run has done for it.

    scored, failed: images of this run, and those of them with an error. scoring_s: from its first image to its last.
    """

    output: str
    plan: Plan
    scored: int
    failed: int
    scoring_s: float

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self), "parts": self.plan.parts}

    def text(self) -> str:
        """Two lines."""
        plan = self.plan
        whole = f"{self.output}  {plan.images:,} images in {plan.parts:,} parts"
        by = f"{plan.model} version {plan.version}, {plan.variant}"
        if not self.scored:
            return f"{whole}, by {by}\nall of them were there before"
        rate = self.scored / self.scoring_s if self.scoring_s else 0.0
        return f"{whole}, by {by}\nby this run {self.scored:,}, {self.failed:,} with an error; {rate:.1f} images/s"


def score(config: Config, version: ModelVersion, places: Places, wanted: Wanted) -> Scoring:
    """Score every image of the input, or those that earlier runs to the same output have left.

    InputError if the output was begun with another version, variant or input; ConflictError if another run writes
    there; UnavailableError for what may pass: the same call goes on then.
    """
    wanted.check(config)
    if places.part_images is not None and places.part_images < 1:
        raise InputError(f"--part-images {places.part_images}: expected 1 or more. Pass another number.")
    _check_apart(places)
    verified_signature(config, version)
    digest = registered_digest(version)
    output = open_output(places.output)
    with ExitStack() as stack:
        stack.enter_context(output.held())
        scratch = stack.enter_context(scratch_below(Path(config.workdir)))
        source = open_source(places.input, scratch)
        begun: list[Engine] = []

        def begin() -> bytes:
            engine = stack.enter_context(start(config, version, wanted, scratch))
            begun.append(engine)
            images = places.part_images or PART_IMAGES
            facts = (source.digest, source.images, images, version.name, version.version, digest, engine.variant())
            return Plan(*facts).data()

        plan = parse_plan(output.plan(begin), places.output)
        _check(plan, places, wanted, Plan(source.digest, 0, 0, version.name, version.version, digest, ""))
        if begun and begun[0].variant() != plan.variant:
            raise ConflictError(
                f"--output {places.output}: another run began it at the same time, with variant {plan.variant}; "
                f"expected {begun[0].variant()}. Run the same command again: it goes on with what was begun."
            )
        there = {number for number in output.parts() if number < plan.parts}
        tally = _Tally(plan.parts, len(there))
        if len(there) < plan.parts:
            if not begun:
                same = replace(wanted, runtime=None, variant=plan.variant)
                begun.append(stack.enter_context(start(config, version, same, scratch)))
            stamp = Stamp(plan.model, plan.version, plan.servable_digest, plan.variant)
            job = Job(_absolute(places.output), stamp, str(scratch), tuple(source.witnesses))
            for done in begun[0].score(job, source.parts(plan.part_images, lambda number: number not in there)):
                tally.add(done)
        return Scoring(places.output, plan, tally.images, tally.failed, tally.scoring_s)


def _check(found: Plan, places: Places, wanted: Wanted, now: Plan) -> None:
    check_same(
        found,
        places.output,
        model=now.model,
        version=now.version,
        servable_digest=now.servable_digest,
        input_digest=now.input_digest,
        part_images=places.part_images,
        variant=wanted.variant,
    )
    if not wanted.takes(found.variant):
        raise InputError(
            f"--output {places.output}: was begun with variant {found.variant}; expected one for "
            f"{f'--runtime {wanted.runtime}' if wanted.runtime else f'--engine {wanted.engine}'}. Pass another "
            "--output, or leave that out."
        )


def _check_apart(places: Places) -> None:
    """Parts among parquet that is scored would be images of the next run."""
    inside, outside = (_absolute(place).rstrip("/") + "/" for place in (places.output, places.input))
    if outside.endswith(".parquet/") and inside.startswith(outside):
        raise InputError(
            f"--output {places.output}: lies in --input {places.input}, which it would become a part of; expected "
            "another place. Pass another --output."
        )


def _absolute(place: str) -> str:
    """As processes that begin elsewhere see it."""
    return place if place.startswith(IN_S3) else str(Path(place).expanduser().absolute())


class _Tally:
    """What this run has done so far, shown on standard error."""

    def __init__(self, parts: int, there: int) -> None:
        self.images, self.failed = 0, 0
        self._parts, self._there = parts, there
        self._first_s, self._last_s = float("inf"), 0.0
        self._shown_s = time.monotonic()
        if 0 < there < parts:
            report(f"{there:,} of {parts:,} parts are there; {parts - there:,} are left")

    @property
    def scoring_s(self) -> float:
        return max(0.0, self._last_s - self._first_s)

    def add(self, done: PartDone) -> None:
        self._there += 1
        self.images += done.images
        self.failed += done.failed
        self._first_s, self._last_s = min(self._first_s, done.began_s), max(self._last_s, done.ended_s)
        rate = self.images / self.scoring_s if self.scoring_s else 0.0
        line = f"{self._there:,}/{self._parts:,} parts  {self.images:,} images  {rate:.1f} images/s"
        if sys.stderr.isatty():
            click.echo(f"\r{line}", err=True, nl=self._there == self._parts)
        elif self._there == self._parts or time.monotonic() - self._shown_s >= _LINE_EVERY_S:
            self._shown_s = time.monotonic()
            report(line)
