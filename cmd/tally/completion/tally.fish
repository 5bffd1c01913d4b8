# fish completion for tally
function __tally_complete
    set -l words (commandline -opc)
    tally complete -- $words[2..] (commandline -ct) 2>/dev/null
end
complete -c tally -n 'test (count (__tally_complete)) -gt 0' -f -a '(__tally_complete)'
