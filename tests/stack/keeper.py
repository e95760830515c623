"""A stack for as long as standard input is open: `python -m tests.stack.keeper FOLDER`.

A test session that is killed closes it as well, so that none is left behind.
"""

import sys
from pathlib import Path

from deploy.stack.stack import Stack


def main():
    stack = Stack(Path(sys.argv[1]), forgetful=True)
    try:
        stack.up(lambda text: print(text, file=sys.stderr, flush=True))  # noqa: T201
        print("up", flush=True)  # noqa: T201 - whoever waits for it reads this
        sys.stdin.read()
    finally:
        stack.down(lambda _text: None)
        stack.remove()


if __name__ == "__main__":
    main()
