"""Restore one's own photographs with the weights that come with the library."""

from restoration_lib.restore.photo import restore_photo
