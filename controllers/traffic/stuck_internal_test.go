package traffic

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/penstock-dev/penstock/dns"
	"github.com/penstock-dev/penstock/internal/state"
)

// An operator takes a cluster for drained when CurrentWeight is 0, so then no host may have more, whatever is wrong with one.
func TestADrainIsAcknowledgedWhenNoHostHasMore(t *testing.T) {
	t.Parallel()
	malformed := func(r *rig) {
		bad := app("two", "two.example.com")[0]
		bad.SetAnnotations(map[string]string{"dns.adevinta.com/traffic-weight": "50%"})
		r.apply(bad)
	}
	unread := func(r *rig) {
		r.source.caches = interceptor.NewClient(r.kube, interceptor.Funcs{
			List: func(ctx context.Context, c client.WithWatch, list client.ObjectList, opts ...client.ListOption) error {
				var o client.ListOptions
				if o.ApplyOptions(opts); o.FieldSelector != nil && o.FieldSelector.String() == byService+"=two" {
					return errors.New("not there")
				}
				return c.List(ctx, list, opts...)
			},
		})
	}
	refused := func(r *rig) { r.dns.Fail("two", dns.Refuse(errors.New("not ours"))) }
	for name, tc := range map[string]struct {
		reason  string
		wrong   func(r *rig)
		desire  int
		want    int // of two.example.com
		current int
		refused float64
	}{
		"Malformed":       {"0 times anything is 0.", malformed, 0, 0, 0, 0},
		"NotKnown":        {"0 times anything is 0.", unread, 0, 0, 0, 0},
		"Refused":         {"It still gets its share.", refused, 0, 100, 100, 1},
		"MalformedAndOne": {"The last good weight stays, nobody waits for it, and it is counted.", malformed, 1, 100, 1, 1},
		"RefusedAndOne":   {"Nobody waits for it, and it is counted.", refused, 1, 100, 1, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, nil, append(app("one", "one.example.com"), app("two", "two.example.com")...)...)
			r.run(5 * time.Minute)
			tc.wrong(r)
			r.run(time.Minute)
			r.desire(tc.desire)
			r.run(10 * time.Minute)
			if diff := cmp.Diff(map[string]int{"one.example.com": tc.desire, "two.example.com": tc.want}, r.published("one", "two")); diff != "" {
				t.Errorf("%s\npublished -want +got:\n%s", tc.reason, diff)
			}
			if got := r.row.now().CurrentWeight; got != tc.current {
				t.Errorf("%s\nCurrentWeight %d, want %d", tc.reason, got, tc.current)
			}
			if got := valueOf(t, r.metrics.refused); got != tc.refused {
				t.Errorf("%s\n%v hosts are counted, want %v", tc.reason, got, tc.refused)
			}
			r.dns.Fail("two", nil)
			r.until("it is served", func() bool { return r.row.now().CurrentWeight == tc.desire })
		})
	}
}

// An Ingress that is refused is not waited for. When it cannot be read, nobody knows whether it still is.
func TestWhatWasRefusedAndIsNotKnownIsWaitedFor(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil, append(app("one", "one.example.com"), app("two", "two.example.com")...)...)
	r.run(5 * time.Minute)
	r.dns.Fail("two", dns.Refuse(errors.New("not ours")))
	r.changedObject(app("two", "two.example.com")[0])
	r.run(time.Minute)
	away := true
	r.source.caches = interceptor.NewClient(r.kube, interceptor.Funcs{
		Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, object client.Object, opts ...client.GetOption) error {
			if key.Name == "two" && away {
				return errors.New("not there")
			}
			return c.Get(ctx, key, object, opts...)
		},
	})
	r.desire(40)
	r.run(10 * time.Minute)
	if got := r.row.now().CurrentWeight; got != 100 {
		t.Errorf("%d is acknowledged, and it is not known what shop/two is served with", got)
	}
	away = false
	r.until("the other one is served", func() bool { return r.row.now().CurrentWeight == 40 })
}

