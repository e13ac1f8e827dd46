"""How far a training is, in a file of its folder, for who watches from another process or machine."""

import json
import time
from pathlib import Path

FILE = "progress.json"
EVERY = 1.0  # seconds between two writings, at least


class Progress:
    """Writes `folder`/progress.json: steps done, of how many, and seconds a step since this process began.

    Args:
        start: steps that were done before.
    """

    def __init__(self, folder: Path, start: int, steps: int):
        self.path, self.start, self.steps = folder / FILE, start, steps
        self.begin = self.written = time.monotonic()

    def at(self, step: int) -> None:
        """Say that `step` steps are done; most calls write nothing."""
        now = time.monotonic()
        if now - self.written >= EVERY or step == self.steps:
            self.written = now
            seconds = (now - self.begin) / max(1, step - self.start)
            self.path.write_text(json.dumps({"step": step, "steps": self.steps, "seconds_a_step": seconds}))


def described(folder: Path) -> str:
    """How far the latest training below a run's folder is, in words: "step 120/300, 2 min left"."""
    found = sorted(folder.rglob(FILE), key=lambda path: path.stat().st_mtime)
    try:
        state = json.loads(found[-1].read_text())
        left = (state["steps"] - state["step"]) * state["seconds_a_step"]
    except (IndexError, OSError, ValueError):  # none yet, or in the middle of being written
        return "starts"
    if not left:
        return "measures"
    return f"step {state['step']}/{state['steps']}, {f'{left / 60:.0f} min' if left > 90 else f'{left:.0f} s'} left"
