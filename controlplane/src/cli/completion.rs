//! Completion of `usher` in the operator's own shell: the scripts ask `usher complete WORDS...`.

/// The shells.
pub const SHELLS: [&str; 3] = ["bash", "fish", "zsh"];

/// The script for a shell; `None`: not known.
#[must_use]
pub fn script(shell: &str) -> Option<&'static str> {
    match shell {
        "bash" => Some(
            "# bash completion of usher: /etc/bash_completion.d/usher\n\
             _usher() {\n    \
                 local IFS=$'\\n'\n    \
                 COMPREPLY=($(usher complete -- \"${COMP_WORDS[@]:1:COMP_CWORD}\" 2>/dev/null))\n\
             }\n\
             complete -o default -F _usher usher\n",
        ),
        "zsh" => Some(
            "#compdef usher\n\
             # zsh completion of usher: a directory of $fpath, as _usher\n\
             local -a offers\n\
             offers=(${(f)\"$(usher complete -- \"${(@)words[2,CURRENT]}\" 2>/dev/null)\"})\n\
             if (( $#offers )); then compadd -a offers; else _files; fi\n",
        ),
        "fish" => Some(
            "# fish completion of usher: ~/.config/fish/completions/usher.fish\n\
             function __usher\n    \
                 set -l words (commandline -opc) (commandline -ct)\n    \
                 usher complete -- $words[2..-1] 2>/dev/null\n\
             end\n\
             complete -c usher -a '(__usher)'\n",
        ),
        _ => None,
    }
}

/// The words that may stand in the place of the last one, a line each.
#[must_use]
pub fn complete(words: &[String]) -> String {
    let line = words.join(" ");
    if let Some(("platform", rest)) = line.split_once(' ') {
        let commands = ["check", "show", "suggest"].into_iter().filter(|word| word.starts_with(rest));
        return commands.map(|word| word.to_owned() + "\n").collect();
    }
    let mut found: Vec<String> = crate::exec::offers(&line, true)
        .into_iter()
        .filter(|offer| offer.keyword)
        .map(|offer| offer.word)
        .collect();
    if words.len() <= 1 {
        let partial = words.first().map_or("", String::as_str);
        found.extend(
            ["completion", "manual", "platform"]
                .into_iter()
                .filter(|word| word.starts_with(partial))
                .map(str::to_owned),
        );
    }
    found.into_iter().map(|word| word + "\n").collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn words_are_completed_in_their_place() {
        assert_eq!(complete(&words("show cr")), "crypto\n");
        assert_eq!(complete(&words("sh cry ik cluster ")), "details\nstats\n");
        assert_eq!(complete(&words("comp")), "completion\n");
        assert_eq!(complete(&words("plat")), "platform\n");
        assert_eq!(complete(&words("platform s")), "show\nsuggest\n");
        assert_eq!(complete(&words("platform check ")), "");
        assert_eq!(complete(&words("nonsense ")), "");
        for shell in SHELLS {
            assert!(script(shell).unwrap().contains("usher complete --"));
        }
    }
}
