"""`python -m serving.sync`, installed as `slipway-sync`."""

import sys

import click

from slipway.errors import SlipwayError


@click.command()
@click.option("--from", "remote", required=True, metavar="URI", help="The base path to mirror: s3://BUCKET/PREFIX.")
@click.option("--to", "local", required=True, metavar="DIR", help="The directory that a model server reads.")
@click.option("--model", "names", multiple=True, help="Mirror this model alone; may be given again.")
@click.option("--version", type=int, help="Mirror this version of the model alone, and no config file.")
@click.option(
    "--trusted-keys",
    metavar="DIR",
    help="Public keys, and revoked.txt; a version that none of them has signed is not fetched, and not kept.",
)
@click.option("--interval", "interval_s", default=10.0, show_default=True, help="Seconds between two turns.")
@click.option("--once", is_flag=True, help="Make one turn: exit code 0 when all is there.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Where /livez, /readyz and /metrics answer.")
@click.option("--port", default=8600, show_default=True, help="Their port; 0: none.")
def main(  # noqa: PLR0913 - one parameter an option
    *,
    remote: str,
    local: str,
    names: tuple[str, ...],
    version: int | None,
    trusted_keys: str | None,
    interval_s: float,
    once: bool,
    host: str,
    port: int,
) -> None:
    """Keep a directory as a base path in S3 is: whole versions, every byte verified, and the files that name them.

    The credentials are the usual AWS variables and profiles; AWS_ENDPOINT_URL_S3 names another server than Amazon's.
    """
    from serving.sync.loop import Address, check_interval, run
    from serving.sync.mirror import Only
    from slipway.errors import InputError

    try:
        if version is not None and len(names) != 1:
            raise InputError(f"--version {version}: expected --model once, of which it is. Pass --model NAME.")
        check_interval(interval_s)
        code = run(
            remote,
            local,
            Only(names, version),
            interval_s=0.0 if once else interval_s,
            address=Address(host, port),
            trusted_keys=trusted_keys,
        )
    except SlipwayError as error:
        click.echo(f"error: {error}", err=True)
        code = error.exit_code
    sys.exit(code)


if __name__ == "__main__":
    main(prog_name="python -m serving.sync")
