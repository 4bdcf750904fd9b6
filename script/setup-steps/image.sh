# The base image. Its root filesystem takes longest and needs none of our programs, so it is built beside them;
# only the initrd holds the agent, and comes last. Sourced, never run.
# shellcheck shell=bash

setup_image() {
  if [ ${#step_names[@]} -gt 0 ]; then
    begin_step "base image" build_image
    await_steps
  fi
  step "base image with the agent" build_image
}

# Leaves out what is there already, in half a second.
build_image() { "$root/bin/instavm" image build; }
