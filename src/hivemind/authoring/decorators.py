"""`@task`, `@routine`, `@job`."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, overload

from hivemind.authoring.graph import (
    RESULT,
    Node,
    Secret,
    Value,
    building,
    current,
    is_building,
    json_template,
    template,
    type_of,
    use,
)
from hivemind.authoring.source import Located, script
from hivemind.errors import Invalid

Function = Callable[..., Any]
_NOTHING = "it says of no type that it returns"


class _Callable(ABC):
    """What tasks and routines have in common: a function that, called in a job, is a further task."""

    def __init__(self, function: Function, keys: dict[str, Any]) -> None:
        self.function = function
        self.keys = keys
        self.signature = inspect.signature(function)
        for parameter in self.signature.parameters.values():
            if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
                raise _at(
                    function, Invalid(f"{function.__name__} takes any arguments", hint="name each of them")
                )

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """In a job a further task; elsewhere, in tests say, the function itself."""
        if not is_building():
            return self.function(*args, **kwargs)
        return self._add(self._bound(args, kwargs), {})

    def map(self, values: Any, /, **constant: Any) -> Node:
        """A task for each of `values`, given as the first argument; what it stands for is the list of results."""
        first = next(iter(self.signature.parameters), None)
        if first is None:
            raise Invalid(f"{self.name} has no argument to map over")
        each = Value("item", what="an item")
        node = self._add(self._bound((each,), constant), {"for_each": template(values)})
        use(node, values)
        return node

    @property
    def name(self) -> str:
        return self.function.__name__

    def _bound(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        try:
            bound = self.signature.bind(*args, **kwargs)
        except TypeError as error:
            raise Invalid(f"{self.name}: {error}", hint=f"it is {self.name}{self.signature}") from None
        bound.apply_defaults()
        return dict(bound.arguments)

    def _outputs(self) -> dict[str, Any]:
        kind = type_of(self.signature.return_annotation)
        return {} if kind is None else {RESULT: {} if kind == "string" else {"type": kind}}

    def _placed(self, document: dict[str, Any], arguments: dict[str, Any]) -> Node:
        outputs = self._outputs()
        declared = {**outputs, **document.pop("outputs", {})}
        if declared:
            document["outputs"] = declared
        node = current(self.name).group.add(self.name, document, returns="" if outputs else _NOTHING)
        for value in arguments.values():
            use(node, value)
        return node

    @abstractmethod
    def _add(self, arguments: dict[str, Any], further: dict[str, Any]) -> Node:
        """A task of the graph, called with these; `further` are keys of its own."""


class TaskFunction(_Callable):
    """Its arguments are variables with their JSON, `ARG_<name>`; secrets are plain, `SECRET_<name>`."""

    def _add(self, arguments: dict[str, Any], further: dict[str, Any]) -> Node:
        env = {}
        read = []
        for name, value in arguments.items():
            if isinstance(value, Value) and value.secret:
                env[f"SECRET_{name}"] = template(value)
                read.append(f'"{name}": os.environ["SECRET_{name}"]')
            else:
                env[f"ARG_{name}"] = json_template(value)
                read.append(f'"{name}": json.loads(os.environ["ARG_{name}"])')
        text = script(self.function, "{" + ", ".join(read) + "}")
        own = {**self.keys, **further}
        env |= own.pop("env", {})
        return self._placed(
            {"shell": "python", "run": text, **({"env": env} if env else {}), **own}, arguments
        )


class Routine(_Callable):
    """Its arguments are inputs, which reach it as variables of their names."""

    def _add(self, arguments: dict[str, Any], further: dict[str, Any]) -> Node:
        current(self.name).routines.setdefault(self.name, self.document())
        given = {name: template(value) for name, value in arguments.items() if not self._default(name, value)}
        return self._placed({"uses": self.name, **({"with": given} if given else {}), **further}, arguments)

    def document(self) -> dict[str, Any]:
        inputs, read = {}, []
        for parameter in self.signature.parameters.values():
            inputs[parameter.name] = input_of(self.function, parameter)
            text = f'os.environ["{parameter.name}"]'
            plain = inputs[parameter.name].get("type", "string") == "string"
            value = text if plain else f'json.loads({text} or "null")'
            read.append(f'"{parameter.name}": {value}')
        body = script(self.function, "{" + ", ".join(read) + "}")
        found: dict[str, Any] = {"shell": "python", "run": body, **self.keys}
        return {**({"inputs": inputs} if inputs else {}), **found}

    def _default(self, name: str, value: Any) -> bool:
        return not isinstance(value, Value) and bool(self.signature.parameters[name].default == value)


class JobFunction:
    """A job. `document` is what YAML would have said."""

    def __init__(self, function: Function, keys: dict[str, Any]) -> None:
        self.function = function
        self.keys = keys
        self.lines: dict[str, int] = {}
        """Task -> the line that made it."""

    @property
    def name(self) -> str:
        return str(self.keys.get("name") or self.function.__name__.replace("_", "-").strip("-"))

    @property
    def line(self) -> int:
        return self.function.__code__.co_firstlineno

    def document(self) -> dict[str, Any]:
        """Runs the function once, with placeholders. Raises `Invalid`."""
        inputs = {}
        values: dict[str, Any] = {}
        for parameter in inspect.signature(self.function).parameters.values():
            inputs[parameter.name] = input_of(self.function, parameter)
            secret = inputs[parameter.name].get("secret", False)
            values[parameter.name] = Value(
                f"inputs.{parameter.name}", secret=secret, what=f"the input {parameter.name}"
            )
        with building() as build:
            self.function(**values)
        self.lines = {name: node.line for name, node in build.top.nodes.items()}
        keys = {key: value for key, value in self.keys.items() if key != "name"}
        schedule = keys.pop("schedule", None)
        if schedule is not None:
            keys["triggers"] = {**keys.get("triggers", {}), "schedule": schedule}
        if self.function.__doc__ and "description" not in keys:
            keys["description"] = inspect.cleandoc(self.function.__doc__).partition("\n")[0]
        found: dict[str, Any] = {"name": self.name, **keys}
        if inputs:
            found["inputs"] = inputs
        if build.routines:
            found["routines"] = build.routines
        found["tasks"] = build.top.tasks()
        for hook, group in build.top.hooks.items():
            found[hook] = group.tasks()
        return found

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        raise Invalid(
            f"{self.function.__name__} is a job, and is run by the hive",
            hint=f"hivemind job run {self.function.__code__.co_filename}",
        )


def input_of(function: Function, parameter: inspect.Parameter) -> dict[str, Any]:
    """The input that a parameter stands for."""
    found: dict[str, Any] = {}
    kind = "string" if parameter.annotation is parameter.empty else type_of(parameter.annotation)
    if kind is None:
        raise _at(
            function,
            Invalid(
                f"the input {parameter.name} of {function.__name__} is of a type that does not travel",
                hint="annotate it with str, int, float, bool, list, dict or Secret",
            ),
        )
    if kind != "string":
        found["type"] = kind
    if parameter.annotation in (Secret, "Secret"):
        found["secret"] = True
    if parameter.default is parameter.empty:
        found["required"] = True
    elif parameter.default is not None:
        found["default"] = template(parameter.default)
    return found


def _at(function: Function, error: Invalid) -> Invalid:
    found = Located(error.message, hint=error.hint)
    found.line = function.__code__.co_firstlineno
    return found


def brought(keys: dict[str, Any]) -> dict[str, Any]:
    """Python's ways to write keys of a task: `retries=3, retry_delay="5s"`, `gpus=1`, `if_=…`."""
    found = {key.rstrip("_"): value for key, value in keys.items() if value is not None}
    retry = dict(found.pop("retry", {}))
    if "retries" in found:
        retry["max"] = found.pop("retries")
    if "retry_delay" in found:
        retry["delay"] = found.pop("retry_delay")
    if retry:
        found["retry"] = retry
    resources = dict(found.pop("resources", {}))
    for key in ("cpus", "memory", "gpus"):
        if key in found:
            resources[key] = found.pop(key)
    if resources:
        found["resources"] = resources
    return found


