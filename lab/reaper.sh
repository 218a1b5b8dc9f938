#!/bin/sh
# Cleans up after a lab whose own process may be gone. Reads from its standard input, which the lab holds open:
#   process <pid> <start time>   a server of the lab (the start time tells it from a stranger with the same pid)
#   directory <path>             a directory of the lab
# At the end of input, however it came, it kills those servers and removes those directories.
trap '' INT TERM HUP
processes=
newline='
'
directories=
while read -r kind first second; do
  case $kind in
    process) processes="$processes $first:$second" ;;
    directory) directories="$directories$first$newline" ;;
  esac
done
# alive PID START: the same process is still there and is more than a zombie
alive() {
  read -r line 2>/dev/null <"/proc/$1/stat" || return 1
  started=$2
  set -- ${line##*) }
  [ "$1" != Z ] && [ "$1" != X ] && [ "${20}" = "$started" ]
}
for process in $processes; do
  alive "${process%:*}" "${process#*:}" && kill -9 "${process%:*}" 2>/dev/null
done
for process in $processes; do
  tries=0
  while alive "${process%:*}" "${process#*:}" && [ "$tries" -lt 200 ]; do
    sleep 0.05
    tries=$((tries + 1))
  done
done
IFS=$newline
for directory in $directories; do rm -rf "$directory"; done
