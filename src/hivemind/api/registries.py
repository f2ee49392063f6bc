"""Registries: credentials are tried out where they will be used, and sealed before anything is signed."""

from __future__ import annotations

from starlette.responses import Response

from hivemind.api.collection import home
from hivemind.api.endpoint import Answer, Call, Endpoint, reply
from hivemind.api.sealed import opened
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
            "Keep how a registry is reached, for the whole hive; who signs in is tried out from this node before.",
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
    credential = body.credential or opened(call, body)
    if body.username or credential.identity_token:
        access = Access(
            host=body.name,
            username=body.username,
            password=credential.password,
            identity_token=credential.identity_token,
            insecure=body.insecure,
            ca=body.ca,
        )
        await call.backend.images.sign_in(access)
    await call.submit(put_registry(call, None, False))
    record = await find(call.backend, "Registry", None, body.name)
    document = VIEWS["Registry"].document(call.backend, record)
    return reply(document, version=record.version)
