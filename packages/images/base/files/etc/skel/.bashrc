# Read by interactive Bash.
case $- in
  *i*) ;;
  *) return ;;
esac
HISTCONTROL=ignoreboth
shopt -s histappend
alias ls='ls --color=auto' ll='ls -l' grep='grep --color=auto'
