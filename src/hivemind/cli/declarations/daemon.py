"""The daemon's own command, apart from the table of all the others."""

from __future__ import annotations

from hivemind.cli.command import FLAG, Command, Option

DAEMON = Command(("daemon",), "Run this machine's node.", "hivemind.cli.commands.daemon:daemon", (),
    (Option("--config", "Settings file (/etc/hivemind/hivemind.toml).", short="-c", metavar="FILE",
            completes="file"),
     Option("--print-systemd-unit", "Print a systemd unit for these settings and end.", kind=FLAG),
     Option("--destroy", "Remove every trace of a node that does not run: its containers, network and"
            " data. There is no way back.", kind=FLAG)),
    ("daemon", "daemon --web-port 3000", "daemon --print-systemd-unit > /etc/systemd/system/hivemind.service"),
    "Every setting is also a variable, HIVEMIND_WEB_PORT, and a key in the settings file; see"
    " docs/configuration.md. Containers keep running when the daemon stops.", "Hive",
    derived="hivemind.cli.commands.daemon:options")  # fmt: skip
