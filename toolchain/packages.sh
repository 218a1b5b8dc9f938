# shellcheck shell=sh
# node_modules, exactly as package-lock.json says. Installed beside the tree and swapped in, so that a baton
# that is running keeps its modules until the new ones are complete. The stamp, a copy of the lockfile, comes last.

look_at_npm="See that npm reaches its registry, and run baton again."

need_npm() {
  command -v npm >/dev/null 2>&1 ||
    fail E_TOOLCHAIN_NPM "no npm on PATH" \
      "Install npm (it comes with Node; on Debian and Ubuntu: apt-get install npm), and run baton again."
}

# npm_ci FOLDER
npm_ci() {
  run become_npm_ci "$1" || return 1
  # npm calls a file that it could not write whole, as on a full disk, a warning
  ! grep -q TAR_ENTRY_ERROR "$log"
}

# npm runs on the Node beside it, never on the one in .toolchain: it finds its system-wide settings
# (proxies, certificates) by where its Node is. What the user's npmrc or an outer npm may have set, and must not
# change here, is said out loud; no install scripts, because nothing in the lockfile needs one.
become_npm_ci() {
  cd "$1" || return 1
  npm=$(command -v npm)
  PATH=${npm%/*}:$PATH
  unset npm_config_workspace npm_config_workspaces npm_config_local_prefix npm_config_prefix
  TMPDIR=$stage/tmp exec npm ci --ignore-scripts --include=dev --include=optional --package-lock --bin-links --global=false \
    --no-engine-strict --no-audit --no-fund --no-update-notifier --no-progress --loglevel=warn \
    --fetch-retry-mintimeout=1000 --fetch-retry-maxtimeout=10000
}

install_packages() {
  need_npm
  step "npm packages"
  tree=$stage/tree
  copy_manifests || fail_write
  npm_ci "$tree" || packages_failed
  swap_modules
  cp "$tree/package-lock.json" "$stage/lockfile" 2>>"$log" && mv -f "$stage/lockfile" "$packages_stamp" || fail_write
  step_done
}

packages_failed() {
  fail_if_disk_full
  if grep -q EUSAGE "$log"; then
    fail E_TOOLCHAIN_PACKAGES "package-lock.json does not agree with the package.json files:" "$(log_tail)" \
      "Run npm install --ignore-scripts, which brings it up to date, and run baton again."
  fi
  fail E_TOOLCHAIN_PACKAGES "npm could not install the packages:" "$(log_tail)" "$look_at_npm"
}

# each_manifest: where this repository's package.json files are; two levels hold all workspaces
each_manifest() (
  cd "$BATON_HOME" || exit 1
  for manifest in package.json */package.json */*/package.json; do
    case $manifest in node_modules/* | */node_modules/*) continue ;; esac
    [ ! -f "$manifest" ] || printf '%s\n' "$manifest"
  done
)

copy_manifests() {
  mkdir "$tree" && cp "$BATON_HOME/package-lock.json" "$tree/" || return 1
  [ ! -f "$BATON_HOME/.npmrc" ] || cp "$BATON_HOME/.npmrc" "$tree/" || return 1
  each_manifest >"$stage/manifests" || return 1
  while IFS= read -r manifest; do
    case $manifest in */*) mkdir -p "$tree/${manifest%/*}" || return 1 ;; esac
    cp "$BATON_HOME/$manifest" "$tree/$manifest" || return 1
  done <"$stage/manifests"
}

# npm keeps versions that only one workspace uses in that workspace's own node_modules
swap_modules() {
  rm -f "$packages_stamp"
  while IFS= read -r manifest; do
    modules=${manifest%package.json}node_modules
    put_in_place "$tree/$modules" "$BATON_HOME/$modules"
  done <"$stage/manifests"
}

# put_in_place NEW TARGET: two renames; the old one goes with the staging folder. NEW may be missing.
put_in_place() {
  old=$stage/old
  rm -rf "$old"
  [ ! -e "$2" ] && [ ! -h "$2" ] || mv "$2" "$old" 2>>"$log" || fail_write
  [ ! -e "$1" ] || mv "$1" "$2" 2>>"$log" || fail_write
}
