package traffic

import (
	"context"
	"errors"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/penstock-dev/penstock/internal/state"
)

// Two controllers of one cluster share it by their filters. Only the one whose Ingress it is answers a Canary.
func TestCanariesOfAnotherController(t *testing.T) {
	t.Parallel()
	wish := canary("one", state.Desired{Generation: 1, Mode: state.Shared, Ingress: "one", Service: "one"})
	for domain, want := range map[string]bool{"example.com": true, "example.org": false} {
		r := newRig(t, nil, append(app("one", "one.example.com"), wish.DeepCopy())...)
		r.restart("-binding-domain", domain)
		answered := false
		r.source.answer = func(context.Context, *corev1.ConfigMap, string) error { answered = true; return nil }
		r.changedObject(wish)
		r.run(time.Minute)
		if answered != want {
			t.Errorf("the controller of %s answered %t, want %t", domain, answered, want)
		}
	}
}

// owned is a backend that says which Ingresses have records, once it can be asked.
type owned struct {
	names []types.NamespacedName
	fails int
}

func (o *owned) Ingresses(context.Context, string) ([]types.NamespacedName, error) {
	if o.fails--; o.fails >= 0 {
		return nil, errors.New("route 53 is away")
	}
	return o.names, nil
}

// An Ingress that went while nobody led leaves records behind, which the next leader withdraws.
func TestRecordsOfAnIngressThatWentMeanwhile(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil, append(app("one", "one.example.com"), app("two", "two.example.com")...)...)
	r.run(time.Minute)
	gone := app("one")[0]
	if err := r.kube.Delete(t.Context(), gone); err != nil {
		t.Fatal(err)
	}
	r.restart()
	r.run(time.Minute)
	if len(r.published("one")) == 0 {
		t.Fatal("the records went without anybody who found them")
	}
	r.owner = &owned{names: []types.NamespacedName{client.ObjectKeyFromObject(gone)}, fails: 2}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		r.findAbandoned(t.Context())
	}()
	for done := false; !done; {
		select {
		case <-ended:
			done = true
		default:
			r.clock.Sleep(r.opts.PollInterval)
		}
	}
	r.run(time.Minute)
	if got := r.published("one", "two"); len(got) != 1 || got["two.example.com"] != 100 {
		t.Errorf("published %v", got)
	}
}
