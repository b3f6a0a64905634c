package dns_test

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/penstock-dev/penstock/dns"
)

const preview = "preview.example.com"

var early = types.NamespacedName{Namespace: namespace, Name: "aa-new"}

// earlyIngress is a canary's that is there before the Canary is, and has the smaller name of the same second. It has a host of its own, too.
func earlyIngress() *networkingv1.Ingress {
	i := preparedIngress(canaryLB)
	i.Name, i.UID, i.CreationTimestamp = early.Name, types.UID("uid-"+early.Name), metav1.NewTime(start)
	i.Spec.Rules = append(i.Spec.Rules, rule(preview, "app-canary"))
	return i
}

// weightsOf returns the weights of an Ingress' records by name.
func (r *rig) weightsOf(name types.NamespacedName) map[string]int {
	r.t.Helper()
	records, err := r.backend.Published(r.t.Context(), "east", name, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	found := map[string]int{}
	for _, record := range records {
		found[record.Name] = record.Weight
	}
	return found
}

// A prepared Ingress that was published first gives the host to that of the Canary, which has it before, and keeps what is its own.
func TestAPreparedIngressThatWasPublishedFirst(t *testing.T) {
	t.Parallel()
	for name, order := range map[string][][]types.NamespacedName{
		"the prepared one first": {{early, apex}},
		"the prepared one last":  {{apex, early}},
		"one after the other":    {{early}, {apex}, {early}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, ingress("app", primaryLB), earlyIngress())
			sync := func() []dns.Result {
				t.Helper()
				var all []dns.Result
				for _, batch := range order {
					results, err := r.publisher.Sync(t.Context(), batch...)
					if err != nil {
						t.Fatal(err)
					}
					all = append(all, results...)
				}
				return all
			}
			sync()
			shares(t, r, map[string]float64{canaryLB: 1})
			r.backend.Intercept(nil, func([]dns.Publication) error {
				if len(r.backend.Shares(host)) == 0 {
					t.Error("nobody answers for the host")
				}
				return nil
			})
			r.wish(unattached(1, early.Name))
			more := earlyIngress()
			more.Spec.Rules = append(more.Spec.Rules, rule("new.example.com", "app-canary"))
			r.apply(more)
			results := sync()
			shares(t, r, map[string]float64{primaryLB: 1})
			slices.Reverse(results)
			last := slices.IndexFunc(results, func(result dns.Result) bool { return result.Ingress == early })
			if hosts := results[max(last, 0)].Hosts; last < 0 || len(hosts) != 1 || hosts[0].Host != preview {
				t.Errorf("results %+v: of the prepared Ingress only what nobody else has is waited for", results)
			}
			r.weight.percent = whole(t, 20)
			r.restart()
			sync()
			if got, want := r.weightsOf(early), map[string]int{preview: 20}; !maps.Equal(got, want) {
				t.Errorf("the prepared Ingress has %v, want %v: what nobody else serves, and nothing new", got, want)
			}
			d := split(2, 30)
			d.CanaryIngress = early.Name
			r.wish(d)
			r.until(effective(2))
			shares(t, r, map[string]float64{primaryLB: 0.7, canaryLB: 0.3})
		})
	}
}

func TestAPreparedIngressKeepsWhatItsHeirDoesNotGet(t *testing.T) {
	t.Parallel()
	r := newRig(t, ingress("app", primaryLB), earlyIngress())
	sync := func() error {
		_, err := r.publisher.Sync(t.Context(), apex, early)
		return err
	}
	if err := sync(); err != nil {
		t.Fatal(err)
	}
	r.wish(unattached(1, early.Name))
	r.backend.Fail(apex.Name, errors.New("throttled"))
	if err := sync(); err != nil {
		t.Fatal(err)
	}
	shares(t, r, map[string]float64{canaryLB: 1})
	r.backend.Fail(apex.Name, nil)
	r.backend.Fail(early.Name, errors.New("not to be written"))
	if err := sync(); err == nil {
		t.Error("Sync hides that the records of the prepared Ingress could not be withdrawn")
	}
	r.backend.Fail(early.Name, nil)
	if err := sync(); err != nil {
		t.Fatal(err)
	}
	shares(t, r, map[string]float64{primaryLB: 1})

	backend := &readErr{Backend: r.backend, of: apex, err: errors.New("unavailable")}
	p, err := dns.NewPublisher("east", dns.NewKubeSource(r.kube, r.clock), backend, r.weight, nil, dns.PublisherOptions{Clock: r.clock})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Sync(t.Context(), early); !errors.Is(err, backend.err) {
		t.Errorf("what the heir has is not known: error %v", err)
	}
	if got := r.weightsOf(early); len(got) != 1 {
		t.Errorf("and the prepared Ingress has %v, want the one host that it had", got)
	}
}

