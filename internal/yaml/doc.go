// Package yaml reads YAML for people who will be shown their mistakes.
//
// Parse gives a tree of Nodes in which every value knows its place, and
// Unmarshal decodes it strictly into Go structs. Both report every fault they
// find, not the first one, each with its place, the source line and a caret.
//
// The text is YAML 1.2 with the core schema, and the parser and syntax tree of
// github.com/goccy/go-yaml; what a scalar means, anchors, aliases, merge keys
// and duplicate keys are decided here. Where a reader could take a value for
// another one than YAML does, the value is refused instead of changed:
//
//   - 017, 1_000 and 0b11 mean different numbers in YAML 1.1 and 1.2;
//   - .nan, .inf and numbers beyond 64 bits have no place in a spec;
//   - a key that is not text, a tag (!!str), a directive, a second document,
//     a byte order mark and a tab used as indentation are refused;
//   - an unquoted scalar that YAML cut in the middle of a ${{ … }} is refused;
//   - what the parser lets pass and YAML does not (text that begins with a
//     bracket, a value that is not indented under its key, [1,,2]) is refused,
//     and so are the rare forms that it reads wrongly: keys after ?, and an
//     empty line within unquoted text.
//
// 1e3 is the number 1000, yes and on are text, 1.10 is the number 1.1, and
// only text decodes into a string, so that a version 1.10 has to be quoted.
// Merge keys (<<) follow the YAML merge type: a key written out wins over a
// merged one wherever it stands, and of several maps the earlier wins.
//
// Limits on bytes, lines, depth and the number of nodes after all aliases are
// replaced bound the work that a hostile file can cause.
package yaml
