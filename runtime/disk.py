"""What a file system promises only when it is asked."""

import os
from pathlib import Path


def sync_folder(folder: Path) -> None:
    """Returns when the names in it are on the disk; a synced file may lose its name without. Blocking."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
