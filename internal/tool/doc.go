// Package tool finds, installs and runs the benchmark tools that others wrote:
// AIPerf and `vllm bench serve`.
//
// A tool is looked for where the user says, then in the home (where Install
// puts it, into a virtual environment of its own, from a list of packages that
// is part of this program), then on the PATH.
//
// A Run is one call of a tool. It has the tool and all that the tool starts in
// a process group of its own, which ends with the call whatever happens: at its
// end, at its time limit, when the context ends, and when this process is
// killed. It watches what CPU time the group uses, since a generator that has
// no CPU left measures itself.
package tool
