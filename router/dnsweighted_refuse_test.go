package router_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	flaggerv1 "github.com/fluxcd/flagger/pkg/apis/flagger/v1beta1"
	istiov1 "github.com/fluxcd/flagger/pkg/apis/istio/v1beta1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/penstock-dev/penstock/internal/state"
	"github.com/penstock-dev/penstock/router"
)

// add puts a further Ingress into the cluster.
func (r *rig) add(i *networkingv1.Ingress) {
	r.t.Helper()
	if _, err := r.kube.NetworkingV1().Ingresses(i.Namespace).Create(r.t.Context(), i, metav1.CreateOptions{}); err != nil {
		r.t.Fatal(err)
	}
}

// edit changes an Ingress in the cluster.
func (r *rig) edit(name string, change ...func(*networkingv1.Ingress)) {
	r.t.Helper()
	i := getIngress(r.t, r.kube, name)
	for _, c := range change {
		c(i)
	}
	if _, err := r.kube.NetworkingV1().Ingresses(namespace).Update(r.t.Context(), i, metav1.UpdateOptions{}); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) remove(name string) {
	r.t.Helper()
	if err := r.kube.NetworkingV1().Ingresses(namespace).Delete(r.t.Context(), name, metav1.DeleteOptions{}); err != nil {
		r.t.Fatal(err)
	}
}

// refusal is a configuration that cannot work.
type refusal struct {
	reason string
	shared bool
	canary func(*flaggerv1.Canary)
	world  func(*rig)
	want   []string
	only   bool // before the Canary is Initialized
}

func (tc refusal) apply(r *rig) {
	if tc.canary != nil {
		tc.canary(r.canary)
	}
	if tc.world != nil {
		tc.world(r)
	}
}

