"""Where a bundle's files lie once they are published.

TensorFlow Serving wants the SavedModel at the version directory's root; it ignores `assets.extra/`, which carries
the rest.
"""

from slipway.errors import IntegrityError

SAVED_MODEL = "saved_model"
MANIFEST = "manifest.json"
LABELS = "labels.json"
GOLDEN = "golden"
STATISTICS = "reference"  # what the network made of held-out images
VARIANTS = "variants"
BILL = "environment.cdx.json"  # what the network was trained with: a bill of materials
EXTRA = "assets.extra/slipway"
REFERENCE_VARIANT = "tensorflow-fp32"  # the SavedModel itself


def variant_path(name: str) -> str:
    """Path below the bundle of a variant's directory: a plain model, and its own golden answers."""
    return f"{VARIANTS}/{name}"


def published_path(bundle_path: str) -> str:
    """Path below the version directory of a file of the bundle; both relative, POSIX. No two files get the same.

    IntegrityError for a path that leaves its directory, or that would lie where Slipway's own files do.
    """
    path = check_relative_path(bundle_path)
    inside = path.removeprefix(f"{SAVED_MODEL}/")
    if inside == path:
        return f"{EXTRA}/{path}"
    if inside == EXTRA or inside.startswith(f"{EXTRA}/") or EXTRA.startswith(f"{inside}/"):
        raise IntegrityError(
            f"{bundle_path!r} in a servable: expected no file of the SavedModel at or below {EXTRA}, which is for "
            "Slipway's own. Build the servable again without it."
        )
    return inside


def bundle_path(published: str) -> str:
    """The one file of the bundle whose `published_path` is `published`; IntegrityError if there is none."""
    path = check_relative_path(published)
    outside = path.removeprefix(f"{EXTRA}/")
    candidate = f"{SAVED_MODEL}/{path}" if outside == path else outside
    if published_path(candidate) != path:
        raise IntegrityError(
            f"{published!r} in a version directory: expected no SavedModel below {EXTRA}. Publish the version again."
        )
    return candidate


def check_relative_path(path: str) -> str:
    """Return `path` if it is a plain relative POSIX path that stays in its directory; else raise IntegrityError."""
    unpaired = any("\ud800" <= letter <= "\udfff" for letter in path)  # no file system or server has such letters
    if "\0" in path or unpaired or any(part in {"", ".", ".."} for part in path.split("/")):
        raise IntegrityError(
            f"{path!r} names a file: expected a relative path of Unicode text without '.', '..' or empty parts. "
            "Build the servable again."
        )
    return path
