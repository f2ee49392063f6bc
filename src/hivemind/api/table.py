"""All endpoints. What stands first wins when a path fits several."""

from __future__ import annotations

from hivemind.api.checks import check_endpoints
from hivemind.api.cluster import cluster_endpoints
from hivemind.api.collection import collection_endpoints
from hivemind.api.contents import content_endpoints
from hivemind.api.endpoint import Endpoint
from hivemind.api.events import event_endpoints
from hivemind.api.exec import inside_endpoints
from hivemind.api.images import image_endpoints
from hivemind.api.jobs.checking import checking_endpoints
from hivemind.api.jobs.hooks import hook_endpoints
from hivemind.api.jobs.raising import raising_endpoints
from hivemind.api.jobs.reading import reading_endpoints
from hivemind.api.jobs.verbs import job_verb_endpoints
from hivemind.api.logs import log_endpoints
from hivemind.api.looking import looking_endpoints
from hivemind.api.registries import registry_endpoints
from hivemind.api.revisions import revision_endpoints
from hivemind.api.system import system_endpoints
from hivemind.api.verbs import verb_endpoints
from hivemind.api.volumes import volume_endpoints


def endpoints() -> tuple[Endpoint, ...]:
    made: dict[tuple[str, str], Endpoint] = {}
    for group in (
        system_endpoints,
        cluster_endpoints,
        event_endpoints,
        image_endpoints,
        registry_endpoints,
        verb_endpoints,
        revision_endpoints,
        content_endpoints,
        log_endpoints,
        inside_endpoints,
        check_endpoints,
        looking_endpoints,
        volume_endpoints,
        checking_endpoints,
        job_verb_endpoints,
        raising_endpoints,
        hook_endpoints,
        reading_endpoints,
        collection_endpoints,
    ):
        for endpoint in group():
            made.setdefault((endpoint.method, endpoint.path), endpoint)
    return tuple(made.values())
