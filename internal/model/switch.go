package model

import "time"

// SwitchState is what the controller that drives a hw_vtep last said of it. It is
// kept apart from the GatewayDevice, whose revision it does not touch.
type SwitchState struct {
	DeviceID GatewayDeviceID `json:"device_id"`
	// Driver is the controller's name, and Epoch rises with each time that one
	// takes the switch: what an earlier one still says is refused.
	Driver string `json:"driver"`
	Epoch  uint64 `json:"epoch"`
	SwitchStatus
	ChangedAt time.Time `json:"changed_at"`
	// Retired, if not nil: the device has been deleted, and what was made for it may
	// still be on its switch.
	Retired *RetiredSwitch `json:"retired,omitempty"`
}

// RetiredSwitch is what a deleted gateway device leaves behind until its switch is
// clean: where that is.
type RetiredSwitch struct {
	Name       string     `json:"name,omitempty"`
	Management Management `json:"management"`
}

// SwitchStatus says how it stands with a switch.
type SwitchStatus struct {
	Connected bool `json:"connected"`
	// InSync: the switch has all that it is to have.
	InSync bool `json:"in_sync"`
	// Error is why it is not connected, or what it last refused.
	Error string `json:"error,omitempty"`
	// Problems are what of the site's wishes the switch cannot have, in words.
	Problems []string `json:"problems,omitempty"`
}

// MaxLearned bounds the MACs of one connection that a switch may report.
const MaxLearned = 4096

// LearnedMACs are the MACs behind a switch's ports that it has reported for one L2
// gateway connection.
type LearnedMACs struct {
	ConnectionID L2GatewayConnectionID `json:"connection_id"`
	// MACs are those that it reports now, in order.
	MACs []MAC `json:"macs"`
	// Silent are those that it has forgotten since, in order. They are still behind
	// it until another switch reports them: it floods what is for them to its ports.
	Silent []MAC `json:"silent,omitempty"`
}