// The records of an Ingress that is gone cannot be withdrawn, because the rights on a hosted zone were taken away, say. It serves nobody, so no weight and no
// step of a move waits for it. People are told where they look, until the records are gone.
func TestRecordsThatCannotBeWithdrawn(t *testing.T) {
	t.Parallel()
	filter := []string{"-annotation-filter", "team=shop"}
	ours := func() []client.Object {
		objects := app("two", "two.example.com")
		objects[0].SetAnnotations(map[string]string{"team": "shop"})
		return objects
	}
	for name, tc := range map[string]struct {
		err   error
		gone  func(r *rig)
		there bool // the Ingress, which serves what the records lead to
	}{
		"Refused": {dns.Refuse(errors.New("not ours any more")), func(r *rig) { r.remove(ours()[0]) }, false},
		"Denied":  {errors.New("AccessDenied"), func(r *rig) { r.remove(ours()[0]) }, false},
		"LeftOut": {errors.New("AccessDenied"), func(r *rig) { r.apply(app("two", "two.example.com")[0]) }, true},
		"Finalizer": {errors.New("AccessDenied"), func(r *rig) {
			held := ours()[0]
			held.SetFinalizers([]string{"example.com/balancer"})
			r.apply(held)
			r.remove(held)
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			flags := append([]string{"-ramp-step", "20", "-ramp-interval", "1m"}, filter...)
			one := app("one", "one.example.com")
			one[0].SetAnnotations(map[string]string{"team": "shop"})
			r := newRig(t, flags, append(one, ours()...)...)
			r.restart(flags...)
			r.run(5 * time.Minute)
			r.dns.Fail("two", tc.err)
			tc.gone(r)
			r.run(time.Minute)
			r.desire(0)
			waited := 0.0
			if tc.there { // and so has more than the weight
				waited = 1
				r.until("all but the last step are done", func() bool { return r.row.now().CurrentWeight == 20 })
				r.run(time.Hour)
				if got := r.row.now().CurrentWeight; got != 20 {
					t.Errorf("CurrentWeight %d, and an Ingress that is there has %v", got, r.published("two"))
				}
			} else {
				r.until("the cluster is drained", func() bool { return r.row.now().CurrentWeight == 0 })
			}
			if got := valueOf(t, r.metrics.refused); got != 1 {
				t.Errorf("%v hosts are counted, want 1", got)
			}
			if got := valueOf(t, r.metrics.pending); got != waited {
				t.Errorf("%v ingresses are waited for, want %v", got, waited)
			}
			if r.notes.with("Warning NotWithdrawn controller", "shop/two", "two.example.com", tc.err.Error()) != 1 {
				t.Errorf("events %q", r.notes.lines)
			}
			status := r.status(httptest.NewRequestWithContext(t.Context(), http.MethodGet, StatusPath, nil))
			if len(status.Hosts) != 2 || status.Hosts[1].Host != "two.example.com" || status.Hosts[1].Published != 100 || status.Hosts[1].Ready ||
				!strings.Contains(status.Hosts[1].Error, tc.err.Error()) || status.Hosts[1].Passing == errors.Is(tc.err, dns.ErrRefused) {
				t.Errorf("the status has hosts %+v", status.Hosts)
			}
			r.dns.Fail("two", nil)
			r.until("the cluster is drained", func() bool { return r.row.now().CurrentWeight == 0 })
			r.run(10 * time.Minute)
			status = r.status(httptest.NewRequestWithContext(t.Context(), http.MethodGet, StatusPath, nil))
			if left := r.published("two"); len(left) > 0 || len(status.Hosts) != 1 || valueOf(t, r.metrics.refused) != 0 {
				t.Errorf("left %v, status %+v, counted %v", left, status.Hosts, valueOf(t, r.metrics.refused))
			}
		})
	}
}

// An Ingress whose records could not be withdrawn, and that is there again, is waited for as before.
func TestAnIngressComesBackBeforeItsRecordsAreWithdrawn(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil, append(app("one", "one.example.com"), app("two", "two.example.com")...)...)
	r.run(5 * time.Minute)
	r.dns.Fail("two", errors.New("AccessDenied"))
	r.remove(app("two", "two.example.com")[0])
	r.run(time.Minute)
	generation, _ := r.weight.now()
	if p := r.served.of(generation+1, false); p.unserved != 1 {
		t.Errorf("%d are waited for, want shop/one alone", p.unserved)
	}
	r.apply(app("two", "two.example.com")[0])
	names, err := r.ingresses(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	r.served.expect(names)
	if p := r.served.of(generation+1, false); p.unserved != 2 {
		t.Errorf("%d are waited for, want both", p.unserved)
	}
	r.desire(40)
	r.run(10 * time.Minute)
	if got := r.row.now().CurrentWeight; got != 100 {
		t.Errorf("%d is acknowledged, and shop/two is served with 100", got)
	}
	r.dns.Fail("two", nil)
	r.until("the weight is acknowledged", func() bool { return r.row.now().CurrentWeight == 40 })
}

