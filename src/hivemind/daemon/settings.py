"""Every setting of the daemon: one frozen struct a room. Flags, environment, TOML keys and docs derive from here.

A field `web_port` of the section `api` is the flag `--web-port`, the variable HIVEMIND_WEB_PORT and the key
`web_port` under `[api]` in hivemind.toml. A flag beats the environment, which beats the file.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, inspect

from hivemind.errors import Invalid
from hivemind.model.base import Spec
from hivemind.model.quantity import Bytes, Cores, Seconds, read

DEFAULT_FILE = "/etc/hivemind/hivemind.toml"


def _about(text: str) -> Meta:
    return Meta(description=text)


class NodeSettings(Spec, frozen=True, kw_only=True):
    data_dir: Annotated[str, _about("where the node keeps everything; made when missing")] = ""
    run_dir: Annotated[str, _about("where sockets and namespaces are pinned until the next boot")] = ""
    node_name: Annotated[str, _about("name of this node; the machine's host name when empty")] = ""
    runtime: Annotated[
        Literal["auto", "oci", "containerd", "docker", "process"],
        _about("how containers run; auto takes oci where the machine can, else process"),
    ] = "auto"
    runtimes: Annotated[
        tuple[Literal["oci", "containerd", "docker", "process"], ...],
        _about("further runtimes that this node offers to apps that ask for them, as oci,containerd"),
    ] = ()
    cpus: Annotated[Cores, _about("CPU cores offered to allocations; 0: all of them")] = 0.0
    memory: Annotated[Bytes, _about("memory offered to allocations; 0: all but a tenth")] = 0
    container_users: Annotated[
        str,
        _about(
            "ids of this machine for users inside containers, as FIRST-LAST; off: they are the machine's own"
        ),
    ] = "1879048192-2147352575"
    labels: Annotated[dict[str, str], _about("labels for constraints, as key=value, several times")] = {}


class TaskSettings(Spec, frozen=True, kw_only=True):
    task_slots: Annotated[
        int,
        Meta(ge=0, le=100_000),
        _about("attempts of tasks that run here at a time; 0: four for each core, at least 16"),
    ] = 0
    executors: Annotated[
        tuple[Literal["hive", "slurm", "dask", "ray"], ...],
        _about("by what tasks may be run from here, as hive,slurm; one whose engine is missing here fails"),
    ] = ("hive", "slurm", "dask", "ray")
    artifact_limit: Annotated[
        Bytes, _about("artifacts that one attempt of a task may leave on this node")
    ] = 2**30


class ImageSettings(Spec, frozen=True, kw_only=True):
    image_budget: Annotated[
        Bytes,
        _about("disk space for images; beyond it unused ones go, oldest first; 0: while the disk has room"),
    ] = 0
    disk_reserve: Annotated[
        Bytes, _about("disk space that images leave free; 0: a twentieth of the disk, at most 5 GiB")
    ] = 0
    docker_config: Annotated[
        str,
        _about("docker's config.json, asked for registries that the hive does not know; auto: root's; none"),
    ] = "auto"


class ApiSettings(Spec, frozen=True, kw_only=True):
    web_port: Annotated[int, Meta(ge=0, le=65535), _about("TCP port of the API; 0: only the unix socket")] = (
        3000
    )
    ws_port: Annotated[
        int,
        Meta(ge=0, le=65535),
        _about("one more TCP port of the API, for clients that keep WebSockets apart; 0: none"),
    ] = 0
    web_host: Annotated[str, _about("address the API listens on; beyond loopback it needs TLS")] = "127.0.0.1"
    tls_cert: Annotated[str, _about("PEM file with the certificate chain")] = ""
    tls_key: Annotated[str, _about("PEM file with the private key")] = ""
    socket: Annotated[str, _about("unix socket for the local administrator; in the run dir when empty")] = ""


class NetworkSettings(Spec, frozen=True, kw_only=True):
    subnet: Annotated[
        str, _about("addresses for this node's containers, as 10.200.0.0/22; auto: a free one")
    ] = "auto"
    publish_host: Annotated[
        str, _about("address of this machine where published ports answer; 0.0.0.0: all")
    ] = "0.0.0.0"
    dns_port: Annotated[
        int, Meta(ge=0, le=65535), _about("loopback port where this machine may ask for names; 0: none")
    ] = 8653
    dns_upstream: Annotated[
        tuple[str, ...], _about("name servers for all other names; those of the machine when empty")
    ] = ()


class EngineSettings(Spec, frozen=True, kw_only=True):
    """Container engines of the machine, where a runtime uses one."""

    containerd_address: Annotated[str, _about("unix socket of containerd, for that runtime")] = (
        "/run/containerd/containerd.sock"
    )
    containerd_namespace: Annotated[
        str,
        Meta(pattern=r"^[A-Za-z0-9]+(?:[._-][A-Za-z0-9]+)*$"),
        _about("namespace of its own in containerd"),
    ] = "hivemind"
    docker_socket: Annotated[str, _about("unix socket of the docker engine, for that runtime")] = (
        "/var/run/docker.sock"
    )


class ClusterSettings(Spec, frozen=True, kw_only=True):
    """The hive's own port, and how soon another node counts as gone."""

    cluster_address: Annotated[
        str,
        _about(
            "host:port where the other nodes of the hive reach this one; what cluster init or join said when empty"
        ),
    ] = ""
    cluster_seeds: Annotated[
        tuple[str, ...], _about("addresses of other nodes, as host:port, tried beside those that are known")
    ] = ()
    cluster_multicast: Annotated[
        Literal["off", "on"], _about("whether nodes of the hive look for each other on the local network")
    ] = "off"
    probe_interval: Annotated[
        Seconds, _about("between two probes of another node; one that is gone is noticed after about ten")
    ] = 0.3
    probe_timeout: Annotated[Seconds, _about("for the answer to a probe, before others are asked to try")] = (
        0.25
    )
    agreement_timeout: Annotated[
        Seconds, _about("for a decision, before the voters turn to another primary")
    ] = 2.0
    restart_grace: Annotated[
        Seconds,
        _about(
            "for which the others wait when this daemon is told to stop, before they give what runs here to other"
            " nodes; 0s: not at all"
        ),
    ] = 60.0
    etcd_endpoints: Annotated[
        tuple[str, ...],
        _about("of the etcd that a hive founded with --engine etcd asks, as http://host:2379; tried in turn"),
    ] = ()
    etcd_ca: Annotated[str, _about("file in PEM: who signs the certificates of that etcd")] = ""
    etcd_cert: Annotated[str, _about("file in PEM: this node's certificate for that etcd")] = ""
    etcd_key: Annotated[str, _about("file in PEM: the key of that certificate")] = ""


