package e2e_test

import (
	"errors"
	"io"
	"net/http"
	"sync"
	"testing"
	"time"

	networkingv1 "k8s.io/api/networking/v1"

	"github.com/penstock-dev/penstock/e2e/internal/gateway"
	"github.com/penstock-dev/penstock/e2e/internal/traffic"
	"github.com/penstock-dev/penstock/internal/route53emulator"
)

// TestAControllerInTrouble: while Route 53 throttles, and while the API server of one of two clusters is away, records stay, nothing is acknowledged that
// is not served, and afterwards it goes on.
func TestAControllerInTrouble(t *testing.T) {
	t.Parallel()
	a := newApp(t, setup{provider: "dns-weighted", backend: "route53", publish: controller, weights: map[string]int{"east": 100, "west": 100}})
	east := a.sites["east"]
	stays := func(during string, weight int) {
		if published, served := a.recordWeights(a.host)["east"], east.served(); published != weight || served != weight {
			t.Errorf("%s: published %d, acknowledged %d, want %d", during, published, served, weight)
		}
	}
	shares := func(when string, share float64) {
		<-time.After(ttl + time.Second) // users keep an answer that long
		a.sharesNow(when, map[traffic.Cell]float64{{Cluster: "east", Version: version}: share, {Cluster: "west", Version: version}: 1 - share})
	}
	east.wait("the weight is acknowledged", patience, func() bool { return east.served() == 100 })

	a.route53.Inject(route53emulator.Fault{Kind: route53emulator.Throttled, Times: -1})
	east.setWeight(25)
	<-time.After(30 * time.Second) // longer than a call is repeated for
	stays("throttled", 100)
	a.route53.ClearFaults()
	east.wait("what was throttled is acknowledged", patience, func() bool { return east.served() == 25 })
	shares("after Route 53 throttled", 0.2)

	away := make(chan struct{})
	back := sync.OnceFunc(func() { close(away) })
	t.Cleanup(back)
	east.gateway.Decide(func(*http.Request) gateway.Fault { return gateway.Fault{Hold: away} })
	east.setWeight(100)
	leader := east.controllers[0]
	select {
	case <-leader.Ended():
	case <-time.After(patience):
		t.Fatal("the leader cannot renew its lease, and goes on")
	}
	stays("the API server is away", 25)
	shares("while the API server is away", 0.2)
	east.controllers = append(east.controllers, east.startController()) // as a kubelet does
	starting := east.controllers[1]
	select {
	case <-starting.Ended(): // and says so
	case <-time.After(patience):
		t.Fatal("a controller starts, and waits in silence for an API server that does not answer")
	}
	stays("a controller starts, and the API server is away", 25)
	east.gateway.Decide(nil)
	back()
	east.wait("the weight is acknowledged when the API server is back", patience, func() bool {
		east.restartController()
		return east.served() == 100
	})
	shares("after the API server was away", 0.5)
	a.failures()
}

// TestALeaderThatWakesUp: a leader is stopped, with its machine perhaps, and another one leads meanwhile. When the first one goes on it does not know: what it
// would write is not written, and it ends.
func TestALeaderThatWakesUp(t *testing.T) {
	t.Parallel()
	each(t, map[string]setup{"Route53": {backend: "route53"}, "ExternalDNS": {backend: "externaldns"}}, func(t *testing.T, s setup) {
		s.provider, s.publish, s.weights = "dns-weighted", controller, map[string]int{"east": 100, "west": 100}
		a := newApp(t, s)
		east := a.sites["east"]
		east.wait("the weight is acknowledged", patience, func() bool { return east.served() == 100 })
		first := east.controllers[0]
		must(t, first.Pause())
		east.controllers = append(east.controllers, east.startController())
		east.setWeight(50)
		east.wait("the weight is acknowledged by the other one", patience, func() bool { return east.served() == 50 })
		// The first one knows of 100, and has something to write when it hears of this.
		east.edit(name, func(i *networkingv1.Ingress) { i.Annotations[weightAnnotation] = "80" })
		published := func() bool { return a.recordWeights(a.host)["east"] == 40 }
		east.wait("the other one has published the change", patience, published)
		<-time.After(lag)
		from := time.Now()
		must(t, first.Resume())
		select {
		case <-first.Ended():
		case <-time.After(patience):
			t.Fatal("it goes on, although another one leads")
		}
		<-time.After(2 * syncDelay)
		if changed := a.changedBefore(time.Now()); changed.After(from) || !published() || east.served() != 50 {
			t.Errorf("published %v, last changed at %s, acknowledged %d; want nothing new since %s", a.recordWeights(a.host), changed, east.served(), from)
		}
		a.failures()
	})
}

// restartController starts the last replica of the controller again if it has ended, as a kubelet does.
func (s *site) restartController() {
	s.app.t.Helper()
	last := len(s.controllers) - 1
	select {
	case <-s.controllers[last].Ended():
		s.controllers[last] = s.startController()
	default:
	}
}

// metricsOf returns what a program with the port for its metrics answers.
func metricsOf(t *testing.T, port, path string) (status int, text string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://127.0.0.1:"+port+path, nil)
	must(t, err)
	response, err := (&http.Client{Timeout: requestTimeout}).Do(request)
	must(t, err)
	content, err := io.ReadAll(response.Body)
	must(t, errors.Join(err, response.Body.Close()))
	return response.StatusCode, string(content)
}
