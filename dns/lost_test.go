package dns_test

import (
	"maps"
	"strings"
	"testing"
	"time"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/penstock-dev/penstock/internal/state"
)

// spoil sets keys of a Canary's ConfigMap; an empty text removes one.
func (r *rig) spoil(canary string, data map[string]string) {
	r.t.Helper()
	client := r.kube.CoreV1().ConfigMaps(namespace)
	cm, err := client.Get(r.t.Context(), state.Name(canary), metav1.GetOptions{})
	if err != nil {
		r.t.Fatal(err)
	}
	maps.Copy(cm.Data, data)
	maps.DeleteFunc(cm.Data, func(_, text string) bool { return text == "" })
	if _, err := client.Update(r.t.Context(), cm, metav1.UpdateOptions{}); err != nil {
		r.t.Fatal(err)
	}
}

// While it is not known what a Canary wants, its split stays, and the cluster's weight is followed. Nothing else waits for it.
func TestASplitStaysWhileItsWishIsLost(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		data map[string]string
		says string
	}{
		"malformed":              {map[string]string{state.DesiredKey: "mode: split"}, "data.desired is not what Penstock writes"},
		"deleted":                {map[string]string{state.DesiredKey: ""}, "data.desired is missing"},
		"both malformed":         {map[string]string{state.DesiredKey: "x", state.ObservedKey: "y"}, "data.observed is not"},
		"malformed and no other": {map[string]string{state.DesiredKey: "x", state.ObservedKey: ""}, "delete the key"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			beside := preparedIngress("192.0.2.3") // another Ingress of the namespace, with a canary that ends
			beside.Name = "beside"
			beside.Spec.Rules[0] = rule("beside.example.com", "beside")
			r := newRig(t, ingress("app", primaryLB), preparedIngress(canaryLB), beside)
			r.wish(split(1, 30))
			r.until(effective(1))
			r.wishFor("idle", unattached(1, "app-new")) // on the same host
			r.sync()
			r.spoil("app", tc.data)
			for _, restarted := range []bool{false, true} {
				if restarted {
					r.restart()
				}
				r.pass(time.Minute)
				shares(t, r, map[string]float64{primaryLB: 0.7, canaryLB: 0.3})
			}
			r.weight.percent = whole(t, 20)
			results := r.sync()
			if h := results[0].Hosts[0]; h.Weight != 20 || h.Err != nil || !strings.Contains(h.Warning, "configmap shop/app-penstock") || !strings.Contains(h.Warning, tc.says) {
				t.Errorf("the host: %+v, want the cluster's weight, and a warning with %q", h, tc.says)
			}
			if o := r.observedFor("idle"); o.Attached {
				t.Errorf("the other Canary of the host: %+v", o)
			}
			r.wish(split(2, 0))
			r.until(effective(2))
			shares(t, r, map[string]float64{primaryLB: 1})
		})
	}
}

