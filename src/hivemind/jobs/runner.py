"""The runner of steps: a constant text for a POSIX shell. It needs nothing but the shell itself.

Its words, all made by `jobs.script`, never by a person:

    VALUES TEXTS                       how many variables HIVEMIND_VALUE_<k> and HIVEMIND_TEXT_<n> there are
    run N SHELL DIR [NAME FROM]… .     runs HIVEMIND_TEXT_<N> in a process of its own; DIR is a value's number, or -
    give N NAME FROM                   adds an output to those of step N
    join N M                           adds all outputs of step N to those of M; 0 is the task itself

where FROM is three words: `var <k> -`, or `take <n> <name>`, which is what step n wrote under that name. Variables
whose names begin with HIVEMIND_ are nobody else's. It ends with the exit code of the first step that fails, and with
125 when it cannot do its own part. A signal to stop goes to the step that runs; no other is begun then.
"""

RUNNER = r"""
HIVEMIND_own=$HIVEMIND_OUTPUT
HIVEMIND_values=$1
HIVEMIND_texts=$2
HIVEMIND_child=
HIVEMIND_stop=
HIVEMIND_newline='
'
shift 2

hivemind_fail() {
  printf 'hivemind: %s\n' "$1" >&2
  exit 125
}

hivemind_take() {
  HIVEMIND_value=
  HIVEMIND_found=
  [ -e "$HIVEMIND_STEPS/$1" ] || hivemind_fail "step $1 has written no outputs"
  while IFS= read -r HIVEMIND_line || [ -n "$HIVEMIND_line" ]; do
    HIVEMIND_key=${HIVEMIND_line%%=*}
    case $HIVEMIND_key in
      *'<<'*)
        HIVEMIND_key=${HIVEMIND_line%%'<<'*}
        HIVEMIND_end=${HIVEMIND_line#*'<<'}
        HIVEMIND_text=
        HIVEMIND_between=
        while IFS= read -r HIVEMIND_line || [ -n "$HIVEMIND_line" ]; do
          [ "$HIVEMIND_line" != "$HIVEMIND_end" ] || break
          HIVEMIND_text=$HIVEMIND_text$HIVEMIND_between$HIVEMIND_line
          HIVEMIND_between=$HIVEMIND_newline
        done ;;
      "$HIVEMIND_line") continue ;;
      *) HIVEMIND_text=${HIVEMIND_line#*=} ;;
    esac
    if [ "$HIVEMIND_key" = "$2" ]; then
      HIVEMIND_value=$HIVEMIND_text
      HIVEMIND_found=1
    fi
  done <"$HIVEMIND_STEPS/$1"
  [ -n "$HIVEMIND_found" ] || hivemind_fail "step $1 has not written the output $2"
}

hivemind_from() {
  case $1 in
    var) eval "HIVEMIND_value=\$HIVEMIND_VALUE_$2" ;;
    take) hivemind_take "$2" "$3" ;;
  esac
}

hivemind_give() {
  hivemind_from "$3" "$4" "$5"
  HIVEMIND_end=HIVEMIND_END
  while :; do
    case $HIVEMIND_value in
      *"$HIVEMIND_end"*) HIVEMIND_end=${HIVEMIND_end}_ ;;
      *) break ;;
    esac
  done
  printf '%s<<%s\n%s\n%s\n' "$2" "$HIVEMIND_end" "$HIVEMIND_value" "$HIVEMIND_end" >>"$HIVEMIND_STEPS/$1" ||
    hivemind_fail "the outputs of step $1 cannot be written"
}

hivemind_join() {
  [ -e "$HIVEMIND_STEPS/$1" ] || return 0
  HIVEMIND_to=$HIVEMIND_own
  [ "$2" = 0 ] || HIVEMIND_to=$HIVEMIND_STEPS/$2
  while IFS= read -r HIVEMIND_line || [ -n "$HIVEMIND_line" ]; do
    printf '%s\n' "$HIVEMIND_line" || hivemind_fail "the outputs of step $1 cannot be written"
  done <"$HIVEMIND_STEPS/$1" >>"$HIVEMIND_to"
}

hivemind_step() {
  HIVEMIND_n=$1
  HIVEMIND_shell=$2
  HIVEMIND_dir=$3
  shift 3
  while [ "$1" != . ]; do
    hivemind_from "$2" "$3" "$4"
    export "$1=$HIVEMIND_value"
    shift 4
  done
  if [ "$HIVEMIND_dir" != - ]; then
    hivemind_from var "$HIVEMIND_dir"
    case $HIVEMIND_value in
      /*) ;;
      *) HIVEMIND_value=./$HIVEMIND_value ;;
    esac
    cd "$HIVEMIND_value" || hivemind_fail "step $HIVEMIND_n cannot be run in $HIVEMIND_value"
  fi
  HIVEMIND_OUTPUT=$HIVEMIND_STEPS/$HIVEMIND_n
  export HIVEMIND_OUTPUT
  : >>"$HIVEMIND_OUTPUT" || hivemind_fail "$HIVEMIND_OUTPUT cannot be written"
  eval "HIVEMIND_value=\$HIVEMIND_TEXT_$HIVEMIND_n"
  set -- "$HIVEMIND_shell" "$HIVEMIND_value"
  while [ "$HIVEMIND_values" -gt 0 ]; do
    unset "HIVEMIND_VALUE_$HIVEMIND_values"
    HIVEMIND_values=$((HIVEMIND_values - 1))
  done
  while [ "$HIVEMIND_texts" -gt 0 ]; do
    unset "HIVEMIND_TEXT_$HIVEMIND_texts"
    HIVEMIND_texts=$((HIVEMIND_texts - 1))
  done
  case $1 in
    sh) exec /bin/sh -e -c -- "$2" ;;
    bash) exec bash -eo pipefail -c -- "$2" ;;
    python) exec python3 -c "$2" ;;
  esac
}

hivemind_pass() {
  HIVEMIND_stop=1
  HIVEMIND_woken=1
  [ -z "$HIVEMIND_child" ] || kill -s "$1" "$HIVEMIND_child" 2>/dev/null
}
trap 'hivemind_pass TERM' TERM INT QUIT
trap 'hivemind_pass HUP' HUP

hivemind_run() {
  [ -z "$HIVEMIND_stop" ] || exit 143
  printf 'begin %s\n' "$1" >>"$HIVEMIND_STEPS/status" || hivemind_fail "$HIVEMIND_STEPS cannot be written"
  (hivemind_step "$@") &
  HIVEMIND_child=$!
  [ -z "$HIVEMIND_stop" ] || kill -s TERM "$HIVEMIND_child" 2>/dev/null
  HIVEMIND_code=
  while :; do
    HIVEMIND_woken=
    wait "$HIVEMIND_child"
    HIVEMIND_now=$?
    [ "$HIVEMIND_now" != 127 ] || [ -z "$HIVEMIND_code" ] || break
    HIVEMIND_code=$HIVEMIND_now
    [ -n "$HIVEMIND_woken" ] || break
  done
  HIVEMIND_child=
  printf 'end %s %s\n' "$1" "$HIVEMIND_code" >>"$HIVEMIND_STEPS/status"
  [ "$HIVEMIND_code" = 0 ] || exit "$HIVEMIND_code"
  [ -z "$HIVEMIND_stop" ] || exit 143
}

while [ $# -gt 0 ]; do
  case $1 in
    run)
      shift
      hivemind_run "$@"
      while [ "$1" != . ]; do shift; done
      shift ;;
    give)
      shift
      hivemind_give "$@"
      shift 5 ;;
    join)
      hivemind_join "$2" "$3"
      shift 3 ;;
    *) hivemind_fail "$1 is not understood" ;;
  esac
done
"""
