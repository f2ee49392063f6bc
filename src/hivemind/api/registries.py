"""Registries: credentials are tried out where they will be used, and sealed before anything is signed."""

from __future__ import annotations

from starlette.responses import Response

from hivemind.api.collection import home
from hivemind.api.endpoint import Answer, Call, Endpoint, reply
from hivemind.api.views import VIEWS, find
from hivemind.api.writes import put_registry
from hivemind.drivers.images.access import Access
from hivemind.errors import Forbidden, NotFound, TooLarge, Unauthenticated, WrongMedia
from hivemind.model.image_registry import REGISTRY, RegistryDocument, RegistryManifest
from hivemind.model.principal import Role


def registry_endpoints() -> list[Endpoint]:
    return [
        Endpoint(
            "POST",
            f"{home(REGISTRY)}/login",
            "registries.login",
            "Sign in to a registry from this node, and keep that for the whole hive if the registry agrees.",
            _login,
            (Answer(200, "The registry.", (RegistryDocument,), etag=True),),
            body=RegistryManifest,
            errors=(NotFound, Unauthenticated, Forbidden, TooLarge, WrongMedia),
            role=Role.ADMIN,
        )
    ]


async def _login(call: Call) -> Response:
    body: RegistryManifest = call.body
    body.validate()
    await call.backend.images.sign_in(
        Access(
            host=body.name,
            username=body.username,
            password=body.password or "",
            identity_token=body.identity_token or "",
            insecure=body.insecure,
            ca=body.ca,
        )
    )
    await call.submit(put_registry(call, None, False))
    record = await find(call.backend, "Registry", None, body.name)
    document = VIEWS["Registry"].document(call.backend, record)
    return reply(document, version=record.version)
