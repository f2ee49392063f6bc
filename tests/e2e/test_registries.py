"""A private registry behind TLS and a password: signed in once, right at every pull, and told to nobody."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import Hatch
from tests.e2e.daemon import Daemon
from tests.e2e.leftovers import inside
from tests.private_registry import Registry, running

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def node(hatch: Hatch) -> Daemon:
    daemon = hatch("--web-port", "3000", "--docker-config", "none")
    daemon.start()
    daemon.load("busybox")
    return daemon


@pytest.fixture
def registry(node: Daemon, tmp_path: Path) -> Iterator[Registry]:
    with running(tmp_path / "registry", secure=True, inside=inside(node.home)) as registry:
        yield registry


def ready(node: Daemon, app: str) -> bool:
    return node.client.apps.get(app).status.ready == 1


def test_signed_in_once_and_right_at_every_pull(node: Daemon, registry: Registry) -> None:
    name, ca = f"{registry.host}/team/bb:1", f"{registry.folder}/cert.pem"
    node.cli("image", "tag", "busybox:1", name)
    assert "does not let in anyone without an account" in node.cli("image", "push", name, code=3).err
    wrong = node.cli(
        "registry", "login", registry.host, "-u", "ann", "--ca-cert", ca, "--password-stdin",
        stdin="open sesame\n", code=3,
    )  # fmt: skip
    assert "does not let in the user 'ann'" in wrong.err
    assert "open sesame" not in wrong.err and node.cli("registry", "ls", "-o", "name").out == ""
    right = node.cli(
        "login", registry.host, "-u", "ann", "--ca-cert", ca, "--password-stdin", stdin="sesame\n"
    )
    assert right.out == f"{registry.host} signed in as ann\n"
    assert "pushed" in node.cli("image", "push", name).out
    node.cli("rmi", name)
    node.restart()
    # A replica that moves to a node without the image, next month: what was agreed is all it has.
    node.cli(
        "run",
        "-d",
        "--stop-grace-period",
        "0s",
        "--name",
        "private",
        "--pull",
        "always",
        name,
        "--",
        "sleep",
        "1000",
    )
    assert ready(node, "private")
    assert "sesame" not in node.cli("registry", "ls", "-o", "json").out
    for everything in ("describe", "get"):
        assert "sesame" not in node.cli(everything, "registry", registry.host).out
    assert "sesame" not in str(node.client.events())
    found = subprocess.run(["grep", "-rlaF", "sesame", node.data, node.log], capture_output=True, text=True)
    assert found.stdout == "", "a password lies somewhere unsealed"
    node.cli("rm", "-f", "private")
    node.cli("logout", registry.host)
    node.cli("pull", "--pull", "always", name, code=3)
    node.cli("rmi", name)


def test_docker_is_taken_over(node: Daemon, registry: Registry, tmp_path: Path) -> None:
    """What docker on this machine knows; what is wrong there is not kept."""
    config = tmp_path / "config.json"
    for password in ("wrong", "sesame"):
        known = {registry.host: {"username": "ann", "password": password}}
        config.write_text(json.dumps({"auths": known}))
        said = node.cli(
            "registry", "login", "--from-docker",
            env={"DOCKER_CONFIG": str(tmp_path)}, code=2 if password == "wrong" else 0,
        )  # fmt: skip
        assert ("was not taken over" in said.err) == (password == "wrong")
    [known] = json.loads(node.cli("registry", "ls", "-o", "json").out)["items"]
    assert (known["name"], known["username"], known["signed_in"]) == (registry.host, "ann", True)
    name = f"{registry.host}/docker/bb:1"
    node.cli("image", "tag", "busybox:1", name)
    node.cli("push", name)
    node.cli("logout", registry.host)
    node.cli("rmi", name)


def test_the_node_takes_images_from_other_tools(node: Daemon, tmp_path: Path) -> None:
    """skopeo brings one and takes it away again; what it brought runs, and is there only once."""
    archive = tmp_path / "bb.tar"
    node.cli("save", "-o", str(archive), "busybox:1")
    token = node.cli("token", "create", "builder", "--role", "operator").out.strip()
    skopeo = ["skopeo", "--insecure-policy", "copy"]
    where = "docker://127.0.0.1:3000/built/bb:2"
    node.command(
        *skopeo, "--dest-tls-verify=false", "--dest-creds", f"x:{token}", f"oci-archive:{archive}", where
    )
    items = json.loads(node.cli("images", "-o", "json").out)["items"]
    [image] = [i for i in items if "built/bb:2" in i["names"]]
    assert "busybox:1" in image["names"], "the same image, with one more name"
    node.cli(
        "run",
        "-d",
        "--stop-grace-period",
        "0s",
        "--name",
        "built",
        "--pull",
        "never",
        "built/bb:2",
        "--",
        "sleep",
        "1000",
    )
    assert ready(node, "built")
    refused = node.cli("rmi", "built/bb:2", code=5)
    assert "used by built" in refused.err
    out = tmp_path / "out.tar"
    node.command(
        *skopeo,
        "--src-tls-verify=false",
        "--src-creds",
        f"x:{token}",
        where,
        f"docker-archive:{out}:built/bb:3",
    )
    again = node.cli("image", "push", str(out)).out
    assert "built/bb:3 pushed" in again
    node.cli("rm", "-f", "built")
    assert "removed" in node.cli("image", "prune", "--all", "--force").out
    assert node.cli("image", "ls").out == ""
    node.cli("token", "rm", "builder")
