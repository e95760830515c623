"""Where images come from: a row a kind of source, each a function that lists it. None of them opens an image."""

from collections.abc import Callable
from pathlib import Path

from pipeline.data.digits import write_digits
from pipeline.data.folder import list_folder
from pipeline.data.listing import Listing
from pipeline.data.manifest import list_manifest
from slipway.errors import InputError

_EMBEDDED: dict[str, Callable[[Path], Path]] = {"digits": write_digits}
"""Name -> a function that writes the images below a working directory, a folder per class, and returns that folder."""

_BY_SUFFIX: dict[str, Callable[[Path], Listing]] = {".csv": list_manifest}


def list_source(source: str, workdir: Path) -> Listing:
    """List the images of `source`: a row above, or a folder. Raises InputError if it is neither."""
    if source in _EMBEDDED:
        return list_folder(_EMBEDDED[source](workdir.absolute()))
    path = Path(source).expanduser().absolute()
    if path.is_dir():
        return list_folder(path)
    if path.is_file() and path.suffix.lower() in _BY_SUFFIX:
        return _BY_SUFFIX[path.suffix.lower()](path)
    fault = "is neither a folder nor a CSV file" if path.exists() else "does not exist"
    raise InputError(
        f"data.source: {source!r} {fault}; expected 'digits', a folder with a subfolder per class, or a CSV file with "
        "the columns path,label. Edit it or pass --data."
    )