// A ConfigMap that cannot be read, and whose Canary had nothing in DNS, holds up no other Canary that ends.
func TestAnIdleCanaryThatIsLostHoldsNothing(t *testing.T) {
	t.Parallel()
	r := newRig(t, ingress("app", primaryLB), preparedIngress(canaryLB))
	r.wishFor("idle", unattached(1, "app-new"))
	r.pass(time.Minute)
	r.wish(split(1, 30))
	r.until(effective(1))
	r.spoil("idle", map[string]string{state.DesiredKey: "mode: split"})
	if err := r.kube.CoreV1().ConfigMaps(namespace).Delete(t.Context(), state.Name("app"), metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	r.pass(10 * time.Minute)
	shares(t, r, map[string]float64{primaryLB: 1})
	if got := r.records(); len(got) != 1 {
		t.Errorf("records %+v, want the host alone", got)
	}
}

// Other Canaries go on beside one whose ConfigMap cannot be read.
func TestACanaryGoesOnBesideOneThatIsLost(t *testing.T) {
	t.Parallel()
	r := newRig(t, ingress("app", primaryLB), preparedIngress(canaryLB))
	d := split(1, 50)
	d.Ingress = "elsewhere"
	r.wishFor("other", d)
	r.spoil("other", map[string]string{state.DesiredKey: "mode: split"})
	for i, canary := range []int{10, 60, 0} {
		r.wish(split(int64(1+i), canary))
		r.until(effective(int64(1 + i)))
	}
	r.wish(unattached(4, "app-new"))
	r.until(effective(4))
	shares(t, r, map[string]float64{primaryLB: 1})
	if h := r.sync()[0].Hosts[0]; h.Warning != "" || len(r.records()) != 1 {
		t.Errorf("the host: %+v, records %+v", h, r.records())
	}
}

// While it is not known what a Canary wants, the cluster's weight stays as far exposed as it was, and follows what else changes it.
func TestTheExposureStaysWhileItsWishIsLost(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{"malformed": "x", "deleted": ""} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, ingress("app", primaryLB))
			r.weight.percent = whole(t, 50)
			r.wish(state.Desired{Generation: 2, Mode: state.Shared, Exposure: 20})
			r.until(effective(2))
			r.spoil("app", map[string]string{state.DesiredKey: text})
			for _, percent := range []int{50, 100} {
				r.weight.percent = whole(t, percent)
				r.restart()
				r.sync()
				if h := r.sync()[0].Hosts[0]; h.Weight != percent/5 || !strings.Contains(h.Warning, "configmap shop/app-penstock") {
					t.Errorf("the host: %+v, want a fifth of %d, and a warning", h, percent)
				}
			}
			r.wish(state.Desired{Generation: 3, Mode: state.Shared})
			r.until(effective(3))
			if got := r.records()[0].Weight; got != 100 {
				t.Errorf("weight %d, want all of it", got)
			}
		})
	}
}

// A ConfigMap that cannot be read holds up no Canary of another Ingress that ends.
func TestACanaryOfAnotherIngressEndsBesideOneThatIsLost(t *testing.T) {
	t.Parallel()
	const besideHost, besideLB = "beside.example.com", "192.0.2.9"
	beside, next := ingress("beside", "192.0.2.8"), preparedIngress(besideLB)
	beside.Spec.Rules = []networkingv1.IngressRule{rule(besideHost, "beside")}
	next.Name, next.Spec.Rules = "beside-new", []networkingv1.IngressRule{rule(besideHost, "beside-canary")}
	r := newRig(t, ingress("app", primaryLB), preparedIngress(canaryLB), beside, next)
	pass := func(d time.Duration) {
		t.Helper()
		for end := r.clock.Now().Add(d); r.clock.Now().Before(end); r.clock.Sleep(time.Second) {
			if _, err := r.publisher.Sync(t.Context(), apex, types.NamespacedName{Namespace: namespace, Name: beside.Name}); err != nil {
				t.Fatal(err)
			}
		}
	}
	r.wish(split(1, 30))
	d := split(1, 30)
	d.Ingress, d.Service, d.CanaryIngress = beside.Name, "beside", next.Name
	r.wishFor("beside", d)
	pass(10 * time.Minute)
	if r.backend.Shares(besideHost)[besideLB] != 0.3 {
		t.Fatalf("the other Ingress: %v", r.backend.Shares(besideHost))
	}
	r.spoil("app", map[string]string{state.DesiredKey: "x"})
	if err := r.kube.CoreV1().ConfigMaps(namespace).Delete(t.Context(), state.Name("beside"), metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	pass(10 * time.Minute)
	shares(t, r, map[string]float64{primaryLB: 0.7, canaryLB: 0.3})
	if got := r.backend.Shares(besideHost); got[besideLB] > 0 {
		t.Errorf("%s: %v, want nobody at the canary that is gone", besideHost, got)
	}
}
