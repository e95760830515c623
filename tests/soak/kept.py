"""What a soak has done, kept in a file, so that one that was stopped goes on."""

import json
import os
from dataclasses import dataclass
from pathlib import Path

from slipway.files import write_atomically


def soak_folder(name, tmp_path_factory):
    """Where a soak keeps what it has done: below SLIPWAY_SOAK_FOLDER, or else a folder of this run alone."""
    kept = os.environ.get("SLIPWAY_SOAK_FOLDER")
    folder = Path(kept).absolute() / name if kept else tmp_path_factory.mktemp(name)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@dataclass
class Kills:
    """What was killed, and what was there after it; kept in a file."""

    file: Path

    def __post_init__(self):
        state = json.loads(self.file.read_text()) if self.file.exists() else {}
        self.done = state.get("done", {})
        self.finished = state.get("finished", False)  # every call has had its kill

    def record(self, kill, left):
        self.done[kill] = left
        print(f"{len(self.done):4}  {kill:<28}  {left}")  # noqa: T201 - the table is what a soak is for
        self.save()

    def save(self):
        write_atomically(self.file, json.dumps({"done": self.done, "finished": self.finished}, indent=1).encode())
