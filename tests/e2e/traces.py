"""Everything of one node that the machine holds, and what of it nothing agreed asks for."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from hivemind.client.client import Hivemind
from tests.e2e.eventually import eventually
from tests.e2e.leftovers import NAMESPACES, inside, mentions, netns_of

_CGROUPS = Path("/sys/fs/cgroup")
_RECORDS = (
    "d/oci/containers", "d/containerd/containers", "d/process/commands", "d/process/logs", "r/process/commands",
)  # fmt: skip
_DIRECTORIES = {
    "d/attempts/live/????????????": "attempt",
    "d/attempts/live/any-*/work/*": "file of an attempt",
    "d/scratch/*": "scratch",
    "d/volumes/local/volumes/*": "volume",
    "d/volumes/local/snapshots/*": "snapshot",
    "d/volumes/local/new/*": "half-made volume",
    "d/volumes/local/old/*": "half-erased volume",
    "d/volumes/backups/scratch/*": "half-made backup",
    "d/oci/exits/*": "untold exit",
    "r/volumes/*": "sub-path",
    "r/contents/*": "contents",
    "r/oci/secret/*": "secret variables",
    "r/oci/exec/*": "command",
    "r/oci/crun/*": "state of the OCI runtime",
    "r/network/netns/*": "pin",
    "r/network/isolated/*": "pin",
    "r/network/attachments/*": "attachment",
    "d/network/*/attachments/*": "attachment",
}
"""Places below the node's home where each entry belongs to an allocation, volume or snapshot."""
_STAGES = ("/mnt", "/media", "/srv", "/opt", "/home")
_BASE_CHAINS = {"protect", "incoming", "own", "source", "refuse", "asking", "answered"}


class Trace(NamedTuple):
    kind: str
    name: str
    owner: str = ""
    """The allocation it belongs to; empty when that cannot be told."""

    def __str__(self) -> str:
        return f"{self.kind} {self.name}" + (f" of {self.owner}" if self.owner else "")


