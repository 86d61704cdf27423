package model

// Quota holds the limits that a project has of its own: the most resources of a
// kind, by the kind's name; -1 is none.
type Quota struct {
	ProjectID ProjectID        `json:"project_id"`
	Limits    map[string]int64 `json:"limits"`
}
