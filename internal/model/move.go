package model

// Move is what is left of a port's last place while it moves to another: hosts learn of it one after the other, and each
// stage begins when they know of the one before.
type Move struct {
	Host      HostName  `json:"host"`      // the former one
	Interface string    `json:"interface"` // of the port there
	Stage     MoveStage `json:"stage"`
	// Epoch is the port's revision that bound it to its new host: hosts that have applied a stage of another epoch may know of
	// another new host. 0: a controller from before it has advanced the move.
	Epoch int64 `json:"epoch,omitempty"`
}

// MoveStage says how far a port's move has come.
type MoveStage uint8

const (
	// MoveAccept: frames with the port's MAC are taken from its new host too. All else is as it was.
	MoveAccept MoveStage = iota + 1
	// MoveBoth: the port is on both hosts. Frames still go to the former one.
	MoveBoth
	// MoveSwitched: frames go to the new host. The port is still on both.
	MoveSwitched
	// MoveLeft is of gateway devices alone: the former host has let go of the device, and frames are still taken from it: others
	// may know that before it does.
	MoveLeft
)
