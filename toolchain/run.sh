# shellcheck shell=sh
# Outside programs, run so that they never outlive their purpose: an interrupt ends them at once, and if the
# launcher is killed with SIGKILL, the next one ends what it left running before it clears its staging folder.

child=''

# run COMMAND…: output goes to the log
run() {
  "$@" </dev/null >>"$log" 2>&1 &
  child=$!
  printf '%s\n' "$child-$(started "$child")" >"$stage/child"
  wait "$child"
  run_code=$?
  child=''
  rm -f "$stage/child"
  return "$run_code"
}

end_child() {
  [ -z "$child" ] || end_process "$child-$(started "$child")"
  child=''
}

clear_staging() {
  for left in "$kit/staging"/*; do
    orphan=''
    [ ! -r "$left/child" ] || IFS= read -r orphan <"$left/child"
    case $orphan in *-?*) end_process "$orphan" ;; esac
    rm -rf "$left" 2>/dev/null
  done
}

# end_process PID-START: politely, and after about three seconds not
end_process() {
  tries=0
  while alive "$1" && [ "$tries" -lt 40 ]; do
    [ "$tries" -lt 30 ] && signal=TERM || signal=KILL
    kill -s "$signal" "${1%%-*}" 2>/dev/null
    sleep 0.1 2>/dev/null || sleep 1
    tries=$((tries + 1))
  done
}

# The last lines of the log that say what went wrong, for an error message.
log_tail() {
  # npm's own usage text and the place of its log help nobody
  sed -e '/Clean install a project/,$d' -e '/complete log of this run/,$d' "$log" >"$stage/tail" 2>/dev/null
  { grep -iE '^(npm (error|err!)|[EW]:)|error|cannot|not found|no space|denied' "$stage/tail" || cat "$stage/tail"; } |
    grep -viE '^npm (error|err!)$' | tail -n 6
}
