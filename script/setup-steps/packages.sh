# Packages of the distribution. Sourced, never run.
# shellcheck shell=bash

# What running InstaVM and building its image takes, beside Node and Rust.
readonly base_packages=(ca-certificates gcc libc6-dev qemu-system-x86 mmdebstrap debian-archive-keyring erofs-utils e2fsprogs)
# What the tests and the benchmark compare with or look through.
readonly test_packages=(curl jq bubblewrap runsc python3 python3-pip iproute2 procps)

# Installs all that is missing in one go. setup_packages <with tests: yes | no>
setup_packages() {
  local wanted=("${base_packages[@]}") missing
  if [ "$1" = yes ]; then wanted+=("${test_packages[@]}"); fi
  # It fetches Node and pnpm, and the npm of the image.
  if ! command -v npm >/dev/null; then wanted+=(npm); fi
  add_rust_to_path
  if ! rust_is_here "$1"; then
    update_package_lists
    # shellcheck disable=SC2207 # package names are words
    wanted+=($(rust_packages "$1"))
  fi
  # shellcheck disable=SC2207
  missing=($(not_installed "${wanted[@]}"))
  if [ ${#missing[@]} -gt 0 ]; then
    update_package_lists
    say "  packages: ${missing[*]}"
    step "packages" apt_get_patiently install --no-install-recommends "${missing[@]}"
  fi
  require_rust "$1"
}

# Those of the packages that are not installed.
not_installed() {
  local installed package
  installed=$(dpkg-query -W -f '${binary:Package} ${db:Status-Status}\n' "$@" 2>/dev/null | sed -n 's/^\([^: ]*\)[^ ]* installed$/\1/p' || true)
  for package in "$@"; do
    grep -qxF "$package" <<<"$installed" || printf '%s\n' "$package"
  done
}

# A version that apt would install, empty when it knows none. The lists must have been fetched.
candidate_of() {
  apt-cache policy "$1" 2>/dev/null | sed -n 's/^  Candidate: //p' | grep -v '^(none)$' || true
}

package_lists_are_new=no
update_package_lists() {
  if [ "$package_lists_are_new" = yes ]; then return; fi
  step "package lists" apt_get_patiently update
  package_lists_are_new=yes
}

# Another apt may hold its locks: tried again for two minutes.
apt_get_patiently() {
  local attempt status output="$log_dir/apt-attempt"
  for attempt in $(seq 1 24); do
    status=0
    DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1 apt-get -q -y -o DPkg::Lock::Timeout=120 -o Acquire::Retries=3 \
      -o DPkg::Options::=--force-confold "$@" 2>&1 | tee "$output" || status=$?
    if [ "$status" -eq 0 ]; then return 0; fi
    grep -q 'Could not get lock\|Unable to lock\|Unable to acquire' "$output" || return "$status"
    echo "another apt is at work; attempt $attempt of 24"
    sleep 5
  done
  return "$status"
}
