"""A job in Python: its function is run once, here, to describe the graph; tasks run where they are placed.

    hivemind job validate examples/jobs/python_authored.py
    hivemind job run examples/jobs/python_authored.py --input 'days=["mon","tue"]'

Arguments and results are JSON. A task's source travels alone, so it imports what it needs itself.
"""

from hivemind.authoring import cron, finally_, group, job, routine, sh, task


@routine(description="Words of one day.")
def fetch(day: str) -> list[str]:
    return [f"{day}-{n}" for n in range(3)]


@task(retries=2, retry_delay="1s", timeout="5m")
def count(batches: list) -> dict:
    words = [word for batch in batches for word in batch]
    return {"words": len(words), "first": min(words)}


@task
def report(found: dict) -> str:
    text = f"{found['words']} words, beginning with {found['first']}"
    print(text)
    return text


@job(
    schedule=cron("0 2 * * *", tz="Europe/Paris", missed="last"),
    priority="high",
    outputs={"text": "tasks.report.outputs.result"},
)
def python_authored(days: list[str] = ["mon", "tue", "wed"]):  # noqa: B006 - it becomes the default of an input
    """Counts words, in Python."""
    found = count(fetch.map(days))
    told = report(found)
    with group("publish", sequence=True) as publish:
        sh('echo "$TEXT"', id="show", env={"TEXT": told})
        sh("echo published", id="post")
    sh("echo nobody will know >&2", id="alert").after(publish, on="failure")
    with finally_():
        sh("echo done", id="tidy")
