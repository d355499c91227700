// Package redact takes secrets out of text that is kept or shown: values that
// are known to be secret, what has the shape of a token, and what stands where
// a secret is expected.
package redact

import (
	"regexp"
	"slices"
	"strings"
)

// Mark stands where a secret stood.
const Mark = "[redacted]"

// minValue is the length below which a known value is no secret that could be
// found in a text: replacing it would only spoil the text.
const minValue = 4

// shapes are how tokens of well-known services look. They stand alone, or
// behind what is kept of them in the first group.
var shapes = []*regexp.Regexp{
	regexp.MustCompile(`()\bhf_[A-Za-z0-9]{16,}`),                                        // Hugging Face
	regexp.MustCompile(`()\b(?:sk|pk|rk)-[A-Za-z0-9_-]{16,}`),                            // OpenAI, Anthropic, Langfuse
	regexp.MustCompile(`()\bgh[pousr]_[A-Za-z0-9]{20,}`),                                 // GitHub
	regexp.MustCompile(`()\bgithub_pat_[A-Za-z0-9_]{20,}`),                               //
	regexp.MustCompile(`()\bglpat-[A-Za-z0-9_-]{16,}`),                                   // GitLab
	regexp.MustCompile(`()\bnvapi-[A-Za-z0-9_-]{16,}`),                                   // NVIDIA
	regexp.MustCompile(`()\bxox[abeprs]-[A-Za-z0-9-]{10,}`),                              // Slack
	regexp.MustCompile(`()\b(?:AKIA|ASIA)[A-Z0-9]{16}\b`),                                // AWS
	regexp.MustCompile(`()\bAIza[A-Za-z0-9_-]{30,}`),                                     // Google
	regexp.MustCompile(`()\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}`), // a JWT: Kubernetes service accounts
	regexp.MustCompile(`(?i)\b(bearer\s+)[A-Za-z0-9._~+/=-]{16,}`),
	regexp.MustCompile(`(?i)\b(authorization["']?\s*[:=]\s*["']?(?:basic|bearer|token)\s+)[A-Za-z0-9._~+/=-]{4,}`), //
	regexp.MustCompile(`\b([a-z][a-z0-9+.-]*://)[^/@\s:]+(?::[^/@\s]*)?@`),                                         // name and password in a URL
	regexp.MustCompile(`(?s)(-----BEGIN [A-Z ]*PRIVATE KEY-----).*?(?:-----END [A-Z ]*-----|$)`),                   //
}

// Text returns the text without the values, and without tokens.
func Text(text string, values ...string) string {
	text = Values(text, values...)
	for _, re := range shapes {
		mark := "${1}" + Mark
		if strings.HasSuffix(re.String(), "@") {
			mark += "@"
		}
		text = re.ReplaceAllString(text, mark)
	}
	return text
}

// Values returns the text without the values.
func Values(text string, values ...string) string {
	for _, v := range values {
		if len(v) >= minValue {
			text = strings.ReplaceAll(text, v, Mark)
		}
	}
	return text
}

// Args returns a command line without the values of options and parameters
// whose names are those of secrets (--api-key KEY, --set token=T), and without
// tokens.
func Args(argv []string, values ...string) []string {
	out := slices.Clone(argv)
	for i, arg := range out {
		flag, rest := "", arg
		if set, ok := strings.CutPrefix(arg, "--set="); ok {
			flag, rest = "--set=", set
		}
		name, _, assigned := strings.Cut(rest, "=")
		switch {
		case assigned && IsSecretName(name):
			out[i] = flag + name + "=" + Mark
		case i > 0 && strings.HasPrefix(argv[i-1], "-") && !strings.Contains(argv[i-1], "=") && IsSecretName(argv[i-1]) && !strings.HasPrefix(arg, "-"):
			out[i] = Mark
		default:
			out[i] = Text(arg, values...)
		}
	}
	return out
}

// IsSecretName reports whether an option or parameter of that name might hold
// a secret. One that ends in _env holds the name of a variable.
func IsSecretName(name string) bool {
	name = strings.ToLower(strings.TrimLeft(name, "-"))
	if strings.HasSuffix(name, "_env") || strings.HasSuffix(name, "-env") || tokenCount.MatchString(name) {
		return false
	}
	for _, word := range []string{"token", "api_key", "api-key", "apikey", "secret", "passw", "authorization", "bearer", "credential", "private_key", "private-key"} {
		if strings.Contains(name, word) {
			return true
		}
	}
	return false
}

// tokenCount are names that speak of tokens of text.
var tokenCount = regexp.MustCompile(`tokens|tokenizer|tokenize|token[-_](?:count|mean|stddev|len|limit)|use-server-token`)
