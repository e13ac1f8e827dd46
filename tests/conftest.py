"""What tests of several folders share."""

import matplotlib

matplotlib.use("Agg")
