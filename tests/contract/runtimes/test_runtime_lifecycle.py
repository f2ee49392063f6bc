"""Create, start, wait, stop, kill, remove, list and events: the same for every runtime."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from hivemind.drivers.runtimes.contract import Container, LogQuery, Runtime, RuntimeEvent, Status
from hivemind.errors import Conflict, Invalid, NotFound

if TYPE_CHECKING:
    from tests.contract.runtimes.conftest import Bench

pytestmark = pytest.mark.anyio

FOREVER = "while :; do sleep 0.05; done"
POLITE = f"trap 'exit 7' TERM; echo ready; {FOREVER}"
STUBBORN = f"trap '' TERM; echo ready; {FOREVER}"


async def run(runtime: Runtime, bench: Bench, script: str, **fields: object) -> str:
    spec = bench.spec(script, **fields)
    await runtime.create(spec)
    await runtime.start(spec.id)
    return spec.id


async def ready(runtime: Runtime, id: str) -> None:
    """Returns when the script has said its first word, so its traps are set."""
    lines = runtime.logs(id, LogQuery(follow=True))
    async with asyncio.timeout(20):
        await anext(lines)
    await lines.aclose()


async def finished(runtime: Runtime, id: str) -> int | None:
    async with asyncio.timeout(30):
        return (await runtime.wait(id)).code


async def find(runtime: Runtime, id: str) -> Container:
    return next(container for container in await runtime.list() if container.id == id)


async def test_a_container_is_created_then_runs_then_has_exited(bench: Bench, runtime: Runtime) -> None:
    spec = bench.spec("read line; exit 3", labels={"app": "web", "allocation": "a-1"})
    await runtime.create(spec)
    made = await find(runtime, spec.id)
    assert (made.status, made.pid, made.exit) == (Status.CREATED, 0, None)
    assert made.created > 0
    await runtime.start(spec.id)
    assert await finished(runtime, spec.id) == 3
    ended = await find(runtime, spec.id)
    assert (ended.status, ended.pid) == (Status.EXITED, 0)
    assert ended.labels == {"app": "web", "allocation": "a-1"}
    assert ended.exit is not None and ended.exit.code == 3 and not ended.exit.oom
    assert made.created <= ended.started <= ended.exit.at


async def test_start_gives_the_pid_that_list_shows(bench: Bench, runtime: Runtime) -> None:
    spec = bench.spec(FOREVER)
    await runtime.create(spec)
    pid = await runtime.start(spec.id)
    assert pid > 0
    assert (await find(runtime, spec.id)).pid == pid
    assert (await find(runtime, spec.id)).status == Status.RUNNING


@pytest.mark.parametrize("code", [0, 1, 42, 255])
async def test_exit_codes_are_kept(bench: Bench, runtime: Runtime, code: int) -> None:
    assert await finished(runtime, await run(runtime, bench, f"exit {code}")) == code


async def test_death_by_signal_is_128_and_its_number(bench: Bench, runtime: Runtime) -> None:
    id = await run(runtime, bench, STUBBORN)
    await ready(runtime, id)
    await runtime.kill(id, "SIGKILL")
    assert await finished(runtime, id) == 137
    assert (await runtime.wait(id)).signal == 9


async def test_any_signal_reaches_the_main_process(bench: Bench, runtime: Runtime) -> None:
    id = await run(runtime, bench, f"trap 'exit 21' USR1; echo ready; {FOREVER}")
    await ready(runtime, id)
    await runtime.kill(id, "SIGUSR1")
    assert await finished(runtime, id) == 21


async def test_an_unknown_signal_is_invalid(bench: Bench, runtime: Runtime) -> None:
    id = await run(runtime, bench, FOREVER)
    with pytest.raises(Invalid):
        await runtime.kill(id, "SIGNONSENSE")


async def test_stop_lets_it_end_by_itself(bench: Bench, runtime: Runtime) -> None:
    id = await run(runtime, bench, POLITE)
    await ready(runtime, id)
    assert (await runtime.stop(id, "SIGTERM", 20)).code == 7


async def test_stop_kills_what_ignores_the_signal(bench: Bench, runtime: Runtime) -> None:
    id = await run(runtime, bench, STUBBORN)
    await ready(runtime, id)
    assert (await runtime.stop(id, "SIGTERM", 0.2)).code == 137


async def test_stop_of_an_ended_one_gives_its_exit(bench: Bench, runtime: Runtime) -> None:
    id = await run(runtime, bench, "exit 4")
    await finished(runtime, id)
    assert (await runtime.stop(id, "SIGTERM", 5)).code == 4
    await runtime.kill(id, "SIGTERM")


async def test_stop_and_remove_of_one_never_started(bench: Bench, runtime: Runtime) -> None:
    spec = bench.spec("exit 0")
    await runtime.create(spec)
    await runtime.remove(spec.id)
    assert await runtime.list() == []


async def test_everything_inside_dies_with_the_main_process(bench: Bench, runtime: Runtime) -> None:
    """What the children hold open (the log's pipes) would keep `wait` and `logs` from ending."""
    script = "(trap '' TERM HUP; sleep 1000) & sleep 1000 & echo ready; wait"
    if type(runtime).__name__ == "FakeRuntime":
        script = "sleep 1000 & sleep 1000 & echo ready; wait"
    id = await run(runtime, bench, script)
    await ready(runtime, id)
    await runtime.kill(id, "SIGKILL")
    assert await finished(runtime, id) == 137
    lines = [line.text async for line in runtime.logs(id, LogQuery(follow=True))]
    assert lines == ["ready"]


async def test_remove_kills_and_may_be_repeated(bench: Bench, runtime: Runtime) -> None:
    id = await run(runtime, bench, STUBBORN)
    await ready(runtime, id)
    await runtime.remove(id)
    assert await runtime.list() == []
    await runtime.remove(id)
    with pytest.raises(NotFound):
        await runtime.wait(id)


async def test_a_taken_id_is_a_conflict(bench: Bench, runtime: Runtime) -> None:
    spec = bench.spec("exit 0")
    await runtime.create(spec)
    with pytest.raises(Conflict):
        await runtime.create(spec)


async def test_one_is_started_once(bench: Bench, runtime: Runtime) -> None:
    id = await run(runtime, bench, "exit 0")
    with pytest.raises(Conflict):
        await runtime.start(id)
    await finished(runtime, id)
    with pytest.raises(Conflict):
        await runtime.start(id)


async def test_an_id_is_free_again_after_remove(bench: Bench, runtime: Runtime) -> None:
    for code in (1, 2):
        id = await run(runtime, bench, f"echo {code}; exit {code}", id="again.0")
        assert await finished(runtime, id) == code
        assert [line.text async for line in runtime.logs(id, LogQuery())] == [str(code)]
        await runtime.remove(id)


async def test_an_unknown_executable_is_invalid_and_leaves_nothing(bench: Bench, runtime: Runtime) -> None:
    spec = bench.spec("", args=("no-such-program-here",))
    with pytest.raises(Invalid):
        await runtime.create(spec)
        await runtime.start(spec.id)
    await runtime.remove(spec.id)
    assert await runtime.list() == []


async def test_an_unknown_user_is_invalid_and_leaves_nothing(bench: Bench, runtime: Runtime) -> None:
    with pytest.raises(Invalid):
        await runtime.create(bench.spec("exit 0", user="nobody-like-this"))
    assert await runtime.list() == []


@pytest.mark.parametrize("method", ["start", "wait", "stats"])
async def test_an_unknown_id_is_not_found(runtime: Runtime, method: str) -> None:
    with pytest.raises(NotFound):
        await getattr(runtime, method)("nothing.0")


async def test_stop_kill_and_remove_of_one_that_is_gone_do_nothing(runtime: Runtime) -> None:
    assert (await runtime.stop("gone.0", "SIGTERM", 1)).code is None
    await runtime.kill("gone.0", "SIGTERM")
    await runtime.remove("gone.0")


async def test_an_unknown_id_has_no_logs(runtime: Runtime) -> None:
    with pytest.raises(NotFound):
        await anext(runtime.logs("nothing.0", LogQuery()))


async def test_env_workdir_and_user(bench: Bench, runtime: Runtime) -> None:
    id = await run(runtime, bench, "env; pwd; id -u", env={"COLOUR": "deep blue"}, workdir="/tmp", user="0")
    assert await finished(runtime, id) == 0
    lines = [line.text async for line in runtime.logs(id, LogQuery())]
    assert "COLOUR=deep blue" in lines
    assert lines[-2:] == ["/tmp", "0"]


async def test_stats_rise_with_work(bench: Bench, runtime: Runtime) -> None:
    id = await run(runtime, bench, "while :; do :; done")
    first = await runtime.stats(id)
    async with asyncio.timeout(20):
        while (later := await runtime.stats(id)).cpu_seconds <= first.cpu_seconds + 0.02:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    assert later.memory > 0
    assert later.pids >= 1


async def test_containers_outlive_the_daemon(bench: Bench, runtime: Runtime) -> None:
    spec = bench.spec("echo ready; " + FOREVER, labels={"app": "web"})
    await runtime.create(spec)
    pid = await runtime.start(spec.id)
    await ready(runtime, spec.id)
    before = await find(runtime, spec.id)
    second = await bench.open()
    assert await find(second, spec.id) == before
    assert before.pid == pid
    assert (await second.stop(spec.id, "SIGKILL", 10)).code == 137


async def test_the_exit_of_one_that_ended_while_no_daemon_ran(bench: Bench) -> None:
    first = await bench.open()
    short, long = await run(first, bench, "sleep 0.3; exit 5"), await run(first, bench, FOREVER)
    await first.close()
    second = await bench.open()
    assert await finished(second, short) == 5
    third = await bench.open()
    assert (await third.wait(short)).code == 5
    assert (await find(third, long)).status == Status.RUNNING


async def test_exits_in_the_moment_of_a_restart_are_not_lost(bench: Bench) -> None:
    first = await bench.open()
    ids = [await run(first, bench, f"sleep 0.{number:02}; exit {number}") for number in range(1, 21)]
    for _ in range(5):
        await asyncio.sleep(0.03)
        second = await bench.open()
    codes = [await finished(second, id) for id in ids]
    assert codes == list(range(1, 21))


async def collect(runtime: Runtime, count: int) -> list[RuntimeEvent]:
    events = runtime.events()
    found: list[RuntimeEvent] = []
    async with asyncio.timeout(30):
        while len([event for event in found if event.kind == "exited"]) < count:
            found.append(await anext(events))
    await events.aclose()
    return found


async def test_every_exit_is_told_once(bench: Bench, runtime: Runtime) -> None:
    listening = asyncio.ensure_future(collect(runtime, 10))
    ids = [await run(runtime, bench, f"exit {number}") for number in range(10)]
    events = await listening
    assert {event.id: event.exit.code for event in events if event.exit} == dict(
        zip(ids, range(10), strict=True)
    )
    assert len(events) == 10


async def test_exits_that_nobody_heard_are_told_to_the_next_daemon(bench: Bench) -> None:
    first = await bench.open()
    heard = await run(first, bench, "exit 1")
    assert [event.id for event in await collect(first, 1)] == [heard]
    unheard = await run(first, bench, "exit 2")
    await finished(first, unheard)
    await first.close()
    second = await bench.open()
    assert [event.id for event in await collect(second, 1)] == [unheard]
    later = await run(second, bench, "exit 3")
    assert [event.id for event in await collect(second, 1)] == [later]


async def test_many_at_once(bench: Bench, runtime: Runtime) -> None:
    async def whole_life(number: int) -> int | None:
        id = await run(runtime, bench, f"echo {number}; exit {number}")
        code = await finished(runtime, id)
        assert [line.text async for line in runtime.logs(id, LogQuery(follow=True))] == [str(number)]
        await runtime.remove(id)
        return code

    assert await asyncio.gather(*(whole_life(number) for number in range(100))) == list(range(100))
    assert await runtime.list() == []
