"""A base path in S3 as a directory of this machine, which is all that model servers read."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.beside import beside
from pipeline.config import Config
from pipeline.progress import report
from pipeline.signing.trust import required_keys

_INTERVAL_S = 1.0


@contextmanager
def local_base(config: Config) -> Iterator[Path]:
    """The directory of `config.base`; where that is in S3, one that `slipway-sync` keeps as it is until the block ends.

    IntegrityError if a version that the config files there list for the model is not as it was sealed, or not signed
    where that is required; UnavailableError if S3 does not answer.
    """
    from serving.stores.local import local_path

    if not config.base_is_remote:
        yield local_path(config.base)
        return
    directory, keys = mirror_directory(config), required_keys(config)
    _mirror_once(config, directory, keys)
    places = (f"--from={config.base}", f"--to={directory}")
    asked = (f"--trusted-keys={keys}",) if keys else ()
    with beside("serving.sync", (*places, *asked, f"--interval={_INTERVAL_S}", "--port=0")):
        report(f"{config.base} is mirrored to {directory}")
        yield directory


def mirror_directory(config: Config) -> Path:
    """Where a base path in S3 is mirrored to: below `workdir`, one directory a base path of one server."""
    from serving.stores.s3 import S3Store

    server = S3Store(config.base).server  # whoever names it: option, environment or profile
    place = hashlib.sha256(f"{server} {config.base.rstrip('/')}".encode()).hexdigest()[:12]
    return Path(config.workdir).absolute() / "mirror" / place


def _mirror_once(config: Config, directory: Path, trusted_keys: Path | None) -> None:
    """What is there now is here before a server starts."""
    from serving.model_config import all_listed
    from serving.stores import open_store
    from serving.sync.config_files import CONFIGS, Places, read
    from serving.sync.mirror import Mirror
    from slipway.errors import IntegrityError

    directory.mkdir(parents=True, exist_ok=True)
    places, remote = Places(config.base.rstrip("/"), str(directory)), open_store(config.base)
    turn = Mirror(remote, open_store(str(directory)), places, trusted_keys=trusted_keys).turn()
    listed = {each for file in CONFIGS for each in all_listed(read(remote, file), file)}
    served = [turn.refused[each] for each in sorted(listed & turn.refused.keys()) if each[0] == config.name]
    if served:
        raise IntegrityError(" ".join(served))
    for (name, version), reason in sorted(turn.refused.items()):
        report(f"{name} version {version} is not mirrored: {reason}")
    for text in turn.left:
        report(text)
