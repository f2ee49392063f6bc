"""What becomes of a run: events in, changed records out. See `Workflow`."""

from hivemind.jobs.workflow.attempts import next_attempt
from hivemind.jobs.workflow.timing import alarm
from hivemind.jobs.workflow.workflow import Workflow

__all__ = ["Workflow", "alarm", "next_attempt"]
