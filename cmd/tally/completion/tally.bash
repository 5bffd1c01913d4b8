# bash completion for tally
_tally() {
  mapfile -t COMPREPLY < <(tally complete -- "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null | cut -f 1)
}
complete -o default -F _tally tally
