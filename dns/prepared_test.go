package dns_test

import (
	"errors"
	"maps"
	"slices"
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
			if slices.ContainsFunc(results, func(result dns.Result) bool { return result.Ingress == early }) {
				t.Errorf("results %+v: the prepared Ingress is the Canary's", results)
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

// A prepared Ingress that was not published is not looked at, and one that has a Canary of its own is left as it is.
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
	for range 3 {
		if results, err := r.publisher.Sync(t.Context(), apex, early); err != nil || len(results) != 1 {
			t.Fatalf("results %+v, error %v", results, err)
		}
		r.clock.Sleep(time.Minute)
	}
	if got := r.weightsOf(early); len(got) != 2 {
		t.Errorf("its records are %v, want both left", got)
	}
}
