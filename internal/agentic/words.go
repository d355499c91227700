package agentic

var (
	nouns    = []string{"Account", "Batch", "Cursor", "Digest", "Epoch", "Fragment", "Grant", "Handle", "Index", "Journal", "Lease", "Ledger", "Manifest", "Node", "Offset", "Partition", "Quota", "Replica", "Segment", "Session", "Shard", "Snapshot", "Ticket", "Token", "Vote", "Window"}
	verbs    = []string{"Acquire", "Apply", "Build", "Commit", "Compact", "Decode", "Drain", "Evict", "Fetch", "Flush", "Load", "Merge", "Open", "Parse", "Rebalance", "Release", "Resolve", "Schedule", "Seal", "Split", "Validate", "Verify"}
	suffixes = []string{"s", "Async", "ByID", "Cache", "Entry", "Group", "List", "Locked", "Once", "Set", "State", "Table"}
	systems  = []string{"billing", "catalog", "consensus", "gateway", "index", "ingest", "planner", "registry", "replication", "scheduler", "storage", "tenant"}
	faults   = []string{
		"returns a stale value after a restart", "deadlocks when two callers meet", "leaks a goroutine for each request that is cancelled",
		"drops the last entry of a full page", "counts a retry twice", "writes before the journal has been synced", "panics if the list is empty",
		"holds its lock across a call to the network", "compares times of two clocks", "ignores the error of Close",
	}
	wishes = []string{
		"Find the cause and mend it without changing the exported names.", "Add a test that fails without the change.",
		"Keep the number of allocations as it is.", "The order of the writes must stay.", "Do not touch the generated files.",
		"Say in the end what you changed and why.",
	}
)

// system is what all conversations begin with.
const system = `You are an agent that works on a code base through tools. You are given a task and you work on it until it is done.

Tools. Call one by ending your answer with a line of JSON: {"name": …, "arguments": {…}}.

read_file(path, from, to): the lines of a file, each with its number. Read before you edit; do not guess what a file holds.
search(pattern, path): all lines below path that match a regular expression, with file and line.
list(path): the files below path, with their sizes.
edit_file(path, patch): applies a unified diff. The lines without a sign must be in the file as they are, or nothing is changed.
run(command): runs a command in the module's root and returns what it wrote and its exit code. A command that takes longer than two minutes is ended.

Rules. Make the smallest change that does what the task asks. Keep to the style of the code around it: names, errors, comments. Handle each error where it happens or return it with what was being done. Never change a test so that it passes; change it when what it asks for is wrong, and say so. Do not add dependencies. Run the tests of the packages you touched, and all of them before you finish. If a tool fails, read what it says and try something else; after three failures of one kind, stop and say what you know.

Answers. Before a call, say in one or two sentences what you expect to learn or to change. When you are done, call no tool: say what was wrong, what you changed, and what you left alone.`
