package dns_test

import (
	"errors"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/penstock-dev/penstock/dns"
	"github.com/penstock-dev/penstock/weights"
)

// Whatever is wished, whenever, and however often the process dies or the backend fails: what is called effective is what every resolver has.
func TestEffectiveIsTrueInRandomLives(t *testing.T) {
	t.Parallel()
	lives := uint64(30)
	if testing.Short() {
		lives = 5
	}
	for seed := range lives {
		rnd := rand.New(rand.NewPCG(seed, 1))
		addresses := [][2]string{
			{primaryLB, canaryLB},
			{elbHostname, "two-1234.eu-west-1.elb.amazonaws.com"},
			{"lb-one.example.net", "lb-two.example.net"},
		}[rnd.IntN(3)]
		r := newRig(t, ingress("app", addresses[0]), preparedIngress(addresses[1]))
		r.sync()
		r.clock.Sleep(time.Hour)
		refused := errors.New("refused")
		generation := int64(0)
		wish := func() {
			generation++
			d := split(generation, []int{0, 10, 50, 100}[rnd.IntN(4)])
			d.Attached = rnd.IntN(4) > 0
			r.wish(d)
		}
		wish()
		effectives := 0
		for range 150 {
			switch n := rnd.IntN(20); {
			case n == 0 || r.observed().Effective && n < 6:
				wish()
			case n == 7:
				r.restart()
			case n == 8:
				fail := func([]dns.Publication) error { r.backend.Intercept(nil, nil); return refused }
				if rnd.IntN(2) == 0 {
					r.backend.Intercept(fail, nil)
				} else {
					r.backend.Intercept(nil, fail)
				}
			case n == 9:
				r.weight.percent, _ = weights.WholePercent(1 + rnd.IntN(100))
			case n == 10:
				r.backend.SetSyncDelay(time.Duration(rnd.IntN(60)) * time.Second)
			}
			if _, err := r.publisher.Sync(t.Context(), apex); err != nil && !errors.Is(err, refused) {
				t.Fatal(err)
			}
			if o := r.observed(); o.Effective && o.Generation == generation {
				effectives++
				if r.backend.Stale(host) {
					t.Fatalf("seed %d, after %v: generation %d is called effective, and resolvers may hold something else: %+v\nrecords %+v",
						seed, r.clock.Since(start), generation, o, r.records())
				}
				if !o.Attached && slices.Contains(r.backend.MayAnswer(host), addresses[1]) {
					t.Fatalf("seed %d: detached, and a resolver may answer the canary", seed)
				}
			}
			if len(r.backend.MayAnswer(host)) == 0 {
				t.Fatalf("seed %d: a resolver may be left without an answer", seed)
			}
			r.clock.Sleep(time.Duration(rnd.IntN(40)) * time.Second)
		}
		if effectives == 0 {
			t.Errorf("seed %d: nothing ever became effective", seed)
		}
	}
}

// A write whose answer was lost replaced answers that nobody remembers: the longest TTL there can be is waited for.
func TestLostAnswerOfADrain(t *testing.T) {
	t.Parallel()
	for _, restart := range []bool{false, true} {
		r := newRig(t, ingress("app", primaryLB), preparedIngress(canaryLB))
		r.wish(split(1, 50))
		r.until(effective(1))
		r.clock.Sleep(time.Hour)
		r.wish(split(2, 0))
		lost := errors.New("no answer")
		r.backend.Intercept(nil, func([]dns.Publication) error { r.backend.Intercept(nil, nil); return lost })
		if _, err := r.publisher.Sync(t.Context(), apex); !errors.Is(err, lost) {
			t.Fatalf("Sync: %v, want %v", err, lost)
		}
		if restart {
			r.restart()
		}
		r.until(effective(2))
		if r.backend.Stale(host) {
			t.Errorf("restart %t: effective, and resolvers may still answer %v", restart, r.backend.MayAnswer(host))
		}
	}
}
