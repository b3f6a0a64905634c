package flaggersim

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	flaggerv1 "github.com/fluxcd/flagger/pkg/apis/flagger/v1beta1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/penstock-dev/penstock/internal/vclock"
	"github.com/penstock-dev/penstock/router"
)

// Subject is a router under test, in a world of its own for each case.
type Subject struct {
	// NewWorld returns a fresh cluster with the objects that the Canaries of these names need.
	NewWorld func(t *testing.T, names ...string) *World
	// Canary returns a Canary as a user would write it.
	Canary func(name string) *flaggerv1.Canary
	// DNS says that the canary is split in DNS, which can neither mirror nor match.
	DNS bool
	// Made lists objects that the router makes for a Canary, as somebody else would make them.
	Made []func(name string) metav1.Object
}

// World is one cluster: objects that last, and what users meet.
type World struct {
	Clock *vclock.Clock
	Kube  *fake.Clientset
	// Start begins a process that remembers nothing. It returns what Flagger asks for a router on each tick, and gets the same one.
	Start func(p *Process) (newRouter func() router.Interface)
	// MayReach tells whether a request, of a user whose resolver obeys the TTL and whose proxy polls as configured, or a copy of one, may
	// be sent to a Canary's canary now.
	MayReach func(name string) bool
	// Shares is what a Canary's canary gets once everything has arrived.
	Shares func(name string) Shares
	// Written counts the writes of all processes to what is not in Kube, such as DNS.
	Written func() int
}

// Shares says what part of the requests a canary gets.
type Shares struct {
	Users    float64 // of users who meet no condition of the analysis
	Matching float64 // of users who meet one
	Copies   float64 // mirrored, so that nobody sees the answer
}

// app is the name of the Canary where there is only one.
const app = "app"

// rollout is a whole canary, from the first tick to its end, in a world with processes that may die.
type rollout struct {
	t         *testing.T
	world     *World
	name      string
	driver    *Driver
	process   *Process
	newRouter func() router.Interface
	stop      func()

	mu   sync.Mutex // guards the following: the goroutine of any Canary may move the clock
	down bool       // the canary has no pods
	seen []Shares
}

func begin(t *testing.T, s Subject, process *Process, change func(*flaggerv1.Canary)) *rollout {
	t.Helper()
	w := s.NewWorld(t, app)
	return s.begin(t, w, app, process, w.Start(process), change)
}

// begin puts a Canary into a world, where a process runs already.
func (s Subject) begin(t *testing.T, w *World, name string, process *Process, newRouter func() router.Interface, change func(*flaggerv1.Canary)) *rollout {
	t.Helper()
	canary := s.Canary(name)
	if change != nil {
		change(canary)
	}
	r := &rollout{t: t, world: w, name: name, process: process, newRouter: newRouter, down: true}
	r.driver = New(canary, r.router, Hooks{
		ScaleFromZero: func(context.Context) error { r.scale(false); return nil },
		ScaleToZero:   func(context.Context) error { r.scale(true); return nil },
		SaveStatus: func(flaggerv1.CanaryStatus) error {
			r.look() // the looks on the clock may be held up in the goroutine of another Canary while this one goes on
			return r.process.Write(func() error { return nil })
		},
		Died: func() bool { return r.process.Dead() },
	}, w.Clock)
	r.stop = w.Clock.Every(time.Second, r.look)
	t.Cleanup(r.stop)
	return r
}

// router returns a router as a tick makes it, of a new process if the last one was killed.
func (r *rollout) router() router.Interface {
	if r.process.Dead() {
		r.process = NewProcess(0, NoFault)
		r.newRouter = r.world.Start(r.process)
	}
	return r.newRouter()
}

func (r *rollout) scale(down bool) {
	r.mu.Lock()
	r.down = down
	r.mu.Unlock()
	r.look()
}

// look checks what must hold at every moment, and notes the shares.
func (r *rollout) look() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.down && r.world.MayReach(r.name) {
		r.t.Errorf("%v: canary %s has no pods, and requests may still be sent to it", r.world.Clock.Now().Format(time.TimeOnly), r.name)
		r.stop()
	}
	shares := r.world.Shares(r.name)
	if n := len(r.seen); n == 0 || r.seen[n-1] != shares {
		r.seen = append(r.seen, shares)
	}
}

// share is what users get of the canary now.
func (r *rollout) share() float64 { return r.world.Shares(r.name).Users }

// history returns one of the shares, each time that it changed.
func history(seen []Shares, of func(Shares) float64) []float64 {
	var out []float64
	for _, s := range seen {
		if n := len(out); n == 0 || out[n-1] != of(s) {
			out = append(out, of(s))
		}
	}
	return out
}

// initialize runs until the Canary takes part in traffic.
func (r *rollout) initialize() {
	r.t.Helper()
	if !r.driver.Run(r.t.Context(), 10, r.driver.In(flaggerv1.CanaryPhaseInitialized)) {
		r.t.Fatalf("phase %q, want Initialized; the last events: %s", r.driver.Phase(), last(r.driver.Events))
	}
}

