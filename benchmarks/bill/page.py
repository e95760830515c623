"""The tables of docs/the-bill.md, from what was measured. The page's text is written by hand, between them."""

import math
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.bill import arithmetic
from benchmarks.bill.arithmetic import Assumptions
from benchmarks.bill.measured import ROOT, Asked, Measured, Served

PAGE = ROOT / "docs" / "the-bill.md"
RATES = (10, 1_000, 100_000)
COUNTS = (1_000_000, 1_000_000_000)
_TABLE = re.compile(r"(<!-- bill: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def rendered(text: str, measured: Measured, assumed: Assumptions) -> str:
    """The page with every table as these measurements give it. KeyError for a table that there is not."""
    return _TABLE.sub(lambda found: f"{found[1]}\n{TABLES[found[2]](measured, assumed)}\n\n{found[3]}", text)


def write(measured: Measured, page: Path = PAGE) -> None:
    """Render the page in its place."""
    page.write_text(rendered(page.read_text(encoding="utf-8"), measured, Assumptions()), encoding="utf-8")


def number(value: float) -> str:
    """Three significant digits, thousands parted by commas: 0.0123, 4.56, 789, 12,300."""
    rounded = float(f"{value:.3g}")
    if abs(rounded) < 1:
        return f"{rounded:g}"
    digits = math.floor(math.log10(abs(rounded))) + 1
    return f"{rounded:,.{max(0, 3 - digits)}f}"


def _table(head: str, rows: Iterator[tuple[str, ...]]) -> str:
    columns = head.count("|") + 1
    lines = [f"| {head} |", "|" + "---|" * columns]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])


def _each(measured: Measured) -> Iterator[tuple[str, Served, str, Asked]]:
    for name, served in measured.variants.items():
        for kind, asked in served.asked.items():
            yield name, served, kind, asked


def _machine(measured: Measured, _: Assumptions) -> str:
    loads = [served.load for served in measured.variants.values()]
    seconds = min(served.seconds for served in measured.variants.values())
    return (
        f"`python -m benchmarks.bill`, {measured.date}, on {measured.machine}; load average before each server "
        f"{min(loads):.1f} to {max(loads):.1f}. At least {seconds:g} s of each kind of request, by 8 clients on the "
        f"same {measured.cores} cores."
    )


def _assumed(_: Measured, assumed: Assumptions) -> str:
    rows = (
        ("of a server's cores, requests may take", f"{assumed.busy:.0%}"),
        ("of a machine's cores, scoring in bulk may take", f"{assumed.bulk_busy:.0%}"),
        ("servers, at least", f"{assumed.least_servers}"),
        ("cores of a machine", f"{assumed.machine_cores}"),
        ("memory of a machine, GB", f"{assumed.machine_memory_gb:g}"),
        ("network of a machine, each way, Gbit/s", f"{assumed.machine_network_gbit:g}"),
        ("seconds between two looks of a sync sidecar", f"{assumed.poll_s:g}"),
        ("bytes of a result in bulk", f"{assumed.row_bytes}"),
        ("GET requests a second below one prefix of S3, by its maker's documentation", f"{assumed.s3_gets:,.0f}"),
    )
    return _table("assumed | value", iter(rows))


def _requests_measured(measured: Measured, _: Assumptions) -> str:
    rows = (
        (
            *(name, kind, number(asked.cpu_ms), number(1000 / asked.cpu_ms), number(asked.throughput)),
            *(number(asked.bytes_in / 1000), number(asked.bytes_out / 1000)),
        )
        for name, _, kind, asked in _each(measured)
    )
    head = "variant | request | processor ms | a second and core | a second here | KB in | KB out"
    return _table(head, rows)


def _servers_measured(measured: Measured, _: Assumptions) -> str:
    rows = (
        (
            *(name, number(served.bytes / 1e6), number(measured.version_bytes / 1e6)),
            *(number(served.first_answer_s), number(served.rss_mb)),
            *(number(served.bulk.cpu_ms), number(1000 / served.bulk.cpu_ms), number(served.bulk.rss_mb)),
        )
        for name, served in measured.variants.items()
    )
    head = (
        "variant | its files, MB | the version's, MB | start to first answer, s | server's memory, MB | "
        "in bulk: processor ms an image | a second and core | memory, MB"
    )
    return _table(head, rows)


