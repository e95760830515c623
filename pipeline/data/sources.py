"""Where images come from: a row a kind of source, each a function that lists it. None of them opens an image."""

from collections.abc import Callable
from pathlib import Path

from pipeline.data.digits import write_digits
from pipeline.data.folder import list_folder
from pipeline.data.listing import Listing, is_in_s3, no_source
from pipeline.data.manifest import list_manifest
from pipeline.data.s3 import list_s3

_EMBEDDED: dict[str, Callable[[Path], Path]] = {"digits": write_digits}
"""Name -> a function that writes the images below a working directory, a folder per class, and returns that folder."""

_BY_SUFFIX: dict[str, Callable[[Path], Listing]] = {".csv": list_manifest}


def list_source(source: str, workdir: Path) -> Listing:
    """List the images of `source`: a row above, a folder, or either in S3. Raises InputError if it is none of these.

    What is embedded, or in S3, is written below `workdir` first, unless it is there already.
    """
    if is_in_s3(source):
        return list_s3(source, workdir.absolute())
    if source in _EMBEDDED:
        return list_folder(_EMBEDDED[source](workdir.absolute()))
    path = Path(source).expanduser().absolute()
    if path.is_dir():
        return list_folder(path)
    if path.is_file() and path.suffix.lower() in _BY_SUFFIX:
        return _BY_SUFFIX[path.suffix.lower()](path)
    fault = "is neither a folder nor a CSV file" if path.exists() else "does not exist"
    raise no_source(source, fault)
