package e2e_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"path"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	flaggerv1 "github.com/fluxcd/flagger/pkg/apis/flagger/v1beta1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/penstock-dev/penstock/e2e/internal/gateway"
)

// TestFiftyCanaries lets one Flagger run fifty at the same time, half of them with records of their own in DNS.
func TestFiftyCanaries(t *testing.T) {
	t.Parallel()
	const n = 50
	const interval = 10 * time.Second
	weight := func(i int) int { return 1 + i } // of the host's record, in the end
	a := prepareApp(t, sharedRoute53)
	east := a.sites["east"]
	names := make([]string, 0, n)
	for i := range n {
		app := fmt.Sprintf("app-%d", i)
		names = append(names, app)
		east.createWorkload(app)
		east.createIngress(app, app, app+"."+a.zone, 0)
		east.createCanary(app, func(c *flaggerv1.Canary) {
			c.Spec.Analysis.Metrics = nil // nobody measures them
			if i%2 == 0 {
				c.Spec.Provider = "skipper"
			}
		})
	}
	ticks, weights := &tickLog{}, &weightLog{}
	east.gateway.Decide(func(r *http.Request) gateway.Fault {
		if dir, app := path.Split(r.URL.Path); r.Method == http.MethodGet && strings.HasSuffix(dir, "/ingresses/") {
			ticks.add(app)
		}
		return gateway.Fault{}
	})
	east.follow(east.Kube.NetworkingV1().RESTClient(), "ingresses", "", weights.saw)
	phases := func() map[flaggerv1.CanaryPhase]int {
		list, err := east.Flagger.FlaggerV1beta1().Canaries(a.namespace).List(t.Context(), metav1.ListOptions{})
		must(t, err)
		counts := map[flaggerv1.CanaryPhase]int{}
		for _, c := range list.Items {
			if slices.Contains(names, c.Name) {
				counts[c.Status.Phase]++
			}
		}
		return counts
	}
	east.wait("all Canaries are Initialized", patience, func() bool { return phases()[flaggerv1.CanaryPhaseInitialized] == n })
	for i, app := range names {
		east.deployVersion(app, release, 0)
		east.edit(app, func(ingress *networkingv1.Ingress) { ingress.Annotations[weightAnnotation] = fmt.Sprint(weight(i)) })
	}
	east.wait("all canaries are promoted", patience, func() bool { return phases()[flaggerv1.CanaryPhaseSucceeded] == n })
	for _, app := range names {
		if got, want := weights.of(app+"-canary"), []int{0, 20, 40, 0}; !slices.Equal(got, want) {
			t.Errorf("%s: the canary's weights were %v, want %v", app, got, want)
		}
	}
	longest := time.Duration(0)
	for i, app := range names {
		if got, least := ticks.count(app), 6; got < least { // for its two steps, and what is before and after them
			t.Errorf("%s: %d ticks, want at least %d", app, got, least)
		}
		longest = max(longest, ticks.longest(app))
		want := map[string]int{}
		if i%2 != 0 {
			want["east"] = weight(i)
		}
		if got := a.recordWeights(app + "." + a.zone); !maps.Equal(got, want) {
			t.Errorf("%s: its host has the records %v, want %v", app, got, want)
		}
	}
	east.flagger.Kill()
	usage := east.flagger.Usage()
	a.figures.note("%d Canaries: at most %s between two ticks of one; Flagger used %s of CPU and at most %d MB", n, longest.Round(time.Millisecond), usage.CPU.Round(time.Millisecond), usage.MaxMemory>>20)
	if longest > interval+interval/2 {
		t.Errorf("%s passed between two ticks, which come each %s: one took longer than half as much again", longest, interval)
	}
}

// tickLog is when Flagger read the apex Ingress of each Canary first in a tick. What follows within a second is of the same tick.
type tickLog struct {
	mu    sync.Mutex // guards the following
	times map[string][]time.Time
}

func (l *tickLog) add(app string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.times == nil {
		l.times = map[string][]time.Time{}
	}
	times, now := l.times[app], time.Now()
	if len(times) == 0 || now.Sub(times[len(times)-1]) > time.Second {
		l.times[app] = append(times, now)
	}
}

func (l *tickLog) count(app string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.times[app])
}

// longest returns the longest time between two ticks.
func (l *tickLog) longest(app string) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	longest := time.Duration(0)
	times := l.times[app]
	for i := 1; i < len(times); i++ {
		longest = max(longest, times[i].Sub(times[i-1]))
	}
	return longest
}

// weightLog is the weights that canary Ingresses had, one after another.
type weightLog struct {
	mu      sync.Mutex // guards the following
	weights map[string][]int
}

func (l *weightLog) of(ingress string) []int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.weights[ingress]
}

func (l *weightLog) saw(event watch.Event) {
	ingress, ok := event.Object.(*networkingv1.Ingress)
	if !ok {
		return
	}
	var weights map[string]int
	if json.Unmarshal([]byte(ingress.Annotations["zalando.org/backend-weights"]), &weights) != nil {
		return
	}
	weight := weights[ingress.Name]
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.weights == nil {
		l.weights = map[string][]int{}
	}
	if seen := l.weights[ingress.Name]; len(seen) == 0 || seen[len(seen)-1] != weight {
		l.weights[ingress.Name] = append(seen, weight)
	}
}
