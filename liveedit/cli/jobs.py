"""Commands of ours that run beside each other, each in a process with its share of the cores and a file for what it says."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from liveedit.cli.options import progress

POLL_SECONDS = 0.2


def run_beside(commands: Mapping[str, Sequence[str]], at_once: int, logs: Path) -> dict[str, str]:
    """Run each of ``commands`` (the words behind ``python -m liveedit``), at most ``at_once`` at a time.

    What one says goes to ``logs``/NAME.log. Returns, by name, why those failed that did. When this is interrupted, so
    are they.
    """
    logs.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "OMP_NUM_THREADS": str(max(1, _cores() // at_once))}
    waiting, failed = dict(commands), dict[str, str]()
    running: dict[str, subprocess.Popen[bytes]] = {}
    try:
        while waiting or running:
            while waiting and len(running) < at_once:
                name = next(iter(waiting))
                log = logs / f"{name}.log"
                with log.open("wb") as file:
                    words = [sys.executable, "-m", "liveedit", *waiting.pop(name)]
                    running[name] = subprocess.Popen(
                        words, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT, env=environment
                    )
                progress(f"{name} has begun, and says in {log} how it goes")
            time.sleep(POLL_SECONDS)
            for name, process in list(running.items()):
                if process.poll() is None:
                    continue
                del running[name]
                if process.returncode:
                    failed[name] = _reason(logs / f"{name}.log", process.returncode)
                progress(f"{name} has {'failed' if process.returncode else 'finished'}, {len(waiting) + len(running)} to go")
    finally:
        for process in running.values():
            process.terminate()
        for process in running.values():
            process.wait()
    return failed


def _cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _reason(log: Path, code: int) -> str:
    """Why a command failed: the sentence in which it was refused, or the last line that it said."""
    said = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    refused = [line.removeprefix("error: ") for line in said if line.startswith("error: ")]
    return (refused or said or [f"exit code {code}"])[-1]
