package dns_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	clienttesting "k8s.io/client-go/testing"

	"github.com/penstock-dev/penstock/dns"
	"github.com/penstock-dev/penstock/internal/state"
)

// withTTLs starts the publisher anew, with TTLs of the hosts' records and of those below them.
func (r *rig) withTTLs(host, inner time.Duration) {
	r.t.Helper()
	p, err := dns.NewPublisher("east", dns.NewKubeSource(r.kube, r.clock), r.backend, r.weight, nil,
		dns.PublisherOptions{Clock: r.clock, HostTTL: host, InnerTTL: inner})
	if err != nil {
		r.t.Fatal(err)
	}
	r.publisher = p
}

// A write whose answer is lost leaves in DNS what nobody remembers. What was remembered before it still tells until when earlier answers live, here longer than
// any that a record can have now, whether that change was in sync or not.
func TestEarlierAnswersAreWaitedForAfterALostWrite(t *testing.T) {
	t.Parallel()
	for _, draining := range []bool{false, true} {
		for _, restart := range []bool{false, true} {
			t.Run(fmt.Sprintf("draining=%t,restart=%t", draining, restart), func(t *testing.T) {
				t.Parallel()
				r := newRig(t, ingress("app", primaryLB), preparedIngress(canaryLB))
				r.withTTLs(time.Hour, 0)
				r.sync()
				r.clock.Sleep(2 * time.Hour)
				r.wish(split(1, 30))
				r.until(func(o state.Observed) bool { return o.Attached && o.TTLSeconds == 3600 && o.InSyncSince != nil })
				attached := r.clock.Now()

				r.wish(split(2, 0))
				if draining {
					r.sync()
					if o := r.observed(); o.InSyncSince != nil || o.NotBefore == nil {
						t.Fatalf("observed %+v, want a drain that is not in sync, and the time of the change before", o)
					}
				}
				r.withTTLs(time.Minute, 0)
				r.loseAnswer()
				if restart {
					r.withTTLs(time.Minute, 0)
				}
				for !effective(2)(r.observed()) && r.clock.Since(attached) < 2*time.Hour {
					r.sync()
					r.clock.Sleep(10 * time.Second)
				}
				if took := r.clock.Since(attached); r.backend.Stale(host) || took < time.Hour || took > time.Hour+time.Minute {
					t.Errorf("effective %v after the host was pointed elsewhere, while answers of an hour may be held; stale: %t", took, r.backend.Stale(host))
				}
			})
		}
	}
}

// A lower TTL is written, and the answer is lost. Resolvers hold the answers of before for as long as the higher one says.
func TestALowerTTLWhoseWriteHadNoAnswer(t *testing.T) {
	t.Parallel()
	for _, restart := range []bool{false, true} {
		t.Run(fmt.Sprintf("restart=%t", restart), func(t *testing.T) {
			t.Parallel()
			r := newRig(t, ingress("app", "lb-one.example.net"), preparedIngress("lb-two.example.net"))
			r.wish(split(1, 30))
			r.until(effective(1))
			r.withTTLs(time.Hour, 0)
			r.sync()
			r.clock.Sleep(2 * time.Hour)
			r.sync()
			r.withTTLs(time.Minute, 0)
			r.loseAnswer()
			if restart {
				r.withTTLs(time.Minute, 0)
			}
			d := split(2, 0)
			d.Attached = false
			r.wish(d)
			begun := r.clock.Now()
			for !effective(2)(r.observed()) && r.clock.Since(begun) < 3*time.Hour {
				r.sync()
				r.clock.Sleep(10 * time.Second)
			}
			if took := r.clock.Since(begun); r.backend.Stale(host) || took < time.Hour || took > time.Hour+10*time.Minute {
				t.Errorf("effective after %s, and resolvers may hold what leads to the inner set: %t", took, r.backend.Stale(host))
			}
		})
	}
}

// trusting is a backend that takes the caller's word for what is in sync, as that of Route 53 does.
type trusting struct{ dns.Backend }

func (b trusting) Publish(ctx context.Context, publications ...dns.Publication) ([]dns.Status, error) {
	statuses, err := b.Backend.Publish(ctx, publications...)
	for i := range statuses {
		if publications[i].Prior.InSync {
			statuses[i] = publications[i].Prior
		}
	}
	return statuses, err
}

