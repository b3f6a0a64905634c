package dns_test

import (
	"fmt"
	"testing"
	"time"
	"unsafe"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/penstock-dev/penstock/dns"
	"github.com/penstock-dev/penstock/internal/dnstest"
	"github.com/penstock-dev/penstock/internal/state"
	"github.com/penstock-dev/penstock/internal/vclock"
)

// settable is a virtual clock whose wall time can be set, as an administrator or NTP does, while its monotonic time goes on.
type settable struct {
	*vclock.Clock

	ahead time.Duration // of the wall time
}

func (c *settable) Now() time.Time { return setWall(c.Clock.Now(), c.ahead) }

func (c *settable) Since(t time.Time) time.Duration { return c.Now().Sub(t) }

// setWall returns t with another wall time and the same monotonic reading. Nothing but setting a machine's clock makes such a time, so the reading is put
// back by hand: it is the second word of a time.Time that has one, https://go.dev/src/time/time.go. TestSetWall looks whether it is so.
func setWall(t time.Time, ahead time.Duration) time.Time {
	set := t.Add(ahead)
	*(*int64)(unsafe.Add(unsafe.Pointer(&set), 8)) -= int64(ahead)
	return set
}

func TestSetWall(t *testing.T) {
	t.Parallel()
	before := time.Now()
	after := setWall(before, time.Hour)
	if before.Equal(after.Round(0)) || after.Round(0).Sub(before.Round(0)) != time.Hour || after.Sub(before) != 0 {
		t.Fatalf("%v is not %v with a wall time an hour ahead", after, before)
	}
}

// onSettable puts the rig on a clock that can be set. The backend, which knows the truth, remembers monotonic times.
func (r *rig) onSettable() *settable {
	c := &settable{Clock: vclock.New(time.Now())}
	r.clock, r.backend = c.Clock, dnstest.NewBackend(c, syncDelay)
	r.restartOn(c)
	return c
}

// restartOn is restart with a clock of its own.
func (r *rig) restartOn(c *settable) {
	r.t.Helper()
	p, err := dns.NewPublisher("east", dns.NewKubeSource(r.kube, c), r.backend, r.weight, nil, dns.PublisherOptions{Clock: c})
	if err != nil {
		r.t.Fatal(err)
	}
	r.publisher = p
}

// Setting the clock of the machine, by an hour and at any time of a drain, neither makes it count as done early nor holds it up: what this process has seen
// is measured by its monotonic clock. After a restart too, from the first Sync on.
func TestTheMachinesClockIsSet(t *testing.T) {
	t.Parallel()
	for name, jump := range map[string]time.Duration{"forward": time.Hour, "back": -time.Hour} {
		for _, restart := range []string{"never", "before", "after"} {
			for _, at := range []time.Duration{0, syncDelay / 2, syncDelay, syncDelay + dns.DefaultInnerTTL/2} {
				t.Run(fmt.Sprintf("%s,%s,restart=%s", name, at, restart), func(t *testing.T) {
					t.Parallel()
					r := newRig(t, ingress("app", primaryLB), preparedIngress(canaryLB))
					c := r.onSettable()
					r.wish(split(1, 50))
					r.until(effective(1))
					r.clock.Sleep(time.Hour)
					r.wish(split(2, 0))
					begin := r.clock.Now()
					for r.clock.Since(begin) < at {
						r.sync()
						r.clock.Sleep(time.Second)
					}
					r.sync()
					if restart == "before" {
						r.restartOn(c)
						r.sync()
					}
					c.ahead += jump
					if restart == "after" {
						r.restartOn(c)
					}
					r.until(effective(2))
					took := r.clock.Since(begin)
					if r.backend.Stale(host) && (restart != "after" || jump < 0) {
						t.Errorf("effective after %v, and resolvers may still answer %v", took, r.backend.MayAnswer(host))
					}
					if most := syncDelay + 2*dns.DefaultInnerTTL + 5*time.Second; took > most {
						t.Errorf("effective after %v, want at most %v", took, most)
					}
				})
			}
		}
	}
}

// The first step waits for what it did to the host, at the host's long TTL, also when that is remembered from before: the time before which nothing is
// effective moves with the clock.
func TestTheMachinesClockIsSetWhileAnEarlierChangeIsWaitedFor(t *testing.T) {
	t.Parallel()
	for name, jump := range map[string]time.Duration{"forward": time.Hour, "back": -time.Hour} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, ingress("app", primaryLB), preparedIngress(canaryLB))
			c := r.onSettable()
			r.sync()
			r.clock.Sleep(time.Hour)
			r.wish(split(1, 50))
			r.until(func(o state.Observed) bool { return o.Attached && o.InSyncSince != nil })
			r.wish(split(2, 0)) // before the answers that name the load balancer have expired
			begin := r.clock.Now()
			r.until(func(o state.Observed) bool { return o.Generation == 2 && o.InSyncSince != nil })
			r.restartOn(c)
			r.sync()
			c.ahead += jump
			r.until(effective(2))
			if took := r.clock.Since(begin); r.backend.Stale(host) || took > syncDelay+dns.DefaultTTL+5*time.Second {
				t.Errorf("effective after %v, stale answers %t", took, r.backend.Stale(host))
			}
		})
	}
}

// So it is with the records of an Ingress that is gone.
func TestTheMachinesClockIsSetWhileRecordsGo(t *testing.T) {
	t.Parallel()
	r := newRig(t, ingress("app", primaryLB), preparedIngress(canaryLB))
	c := r.onSettable()
	r.wish(split(1, 50))
	r.until(effective(1))
	r.clock.Sleep(time.Hour)
	if err := r.kube.NetworkingV1().Ingresses(namespace).Delete(t.Context(), "app", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	d := split(2, 0)
	d.Attached = false
	r.wish(d)
	r.until(func(o state.Observed) bool { return o.Generation == 2 && o.InSyncSince != nil })
	c.ahead += time.Hour
	r.until(effective(2))
	if r.backend.Stale(host) {
		t.Errorf("effective, and resolvers may still answer %v", r.backend.MayAnswer(host))
	}
}
