"""What publications and removals that did not finish have left in S3, told from what a server lists. Pure.

A publication writes its manifest first and `saved_model.pb` last; so a version with a manifest and without that is one
that is not finished. A removal first says so beside the version, and takes that away last.
"""

import math
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from serving.stores.s3_listing import Listed
from slipway.names import version_of_directory

_MARK = ".removing"
_SKEW_S = 60.0  # between the clocks of a server's machines


@dataclass
class Remains:
    """What lies in S3 of one version. objects: by their paths below its directory."""

    objects: dict[str, Listed] = field(default_factory=dict)
    uploads: list[Listed] = field(default_factory=list)
    marked: bool = False  # somebody began to remove it

    @property
    def size_bytes(self) -> int:
        """Of all of it."""
        return sum(each.size_bytes for each in (*self.objects.values(), *self.uploads))

    @property
    def idle_s(self) -> float:
        """Since anything of it was written to."""
        if self.marked:
            return math.inf
        return min((each.idle_s for each in (*self.objects.values(), *self.uploads)), default=math.inf)

    def is_still(self, before: "Remains") -> bool:
        """Whether nobody has written to it since it was `before`."""
        same = {path: each.tag for path, each in self.objects.items()} == {
            path: each.tag for path, each in before.objects.items()
        }
        return same and self.marked == before.marked and self.idle_s >= before.idle_s - _SKEW_S


def mark(version: int) -> str:
    """The name of the object, beside the version's directory, that says that the version is being removed."""
    return f"{version}{_MARK}"


def remains(below: str, objects: Iterable[Listed], uploads: Iterable[Listed]) -> dict[int, Remains]:
    """Version -> what there is of it, of a model whose versions lie below the prefix `below`."""
    found: dict[int, Remains] = defaultdict(Remains)
    for each in objects:
        name, inside, path = each.key.removeprefix(below).partition("/")
        version = version_of_directory(name.removesuffix(_MARK))
        if version is not None and inside and not name.endswith(_MARK):
            found[version].objects[path] = each
        elif version is not None and not inside and name.endswith(_MARK):
            found[version].marked = True
    for each in uploads:
        version = version_of_directory(each.key.removeprefix(below).partition("/")[0])
        if version is not None:
            found[version].uploads.append(each)
    return dict(sorted(found.items()))