class Traces:
    def __init__(self, home: Path, client: Hivemind) -> None:
        self._home = home
        self._client = client
        self._data, self._run = home / "d", home / "r"
        kept = ("network/netns", "network/isolated", "oci", "oci/ns", "oci/ns/mnt", "process", "contents")
        self._base = {self._run / place for place in kept}

    def must_be_clean(self) -> None:
        """Waits: namespaces and control groups go in the kernel's own time."""

        def look() -> bool:
            assert (found := self.leaks()) == [], found
            return True

        eventually(look, "the machine clean", 30)

    def leaks(self) -> list[str]:
        """What is there although no allocation needs it. An ended one keeps its record and log, nothing else."""
        known = self._client.allocations.list(None)
        live = {a.id for a in known if a.state not in ("complete", "failed", "stopped", "lost")}
        live |= {volume.id for volume in self._client.volumes.list(None)}  # they stay mounted
        live |= {snapshot.id for snapshot in self._client.snapshots.list(None)}
        records = live | {a.id for a in known}
        ports = {
            f"{p.protocol}/{p.host}" for app in self._client.apps.list(None) for p in app.spec.ports if p.host
        }
        return [
            str(trace)
            for trace in self.everything()
            if trace.owner not in (records if trace.kind == "record" else live)
            and not (trace.kind == "published port" and trace.name in ports)
        ]

    def everything(self) -> list[Trace]:
        return sorted(
            {*self._files(), *self._mounts(), *self.control_groups(), *self._processes(), *self._network()}
        )

    def _files(self) -> Iterator[Trace]:
        for place in _RECORDS:
            for path in _listed(self._home / place):
                yield Trace("record", path.name, _owner(path.name))
        for pattern, kind in _DIRECTORIES.items():
            for path in self._home.glob(pattern):
                yield Trace(kind, path.name, _owner(path.name))
        for device in _loop_devices():
            if self._home in (file := Path(device["back-file"] or "")).parents:
                yield Trace("loop device", device["name"], _owner(str(file)))

    def _mounts(self) -> Iterator[Trace]:
        """In the machine's table, and in that of the runtime's own mount namespace."""
        tables = [Path("/proc/self/mountinfo").read_text()]
        pin = self._run / "oci/ns/mnt"
        if os.path.exists(pin) and os.stat(pin).st_dev != os.stat(pin.parent).st_dev:
            show = ["nsenter", f"--mount={pin}", "cat", "/proc/self/mountinfo"]
            tables.append(subprocess.run(show, capture_output=True, text=True, check=True).stdout)
        for table in tables:
            for line in table.splitlines():
                point = Path(line.split()[4])
                if point.is_relative_to(self._home) and (point not in self._base or not self._home.exists()):
                    yield Trace("mount", str(point.relative_to(self._home)), _owner(str(point)))
        for point in self._staged():
            yield Trace("stage", point, _owner(point))

    def _staged(self) -> list[str]:
        """What stands where containers with users of their own are put together."""
        pin = self._run / "oci/ns/mnt"
        if not os.path.exists(pin) or os.stat(pin).st_dev == os.stat(pin.parent).st_dev:
            return []
        each = " ".join(f"{stage}/.hivemind" for stage in _STAGES)
        script = f'for m in {each}; do test -e "$m" && ls -d "${{m%/*}}"/*; done'
        show = ["nsenter", f"--mount={pin}", "sh", "-c", script]
        return subprocess.run(show, capture_output=True, text=True).stdout.split()

    def control_groups(self) -> Iterator[Trace]:
        for runtime in ("oci", "containerd", "process"):
            scope = "hivemind-" + hashlib.sha256(os.fsencode(self._data / runtime)).hexdigest()[:12]
            for parent in [*_CGROUPS.glob(f"*/{scope}"), *_CGROUPS.glob(scope)]:
                if not self._home.exists():
                    yield Trace("control group", str(parent))
                for group in _listed(parent):
                    if group.is_dir():
                        yield Trace("control group", str(group), _owner(group.name))

    def _processes(self) -> Iterator[Trace]:
        """Those that name the node in their command line, but for the daemon itself and what it keeps running."""
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                words = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if mentions(words, self._home) and b"--node-name" not in words:
                text = words.replace(b"\0", b" ").decode(errors="replace")
                if "drivers.runtimes.process" in text and self._home.exists():
                    continue  # The shim of the process runtime serves all of its commands.
                yield Trace("process", f"{entry.name}: {text[-160:]}", _owner(text))

    def _network(self) -> Iterator[Trace]:
        if not (NAMESPACES / netns_of(self._home)).exists():
            return
        owners: dict[str, str] = {}
        for path in _listed(self._run / "network/attachments"):
            record = json.loads(path.read_text())
            owners |= {record["link"]: path.stem, record["attachment"]["ip"]: path.stem}
        for link in self._json("ip", "-j", "link"):
            if link["ifname"] != "lo":
                yield Trace("link", link["ifname"], owners.get(link["ifname"], ""))
        for route in self._json("ip", "-j", "-4", "route", "show", "table", "main"):
            yield Trace("route", route["dst"], owners.get(route["dst"], ""))
        yield from self._rules(owners)

    def _rules(self, owners: dict[str, str]) -> Iterator[Trace]:
        node = [
            a["local"] for d in self._json("ip", "-j", "-4", "addr", "show", "lo") for a in d["addr_info"]
        ]
        subnet = node[-1].rsplit(".", 2)[0] + "."
        for item in self._json("nft", "-j", "list", "ruleset").get("nftables", []):
            if (chain := item.get("chain")) and chain["name"] not in _BASE_CHAINS:
                yield Trace("published port", chain["name"].replace("_", "/"))
            if elements := item.get("set", {}).get("elem") or item.get("map", {}).get("elem"):
                for address in _addresses(elements, subnet):
                    yield Trace("address in a set", address, owners.get(address, ""))
            rule = item.get("rule", {})
            if rule.get("chain") not in {*_BASE_CHAINS, None}:
                for address in _addresses(rule["expr"], subnet):
                    yield Trace("address in a rule", address, owners.get(address, ""))

    def _json(self, *words: str) -> Any:
        done = subprocess.run([*inside(self._home), *words], capture_output=True, text=True, check=True)
        return json.loads(done.stdout or "[]")


def _loop_devices() -> list[dict[str, str]]:
    done = subprocess.run(["losetup", "--list", "--json"], capture_output=True, text=True)
    return list(json.loads(done.stdout or "{}").get("loopdevices", []))


def _listed(directory: Path) -> list[Path]:
    return sorted(directory.iterdir()) if directory.is_dir() else []


_ALLOCATION = re.compile(r"(?:^|[/ ])([0-9a-z]{12})(?=[./ ]|$)")


def _owner(text: str) -> str:
    found = _ALLOCATION.search(text)
    return found[1] if found else ""


def _addresses(value: Any, subnet: str) -> set[str]:
    return {ip for ip in re.findall(r"\d+\.\d+\.\d+\.\d+", json.dumps(value)) if ip.startswith(subnet)}
