"""What a node that does nothing must not have imported: each costs memory for as long as the daemon lives."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]

NOT_WHILE_IDLE = (
    "uvicorn click multiprocessing pickle configparser logging.config anyio._backends "
    "wsproto h11 tarfile gzip zstandard yaml argparse "
    "hivemind.cli.parsing hivemind.client hivemind.api.openapi hivemind.api.websocket "
    "hivemind.agent.checks.grpc hivemind.agent.provision.volume_files "
    "hivemind.drivers.images.archive hivemind.drivers.images.connection hivemind.drivers.images.export "
    "hivemind.drivers.images.plain hivemind.drivers.images.registry hivemind.drivers.images.unpack "
    "hivemind.drivers.network.docker hivemind.drivers.runtimes.containerd hivemind.drivers.runtimes.docker "
    "hivemind.drivers.runtimes.fake hivemind.drivers.runtimes.files hivemind.drivers.runtimes.oci.attach "
    "hivemind.drivers.runtimes.oci.changes hivemind.drivers.runtimes.oci.exec "
    "hivemind.drivers.runtimes.oci.terminal hivemind.drivers.runtimes.process.execution "
    "hivemind.drivers.volumes.restic hivemind.telemetry.metrics"
)
"""Terminals, archives, backups, checks by gRPC, other engines: all come with whoever asks for them first."""

_NODE = """
import asyncio, sys
from hivemind.daemon.main import destroy
from hivemind.daemon.node import Node
from hivemind.daemon.runtimes import assembler
from hivemind.daemon.settings import ApiSettings, NetworkSettings, NodeSettings, Settings
import hivemind.drivers.network.isolated, hivemind.drivers.network.routed

assembler("oci")  # as a node with containers, though this one need not be root
place = sys.argv[1]
settings = Settings(
    node=NodeSettings(data_dir=place + "/data", run_dir=place + "/run", runtime="process"),
    api=ApiSettings(web_port=0), network=NetworkSettings(dns_port=0),
)

async def idle():
    node = Node(settings)
    await node.start()
    print(*set(sys.argv[2].split()) & set(sys.modules))
    await node.stop()

asyncio.run(idle())
destroy(settings)
"""


def test_an_idle_node_has_imported_nothing_that_only_some_need(tmp_path: Path) -> None:
    apart = ["unshare", "--mount"] if os.geteuid() == 0 else []  # what it mounts goes when it does
    done = subprocess.run(
        [*apart, sys.executable, "-c", _NODE, str(tmp_path), NOT_WHILE_IDLE],
        env={"PYTHONPATH": str(ROOT / "src"), "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
        text=True,
        capture_output=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []
