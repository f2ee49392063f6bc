"""Files of a container whose root directory this machine can open: a tar out of it, a tar into it.

The root is a descriptor. Every path below it is opened relative to descriptors, so that no symbolic link, no `..`
and no directory that is swapped meanwhile leads out of it.
"""

from hivemind.drivers.runtimes.files.owners import SAME, Owners, owners_of
from hivemind.drivers.runtimes.files.pack import read_tar
from hivemind.drivers.runtimes.files.unpack import write_tar

__all__ = ["SAME", "Owners", "owners_of", "read_tar", "write_tar"]
