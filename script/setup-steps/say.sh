# Steps that say what they do while they do it. Sourced, never run.
# shellcheck shell=bash
#
# A step's output goes to a log under .build/logs; the terminal gets one line when it starts, its latest
# output every few seconds while it is long, and its time when it ends. A failed step shows the end of its log.
# Several steps can run at once; the first that fails ends the others.

readonly log_dir="$root/.build/logs"
readonly progress_every_ms=10000

# Of the steps under way, by process id.
declare -A step_names=() step_starts=()

say() { printf '%s\n' "$*" >&2; }

# fail <what was seen and expected> [<what to do next>]
fail() {
  say "error: $1"
  if [ $# -gt 1 ]; then say "next:  $2"; fi
  exit 1
}

# step <name> <command…>: runs it to its end.
step() {
  begin_step "$@"
  await_step "$!"
}

# begin_step <name> <command…>: runs it beside what follows; its process id is $!.
begin_step() {
  local name=$1 log
  shift
  mkdir -p "$log_dir"
  log=$(log_of "$name")
  say "→ $name"
  # A process group of its own, so that it can be ended with all its children.
  set -m
  ("$@") </dev/null >"$log" 2>&1 9>&- &
  set +m
  step_names[$!]=$name
  step_starts[$!]=$(now_ms)
}

# await_step <process id>
await_step() {
  local next_progress_ms
  next_progress_ms=$(($(now_ms) + progress_every_ms))
  while [ -n "${step_names[$1]:-}" ]; do
    collect_ended_steps
    if [ "$(now_ms)" -ge "$next_progress_ms" ]; then
      say_progress
      next_progress_ms=$(($(now_ms) + progress_every_ms))
    fi
    if [ -n "${step_names[$1]:-}" ]; then sleep 0.1; fi
  done
}

# Waits until no step is under way.
await_steps() {
  local pid
  for pid in "${!step_names[@]}"; do await_step "$pid"; done
}

collect_ended_steps() {
  local pid status
  for pid in "${!step_names[@]}"; do
    if kill -0 "$pid" 2>/dev/null; then continue; fi
    status=0
    wait "$pid" || status=$?
    if [ "$status" -ne 0 ]; then step_failed "$pid" "$status"; fi
    say "✓ ${step_names[$pid]}: $(seconds_since "${step_starts[$pid]}")"
    unset "step_names[$pid]" "step_starts[$pid]"
  done
}

say_progress() {
  local pid
  for pid in "${!step_names[@]}"; do
    say "  ${step_names[$pid]}, $(seconds_since "${step_starts[$pid]}"): $(latest_line "$(log_of "${step_names[$pid]}")")"
  done
}

step_failed() {
  local log
  log=$(log_of "${step_names[$1]}")
  say "✗ ${step_names[$1]} failed with exit code $2. The end of $log:"
  tail -n 20 "$log" >&2
  unset "step_names[$1]"
  exit 1
}

end_running_steps() {
  local pid
  for pid in "${!step_names[@]}"; do kill -TERM -- "-$pid" 2>/dev/null || true; done
  for pid in "${!step_names[@]}"; do wait "$pid" 2>/dev/null || true; done
}
trap end_running_steps EXIT
trap 'exit 130' INT TERM HUP

now_ms() { date +%s%3N; }

# seconds_since <start in ms>: "3.2 s"
seconds_since() {
  local ms=$(($(now_ms) - $1))
  printf '%d.%d s' $((ms / 1000)) $((ms % 1000 / 100))
}

log_of() { printf '%s/%s.log' "$log_dir" "$(printf '%s' "$1" | tr -c 'a-zA-Z0-9\n' '-' | cut -c 1-60)"; }

# The latest line of a log without colours and carriage returns, cut to fit a terminal.
latest_line() {
  tail -c 2000 "$1" 2>/dev/null | tr '\r' '\n' | sed -e 's/\x1b\[[0-9;?]*[a-zA-Z]//g' | grep -v '^[[:space:]]*$' | tail -n 1 | cut -c 1-90
}
