"""Kernels of runs, started warm: forked from a process that has imported what notebooks import and computed nothing.

To import torch, its optimisers, scikit-image, pandas and matplotlib takes a notebook ten seconds; a fork takes none of
them. What forks is `restoration_lib.warm_kernel`, which ends with the process that started it. A forked kernel is
like any other: a session and a process group of its own, the environment and number of threads of its run. Only Linux
forks safely with torch imported; elsewhere kernels start as they always do, and give the same results.
"""

import asyncio
import functools
import json
import math
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from jupyter_client import AsyncKernelManager
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.provisioning import LocalProvisioner
from traitlets import default

from restoration_lib.experiments.claims import lives

FORKS = sys.platform == "linux"
SERVER = ("-m", "restoration_lib.warm_kernel")  # the program that forks kernels, as arguments of the interpreter

_starting, _asking = threading.Lock(), threading.Lock()
_runs: dict[Path, "Stoppable"] = {}  # those under way in this process, by their folders


class RunStopped(RuntimeError):
    """A run whose kernel was killed on purpose; the message says why."""


@dataclass
class Stoppable:
    """A run under way: its kernel, once it has one, and why it was stopped, if it was."""

    process: "subprocess.Popen | ForkedKernel | None" = None
    reason: str = ""

    def stop(self, reason: str) -> None:
        """Kill the kernel, and what it has started."""
        self.reason = self.reason or reason
        if self.process is None or self.process.poll() is not None:
            return
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except (AttributeError, OSError):  # no groups on this system, or not one of its own yet
            self.process.kill()


@contextmanager
def stoppable(run_folder: Path, time_limit: float = math.inf) -> Iterator[None]:
    """While the block runs a notebook in this folder, `stop_below` and, after so many seconds, its time limit end it.

    Raises:
        RunStopped: one of them did, in the place of what the death of the kernel raised.
    """
    run = _runs[run_folder] = Stoppable()
    timer = threading.Timer(time_limit, run.stop, [f"not complete after {time_limit / 60:.3g} minutes, its time limit"])
    timer.daemon = True
    if time_limit < math.inf:
        timer.start()
    try:
        yield
    except Exception:
        if run.reason:
            raise RunStopped(run.reason) from None
        raise
    finally:
        timer.cancel()
        del _runs[run_folder]


def stop_below(folders: Iterable[Path]) -> None:
    """Kill the kernels of this process's runs below any of these folders; a run without a kernel gets none."""
    for run_folder, run in list(_runs.items()):
        if set(run_folder.parents) & set(folders):
            run.stop("stopped")


def environment(threads: int) -> dict[str, str]:
    """The environment variables of a run that may use so many CPU threads."""
    return {
        **os.environ,
        **dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(threads)),
        "TQDM_DISABLE": "1",
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",
        # glibc: keep freed memory. To give it back and fault it in anew at each step takes a fifth of the time.
        "MALLOC_MMAP_MAX_": "0",
        "MALLOC_TRIM_THRESHOLD_": "8000000000",
    }


def warm_up(threads: int) -> None:
    """Have everything imported that runs need: in this process papermill, and in one that forks kernels the rest.

    Raises:
        RuntimeError: that one has died.
    """
    server = server_of(threads) if FORKS else None  # it imports while this process does, too
    _import_papermill()
    if server:
        ask(server, None)


def _import_papermill() -> None:
    """Import papermill in half of the time: its jsonschema builds 39 grammars of addresses at once, where it finds the
    package rfc3987_syntax, and no notebook is checked by them."""
    known = sys.modules.get("rfc3987_syntax")
    sys.modules["rfc3987_syntax"] = known  # None: as if it were not installed
    import papermill  # noqa: F401

    if known is None:
        sys.modules.pop("rfc3987_syntax", None)  # another thread may have done so


def server_of(threads: int) -> subprocess.Popen:
    """The process that forks kernels of so many CPU threads."""
    with _starting:  # two runs begin at the same moment
        return _start_server(threads, SERVER)


@functools.cache
def _start_server(threads: int, program: tuple[str, ...]) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, *program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment(threads),  # what libraries read when they are loaded, such as the size of a thread pool
        start_new_session=True,  # Ctrl-C is for this process
    )


class RunKernelManager(AsyncKernelManager):
    """Starts the kernel of a run, of this interpreter, whatever `python3` kernel the user has registered elsewhere."""

    run_folder: Path
    working_directory: Path
    threads: int

    @default("kernel_spec_manager")
    def _no_registered_kernels(self):
        return KernelSpecManager(kernel_dirs=[])  # what is left is ipykernel's own: sys.executable

    async def start_kernel(self, **options) -> None:
        if FORKS and self.provisioner is None:
            self.kernel_id = str(uuid.uuid4())
            self.provisioner = ForkingProvisioner(kernel_id=self.kernel_id, kernel_spec=self.kernel_spec, parent=self)
        options |= {"env": environment(self.threads), "cwd": str(self.working_directory)}
        await super().start_kernel(**options)
        run = _runs[self.run_folder]
        run.process = self.provisioner.process
        if run.reason:  # stopped while it had no kernel yet
            run.stop(run.reason)


def manager_of(run_folder: Path, working_directory: Path, threads: int) -> type[RunKernelManager]:
    """The class for papermill's `kernel_manager_class` that starts the kernel of one run."""
    facts = {"run_folder": run_folder, "working_directory": working_directory, "threads": threads}
    return type("KernelManagerOfOneRun", (RunKernelManager,), facts)


class ForkingProvisioner(LocalProvisioner):
    """Has a kernel forked where `LocalProvisioner` starts an interpreter."""

    async def launch_kernel(self, cmd: list[str], **options) -> dict:
        arguments = cmd[cmd.index("ipykernel_launcher") + 1 :]
        request = {"arguments": arguments, "environment": options["env"], "folder": options["cwd"]}
        self.process = ForkedKernel(ask(server_of(self.parent.threads), request))
        self.pid = self.pgid = self.process.pid
        self.cwd = options["cwd"]
        await self._listens()
        return self.connection_info

    async def _listens(self) -> None:
        """Wait until the kernel has opened its sockets, or died.

        A client that asks earlier loses the first messages, and takes three seconds to find out.
        """
        while self.process.poll() is None:
            try:
                _, writer = await asyncio.open_connection(self.parent.ip, self.parent.hb_port)
            except OSError:
                await asyncio.sleep(0.02)
            else:
                writer.close()
                return


def ask(server: subprocess.Popen, request: dict | None) -> int:
    """Have the server fork a kernel, and return its process number; without a request 0, once it can.

    Raises:
        RuntimeError: the server has died.
    """
    with _asking:
        try:
            server.stdin.write(json.dumps(request) + "\n")
            server.stdin.flush()
            return int(server.stdout.readline())
        except (OSError, ValueError):
            _start_server.cache_clear()  # the next run has a new one
            raise RuntimeError(f"the process that starts kernels has died, exit status {server.wait()}") from None


class ForkedKernel:
    """A kernel that another process has forked and will reap, with the methods of a `subprocess.Popen`."""

    stdin = stdout = stderr = None
    returncode = None

    def __init__(self, pid: int):
        self.pid = pid

    def poll(self) -> int | None:
        """None while it lives; how it ended only its parent knows, so 1 stands for any end."""
        if self.returncode is None and not lives(self.pid):
            self.returncode = 1
        return self.returncode

    def wait(self) -> int:
        while self.poll() is None:
            time.sleep(0.02)
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)
