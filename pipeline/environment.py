"""What a network was trained with: every installed distribution, as a CycloneDX bill of materials."""

import json
import re
from collections.abc import Iterator
from importlib.metadata import Distribution, distributions
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cyclonedx.model import HashType
    from cyclonedx.model.component import Component

BILL_ARTIFACT = "environment.cdx.json"


def bill_of_materials() -> bytes:
    """The bill of this Python's distributions, as CycloneDX JSON: for the same environment the same bytes.

    So it says neither when it was made nor bears a random number, both of which CycloneDX leaves to whoever writes it.
    """
    from cyclonedx.model.bom import Bom
    from cyclonedx.output import make_outputter
    from cyclonedx.schema import OutputFormat, SchemaVersion

    bom = Bom(components=_components())
    text = make_outputter(bom, OutputFormat.JSON, SchemaVersion.V1_6).output_as_string()
    document = json.loads(text)
    del document["serialNumber"]
    del document["metadata"]["timestamp"]
    return json.dumps(document, sort_keys=True, indent=1).encode() + b"\n"


def _components() -> Iterator["Component"]:
    from cyclonedx.model.component import Component, ComponentType
    from packageurl import PackageURL

    found: dict[str, Distribution] = {}
    for each in distributions():
        found.setdefault(_canonical(each.metadata["Name"]), each)  # the first on the path is what is imported
    for name, distribution in sorted(found.items()):
        purl = PackageURL("pypi", name=name, version=distribution.version)
        yield Component(
            name=name,
            version=distribution.version,
            type=ComponentType.LIBRARY,
            purl=purl,
            bom_ref=purl.to_string(),
            hashes=_hashes(distribution),
        )


def _hashes(distribution: Distribution) -> list["HashType"]:
    """Of the archive that it was installed from, where the installer has written it down (PEP 610)."""
    from cyclonedx.model import HashType

    try:
        recorded = json.loads(distribution.read_text("direct_url.json") or "{}").get("archive_info", {})
        digest = recorded.get("hashes", {}).get("sha256", "")
    except (ValueError, AttributeError):
        return []  # of another kind than PEP 610 says: not written down
    return [HashType.from_composite_str(f"sha256:{digest}")] if re.fullmatch("[0-9a-f]{64}", str(digest)) else []


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
