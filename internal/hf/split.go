package hf

import (
	"encoding/json"
	"path"
	"regexp"
	"slices"
	"strings"
)

// A split is the files of one split of one config, in order.
type split struct {
	config, name string
	files        []File
}

// defaultName is what the hub calls a config, or a split, that nobody named.
const (
	defaultConfig = "default"
	defaultSplit  = "train"
)

// partialPrefix begins the name of a split of which the hub converted only
// the first part.
const partialPrefix = "partial-"

// A Selection is one split of a snapshot.
type Selection struct {
	Config, Split string
	Files         []File
	Partial       bool // the hub converted only a part of the split
}

// Pick returns a split. Config and split may be "" where there is only one, or
// one that is the default.
func (s *Snapshot) Pick(config, name string) (Selection, error) {
	configs := namesOf(s.splits, func(p split) string { return p.config })
	config, ok := choose(configs, config, defaultConfig)
	if !ok {
		return Selection{}, problem(NoConfig, "data set %s at revision %s %s", s.ID, s.Revision, lacks("config", config, configs))
	}
	of := slices.DeleteFunc(slices.Clone(s.splits), func(p split) bool { return p.config != config })
	names := namesOf(of, func(p split) string { return strings.TrimPrefix(p.name, partialPrefix) })
	name, ok = choose(names, name, defaultSplit)
	if !ok {
		return Selection{}, problem(NoSplit, "data set %s at revision %s %s", s.ID, s.Revision, lacks("split", name, names))
	}
	sel := Selection{Config: config, Split: name}
	for _, p := range of {
		if strings.TrimPrefix(p.name, partialPrefix) == name {
			sel.Files = append(sel.Files, p.files...)
			sel.Partial = sel.Partial || p.name != name
		}
	}
	return sel, nil
}

func namesOf(splits []split, name func(split) string) []string {
	var names []string
	for _, p := range splits {
		if n := name(p); !slices.Contains(names, n) {
			names = append(names, n)
		}
	}
	return names
}

// choose returns the one that was asked for, or the one that needs no asking.
func choose(all []string, asked, byDefault string) (string, bool) {
	switch {
	case asked != "":
		return asked, slices.Contains(all, asked)
	case len(all) == 1:
		return all[0], true
	}
	return byDefault, slices.Contains(all, byDefault)
}

func lacks(what, name string, all []string) string {
	const most = 20
	shown := all[:min(most, len(all))]
	text := "has no " + what + " " + name + ": it has " + strings.Join(shown, ", ")
	if len(all) > most {
		text += ", …"
	}
	return text
}

// A cardConfig is a config as the card of a data set declares it.
type cardConfig struct {
	Name  string          `json:"config_name"`
	Files json.RawMessage `json:"data_files"`
}

// patterns returns the file patterns of each split: data_files is a pattern, a
// list of patterns, or a list of splits with one or more patterns each.
func (c cardConfig) patterns() map[string][]string {
	texts := func(raw json.RawMessage) []string {
		var one string
		var many []string
		if json.Unmarshal(raw, &one) == nil {
			return []string{one}
		}
		if json.Unmarshal(raw, &many) != nil {
			return nil
		}
		return many
	}
	if all := texts(c.Files); all != nil {
		return map[string][]string{defaultSplit: all}
	}
	var splits []struct {
		Split string          `json:"split"`
		Path  json.RawMessage `json:"path"`
	}
	out := map[string][]string{}
	if json.Unmarshal(c.Files, &splits) == nil {
		for _, s := range splits {
			out[s.Split] = append(out[s.Split], texts(s.Path)...)
		}
	}
	return out
}

// splitsOf sorts files into splits: by the card if it declares them, else by
// their names. What the card does not name is in no split.
func splitsOf(files []File, card []cardConfig) []split {
	var splits []split
	add := func(config, name string, f File) {
		i := slices.IndexFunc(splits, func(p split) bool { return p.config == config && p.name == name })
		if i < 0 {
			splits = append(splits, split{config: config, name: name})
			i = len(splits) - 1
		}
		splits[i].files = append(splits[i].files, f)
	}
	declared := false
	for _, c := range card {
		for name, patterns := range c.patterns() {
			declared = true
			match := globs(patterns)
			for _, f := range files {
				if match.MatchString(f.Path) {
					add(c.Name, name, f)
				}
			}
		}
	}
	if !declared {
		for _, f := range files {
			config, name := byName(f.Path)
			add(config, name, f)
		}
	}
	slices.SortFunc(splits, func(a, b split) int {
		return strings.Compare(a.config+"\x00"+a.name, b.config+"\x00"+b.name)
	})
	return splits
}

// globs matches paths against patterns in which * stands for anything but a
// slash, and ** for anything. A pattern that ends with a slash is a folder.
func globs(patterns []string) *regexp.Regexp {
	var all []string
	for _, p := range patterns {
		p = strings.TrimPrefix(p, "./")
		if strings.HasSuffix(p, "/") {
			p += "**"
		}
		p = regexp.QuoteMeta(p)
		p = strings.NewReplacer(`\*\*/`, `(.*/)?`, `\*\*`, `.*`, `\*`, `[^/]*`, `\?`, `[^/]`).Replace(p)
		all = append(all, p)
	}
	return regexp.MustCompile(`^(?:` + strings.Join(all, "|") + `)$`)
}

var (
	convertedRE = regexp.MustCompile(`^([^/]+)/([^/]+)/\d{4}\.parquet$`) // {config}/{split}/0000.parquet
	shardRE     = regexp.MustCompile(`[-_.]\d{5}-of-\d{5}(-[0-9a-f]{16})?$`)
	plainRE     = regexp.MustCompile(`^(part[-_.]?)?\d*$`)
)

// byName tells config and split from the path of a file: as the hub lays out
// what it converts, or from the name before the number of the shard, or from
// the folder.
func byName(file string) (config, name string) {
	if m := convertedRE.FindStringSubmatch(file); m != nil && m[1] != "data" {
		return m[1], m[2]
	}
	dir, base := path.Split(strings.TrimSuffix(file, ".parquet"))
	base = shardRE.ReplaceAllString(base, "")
	if !plainRE.MatchString(base) && base != "data" {
		return defaultConfig, base
	}
	if folder := path.Base(dir); dir != "" && folder != "data" {
		return defaultConfig, folder
	}
	return defaultConfig, defaultSplit
}
