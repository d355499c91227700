package engine

import (
	"container/heap"
	"fmt"
	"slices"
	"strings"

	"pipeline/pipelines"
	"pipeline/steps"
)

// A pool is a named limit: no more than depth nodes at once.
type pool struct {
	name  string
	depth int
	used  int
	queue idHeap // nodes that found no slot here, the first of the plan on top
}

// idHeap gives the smallest ID first, so that what is ready starts in the
// order of the plan.
type idHeap []pipelines.NodeID

func (h idHeap) Len() int           { return len(h) }
func (h idHeap) Less(i, j int) bool { return h[i] < h[j] }
func (h idHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *idHeap) Push(x any)        { *h = append(*h, x.(pipelines.NodeID)) }
func (h *idHeap) Pop() any {
	old := *h
	x := old[len(old)-1]
	*h = old[:len(old)-1]
	return x
}

func (h *idHeap) push(id pipelines.NodeID) { heap.Push(h, id) }
func (h *idHeap) pop() pipelines.NodeID    { return heap.Pop(h).(pipelines.NodeID) }

// poolNames returns the pools that n needs a slot of, each once. The pool of
// CPU slots has the name "". A Hold of what stands by itself needs none.
func poolNames(n *pipelines.Node) []string {
	if h, ok := n.Params.(steps.Holder); ok && h.Standing() {
		return nil
	}
	names := append([]string{n.Kind.Pool}, n.Pools...)
	slices.Sort(names)
	return slices.Compact(names)
}

func (r *run) pool(name string) *pool {
	p := r.pools[name]
	if p == nil {
		p = &pool{name: name, depth: r.e.depth(name)}
		r.pools[name] = p
	}
	return p
}

// take gives n a slot of all its pools, or of none: then n waits in the queue
// of the first that is full.
func (r *run) take(id pipelines.NodeID) bool {
	names := poolNames(&r.plan.Nodes[id])
	for _, name := range names {
		if p := r.pool(name); p.used >= p.depth {
			p.queue.push(id)
			return false
		}
	}
	for _, name := range names {
		r.pool(name).used++
	}
	return true
}

// giveBack frees n's slots and starts who can use them.
func (r *run) giveBack(id pipelines.NodeID) {
	names := poolNames(&r.plan.Nodes[id])
	for _, name := range names {
		r.pool(name).used--
	}
	for _, name := range names {
		p := r.pool(name)
		for p.used < p.depth && p.queue.Len() > 0 && !r.stopping() {
			r.launch(p.queue.pop())
		}
	}
}

// lockNames returns, for each pool that other processes respect too, the names
// of the locks of its slots. Those are the named pools of what touches the
// world: two processes never measure one endpoint at the same time.
func (r *run) lockNames(n *pipelines.Node) [][]string {
	if n.Kind.Effect != steps.Measure && n.Kind.Effect != steps.Hold {
		return nil
	}
	var out [][]string
	for _, name := range poolNames(n) {
		if name == "" {
			continue
		}
		var slots []string
		for i := range r.pool(name).depth {
			slots = append(slots, fmt.Sprintf("pool-%s.%d", fileName(name), i))
		}
		out = append(out, slots)
	}
	return out
}

// fileName makes a pool's name one that a file can have.
func fileName(s string) string {
	var b strings.Builder
	for _, c := range []byte(s) {
		if c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-' || c == '_' {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02x", c)
		}
	}
	return b.String()
}
