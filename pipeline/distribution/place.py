"""Which worker this process is, and where the others are: TF_CONFIG, as every launcher of TensorFlow's sets it."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from slipway.errors import InputError

VARIABLE = "TF_CONFIG"
_JOBS = ("chief", "worker")  # in the order in which TensorFlow counts them
_ADDRESS = re.compile(r"(?P<host>[^\s/@:]+|\[[0-9a-fA-F:]+\]):(?P<port>\d{1,5})")
_EXAMPLE = '{"cluster": {"worker": ["host-0:2222", "host-1:2222"]}, "task": {"type": "worker", "index": 0}}'


@dataclass(frozen=True)
class Place:
    """One worker among `addresses`, "host:port" each. The first of them is the chief: it has the run, and writes."""

    addresses: tuple[str, ...]
    index: int

    @property
    def is_chief(self) -> bool:
        return self.index == 0

    @property
    def workers(self) -> int:
        return len(self.addresses)

    @property
    def others(self) -> tuple[str, ...]:
        return tuple(address for number, address in enumerate(self.addresses) if number != self.index)

    @property
    def name(self) -> str:
        return f"worker {self.index} of {self.workers}"


def place_from(environment: Mapping[str, str]) -> Place:
    """The place that TF_CONFIG gives; InputError that names what is wrong in it."""
    text = environment.get(VARIABLE, "")
    if not text.strip():
        raise _wrong("is not set", f"on each worker {_EXAMPLE}, with its own index. Set it, or leave out --distribute.")
    try:
        tree = json.loads(text)
    except ValueError as error:
        raise _wrong(f"is not JSON ({error})", f"{_EXAMPLE}. Mend it.") from error
    cluster, task = (tree.get(key) if isinstance(tree, dict) else None for key in ("cluster", "task"))
    if not isinstance(cluster, dict) or not isinstance(task, dict):
        raise _wrong("has no cluster and task", f"{_EXAMPLE}. Mend it.")
    addresses = _addresses(cluster)
    return Place(addresses, _index(task, cluster))


def split_address(address: str) -> tuple[str, int]:
    """Host and port of "host:port"; the host without brackets."""
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


def _addresses(cluster: Mapping[str, Any]) -> tuple[str, ...]:
    for job, listed in cluster.items():
        if job not in _JOBS:
            raise _wrong(f"cluster.{job}: not known here", "worker, and chief for the first of them. Leave it out.")
        if not isinstance(listed, list):
            raise _wrong(f"cluster.{job} is {listed!r}", "a list of host:port. Mend it.")
        if job == "chief" and len(listed) > 1:
            raise _wrong(f"cluster.chief has {len(listed)} addresses", "one. Make the others workers.")
    found = [_address(f"cluster.{job}[{n}]", each) for job in _JOBS for n, each in enumerate(cluster.get(job, []))]
    if not found:
        raise _wrong("cluster.worker is empty", "an address host:port for each worker. Add them.")
    twice = [address for address in found if found.count(address) > 1]
    if twice:
        raise _wrong(f"cluster names {twice[0]} twice", "an address of its own for each worker. Mend it.")
    return tuple(found)


def _address(where: str, address: Any) -> str:
    match = _ADDRESS.fullmatch(address) if isinstance(address, str) else None
    if match is None or not 0 < int(match["port"]) < 65536:
        raise _wrong(f"{where} is {address!r}", "host:port, such as host-0:2222. Mend it.")
    return match[0]


def _index(task: Mapping[str, Any], cluster: Mapping[str, Any]) -> int:
    job, index = task.get("type"), task.get("index")
    if job not in _JOBS or job not in cluster:
        raise _wrong(f"task.type is {job!r}", f"{' or '.join(job for job in _JOBS if job in cluster)}. Mend it.")
    workers = len(cluster[job])
    if isinstance(index, str) and index.isdigit():  # some launchers write it as text
        index = int(index)
    if not isinstance(index, int) or isinstance(index, bool) or not 0 <= index < workers:
        raise _wrong(f"task.index is {index!r}", f"0 to {workers - 1}, a place in cluster.{job}. Mend it.")
    return index + (len(cluster.get("chief", [])) if job == "worker" else 0)


def _wrong(what: str, expected: str) -> InputError:
    where = f"{VARIABLE} {what}" if what.startswith(("is ", "has ")) else f"{VARIABLE}: {what}"
    return InputError(f"{where}; expected {expected}")
