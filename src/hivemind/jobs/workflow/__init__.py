"""What becomes of a run: events in, changed records out. See `Workflow`."""

from hivemind.jobs.workflow.workflow import Workflow

__all__ = ["Workflow"]
