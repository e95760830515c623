"""Each peer in an environment of its own, made by uv, kept between runs."""

import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

_TENSORFLOW = "tensorflow-cpu==2.21.*"
_INSIDE = (_TENSORFLOW, "openvino==2026.4.*", "pillow")  # what apps/engine.py runs
REQUIREMENTS: dict[str, tuple[str, ...]] = {
    # MLServer 1.7.1 and its workers start with what uvloop 0.22 and 0.23 took away
    "mlserver": ("mlserver==1.7.1", "mlserver-mlflow==1.7.1", "uvloop<0.22", "mlflow==3.17.2", *_INSIDE),
    "kserve": ("kserve==0.21.0", *_INSIDE),
    "bentoml": ("bentoml==1.4.39", *_INSIDE),
    "ray": ("ray[serve]==2.60.0", *_INSIDE),
    "litserve": ("litserve==0.2.19", *_INSIDE),
    "aws": ("awscli==1.46.3",),
}
_MARK = "installed"
_SHOWN = re.compile(
    r"^(mlserver|mlserver-mlflow|mlflow|awscli|kserve|bentoml|ray|litserve|tensorflow-cpu|keras|openvino)=="
)
_LAST_LINES = 15


class InstallError(Exception):
    """A peer that does not install; the text is the end of what its installer said."""


@dataclass(frozen=True)
class Environment:
    """A peer's environment: its folder, and the versions of what matters in it."""

    directory: Path
    versions: tuple[str, ...]

    @property
    def bin(self) -> Path:
        """Its programs."""
        return self.directory / "bin"


def own_environment() -> Environment:
    """The environment that this process runs in."""
    return Environment(Path(sys.prefix), _versions(Path(sys.prefix)))


def install(name: str, folder: Path) -> Environment:
    """The environment of a peer, below `folder`; made if it is not there. InstallError with the installer's output."""
    directory = folder / name
    wanted = "\n".join(REQUIREMENTS[name])
    mark = directory / _MARK
    if not mark.exists() or mark.read_text(encoding="utf-8") != wanted:
        shutil.rmtree(directory, ignore_errors=True)
        _uv("venv", "--quiet", "--python", sys.executable, str(directory))
        _uv("pip", "install", "--quiet", "--python", str(directory / "bin" / "python"), *REQUIREMENTS[name])
        mark.write_text(wanted, encoding="utf-8")
    return Environment(directory, _versions(directory))


def _versions(directory: Path) -> tuple[str, ...]:
    frozen = _uv("pip", "freeze", "--python", str(directory / "bin" / "python")).splitlines()
    return tuple(line for line in frozen if _SHOWN.match(line))


def _uv(*arguments: str) -> str:
    uv = Path(sys.executable).parent / "uv"
    done = subprocess.run([str(uv), *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        lines = done.stderr.strip().splitlines()[-_LAST_LINES:]
        raise InstallError("\n".join([f"uv {arguments[0]} ended with {done.returncode}:", *lines]))
    return done.stdout
