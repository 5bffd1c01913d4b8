package main

import (
	_ "embed"
	"fmt"
	"strings"

	"github.com/alecthomas/kong"
)

var (
	//go:embed completion/tally.bash
	completionBash string
	//go:embed completion/tally.zsh
	completionZsh string
	//go:embed completion/tally.fish
	completionFish string
)

type completionCmd struct {
	Shell string `arg:"" enum:"bash,zsh,fish" help:"The shell: bash, zsh or fish."`
}

// Help is shown with the command only.
func (completionCmd) Help() string {
	return `Packages install these scripts. Otherwise, for the current shell and in its start file:

  bash: source <(tally completion bash)
  zsh:  source <(tally completion zsh), after compinit
  fish: tally completion fish | source`
}

func (cmd completionCmd) Run(env *environment) error {
	script := map[string]string{"bash": completionBash, "zsh": completionZsh, "fish": completionFish}[cmd.Shell]
	_, err := fmt.Fprint(env.stdout, script)
	return err
}

// completeCmd is called by the scripts. It prints what may stand in place of the last
// word, one a line, with a tab and its help; nothing where a file may stand.
type completeCmd struct {
	Words []string `arg:"" optional:"" help:"The words after tally, the last one as far as it is typed."`
}

func (cmd completeCmd) Run(parsed *kong.Context, env *environment) error {
	var b strings.Builder
	for _, c := range complete(parsed.Model.Node, cmd.Words) {
		fmt.Fprintf(&b, "%s\t%s\n", c.text, c.help)
	}
	_, err := fmt.Fprint(env.stdout, b.String())
	return err
}

type candidate struct{ text, help string }

// complete returns what may stand in place of the last word. It walks kong's model itself:
// the libraries that do had no release since 2023.
func complete(node *kong.Node, words []string) []candidate {
	if len(words) == 0 {
		words = []string{""}
	}
	last := words[len(words)-1]
	var flag *kong.Flag // whose value the next word is
	arguments := 0
	for _, word := range words[:len(words)-1] {
		switch child := childOf(node, word); {
		case word == "=": // bash makes it a word
		case flag != nil:
			flag = nil
		case strings.HasPrefix(word, "-"):
			if flag = flagOf(node, word); flag != nil && (flag.IsBool() || strings.Contains(word, "=")) {
				flag = nil
			}
		case child != nil:
			node = child
		default:
			arguments++
		}
	}
	name, value, isSet := strings.Cut(last, "=")
	switch set := flagOf(node, name); {
	case flag != nil:
		return enumOf(flag.Value, "", strings.TrimPrefix(last, "="))
	case isSet && set != nil:
		return enumOf(set.Value, name+"=", value)
	case strings.HasPrefix(last, "-"):
		return flagsOf(node, last)
	case len(node.Children) > 0:
		return childrenOf(node, last)
	case arguments < len(node.Positional):
		return enumOf(node.Positional[arguments], "", last)
	}
	return nil
}

func childOf(node *kong.Node, name string) *kong.Node {
	for _, child := range node.Children {
		if child.Name == name {
			return child
		}
	}
	return nil
}

func childrenOf(node *kong.Node, prefix string) (list []candidate) {
	for _, child := range node.Children {
		if !child.Hidden && strings.HasPrefix(child.Name, prefix) {
			list = append(list, candidate{child.Name, firstSentence(child.Help)})
		}
	}
	return list
}

// flagOf returns the flag of a word such as --json, -c or --date=2024-05-09.
func flagOf(node *kong.Node, word string) *kong.Flag {
	name, _, _ := strings.Cut(word, "=")
	for _, group := range node.AllFlags(true) {
		for _, flag := range group {
			if name == "--"+flag.Name || flag.Short != 0 && name == "-"+string(flag.Short) {
				return flag
			}
		}
	}
	return nil
}

func flagsOf(node *kong.Node, prefix string) (list []candidate) {
	for _, group := range node.AllFlags(true) {
		for _, flag := range group {
			if strings.HasPrefix("--"+flag.Name, prefix) {
				list = append(list, candidate{"--" + flag.Name, firstSentence(flag.Help)})
			}
		}
	}
	return list
}

func enumOf(value *kong.Value, before, prefix string) (list []candidate) {
	for _, text := range value.EnumSlice() {
		if text != "" && strings.HasPrefix(text, prefix) {
			list = append(list, candidate{text: before + text})
		}
	}
	return list
}

func firstSentence(help string) string {
	sentence, _, _ := strings.Cut(help, ". ")
	return strings.TrimSuffix(sentence, ".")
}
