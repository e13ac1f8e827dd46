"""`python -m restoration_lib.restore IN... -o OUT`, the same as `restoration restore`."""

import argparse
import sys

from restoration_lib.restore.command import add_arguments, restore

if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m restoration_lib.restore", description=restore.__doc__)
    add_arguments(parser)
    sys.exit(restore(**vars(parser.parse_args())))