// A Canary cannot be told, because a policy refuses it, say. Its host is served all the same, so the cluster's weight is acknowledged, and the Canary is
// told once that can be done.
func TestACanaryThatCannotBeTold(t *testing.T) {
	t.Parallel()
	wish := canary("one", state.Desired{Generation: 1, Mode: state.Shared, Ingress: "one", Service: "one"})
	r := newRig(t, nil, append(app("one", "one.example.com"), wish)...)
	denied, told := true, false
	r.source.answer = func(context.Context, *corev1.ConfigMap, string) error {
		if denied {
			return errors.New("denied by policy")
		}
		told = true
		return nil
	}
	r.run(5 * time.Minute)
	r.desire(0)
	took := r.until("the cluster is drained", func() bool { return r.row.now().CurrentWeight == 0 })
	if took > syncDelay+2*lookAgain {
		t.Errorf("acknowledged after %s, and DNS needs %s", took, syncDelay)
	}
	status := r.status(httptest.NewRequestWithContext(t.Context(), http.MethodGet, StatusPath, nil))
	if len(status.Hosts) != 1 || status.Hosts[0].Error != "" || !strings.Contains(status.Hosts[0].Warning, "denied by policy") {
		t.Errorf("the status has hosts %+v", status.Hosts)
	}
	r.run(10 * time.Minute) // nothing else is to be done for the Ingress
	denied = false
	r.run(lastRetry)
	if !told {
		t.Error("the Canary is not told, although it can be")
	}
}

// An Ingress is renamed while its host is on its way to 0: another one has the host now, and DNS answers with what was published for the first.
func TestARenamedIngressIsWaitedFor(t *testing.T) {
	t.Parallel()
	const slow = 3 * time.Minute
	for name, change := range map[string]func(r *rig, before, after client.Object){
		"CreatedThenDeleted": func(r *rig, before, after client.Object) {
			r.apply(after)
			r.run(time.Second)
			r.remove(before)
		},
		"DeletedThenCreated": func(r *rig, before, after client.Object) {
			r.remove(before)
			r.run(time.Second)
			r.apply(after)
		},
		"HostMoved": func(r *rig, before, after client.Object) {
			moved := before.DeepCopyObject().(*networkingv1.Ingress)
			moved.Spec.Rules[0].Host = "elsewhere.example.com"
			r.apply(moved)
			r.run(time.Second)
			r.apply(after)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, nil, append(app("one", "one.example.com"), app("two", "two.example.com")...)...)
			r.run(5 * time.Minute)
			r.desire(0)
			r.moment()
			r.dns.SetSyncDelay(slow)
			renamed := app("renamed", "one.example.com")[0]
			renamed.SetCreationTimestamp(metav1.NewTime(start.Add(time.Hour)))
			change(r, app("one", "one.example.com")[0], renamed)
			took := r.until("0 is acknowledged", func() bool { return r.row.now().CurrentWeight == 0 })
			if took < slow-5*time.Second {
				t.Errorf("0 is acknowledged after %s, and DNS serves the host with it after %s", took, slow)
			}
			r.run(2 * time.Hour)
			r.desire(50)
			r.until("what is past holds up nothing", func() bool { return r.row.now().CurrentWeight == 50 })
		})
	}
}

