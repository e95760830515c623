"""A container file as far as our tests look into it."""

import json
import re
from dataclasses import dataclass
from pathlib import Path

DEPLOY = Path(__file__).parents[2] / "deploy"


@dataclass(frozen=True)
class Containerfile:
    """Its instructions in order, continued lines joined: ("RUN", "pip install ...")."""

    instructions: tuple[tuple[str, str], ...]

    def all(self, name: str) -> list[str]:
        return [words for instruction, words in self.instructions if instruction == name]

    def last(self, name: str) -> str:
        return self.all(name)[-1]

    def words(self, name: str) -> list[str]:
        """The last one of a kind in JSON's form, as ENTRYPOINT and CMD are written."""
        return json.loads(self.last(name))

    def environment_requirements(self) -> list[str]:
        """The locked files that the environment is installed from; uv itself stays in the stage that builds."""
        (installing,) = [words for words in self.all("RUN") if "uv venv" in words]
        after = installing.partition("uv venv")[2]
        assert "--require-hashes" in after
        assert "--no-deps" in after
        return [path.removeprefix("/") for path in re.findall(r"-r (\S+)", after)]

    def final_copies(self) -> list[str]:
        """What the last stage copies out of the context."""
        last_from = max(place for place, (name, _) in enumerate(self.instructions) if name == "FROM")
        copies = [words for name, words in self.instructions[last_from:] if name == "COPY"]
        return [word for words in copies if "--from=" not in words for word in words.split()[:-1]]


def read(name: str) -> Containerfile:
    """deploy/NAME.Dockerfile."""
    text = (DEPLOY / f"{name}.Dockerfile").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line and not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    parted = (line.partition(" ") for line in joined.splitlines())
    return Containerfile(tuple((name, words) for name, _, words in parted))
