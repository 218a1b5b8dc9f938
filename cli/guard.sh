#!/bin/sh
# guard.sh PROGRAM [ARGS]: runs a program that must not outlive its parent, however the parent ends.
# The parent holds this shell's standard input open. When it closes (the parent is gone, kill -9 included)
# or SIGTERM comes, the program gets SIGTERM, and SIGKILL if it is still there 5 s later.
trap '' INT HUP

# finish PID, in a shell of its own
finish() {
  kill -TERM "$1" && kill -CONT "$1"
  tries=0
  while kill -0 "$1" && [ "$tries" -lt 50 ]; do
    sleep 0.1
    tries=$((tries + 1))
    # One that came between its fork and its exec is lost.
    [ "$tries" -ne 2 ] || kill -TERM "$1"
  done
  kill -KILL "$1"
}

end() {
  told=yes
  [ -z "$program" ] || {
    finish "$program" >/dev/null 2>&1 &
    finishing=$!
  }
}

# Before there is a program: a SIGTERM that came between two of these lines would leave it without a guard.
program='' told='' finishing=''
trap end TERM
exec 3<&0
"$@" </dev/null 3<&- &
program=$!
[ -z "$told" ] || end
(
  # Its own descriptors only: a reader of the program's output must see it end with the program.
  exec >/dev/null 2>&1
  read -r line <&3
  finish "$program"
) &
watch=$!
exec 3<&-
while :; do
  wait "$program"
  code=$?
  kill -0 "$program" 2>/dev/null || break
done
# shellcheck disable=SC2086
kill -KILL "$watch" $finishing 2>/dev/null
exit "$code"
