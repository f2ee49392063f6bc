"""Ray, by the REST interface for jobs of a running cluster's head; nothing of Ray need be installed here.

A submission's id is the attempt's, which Ray accepts once only. Everyone who can reach that interface may see what a
submission says, so it names nothing but the script.
"""

from __future__ import annotations

import asyncio
import http.client
import shlex
import ssl
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import msgspec

from hivemind.drivers.executors import launch
from hivemind.drivers.executors.contract import Job, Progress
from hivemind.drivers.executors.engine import Engine
from hivemind.errors import Invalid, NotFound, Unavailable

_PATIENCE = 20.0
_MOST = 16 << 20
_HINT = "name the head among the task's options: address: http://head:8265"


class Ray(Engine):
    name = "ray"
    options = frozenset({"address"})

    async def open(self) -> None:
        """Nothing is needed here; who answers shows when a task names an address."""

    async def _hand_over(self, id: str, job: Job, script: Path) -> str:
        wish = {
            "entrypoint": shlex.join(("/bin/sh", str(script))),
            "submission_id": _name(id),
            "metadata": {"submitted_by": "hivemind"},
            "entrypoint_num_cpus": job.cpus,
            "entrypoint_num_gpus": job.gpus,
            **({"entrypoint_memory": job.memory} if job.memory else {}),
        }
        try:
            await self._ask(job, "POST", "/api/jobs/", wish)
        except Invalid:
            if (
                await self._known(id, job) is None
            ):  # an earlier request may have got through, though not its answer
                raise
        return _name(id)

    async def _known(self, id: str, job: Job) -> str | None:
        return _name(id) if await self._info(id, job) is not None else None

    async def _standing(self, id: str, job: Job, name: str) -> Progress | None:
        info = await self._info(id, job)
        if info is None:
            return None
        status, message = str(info.get("status")), str(info.get("message") or "")[:500]
        where = (launch.began_on(job),) if launch.began_on(job) else ()
        if status == "PENDING":
            return Progress(standing="waiting", reason=f"Ray: {message}")
        if status == "RUNNING":
            return Progress(standing="running", nodes=where)
        if status == "SUCCEEDED":
            return Progress(standing="ended", exit_code=0, nodes=where)
        if status == "STOPPED":
            return Progress(standing="ended", cause="canceled", reason="it was stopped in Ray", nodes=where)
        code = info.get("driver_exit_code")
        if not where:
            return Progress(standing="ended", cause="start", reason=f"Ray: {message}")
        if isinstance(code, int) and code > 0:
            return launch.exited(code % 256, where)
        return Progress(standing="ended", cause="lost", reason=f"Ray: {message}", nodes=where)

    async def _remove(self, id: str, job: Job, name: str, *, kill: bool) -> None:
        """A graceful end is the script's affair: Ray kills after three seconds."""
        if kill or not launch.began_on(job):
            try:
                await self._ask(job, "POST", f"/api/jobs/{quote(name)}/stop")
            except NotFound:
                pass

    async def forget(self, id: str, job: Job) -> None:
        try:
            await self._ask(job, "DELETE", f"/api/jobs/{quote(_name(id))}")
        except (NotFound, Invalid):
            pass  # older ones cannot forget single jobs

    async def _info(self, id: str, job: Job) -> dict[str, Any] | None:
        try:
            found = await self._ask(job, "GET", f"/api/jobs/{quote(_name(id))}")
        except NotFound:
            return None
        return found if isinstance(found, dict) else None

    async def _ask(self, job: Job, method: str, path: str, body: Any = None) -> Any:
        return await asyncio.to_thread(self._request, self._option(job, "address"), method, path, body)

    def _request(self, address: str, method: str, path: str, body: Any) -> Any:
        connection = _connection(address)
        try:
            data = None if body is None else msgspec.json.encode(body)
            prefix = urlsplit(address).path.rstrip("/")
            connection.request(method, prefix + path, data, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            said = answer.read(_MOST)
        except (OSError, http.client.HTTPException) as error:
            raise Unavailable(f"Ray does not answer at {address}: {error}", hint=_HINT) from None
        finally:
            connection.close()
        if answer.status == http.HTTPStatus.NOT_FOUND:
            raise NotFound(f"Ray at {address} does not know {path}")
        if answer.status == http.HTTPStatus.SERVICE_UNAVAILABLE:
            raise Unavailable(f"Ray at {address} is not ready")
        if answer.status >= http.HTTPStatus.BAD_REQUEST:
            raise Invalid(f"Ray refuses: {_last_line(said)}", hint="its dashboard has more")
        try:
            return msgspec.json.decode(said) if said else None
        except msgspec.DecodeError:
            raise Invalid(f"what answers at {address} is not Ray's interface for jobs", hint=_HINT) from None


def _connection(address: str) -> http.client.HTTPConnection:
    if not address:
        raise Invalid("the address of Ray is missing", hint=_HINT)
    try:
        parts = urlsplit(address)
        host, port = parts.hostname, parts.port
    except ValueError:
        host = None
    if not host or parts.scheme not in ("http", "https"):
        raise Invalid(f"{address!r} is no address of Ray", hint=_HINT)
    if parts.scheme == "https":
        return http.client.HTTPSConnection(
            host, port, timeout=_PATIENCE, context=ssl.create_default_context()
        )
    return http.client.HTTPConnection(host, port or 8265, timeout=_PATIENCE)


def _name(id: str) -> str:
    return f"hivemind-{id}"


def _last_line(said: bytes) -> str:
    """Ray answers with a traceback; what matters is its end."""
    lines = said.decode(errors="replace").strip().splitlines()
    return lines[-1][:500] if lines else "it does not say why"
