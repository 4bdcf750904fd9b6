# Packages of the distribution. Sourced, never run.
# shellcheck shell=bash

# What running InstaVM and building its image takes, beside Node and Rust.
readonly base_packages=(ca-certificates gcc libc6-dev qemu-system-x86 mmdebstrap debian-archive-keyring erofs-utils e2fsprogs)
# What the tests and the benchmark compare with or look through.
readonly test_packages=(curl bubblewrap runsc python3 iproute2 procps)

package_installed() {
  [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

# A version that apt would install, empty when it knows none. The lists must have been fetched.
candidate_of() {
  LC_ALL=C apt-cache policy "$1" 2>/dev/null | sed -n 's/^  Candidate: //p' | grep -v '^(none)$' || true
}

apt_updated=no
# Another apt may hold the lock of the lists: tried again for two minutes.
update_package_lists() {
  if [ "$apt_updated" = yes ]; then return; fi
  step "package lists" apt_get_patiently update
  apt_updated=yes
}

apt_get_patiently() {
  local attempt status=0
  for attempt in $(seq 1 24); do
    status=0
    DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1 apt-get -q -y \
      -o DPkg::Lock::Timeout=120 -o Acquire::Retries=3 -o DPkg::Options::=--force-confold "$@" 2>&1 |
      tee "$log_dir/apt-attempt" || status=$?
    if [ "$status" -eq 0 ]; then return 0; fi
    grep -q 'Could not get lock\|Unable to acquire' "$log_dir/apt-attempt" || return "$status"
    echo "another apt is at work; attempt $attempt of 24"
    sleep 5
  done
  return "$status"
}

# install_packages <step name> <package…>: those that are missing.
install_packages() {
  local name=$1 package missing=()
  shift
  for package in "$@"; do
    package_installed "$package" || missing+=("$package")
  done
  if [ ${#missing[@]} -eq 0 ]; then return; fi
  update_package_lists
  step "$name (${missing[*]})" apt_get_patiently install --no-install-recommends "${missing[@]}"
}