@overload
def task(function: Function, /) -> TaskFunction: ...
@overload
def task(**keys: Any) -> Callable[[Function], TaskFunction]: ...
def task(function: Function | None = None, /, **keys: Any) -> Any:
    """A task whose body is Python. Keys are those of a task in YAML: image, timeout, retries, gpus, env, …"""
    if function is not None:
        return TaskFunction(function, {})
    return lambda given: TaskFunction(given, brought(keys))


@overload
def routine(function: Function, /) -> Routine: ...
@overload
def routine(**keys: Any) -> Callable[[Function], Routine]: ...
def routine(function: Function | None = None, /, **keys: Any) -> Any:
    """A routine whose body is Python: its parameters are inputs."""
    if function is not None:
        return Routine(function, {})
    return lambda given: Routine(given, keys)


@overload
def job(function: Function, /) -> JobFunction: ...
@overload
def job(**keys: Any) -> Callable[[Function], JobFunction]: ...
def job(function: Function | None = None, /, **keys: Any) -> Any:
    """A job: its parameters are inputs, what it calls are tasks. Keys are those of a job in YAML, and `schedule`."""
    if function is not None:
        return JobFunction(function, {})
    found = {key.rstrip("_"): value for key, value in keys.items()}
    return lambda given: JobFunction(given, found)
