"""The command that scores many images: score."""

from typing import Any

import click

from pipeline.commands import ALIAS, JSON, VERSION, Command, chosen_version, config_from, required
from pipeline.options import config_options, option


@click.command(cls=Command)
@option("--input", "Images: a folder, a CSV file with a column path, or parquet with a column image_bytes; or s3://...")
@option("--output", "Folder of parquet, here or at s3://...; one that is unfinished is gone on with.")
@VERSION
@ALIAS
@option("--engine", "What scores: processes, or spark.  [default: processes]")
@option(
    "--runtime", "What executes the model: tensorflow, openvino, onnxruntime, litert or auto.  [default: tensorflow]"
)
@option("--variant", "Instead of the fastest variant of the runtime: this one, such as openvino-int8.")
@option("--workers", "Processes, or Spark's cores.  [default: as many as there are cores]", int)
@option("--part-images", "Images in one file of the output.  [default: 500]", int)
@config_options("name", "workdir", "s3_endpoint", "gate.require_signature", "signing.trusted_keys")
@JSON
def score(  # noqa: PLR0913, PLR0917 - one parameter an option
    input: str | None,  # noqa: A002 - the option's name
    output: str | None,
    version: int | None,
    alias: str | None,
    engine: str | None,
    runtime: str | None,
    variant: str | None,
    workers: int | None,
    part_images: int | None,
    config: str | None,
    json: bool | None,
    **values: Any,
) -> None:
    """Classify many images with a version, the champion by default, into parquet; the same command goes on."""
    from pipeline import summary
    from pipeline.scoring.engines import PROCESSES, Wanted
    from pipeline.scoring.score import Places
    from pipeline.scoring.score import score as score_step

    what = "a folder, a CSV file or parquet, here or in S3"
    places = Places(
        required(input, "--input", what, "DIR"), required(output, "--output", "a folder", "DIR"), part_images
    )
    resolved = config_from(config, values)
    chosen = chosen_version(resolved, version, alias if version or alias else "champion")
    result = score_step(resolved, chosen, places, Wanted(engine or PROCESSES, runtime, variant, workers))
    click.echo(summary.as_json(result.as_dict()) if json else result.text())