class LogSettings(Spec, frozen=True, kw_only=True):
    log_level: Annotated[Literal["debug", "info", "warning", "error"], _about("least severe level shown")] = (
        "info"
    )
    log_format: Annotated[
        Literal["auto", "console", "json"], _about("auto: console on a terminal, else json")
    ] = "auto"


class Settings(Spec, frozen=True, kw_only=True):
    node: NodeSettings = NodeSettings()
    api: ApiSettings = ApiSettings()
    network: NetworkSettings = NetworkSettings()
    image: ImageSettings = ImageSettings()
    task: TaskSettings = TaskSettings()
    engines: EngineSettings = EngineSettings()
    cluster: ClusterSettings = ClusterSettings()
    log: LogSettings = LogSettings()


class Option(msgspec.Struct, frozen=True, kw_only=True):
    """One setting as every surface shows it."""

    section: str
    field: str
    default: Any
    about: str
    choices: tuple[str, ...] = ()
    many: Literal["", "list", "pairs"] = ""
    whole: bool = False
    """A whole number: not text, and not an amount such as 512MiB."""

    @property
    def key(self) -> str:
        return f"{self.section}.{self.field}"

    @property
    def flag(self) -> str:
        return "--" + self.field.replace("_", "-")

    @property
    def variable(self) -> str:
        return "HIVEMIND_" + self.field.upper()


def options() -> Iterator[Option]:
    """Every setting, in the order of the structs."""
    top = inspect.type_info(Settings)
    assert isinstance(top, inspect.StructType)
    for section in top.fields:
        assert isinstance(section.type, inspect.StructType)
        for field in section.type.fields:
            yield _option(section.name, field)