def _requests_at(rate: int) -> Callable[[Measured, Assumptions], str]:
    def table(measured: Measured, assumed: Assumptions) -> str:
        rows = []
        for name, served, kind, asked in _each(measured):
            need = arithmetic.requests(rate, asked, served.rss_mb, measured.cores, assumed)
            figures = (need.cores, need.servers, need.memory_gb, need.in_mb_s, need.out_mb_s)
            rows.append((name, kind, *map(number, figures)))
        head = f"variant | request | cores busy | servers of {measured.cores} cores | memory, GB | MB/s in | MB/s out"
        return _table(head, iter(rows))

    return table


def _request_bottlenecks(measured: Measured, assumed: Assumptions) -> str:
    def row(name: str, served: Served, kind: str, asked: Asked) -> tuple[str, ...]:
        limits = arithmetic.request_limits(asked, served.rss_mb, measured.cores, assumed)
        most = (number(limits.by[part]) for part in (arithmetic.PROCESSORS, arithmetic.NETWORK, arithmetic.MEMORY))
        return (name, kind, *most, f"**{limits.first}**", f"{number(limits.factor)}: {limits.second}")

    head = (
        "variant | request | by processors | by network | by memory | first bottleneck | "
        "with so many times as much of it, the next is"
    )
    return _table(head, (row(*each) for each in _each(measured)))


def _fleets(measured: Measured, assumed: Assumptions) -> str:
    rows = []
    for name, served in measured.variants.items():
        for rate in RATES:
            asked = next(iter(served.asked.values()))
            servers = arithmetic.requests(rate, asked, served.rss_mb, measured.cores, assumed).servers
            cost = arithmetic.fleet(servers, measured.version_bytes, assumed)
            alone = arithmetic.fleet(servers, served.bytes, assumed)
            figures = (rate, servers, cost.moved_gb, cost.fetch_s, alone.moved_gb, cost.polls_s)
            rows.append((name, *map(number, figures)))
    head = (
        "variant, JPEG bytes | requests/s | servers | moved by a promotion, GB | s, at one machine's network | "
        "GB, if only the variant were moved | looks at S3 a second"
    )
    return _table(head, iter(rows))


def _images(measured: Measured, assumed: Assumptions) -> str:
    rows = []
    for name, served in measured.variants.items():
        for count in COUNTS:
            cost = arithmetic.images(count, served.bulk, measured.jpeg_bytes, assumed)
            figures = (cost.core_h, cost.machine_h, cost.read_gb, cost.written_gb, cost.gets_h)
            rows.append((name, f"{count:,}", *map(number, figures)))
    head = (
        f"variant | images | core hours | hours on one machine of {assumed.machine_cores} cores | GB read | "
        "GB written | hours of single GETs below one prefix"
    )
    return _table(head, iter(rows))


def _image_bottlenecks(measured: Measured, assumed: Assumptions) -> str:
    def row(name: str, served: Served) -> tuple[str, ...]:
        limits = arithmetic.bulk_limits(served.bulk, measured.jpeg_bytes, measured.cores, assumed)
        parts = (arithmetic.PROCESSORS, arithmetic.NETWORK, arithmetic.MEMORY, arithmetic.STORE)
        most = (number(limits.by[part]) for part in parts)
        return (name, *most, f"**{limits.first}**", f"{number(limits.factor)}: {limits.second}")

    head = (
        "variant | by processors | by network | by memory | by single GETs | first bottleneck | "
        "with so many times as much of it, the next is"
    )
    return _table(head, (row(*each) for each in measured.variants.items()))


TABLES: dict[str, Callable[[Measured, Assumptions], str]] = {
    "machine": _machine,
    "assumed": _assumed,
    "requests_measured": _requests_measured,
    "servers_measured": _servers_measured,
    **{f"requests_{rate}": _requests_at(rate) for rate in RATES},
    "request_bottlenecks": _request_bottlenecks,
    "fleets": _fleets,
    "images": _images,
    "image_bottlenecks": _image_bottlenecks,
}
