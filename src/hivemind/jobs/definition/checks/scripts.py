"""Shell text is constant: an expression within it would be code made of data."""

from __future__ import annotations

from collections.abc import Sequence

from hivemind.jobs.definition.checks.spots import Group, spots
from hivemind.jobs.definition.finding import Findings, Path
from hivemind.model.job import JobSpec, Step

_MOST = 100_000
_HINT = 'give the value a variable, env: {NAME: ${{ … }}}, and write "$NAME" in the script'
_CALL_HINT = 'inputs of a routine are variables already: write "$name" for ${{ inputs.name }}'
_RUNS_TEXT = {"-c", "-e", "--eval", "--command", "-lc", "-ec", "-xc", "-exc", "-euc", "-cl", "-ce", "-ic"}
_SHELLS = {"sh", "bash", "dash", "ash", "zsh", "ksh", "fish", "python", "python3", "perl", "ruby", "node", "php",
           "psql", "mysql", "su", "busybox"}  # fmt: skip


def check_group(group: Group, findings: Findings) -> None:
    for spot in spots(group):
        if spot.task.run is not None:
            check_script(spot.task.run, (*spot.path, "run"), findings)
        check_steps(spot.task.steps, (*spot.path, "steps"), findings)
        _check_command((*(spot.task.entrypoint or ()), *(spot.task.command or ())), spot.path, findings)


def check_routines(spec: JobSpec, findings: Findings) -> None:
    for name, routine in spec.routines.items():
        path: Path = ("spec", "routines", name)
        if routine.run is not None:
            check_script(routine.run, (*path, "run"), findings, _CALL_HINT)
        check_steps(routine.steps, (*path, "steps"), findings, _CALL_HINT)


def check_steps(steps: Sequence[Step], path: Path, findings: Findings, hint: str = _HINT) -> None:
    for number, step in enumerate(steps):
        if step.run is not None:
            check_script(step.run, (*path, number, "run"), findings, hint)


def check_script(text: str, path: Path, findings: Findings, hint: str = _HINT) -> None:
    if "${{" in text:
        findings.add(path, "a script cannot hold ${{ … }}: the value would be run as a part of it", hint)
    if "\0" in text:
        findings.add(path, "the script holds a NUL byte", "take it out")
    if len(text.encode("utf-8", "surrogatepass")) > _MOST:
        findings.add(path, f"the script is longer than {_MOST:,} bytes", "put it into a file of the image")
    if not text.strip():
        findings.add(path, "the script is empty", "write commands")


def _check_command(words: tuple[str, ...], path: Path, findings: Findings) -> None:
    """Behind `sh -c` and its like an argument is code."""
    code = False
    shell = False
    for word in words:
        if code and "${{" in word:
            findings.add(
                (*path, "command"), "${{ … }} behind -c would be run as a part of the script", _HINT
            )  # fmt: skip
            return
        shell = shell or word.rpartition("/")[2] in _SHELLS
        code = code or (shell and word in _RUNS_TEXT) or word == "-c"
