"""The machine that a measurement was made on, in one line."""

import os
import platform
from importlib.metadata import version
from pathlib import Path


def machine() -> str:
    """Processor, cores, memory, Python and TensorFlow."""
    cpuinfo = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    names = [line.partition(":")[2].strip() for line in cpuinfo.splitlines() if line.startswith("model name")]
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"{names[0] if names else platform.machine()}, {os.cpu_count()} cores, {memory_gib:.0f} GiB, "
        f"{platform.system()} {platform.release().partition('-')[0]}, Python {platform.python_version()}, "
        f"TensorFlow {version('tensorflow-cpu')}, Keras {version('keras')}"
    )


def load() -> str:
    """How busy the machine was: its load averages of 1, 5 and 15 minutes."""
    return ", ".join(f"{average:.2f}" for average in os.getloadavg())