def _option(section: str, field: inspect.Field) -> Option:
    kind, about, amount = field.type, "", False
    while isinstance(kind, inspect.Metadata):
        about = about or (kind.extra_json_schema or {}).get("description", "")
        amount = amount or "quantity" in (kind.extra or {})
        kind = kind.type
    default = field.default if field.default is not msgspec.NODEFAULT else field.default_factory()
    return Option(
        section=section,
        field=field.name,
        default=default,
        about=about,
        choices=tuple(str(v) for v in kind.values) if isinstance(kind, inspect.LiteralType) else (),
        many=_many(kind),
        whole=isinstance(kind, inspect.IntType) and not amount,
    )


def _many(kind: inspect.Type) -> Literal["", "list", "pairs"]:
    if isinstance(kind, inspect.DictType):
        return "pairs"
    return "list" if isinstance(kind, inspect.VarTupleType) else ""


def load(flags: Mapping[str, Any], environ: Mapping[str, str], config: str = "") -> Settings:
    """`flags` by field name, only those that were given; an empty variable counts as not given. `config` is the
    path of a TOML file; the default one is read only if it is there.

    Raises `Invalid` that names the flag, the variable or the file and key that is at fault."""
    raw = _read_file(config)
    for option in options():
        if flags.get(option.field) is not None:
            given, place = flags[option.field], option.flag
        elif environ.get(option.variable):
            given, place = environ[option.variable], option.variable
        else:
            continue
        raw.setdefault(option.section, {})[option.field] = _value(option, given, place)
    settings: Settings = read(raw, Settings)
    return _with_places(settings)


def _read_file(config: str) -> dict[str, Any]:
    """The sections of the file, each of them sound."""
    path = Path(config or DEFAULT_FILE)
    if not config and not path.exists():
        return {}
    import tomllib

    hint = "docs/configuration.md shows a whole file, with every key"
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
        read(raw, Settings)
    except OSError as error:
        raise Invalid(f"the configuration {path} cannot be read: {error.strerror}") from None
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise Invalid(f"{path} is not TOML: {error}", hint=hint) from None
    except Invalid as error:
        raise Invalid(f"{path}: {error.message}", hint=error.hint or hint) from None
    return raw


def _value(option: Option, given: Any, place: str) -> Any:
    """`given` at `place` (a flag or a variable) as the file would say it."""
    try:
        if option.many == "list" and not isinstance(given, str):
            given = ",".join(given)  # the flag several times, or once with commas
        value = _from_text(option, given) if isinstance(given, str) else given
        read({option.section: {option.field: value}}, Settings)
    except Invalid as error:
        message = error.message.partition(" - at ")[0]
        choices = f"one of: {', '.join(option.choices)}" if option.choices else option.about
        raise Invalid(f"{place}: {message}", hint=error.hint or choices) from None
    return value


def _from_text(option: Option, text: str) -> Any:
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if option.many:
        return pairs(parts) if option.many == "pairs" else parts
    if option.whole:
        if not re.fullmatch("-?[0-9]+", text):
            raise Invalid(f"{text!r} is not a whole number")
        return int(text)
    return text


def pairs(items: list[str]) -> dict[str, str]:
    """`["zone=eu"]` -> `{"zone": "eu"}`."""
    for item in items:
        if "=" not in item:
            raise Invalid(f"{item!r} is not key=value")
    return dict(item.split("=", 1) for item in items)


def _with_places(settings: Settings) -> Settings:
    """Directories depend on who runs the daemon."""
    node = settings.node
    data = node.data_dir or default_data_dir()
    run = node.run_dir or (default_run_dir() if not node.data_dir else str(Path(data) / "run"))
    node = msgspec.structs.replace(node, data_dir=data, run_dir=run)
    api = settings.api
    if not api.socket:
        api = msgspec.structs.replace(api, socket=str(Path(run) / "hivemind.sock"))
    return msgspec.structs.replace(settings, node=node, api=api)


def default_data_dir() -> str:
    if os.geteuid() == 0:
        return "/var/lib/hivemind"
    home = os.environ.get("XDG_DATA_HOME") or str(Path.home() / ".local/share")
    return str(Path(home) / "hivemind")


def default_run_dir() -> str:
    if os.geteuid() == 0:
        return "/run/hivemind"
    base = os.environ.get("XDG_RUNTIME_DIR")
    return str(Path(base) / "hivemind") if base else str(Path(default_data_dir()) / "run")
