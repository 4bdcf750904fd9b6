# Node and pnpm: the machine's Node when it is new enough, else one under .tools/. Sourced, never run.
# shellcheck shell=bash

readonly tools_bin="$root/.tools/node_modules/.bin"

# The Node to use, empty when there is none yet.
find_node() {
  local candidate
  for candidate in "$tools_bin/node" "$(command -v node || true)"; do
    if [ -x "$candidate" ] && node_is_new_enough "$candidate"; then
      printf '%s' "$candidate"
      return
    fi
  done
}

node_is_new_enough() {
  local seen
  seen=$("$1" --version 2>/dev/null) || return 1
  version_at_least "${seen#v}" "$node_minimum"
}

setup_node() {
  local wanted=("pnpm@$pnpm_version") hash
  if [ -z "$(command -v node)" ] || ! node_is_new_enough "$(command -v node)"; then
    wanted+=("node@$node_version")
  fi
  hash=$(printf '%s ' "${wanted[@]}" | sha256sum | cut -d ' ' -f 1)
  if ! is_fresh tools "$hash" "$tools_bin/pnpm" || [ -z "$(find_node)" ]; then
    if ! command -v npm >/dev/null; then install_packages "npm, to fetch Node" npm; fi
    mkdir -p "$root/.tools"
    step "tools: ${wanted[*]}" npm --prefix "$root/.tools" install --no-audit --no-fund --no-package-lock --save-exact "${wanted[@]}"
    mark_fresh tools "$hash"
  fi
  if [ -z "$(find_node)" ]; then
    fail "no Node $node_minimum or newer after installing node@$node_version under .tools." "Look at .build/logs, or install Node $node_minimum or newer yourself."
  fi
  PATH="$root/node_modules/.bin:$tools_bin:$(dirname "$(find_node)"):$PATH"
  export PATH
}

setup_javascript() {
  local hash
  hash=$(hash_of package.json pnpm-lock.yaml pnpm-workspace.yaml $(cd "$root" && ls -d {apps,packages,sdk}/*/package.json {bench,e2e,protocol,script}/package.json))
  if is_fresh javascript "$hash" "$root/node_modules/.modules.yaml"; then return; fi
  (cd "$root" && step "JavaScript packages" pnpm install --frozen-lockfile)
  mark_fresh javascript "$hash"
}

setup_protocol() {
  local hash
  hash=$(hash_of protocol/instavm protocol/buf.yaml protocol/buf.gen.yaml)
  if is_fresh protocol "$hash" "$root/protocol/gen"; then return; fi
  step "protocol code" "$root/script/generate"
  mark_fresh protocol "$hash"
}
