"""`traffic.json` in a base path: how an embedded server splits a model's traffic between stable version and canary.

    {"models": {"resnet50": {"traffic": {"stable": 95, "canary": 5}, "shadow": {"canary": 10}, "key_header": "x-user"}}}

Made from the content that is there, whose other models are kept; pass it to `Store.update_file`.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from slipway.errors import InputError
from slipway.names import check_model_name

TRAFFIC_FILE = "traffic.json"
CANARY = "canary"
_EXPECTED = (
    'expected {"models": {NAME: {"traffic": {"stable": 95, "canary": 5}, "shadow": {"canary": 10}, '
    '"key_header": "x-user", "key_address": false}}}'
)
_REMEDY = "Correct the file, or remove it to have no split."
_TOKEN = re.compile(r"[a-z0-9!#$%&'*+.^_`|~-]+")  # a header's name, in lower case


@dataclass(frozen=True)
class Traffic:
    """Shares in percent, 0 to 100, of the requests to one model that name neither version nor label.

    stable, canary: their sum is 100. The canary's are answered by the version labelled `canary`, if it is AVAILABLE;
    all others go where they go without a split.
    shadow: of what the canary does not answer, the share that it is sent a copy of, after the answer.
    key_header: the header, or gRPC metadata, by whose value a client stays with one of the two; in lower case.
    key_address: whether a request without that header is held by its client's address. Behind a proxy all clients
    have one address, and would go one way; so it is off unless asked for.
    A request without a key goes one way or the other at random.
    """

    stable: float = 100.0
    canary: float = 0.0
    shadow: float = 0.0
    key_header: str = ""
    key_address: bool = False

    def __post_init__(self) -> None:
        for name, share in (("traffic.stable", self.stable), ("traffic.canary", self.canary), ("shadow", self.shadow)):
            if not 0 <= share <= 100:
                raise InputError(f"{name} is {share:g}; expected a share of 0 to 100 percent. Change it.")
        if abs(self.stable + self.canary - 100) > 1e-9:
            raise InputError(
                f"traffic.stable is {self.stable:g} and traffic.canary {self.canary:g}; expected a sum of 100 percent. "
                "Change one of them."
            )
        if self.key_header and not _TOKEN.fullmatch(self.key_header):
            raise InputError(
                f"key_header is {self.key_header!r}; expected the name of a header in lower case, as 'x-user'. "
                "Change it, or leave it out."
            )

    def goes_to_canary(self, position: float) -> bool:
        """Whether a request at that position, 0 to below 100, is the canary's; it stays so while the share grows."""
        return position < self.canary


def position_of(model: str, key: str) -> float:
    """Where a key stands, 0 to below 100, evenly spread; for another model it stands elsewhere."""
    digest = hashlib.blake2b(f"{model}\0{key}".encode(errors="surrogatepass"), digest_size=8).digest()
    return (int.from_bytes(digest) >> 11) * (100 / 2**53)


def traffic_config(present: bytes | None, name: str, traffic: Traffic | None) -> bytes | None:
    """The content of `traffic.json` in which the model `name` has `traffic`, or none of its own; None: no file.

    InputError if `present` is no such content.
    """
    models = {} if present is None else dict(parse_traffic(present, TRAFFIC_FILE))
    models.pop(check_model_name(name), None)
    if traffic is not None:
        models[name] = traffic
    if not models:
        return None
    document = {"models": {model: _document(entry) for model, entry in sorted(models.items())}}
    return json.dumps(document, indent=1).encode() + b"\n"


def parse_traffic(data: bytes, place: str) -> Mapping[str, Traffic]:
    """Each model's traffic in the content of a `traffic.json`; InputError names `place` and what is wrong in it."""
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{place}: not JSON ({error}); {_EXPECTED}. {_REMEDY}") from error
    models = _members(document, place, ("models",)).get("models", {})
    if not isinstance(models, dict):
        raise InputError(f"{place}: models is {models!r:.80}; {_EXPECTED}. {_REMEDY}")
    return {name: _parsed(entry, f"{place}: models.{name}") for name, entry in models.items()}


def _document(traffic: Traffic) -> dict[str, Any]:
    document: dict[str, Any] = {"traffic": {"stable": _number(traffic.stable), "canary": _number(traffic.canary)}}
    if traffic.shadow:
        document["shadow"] = {"canary": _number(traffic.shadow)}
    if traffic.key_header:
        document["key_header"] = traffic.key_header
    if traffic.key_address:
        document["key_address"] = True
    return document


def _number(share: float) -> float:
    return int(share) if float(share).is_integer() else share


def _parsed(entry: Any, place: str) -> Traffic:
    members = _members(entry, place, ("traffic", "shadow", "key_header", "key_address"))
    shares = _members(members.get("traffic", {"stable": 100, "canary": 0}), f"{place}.traffic", ("stable", "canary"))
    shadow = _members(members.get("shadow", {}), f"{place}.shadow", ("canary",))
    header, address = members.get("key_header", ""), members.get("key_address", False)
    if not isinstance(header, str) or not isinstance(address, bool):
        raise InputError(f"{place}: key_header is {header!r:.80}, key_address {address!r:.80}; {_EXPECTED}. {_REMEDY}")
    try:
        return Traffic(
            _share(shares, "stable", f"{place}.traffic"),
            _share(shares, "canary", f"{place}.traffic"),
            _share(shadow, "canary", f"{place}.shadow"),
            header.lower(),
            address,
        )
    except InputError as error:
        raise InputError(str(error) if str(error).startswith(place) else f"{place}: {error}") from None


def _members(value: Any, place: str, known: tuple[str, ...]) -> dict[str, Any]:
    if not isinstance(value, dict) or not value.keys() <= set(known):
        raise InputError(f"{place} is {value!r:.80}; expected an object of {', '.join(known)}. {_REMEDY}")
    return value


def _share(shares: Mapping[str, Any], name: str, place: str) -> float:
    share = shares.get(name, 0)
    # A number of hundreds of digits is no float.
    if isinstance(share, bool) or not isinstance(share, int | float) or not -1e9 < share < 1e9:
        raise InputError(f"{place}.{name} is {share!r:.80}; expected a share of 0 to 100 percent. {_REMEDY}")
    return float(share)
