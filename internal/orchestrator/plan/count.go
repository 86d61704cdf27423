package plan

// Counts is what a plan comes to. A step is what a plan has a line for: one resource that is made,
// changed or taken away, or the routes that one router gets for one site. The marks that go with
// what is made are part of making it. Plans, progress and results all count like that.
type Counts struct {
	Steps  int `json:"steps"` // Add + Change + Remove
	Sites  int `json:"sites"` // at which there are any
	Add    int `json:"add"`
	Change int `json:"change"`
	Remove int `json:"remove"`
}

// IsStep tells whether an action counts by itself.
func (a *Action) IsStep() bool { return a.Op != AddTag || a.Target.From == "" }

// CountOf counts the steps of actions.
func CountOf(actions []Action) Counts {
	var c Counts
	sites := map[string]bool{}
	for i := range actions {
		a := &actions[i]
		if !a.IsStep() {
			continue
		}
		sites[a.Site] = true
		switch a.Op {
		case Create, Attach, AddRoutes:
			c.Add++
		case Delete, Detach, RemoveRoutes:
			c.Remove++
		default:
			c.Change++
		}
	}
	c.Steps, c.Sites = c.Add+c.Change+c.Remove, len(sites)
	return c
}