// release deploys a new revision and runs until the canary ends in a phase.
func (r *rollout) release(want flaggerv1.CanaryPhase) {
	r.t.Helper()
	r.initialize()
	r.driver.Release("2")
	r.end(want)
}

// firstStep deploys a new revision and runs until the canary has its first share of 20 %.
func (r *rollout) firstStep() {
	r.t.Helper()
	r.initialize()
	r.driver.Release("2")
	if !r.driver.Run(r.t.Context(), ticks, func() bool { return r.share() == 0.2 }) {
		r.t.Fatalf("the canary has the share %v, want 0.2; the last events: %s", r.share(), last(r.driver.Events))
	}
}

// end runs until a canary that has been released ends in a phase.
func (r *rollout) end(want flaggerv1.CanaryPhase) {
	r.t.Helper()
	begun := r.driver.Phase() == flaggerv1.CanaryPhaseProgressing
	r.driver.Run(r.t.Context(), ticks, func() bool {
		ended := r.driver.In(flaggerv1.CanaryPhaseSucceeded, flaggerv1.CanaryPhaseFailed)()
		begun = begun || !ended && r.driver.Phase() != flaggerv1.CanaryPhaseInitialized
		return begun && ended
	})
	if phase := r.driver.Phase(); phase != want {
		r.t.Fatalf("phase %s, want %s; the last events: %s", phase, want, last(r.driver.Events))
	}
}

func (r *rollout) settle() {
	// Ticks go on after the end: a split in DNS is taken back only then.
	for range 60 {
		_ = r.driver.Tick(r.t.Context())
		r.world.Clock.Sleep(r.driver.Canary.GetAnalysisInterval())
	}
}

// ticks is more than any rollout of the suite needs.
const ticks = 400

// Run runs the suite. Each property is a subtest.
func Run(t *testing.T, s Subject) { //nolint:thelper // it is the suite, not a helper
	s.runStrategies(t)
	s.runTurns(t)
	s.runFaults(t)
	s.runDeletion(t)
	s.runSharing(t)
	t.Run("IdleAndRepeatedCallsWriteNothing", func(t *testing.T) {
		t.Parallel()
		r := begin(t, s, NewProcess(0, NoFault), nil)
		r.initialize()
		r.settle()
		r.quiet("idle", func() { _ = r.driver.Tick(t.Context()) })
		r.firstStep()
		r.quiet("a repeated Reconcile", func() { r.must(r.router().Reconcile(r.driver.Canary)) })
		r.quiet("a repeated SetRoutes", func() { r.must(r.router().SetRoutes(r.driver.Canary, 80, 20, false)) })
	})
	t.Run("WeightsThatMakeNoSense", func(t *testing.T) {
		t.Parallel()
		r := begin(t, s, NewProcess(0, NoFault), nil)
		r.initialize()
		r.quiet("refused weights", func() {
			for _, pair := range [][2]int{{50, 60}, {-10, 110}, {0, 0}, {100, 100}, {1 << 40, 0}} {
				if err := r.router().SetRoutes(r.driver.Canary, pair[0], pair[1], false); err == nil {
					t.Errorf("route weights %d/%d were accepted", pair[0], pair[1])
				}
			}
		})
	})
	t.Run("WhatFlaggerForgot", func(t *testing.T) {
		t.Parallel()
		for name, change := range map[string]func(*flaggerv1.Canary){
			"no ingressRef":      func(c *flaggerv1.Canary) { c.Spec.IngressRef = nil },
			"an empty name":      func(c *flaggerv1.Canary) { c.Spec.IngressRef.Name = "" },
			"no such Ingress":    func(c *flaggerv1.Canary) { c.Spec.IngressRef.Name = "absent" },
			"no rule for it":     func(c *flaggerv1.Canary) { c.Spec.Service.Name = "absent" },
			"no analysis at all": func(c *flaggerv1.Canary) { c.Spec.Analysis = nil },
		} {
			canary := s.Canary(app)
			change(canary)
			w := s.NewWorld(t, app)
			process := NewProcess(0, NoFault)
			err := w.Start(process)().Reconcile(canary)
			if (err == nil) != (canary.Spec.Analysis == nil) {
				t.Errorf("%s: Reconcile returns %v", name, err)
			}
			if err != nil && process.Writes() != 0 {
				t.Errorf("%s: %d writes beside the error %v", name, process.Writes(), err)
			}
		}
	})
}

// quiet fails the test if something is written meanwhile.
func (r *rollout) quiet(what string, run func()) {
	r.t.Helper()
	writes, written := r.process.Writes(), r.world.Written()
	run()
	if got := r.process.Writes() - writes; got != 0 {
		r.t.Errorf("%s: %d writes", what, got)
	}
	if got := r.world.Written() - written; got != 0 {
		r.t.Errorf("%s: %d writes of DNS", what, got)
	}
}

func (r *rollout) must(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Error(err)
	}
}

func last(events []Event) string {
	var text []string
	for _, e := range events[max(len(events)-3, 0):] {
		text = append(text, fmt.Sprintf("%s %s", e.At.Format(time.TimeOnly), e.Message))
	}
	return strings.Join(text, "; ")
}
