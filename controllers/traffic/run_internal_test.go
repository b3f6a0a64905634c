package traffic

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"k8s.io/client-go/rest"

	"github.com/penstock-dev/penstock/dns"
)

// A controller that starts while the API server does not answer ends with an error that says so: it does not wait in silence.
func TestRunWithoutAnAPIServer(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	asked := 0
	config := &rest.Config{Host: "http://192.0.2.1", WrapTransport: func(http.RoundTripper) http.RoundTripper {
		return transportFunc(func(r *http.Request) (*http.Response, error) {
			asked++
			if _, found := r.Context().Deadline(); !found {
				t.Errorf("%s %s has no deadline", r.Method, r.URL)
			}
			cancel() // as the deadline would
			<-r.Context().Done()
			return nil, r.Context().Err()
		})
	}}
	err := Run(ctx, config, (&plannedCluster{}).options(t, nil), zap.NewNop().Sugar())
	if err == nil || !strings.Contains(err.Error(), "ask the API server at http://192.0.2.1 for its version") || asked != 1 {
		t.Errorf("asked %d times, error %v", asked, err)
	}
}

// noting is a backend that keeps whether proof was asked for last.
type noting struct {
	dns.Backend

	prove *bool
}

// Publish implements dns.Backend.
func (n noting) Publish(ctx context.Context, publications ...dns.Publication) ([]dns.Status, error) {
	for _, p := range publications {
		*n.prove = p.Prove
	}
	return n.Backend.Publish(ctx, publications...)
}

// The publisher asks for proof as long as a weight waits for its acknowledgement, and only then.
func TestThePublisherAsksForProof(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil, app("one", "one.example.com")...)
	proved := false
	var err error
	if r.publisher, err = newPublisher(r.Controller, noting{r.dns, &proved}, nil); err != nil {
		t.Fatal(err)
	}
	r.run(time.Minute)
	if proved {
		t.Error("proof of a weight that is acknowledged")
	}
	r.desire(40)
	r.moment()
	if !proved {
		t.Error("no proof of a weight that somebody waits for")
	}
}
