# shellcheck shell=sh
# One invocation prepares at a time; the others wait. Survives a killed holder without anybody's help.
#
# Every invocation that wants the turn lays a file named after itself, "<pid>-<start time>", in .toolchain/claims,
# then looks around: alone among the living, it has the turn; otherwise it takes its file back and waits.
# Two can never both have it: whoever laid the file later looked later, and saw the other's. A dead process's
# file is known by its name (a reused pid has another start time), so removing it cannot hit anyone alive.

claim_wait_limit_s=1800

# sets me
claim() {
  me=$$-$(started $$)
  waiting_since=''
  while ! claimed; do
    if [ -z "$waiting_since" ]; then
      waiting_since=$(date +%s)
      say "another baton (pid ${holder%%-*}) is getting this clone ready; waiting for it"
    elif [ $(($(date +%s) - waiting_since)) -gt "$claim_wait_limit_s" ]; then
      fail E_TOOLCHAIN_BUSY "pid ${holder%%-*} has been getting this clone ready for half an hour" \
        "If it hangs, end it (kill ${holder%%-*}) and run baton again."
    fi
    # unequal pauses, so that two who gave way to each other do not meet again
    sleep "0.$((1 + $$ % 5))" 2>/dev/null || sleep 1
  done
}

claimed() {
  ! somebody_else || return 1
  { printf '' >"$kit/claims/$me"; } 2>/dev/null || fail_write
  ! somebody_else || {
    give_back
    return 1
  }
}

# sets holder to a living claimant other than this one; removes the dead ones' claims
somebody_else() {
  for path in "$kit/claims"/*; do
    holder=${path##*/}
    case $holder in "$me" | '*') continue ;; esac
    ! alive "$holder" || return 0
    rm -f "$path"
  done
  return 1
}

give_back() {
  rm -f "$kit/claims/$me"
}

# alive PID-START
alive() {
  [ "$(started "${1%%-*}")" = "${1#*-}" ]
}

# The start time of a process in whatever unit the system gives; empty when it has ended. A zombie has ended.
started() {
  if [ -r /proc/self/stat ]; then
    { IFS= read -r stat <"/proc/$1/stat"; } 2>/dev/null || return 0
    # the second field is the program's name in brackets, which may hold blanks and brackets
    # shellcheck disable=SC2086
    set -- ${stat##*\) }
    case $1 in Z | X) return 0 ;; esac
    printf '%s\n' "${20}"
  else
    LC_ALL=C ps -o lstart= -p "$1" 2>/dev/null | tr -s ' :' '__'
  fi
}
