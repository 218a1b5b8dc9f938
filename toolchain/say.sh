# shellcheck shell=sh
# What a person sees, on stderr: one line a step with the seconds it took, and errors that say what to do.

saying=''
step_open=''

say() {
  printf 'baton: %s\n' "$1" >&2
}

step() {
  [ -n "$saying" ] || say "getting this clone ready (once)"
  saying=yes step_open=yes step_began=$(date +%s)
  printf '  %-46s' "$1" >&2
}

step_done() {
  step_open=''
  printf '%4d s\n' "$(($(date +%s) - step_began))" >&2
}

step_failed() {
  [ -z "$step_open" ] || printf '%s\n' "${1-failed}" >&2
  step_open=''
}

say_interrupted() {
  step_failed interrupted
  say "interrupted; the next run goes on from here"
}

# fail CODE FOUND WHAT-TO-DO…
# Exit code 1, or 2 where the setting that was given is wrong (fail_usage).
fail() {
  fail_with 1 "$@"
}

fail_usage() {
  fail_with 2 "$@"
}

fail_with() {
  step_failed
  exit_code=$1
  printf 'baton: %s: %s\n' "$2" "$3" >&2
  shift 3
  for remedy in "$@"; do
    printf '%s\n' "$remedy" | sed 's/^/  /' >&2
  done
  exit "$exit_code"
}
