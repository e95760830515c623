"""What a container file installs, without docker: its locked files in an empty environment, its folders beside it."""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.images.containerfile import read

ROOT = Path(__file__).parents[2]
_UV = Path(sys.prefix) / "bin" / "uv"


@dataclass(frozen=True)
class Installed:
    """python: of the environment. sources: where what is copied into the image lies."""

    directory: Path
    sources: Path

    @property
    def python(self) -> str:
        return str(self.directory / "bin" / "python")

    def size_mb(self) -> float:
        """Of its files, each counted once, in MB; without bytecode, which only the image has."""
        files = {(entry.st_dev, entry.st_ino): entry.st_size for entry in map(os.lstat, self._files())}
        return sum(files.values()) / 1e6

    def packages(self) -> list[str]:
        return _run("pip", "list", "--quiet", "--format=freeze", "--python", self.python).splitlines()

    def shared_libraries(self) -> list[Path]:
        return [path for path in self._files() if ".so" in path.name and not path.is_symlink()]

    def _files(self) -> list[Path]:
        return [path for path in self.directory.rglob("*") if path.is_symlink() or path.is_file()]


def install(name: str, folder: Path) -> Installed:
    """The environment of deploy/NAME.Dockerfile below `folder`."""
    image = read(name)
    installed = Installed(folder / "environment", folder / "slipway")
    _run("venv", "--quiet", "--python", sys.executable, str(installed.directory))
    locked = [f"--requirements={ROOT / path}" for path in image.environment_requirements()]
    _run("pip", "install", "--quiet", "--python", installed.python, "--no-deps", "--require-hashes", *locked)
    for path in image.final_copies():
        shutil.copytree(ROOT / path, installed.sources / path, ignore=shutil.ignore_patterns("__pycache__"))
    return installed


def _run(*arguments: str) -> str:
    done = subprocess.run([_UV, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout
