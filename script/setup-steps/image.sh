# The base image. Its root filesystem takes longest and needs none of our programs, so it is built beside them;
# only the initrd holds the agent, and comes last. Sourced, never run.
# shellcheck shell=bash

setup_image() {
  await_steps
}
