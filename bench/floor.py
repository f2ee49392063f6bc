"""The floor: nothing but the container runtime, a root file system and a wire for each container.

`python -m bench.floor COUNT DIRECTORY` runs in an enclosure of its own: overlay mount, network namespace with a
veth and an address, and `crun run -d` with the configuration that `crun spec` writes, four at a time. No image
store, no supervisor, no log, no exit code, nothing durable: what nobody who starts containers can do without.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from bench import image
from bench.enclosure import Enclosure
from bench.home import CGROUP, CLONE
from hivemind.drivers.network import netns, wiring
from hivemind.drivers.network.netlink import Netlink
from hivemind.drivers.runtimes.oci import kernel

_WORKERS = 4
_NODE = IPv4Address("10.199.255.254")
_UNIFIED = "/sys/fs/cgroup/unified"


def floor(home: Path, count: int) -> tuple[float, float]:
    """Seconds for so many containers up, and down again."""
    with Enclosure() as enclosure:
        environment = {**os.environ, "PYTHONPATH": f"{CLONE}/src:{CLONE}"}
        said = enclosure.run(sys.executable, "-m", "bench.floor", str(count), str(home), env=environment)
    up, down = json.loads(said)
    return up, down


class Floor:
    def __init__(self, home: Path) -> None:
        self._home = home
        self._lower = image.unpack(home / "rootfs")
        if os.path.ismount(_UNIFIED):
            kernel.umount(_UNIFIED)  # crun cannot use the hybrid layout as it is.
        self._config = self._specification()
        netns.prepare(home / "netns")
        subprocess.run(["ip", "address", "add", f"{_NODE}/32", "dev", "lo"], check=True)

    def _specification(self) -> dict[str, Any]:
        subprocess.run(["crun", "spec"], cwd=self._home, check=True)
        config: dict[str, Any] = json.loads((self._home / "config.json").read_text())
        config["process"]["terminal"] = False
        config["process"]["args"] = list(image.COMMAND)
        config["root"]["readonly"] = False
        return config

    def up(self, number: int) -> None:
        bundle = self._home / f"c{number}"
        for name in ("rootfs", "upper", "work"):
            (bundle / name).mkdir(parents=True)
        layers = f"lowerdir={self._lower},upperdir={bundle}/upper,workdir={bundle}/work"
        kernel.mount("overlay", str(bundle / "rootfs"), "overlay", 0, layers)
        pin = self._home / "netns" / str(number)
        address = IPv4Address("10.199.0.1") + number
        netlink = Netlink()
        wiring.connect(netlink, pin, f"bf{number}", address=address, node=_NODE, mtu=1500)
        netlink.close()
        spaces = [s for s in self._config["linux"]["namespaces"] if s["type"] != "network"]
        linux = self._config["linux"] | {
            "namespaces": [*spaces, {"type": "network", "path": str(pin)}],
            "cgroupsPath": f"/{CGROUP}/floor-{number}",
        }
        (bundle / "config.json").write_text(json.dumps(self._config | {"linux": linux}))
        self._crun("run", "-d", "-b", str(bundle), f"bf{number}")

    def down(self, number: int) -> None:
        self._crun("delete", "-f", f"bf{number}")
        kernel.umount(str(self._home / f"c{number}" / "rootfs"))
        netns.delete(self._home / "netns" / str(number))

    def _crun(self, *arguments: str) -> None:
        quiet = subprocess.DEVNULL
        log = self._home / "crun.log"
        command = ["crun", "--root", "/run/floor", "--log", str(log), *arguments]
        if subprocess.run(command, stdin=quiet, stdout=quiet, stderr=quiet).returncode:
            raise RuntimeError(f"crun {arguments[0]}: {log.read_text()[-2000:]}")


def _timed(one: Callable[[int], None], count: int) -> float:
    begin = time.perf_counter()
    with ThreadPoolExecutor(_WORKERS) as pool:
        list(pool.map(one, range(count)))
    return time.perf_counter() - begin


def main() -> None:
    count, home = int(sys.argv[1]), Path(sys.argv[2])
    home.mkdir()
    bare = Floor(home)
    print(json.dumps([_timed(bare.up, count), _timed(bare.down, count)]))


if __name__ == "__main__":
    main()
