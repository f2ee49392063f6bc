"""`python -m hivemind` is the command `hivemind`."""

from hivemind.cli.main import run

if __name__ == "__main__":
    run()
