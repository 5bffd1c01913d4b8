package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/alecthomas/kong"
)

// manualEnd is the end of tally(1).
const manualEnd = `.SH EXIT STATUS
0 done, 1 the data or a check failed, 2 wrong use.
.SH FILES
.TP
.I /etc/tally/tally.yaml
Settings of the packaged service.
.TP
.I /etc/tally/tally.env
Its environment, such as DATABASE_URL.
.TP
.I /var/lib/tally
Its data folder, with the inbox and the embedded database.
.TP
.I /usr/share/doc/tally
README.md, operations.md, runbook.md and reading.md.
.SH SEE ALSO
https://github.com/opentax/tally
`

// manualCmd writes tally(1) and a page of each command, for packages.
type manualCmd struct {
	Dir string `arg:"" help:"Folder for the pages."`
}

func (cmd manualCmd) Run(parsed *kong.Context) error {
	if err := os.MkdirAll(cmd.Dir, 0o755); err != nil {
		return err
	}
	root := parsed.Model.Node
	pages := map[string]string{"tally": manualRoot(root)}
	for _, node := range root.Children {
		if !node.Hidden {
			pages["tally-"+node.Name] = manualPage(node)
		}
	}
	for name, text := range pages {
		if err := os.WriteFile(filepath.Join(cmd.Dir, name+".1"), []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

func manualRoot(root *kong.Node) string {
	var b strings.Builder
	manualHead(&b, "tally", root.Help)
	b.WriteString(".SH SYNOPSIS\n.B tally\n.I command\n[flags]\n.SH COMMANDS\n")
	for _, node := range root.Children {
		if !node.Hidden {
			fmt.Fprintf(&b, ".TP\n.BR tally\\-%s (1)\n%s\n", roff(node.Name), roff(node.Help))
		}
	}
	manualFlags(&b, "GLOBAL OPTIONS", root)
	b.WriteString(manualEnd)
	return b.String()
}

// manualPage is the page of a command with its subcommands.
func manualPage(command *kong.Node) string {
	var b strings.Builder
	manualHead(&b, "tally-"+command.Name, command.Help)
	b.WriteString(".SH SYNOPSIS\n")
	leaves := command.Leaves(true)
	if command.Leaf() {
		leaves = []*kong.Node{command}
	}
	for _, leaf := range leaves {
		fmt.Fprintf(&b, ".B tally %s\n.br\n", roff(leaf.Summary()))
	}
	for _, leaf := range leaves {
		suffix := ""
		if leaf != command {
			fmt.Fprintf(&b, ".SH %s\n%s\n", roff(strings.ToUpper(leaf.FullPath())), roff(leaf.Help))
			suffix = " OF " + roff(strings.ToUpper(leaf.Name))
		}
		if leaf.Detail != "" {
			fmt.Fprintf(&b, ".SH DESCRIPTION\n.nf\n%s\n.fi\n", roff(leaf.Detail))
		}
		manualArguments(&b, "ARGUMENTS"+suffix, leaf)
		manualFlags(&b, "OPTIONS"+suffix, leaf)
	}
	b.WriteString(".SH SEE ALSO\n.BR tally (1)\nfor global options and the exit status\n")
	return b.String()
}

func manualHead(b *strings.Builder, name, help string) {
	fmt.Fprintf(b, ".TH %s 1 \"\" %q Tally\n.SH NAME\n%s \\- %s\n",
		strings.ToUpper(roff(name)), "tally "+codeVersion(), roff(name), roff(strings.TrimSuffix(help, ".")))
}

func manualArguments(b *strings.Builder, title string, node *kong.Node) {
	if len(node.Positional) > 0 {
		fmt.Fprintf(b, ".SH %s\n", title)
	}
	for _, argument := range node.Positional {
		fmt.Fprintf(b, ".TP\n.I %s\n%s\n", roff(argument.Summary()), roff(argument.Help))
	}
}

// manualFlags lists the command's own flags; those of all commands are in tally(1).
func manualFlags(b *strings.Builder, title string, node *kong.Node) {
	for i, flag := range node.Flags {
		if i == 0 {
			fmt.Fprintf(b, ".SH %s\n", title)
		}
		name := "--" + flag.Name
		if flag.Short != 0 {
			name = "-" + string(flag.Short) + ", " + name
		}
		value, help := "", flag.Help
		if !flag.IsBool() {
			value = "=" + flag.FormatPlaceHolder()
		}
		if len(flag.Envs) > 0 {
			help += " Environment: " + strings.Join(flag.Envs, ", ") + "."
		}
		fmt.Fprintf(b, ".TP\n\\fB%s\\fR%s\n%s\n", roff(name), roff(value), roff(help))
	}
}

// roff escapes text: a hyphen would become a dash, and a point or an apostrophe at the
// start of a line is a request.
func roff(text string) string {
	text = strings.NewReplacer(`\`, `\e`, "-", `\-`, "\n.", "\n\\&.", "\n'", "\n\\&'").Replace(text)
	if strings.HasPrefix(text, ".") || strings.HasPrefix(text, "'") {
		text = `\&` + text
	}
	return text
}
