"""From one request to many, and from one image to many. Pure arithmetic; units are in the names.

MB and GB are 10^6 and 10^9 bytes. A core is what the machine of the measurement calls one.
"""

import math
from dataclasses import dataclass

from benchmarks.bill.measured import Asked, Bulk

PROCESSORS, NETWORK, MEMORY, STORE = "processors", "network", "memory", "S3 requests"


@dataclass(frozen=True)
class Assumptions:
    """What is not measured. Each is on the page, and each can be changed here.

    busy: share of a server's cores that requests may take, so that a burst does not wait. least_servers: so that one
    may go. machine_*: a machine to put servers on. poll_s: seconds between two looks of a sync sidecar. row_bytes: of a
    result in bulk. s3_gets: requests a second that S3 answers below one prefix, by its maker's documentation.
    """

    busy: float = 0.6
    bulk_busy: float = 0.9
    least_servers: int = 2
    machine_cores: int = 32
    machine_memory_gb: float = 128.0
    machine_network_gbit: float = 10.0
    poll_s: float = 10.0
    row_bytes: int = 100
    s3_gets: float = 5500.0

    @property
    def machine_bytes_s(self) -> float:
        """What the machine's network carries one way, bytes a second."""
        return self.machine_network_gbit * 1e9 / 8


@dataclass(frozen=True)
class Requests:
    """What a rate of requests takes."""

    cores: float
    servers: int
    memory_gb: float
    in_mb_s: float
    out_mb_s: float


def requests(rate: float, asked: Asked, rss_mb: float, server_cores: int, assumed: Assumptions) -> Requests:
    """`rate` requests a second on servers of `server_cores`, of which `assumed.busy` may be taken."""
    cores = rate * asked.cpu_ms / 1000
    servers = max(assumed.least_servers, math.ceil(cores / (server_cores * assumed.busy)))
    return Requests(cores, servers, servers * rss_mb / 1000, rate * asked.bytes_in / 1e6, rate * asked.bytes_out / 1e6)


@dataclass(frozen=True)
class Limits:
    """The most that one machine does a second, by each of its parts."""

    by: dict[str, float]

    @property
    def first(self) -> str:
        """The part that is used up first."""
        return min(self.by, key=lambda part: self.by[part])

    @property
    def second(self) -> str:
        """The part that would be, if there were enough of the first."""
        return min((part for part in self.by if part != self.first), key=lambda part: self.by[part])

    @property
    def factor(self) -> float:
        """How many times as much of the first there would have to be until the second is the limit."""
        return self.by[self.second] / self.by[self.first]


def request_limits(asked: Asked, rss_mb: float, server_cores: int, assumed: Assumptions) -> Limits:
    """Requests a second of a machine full of servers.

    By memory: as many servers as fit, each with its cores busy, however many cores there are.
    """
    a_core = assumed.busy * 1000 / asked.cpu_ms
    fitting = assumed.machine_memory_gb * 1000 / rss_mb
    return Limits(
        {
            PROCESSORS: assumed.machine_cores * a_core,
            NETWORK: assumed.machine_bytes_s / max(asked.bytes_in, asked.bytes_out),
            MEMORY: fitting * server_cores * a_core,
        }
    )


@dataclass(frozen=True)
class Fleet:
    """What grows with the number of servers. moved_gb: at a promotion, when each fetches the version."""

    moved_gb: float
    fetch_s: float
    polls_s: float


def fleet(servers: int, version_bytes: int, assumed: Assumptions) -> Fleet:
    """`fetch_s`: until all have it, from a store behind one machine's network."""
    moved = servers * version_bytes
    return Fleet(moved / 1e9, moved / assumed.machine_bytes_s, servers / assumed.poll_s)


@dataclass(frozen=True)
class Images:
    """What so many images take. machine_h: hours of one machine by its processors."""

    core_h: float
    machine_h: float
    read_gb: float
    written_gb: float
    gets_h: float


def images(count: float, bulk: Bulk, jpeg_bytes: int, assumed: Assumptions) -> Images:
    """`count` files of `jpeg_bytes` each, every one read by a request of its own."""
    core_h = count * bulk.cpu_ms / 1000 / 3600
    return Images(
        core_h,
        core_h / (assumed.machine_cores * assumed.bulk_busy),
        count * jpeg_bytes / 1e9,
        count * assumed.row_bytes / 1e9,
        count / assumed.s3_gets / 3600,
    )


def bulk_limits(bulk: Bulk, jpeg_bytes: int, server_cores: int, assumed: Assumptions) -> Limits:
    """Images a second of one machine: by its processors, its network, its memory, and single files below one prefix."""
    a_core = assumed.bulk_busy * 1000 / bulk.cpu_ms
    fitting = assumed.machine_memory_gb * 1000 / bulk.rss_mb
    return Limits(
        {
            PROCESSORS: assumed.machine_cores * a_core,
            NETWORK: assumed.machine_bytes_s / jpeg_bytes,
            MEMORY: fitting * server_cores * a_core,
            STORE: assumed.s3_gets,
        }
    )
