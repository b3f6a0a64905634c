package e2e_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/penstock-dev/penstock/e2e/internal/traffic"
)

// monitoring answers the query of a gate.
type monitoring struct {
	url   string
	value atomic.Int64
	asked atomic.Int64
}

const gateQuery = `sum(rate(errors_total{job="app"}[1m]))`

func startMonitoring(t *testing.T) *monitoring {
	t.Helper()
	m := &monitoring{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/api/v1/query" || r.FormValue("query") != gateQuery {
			t.Errorf("a gate asks %s for %q", r.URL.Path, r.FormValue("query"))
		}
		m.asked.Add(1)
		w.Header().Set("Content-Type", "application/json")
		_, _ = fmt.Fprintf(w, `{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1,"%d"]}]}}`, m.value.Load())
	}))
	t.Cleanup(server.Close)
	m.url = server.URL
	return m
}

// TestAGradualMove: a cluster is drained step by step. Monitoring minds after the first one, so the weight goes back; when it minds no more, an operator has the
// move begun anew, and it ends.
func TestAGradualMove(t *testing.T) {
	t.Parallel()
	a := newApp(t, setup{provider: "dns-weighted", backend: "route53", publish: controller, weights: map[string]int{"east": 100, "west": 100}})
	east := a.sites["east"]
	east.wait("the weight is acknowledged", patience, func() bool { return east.served() == 100 })
	m := startMonitoring(t)
	east.controllers[0].Stop(patience)
	east.controllers = append(east.controllers, east.startController("--ramp-step=25", "--ramp-interval=1s", "--ramp-failures=2", "--poll-interval=1s",
		"--prometheus-url="+m.url, "--ramp-query="+gateQuery, "--ramp-query-max=5"))
	shares := func(when string, share float64) {
		<-time.After(ttl + time.Second) // users keep an answer that long
		a.sharesNow(when, map[traffic.Cell]float64{{Cluster: "east", Version: version}: share, {Cluster: "west", Version: version}: 1 - share})
	}

	var steps []int
	stepped := func() (to int) {
		to = east.served()
		if len(steps) == 0 || steps[len(steps)-1] != to {
			steps = append(steps, to)
		}
		return to
	}
	east.setWeight(0)
	east.wait("the first step is acknowledged", patience, func() bool { return stepped() == 75 })
	m.value.Store(9)
	east.wait("the move went back", patience, func() bool { return stepped() == 100 && east.row()["RampPhase"] == "RolledBack" })
	if message := east.row()["RampMessage"]; !strings.Contains(message, "the value is 9") || m.asked.Load() < 3 {
		t.Errorf("asked %d times, message %q", m.asked.Load(), message)
	}
	east.wait("an event says so", patience, func() bool {
		list, err := east.Kube.EventsV1().Events(a.namespace).List(t.Context(), metav1.ListOptions{})
		must(t, err)
		return slices.ContainsFunc(list.Items, func(e eventsv1.Event) bool {
			return e.Reason == "RampRolledBack" && strings.Contains(e.Note, "the value is 9")
		})
	})
	shares("after the move went back", 0.5)

	m.value.Store(0)
	steps = nil
	command := exec.CommandContext(t.Context(), program("penstock"), "set-weight", "east", "0", "--backend-type=configmap",
		"--kubeconfig="+east.kubeconfig(), "--namespace="+a.namespace)
	if text, err := command.CombinedOutput(); err != nil || !strings.Contains(string(text), "begins anew at 100") {
		t.Fatalf("penstock set-weight: %v\n%s", err, text)
	}
	east.wait("the cluster is drained", patience, func() bool { return stepped() == 0 })
	if want := []int{100, 75, 50, 25, 0}; !slices.Equal(steps, want) {
		t.Errorf("the weights that were acknowledged are %v, want %v", steps, want)
	}
	shares("after the move", 0)
	a.failures()
}

// row returns the cluster's row in the store.
func (s *site) row() map[string]string {
	t := s.app.t
	t.Helper()
	configMap, err := s.Kube.CoreV1().ConfigMaps(s.app.namespace).Get(t.Context(), weightConfigMap, metav1.GetOptions{})
	must(t, err)
	return configMap.Data
}
