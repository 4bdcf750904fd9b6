# Steps that say what they do while they do it. Sourced, never run.
# shellcheck shell=bash
#
# A step's output goes to a log under .build/logs; the terminal gets one line when it starts, its latest
# output every few seconds while it is long, and its time when it ends. A failed step shows the end of its log.

readonly log_dir="$root/.build/logs"
readonly progress_every_s=10

say() { printf '%s\n' "$*" >&2; }

# fail <what was seen and expected> [<what to do next>]
fail() {
  say "error: $1"
  if [ $# -gt 1 ]; then say "next:  $2"; fi
  exit 1
}

now_ms() { date +%s%3N; }

# seconds_since <start in ms>: "3.2 s"
seconds_since() {
  local ms=$(($(now_ms) - $1))
  printf '%d.%d s' $((ms / 1000)) $((ms % 1000 / 100))
}

log_of() { printf '%s/%s.log' "$log_dir" "$(printf '%s' "$1" | tr -c 'a-zA-Z0-9\n' '-')"; }

# The latest line of a log without colours and carriage returns, cut to fit a terminal.
latest_line() {
  tail -c 2000 "$1" 2>/dev/null | tr '\r' '\n' | sed -e 's/\x1b\[[0-9;?]*[a-zA-Z]//g' | grep -v '^[[:space:]]*$' | tail -n 1 | cut -c 1-90
}

# step <name> <command…>
step() { steps_together "$1" "$(printf '%q ' "${@:2}")"; }

# steps_together <name> <command line> [<name> <command line>]…: runs them side by side; the first failure ends the others.
steps_together() {
  local names=() pids=() starts=() index
  mkdir -p "$log_dir"
  while [ $# -gt 0 ]; do
    say "→ $1"
    start_step "$1" "$2"
    names+=("$1") pids+=("$!") starts+=("$(now_ms)")
    shift 2
  done
  running_pids=("${pids[@]}")
  local left=${#pids[@]} quiet_since_ms status
  quiet_since_ms=$(now_ms)
  while [ "$left" -gt 0 ]; do
    for index in "${!pids[@]}"; do
      if kill -0 "${pids[$index]}" 2>/dev/null; then continue; fi
      status=0
      wait "${pids[$index]}" || status=$?
      if [ "$status" -ne 0 ]; then step_failed "${names[$index]}" "$status"; fi
      say "✓ ${names[$index]}: $(seconds_since "${starts[$index]}")"
      unset "pids[$index]"
      left=$((left - 1))
    done
    if [ $(($(now_ms) - quiet_since_ms)) -ge $((progress_every_s * 1000)) ]; then
      quiet_since_ms=$(now_ms)
      for index in "${!pids[@]}"; do
        say "  ${names[$index]}, $(seconds_since "${starts[$index]}"): $(latest_line "$(log_of "${names[$index]}")")"
      done
    fi
    if [ "$left" -gt 0 ]; then sleep 0.1; fi
  done
  running_pids=()
}

# Starts one step in a process group of its own, so that it can be ended with all its children.
start_step() {
  local log
  log=$(log_of "$1")
  set -m
  # shellcheck disable=SC2294
  (set +m && eval "$2") </dev/null >"$log" 2>&1 &
  set +m
}

step_failed() {
  local log
  log=$(log_of "$1")
  end_running_steps
  say "✗ $1 failed with exit code $2. The end of $log:"
  tail -n 20 "$log" >&2
  exit 1
}

running_pids=()
end_running_steps() {
  local pid
  for pid in "${running_pids[@]}"; do
    kill -TERM -- "-$pid" 2>/dev/null || true
  done
}
trap 'end_running_steps; exit 130' INT TERM HUP
