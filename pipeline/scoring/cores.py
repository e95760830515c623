"""How many cores this process may use: those of its affinity, and no more than its control group is given."""

import math
import os
from pathlib import Path

_CPU_MAX = Path("/sys/fs/cgroup/cpu.max")  # as a container sees its own group


def usable_cores(cpu_max: Path = _CPU_MAX) -> int:
    """One at least; a share of a core counts as a whole one."""
    cores = len(os.sched_getaffinity(0))
    try:
        quota, period = cpu_max.read_text(encoding="ascii").split()
        limit = math.ceil(int(quota) / int(period))
    except (OSError, ValueError):  # "max": there is no limit
        return cores
    return max(1, min(cores, limit))
