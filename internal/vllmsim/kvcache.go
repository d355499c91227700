package vllmsim

// A blockPool is the KV cache: blocks of equal size, counted references, and
// an index of full blocks by the hash of all tokens up to their end. A block
// that nobody holds keeps its content until it is needed again; those freed
// first go first.
type blockPool struct {
	size    int // tokens of a block
	total   int
	caching bool
	blocks  []block // blocks used so far; the others were never touched
	index   map[uint64]int32
	// free list of untouched-since blocks, oldest first; ends are -1
	oldest, newest int32
	idle           int // length of the free list
}

type block struct {
	refs       int32
	prev, next int32
	hash       uint64
	indexed    bool
}

const noBlock = int32(-1)

func newBlockPool(size, total int, caching bool) *blockPool {
	return &blockPool{size: size, total: total, caching: caching, index: map[uint64]int32{}, oldest: noBlock, newest: noBlock}
}

// available counts the blocks that nobody holds.
func (p *blockPool) available() int { return p.idle + p.total - len(p.blocks) }

// used counts the blocks that somebody holds.
func (p *blockPool) used() int { return p.total - p.available() }

// need is the number of blocks for that many tokens.
func (p *blockPool) need(tokens int) int { return (tokens + p.size - 1) / p.size }

// grow gives a sequence blocks for that many tokens, or nothing and false.
func (p *blockPool) grow(held []int32, tokens int) ([]int32, bool) {
	missing := p.need(tokens) - len(held)
	if missing > p.available() {
		return held, false
	}
	for range missing {
		held = append(held, p.take())
	}
	return held, true
}

// take hands out a block; the caller has made sure there is one.
func (p *blockPool) take() int32 {
	if len(p.blocks) < p.total {
		p.blocks = append(p.blocks, block{refs: 1, prev: noBlock, next: noBlock})
		return int32(len(p.blocks) - 1)
	}
	id := p.oldest
	p.unlink(id)
	b := &p.blocks[id]
	if b.indexed {
		delete(p.index, b.hash)
		b.indexed = false
	}
	b.refs = 1
	return id
}

// cached returns the blocks that hold the start of a sequence with those
// block hashes, without holding them yet.
func (p *blockPool) cached(hashes []uint64) []int32 {
	if !p.caching {
		return nil
	}
	var hits []int32
	for _, h := range hashes {
		id, ok := p.index[h]
		if !ok {
			break
		}
		hits = append(hits, id)
	}
	return hits
}

// admit holds the hits and adds blocks up to that many tokens, or does
// nothing and returns false.
func (p *blockPool) admit(hits []int32, tokens int) ([]int32, bool) {
	revived := 0
	for _, id := range hits {
		if p.blocks[id].refs == 0 {
			revived++
		}
	}
	if p.need(tokens)-len(hits) > p.available()-revived {
		return nil, false
	}
	for _, id := range hits {
		if p.blocks[id].refs == 0 {
			p.unlink(id)
		}
		p.blocks[id].refs++
	}
	return p.grow(hits, tokens)
}

// publish makes a full block findable by its hash. A block with the same
// content that is there already stays the one that is found.
func (p *blockPool) publish(id int32, hash uint64) {
	if !p.caching {
		return
	}
	if _, there := p.index[hash]; there {
		return
	}
	p.blocks[id].hash, p.blocks[id].indexed = hash, true
	p.index[hash] = id
}

// release lets go of a sequence's blocks, its end first, so that the ends of
// sequences are overwritten before their beginnings.
func (p *blockPool) release(held []int32) {
	for i := len(held) - 1; i >= 0; i-- {
		b := &p.blocks[held[i]]
		if b.refs--; b.refs == 0 {
			p.link(held[i])
		}
	}
}

// reset forgets all content; false if somebody holds a block.
func (p *blockPool) reset() bool {
	if p.used() > 0 {
		return false
	}
	clear(p.index)
	for i := range p.blocks {
		p.blocks[i].indexed = false
	}
	return true
}

func (p *blockPool) link(id int32) {
	p.blocks[id].prev, p.blocks[id].next = p.newest, noBlock
	if p.newest == noBlock {
		p.oldest = id
	} else {
		p.blocks[p.newest].next = id
	}
	p.newest = id
	p.idle++
}

func (p *blockPool) unlink(id int32) {
	b := p.blocks[id]
	if b.prev == noBlock {
		p.oldest = b.next
	} else {
		p.blocks[b.prev].next = b.next
	}
	if b.next == noBlock {
		p.newest = b.prev
	} else {
		p.blocks[b.next].prev = b.prev
	}
	p.idle--
}

// blockHash chains the hash of a block of tokens to the one before it.
func blockHash(before uint64, tokens []int32) uint64 {
	h := before
	for _, t := range tokens {
		h = mix(h ^ uint64(uint32(t)))
	}
	return h
}

// blockHashes are the hashes of all full blocks of a token sequence.
func blockHashes(tokens []int32, size int) []uint64 {
	hashes := make([]uint64, 0, len(tokens)/size+1)
	h := uint64(0)
	for end := size; end <= len(tokens); end += size {
		h = blockHash(h, tokens[end-size:end])
		hashes = append(hashes, h)
	}
	return hashes
}
