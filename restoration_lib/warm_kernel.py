"""`python -m restoration_lib.warm_kernel`: forks kernels that have imported already what notebooks import.

Each line of standard input is JSON: an object asks for a kernel, and its process number is the answer; to `null` the
answer is 0, once everything is imported. This process ends when its input does, so with whoever has started it, and
its kernels end with it. It computes nothing but a chart: once threads of OpenMP have run in a process, it must not be
forked.
"""

import gc
import importlib
import json
import os
import pkgutil
import signal
import sys

from ipykernel.kernelapp import IPKernelApp
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

import restoration_lib

LIBRARIES = ("ipywidgets", "torch._dynamo", "torchvision.datasets", "torchvision.transforms.v2", "skimage.restoration")
KERNEL = ("ipykernel.debugger", "IPython.core.completerlib")  # imported by a kernel that starts
PROGRAMS = ("restoration_lib.__main__", "restoration_lib.warm_kernel")


def preload() -> None:
    """Import the whole library, and what notebooks import beside it; torch imports its compiler with an optimiser."""
    own = (module.name for module in pkgutil.walk_packages(restoration_lib.__path__, "restoration_lib."))
    for name in (*LIBRARIES, *KERNEL, *own):
        if name not in PROGRAMS:
            importlib.import_module(name)
    draw_chart()
    gc.freeze()  # imported for good: a kernel that looked for garbage in it would copy most of its memory


def draw_chart() -> None:
    """Have matplotlib find its fonts and build its parser of formulas: a third of a process's first chart.

    By the figure alone: pyplot would choose a backend, which may be one with windows.
    """
    figure = Figure(layout="constrained")
    axis = figure.subplots()
    axis.semilogy([1, 2], label="loss")
    axis.legend()
    FigureCanvasAgg(figure).draw()


def serve() -> None:
    """Answer each line of standard input, until that ends."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the system reaps the kernels
    for line in sys.stdin:
        request, pid = json.loads(line), 0
        if request:
            pid = os.fork()
            if not pid:
                return become_kernel(**request)
        print(pid, flush=True)


def become_kernel(arguments: list[str], environment: dict[str, str], folder: str) -> None:
    """Find everything as a new interpreter would, and be a kernel until that is shut down.

    Args:
        arguments: of the command line of `ipykernel_launcher`.
        folder: to work in.
    """
    os.setsid()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    if torch := sys.modules.get("torch"):
        sys.modules["numpy"].random.seed()  # or all would draw the same
        torch.seed()
    if matplotlib := sys.modules.get("matplotlib"):  # it reads MPLBACKEND when it is imported
        matplotlib.rcParams["backend"] = "module://matplotlib_inline.backend_inline"
    IPKernelApp.launch_instance([*arguments, f"--IPKernelApp.parent_handle={os.getppid()}"])
    os._exit(0)  # to take torch apart takes seconds


if __name__ == "__main__":
    preload()
    serve()
    os._exit(0)
