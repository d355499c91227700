// Package evidence makes bundles: folders that let a person who was not there
// see what was run, what came of it, and what to do next.
//
//	DIR/SOURCE.md          where the numbers come from: campaign, run, spec, program, what was opened
//	DIR/summary.md         what came of it
//	DIR/HANDOFF.md         where it stands, and what is next
//	DIR/spec.yaml          the spec, as it was
//	DIR/commands/          four files for each command: NAME.command, .stdout, .stderr, .exit
//	DIR/MANIFEST.sha256    the digest of each file, written last, in the form of sha256sum
//	DIR/UNFINISHED         stands in the manifest's place until then
//
// No secret is in a bundle: the values that the run used and whatever looks
// like a token are taken out of all that goes in. A file that a person changed
// while the bundle was unfinished is left as it is.
package evidence
