"""Make the `*_pb2.py` and `*_pb2.pyi` modules of this package from its `*.proto` files."""

import subprocess
import sys
from pathlib import Path

import click

_WIRE = Path(__file__).parent


def generate(directory: Path) -> list[Path]:
    """Write `serving/wire/*_pb2.py` and their stubs below `directory`; return the files' paths, sorted.

    Needs grpcio-tools and mypy-protobuf, which are development requirements. Raises RuntimeError when protoc fails.
    """
    import grpc_tools  # type: ignore[import-untyped]

    root = _WIRE.parent.parent
    protos = sorted(str(path.relative_to(root)) for path in _WIRE.glob("*.proto"))
    arguments = [f"--proto_path={root}", f"--python_out={directory}", f"--mypy_out=quiet:{directory}"]
    well_known = Path(grpc_tools.__file__).parent / "_proto"
    plugin = Path(sys.executable).parent / "protoc-gen-mypy"
    options = [*arguments, f"--proto_path={well_known}", f"--plugin=protoc-gen-mypy={plugin}"]
    # A process of its own: beside TensorFlow, which has its own protobuf inside, protoc crashes.
    done = subprocess.run([sys.executable, "-m", "grpc_tools.protoc", *options, *protos], check=False)
    if done.returncode != 0:
        raise RuntimeError(f"protoc ended with {done.returncode}; its messages stand above.")
    return sorted((directory / "serving" / "wire").glob("*_pb2.py*"))


if __name__ == "__main__":
    for generated in generate(_WIRE.parent.parent):
        click.echo(generated)
