"""What a runtime must make of an app's configs and secrets, end to end."""

from __future__ import annotations

from tests.e2e.daemon import Daemon

FIRST, SECOND = "first word of mouth", "second word of mouth"


def gets_its_contents(node: Daemon) -> None:
    """As files of its user and as variables; a changed secret rolls the app. Needs busybox:1."""
    node.cli("config", "create", "site", "--from-file", "motd=-", stdin="hello")
    node.cli("secret", "create", "db", "--from-file", "token=-", stdin=FIRST)
    node.cli(
        "app", "deploy", "reader", "--image", "busybox:1", "--user", "1000:1000", "--secret", "db",
        "--env-secret", "TOKEN=db/token", "--config", "site:/etc/site", "--stop-signal", "SIGKILL",
        "--update-min-healthy", "200ms", "--", "sh", "-c", "cat /run/secrets/db/token && exec sleep 1000000",
    )  # fmt: skip
    script = "id -u; cat /run/secrets/db/token; echo; echo $TOKEN; cat /etc/site/motd"
    assert node.cli("exec", "reader", "sh", "-c", script).out == f"1000\n{FIRST}\n{FIRST}\nhello"
    assert FIRST not in node.cli("describe", "app", "reader").out
    node.cli("secret", "set", "db", "--from-file", "token=-", stdin=SECOND)
    assert node.cli("exec", "reader", "sh", "-c", script).out == f"1000\n{SECOND}\n{SECOND}\nhello"
    node.cli("app", "rm", "reader")
    node.cli("secret", "rm", "db")
    node.cli("config", "rm", "site")
    assert list((node.run / "contents").iterdir()) == []
