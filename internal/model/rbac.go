package model

// RBACPolicy lets a project use an object that belongs to another.
type RBACPolicy struct {
	ID         RBACPolicyID `json:"id"`
	ProjectID  ProjectID    `json:"project_id"` // whose policy it is
	ObjectType string       `json:"object_type"`
	ObjectID   string       `json:"object_id"`
	Action     string       `json:"action"`
	// Target is the project that may use the object, or Everybody.
	Target ProjectID `json:"target_tenant"`
}

// Everybody is the target of an RBAC policy for all projects.
const Everybody ProjectID = "*"
