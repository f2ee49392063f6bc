"""What of a mount table matters to binds."""

from __future__ import annotations

from hivemind.drivers.runtimes.oci.treecopy import namespace_pins

TABLE = rb"""22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/root rw
23 22 0:4 net:[4026532001] /run/netns/x rw - nsfs nsfs rw
24 22 0:4 mnt:[4026532002] /run/a\040b/mnt rw - nsfs nsfs rw
25 22 0:5 / /tmp/mnt:[1] rw - tmpfs tmpfs rw
"""


def test_pins_of_mount_namespaces_and_no_others() -> None:
    assert list(namespace_pins(TABLE.splitlines())) == ["/run/a b/mnt"]