// An Ingress that has a Canary of its own is published for itself, with the cluster's weight, also if another Canary names it.
func TestAPreparedIngressWithACanaryOfItsOwn(t *testing.T) {
	t.Parallel()
	r := newRig(t, ingress("app", primaryLB), earlyIngress())
	if _, err := r.publisher.Sync(t.Context(), early); err != nil {
		t.Fatal(err)
	}
	r.wish(unattached(1, early.Name))
	d := unattached(1, "app-new")
	d.Ingress, d.Service = early.Name, "app-canary"
	r.wishFor("other", d)
	for _, percent := range []int{100, 20} {
		r.weight.percent = whole(t, percent)
		for range 3 {
			if results, err := r.publisher.Sync(t.Context(), apex, early); err != nil || len(results) != 2 || results[0].Hosts[0].Err == nil {
				t.Fatalf("results %+v, error %v: want both, and no second record of the host", results, err)
			}
			r.clock.Sleep(time.Minute)
		}
		if got, want := r.weightsOf(early), map[string]int{host: percent, preview: percent}; !maps.Equal(got, want) {
			t.Errorf("its records are %v, want %v", got, want)
		}
	}
	attaching := split(2, 30)
	attaching.CanaryIngress = early.Name
	r.wish(attaching)
	if _, err := r.publisher.Sync(t.Context(), apex, early); err != nil {
		t.Fatal(err)
	}
	if o := r.observed(); !strings.Contains(o.Error, "has a Canary of its own") {
		t.Errorf("observed %+v, want the split refused", o)
	}
}

// What a prepared Ingress still has published takes part in the cluster's weight: it is waited for, and tried again.
func TestAPreparedIngressIsWaitedFor(t *testing.T) {
	t.Parallel()
	r := newRig(t, ingress("app", primaryLB), earlyIngress())
	sync := func() (found dns.Result) {
		t.Helper()
		results, _ := r.publisher.Sync(t.Context(), apex, early) // its error is in the result
		for _, result := range results {
			if result.Ingress == early {
				found = result
			}
		}
		return found
	}
	sync()
	r.wish(unattached(1, early.Name))
	sync()
	r.clock.Sleep(time.Hour)
	r.weight.percent = whole(t, 0)
	r.backend.Fail(early.Name, errors.New("throttled"))
	if got := sync(); got.Status.Err == nil {
		t.Errorf("result %+v, want the error", got)
	}
	r.backend.Fail(early.Name, nil)
	if got := sync(); got.Ingress != early || got.InSync() {
		t.Errorf("result %+v, want one that is not in sync yet", got)
	}
	r.clock.Sleep(time.Hour)
	if got := sync(); !got.InSync() || len(got.Hosts) != 1 || got.Hosts[0].Weight != 0 {
		t.Errorf("result %+v, want weight 0 in sync", got)
	}
}

// The withdrawal of what its heirs took over is followed until it is done, and no longer. It needs no evidence of its own: theirs is about the same names.
func TestAPreparedIngressThatIsReleased(t *testing.T) {
	t.Parallel()
	all := earlyIngress()
	all.Spec.Rules = all.Spec.Rules[:1]
	r := newRig(t, ingress("app", primaryLB), all)
	p, err := dns.NewPublisher("east", dns.NewKubeSource(r.kube, r.clock), r.backend, r.weight, nil,
		dns.PublisherOptions{Clock: r.clock, Prove: func() bool { return true }})
	if err != nil {
		t.Fatal(err)
	}
	var last *dns.Publication
	sync := func() {
		t.Helper()
		last = nil
		r.backend.Intercept(nil, func(publications []dns.Publication) error {
			for i := range publications {
				if publications[i].Ingress == early {
					last = &publications[i]
				}
			}
			return nil
		})
		if _, err := p.Sync(t.Context(), early, apex); err != nil {
			t.Fatal(err)
		}
	}
	sync()
	r.clock.Sleep(time.Hour)
	r.wish(unattached(1, early.Name))
	for _, when := range []string{"released", "and not in sync yet"} {
		if sync(); last == nil || len(last.Records) > 0 || last.Prove {
			t.Errorf("%s: published is %+v, want a withdrawal that needs no evidence", when, last)
		}
		r.clock.Sleep(time.Second)
	}
	r.clock.Sleep(time.Hour)
	sync()
	r.clock.Sleep(time.Hour)
	sync()
	if sync(); last != nil {
		t.Errorf("long after, published is %+v, want nothing", last)
	}
}
