"""The steps that close a difference: what each does is in `apply`, when it is wanted in `plan`."""

from dataclasses import dataclass

from registry.intent import Seen
from registry.ledger import CHAMPION
from serving.model_config import Listed, Wanted


@dataclass(frozen=True)
class Publish:
    """Have the version in the base path, every byte of it as it was registered."""

    version: int
    role: str  # champion or challenger

    @property
    def text(self) -> str:
        return f"publish version {self.version}"


@dataclass(frozen=True)
class Configure:
    """Write both config files, if they still say `before`."""

    wanted: Wanted
    before: tuple[Listed, Listed]
    goes_live: bool = False  # the champion changes: only while the registry still wants it

    @property
    def text(self) -> str:
        wanted = self.wanted
        parts = [
            f"{role} {version}"
            for role, version in (
                ("live", wanted.champion),
                ("previous", wanted.previous),
                ("candidate", wanted.candidate),
                ("canary" if wanted.canary else "challenger", wanted.challenger),
            )
            if version is not None
        ]
        return f"write the config files: {', '.join(parts) or 'the model is not served'}"


@dataclass(frozen=True)
class Load:
    """Wait until servers have loaded the version beside what is live."""

    version: int
    role: str  # champion or challenger

    @property
    def text(self) -> str:
        return f"wait until version {self.version} is AVAILABLE"


@dataclass(frozen=True)
class Ask:
    """Ask the version its golden requests."""

    version: int
    role: str  # champion or challenger

    @property
    def text(self) -> str:
        return f"ask version {self.version} its golden requests"


@dataclass(frozen=True)
class AwaitLive:
    """Wait until servers answer from the version."""

    version: int

    @property
    def text(self) -> str:
        return f"wait until version {self.version} answers"


@dataclass(frozen=True)
class Record:
    """Make the registry and the ledger say that the version is live, or that it is the canary."""

    version: int
    role: str  # champion or challenger
    former: int | None  # what was live before

    @property
    def text(self) -> str:
        return f"record that version {self.version} is {'live' if self.role == CHAMPION else 'the canary'}"


@dataclass(frozen=True)
class Retire:
    """Say on the versions that they are served no more. champion: the one that was live, if the model is retired."""

    versions: frozenset[int]
    champion: int | None = None

    @property
    def text(self) -> str:
        return f"retire version{'s' * (len(self.versions) > 1)} {', '.join(map(str, sorted(self.versions)))}"


@dataclass(frozen=True)
class Withdraw:
    """Take both alias and stage away, one of which was taken: else the other would name the version again."""

    version: int
    role: str

    @property
    def text(self) -> str:
        return f"take alias and stage of the {self.role} from version {self.version}"


@dataclass(frozen=True)
class Save:
    """Keep what was acted on, so that the next pass finds what moves after this."""

    seen: Seen

    @property
    def text(self) -> str:
        return "remember this pass"


Step = Publish | Configure | Load | Ask | AwaitLive | Record | Retire | Withdraw | Save
