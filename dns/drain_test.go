package dns_test

import (
	"context"
	"errors"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/penstock-dev/penstock/dns"
)

// In a canary the host cannot be planned, because the canary's load balancer got the address of the other one, or the Ingress has a weight that cannot be
// read. The split stays as it is, and the cluster's weight is served all the same.
func TestTheClustersWeightWaitsForNoCanary(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		reason            string
		wrong             func(r *rig)
		cluster           int
		want              int
		err, kept, warned bool
	}{
		"SameAddress":      {"The split is what fails, not the weight.", func(r *rig) { r.apply(preparedIngress(primaryLB)) }, 10, 10, true, false, false},
		"SameAddressDrain": {"The split is what fails, not the weight.", func(r *rig) { r.apply(preparedIngress(primaryLB)) }, 0, 0, true, false, false},
		"Malformed":        {"The share is not known.", malformed, 10, 60, false, true, true},
		"MalformedDrain":   {"0 times anything is 0.", malformed, 0, 0, false, false, true},
		"MalformedAndSame": {"0 times anything is 0.", func(r *rig) { malformed(r); r.apply(preparedIngress(primaryLB)) }, 0, 0, true, false, true},
		"MalformedAndOpen": {"The share is not known.", func(r *rig) { malformed(r); r.apply(preparedIngress(primaryLB)) }, 10, 60, true, true, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, ingress("app", primaryLB), preparedIngress(canaryLB))
			r.wish(split(1, 10))
			r.until(effective(1))
			before := r.records()
			tc.wrong(r)
			r.weight.percent = whole(t, tc.cluster)
			result := r.sync()[0].Hosts[0]
			if result.Weight != tc.want || result.Kept != tc.kept || (result.Err != nil) != tc.err || (result.Warning != "") != tc.warned {
				t.Errorf("%s\n%+v", tc.reason, result)
			}
			for i := range before {
				if before[i].Name == host {
					before[i].Weight = tc.want
				}
			}
			if changes := dns.Diff(before, r.records()); len(changes) > 0 {
				t.Errorf("%s\nrecords %+v", tc.reason, changes)
			}
		})
	}
}

func malformed(r *rig) {
	bad := ingress("app", primaryLB)
	bad.Annotations = map[string]string{"dns.adevinta.com/traffic-weight": "50%"}
	r.apply(bad)
}

// What could not be written is not told as published, be it a change or a withdrawal.
func TestAResultTellsWhatIsPublished(t *testing.T) {
	t.Parallel()
	r := newRig(t, ingress("app", primaryLB))
	r.sync()
	r.weight.percent = whole(t, 10)
	away := errors.New("away")
	r.backend.Fail("app", away)
	check := func(what string) {
		t.Helper()
		result := r.sync()[0]
		if !errors.Is(result.Status.Err, away) || len(result.Hosts) != 1 || result.Hosts[0].Host != host || result.Hosts[0].Weight != 60 {
			t.Errorf("%s: %+v", what, result)
		}
	}
	check("a change")
	without := ingress("app", primaryLB)
	without.Spec.Rules = nil
	r.apply(without)
	check("a withdrawal")
	r.backend.Fail("app", nil)
	r.clock.Sleep(time.Minute)
	if result := r.sync()[0]; len(result.Hosts) != 0 || result.Status.Err != nil {
		t.Errorf("withdrawn: %+v", result)
	}
}

// deaf is a source whose ConfigMaps cannot be written.
type deaf struct{ dns.Source }

func (deaf) Answer(context.Context, *corev1.ConfigMap, string) error {
	return errors.New("denied by policy")
}

// A Canary that cannot be told says nothing of the records.
func TestAnAnswerThatFails(t *testing.T) {
	t.Parallel()
	r := newRig(t, ingress("app", primaryLB), preparedIngress(canaryLB))
	r.wish(split(1, 10))
	p, err := dns.NewPublisher("east", deaf{dns.NewKubeSource(r.kube, r.clock)}, r.backend, r.weight, nil, dns.PublisherOptions{Clock: r.clock})
	if err != nil {
		t.Fatal(err)
	}
	var results []dns.Result
	for range 3 {
		results, err = p.Sync(t.Context(), apex)
		r.clock.Sleep(syncDelay)
	}
	if err == nil || results[0].AnswerErr == nil || results[0].Err != nil || !results[0].InSync() {
		t.Errorf("error %v, result %+v", err, results[0])
	}
}