// Two wishes are written and not answered, and the second one is what there was before. What is remembered of that is not about this time.
func TestAnEarlierPlanThatComesAgain(t *testing.T) {
	t.Parallel()
	r := newRig(t, ingress("app", primaryLB), preparedIngress(canaryLB))
	restart := func() {
		p, err := dns.NewPublisher("east", dns.NewKubeSource(r.kube, r.clock), trusting{r.backend}, r.weight, nil, dns.PublisherOptions{Clock: r.clock})
		if err != nil {
			t.Fatal(err)
		}
		r.publisher = p
	}
	restart()
	r.wish(split(1, 50))
	r.until(effective(1))
	r.wish(split(2, 0))
	r.until(effective(2))
	r.clock.Sleep(time.Hour)
	deaf := true
	r.kube.PrependReactor("patch", "configmaps", func(clienttesting.Action) (bool, runtime.Object, error) {
		return deaf, nil, errors.New("no answer")
	})
	for i, canary := range []int{10, 0} {
		r.wish(split(int64(3+i), canary))
		if _, err := r.publisher.Sync(t.Context(), apex); err == nil {
			t.Error("the answer was not lost")
		}
		r.clock.Sleep(time.Second)
		restart()
	}
	deaf = false
	r.until(effective(4))
	if got := r.backend.MayAnswer(host); slices.Contains(got, canaryLB) {
		t.Errorf("%+v, and a resolver may answer %v", r.observed(), got)
	}
}

// loseAnswer syncs once, and loses the answer to what is written.
func (r *rig) loseAnswer() {
	r.t.Helper()
	lost := errors.New("no answer")
	r.backend.Intercept(nil, func([]dns.Publication) error { r.backend.Intercept(nil, nil); return lost })
	if _, err := r.publisher.Sync(r.t.Context(), apex); !errors.Is(err, lost) {
		r.t.Fatalf("Sync: %v, want %v", err, lost)
	}
}

// Exposure that falls counts once no resolver has an answer by the weight before, also when the answer to the write was lost.
func TestALostWriteOfExposureIsWaitedForToo(t *testing.T) {
	t.Parallel()
	for _, restart := range []bool{false, true} {
		r := newRig(t, ingress("app", primaryLB))
		r.wish(state.Desired{Generation: 1, Mode: state.Shared, Exposure: 100})
		r.until(effective(1))
		r.clock.Sleep(time.Hour)
		r.wish(state.Desired{Generation: 2, Mode: state.Shared, Exposure: 20})
		r.loseAnswer()
		if got := r.records()[0].Weight; got != 12 {
			t.Fatalf("weight %d, want 12: only the answer is lost", got)
		}
		if restart {
			r.restart()
		}
		if took := r.until(effective(2)); took < syncDelay+dns.DefaultTTL {
			t.Errorf("restart %t: effective after %v, while resolvers keep the weight before for %v once the servers have another", restart, took, dns.DefaultTTL)
		}
	}
}

// Whatever was replaced by a write whose answer was lost, its TTL is waited for, though nobody knows which it was.
func TestALostWriteIsWaitedForByTheLongestTTL(t *testing.T) {
	t.Parallel()
	for name, ttls := range map[string][2]time.Duration{"of the host": {time.Hour, 0}, "of the inner set": {0, time.Hour}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, ingress("app", primaryLB), preparedIngress(canaryLB))
			r.withTTLs(ttls[0], ttls[1])
			r.sync()
			for i, canary := range []int{40, 0} {
				generation := int64(1 + i)
				r.clock.Sleep(2 * time.Hour)
				r.wish(split(generation, canary))
				lost, writes := errors.New("no answer"), r.backend.Writes()
				r.backend.Intercept(nil, func([]dns.Publication) error {
					if r.backend.Writes() == writes {
						return nil
					}
					writes = r.backend.Writes()
					return lost
				})
				for begin := r.clock.Now(); !effective(generation)(r.observed()); r.clock.Sleep(10 * time.Second) {
					switch _, err := r.publisher.Sync(t.Context(), apex); {
					case errors.Is(err, lost):
						r.withTTLs(ttls[0], ttls[1])
					case err != nil || r.clock.Since(begin) > 3*time.Hour:
						t.Fatalf("generation %d: error %v, observed %+v", generation, err, r.observed())
					}
				}
				if r.backend.Stale(host) {
					t.Errorf("generation %d is effective, and resolvers may still answer %v", generation, r.backend.MayAnswer(host))
				}
			}
		})
	}
}
