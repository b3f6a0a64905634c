package traffic

import (
	"context"
	"net/http"
	"strings"
	"testing"

	"go.uber.org/zap"
	"k8s.io/client-go/rest"
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
