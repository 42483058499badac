"""``smallhours completion``: print what makes a shell complete commands, studies and trials."""

from __future__ import annotations

import sys

from smallhours.errors import UsageError
from smallhours.hints import did_you_mean
from smallhours.paths import Home
from smallhours.verbs import HIDDEN

# Bash splits words at "@" and "=", too: the line is split here at spaces only, and what is typed up
# to the last of them is taken off the answers again.
_BASH = r"""# smallhours: completion for bash. In ~/.bashrc:  source <(smallhours completion bash)
_smallhours() {
    local line=${COMP_LINE:0:COMP_POINT} words word typed
    read -ra words <<< "$line"
    [[ $line == *[[:space:]] ]] && words+=("")
    typed=${words[-1]}
    typed=${typed%"${typed##*[@=:]}"}
    COMPREPLY=()
    while IFS=$'\t' read -r word _; do
        COMPREPLY+=("$(printf %q "${word#"$typed"}")")
    done < <("${1/#\~/${HOME-}}" @HIDDEN@ "${words[@]:1}" 2> /dev/null)
    if [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == */ ]]; then
        compopt -o nospace 2> /dev/null
    fi
    return 0
}
complete -F _smallhours smallhours
"""

_ZSH = r"""#compdef smallhours
# smallhours: completion for zsh. In ~/.zshrc, after compinit:  source <(smallhours completion zsh)
_smallhours() {
    local line word
    local -a found shown open opened
    while IFS=$'\t' read -r word line; do
        if [[ $word == */ ]]; then
            open+=("$word")
        else
            found+=("$word")
            shown+=("$word${line:+  -- $line}")
        fi
    done < <("${words[1]/#\~/$HOME}" @HIDDEN@ "${(@)words[2,CURRENT-1]}" "$PREFIX" 2> /dev/null)
    (( $#found )) && compadd -l -d shown -a found
    (( $#open )) && compadd -S '' -a open
    (( $#found + $#open ))
}
compdef _smallhours smallhours
"""

_FISH = r"""# smallhours: completion for fish. In ~/.config/fish/config.fish:
#   smallhours completion fish | source
function __smallhours_complete
    set -l words (commandline -opc)
    $words[1] @HIDDEN@ $words[2..-1] (commandline -ct) 2> /dev/null
end
complete -c smallhours -f -a '(__smallhours_complete)'
"""

_SCRIPTS = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}


def completion(home: Home, shell: str) -> int:  # noqa: ARG001 - the script asks later
    """Print the script for a shell.

    Args:
        home: The state directory, of which the script will name studies and trials.
        shell: ``bash``, ``zsh`` or ``fish``.

    Returns:
        The exit code.

    Raises:
        UsageError: there is no script for that shell.
    """
    if shell not in _SCRIPTS:
        hint = did_you_mean(shell, _SCRIPTS)
        raise UsageError(f"no completion for {shell!r}: expected bash, zsh or fish{hint}")
    sys.stdout.write(_SCRIPTS[shell].replace("@HIDDEN@", HIDDEN))
    return 0
