"""A directory that somebody inside a container changes while a tool of the system walks through it.

cp(1) goes by names, so whoever exchanges a directory for a link at the right moment would lead it out of the volume,
to files of the node. Seen through a mount of its own on which the kernel follows no link, there is no way out.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hivemind.drivers.runtimes.oci import kernel
from hivemind.errors import Unsupported


@contextmanager
def unfollowed(directory: Path) -> Iterator[Path]:
    """Where `directory` shows, for this process and its children, with every link told as a link and never followed.

    Raises `Unsupported` on kernels before 5.14. Without root nothing is shown otherwise: then whoever could exchange
    something is the daemon's own user."""
    if os.geteuid() != 0:
        yield directory
        return
    tree = kernel.clone_tree(str(directory), recursive=False)
    try:
        try:
            kernel.follow_no_links(tree)
        except OSError as error:
            if error.errno not in (errno.ENOSYS, errno.EINVAL):
                raise
            raise Unsupported(
                "this kernel cannot keep a volume's links from being followed while its files are copied",
                hint="Linux 5.14 can; or give the volume a size: then its disk is copied as a whole",
            ) from error
        yield Path(f"/proc/{os.getpid()}/fd/{tree}")
    finally:
        os.close(tree)
