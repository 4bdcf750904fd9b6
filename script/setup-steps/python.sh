# What the tests of the Python SDK use, at exact versions, in a virtual environment under .build. Sourced, never run.
# shellcheck shell=bash

readonly python_environment="$root/.build/python"

# Its wheels are kept beside it: the tests install from them and so need no network.
setup_python() {
  local hash
  hash=$(hash_of sdk/python/test-requirements.txt)
  if is_fresh python "$hash" "$python_environment/bin/python"; then return; fi
  step "Python packages of the tests" fetch_python_packages
  mark_fresh python "$hash"
}

# The distribution's Python makes environments only without pip; its pip can install into them.
fetch_python_packages() {
  local requirements="$root/sdk/python/test-requirements.txt"
  rm -rf "$python_environment"
  python3 -m venv --without-pip "$python_environment"
  python3 -m pip --disable-pip-version-check download --progress-bar off --requirement "$requirements" --dest "$python_environment/wheels"
  python3 -m pip --disable-pip-version-check --python "$python_environment/bin/python" install --progress-bar off \
    --no-index --find-links "$python_environment/wheels" --requirement "$requirements"
}
