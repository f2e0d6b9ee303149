# /etc/bash.bashrc: read by interactive shells.

[ -z "${PS1-}" ] && return

shopt -s checkwinsize histappend
PS1='\[\e[1;32m\]\u@\h\[\e[0m\]:\[\e[1;34m\]\w\[\e[0m\]\$ '
alias ls='ls --color=auto' ll='ls -l' la='ls -A' grep='grep --color=auto'