// An Ingress that is there, and is published no more, is followed until DNS has forgotten it: a drain waits for that, whatever goes wrong meanwhile, and nothing of
// it is remembered afterwards. One that the flags leave out may be another controller's as soon as its records are withdrawn.
func TestTheWithdrawalOfAnIngressThatIsThere(t *testing.T) {
	t.Parallel()
	const slow = 3 * time.Minute
	filter := []string{"-annotation-filter", "team=shop"}
	ours := func(name string) []client.Object {
		objects := app(name, name+".example.com")
		objects[0].SetAnnotations(map[string]string{"team": "shop"})
		return objects
	}
	leave := func(r *rig) { r.apply(app("two", "two.example.com")[0]) }
	for name, tc := range map[string]struct {
		flags []string
		leave func(r *rig)
	}{
		"LeftOut": {append(slices.Clone(filter), "-sole-publisher"), leave},
		"Finalizer": {filter, func(r *rig) {
			held := ours("two")[0]
			held.SetFinalizers([]string{"example.com/balancer"})
			r.apply(held)
			r.remove(held)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, tc.flags, append(ours("one"), ours("two")...)...)
			r.run(5 * time.Minute)
			r.desire(0)
			r.moment()
			r.dns.SetSyncDelay(slow)
			begun := r.clock.Now()
			tc.leave(r)
			r.run(30 * time.Second)
			r.dns.Fail("two", errors.New("throttled"))
			r.run(10 * time.Second)
			r.dns.Fail("two", nil)
			r.run(10 * time.Second)
			status := r.status(httptest.NewRequestWithContext(t.Context(), http.MethodGet, StatusPath, nil))
			if waits := slices.ContainsFunc(status.Hosts, func(h HostStatus) bool { return h.Ingress == "two" && h.Pending && h.Reason != "" }); !waits || status.Pending == 0 {
				t.Errorf("the status does not say what is waited for: %d pending, %+v", status.Pending, status.Hosts)
			}
			r.until("0 is acknowledged", func() bool { return r.row.now().CurrentWeight == 0 })
			if took := r.clock.Since(begun); took < slow-5*time.Second {
				t.Errorf("0 is acknowledged after %s, and DNS has forgotten the host after %s", took, slow)
			}
			r.run(time.Hour)
			two := types.NamespacedName{Namespace: namespace, Name: "two"}
			if left := r.published("two"); len(left) > 0 || r.served.knows(two) {
				t.Errorf("left %v, known %t", left, r.served.knows(two))
			}
		})
	}
	t.Run("AnotherController", func(t *testing.T) {
		t.Parallel()
		r := newRig(t, filter, append(ours("one"), ours("two")...)...)
		r.run(5 * time.Minute)
		two := types.NamespacedName{Namespace: namespace, Name: "two"}
		records, err := r.dns.Published(t.Context(), cluster, two, nil)
		if err != nil {
			t.Fatal(err)
		}
		leave(r)
		r.run(2 * time.Second)
		if _, err := r.dns.Publish(t.Context(), dns.Publication{Ingress: two, Cluster: cluster, Records: records}); err != nil {
			t.Fatal(err)
		}
		r.queue.Add(two) // as for the event of its DNSEndpoint
		r.run(10 * time.Second)
		if len(r.published("two")) == 0 {
			t.Error("what another controller has taken over is withdrawn again")
		}
	})
}

// An Ingress has just got 0, which is not in sync, when it is published no more, and that meets a fault: it leads here as before.
func TestAFaultBetweenADrainAndItsEnd(t *testing.T) {
	t.Parallel()
	const slow = 3 * time.Minute
	r := newRig(t, nil, append(app("one", "one.example.com"), app("two", "two.example.com")...)...)
	r.run(5 * time.Minute)
	r.dns.SetSyncDelay(slow)
	begun := r.clock.Now()
	r.desire(0)
	r.moment()
	r.dns.Fail("two", errors.New("throttled"))
	held := app("two", "two.example.com")[0]
	held.SetFinalizers([]string{"example.com/balancer"})
	r.apply(held)
	r.remove(held)
	r.dns.SetSyncDelay(time.Second) // of all others
	r.run(time.Minute)
	if got := r.row.now().CurrentWeight; got != 100 {
		t.Errorf("%d is acknowledged after %s, and DNS serves the host with it after %s", got, r.clock.Since(begun), slow)
	}
	r.dns.Fail("two", nil)
	r.until("0 is acknowledged", func() bool { return r.row.now().CurrentWeight == 0 })
}

// A fault after records were withdrawn is forgotten when it has passed.
func TestAFaultAfterAWithdrawal(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil, append(app("one", "one.example.com"), app("two", "two.example.com")...)...)
	r.run(5 * time.Minute)
	r.dns.SetSyncDelay(time.Minute)
	r.remove(app("two", "two.example.com")[0])
	r.moment()
	r.dns.Fail("two", errors.New("throttled"))
	r.run(30 * time.Second)
	if got := valueOf(t, r.metrics.refused); got != 1 {
		t.Fatalf("%v hosts are counted, want the one that the fault is about", got)
	}
	r.dns.Fail("two", nil)
	r.run(10 * time.Minute)
	if got := valueOf(t, r.metrics.refused); got != 0 {
		t.Errorf("%v hosts are counted, though all is well", got)
	}
}

// Debts of hosts end, though no Ingress goes.
func TestWhatHostsOweIsForgotten(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil, app("one", "one.example.com")...)
	r.run(5 * time.Minute)
	for i := range 30 {
		r.apply(app("one", fmt.Sprintf("preview-%d.example.com", i))...)
		r.run(5 * time.Minute)
	}
	if got := len(r.served.owed); got < 5 || got > 25 {
		t.Errorf("%d hosts are remembered, of one each 5 minutes for two hours and a half", got)
	}
}
