"""`hivemind registry …`, `login`, `logout`."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from msgspec import structs

from hivemind.cli.context import Context
from hivemind.cli.output import show_list
from hivemind.errors import HivemindError, Invalid, NotFound
from hivemind.model.image import DEFAULT_REGISTRY
from hivemind.model.image_registry import REGISTRY, RegistryDocument, RegistryManifest, registry_host
from hivemind.model.quantity import read


def ls(context: Context) -> None:
    show_list(context, REGISTRY, context.hive.registries.list())


def login(context: Context) -> None:
    if context.args.from_docker:
        _take_over(context)
        return
    host = registry_host(context.args.registry or DEFAULT_REGISTRY)
    known = _known(context, host)
    if not context.args.given("username", "password", "password_stdin", "mirror", "ca_cert", "insecure"):
        raise Invalid(
            f"nothing is said about {host}",
            hint=f"hivemind registry login {host} -u USER; or name --mirror, --ca-cert or --insecure",
        )
    _keep(context, _wished(context, host, known))


def logout(context: Context) -> None:
    for host in context.args.registry or [DEFAULT_REGISTRY]:
        context.hive.registries.delete(registry_host(host))
        context.print(f"{registry_host(host)} forgotten")


def _known(context: Context, host: str) -> RegistryManifest:
    try:
        there: RegistryDocument = context.hive.registries.get(host)
    except NotFound:
        return RegistryManifest(name=host)
    return RegistryManifest(
        name=host, username=there.username, insecure=there.insecure, ca=there.ca, mirrors=there.mirrors
    )


def _wished(context: Context, host: str, known: RegistryManifest) -> RegistryManifest:
    args = context.args
    username = known.username if args.username is None else args.username
    mirrors = known.mirrors
    if args.mirror:
        mirrors = () if args.mirror == ["none"] else tuple(args.mirror)
    return structs.replace(
        known,
        username=username,
        password=_password(context, username) if args.username or _gives_password(context) else None,
        insecure=args.insecure or (known.insecure and not args.ca_cert),
        ca=_certificate(args.ca_cert) if args.ca_cert else "" if args.insecure else known.ca,
        mirrors=mirrors,
    )


def _gives_password(context: Context) -> bool:
    return bool(context.args.password is not None or context.args.password_stdin)


def _password(context: Context, username: str) -> str:
    args = context.args
    if args.password is not None and args.password_stdin:
        raise Invalid("the password is given twice: by --password and --password-stdin", hint="give it once")
    if args.password is not None:
        context.note("A password on the command line can be seen by others; --password-stdin hides it.")
        return str(args.password)
    if args.password_stdin:
        return sys.stdin.readline().rstrip("\r\n")
    if not sys.stdin.isatty():
        raise Invalid(f"the password of {username} is not given", hint="feed it: --password-stdin < FILE")
    from getpass import getpass

    return getpass(f"Password of {username}: ")


def _certificate(path: str) -> str:
    try:
        return Path(path).read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise Invalid(f"the certificate {path} cannot be read: {error}") from None


def _keep(context: Context, wished: RegistryManifest) -> None:
    checked = read({f: getattr(wished, f) for f in wished.__struct_fields__}, RegistryManifest)
    checked.validate()
    kept = context.hive.registries.login(checked)
    who = (
        f"signed in as {kept.username}"
        if kept.username
        else "signed in"
        if kept.signed_in
        else "is known now"
    )
    context.print(f"{kept.name} {who}")


def _take_over(context: Context) -> None:
    """Docker's sign-ins of whoever calls. One that fails does not keep the others away."""
    from hivemind.drivers.images import docker_config

    path = docker_config.default_path(os.environ)
    config = docker_config.read(path)
    wanted = registry_host(context.args.registry) if context.args.registry else ""
    hosts = [wanted] if wanted else docker_config.hosts(config)
    failed = 0
    taken = 0
    for host in hosts:
        found = docker_config.look_up(config, host)
        if found is None:
            continue
        known = _known(context, host)
        try:
            _keep(
                context,
                structs.replace(
                    known,
                    username=found.username,
                    password=found.password or None,
                    identity_token=found.identity_token or None,
                ),
            )
            taken += 1
        except HivemindError as error:
            failed += 1
            context.note(f"{host} was not taken over: {error.message}")
    if failed or not taken:
        where = f"{wanted} " if wanted else ""
        raise Invalid(
            f"{failed} of docker's sign-ins were refused"
            if failed
            else f"{path} knows no sign-in {'to ' + where if where else ''}".rstrip(),
            hint="sign in here: hivemind registry login HOST -u NAME",
        )
