"""What may stand at the word being typed, and the scripts by which bash, zsh and fish ask for it.

The scripts know nothing of the commands: they hand the words to `hivemind __complete` and show its answer, one
`word<TAB>meaning` a line. So they never age, and names of apps and replicas are those of this moment.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from hivemind.cli import declarations
from hivemind.cli.command import FLAG, GLOBAL_OPTIONS, Argument, Command, Option, whole
from hivemind.cli.context import Context
from hivemind.errors import HivemindError

Candidate = tuple[str, str]
FILES = (":files", "")
"""Tells the shell to complete names of files itself."""


def candidates(context: Context, words: list[str]) -> list[Candidate]:
    """For `words` after `hivemind`, the last of them being typed."""
    *before, word = words
    found = _after_global_options(context, before, word)
    return [c for c in found if c == FILES or c[0].startswith(word)]


def _after_global_options(context: Context, before: list[str], word: str) -> Iterator[Candidate]:
    known = {s: o for o in GLOBAL_OPTIONS for s in o.spellings}
    while before and before[0].startswith("-"):
        option = known.get(before.pop(0))
        if option and option.kind != FLAG:
            if not before:
                yield from _values(context, option)
                return
            before.pop(0)
    if not before:
        yield from _roots(word)
    elif declarations.group(before[0]) and len(before) == 1:
        yield from {c.words[1]: c.summary for c in declarations.verbs(before[0])}.items()
    elif declarations.group(before[0]):
        command, after = declarations.leading(before)
        if command:
            yield from _inside(context, whole(command), after, word)
        elif len(before) == 2:
            mine = [c for c in declarations.verbs(before[0]) if c.words[1] == before[1] and len(c.words) > 2]
            yield from ((c.words[2], c.summary) for c in mine)
    elif command := declarations.find((before[0],)):
        yield from _inside(context, whole(command), before[1:], word)


def _roots(word: str) -> Iterator[Candidate]:
    yield from ((g.name, g.summary) for g in declarations.GROUPS)
    yield from ((c.words[0], c.summary) for c in declarations.COMMANDS if len(c.words) == 1 and not c.hidden)
    if word.startswith("-"):
        yield from ((o.name, o.help) for o in GLOBAL_OPTIONS)


def _inside(context: Context, command: Command, before: list[str], word: str) -> Iterator[Candidate]:
    options = {s: o for o in (*GLOBAL_OPTIONS, *command.options) for s in o.spellings}
    flags = {a.flag: a for a in command.arguments if a.flag}
    used, filled, plain = set[str](), set[str](), 0
    index = 0
    while index < len(before):
        each = before[index]
        index += 1
        if each == "--":
            return
        if each in flags or (each in options and options[each].kind != FLAG):
            named: Argument | Option = flags.get(each) or options[each]
            if index == len(before):
                yield from _values(context, named, before)
                return
            filled.add(named.key)
            index += 1
        elif each.startswith("-") and each != "-":
            used.add(each)
        else:
            plain += 1
    places = [a for a in command.arguments if a.key not in filled]
    place = places[plain] if plain < len(places) else next((a for a in places if a.many), None)
    if any(a.rest and not a.dashed for a in places[:plain]):
        return  # words of the inner command are its own matter
    if word.startswith("-"):
        yield from ((a.flag, a.help) for a in flags.values() if a.key not in filled)
        yield from ((o.name, o.help) for o in options.values() if not o.hidden and o.name not in used)
    elif place and not place.rest:
        yield from _values(context, place, before)


def _values(
    context: Context, named: Argument | Option, before: list[str] | None = None
) -> Iterator[Candidate]:
    if named.choices:
        yield from ((choice, "") for choice in named.choices)
    elif named.completes == "file":
        yield FILES
    elif named.completes == "object":
        from hivemind.cli.commands.get import kind

        try:
            resource = kind(next((w for w in before or [] if not w.startswith("-")), ""))
        except HivemindError:
            return
        yield from _asked(
            lambda: [(d.name or d.id, "") for d in context.hive.collection(resource).list(context.project)]
        )
    elif named.completes == "task":
        run = next((word for word in before or [] if not word.startswith("-")), "")
        yield from _asked(lambda: [(t.path, t.state) for t in context.hive.runs.tasks(run, context.project)])
    elif named.completes == "job-or-file":
        yield from _asked(lambda: list(_NAMES["job"](context)))
        yield FILES
    elif named.completes in _NAMES:
        yield from _asked(lambda: list(_NAMES[named.completes](context)))


def _asked(ask: Callable[[], list[Candidate]]) -> list[Candidate]:
    """Nothing when no daemon answers: a shell that completes is no place for an error."""
    try:
        return ask()
    except HivemindError:
        return []


def _apps(context: Context) -> Iterator[Candidate]:
    return ((a.name, f"{a.ready} {a.status.phase}") for a in context.hive.apps.list(context.project))


def _targets(context: Context) -> Iterator[Candidate]:
    yield from _apps(context)
    live = [a for a in context.hive.allocations.list(context.project) if a.state in ("placed", "healthy")]
    yield from ((a.name, a.shown) for a in live)


def _kinds(context: Context) -> Iterator[Candidate]:
    from hivemind.model.registry import RESOURCES

    return ((r.plural, "") for r in RESOURCES.values())


_NAMES: dict[str, Callable[[Context], Iterator[Candidate]]] = {
    "app": _apps,
    "target": _targets,
    "kind": _kinds,
    "node": lambda context: ((n.name, n.shown) for n in context.hive.nodes.list()),
    "project": lambda context: ((p.name, f"{p.apps} apps") for p in context.hive.projects.list()),
    "person": lambda context: (
        (p.name, p.role) for p in context.hive.principals.list() if p.type == "person"
    ),
    "image": lambda context: ((i.name, "") for i in context.hive.images.list()),
    "job": lambda context: ((j.name, j.state) for j in context.hive.jobs.list(context.project)),
    "run": lambda context: (
        (r.name, r.state) for r in sorted(context.hive.runs.list(context.project), key=lambda r: -r.created)
    ),
    "routine": lambda context: ((r.name, "") for r in context.hive.routines.list(context.project)),
    "circuit": lambda context: ((c.name, c.state) for c in context.hive.circuits.list(context.project)),
    "config": lambda context: ((c.name, "") for c in context.hive.configs.list(context.project)),
    "secret": lambda context: ((s.name, "") for s in context.hive.secrets.list(context.project)),
    "volume": lambda context: ((v.name, "") for v in context.hive.volumes.list(context.project)),
    "snapshot": lambda context: ((s.name, s.volume) for s in context.hive.snapshots.list(context.project)),
    "backup-target": lambda context: (
        (t.name, "") for t in context.hive.backup_targets.list(context.project)
    ),
    "class": lambda context: ((c.name, c.driver) for c in context.hive.storage_classes.list()),
    "restart": lambda context: ((word, "") for word in ("always", "on-failure", "no")),
    "command": lambda context: ((w, "") for c in declarations.COMMANDS if not c.hidden for w in c.words[:1]),
}

_BASH = r"""# bash completion for hivemind
_hivemind() {
    local cur words cword line
    if declare -F _get_comp_words_by_ref >/dev/null; then
        _get_comp_words_by_ref -n =: cur words cword
    else
        cur=${COMP_WORDS[COMP_CWORD]} words=("${COMP_WORDS[@]}") cword=$COMP_CWORD
    fi
    COMPREPLY=()
    while IFS=$'\t' read -r line _; do
        if [[ $line == :files ]]; then
            compopt -o filenames 2>/dev/null
            COMPREPLY+=($(compgen -f -- "$cur"))
        elif [[ -n $line ]]; then
            COMPREPLY+=("$line")
        fi
    done < <("${words[0]}" __complete -- "${words[@]:1:cword}" 2>/dev/null)
    if declare -F __ltrim_colon_completions >/dev/null; then
        __ltrim_colon_completions "$cur"
    fi
}
complete -F _hivemind hivemind
"""

_ZSH = r"""#compdef hivemind
_hivemind() {
    local line word meaning
    local -a found
    while IFS= read -r line; do
        word=${line%%$'\t'*}
        meaning=${line#*$'\t'}
        if [[ $word == :files ]]; then
            _files
        elif [[ $line == *$'\t'* ]]; then
            found+=("${word//:/\\:}:$meaning")
        else
            found+=("${word//:/\\:}")
        fi
    done < <("${words[1]}" __complete -- "${(@)words[2,CURRENT]}" 2>/dev/null)
    (( ${#found} )) && _describe hivemind found
}
if [[ $funcstack[1] == _hivemind ]]; then
    _hivemind "$@"
else
    compdef _hivemind hivemind
fi
"""

_FISH = r"""# fish completion for hivemind
function __hivemind_complete
    set -l words (commandline -opc) (commandline -ct)
    for line in ($words[1] __complete -- $words[2..-1] 2>/dev/null)
        if test "$line" = ":files"
            __fish_complete_path (commandline -ct)
        else
            printf '%s\n' $line
        end
    end
end
complete -c hivemind -f -a '(__hivemind_complete)'
"""

SCRIPTS = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}