// TestRefusals: each bad configuration is one clear error before the Canary is Initialized and leaves everything as it was; later it is a
// warning, a first step is refused, and a rollback works.
func TestRefusals(t *testing.T) {
	t.Parallel()
	next := router.CanaryIngressAnnotation
	for name, tc := range map[string]refusal{
		"Mirroring": {
			reason: "DNS cannot mirror.",
			canary: withAnalysis(func(a *flaggerv1.CanaryAnalysis) { a.Mirror = true }),
			want:   []string{"canary shop/app", "spec.analysis.mirror is true", "remove it", next},
		},
		"Match": {
			reason: "DNS would send every user to the canary.",
			canary: withAnalysis(func(a *flaggerv1.CanaryAnalysis) { a.Match, a.Iterations = match(), 5 }),
			want:   []string{"canary shop/app", "spec.analysis.match has 1 entries", "remove it", next},
		},
		"SessionAffinity": {
			reason: "DNS knows no cookies.",
			canary: withAnalysis(func(a *flaggerv1.CanaryAnalysis) {
				a.SessionAffinity = &flaggerv1.SessionAffinity{CookieName: "sticky"}
			}),
			want: []string{"canary shop/app", `spec.analysis.sessionAffinity with cookie "sticky"`, "remove it", next},
		},
		"ExposureInSplitMode": {
			reason: "There is nothing that the exposure of a cluster could be about.",
			canary: func(c *flaggerv1.Canary) { c.Annotations[router.ExposureAnnotation] = "20" },
			want:   []string{"canary shop/app", `penstock.dev/cluster-exposure "20"`, "remove it"},
		},
		"EmptyAnnotation": {
			reason: "An empty name is a template that went wrong.",
			canary: func(c *flaggerv1.Canary) { c.Annotations[next] = "" },
			want:   []string{"canary shop/app", next + " is empty", "name the prepared Ingress"},
		},
		"ApexItself": {
			reason: "The two must be different.",
			canary: func(c *flaggerv1.Canary) { c.Annotations[next] = "web" },
			want:   []string{"canary shop/app", next + ` is "web"`, "prepare a second Ingress"},
		},
		"NoPreparedIngress": {
			reason: "It is the user's to prepare.",
			world:  func(r *rig) { r.remove("web-next") },
			want:   []string{"canary shop/app", next, "ingress shop/web-next", "not found", "create it"},
		},
		"NoApexIngress": {
			reason: "Nothing can be split.",
			world:  func(r *rig) { r.remove("web") },
			want:   []string{"canary shop/app", "spec.ingressRef", "ingress shop/web", "not found"},
		},
		"NoAddressYet": {
			reason: "The error says which Ingress is waited for.",
			world:  func(r *rig) { r.edit("web-next", at()) },
			want:   []string{"ingress shop/web-next has no load balancer address yet"},
		},
		"SeveralAddresses": {
			reason: "A weighted record holds one.",
			world:  func(r *rig) { r.edit("web", at(primaryAddress, "192.0.2.9")) },
			want:   []string{"ingress shop/web has several load balancer addresses", "192.0.2.9", next},
		},
		"SameAddress": {
			reason: "DNS cannot tell them apart.",
			world:  func(r *rig) { r.edit("web-next", at(primaryAddress)) },
			want:   []string{"shop/web and shop/web-next have the same load balancer address (192.0.2.1)", "a load balancer of its own"},
		},
		"PreparedWithoutHost": {
			reason: "The canary's load balancer would answer 404.",
			world: func(r *rig) {
				r.edit("web-next", withRules(newRule("other.example.com", newPath("/", networkingv1.PathTypePrefix, "app-canary"))))
			},
			want: []string{"ingress shop/web-next", `no rule for host "www.example.com"`, "add the rule"},
		},
		"PreparedToPrimary": {
			reason: "The canary's share would meet the primary, and metrics would judge nothing.",
			world: func(r *rig) {
				r.edit("web-next", withRules(newRule(host, newPath("/", networkingv1.PathTypePrefix, "app"))))
			},
			want: []string{"ingress shop/web-next", `"www.example.com"`, `Service "app-canary"`, "spec.rules"},
		},
		"HostElsewhere": {
			reason: "DNS would take the other's traffic along, in whatever namespace it is.",
			world: func(r *rig) {
				r.add(newIngress(named("old"), func(i *networkingv1.Ingress) { i.Namespace = "legacy" }))
			},
			want: []string{"canary shop/app", `host "www.example.com"`, "ingress legacy/old", "a host of its own"},
			only: true,
		},
		"NoRevertOnDeletion": {
			reason: "Without a controller nobody would take the host back once the Canary is deleted.",
			canary: func(c *flaggerv1.Canary) { c.Spec.RevertOnDeletion = false },
			want:   []string{"canary shop/app", "spec.revertOnDeletion is false", "set it to true"},
		},
		"ExposedNoRevertOnDeletion": {
			reason: "Without a controller nobody would give the cluster its share back once the Canary is deleted.", shared: true,
			canary: func(c *flaggerv1.Canary) { exposed("20")(c); c.Spec.RevertOnDeletion = false },
			want:   []string{"canary shop/app", "spec.revertOnDeletion is false", "set it to true"},
		},
		"ExposedAndUnpublishable": {
			reason: "Each step of the exposure would wait for a host that DNS cannot have.", shared: true, canary: exposed("20"),
			world: func(r *rig) { r.edit("web", intranet) },
			want:  []string{"canary shop/app", `penstock.dev/cluster-exposure "20"`, "ingress shop/web", "spec.rules[].host", `"intranet"`, "or remove the annotation"},
			only:  true,
		},
		"WildcardOverOthers": {
			reason: "Where nobody publishes it, DNS would take the other's traffic along with the wildcard.",
			world:  func(r *rig) { splitWildcard(r); addShop(r) },
			want:   []string{"canary shop/app", `host "shop.example.com"`, "ingress toys/shop", `"*.example.com"`, `ingress "web-next"`, "add one to its spec.rules"},
			only:   true,
		},
		"ExposureNoNumber": {
			reason: "A percentage is not guessed.", shared: true,
			canary: exposed("a fifth"), want: []string{"canary shop/app", `penstock.dev/cluster-exposure "a fifth"`, "from 1 to 100"},
		},
		"ExposureZero":     {reason: "A cluster without traffic tests nothing.", shared: true, canary: exposed("0"), want: []string{`"0"`, "from 1 to 100"}},
		"ExposureBeyond":   {reason: "It is a percentage.", shared: true, canary: exposed("101"), want: []string{`"101"`, "from 1 to 100"}},
		"ExposureSigned":   {reason: "A sign is a typo.", shared: true, canary: exposed("+20"), want: []string{`"+20"`, "from 1 to 100"}},
		"ExposureDecimal":  {reason: "Whole per cent only.", shared: true, canary: exposed("12.5"), want: []string{`"12.5"`, "from 1 to 100"}},
		"ExposurePercent":  {reason: "The unit is said by the name.", shared: true, canary: exposed("20%"), want: []string{`"20%"`, "from 1 to 100"}},
		"ExposureEmpty":    {reason: "An empty value is a template that went wrong.", shared: true, canary: exposed(""), want: []string{`""`, "from 1 to 100"}},
		"NoIngressRef":     {reason: "There is nothing to split.", canary: func(c *flaggerv1.Canary) { c.Spec.IngressRef = nil }, want: []string{"canary shop/app", "spec.ingressRef.name is empty"}, only: true},
		"SharedNoIngress":  {reason: "Skipper's refusals hold here too.", shared: true, world: func(r *rig) { r.remove("web") }, want: []string{"spec.ingressRef", "shop/web", "not found"}, only: true},
		"SharedWrongShape": {reason: "Skipper's refusals hold here too.", shared: true, world: func(r *rig) { r.edit("web", withRules()) }, want: []string{"ingress shop/web", `Service "app"`}, only: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			fresh := func(broken bool) *rig {
				var r *rig
				if tc.shared {
					r = newRig(t)
				} else {
					r = newRig(t, split)
				}
				if broken {
					tc.apply(r)
				}
				return r
			}
			r := fresh(true)
			r.kube.ClearActions()
			err := r.router().Reconcile(r.canary)
			if err == nil {
				t.Fatalf("%s\nReconcile before the Canary is Initialized accepts it", tc.reason)
			}
			for _, part := range tc.want {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("%s\nerror %q does not say %q", tc.reason, err, part)
				}
			}
			if n := writesOf(r); n != 0 || r.backend.Writes() != 0 {
				t.Errorf("%s\n%d objects and %d records were written", tc.reason, n, r.backend.Writes())
			}
			if tc.only {
				return
			}

			r = fresh(false)
			r.initialize()
			tc.apply(r)
			r.ticks(2)
			if reasons := r.events(); !slices.Contains(reasons, string(router.ReasonReconcile)) {
				t.Errorf("%s\nevents %q after the Canary is Initialized, want %s", tc.reason, reasons, router.ReasonReconcile)
			}
			r.phase(flaggerv1.CanaryPhaseProgressing)
			if err := r.router().SetRoutes(r.canary, 90, 10, false); err == nil || errors.Is(err, router.ErrPending) {
				t.Errorf("%s\nfirst step: %v, want it refused", tc.reason, err)
			}
			r.wantRoutes(100, 0)
			if err := r.router().SetRoutes(r.canary, 100, 0, false); err != nil {
				t.Errorf("%s\nrollback: %v", tc.reason, err)
			}
			if r.mayAnswer(canaryAddress) {
				t.Errorf("%s\nthe canary is in DNS", tc.reason)
			}
		})
	}
}

