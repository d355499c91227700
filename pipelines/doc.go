// Package pipelines is the language of specs: it turns the bytes of a spec
// into a Plan, a list of nodes with nothing left to decide.
//
//	c, err := pipelines.Load(os.ReadFile, "specs/glm-fp8.yaml")
//	plan, err := c.Plan(registry, pipelines.PlanOptions{Set: []string{"endpoint.kind=url"}})
//
// Load reads the spec and the specs that it extends. Plan gives the parameters
// their values, compiles and types every template, expands each matrix into
// cells, joins the wires, and decodes and checks the parameters of every node.
// All faults of a spec are found at once and before anything runs; each is a
// yaml.Error with its place, the source line and what to do.
//
// # Matrix
//
// The cells of a step are the product of its axes in the order of the file,
// the first axis slowest. exclude removes the cells that a partial map names
// (a value, or a list of them, for some axes) or for which a template is true;
// include adds single cells after that, and when keeps the cells for which it
// is true. The key like takes the cells of another step,
// with what is excluded and included there; further axes may stand beside it:
//
//	matrix: {like: server, concurrency: [1, 4, 8], trial: [1, 2, 3]}
//
// An axis value is a scalar, or a map with an id that names it in cells.
//
// # Wires
//
// A wire between two steps with a matrix joins on the axes that both have: a
// cell gets those cells of the other step that agree with it on all of them.
// Without a common axis it gets all cells. after orders in the same way.
//
// # Templates
//
// A template ${{ expression }} sees params, cell and campaign and functions
// that depend on their arguments only. A scalar that is one template keeps
// the type of its value; within text the value is rendered. $${{ stands for
// the text ${{. Expressions are compiled once against the exact types of
// what they see, and have budgets of size, steps and memory, each by itself
// and all of a plan together. The budgets are counts and not times, so a spec
// is refused everywhere or nowhere; a watchdog is behind them.
//
// The package touches no disk, network or environment.
package pipelines
