"""The revisions of an app that are still kept."""

from __future__ import annotations

from starlette.responses import Response

from hivemind.api.documents import revision_document
from hivemind.api.endpoint import Answer, Call, Endpoint, reply
from hivemind.api.views import find
from hivemind.errors import NotFound
from hivemind.model.answers import Page
from hivemind.model.app import App
from hivemind.model.revision import RevisionDocument


def revision_endpoints() -> list[Endpoint]:
    return [
        Endpoint(
            "GET",
            "/v1/projects/{project}/apps/{name}/revisions",
            "apps.revisions",
            "List the revisions of an app, oldest first.",
            _revisions,
            (Answer(200, "All that are kept.", (Page[RevisionDocument],)),),
            errors=(NotFound,),
        )
    ]


async def _revisions(call: Call) -> Response:
    app: App = await find(call.backend, "App", call.project, call.params["name"])
    kept = call.state.revisions_of(app)
    return reply(Page(items=[revision_document(call.backend, app, revision) for revision in kept], next=""))
