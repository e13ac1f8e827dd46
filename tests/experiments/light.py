"""The command `restoration` for notebooks that import the standard library alone, and what dask workers load for them.

Their kernels are forked from a process that has imported nothing of what the project's own notebooks import: that
takes the usual one ten seconds.
"""

import sys

from restoration_lib.__main__ import main
from restoration_lib.experiments import kernels

kernels.SERVER = ("-c", "from restoration_lib.warm_kernel import serve; serve()")

if __name__ == "__main__":
    sys.exit(main())
