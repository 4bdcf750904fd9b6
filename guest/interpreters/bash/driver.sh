# The persistent Bash of a sandbox: runs cells that arrive on a pipe, in one shell.
#
# How it is started (by the agent, cwd = the context's):
#
#     bash driver.sh
#
# with fd 0 = /dev/null, fds 1 and 2 = pipes that the agent reads, fd 3 = requests in, fd 4 = replies out. The messages
# are those of ../python/driver.py; a cell has an exit code and no error, and when it ends the shell, nothing is said:
# the agent sees the process's end. Needs Bash 4.2 or later, and /dev/fd.
#
# It becomes an interactive shell, because only that survives an interrupt and goes on: the commands that it "reads"
# are one line, which it writes to itself again and again. It receives a cell and runs it. Cells have /dev/null as
# their stdin and see none of the pipes. What belongs to this file is named __instavm_…; the trap of SIGINT is its own.
# `set -e` in a cell ends the shell at the first failure, as it does at a prompt. The agent interrupts the whole process
# group, and again after a while: a program that is just being started misses it.

if [[ $- != *i* ]]; then
  # Without a terminal it would complain that there is no job control.
  exec 203>&2 2>/dev/null
  exec -a bash "$BASH" --noprofile --noediting --rcfile "$0" -i
fi

exec 201<&3 202>&4 3<&- 4>&-
# A pipe to itself.
exec < <(:)
exec 0<>/dev/fd/0
set +o history +o histexpand
shopt -u checkwinsize
unset HISTFILE MAILCHECK PROMPT_COMMAND BASH_ENV
unset -f command_not_found_handle
PS1= PS2=

# The number of the cell that runs; empty between cells.
__instavm_cell=
__instavm_code=
# Words that set the environment of the next cell, and those of this one.
__instavm_next_environment=
__instavm_environment=

# What the shell reads. No name in it can be an alias, and what stands between `eval` and its end is the cell's.
__instavm_line='\__instavm_receive $?; \builtin eval "$__instavm_environment \\command eval \"\$__instavm_code\"" </dev/null 2>&203 201<&- 202>&- 203>&-; \__instavm_finish $?'

# The next byte of the requests, as a number in __instavm_number.
__instavm_byte() {
  local byte=
  IFS= builtin read -r -d '' -n 1 -u 201 byte || builtin exit 0
  builtin printf -v __instavm_number %d "'$byte"
  __instavm_number=$((__instavm_number & 255))
}

__instavm_u32() {
  local value=0 shift
  for shift in 0 8 16 24; do
    __instavm_byte
    value=$((value | __instavm_number << shift))
  done
  __instavm_number=$value
}

# So many bytes, as text in __instavm_text.
__instavm_bytes() {
  __instavm_text=
  if [[ $1 != 0 ]]; then
    IFS= builtin read -r -d '' -N "$1" -u 201 __instavm_text || builtin exit 0
  fi
}

# Names and values: `$1` is called with each pair whose name is one.
__instavm_pairs() {
  local count name
  __instavm_u32
  count=$__instavm_number
  while [[ $count != 0 ]]; do
    __instavm_u32
    __instavm_bytes "$__instavm_number"
    name=$__instavm_text
    __instavm_u32
    __instavm_bytes "$__instavm_number"
    if [[ $name =~ ^[A-Za-z_][A-Za-z0-9_]*$ ]]; then
      "$1" "$name" "$__instavm_text"
    fi
    count=$((count - 1))
  done
}

__instavm_export() {
  # One that is read-only stays as it is.
  builtin export "$1=$2" || :
}

__instavm_add_to_cell() {
  local quoted
  builtin printf -v quoted '%s=%q ' "$1" "$2"
  __instavm_next_environment+=$quoted
}

# A message; `$1` is its body with the type, escaped for printf, `$2` its length.
__instavm_send() {
  local length
  builtin printf -v length '\\x%02x\\x%02x\\0\\0' $(($2 & 255)) $(($2 >> 8))
  builtin printf "$length$1" >&202
}

# The cell ended, with the exit code `$1`.
__instavm_done() {
  local id=$__instavm_cell body
  __instavm_cell=
  builtin printf -v body 'D\\x%02x\\x%02x\\x%02x\\x%02x\\0\\x%02x\\0\\0\\0' \
    $((id & 255)) $((id >> 8 & 255)) $((id >> 16 & 255)) $((id >> 24 & 255)) $(($1 & 255))
  __instavm_send "$body"'\0\0\0\0\0\0\0\0\0\0\0\0' 22
}

__instavm_finish() {
  builtin trap '' INT
  if [[ -n $__instavm_cell ]]; then
    __instavm_done "$1"
  fi
}

# Waits for a cell; `$1` is the status of one that was interrupted, or given up by the shell for an error.
__instavm_receive() {
  builtin trap '' INT
  __instavm_finish "$1"
  builtin printf '%s\n' "$__instavm_line" >&0
  local LC_ALL=C
  __instavm_environment=
  while :; do
    __instavm_next
    if [[ -n $__instavm_cell ]]; then
      break
    fi
  done
  __instavm_environment=$__instavm_next_environment
  __instavm_next_environment=
  builtin trap - INT
}

__instavm_next() {
  local length kind
  __instavm_u32
  length=$__instavm_number
  __instavm_byte
  builtin printf -v kind %03o "$__instavm_number"
  case $kind in
    130) # X
      __instavm_u32
      __instavm_cell=$__instavm_number
      __instavm_byte
      __instavm_bytes $((length - 6))
      __instavm_code=$__instavm_text
      ;;
    101) # A
      __instavm_seed
      __instavm_pairs __instavm_export
      __instavm_send K 1
      ;;
    105) # E
      __instavm_pairs __instavm_add_to_cell
      ;;
    127) ;; # W
    *) builtin exit 70 ;;
  esac
}

# RANDOM is this process's; SRANDOM is the kernel's.
__instavm_seed() {
  local left seed=0
  __instavm_u32
  left=$__instavm_number
  if [[ $left == 0 ]]; then
    return 0
  fi
  while [[ $left != 0 ]]; do
    __instavm_byte
    seed=$(((seed * 31 + __instavm_number) & 0x7fffffff))
    left=$((left - 1))
  done
  RANDOM=$seed
}

# Without the word that an interactive shell says at its end.
exit() {
  local status=$?
  if [[ $BASH_SUBSHELL == 0 ]]; then
    builtin exit "${@:-$status}" 2>/dev/null
  else
    builtin exit "${@:-$status}"
  fi
}

builtin printf '%s\n' "$__instavm_line" >&0
__instavm_send R 1
