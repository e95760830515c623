"""Commands about what is live: export, serve, rollback, predict."""

import contextlib
import sys
import time
from pathlib import Path
from typing import Any

import click

from pipeline.commands import ALIAS, JSON, MODEL, REASON, VERSION, Command, chosen_version, config_from, config_of_model
from pipeline.options import config_options, option
from slipway.errors import InputError


@click.command(cls=Command)
@VERSION
@ALIAS
@option("--variant", "Instead of publishing, write this variant, litert or onnx, as a file; needs --to.")
@option(
    "--target", "Instead of publishing, write what has a cluster serve the version: kubernetes or kserve; needs --to."
)
@option("--canary-percent", "With kserve: the share of requests that the version gets.  [default: all]", int)
@option("--to", "That file, or folder of manifests; - is standard output, for manifests.")
@config_options("name", "base", "kubernetes")
def export(  # noqa: PLR0913, PLR0917 - one parameter an option
    version: int | None,
    alias: str | None,
    variant: str | None,
    target: str | None,
    canary_percent: int | None,
    to: str | None,
    config: str | None,
    **values: Any,
) -> None:
    """Publish a version's verified servable to the base path; changes nothing about what is live."""
    from pipeline import lifecycle
    from pipeline.hand_out import hand_out
    from pipeline.signing.trust import verified_signature
    from registry.client import Registry

    resolved = config_from(config, values)
    if variant and target:
        raise InputError("--variant and --target exclude each other; expected one of them. Leave out the other.")
    if bool(variant or target) != bool(to):
        raise InputError(
            "expected --variant or --target together with --to, or none of them. Pass --variant litert-fp32 --to FILE, "
            "or --target kubernetes --to DIR."
        )
    if canary_percent is not None and not target:
        raise InputError("--canary-percent is KServe's; expected --target kserve. Pass that, or leave it out.")
    chosen = chosen_version(resolved, version, alias)
    if variant and to:
        verified_signature(resolved, chosen)
        handout = hand_out(Registry(), chosen, variant, Path(to))
        click.echo(f"{handout.model}  {handout.size_bytes / 1e6:.1f} MB\n{handout.labels}")
        return
    if target and to:
        from pipeline.in_cluster import manifests, served_version, stream, write_manifests

        files = manifests(served_version(resolved, chosen), target, canary_percent)
        if to == "-":
            click.echo(stream(files), nl=False)
        else:
            click.echo(f"{write_manifests(files, Path(to))}  {len(files)} objects\nnext: kubectl apply -k {to}")
        return
    publication = lifecycle.export(resolved, chosen)
    how = "published" if publication.created else "already published and whole"
    click.echo(f"{publication.path}  {how}, {publication.manifest.size_bytes / 1e6:.0f} MB")


@click.command(cls=Command)
@option("--target", "What serves: embedded, tensorflow_model_server or mlflow.  [default: embedded]")
@option(
    "--runtime", "What executes the model: tensorflow, openvino, onnxruntime, litert or auto.  [default: tensorflow]"
)
@option("--host", "Address to listen on.  [default: 127.0.0.1]")
@option("--rest-port", "REST port.  [default: 8501]", int)
@option("--grpc-port", "gRPC port.  [default: 8500]", int)
@option("--access-tokens", "File of tokens, of which clients must have one; as `slipway tokens` writes it.")
@option("--ssl-config", "SSLConfig, as text: REST and gRPC over TLS.")
@option("--access-log", "File that gets a line of JSON for each request; - is standard output.")
@option("--insecure", "Listen for other machines although nothing asks who they are.", bool)
@option("--metrics", "Metrics for Prometheus, at /metrics of the REST port.", bool)
@option("--log-format", "Of the server's own log: text, or json, an object a line.  [default: text]")
@option("--trace-endpoint", "Address of an OTLP/HTTP collector that gets spans of predictions.")
@option("--trace-sample", "Share of predictions that are traced, 0 to 1.  [default: 1]", float)
@option("--reconcile-metrics-port", "With --reconcile: page for Prometheus, of registry and ledger, there.", int)
@option("--ui", "Start the MLflow UI beside it, on port 5000.", bool)
@option("--reconcile", "Follow what is promoted in MLflow: `slipway reconcile --watch` beside it.", bool)
@config_options("name", "base", "prediction_log", "workdir", "reconcile")
def serve(
    target: str | None,
    host: str | None,
    rest_port: int | None,
    grpc_port: int | None,
    ui: bool | None,
    config: str | None,
    **values: Any,
) -> None:
    """Serve the champion until stopped; a promotion or rollback switches it while it runs."""
    from pipeline import serve as serving_step
    from pipeline.doors import Doors
    from pipeline.telemetry import Show

    runtime, follow = values.pop("runtime"), values.pop("reconcile")
    doors = Doors(
        values.pop("access_tokens"), values.pop("ssl_config"), values.pop("access_log"), bool(values.pop("insecure"))
    )
    show = Show(
        bool(values.pop("metrics")),
        values.pop("log_format") or "",
        values.pop("trace_endpoint") or "",
        values.pop("trace_sample"),
        values.pop("reconcile_metrics_port"),
    )
    resolved, target = config_from(config, values), target or "embedded"
    rest, grpc = 8501 if rest_port is None else rest_port, 8500 if grpc_port is None else grpc_port
    listen = serving_step.Listen(host or "127.0.0.1", rest, grpc, doors)
    with serving_step.mlflow_ui(resolved) if ui else contextlib.nullcontext(resolved) as told:
        sys.exit(serving_step.serve(told, target, listen, runtime, show=show, reconcile=bool(follow)))


@click.command(cls=Command)
@MODEL
@option("--to", "Version to go back to.  [default: the champion before this one]", int)
@REASON
@config_options("name", "base", "workdir", "reconcile.servers", "reconcile.load_timeout_s")
def rollback(model: str | None, to: int | None, reason: str | None, config: str | None, **values: Any) -> None:
    """Make the previous champion live again, its bytes and its answers having been checked."""
    began = time.monotonic()
    from pipeline import lifecycle

    click.echo(lifecycle.rollback(config_of_model(model, config, values), to, reason or "", began).text())


@click.command(cls=Command)
@click.argument("images", nargs=-1)
@option("--address", "A server: http://host:8501, grpc://host:8500 or host:port; without it, the registry's version.")
@VERSION
@ALIAS
@option("--label", "Version label to ask a server for, such as canary.")
@config_options("name")
@JSON
def predict(  # noqa: PLR0913, PLR0917 - one parameter an option
    images: tuple[str, ...],
    address: str | None,
    version: int | None,
    alias: str | None,
    label: str | None,
    config: str | None,
    json: bool | None,
    **values: Any,
) -> None:
    """Classify IMAGES (files or folders) by a server, or by the registry's champion."""
    from pipeline import predict as predict_step
    from serving.client import as_json, as_table

    paths = [Path(path) for path in images if path]
    if not paths:
        raise InputError("predict: no image given; expected files or folders. Run: slipway predict IMAGE...")
    ask = predict_step.Ask(address=address, version=version, alias=alias, label=label)
    predictions = predict_step.predict(config_from(config, values), paths, ask)
    click.echo(as_json(predictions) if json else as_table(predictions))
