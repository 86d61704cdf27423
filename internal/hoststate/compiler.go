package hoststate

// Compiler keeps the rows of a Site up to date: after every change they are what CompileSite
// would make of the topology, at a cost that follows the change. Each row is worked out and
// kept once, however many hosts want it. It is for one goroutine, as the Topology is.
type Compiler struct {
	view   view
	rows   map[Group]*GroupRows
	hasher hasher
}

// Changes are what has changed, by group: a row is never in both Set and Unset of one Delta,
// which has no revision. They are shared by all who get them: nobody changes them.
type Changes map[Group]*Delta

func (c Changes) of(g Group) *Delta {
	if c == nil {
		return &Delta{} // nobody wants to know
	}
	d := c[g]
	if d == nil {
		d = &Delta{}
		c[g] = d
	}
	return d
}

// NewCompiler compiles the present rows of a site.
func NewCompiler(t *Topology) *Compiler {
	return &Compiler{view: view{t}, rows: CompileSite(t).rows}
}

// Site are the present rows. The Compiler goes on changing them.
func (c *Compiler) Site() Site { return Site{c.rows} }

// Rows are a group's present rows; nil: there are none. The Compiler goes on changing them.
func (c *Compiler) Rows(g Group) *GroupRows { return c.rows[g] }

// Len is how many rows a group has.
func (c *Compiler) Len(g Group) int {
	if r := c.rows[g]; r != nil {
		return r.Len
	}
	return 0
}

// Digest is that of a group's rows.
func (c *Compiler) Digest(g Group) Digest {
	if r := c.rows[g]; r != nil {
		return r.Digest
	}
	return Digest{}
}

// Digests are those of some groups.
func (c *Compiler) Digests(groups GroupSet) Digests {
	ds := make(Digests, groups.Len())
	for g := range groups.All() {
		if r := c.rows[g]; r != nil {
			ds[g.Own()] = r.Digest
		}
	}
	return ds
}

// OlderDigests are those of what an agent from before the fabric has of some groups.
func (c *Compiler) OlderDigests(groups GroupSet) Digests {
	ds := make(Digests, groups.Len())
	for g := range groups.All() {
		if r := c.rows[g]; r != nil && r.Older != (Digest{}) {
			ds[g.Own()] = r.Older
		}
	}
	return ds
}

// Apply works the touched rows out again and tells what has changed.
func (c *Compiler) Apply(touched Touched) Changes {
	out := Changes{}
	c.work(touched, out)
	return out
}

func (c *Compiler) work(touched Touched, out Changes) {
	for _, t := range tables {
		t.update(c, &touched, out)
	}
	for k := range touched.routers {
		w := c.view.ways(k.key)
		Routes.replace(c, k.in, w.routes, out)
		Hops.replace(c, k.in, w.hops, out)
	}
}
