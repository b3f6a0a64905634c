package store

import (
	"context"
	"errors"
	"time"
)

var (
	// ErrNotFound says that there is no row for the cluster.
	ErrNotFound = errors.New("no row")
	// ErrConflict says that somebody else changed the row since it was read: read it again.
	ErrConflict = errors.New("the row has changed")
	// ErrInvalid says that a row cannot mean anything, such as one without DesiredWeight. Its weight must not be guessed.
	ErrInvalid = errors.New("invalid row")
)

// Unknown is the CurrentWeight of a row that has none: nobody has acknowledged a weight, as in a row that people or a controller have just made. It is not 0,
// which would be a cluster that is drained.
const Unknown = -1

// Row is what a store holds of one cluster. A row at rest has no Ramp, or one that has ended: then CurrentWeight is what is published.
type Row struct {
	// ClusterName is the key.
	ClusterName string `json:"clusterName"`
	// DesiredWeight is the share of all traffic, in per cent, that people want the cluster to have: never negative. More than 100 counts as 100.
	DesiredWeight int `json:"desiredWeight"`
	// CurrentWeight is the weight that is served: the controller's acknowledgement, or Unknown. While the row Moves, another is published already.
	CurrentWeight int `json:"currentWeight"`
	// HealthCheckID is a Route 53 health check for the cluster's records; empty is none.
	HealthCheckID string `json:"healthCheckID,omitempty"`
	// Ramp is where a move is. Its zero value is that of a row that has never seen one.
	Ramp Ramp `json:"ramp,omitzero"`
}

// Moves tells whether a weight may be published that is not CurrentWeight. DesiredWeight that equals CurrentWeight is then no sign that it is served: it may
// have been another a moment ago.
func (r Row) Moves() bool {
	switch r.Ramp.Phase {
	case Moving, Holding:
		return true
	case RolledBack: // it goes back
		return min(max(r.Ramp.Weight, 0), 100) != r.CurrentWeight // people may have written another number
	case Arrived:
	}
	return false
}

// Ramp is the state of a move, which the next controller goes on from. A move at once is one of a single step; its Ramp goes when it is effective.
type Ramp struct {
	// Phase is where the move is; empty before the first one.
	Phase Phase `json:"phase"`
	// From is the weight that the move came from, and goes back to when it fails.
	From int `json:"from"`
	// To is the DesiredWeight that the move is about.
	To int `json:"to"`
	// Weight is what is published, or about to be: it is stored before DNS is written.
	Weight int `json:"weight"`
	// Failures is how often in a row a gate has refused the next step.
	Failures int `json:"failures"`
	// Since is when the Phase, the Weight or the Failures last changed.
	Since time.Time `json:"since"`
	// Message says, for people, what is waited for or why the move failed.
	Message string `json:"message,omitempty"`
}

// Phase is where a move is.
type Phase string

// The phases of a move.
const (
	// Moving is on its way: Ramp.Weight is published, and the next step follows when that is effective.
	Moving Phase = "Moving"
	// Holding waits because a gate has refused the next step.
	Holding Phase = "Holding"
	// Arrived has all of DesiredWeight served.
	Arrived Phase = "Arrived"
	// RolledBack has failed and went back to where it came from; it stays there until DesiredWeight changes.
	RolledBack Phase = "RolledBack"
)

// Store holds the rows of clusters; each Store is about one cluster. It may be used by several goroutines and by several processes.
// Every call ends with its context.
type Store interface {
	// Read returns the row as it is now. It returns ErrNotFound if there is none, and ErrInvalid, with the attribute and its value, for one that is
	// malformed.
	Read(ctx context.Context) (Row, error)
	// Create makes the row, unless there is one, which it leaves alone without an error.
	Create(ctx context.Context, row Row) error
	// Acknowledge writes CurrentWeight and Ramp of a row that was read as it is in read, and nothing else. It returns ErrConflict, and writes
	// nothing, if DesiredWeight, CurrentWeight or Ramp are not as in read any more.
	Acknowledge(ctx context.Context, read, row Row) error
	// Desire writes DesiredWeight, whatever else the row holds. It returns ErrNotFound if there is no row.
	Desire(ctx context.Context, weight int) error
}

// Watcher is a Store that knows at once when its row has changed.
type Watcher interface {
	// Watch calls changed, possibly more often than the row changes, until ctx ends.
	Watch(ctx context.Context, changed func()) error
}
