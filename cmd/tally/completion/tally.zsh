#compdef tally
# zsh completion for tally
_tally() {
  local line
  local -a list
  for line in "${(@f)$(tally complete -- "${(@)words[2,CURRENT]}" 2>/dev/null)}"; do
    [[ -n $line ]] && list+=("${${line%%$'\t'*}//:/\\:}:${line#*$'\t'}")
  done
  if (( $#list )); then
    _describe tally list
  else
    _files
  fi
}
if [[ $funcstack[1] == _tally ]]; then
  _tally "$@"
else
  compdef _tally tally
fi
