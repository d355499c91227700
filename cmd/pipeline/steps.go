package main

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"pipeline/internal/yaml"
	"pipeline/steps"
)

func (a *app) stepsCmd() *cobra.Command {
	cmd := &cobra.Command{Use: "steps", Short: "List and explain the kinds of steps"}
	cmd.AddCommand(
		&cobra.Command{
			Use:     "ls",
			Short:   "List the kinds that a spec can use",
			Example: "  pipeline steps ls",
			Args:    args(cobra.NoArgs),
			RunE:    func(*cobra.Command, []string) error { return a.stepsList() },
		},
		&cobra.Command{
			Use:     "doc KIND",
			Short:   "Show parameters, ports and artifacts of a kind",
			Example: "  pipeline steps doc cell_run",
			Args:    args(cobra.ExactArgs(1)),
			ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
				reg, err := a.registry()
				if err != nil {
					return nil, cobra.ShellCompDirectiveError
				}
				return reg.Names(), cobra.ShellCompDirectiveNoFileComp
			},
			RunE: func(_ *cobra.Command, given []string) error { return a.stepsDoc(given[0]) },
		},
	)
	return cmd
}

func (a *app) stepsList() error {
	reg, err := a.registry()
	if err != nil {
		return failed(err)
	}
	if a.isJSON() {
		kinds := make([]*steps.Kind, 0, len(reg))
		for _, n := range reg.Names() {
			kinds = append(kinds, reg[n])
		}
		return a.json(kinds)
	}
	rows := [][]string{{"KIND", "EFFECT", "WHAT IT DOES"}}
	for _, n := range reg.Names() {
		rows = append(rows, []string{n, reg[n].Effect.String(), reg[n].Summary})
	}
	table(a.stdout, rows)
	return nil
}

func (a *app) stepsDoc(name string) error {
	reg, err := a.registry()
	if err != nil {
		return failed(err)
	}
	k := reg[name]
	if k == nil {
		return usage(hint(fmt.Errorf("there is no kind %q", name), "%s", yaml.Nearest(name, reg.Names())))
	}
	if a.isJSON() {
		return a.json(k)
	}
	text, err := kindDoc(k)
	if err != nil {
		return failed(err)
	}
	a.printf("%s", text)
	return nil
}

// kindDoc describes a kind in Markdown. docs/steps.md is made of these.
func kindDoc(k *steps.Kind) (string, error) {
	params, err := steps.ParamsOf(k.New())
	if err != nil {
		return "", err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "## %s\n\n%s\n\nEffect: %s. Version: %d.", k.Name, sentence(k.Summary), k.Effect, k.Version)
	if k.Pool != "" {
		fmt.Fprintf(&b, " Pool: %s.", k.Pool)
	}
	b.WriteString("\n")
	if k.Doc != "" {
		b.WriteString("\n" + strings.TrimSpace(k.Doc) + "\n")
	}
	if len(params) > 0 {
		b.WriteString("\n### Parameters\n\n")
		writeParams(&b, params, "")
	}
	if k.AnyPort {
		b.WriteString("\n### Inputs\n\nPorts of any name.\n")
	} else if len(k.Ports) > 0 {
		b.WriteString("\n### Inputs\n\n")
		for _, p := range k.Ports {
			fmt.Fprintf(&b, "- `%s`%s: %s\n", p.Name, note(p.Required, "required", p.Gaps, "takes gaps"), p.Doc)
		}
	}
	if len(k.Outputs) > 0 {
		b.WriteString("\n### Artifacts\n\n")
		for _, o := range k.Outputs {
			fmt.Fprintf(&b, "- `%s`%s: %s\n", o.Name, note(o.Optional, "optional", o.Volatile, "in no key"), o.Doc)
		}
	}
	return b.String(), nil
}

func writeParams(b *strings.Builder, params []steps.Param, prefix string) {
	for _, p := range params {
		fmt.Fprintf(b, "- `%s%s` %s%s: %s", prefix, p.Name, typeName(p), note(p.Required, "required", !p.Key, "in no key"), p.Doc)
		switch {
		case len(p.Enum) > 0:
			fmt.Fprintf(b, " One of %s.", strings.Join(p.Enum, ", "))
		case p.Min != "" && p.Max != "":
			fmt.Fprintf(b, " From %s to %s.", p.Min, p.Max)
		case p.Min != "":
			fmt.Fprintf(b, " At least %s.", p.Min)
		}
		if p.Default != nil && len(p.Params) == 0 {
			if text, err := json.Marshal(p.Default); err == nil {
				fmt.Fprintf(b, " Default %s.", text)
			}
		}
		b.WriteString("\n")
		writeParams(b, p.Params, prefix+p.Name+".")
	}
}

func typeName(p steps.Param) string {
	name := p.Type.String()
	for _, cut := range []string{"*", "steps."} {
		name = strings.ReplaceAll(name, cut, "")
	}
	switch {
	case len(p.Params) > 0 && strings.HasPrefix(name, "[]"):
		return "list"
	case len(p.Params) > 0:
		return "map"
	}
	return strings.ToLower(name)
}

// note returns " (a, b)" of the words whose condition holds.
func note(pairs ...any) string {
	var words []string
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i].(bool) {
			words = append(words, pairs[i+1].(string))
		}
	}
	if len(words) == 0 {
		return ""
	}
	return " (" + strings.Join(words, ", ") + ")"
}

func sentence(s string) string {
	if s == "" {
		return s
	}
	return strings.TrimRight(strings.ToUpper(s[:1])+s[1:], ".") + "."
}
