package traffic

import (
	"testing"
	"time"

	networkingv1 "k8s.io/api/networking/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/penstock-dev/penstock/controllers/store"
	"github.com/penstock-dev/penstock/internal/state"
)

// The gate counts what is published: each host once, and not for the Ingresses of canaries, whose Services have nobody before a canary begins.
func TestHostsThatTheGateCounts(t *testing.T) {
	t.Parallel()
	generated := app("one-canary")[0].(*networkingv1.Ingress)
	generated.Labels = map[string]string{state.Label: "one"}
	generated.Spec.Rules = []networkingv1.IngressRule{rule("generated.example.com", "one-canary")}
	prepared := app("prepared")[0].(*networkingv1.Ingress)
	prepared.Spec.Rules = []networkingv1.IngressRule{rule("prepared.example.com", "one-canary")}
	second := app("second")[0].(*networkingv1.Ingress)
	second.Spec.Rules = []networkingv1.IngressRule{rule("one.example.com", "nobody")}
	leaving := app("leaving", "leaving.example.com")
	leaving[0].SetFinalizers([]string{"example.com/balancer"})
	for name, tc := range map[string]struct {
		reason     string
		objects    []client.Object
		ready, all int
	}{
		"Plain":     {"It is published.", nil, 1, 1},
		"NotReady":  {"Nobody serves it.", append(app("two", "two.example.com"), endpoints("three", false))[:1], 1, 2},
		"Generated": {"A router publishes the canary with the apex.", []client.Object{generated}, 1, 1},
		"Prepared": {"It is published below the host of the apex.", []client.Object{
			prepared, canary("one", state.Desired{Generation: 1, Mode: state.Split, Ingress: "one", CanaryIngress: "prepared", Service: "one"}),
		}, 1, 1},
		"Twice":   {"The host is published for one of them.", []client.Object{second}, 1, 1},
		"Leaving": {"Its records are withdrawn.", leaving, 1, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			objects := app("one", "one.example.com")
			for _, o := range tc.objects {
				objects = append(objects, o.DeepCopyObject().(client.Object))
			}
			r := newRig(t, nil, objects...)
			if name == "Leaving" {
				r.remove(objects[2])
			}
			if ready, all, err := r.readyHosts(t.Context()); err != nil || ready != tc.ready || all != tc.all {
				t.Errorf("%s\n%d of %d (%v), want %d of %d", tc.reason, ready, all, err, tc.ready, tc.all)
			}
		})
	}
}

// A move that gets nowhere does not say that it went back.
func TestAMoveThatIsRefusedAtOnce(t *testing.T) {
	t.Parallel()
	flags := []string{"-ramp-step", "20", "-ramp-interval", "1m", "-ramp-failures", "2", "-ramp-ready", "100"}
	r := newRig(t, flags, app("one", "one.example.com", "two.example.com")...)
	r.row.row.DesiredWeight, r.row.row.CurrentWeight = 20, 20
	r.apply(endpoints("two"))
	r.restart(flags...)
	r.run(5 * time.Minute)
	r.desire(100)
	r.until("it is given up", func() bool { return r.row.now().Ramp.Phase == store.RolledBack })
	if r.notes.with("RampRolledBack", "did not leave 20 after 2 refusals", "1 of 2") != 1 {
		t.Errorf("events %q", r.notes.lines)
	}
}

// A step is published by the round that has stored it, not by the next one.
func TestAStepIsPublishedAtOnce(t *testing.T) {
	t.Parallel()
	flags := []string{"-ramp-step", "20"}
	r := newRig(t, flags, app("one", "one.example.com")...)
	r.restart(flags...)
	r.run(5 * time.Minute)
	r.desire(0)
	r.Controller.steer(t.Context())
	if percent, err := r.weight.ClusterWeight(t.Context()); err != nil || percent.String() != "80" || r.row.now().Ramp.Weight != 80 {
		t.Errorf("to publish is %s (%v), the row is %+v", percent, err, r.row.now())
	}
}
