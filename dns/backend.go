package dns

import (
	"context"
	"errors"

	"k8s.io/apimachinery/pkg/types"
)

// Backend makes the records of one cluster real. It is called by the cluster publisher alone, possibly from several
// goroutines at once, each for Ingresses of its own.
type Backend interface {
	// Published returns the records that now stand for an Ingress and that belong to cluster, as they were given to
	// Publish; empty if there are none. hosts are the names that the Ingress serves: a backend that stores records by
	// name looks at these names and the inner names below them. It does not ask whether the records are in sync.
	Published(ctx context.Context, cluster string, ingress types.NamespacedName, hosts []string) ([]Record, error)

	// Publish makes each Publication's Records the only ones of its Ingress and cluster, and reports one Status for each, in
	// the same order. It writes nothing when nothing differs, and never waits for a change to be in sync: it is called again
	// until it is. The records of one Publication change together or not at all. An error of one Publication is in its
	// Status, and so is that it could not be written yet; the returned error is for what concerns all, such as credentials
	// that were refused.
	Publish(ctx context.Context, publications ...Publication) ([]Status, error)
}

// ErrRefused is in the tree of an error that repeating the call does not mend: somebody has to change an object, or DNS. Other errors pass, or may.
var ErrRefused = errors.New("refused")

// Refuse marks err with [ErrRefused], without a word more. Nil stays nil.
func Refuse(err error) error {
	if err == nil {
		return nil
	}
	return refusal{err}
}

type refusal struct{ error }

// Unwrap returns what is refused, and the mark.
func (r refusal) Unwrap() []error { return []error{r.error, ErrRefused} }
