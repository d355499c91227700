package tool

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"pipeline/internal/redact"
)

// SecretArg is why an argument that may hold a secret is refused: anyone on the
// machine can read a command line.
const SecretArg = "it may hold a secret: the key of the endpoint comes by api_key_env"

// requestFields are fields of a request that parameters of the step say, and
// that a tool may be told to send as it likes.
var requestFields = []string{
	"ignore_eos", "min_tokens", "max_tokens", "max_completion_tokens", "temperature", "stream", "stream_options", "n", "best_of", "use_beam_search",
	"model", "prompt", "messages",
}

// CheckArgs refuses arguments beside those that a call has that would change
// what it says, or that may hold a secret. owned has the flags that are not for
// others, with what says them; one that ends in * is all that begin so. A flag
// has "_" for "-", or is cut short, as the tools let it.
func CheckArgs(args []string, owned map[string]string) error {
	for _, arg := range args {
		if !strings.HasPrefix(arg, "-") {
			if err := checkValue(arg); err != nil {
				return err
			}
			continue
		}
		name, value, _ := strings.Cut(arg, "=")
		if by := ownedBy(name, owned); by != "" {
			return fmt.Errorf("%s is not for here: %s", name, by)
		}
		if isSecret(name) || redact.Text(arg) != arg {
			return fmt.Errorf("%s is not for here: %s", redact.Text(name), SecretArg)
		}
		if _, field, dotted := strings.Cut(name, "."); dotted && slices.Contains(requestFields, field) {
			return fmt.Errorf("%s: %s is a parameter of the step", name, field)
		}
		if err := checkValue(value); err != nil {
			return err
		}
	}
	return nil
}

// ownedBy returns what says a flag, "" if nothing does.
func ownedBy(name string, owned map[string]string) string {
	name, _, _ = strings.Cut(strings.ReplaceAll(name, "_", "-"), ".")
	if !strings.HasPrefix(name, "--") { // -H, and -HX: a short flag with its value
		return owned[name[:min(2, len(name))]]
	}
	positive := name
	if rest, negated := strings.CutPrefix(name, "--no-"); negated {
		positive = "--" + rest
	}
	for _, flag := range sortedNames(owned) {
		begins, all := strings.CutSuffix(flag, "*")
		for _, n := range []string{name, positive} {
			if n == flag || all && strings.HasPrefix(n, begins) || len(n) > len("--") && strings.HasPrefix(begins, n) {
				return owned[flag]
			}
		}
	}
	return ""
}

func sortedNames(owned map[string]string) []string {
	names := make([]string, 0, len(owned))
	for name := range owned {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func isSecret(name string) bool {
	name = strings.ToLower(name)
	return redact.IsSecretName(name) || strings.Contains(name, "header") || strings.HasSuffix(strings.TrimLeft(name, "-"), "key")
}

// checkValue refuses a value that sets a field of the requests, as NAME:VALUE,
// NAME=VALUE or an object, or that has the looks of a secret.
func checkValue(value string) error {
	var fields []string
	var object map[string]json.RawMessage
	if json.Unmarshal([]byte(value), &object) == nil {
		for name := range object {
			fields = append(fields, name)
		}
	} else if i := strings.IndexAny(value, ":="); i > 0 && !strings.HasPrefix(value[i:], "://") {
		fields = []string{value[:i]}
	}
	slices.Sort(fields)
	for _, field := range fields {
		switch field = strings.TrimSpace(field); {
		case slices.Contains(requestFields, field):
			return fmt.Errorf("%s: %s is a parameter of the step", value, field)
		case isSecret(field):
			return fmt.Errorf("%s is not for here: %s", field, SecretArg)
		}
	}
	if redact.Text(value) != value {
		return fmt.Errorf("%s is not for here: %s", redact.Text(value), SecretArg)
	}
	return nil
}
