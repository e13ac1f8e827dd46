"""Keep of trainings what ship.py needs: `python scripts/slim.py FOLDER TARGET`.

Of each training in a subfolder of FOLDER, TARGET receives the best networks, and the last checkpoint without what only
going on would need.
"""

import shutil
import sys
from pathlib import Path

import torch

from restoration_lib.training import BEST, LAST


def main(folder: str, target: str) -> None:
    Path(target).mkdir(parents=True, exist_ok=True)
    for last in sorted(Path(folder).glob(f"*/{LAST}")):
        slim = Path(target, last.parent.name)
        slim.mkdir(exist_ok=True)
        state = torch.load(last, map_location="cpu", weights_only=True)
        torch.save({key: state[key] for key in ("step", "steps", "history", "seconds", "device")}, slim / LAST)
        shutil.copy(last.with_name(BEST), slim / BEST)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
