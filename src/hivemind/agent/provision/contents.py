"""Configs and secrets as containers see them: files below a directory in memory, and variables.

Everything is found by the numbers that the allocation's revision pins, so a container that starts again sees
what it saw before, whatever was changed meanwhile. Files lie in `<run dir>/contents/<allocation>/<container>`; they
outlive the daemon, are written again after a reboot, and go with the allocation.
"""

from __future__ import annotations

import os
import pwd
import re
import shutil
from collections.abc import Callable, Iterable
from hashlib import blake2b
from pathlib import Path

from hivemind.agent.provision.contract import Provision
from hivemind.drivers.memory import memory_directory
from hivemind.drivers.runtimes.contract import Mount
from hivemind.errors import Invalid
from hivemind.model.allocation import Allocation
from hivemind.model.app import AppSpec
from hivemind.model.content import Content, sealing_context
from hivemind.model.mount import ConfigMount, SecretMount
from hivemind.model.template import ContainerTemplate, EnvFrom
from hivemind.security.sealing import Vault
from hivemind.state.state import State

FILES = "HIVEMIND_FILES"
"""Where plain processes, which have no mounts, find theirs: `$HIVEMIND_FILES/etc/app.conf`."""

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")


class Contents:
    """A `Provider`. `runtime_of`: the name of the runtime that runs a spec on this node."""

    def __init__(
        self, state: State, vault: Vault, run_dir: Path, runtime_of: Callable[[AppSpec], str]
    ) -> None:
        self._state = state
        self._vault = vault
        self._top = run_dir.absolute() / "contents"
        self._runtime_of = runtime_of

    async def provide(
        self, allocation: Allocation, spec: AppSpec, template: ContainerTemplate, user: str
    ) -> Provision:
        env, secret_env = self._variables(allocation, template)
        wanted = [m for m in template.mounts if isinstance(m, ConfigMount | SecretMount)]
        if not wanted:
            return Provision(env=env, secret_env=secret_env)
        home = memory_directory(self._top) / allocation.id / (getattr(template, "name", "") or "_")
        runtime = self._runtime_of(spec)
        if runtime == "process":
            return Provision(
                env={**env, FILES: self._beside(home, allocation, wanted, user)}, secret_env=secret_env
            )
        known = user if runtime == "docker" else ""
        mounts = tuple(self._mount(home, allocation, mount, known) for mount in wanted)
        return Provision(mounts=mounts, env=env, secret_env=secret_env)

    async def release(self, allocation: str) -> None:
        shutil.rmtree(self._top / allocation, ignore_errors=True)

    async def prune(self, keep: set[str]) -> None:
        if self._top.is_dir():
            for place in self._top.iterdir():
                if place.name not in keep:
                    await self.release(place.name)

    # -- variables -------------------------------------------------------------------------------------------

    def _variables(
        self, allocation: Allocation, template: ContainerTemplate
    ) -> tuple[dict[str, str], dict[str, str]]:
        """Those of configs, and those of secrets. Of two with one name the later counts."""
        env: dict[str, str] = {}
        secret: dict[str, str] = {}
        for source in template.env_from:
            for name, value in self._variables_of(allocation, source):
                mine, other = (env, secret) if source.config else (secret, env)
                other.pop(name, None)
                mine[name] = value
        return env, secret

    def _variables_of(self, allocation: Allocation, source: EnvFrom) -> Iterable[tuple[str, str]]:
        pin = f"config/{source.config}" if source.config else f"secret/{source.secret}"
        content = self._state.content(allocation, pin)
        for key in [source.key] if source.key else sorted(content.data):
            name = source.name or source.prefix + key
            if not _VARIABLE.fullmatch(name):
                raise Invalid(
                    f"the key {key!r} of {pin.replace('/', ' ')} cannot be the name of a variable",
                    hint="give it another name or a prefix, or take single keys only",
                )
            yield name, _text(self._value(content, key), f"the key {key!r} of {pin.replace('/', ' ')}")

    def _value(self, content: Content, key: str) -> bytes:
        value = content.data[key].value
        if content.kind == "config":
            return value
        return self._vault.open(value, sealing_context(content.project, content.name, key))

    # -- files -----------------------------------------------------------------------------------------------

    def _mount(
        self, home: Path, allocation: Allocation, mount: ConfigMount | SecretMount, user: str
    ) -> Mount:
        """`user`: whose it is to be where the runtime does not see to that."""
        # Two mounts of one container differ in their target; hashed, because it is a path of any length.
        place = home / blake2b(mount.target.encode(), digest_size=12).hexdigest()
        content = self._content(allocation, mount)
        if not place.exists():
            self._write(place, content, mount, user)
        source = place / mount.key if mount.key else place
        return Mount(mount.target, str(source), readonly=True, owned=isinstance(mount, SecretMount))

    def _beside(
        self,
        home: Path,
        allocation: Allocation,
        wanted: Iterable[ConfigMount | SecretMount],
        user: str,
    ) -> str:
        """The same files for a plain process, below one directory, as if that were `/`. Returns it."""
        owner = _host_user(user)
        for mount in wanted:
            place = home / mount.target.strip("/")
            content = self._content(allocation, mount)
            if place.exists():
                continue
            place.parent.mkdir(parents=True, exist_ok=True)
            if mount.key:
                single = place.with_name(f".{place.name}.dir")
                self._write(single, content, mount)
                os.rename(single / mount.key, place)
                os.rmdir(single)
            else:
                self._write(place, content, mount)
        if owner:
            self._hand_over(home, owner)
        return str(home)

    def _content(self, allocation: Allocation, mount: ConfigMount | SecretMount) -> Content:
        kind = "config" if isinstance(mount, ConfigMount) else "secret"
        return self._state.content(allocation, f"{kind}/{mount.source}")

    def _write(self, place: Path, content: Content, mount: ConfigMount | SecretMount, user: str = "") -> None:
        """The directory with its files, whole or not at all. Of a user whose number is not known everybody inside
        may read: the engine that looks it up does not tell."""
        uid, gid = _numbers(user)
        shared = 0o444 if user and uid < 0 else 0
        new = place.with_name(f".{place.name}.new")
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(parents=True, mode=0o700)
        for key in [mount.key] if mount.key else sorted(content.data):
            fd = os.open(new / key, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with os.fdopen(fd, "wb") as file:
                file.write(self._value(content, key))
                os.fchmod(file.fileno(), mount.mode | shared)
                if uid >= 0:
                    os.fchown(file.fileno(), uid, gid)
        os.chmod(new, 0o755 if shared or isinstance(mount, ConfigMount) else 0o700)
        if uid >= 0:
            os.chown(new, uid, gid)
        os.rename(new, place)

    def _hand_over(self, home: Path, owner: tuple[int, int]) -> None:
        """To a user of this machine, who must also get there: through, but not see, the directories above.

        The directories stay the daemon's, opened to the user's group: whoever could put a link into one would have
        the daemon write where the link leads when the process starts again."""
        for folder, _, names in os.walk(home):
            os.chown(folder, os.geteuid(), owner[1])
            os.chmod(folder, 0o750)
            for name in names:
                os.chown(os.path.join(folder, name), *owner, follow_symlinks=False)
        for above in (home.parent, self._top, self._top.parent):
            os.chmod(above, 0o711)


def _text(value: bytes, what: str) -> str:
    try:
        text = value.decode()
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        raise Invalid(f"{what} is not text and cannot be a variable", hint="mount it as a file")
    return text


def _numbers(user: str) -> tuple[int, int]:
    """uid and gid of `1000:1000` or `1000`; -1 for names."""
    name, _, group = user.partition(":")
    return (int(name), int(group) if group.isdigit() else 0) if name.isdigit() else (-1, -1)


def _host_user(user: str) -> tuple[int, int] | None:
    """uid and gid on this machine; None for the daemon's own. Raises `Invalid`."""
    name, _, group = user.partition(":")
    if not name or os.geteuid() != 0:
        return None
    try:
        account = pwd.getpwuid(int(name)) if name.isdigit() else pwd.getpwnam(name)
    except KeyError:
        if name.isdigit():
            return int(name), int(group) if group.isdigit() else int(name)
        raise Invalid(f"this machine has no user {name!r}", hint="use a number, or make the user") from None
    return account.pw_uid, int(group) if group.isdigit() else account.pw_gid
