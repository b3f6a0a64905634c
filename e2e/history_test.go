package e2e_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"time"

	flaggerv1 "github.com/fluxcd/flagger/pkg/apis/flagger/v1beta1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/penstock-dev/penstock/internal/state"
)

// moment is what stands in the API about a Canary.
type moment struct {
	at       time.Time
	phase    flaggerv1.CanaryPhase
	status   int // the canary weight in Flagger's status
	failed   int // the failed checks in it
	skipper  int // in the canary Ingress; -1 without one
	desired  state.Desired
	observed state.Observed
	replicas int32 // of the target
}

// weight is the canary's weight that was asked for.
func (m moment) weight() int {
	if m.desired.Mode == state.Split {
		return m.desired.Weights.Canary
	}
	return max(m.skipper, 0)
}

// effective tells whether DNS is as asked for, as far as it concerns the split.
func (m moment) effective() bool {
	return m.desired.Mode != state.Split && !m.exposed() || m.observed.Done(m.desired)
}

// splits tells whether the canary has a share.
func (m moment) splits() bool {
	return m.phase == flaggerv1.CanaryPhaseProgressing && m.weight() > 0 && m.effective()
}

// exposed tells whether the cluster has less than its weight.
func (m moment) exposed() bool { return m.desired.Exposure%100 != 0 }

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// history is what happened to a Canary.
type history struct {
	mu      sync.Mutex // guards the following
	moments []moment
}

// watch begins a history.
func (s *site) watch() *history {
	s.app.t.Helper()
	h := &history{moments: []moment{{at: time.Now(), skipper: -1}}}
	s.follow(s.Flagger.FlaggerV1beta1().RESTClient(), "canaries", name, h.saw)
	s.follow(s.Kube.AppsV1().RESTClient(), "deployments", name, h.saw)
	s.follow(s.Kube.NetworkingV1().RESTClient(), "ingresses", name+"-canary", h.saw)
	s.follow(s.Kube.CoreV1().RESTClient(), "configmaps", state.Name(name), h.saw)
	return h
}

// saw adds a moment if anything of it is new.
func (h *history) saw(event watch.Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	last := h.moments[len(h.moments)-1]
	now := last
	switch o := event.Object.(type) {
	case *flaggerv1.Canary:
		now.phase, now.status, now.failed = o.Status.Phase, o.Status.CanaryWeight, o.Status.FailedChecks
	case *appsv1.Deployment:
		if o.Spec.Replicas != nil {
			now.replicas = *o.Spec.Replicas
		}
	case *networkingv1.Ingress:
		var weights map[string]float64
		now.skipper = -1
		if event.Type != watch.Deleted && json.Unmarshal([]byte(o.Annotations["zalando.org/backend-weights"]), &weights) == nil {
			now.skipper = int(weights[name+"-canary"])
		}
	case *corev1.ConfigMap:
		now.desired, now.observed = state.Desired{}, state.Observed{}
		if event.Type != watch.Deleted {
			now.desired, now.observed, _ = state.Read(o) // malformed is the same as missing
		}
	}
	same := now.phase == last.phase && now.status == last.status && now.failed == last.failed && now.skipper == last.skipper && now.replicas == last.replicas &&
		now.desired.Generation == last.desired.Generation && now.effective() == last.effective()
	now.at = time.Now()
	if same {
		now.at = last.at
		h.moments[len(h.moments)-1] = now
		return
	}
	h.moments = append(h.moments, now)
}

func (h *history) last() moment {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.moments[len(h.moments)-1]
}

func (h *history) all() []moment {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]moment(nil), h.moments...)
}

// lag is how much later than the API a watch may know something.
const lag = 200 * time.Millisecond

// steady is a time in a canary in which its weight was the same everywhere.
type steady struct {
	weight   int
	from, to time.Time
}

func (s steady) String() string {
	return fmt.Sprintf("at canary weight %d, for %s from %s", s.weight, s.to.Sub(s.from).Round(time.Second), s.from.Format(time.TimeOnly))
}

// steady returns these times. dns tells when DNS was last changed before a time.
func (h *history) steady(dns func(time.Time) time.Time) []steady {
	var out []steady
	moments := h.all()
	for i := 0; i < len(moments); i++ {
		begin, m := i, moments[i]
		if !m.effective() || m.phase != flaggerv1.CanaryPhaseProgressing {
			continue
		}
		to := time.Now()
		for _, next := range moments[i+1:] {
			if next.weight() != m.weight() || next.effective() != m.effective() || next.phase != m.phase {
				to = next.at
				break
			}
			i++
		}
		// The publisher looks once a tick and is careful, so DNS was as asked for a while when it says so.
		inSync, since := dns(m.at).Add(syncDelay+ttl+lag), begin
		for since > 0 && moments[since-1].weight() == m.weight() {
			since--
		}
		from := moments[since].at.Add(3 * poll)
		lastExposed := begin // -1 if it never was
		for lastExposed >= 0 && !moments[lastExposed].exposed() {
			lastExposed--
		}
		switch {
		case m.desired.Mode == state.Split:
			from = inSync
		case m.exposed():
			from = latest(from, inSync)
		case lastExposed >= 0: // nobody waits until the cluster has its weight again
			changed := dns(to)
			if changed.Before(moments[lastExposed+1].at) {
				continue
			}
			from = latest(from, changed.Add(syncDelay+ttl+lag))
		}
		out = append(out, steady{m.weight(), from, to.Add(-lag)})
	}
	return out
}

// weights returns the canary's weights while it was Progressing, one after another. A canary Ingress that is not there has none.
func (s *site) weights() []int {
	var weights []int
	for _, m := range s.history.all() {
		if m.phase == flaggerv1.CanaryPhaseProgressing && (m.desired.Mode == state.Split || m.skipper >= 0) {
			weights = append(weights, m.weight())
		}
	}
	return slices.Compact(weights)
}

// at returns the moment that a time is in.
func (h *history) at(when time.Time) moment {
	moments := h.all()
	i, found := slices.BinarySearchFunc(moments, when, func(m moment, when time.Time) int { return m.at.Compare(when) })
	if !found {
		i = max(i-1, 0)
	}
	return moments[i]
}

// downs returns when the target was scaled to zero at the end of a canary.
func (h *history) downs() []time.Time {
	var out []time.Time
	begun := false
	moments := h.all()
	for i, m := range moments {
		begun = begun || m.phase == flaggerv1.CanaryPhaseProgressing
		if i > 0 && begun && m.replicas == 0 && moments[i-1].replicas > 0 {
			out = append(out, m.at)
		}
	}
	return out
}

// drainsDue counts the canaries that have ended after DNS had led somebody to them.
func (h *history) drainsDue() int {
	due, shared := 0, false
	for _, m := range h.all() {
		shared = shared || m.desired.Mode == state.Split && m.weight() > 0 && m.effective()
		if shared && (m.phase == flaggerv1.CanaryPhaseSucceeded || m.phase == flaggerv1.CanaryPhaseFailed) {
			due, shared = due+1, false
		}
	}
	return due
}
