"""What a process and those that it started take together: processor time and memory, as Linux counts them."""

from __future__ import annotations

import os
import resource
import subprocess
import time
from contextlib import suppress
from pathlib import Path

_LOOKS_S = 0.05


def family(pid: int) -> list[int]:
    """A process and its descendants that live now."""
    found = [pid]
    for parent in found:
        with suppress(OSError):
            for task in Path(f"/proc/{parent}/task").iterdir():
                found += map(int, (task / "children").read_text("ascii").split())
    return found


def family_cpu_s() -> float:
    """Processor time of this process and of all that it started, ended or not."""
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    living = family(os.getpid())[1:]
    return sum(each.ru_utime + each.ru_stime for each in used) + sum(map(_cpu_s, living))


def _cpu_s(pid: int) -> float:
    with suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return 0.0


class Peak:
    """Watches a process until it ends: ``mib`` is the sum of the most that each member of its family has had.

    Rather too much than too little: memory that they share counts for each.
    """

    mib = 0.0

    def __call__(self, process: subprocess.Popen[str]) -> None:
        """Looks at it again and again."""
        while process.poll() is None:
            self.mib = max(self.mib, sum(map(_peak_mib, family(process.pid))))
            time.sleep(_LOOKS_S)


def _peak_mib(pid: int) -> float:
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text("utf-8").splitlines():
            if line.startswith("VmHWM"):
                return int(line.split()[1]) / 1024
    return 0.0
