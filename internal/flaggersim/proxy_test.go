package flaggersim_test

import (
	"encoding/json"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/runtime"
	ktesting "k8s.io/client-go/testing"

	"github.com/penstock-dev/penstock/internal/flaggersim"
	"github.com/penstock-dev/penstock/internal/vclock"
)

// poll is Skipper's default.
const poll = 3 * time.Second

// proxy is a Skipper that polls: it may act on any state of the last poll interval.
type proxy struct {
	t     *testing.T
	clock *vclock.Clock

	mu        sync.Mutex // guards the following
	ingresses map[string]*networkingv1.Ingress
	states    map[string][]proxyState // by Canary
}

type proxyState struct {
	at     time.Time
	shares flaggersim.Shares
}

// watchProxy gives the world a proxy that sees every single write: between two of them a poll may come.
func watchProxy(t *testing.T, w *flaggersim.World, names []string) {
	t.Helper()
	p := &proxy{t: t, clock: w.Clock, ingresses: map[string]*networkingv1.Ingress{}, states: map[string][]proxyState{}}
	store := w.Kube.ReactionChain[len(w.Kube.ReactionChain)-1]
	w.Kube.PrependReactor("*", "ingresses", func(action ktesting.Action) (bool, runtime.Object, error) {
		handled, object, err := store.React(action)
		if err != nil {
			return handled, object, err
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		if deleted, ok := action.(ktesting.DeleteAction); ok {
			delete(p.ingresses, deleted.GetName())
		} else if ingress, ok := object.(*networkingv1.Ingress); ok && action.GetVerb() != "get" {
			p.ingresses[ingress.Name] = ingress.DeepCopy()
		} else {
			return handled, object, err
		}
		for _, name := range names {
			p.note(name)
		}
		return handled, object, err
	})
	w.Shares = func(name string) flaggersim.Shares {
		p.mu.Lock()
		defer p.mu.Unlock()
		return p.shares(name)
	}
	w.MayReach = p.mayReach
}

func (p *proxy) note(name string) {
	now, shares := p.clock.Now(), p.shares(name)
	if n := len(p.states[name]); n == 0 || p.states[name][n-1].shares != shares {
		p.states[name] = append(p.states[name], proxyState{now, shares})
	}
}

func (p *proxy) mayReach(name string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	now, states := p.clock.Now(), p.states[name]
	for i, s := range states {
		ended := i+1 < len(states) && states[i+1].at.Add(poll).Before(now)
		if s.shares != (flaggersim.Shares{}) && !ended {
			return true
		}
	}
	return false
}

// shares follows a request of each sort through the routes.
func (p *proxy) shares(name string) flaggersim.Shares {
	users := p.follow(name, nil)
	out := flaggersim.Shares{Users: users.share, Copies: users.copies}
	conditions := []string{`HeaderRegexp("X-Canary", "^always$")`, `Cookie("canary", "^always$")`} // of matching users, in flaggersim.Run
	for _, condition := range conditions {
		out.Matching += p.follow(name, []string{condition}).share / float64(len(conditions))
	}
	return out
}

type followed struct{ share, copies float64 }

var predicate = regexp.MustCompile(`(\w+)\(((?:[^"()]|"(?:[^"\\]|\\.)*")*)\)`)

// follow sends a request that meets the conditions to the heaviest route of a Canary's generated Ingresses that takes it.
func (p *proxy) follow(name string, conditions []string) followed {
	canary := name + "-canary"
	best, highest, part := (*networkingv1.Ingress)(nil), -1, 1.0
	for _, ingress := range p.ingresses {
		if ingress.Name != canary && !strings.HasPrefix(ingress.Name, canary+"--") {
			continue
		}
		takes, weight, percent := true, 0, 1.0
		for _, m := range predicate.FindAllStringSubmatch(ingress.Annotations["zalando.org/skipper-predicate"], -1) {
			switch m[1] {
			case "Weight":
				n, _ := strconv.Atoi(m[2])
				weight += n - 1
			case "Traffic":
				percent, _ = strconv.ParseFloat(m[2], 64)
			default:
				takes = takes && slices.Contains(conditions, m[0])
			}
			weight++
		}
		if takes && weight > highest {
			best, highest, part = ingress, weight, percent
		}
	}
	if best == nil {
		return followed{} // the apex Service, which selects primary
	}
	if strings.Contains(best.Annotations["zalando.org/skipper-filter"], "teeLoopback(") {
		tee := `Tee("` + canary + `")`
		if slices.Contains(conditions, tee) {
			p.t.Errorf("the copy of a request to %s is copied again and again", name)
			return followed{}
		}
		return followed{share: 0, copies: part * p.follow(name, append(slices.Clone(conditions), tee)).share}
	}
	text, ok := best.Annotations["zalando.org/backend-weights"]
	if !ok {
		if best.Spec.Rules[0].HTTP.Paths[0].Backend.Service.Name == canary {
			return followed{share: part}
		}
		return followed{}
	}
	var backends map[string]float64 // a missing key is 0
	if err := json.Unmarshal([]byte(text), &backends); err != nil {
		return followed{share: 0.5} // Skipper ignores the annotation
	}
	share := part * backends[canary] / (backends[canary] + backends[name+"-primary"])
	if math.IsNaN(share) {
		return followed{share: 0.5}
	}
	return followed{share: share}
}
