"""Become the command that follows, on a leash: on Linux the kernel ends it when the process that started it dies.

Run by its path, as `python leash.py PARENT_PID COMMAND ...`. It is a program rather than a `preexec_fn`: code between
fork and exec may deadlock in a process with threads, and every process with TensorFlow or gRPC has some.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Replace this process by the command."""
    parent, *command = sys.argv[1:]
    if sys.platform == "linux":
        # SIGTERM, not SIGKILL: docker's client passes it on to its container, and MLflow's to its scoring server.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != int(parent):
        sys.exit("the process that started this server ended before it")
    try:
        os.execvp(command[0], command)  # noqa: S606 - no shell is the point # nosec B606
    except OSError as error:
        sys.exit(f"{command[0]}: {error.strerror}; expected a program that can be started")


if __name__ == "__main__":
    main()
