"""What each peer of `bench jobs` does, run by a Python that has them: `python -P engine_scripts.py PEER TASKS CHAIN`.

Prints one line of JSON: tasks a second of so many commands that do nothing, and milliseconds of one step of a chain.
All have two workers and are warm when the clock starts.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable


def _timed(call: Callable[[], object]) -> float:
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin


def _true(*_: object) -> None:
    subprocess.run(["true"], check=True)


def hyperqueue(tasks: int, chain: int) -> tuple[float, float]:
    """Its client looks about once a second whether a job is done: of small jobs that is most of the time."""
    from hyperqueue import Job, LocalCluster
    from hyperqueue.cluster import WorkerConfig

    with LocalCluster() as cluster:
        cluster.start_worker(WorkerConfig(cores=2))
        client = cluster.client(python_env=None)

        def run(count: int, *, chained: bool) -> None:
            job, before = Job(), []
            for _ in range(count):
                task = job.program(["true"], deps=before, stdout=None, stderr=None)
                before = [task] if chained else []
            client.wait_for_jobs([client.submit(job)])

        run(4, chained=False)
        return _timed(lambda: run(tasks, chained=False)), _timed(lambda: run(chain, chained=True))


def dask(tasks: int, chain: int) -> tuple[float, float]:
    from distributed import Client, LocalCluster

    def chained(client: Client) -> None:
        last = None
        for number in range(chain):
            last = client.submit(_true, last, number, pure=False)
        last.result()

    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        client.gather(client.map(_true, range(-4, 0), pure=False))
        fan_out = _timed(lambda: client.gather(client.map(_true, range(tasks), pure=False)))
        return fan_out, _timed(lambda: chained(client))


def prefect(tasks: int, chain: int) -> tuple[float, float]:
    os.environ |= {
        "PREFECT_HOME": tempfile.mkdtemp(dir=os.getcwd()),
        "PREFECT_LOGGING_LEVEL": "CRITICAL",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "300",
    }
    from prefect import flow, task
    from prefect.task_runners import ThreadPoolTaskRunner

    one = task(_true)

    @flow(task_runner=ThreadPoolTaskRunner(max_workers=2))
    def fan_out(count: int) -> None:
        for future in one.map(range(count)):
            future.result()

    @flow(task_runner=ThreadPoolTaskRunner(max_workers=2))
    def chained(count: int) -> None:
        last = None
        for _ in range(count):
            last = one.submit(last)
        last.result()

    fan_out(2)
    return _timed(lambda: fan_out(tasks)), _timed(lambda: chained(chain))


def main() -> None:
    peer, tasks, chain = globals()[sys.argv[1]], int(sys.argv[2]), int(sys.argv[3])
    os.environ["PATH"] = f"{os.path.dirname(sys.executable)}:{os.environ['PATH']}"
    fan_out, chained = peer(tasks, chain)
    print(json.dumps({"rate": tasks / fan_out, "step": chained / chain * 1000}), flush=True)
    os._exit(0)  # what they print while they end is nobody's business


if __name__ == "__main__":
    main()
