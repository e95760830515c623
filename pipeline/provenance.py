"""Where the code of a run came from."""

import subprocess
from pathlib import Path


def git_commit() -> str:
    """The commit of this source tree, with `-dirty` if it was changed since; "unknown" outside a repository."""
    root = Path(__file__).parent
    commit = _git(root, "rev-parse", "HEAD")
    if commit is None:
        return "unknown"
    return f"{commit}-dirty" if _git(root, "status", "--porcelain", "--untracked-files=no") else commit


def _git(root: Path, *words: str) -> str | None:
    try:
        done = subprocess.run(["git", "-C", str(root), *words], capture_output=True, text=True, check=False, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