func match() []istiov1.HTTPMatchRequest { return []istiov1.HTTPMatchRequest{{}} }

func TestSplitRefusesMirroredRoutes(t *testing.T) {
	t.Parallel()
	r := newRig(t, split)
	r.initialize()
	err := r.router().SetRoutes(r.canary, 100, 0, true)
	if err == nil || !strings.Contains(err.Error(), "DNS cannot mirror") {
		t.Errorf("SetRoutes with mirroring: %v, want it refused", err)
	}
}

// TestBeingDeleted: ticks go on while a Canary is Terminating, and must not make again what Finalize removed.
func TestBeingDeleted(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*flaggerv1.Canary){
		"Timestamp":   func(c *flaggerv1.Canary) { now := metav1.NewTime(epoch); c.DeletionTimestamp = &now },
		"Terminating": inPhase(flaggerv1.CanaryPhaseTerminating, 0),
		"Terminated":  inPhase(flaggerv1.CanaryPhaseTerminated, 0),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, split, change)
			r.reconcile()
			if n := len(r.kube.Actions()); n != 0 || r.backend.Publishes() != 0 {
				t.Errorf("Reconcile on a Canary that is being deleted made %d requests and published %d times", n, r.backend.Publishes())
			}
		})
	}
}

// TestMalformedConfigMap: what cannot be read is never overwritten; the error says what to do, and doing it helps.
func TestMalformedConfigMap(t *testing.T) {
	t.Parallel()
	r := newRig(t, split)
	r.begin(70, 30)
	cm := r.configMap()
	cm.Data[state.DesiredKey] = "mode: split"
	api := r.kube.CoreV1().ConfigMaps(namespace)
	if _, err := api.Update(t.Context(), cm, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, _, _, err := r.router().GetRoutes(r.canary); err == nil || !strings.Contains(err.Error(), "configmap shop/app-penstock: data.desired") || !strings.Contains(err.Error(), "delete the key") {
		t.Errorf("GetRoutes: %v, want an error that names object, key and remedy", err)
	}
	r.reconcile()
	if err := r.router().SetRoutes(r.canary, 100, 0, false); err == nil || !strings.Contains(err.Error(), "data.desired") {
		t.Errorf("SetRoutes(100, 0): %v, want an error: Flagger would scale down what DNS still sends clients to", err)
	}
	if text := r.configMap().Data[state.DesiredKey]; text != "mode: split" {
		t.Errorf("desired was overwritten: %s", text)
	}
	cm = r.configMap()
	delete(cm.Data, state.DesiredKey)
	if _, err := api.Update(t.Context(), cm, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	r.ticks(20)
	r.wantRoutes(70, 30)
	r.wantShares(0.7, 0.3)
	if d, o := r.wish(); !o.Done(d) {
		t.Errorf("desired %+v is not done: %+v", d, o)
	}
}

func TestForeignConfigMap(t *testing.T) {
	t.Parallel()
	r := newRig(t, split)
	r.store(state.Desired{}, state.Observed{})
	cm := r.configMap()
	cm.Labels = nil
	if _, err := r.kube.CoreV1().ConfigMaps(namespace).Update(t.Context(), cm, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	err := r.router().Reconcile(r.canary)
	if err == nil || !strings.Contains(err.Error(), `configmap shop/app-penstock was not made for canary "app"`) {
		t.Errorf("Reconcile: %v, want an error that names the ConfigMap", err)
	}
}

// TestAnotherCanaryOfThisName: a Canary that was deleted and made again finds the host attached and takes it back.
func TestAnotherCanaryOfThisName(t *testing.T) {
	t.Parallel()
	r := newRig(t, split)
	r.begin(50, 50)
	r.canary.UID, r.canary.Status = types.UID("another"), flaggerv1.CanaryStatus{}
	r.reconcile()
	if refs := r.configMap().OwnerReferences; len(refs) != 1 || refs[0].UID != "another" {
		t.Errorf("owner references %+v, want the new Canary alone, or the ConfigMap goes with the old one", refs)
	}
	r.phase(flaggerv1.CanaryPhaseInitialized)
	r.ticks(60)
	r.wantShares(1, 0)
	if d, _ := r.wish(); d.Attached {
		t.Error("still attached")
	}
}
