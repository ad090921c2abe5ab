"""Compiled code on disk that no longer fits its source.

Numba keeps a kernel until the file of that very function changes. One that calls functions of other files lives on
after a change of those, and gives the old results. So a package of kernels asks here, once, when it is imported.
"""

import hashlib
from collections.abc import Callable
from pathlib import Path

STAMP = "groundup_kernels.txt"


def discard_stale_kernels(package: Path, kernel: Callable) -> None:
    """Delete the compiled kernels of a package's modules if any of its sources has changed since they were made.

    `kernel` is any cached function of the package; it knows the folder.
    """
    folder = Path(kernel.stats.cache_path)  # pyright: ignore[reportFunctionMemberAccess]
    modules = sorted(package.glob("*.py"))
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in modules)).hexdigest()
    stamp = folder / STAMP
    if not folder.is_dir() or (stamp.exists() and stamp.read_text() == digest):
        return
    for path in modules:
        for kind in ("nbi", "nbc"):
            for stale in folder.glob(f"{path.stem}.*.{kind}"):
                stale.unlink(missing_ok=True)
    stamp.write_text(digest)
